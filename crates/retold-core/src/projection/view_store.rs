//! The view store: stores the view of one projection with its checkpoint. It hides the differences
//! between databases from the projection's driver.

use std::error::Error as StdError;
use std::sync::Arc;

use super::error::{PoisonedEvent, ProjectionError};
use super::handling::Handling;
use super::outline::ProjectionOutline;
use crate::domain::Timestamp;
use crate::recording::{BoxFuture, Checkpoint, LogId, Position, StoredEvent};

/// The maximum number of skipped events that are recorded for one version of a projection. After
/// that the projection stops, because a view that lacks more events is useless.
pub const SKIPPED_EVENTS_MAX: u64 = 10_000;
/// The maximum number of skipped events on a page of [`ViewStore::skipped`].
pub const SKIPPED_PAGE_MAX: usize = 1_000;

/// Stores the view of one version of one projection, with its checkpoint.
///
/// The trait is dyn-compatible, so that one runner can drive views in memory and in databases. View
/// and checkpoint change together or not at all. Several view stores of one projection may work at
/// the same time, also in several processes: each call compares the checkpoint, and an event that
/// another view store has applied is not applied again. A future may be dropped at any time; its
/// call then takes effect completely or not at all.
pub trait ViewStore: Send + Sync {
    /// Returns the projection without its handlers.
    fn outline(&self) -> &ProjectionOutline;

    /// Returns whether only this process sees the view, as with a view in memory: each process that
    /// reads such a view must build it itself. By default one process builds the view for all.
    fn is_of_this_process(&self) -> bool {
        false
    }

    /// Returns the event that the projection's handlers are processing, so that a late one is
    /// noticed; none if the view store does not report it.
    fn handling(&self) -> Option<&Handling> {
        None
    }

    /// Returns the stored state of this version; none if it has not begun.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn kept(&self) -> BoxFuture<'_, Result<Option<Kept>, ProjectionError>>;

    /// Begins this version over the log with this id, with the checkpoint `start`, and returns the
    /// stored state. A version that has begun is left unchanged, with one exception: if it began
    /// over another log and has no checkpoint yet, it has processed nothing, so it takes the new
    /// log id and `start`.
    ///
    /// If there is no other version, readers see this one from now on.
    ///
    /// # Errors
    ///
    /// `Superseded` if readers see a newer version. `Unavailable`, `Invalid`, `Corrupt`.
    fn begin(
        &self,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> BoxFuture<'_, Result<Kept, ProjectionError>>;

    /// Applies a page of events to the view and moves the checkpoint, in one transaction.
    ///
    /// # Errors
    ///
    /// `Superseded` if the version was dropped for a newer one. `Unavailable`, `Corrupt`,
    /// `Invalid`.
    fn apply(&self, page: ViewPage) -> BoxFuture<'_, Result<Applied, ProjectionError>>;

    /// Records that an event is skipped, and moves the checkpoint from `after` to it.
    ///
    /// # Errors
    ///
    /// `Invalid` if [`SKIPPED_EVENTS_MAX`] are recorded already; otherwise as for
    /// [`apply`](Self::apply).
    fn skip(
        &self,
        after: Option<Checkpoint>,
        skipped: SkippedEvent,
    ) -> BoxFuture<'_, Result<Applied, ProjectionError>>;

    /// Makes readers see this version instead of an older one, which is dropped, and moves the
    /// checkpoint from `after` to `to`, in one transaction. `supersede` decides whether this also
    /// happens if the older version is ahead of `to`.
    ///
    /// # Errors
    ///
    /// As for [`apply`](Self::apply).
    fn switch(
        &self,
        after: Option<Checkpoint>,
        to: Option<Checkpoint>,
        supersede: Supersede,
    ) -> BoxFuture<'_, Result<Switched, ProjectionError>>;

    /// Returns the events that this version skipped, in the order of their positions, after the
    /// position `after`; at most `limit`, at most [`SKIPPED_PAGE_MAX`]. An empty page is the end.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0; `Unavailable`, `Corrupt`.
    fn skipped(
        &self,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SkippedEvent>, ProjectionError>>;

    /// Discards this version, with its view and its checkpoint. It can then begin again, for
    /// example after its upstream has diverged, even while an older version over another log
    /// exists. If readers saw the discarded version, they see an incomplete view until it has
    /// caught up again.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn discard(&self) -> BoxFuture<'_, Result<(), ProjectionError>>;
}

/// The stored state of one version, without the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "a view store must set every field"
)]
pub struct Kept {
    /// Id of the log that was the upstream when the version began.
    pub upstream: LogId,
    /// The last event that was applied or skipped; none before the first.
    pub checkpoint: Option<Checkpoint>,
    /// The version that readers see.
    pub seen: Seen,
    /// The number of events that were skipped as poison.
    pub skipped: u64,
}

/// The version of a view that readers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Seen {
    /// This one.
    This,
    /// An older one, until this one has caught up.
    Older,
}

/// A page of events for a view.
#[derive(Clone, Debug)]
#[allow(
    clippy::exhaustive_structs,
    reason = "a view store must handle all of it"
)]
pub struct ViewPage {
    /// The checkpoint after which the page was read.
    pub after: Option<Checkpoint>,
    /// Events that the projection selects, in the order of the log.
    pub events: Vec<StoredEvent>,
    /// The end of the page, which becomes the checkpoint.
    pub to: Checkpoint,
}

/// The outcome of applying a page.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle all of it")]
pub enum Applied {
    /// The page was applied, and the checkpoint is at its end.
    Whole,
    /// An event could not be applied. The events before it were applied, and the checkpoint is at
    /// the last of them.
    Until {
        /// How many of the page's events were applied.
        count: usize,
        /// Why the next event could not be applied.
        error: Arc<dyn StdError + Send + Sync>,
    },
    /// Nothing was applied: another view store has moved the checkpoint, and it is no longer where
    /// the page begins.
    Elsewhere(Option<Checkpoint>),
}

/// When a version replaces an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a view store must handle all of it"
)]
pub enum Supersede {
    /// When it has processed everything that the older one has: readers never move backward.
    Reached,
    /// Even if the older one is ahead: its additional events are no longer in the log.
    Diverged,
}

/// The outcome of a switch: whether readers now see the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle all of it")]
pub enum Switched {
    /// Readers see the version, and older versions are dropped.
    Done,
    /// Readers still see the older version, because it is ahead, at this checkpoint: catch up, then
    /// try again.
    Behind(Checkpoint),
    /// Another view store has moved this version's checkpoint.
    Elsewhere(Option<Checkpoint>),
}

/// An event that a projection skipped as poison.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedEvent {
    /// The event.
    pub checkpoint: Checkpoint,
    /// Its topic, as stored.
    pub topic: Arc<str>,
    /// Why it could not be applied, as text.
    pub error: Arc<str>,
    /// When it was skipped.
    pub at: Timestamp,
}

impl SkippedEvent {
    /// Creates a record of this event, skipped at this time.
    pub fn new(event: &PoisonedEvent, at: Timestamp) -> Self {
        Self {
            checkpoint: event.checkpoint,
            topic: event.topic.clone(),
            error: event.error.to_string().into(),
            at,
        }
    }

    /// For view stores: creates a record from its stored parts.
    pub fn from_parts(
        checkpoint: Checkpoint,
        topic: impl Into<Arc<str>>,
        error: impl Into<Arc<str>>,
        at: Timestamp,
    ) -> Self {
        Self {
            checkpoint,
            topic: topic.into(),
            error: error.into(),
            at,
        }
    }
}
