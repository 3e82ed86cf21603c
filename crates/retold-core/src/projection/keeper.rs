//! The keeper: stores the view of one projection with its checkpoint. It hides the differences
//! between databases from the projection's driver.

use std::error::Error as StdError;
use std::sync::Arc;

use super::error::{PoisonedEvent, ProjectionError};
use super::handling::Handling;
use super::outline::ProjectionOutline;
use crate::domain::Timestamp;
use crate::recording::{BoxFuture, LogId, Mark, Position, StoredEvent};

/// The maximum number of skipped events that are recorded for one version of a projection. A view
/// with more holes is useless: the projection stops.
pub const SKIPPED_EVENTS_MAX: u64 = 10_000;
/// The maximum number of skipped events on a page of them.
pub const SKIPPED_PAGE_MAX: usize = 1_000;

/// Stores the view of one version of one projection, with its checkpoint.
///
/// The trait is dyn-compatible, so that one runner drives views in memory and in databases alike.
/// View and checkpoint change together or not at all. Several keepers of one projection may work at
/// the same time, also in several processes: each call compares the checkpoint, and an event that
/// another keeper has applied is not applied again. A future may be dropped; its call then takes
/// effect completely or not at all.
pub trait ViewKeeper: Send + Sync {
    /// Returns the projection without its handlers.
    fn outline(&self) -> &ProjectionOutline;

    /// Returns whether only this process sees the view, as with a view in memory; each process that
    /// reads such a view must keep it itself. If not, which is the default, one process keeps it
    /// for all.
    fn is_of_this_process(&self) -> bool {
        false
    }

    /// Returns the event that the projection's handlers are processing, so that a late one is
    /// noticed; none if the keeper does not report it.
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
    /// stored state. A version that has begun is left unchanged, except one that has no checkpoint
    /// yet and began over another log: it has processed nothing, and takes the new log id and
    /// start.
    ///
    /// If there is no version, readers see this one from now on.
    ///
    /// # Errors
    ///
    /// `Superseded` if readers see a newer version. `Unavailable`, `Invalid`, `Corrupt`.
    fn begin(
        &self,
        upstream: LogId,
        start: Option<Mark>,
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
        after: Option<Mark>,
        skipped: SkippedEvent,
    ) -> BoxFuture<'_, Result<Applied, ProjectionError>>;

    /// Makes readers see this version instead of an older one, which is dropped, and moves the
    /// checkpoint from `after` to `to`, in one transaction. `supersede` decides about an older
    /// version that is ahead of `to`.
    ///
    /// # Errors
    ///
    /// As for [`apply`](Self::apply).
    fn switch(
        &self,
        after: Option<Mark>,
        to: Option<Mark>,
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

    /// Discards this version: its view and its checkpoint. It can begin again after its upstream
    /// has diverged, even while an older version over another log exists. If readers see it, they
    /// see an empty view after it has begun, until it has caught up.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn discard(&self) -> BoxFuture<'_, Result<(), ProjectionError>>;
}

/// The stored state of one version, without the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a keeper must set every field")]
pub struct Kept {
    /// Id of the log that was the upstream when the version began.
    pub upstream: LogId,
    /// The last event that was applied or skipped; none before the first.
    pub checkpoint: Option<Mark>,
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
#[allow(clippy::exhaustive_structs, reason = "a keeper must handle all of it")]
pub struct ViewPage {
    /// The checkpoint after which the page was read.
    pub after: Option<Mark>,
    /// Events that the projection selects, in the order of the log.
    pub events: Vec<StoredEvent>,
    /// The end of the page: the checkpoint, once it is applied.
    pub to: Mark,
}

/// The outcome of applying a page.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle all of it")]
pub enum Applied {
    /// The page was applied, and the checkpoint is at its end.
    Whole,
    /// An event could not be applied. The events before it were, and the checkpoint is at the last
    /// of them.
    Until {
        /// How many of the page's events were applied.
        count: usize,
        /// Why the next one was not.
        error: Arc<dyn StdError + Send + Sync>,
    },
    /// Nothing was applied: another keeper has moved the checkpoint, and it is no longer where the
    /// page begins.
    Elsewhere(Option<Mark>),
}

/// When a version replaces an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a keeper must handle all of it")]
pub enum Supersede {
    /// When it has processed everything that the older one has: readers never move backward.
    Reached,
    /// Even if the older one is ahead: its additional events are no longer in the log.
    Diverged,
}

/// Whether readers see the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle all of it")]
pub enum Switched {
    /// They do, and older versions are dropped.
    Done,
    /// Readers see the older version, which is ahead, at this mark: catch up again.
    Behind(Mark),
    /// Another keeper has moved this version's checkpoint.
    Elsewhere(Option<Mark>),
}

/// An event that a projection skipped as poison.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedEvent {
    /// The event.
    pub mark: Mark,
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
            mark: event.mark,
            topic: event.topic.clone(),
            error: event.error.to_string().into(),
            at,
        }
    }

    /// For keepers: creates a record from its stored parts.
    pub fn from_parts(
        mark: Mark,
        topic: impl Into<Arc<str>>,
        error: impl Into<Arc<str>>,
        at: Timestamp,
    ) -> Self {
        Self {
            mark,
            topic: topic.into(),
            error: error.into(),
            at,
        }
    }
}
