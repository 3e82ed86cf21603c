//! The conductor: what a runner that does everything on one thread hangs into an application's
//! commands.
//!
//! A command of such an application first lets the conductor do what is due, and returns only after
//! the conductor has done all that the command caused. The conductor tells nothing back: a command
//! that was recorded is recorded, whatever becomes of what it causes.

use crate::recording::BoxFuture;

/// What is done around the commands of an application.
pub(crate) trait Conductor: Send + Sync {
    /// Called before a command reads anything.
    fn before_command(&self) -> BoxFuture<'_, ()>;

    /// Called after an append of a command was recorded.
    fn after_commit(&self) -> BoxFuture<'_, ()>;
}
