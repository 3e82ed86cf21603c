//! The conductor: hooks around an application's commands, for a runner that does everything on one
//! thread.
//!
//! A command of such an application first waits until the conductor has done what is due, and
//! returns only after the conductor has done everything that the command caused. The conductor
//! returns nothing: a recorded command stays recorded, regardless of the outcome of its effects.

use crate::recording::BoxFuture;

/// Hooks around the commands of an application.
pub(crate) trait Conductor: Send + Sync {
    /// Called before a command reads anything.
    fn before_command(&self) -> BoxFuture<'_, ()>;

    /// Called after an append of a command was recorded.
    fn after_commit(&self) -> BoxFuture<'_, ()>;
}
