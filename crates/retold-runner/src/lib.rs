//! Runs systems of Retold on tokio.
//!
//! The core says what a follower's step is and needs no runtime; this crate decides when steps are
//! made. [`MultiThread`] gives each follower a task of its own; [`Cluster`] spreads them over processes
//! and machines. Nothing that is recorded depends on
//! this crate: whatever it does, and whenever it is ended, is an execution that a single thread could
//! have made.
//!
//! Programs use it through the facade: `retold::runner`.

pub mod limits;
mod panics;
pub mod telemetry;

mod turns;

mod options;
mod station;
mod stop_report;

mod back_off;
mod lag;
mod polling;
mod waiting;

mod log_news;
mod standby;

mod policy_watch;
mod watchdog;

mod follower_task;
mod outbox_task;
mod timers_task;
mod views_task;

mod job;

mod works;

mod cluster;

mod presence;

mod outbox_lease;

mod multi_thread;

pub use self::cluster::{
    Cluster, ClusterOptions, ClusterOverview, ClusterStatus, JoinError, NodeStatus, Unit,
    UnitOverview, UnitStatus,
};
pub use self::lag::Lag;
pub use self::multi_thread::MultiThread;
pub use self::options::MultiThreadOptions;
pub use self::stop_report::StopReport;
pub use self::timers_task::TimersStatus;
pub use self::waiting::{Behind, Holder, Searching, ViewWaitError, WaitError};
