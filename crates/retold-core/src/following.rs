//! Following: processing the events of other logs for an application.
//!
//! A [`Follower`] has policies that define the effects of events. A [`Pipeline`] reads the logs
//! that it follows, calls the policies, and records the effects together with how far it has read.
//! Timers and outboxes also live here. The modules are in dependency order: each uses only those
//! above it.

pub mod limits;

mod caused;
mod derived_id;
mod follower_event;
mod partition;
mod past_recorder;
mod timer_event;

mod batch;
mod deadline;
mod follower_record;
mod status;

mod context;

mod policy;

mod follower;

mod asking;

mod pipeline;
mod timers;

mod outbox;

mod operating;

pub(crate) use self::asking::{Asked, ask};
pub(crate) use self::batch::Batch;
pub use self::context::Context;
pub(crate) use self::context::{Cause, Freshness};
pub use self::deadline::{Deadline, TimerModel, timer};
pub use self::follower::{Follower, OnFailure, Start};
pub use self::follower_event::{
    FOLLOWER_STREAM_TYPE, FollowerEvent, Parked, StartingCheckpoint, follower_stream,
};
pub(crate) use self::follower_record::SystemNames;
pub use self::follower_record::{FollowerRecord, Partitioning};
pub use self::operating::FollowerOperator;
pub use self::outbox::Outbox;
pub(crate) use self::outbox::{check_outbox_name, is_outbox};
pub(crate) use self::partition::Lane;
pub use self::partition::{PartitionRule, partition_of_key};
pub(crate) use self::past_recorder::PastRecorder;
pub use self::pipeline::{Counts, Pipeline, Step};
pub use self::policy::Handle;
pub use self::status::{
    FollowerStatus, HeldEvent, Phase, StatusCell, StatusChanges, UpstreamStatus,
};
pub use self::timer_event::{PlannedEvent, TimerEvent};
pub use self::timers::Timers;
