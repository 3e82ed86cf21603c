//! Systems: applications that follow each other's logs, defined once and independently of databases
//! and threads.
//!
//! A [`System`] declares the applications and which of them follow each other. A [`Runner`] runs
//! it, for example [`SingleThread`]. The modules are in dependency order: each uses only those
//! above it.

mod follower_path;
mod stop_report;

mod delivery;
mod goal;
mod timers_status;

mod definition;
mod waiting;

mod open_system;

mod caused_search;
mod lag;
mod log_check;
mod presence;
mod schema;

mod runner;

mod single_thread;

pub use self::caused_search::CausedSearch;
pub use self::definition::{ConfluenceKey, Member, System, SystemBuilder};
pub use self::delivery::{Delivery, OutboxCell, OutboxPipeline, OutboxStatus, OutboxStep};
pub use self::follower_path::FollowerPath;
pub use self::goal::Goal;
pub use self::lag::Lag;
pub use self::open_system::{Infrastructure, OpenSystem, Opening};
pub use self::presence::{
    RUNNERS, escaped, follower_lease_path, holder, presence_leases, timers_lease_path, unescaped,
    view_lease_path,
};
pub use self::runner::Runner;
pub use self::single_thread::SingleThread;
pub use self::stop_report::StopReport;
pub use self::timers_status::{TimersCell, TimersStatus};
pub use self::waiting::{Behind, Holder, Searching, WaitError};
