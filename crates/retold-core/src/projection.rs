//! Projections: views that are built from the events of a log, stored together with a checkpoint.
//!
//! A [`Projection`] selects events of one upstream log and defines how each of them changes the
//! view. A [`ViewStore`] stores the view: in memory or in an SQL database. It applies a page of
//! events and moves the checkpoint in one transaction, so that view and checkpoint never disagree,
//! even after a crash. A [`ProjectionPipeline`] passes pages from the log to the view store, one
//! step at a time. It has no thread and no timer, and is driven by a runner or by hand. A
//! [`ProjectionHandle`] reports its progress, and waits until the view includes a position.
//!
//! # Guarantees
//!
//! - Every selected event is applied to the view exactly once, in the order of the log, even if two
//!   processes run the projection at the same time: the view store compares the checkpoint inside
//!   its transaction.
//! - A new version is built while readers see the old one, and replaces it in one step when it has
//!   caught up. Readers see either the old version or the complete new one.
//! - An event that cannot be processed is never skipped silently; see [`OnPoison`].
//! - An upstream log that was replaced, truncated or restored is detected before more events are
//!   applied: see [`ProjectionError::Diverged`].
//!
//! ```
#![doc = include_str!("../doc/school.rs.txt")]
//! use retold::projection::{MemoryView, Projection, ProjectionPipeline};
//!
//! // A view in memory: how often each trick was learned.
//! type Tricks = std::collections::BTreeMap<String, u32>;
//! let tricks = MemoryView::<Tricks>::new();
//! let projection = Projection::new("tricks", 1, "school")
//!     .on::<DogEvent>(|tricks: &mut Tricks, logged| {
//!         if let DogEvent::TrickAdded { trick } = &logged.event {
//!             *tricks.entry(trick.clone()).or_default() += 1;
//!         }
//!         Ok(())
//!     });
//! let mut pipeline = ProjectionPipeline::new(school.recorder().clone(), tricks.keep(projection)?);
//!
//! school.execute(fido, |_| DogEvent::TrickAdded { trick: "fetch".into() }).await?;
//! pipeline.catch_up().await?;
//! assert_eq!(tricks.read(|tricks| tricks["fetch"]), 1);
//! # Ok(())
//! # }
//! ```

mod error;

mod handler;
mod handling;
mod outline;
mod view_names;

mod declaration;
mod view_store;

mod view_rules;

mod rate;

mod progress;

mod pipeline;

mod memory_view;

pub use self::declaration::Projection;
pub use self::error::{
    BoxError, PoisonedEvent, ProjectionError, ProjectionLabel, error_of_another_program,
};
pub use self::handler::{AsyncViewKind, AtOnce, Awaited, HandleView, SyncViewKind, ViewKind};
pub use self::handling::Handling;
pub use self::memory_view::{MemoryView, MemoryViewGuard};
pub use self::outline::{OnPoison, ProjectionOutline, StartFrom};
pub use self::pipeline::{
    PROJECTION_PAGE_EVENTS_DEFAULT, ProjectionPipeline, ProjectionStep, UNRECORDED_EVENTS_MAX,
};
pub use self::progress::{ProjectionHandle, ProjectionState, ProjectionStatus};
pub use self::view_names::{VersionNames, ViewNameRule};
pub use self::view_rules::{Begin, PageAttempt, Switch, ViewRules, ViewVersion};
pub use self::view_store::{
    Applied, SKIPPED_EVENTS_MAX, SKIPPED_PAGE_MAX, SkippedEvent, StoredView, Supersede, Switched,
    ViewPage, ViewStore, VisibleView,
};
