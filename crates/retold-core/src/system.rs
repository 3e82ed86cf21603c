//! Systems: applications that follow each other's logs, defined once and independently of databases
//! and threads.
//!
//! A [`System`] declares the applications and which of them follow each other; a runner runs it.
//! The modules are in dependency order: each uses only those above it.

mod delivery;

mod definition;

mod open_system;

mod log_check;
mod presence;

mod single_thread;

pub use self::definition::{ConfluenceKey, Member, System, SystemBuilder};
pub use self::delivery::{Delivery, OutboxCell, OutboxPipeline, OutboxStatus, OutboxStep};
pub use self::open_system::{Infrastructure, OpenSystem, Opening};
pub use self::presence::{
    RUNNERS, escaped, follower_path, holder, presence_leases, timers_path, unescaped, view_path,
};
pub use self::single_thread::SingleThread;
