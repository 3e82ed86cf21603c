//! Runs Retold systems on tokio.
//!
//! The core defines a follower's step and needs no runtime; this crate decides when steps run.
//! [`MultiThread`] gives each follower its own task; [`Cluster`] spreads the followers over
//! processes and machines. What is recorded is correct however this crate schedules the steps, and
//! even if a runner is aborted: a single thread could have recorded the same result.
//!
//! Programs use it through the facade: `retold::runner`.

pub mod limits;
mod panics;
pub mod telemetry;

mod turns;

mod follower_cell;
mod options;

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

mod stopping;

mod running_system;

mod cluster;

mod presence;

mod outbox_lease;

mod multi_thread;

pub use self::cluster::{
    Cluster, ClusterOptions, ClusterOverview, ClusterStatus, JoinError, NodeStatus, Unit,
    UnitOverview, UnitStatus,
};
pub use self::multi_thread::MultiThread;
pub use self::options::MultiThreadOptions;
