//! Systems: applications that follow each other's logs, defined once and independently of databases
//! and threads.
//!
//! A [`Follower`] has policies that say what events cause. A [`System`] says which applications there
//! are and who follows whom; a runner makes it go. The modules stand in order; each uses only those
//! above it.

pub mod health;
pub mod limits;

mod running;

pub mod projection;

pub mod memory_view;

mod caused;
mod derived_id;
pub mod follower_event;
pub mod partition;
mod past_recorder;
mod recorded_event;
mod timer_event;

mod batch;
pub mod deadline;
pub mod follower_record;
pub mod status;

pub mod context;

pub mod policy;

pub mod follower;

pub mod pipeline;
pub mod timers;

pub mod outbox;

pub mod delivery;

pub mod definition;

pub mod open_system;
pub mod operating;

pub mod presence;

pub mod single_thread;

pub mod confluence;
mod log_check;
pub mod retelling;
pub mod simulation;

pub mod system_simulation;

pub use context::Context;
pub use deadline::{Deadline, timer};
pub use definition::{Member, System, SystemBuilder};
pub use delivery::{Delivery, OutboxCell, OutboxPipeline, OutboxStatus, OutboxStep};
pub use follower::{Follower, OnFailure, Start};
pub use follower_event::{FollowerEvent, Parked, StartingMark};
pub use follower_record::FollowerRecord;
pub use health::{Finding, FindingKind, Health, Trouble};
pub use open_system::{Infrastructure, OpenSystem, Opening};
pub use operating::FollowerOperator;
pub use outbox::Outbox;
pub use partition::PartitionRule;
pub use pipeline::{Counts, Pipeline, Pulled, Step};
pub use policy::Handle;
pub use running::Running;
pub use single_thread::SingleThread;
pub use status::{FollowerStatus, HeldEvent, Phase, StatusCell, StatusChanges, UpstreamStatus};
pub use system_simulation::SystemSimulation;
pub use timer_event::{PlannedEvent, TimerEvent};
pub use timers::Timers;
