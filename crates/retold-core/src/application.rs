//! Applications: named logs with their aggregates.
//!
//! An [`Application`] loads, decides and appends, and reads back what was recorded. The modules are
//! listed in dependency order: each uses only those above it.

mod error;
pub mod limits;
mod panic_text;
pub mod telemetry;

mod topic_watch;

mod amendment_record;
mod command_id;
mod logged;
mod publish;
mod recorded;
mod selection;

mod cache;
mod conductor;
mod log_reading;
mod reports;
mod subscription;
mod turns;

mod lanes;
mod past;

mod handle;

mod log_reader;
mod repository;
mod scope;

mod stamp;

mod aggregates;
mod amending;
#[cfg(feature = "protection")]
mod forgetting;
mod log_check;
mod model;
mod snapshots;

mod builder;
mod command;
mod event_bus;
mod fold;
mod following;
mod view;

mod create;
mod decide;
mod execute;

mod change;

pub use self::aggregates::AggregateIds;
pub use self::amending::{AmendProgress, Amended, Amender};
pub use self::amendment_record::{AmendmentRecord, ErasedEvents, RecordedParts};
pub use self::builder::ApplicationBuilder;
pub(crate) use self::cache::Folded;
pub use self::change::{Aggregates, Draft};
pub use self::command_id::CommandId;
pub(crate) use self::conductor::Conductor;
pub use self::create::Create;
pub use self::decide::Decide;
pub use self::error::{Error, ExecuteError, Result};
pub use self::event_bus::{BusSubscription, EventBus, Published};
pub use self::execute::Execute;
pub use self::fold::{Fold, FoldPlace, fold_of};
pub use self::handle::Application;
pub(crate) use self::handle::yield_once;
pub use self::log_check::{LogCheck, LogFinding};
pub use self::log_reader::{LogReader, UnknownTopics};
pub use self::log_reading::{Events, Reading};
pub use self::logged::Logged;
pub use self::model::{Model, Reach, ReadTo, StreamPlace};
pub(crate) use self::panic_text::panic_text;
pub(crate) use self::past::Past;
pub use self::publish::{Commits, Committed, Missed};
pub use self::recorded::{Outcome, Recorded};
pub(crate) use self::reports::{PersistentFailure, ReportCell};
pub use self::repository::Loaded;
pub use self::selection::{READ_PAGE_EVENTS_DEFAULT, Selection};
pub use self::subscription::{Signal, Subscribing, Subscription};
pub(crate) use self::topic_watch::{TopicWatch, is_unknown, unknown_topic};
pub(crate) use self::turns::contended;
pub use self::view::View;
