//! Projections: a log folded into a view, with the checkpoint kept beside it.
//!
//! A [`Projection`] says which events of one upstream log it takes and what each does to the view. A
//! [`ViewKeeper`] is the place where the view is kept: memory, an SQL database. It applies a page of
//! events and moves the checkpoint in one transaction, so that view and checkpoint never disagree,
//! whatever crashes. A [`ProjectionPipeline`] takes pages from the log to the keeper, one step after the
//! other; it has no thread and no timer, and is driven by a runner or by hand. A
//! [`ProjectionHandle`] tells others how far it is, and lets them wait for a position.
//!
//! # What it promises
//!
//! - Every selected event changes the view once, in the order of the log, also if two processes run
//!   the projection at a time: the keeper compares the checkpoint inside of its transaction.
//! - A new version is built beside the one that readers see, and takes its place at once when it has
//!   caught up; readers see the old one or the new one, never half or nothing.
//! - An event that cannot be taken is never passed over silently; see [`OnPoison`].
//! - An upstream log that was replaced, cut or restored is found before anything more is applied:
//!   [`ProjectionError::Diverged`].
//!
//! ```
#![doc = include_str!("../doc/school.rs.txt")]
//! use retold::projection::MemoryView;
//! use retold::projection::{Projection, ProjectionPipeline};
//!
//! // A view in memory: how often each trick was learnt.
//! type Tricks = std::collections::BTreeMap<String, u32>;
//! let tricks = MemoryView::<Tricks>::new();
//! let projection = Projection::new("tricks", 1, "school").on::<DogEvent>(|tricks: &mut Tricks, logged| {
//!     if let DogEvent::TrickAdded { trick } = &logged.event {
//!         *tricks.entry(trick.clone()).or_default() += 1;
//!     }
//!     Ok(())
//! });
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

mod declaration;
mod keeper;

mod rate;

mod progress;

mod pipeline;

mod memory_view;

pub use self::declaration::Projection;
pub use self::error::{BoxError, PoisonedEvent, ProjectionError, ProjectionLabel};
pub use self::handler::{AtOnce, Awaited, HandleView, ViewKind};
pub use self::handling::Handling;
pub use self::keeper::{
    Applied, Kept, SKIPPED_EVENTS_MAX, SKIPPED_PAGE_MAX, Seen, SkippedEvent, Supersede, Switched,
    ViewKeeper, ViewPage,
};
pub use self::memory_view::{MemoryView, MemoryViewGuard};
pub use self::outline::{OnPoison, ProjectionOutline, StartFrom};
pub use self::pipeline::{
    PROJECTION_PAGE_EVENTS_DEFAULT, ProjectionPipeline, Step, UNRECORDED_EVENTS_MAX,
};
pub use self::progress::{ProjectionHandle, ProjectionState, ProjectionStatus};
