//! Applications: named logs with their aggregates.
//!
//! An [`Application`] loads, decides and appends, and reads back what was recorded. The modules stand
//! in order; each uses only those above it.

pub mod error;
pub mod limits;
pub(crate) mod panic_text;
pub mod telemetry;

pub(crate) mod topic_watch;

pub mod command_id;
pub mod logged;
pub mod publish;
pub mod recorded;
pub mod selection;

mod cache;
mod conductor;
pub mod log_reading;
pub(crate) mod reports;
pub mod subscription;
mod turns;

mod lanes;
mod past;

pub mod handle;

pub mod log_reader;
pub mod repository;
mod scope;

mod stamp;

pub mod aggregates;
pub mod log_check;
pub mod model;
pub mod snapshots;

pub mod builder;
mod commit;
pub mod fold;
mod following;
pub mod view;

pub mod create;
pub mod event_bus;
pub mod execute;

pub mod decide;

pub mod change;

pub use aggregates::AggregateIds;
pub use builder::ApplicationBuilder;
pub(crate) use cache::Folded;
pub use change::Draft;
pub use command_id::CommandId;
pub(crate) use conductor::Conductor;
pub use error::{Error, ExecuteError, Result};
pub use event_bus::EventBus;
pub use fold::{Fold, FoldPlace, fold_of};
pub use handle::Application;
pub use log_reader::{LogReader, UnknownTopics};
pub use logged::Logged;
pub use model::Model;
pub(crate) use past::Past;
pub use recorded::{Outcome, Recorded};
pub use repository::Loaded;
pub(crate) use turns::contended;
pub use view::View;
