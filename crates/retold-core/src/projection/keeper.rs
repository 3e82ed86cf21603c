//! The keeper: where the view of one projection is, with its checkpoint. What databases do
//! differently is behind this; whoever drives a projection knows no more.

use std::error::Error as StdError;
use std::sync::Arc;

use super::error::{PoisonedEvent, ProjectionError};
use super::handling::Handling;
use super::outline::ProjectionOutline;
use crate::domain::Timestamp;
use crate::recording::{BoxFuture, LogId, Mark, Position, StoredEvent};

/// Most events that one version of a projection passes over and records. A view with more holes is
/// none: the projection stops.
pub const SKIPPED_EVENTS_MAX: u64 = 10_000;
/// Most skipped events on a page of them.
pub const SKIPPED_PAGE_MAX: usize = 1_000;

/// Keeps the view of one version of one projection, with its checkpoint.
///
/// The trait is dyn-compatible, so that one runner drives views in memory and in databases alike. View
/// and checkpoint change together or not at all. Several keepers of one projection may be at work at a
/// time, in several processes too: each call compares the checkpoint, and what another has applied is
/// not applied again. Futures may be dropped; what they began is then done or not.
pub trait ViewKeeper: Send + Sync {
    /// The projection, without its handlers.
    fn outline(&self) -> &ProjectionOutline;

    /// Whether only this process sees the view, as one in memory, so that each process that is to read
    /// it must keep it itself. If not, as is taken for granted, one of them keeps it for all.
    fn is_of_this_process(&self) -> bool {
        false
    }

    /// Which event the projection's handlers are at, for those who look whether they return; none if the keeper
    /// does not say.
    fn handling(&self) -> Option<&Handling> {
        None
    }

    /// What is kept of this version; none if it has not begun.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn kept(&self) -> BoxFuture<'_, Result<Option<Kept>, ProjectionError>>;

    /// Begins this version over the log of this id, with the checkpoint `start`, and returns what is
    /// kept then. If it has begun, it is left as it is, but for one that has no checkpoint yet and began
    /// over another log: it has processed nothing, and takes the new log id and start.
    ///
    /// If no version is there, readers see this one from now on.
    ///
    /// # Errors
    ///
    /// `Superseded` if readers see a newer version. `Unavailable`, `Invalid`, `Corrupt`.
    fn begin(
        &self,
        upstream: LogId,
        start: Option<Mark>,
    ) -> BoxFuture<'_, Result<Kept, ProjectionError>>;

    /// Takes a page of events into the view and moves the checkpoint, in one transaction.
    ///
    /// # Errors
    ///
    /// `Superseded` if the version was dropped for a newer one. `Unavailable`, `Corrupt`, `Invalid`.
    fn apply(&self, page: ViewPage) -> BoxFuture<'_, Result<Applied, ProjectionError>>;

    /// Records that an event is passed over, and moves the checkpoint to it from `after`.
    ///
    /// # Errors
    ///
    /// `Invalid` if [`SKIPPED_EVENTS_MAX`] are recorded already; else as for [`apply`](Self::apply).
    fn skip(
        &self,
        after: Option<Mark>,
        skipped: SkippedEvent,
    ) -> BoxFuture<'_, Result<Applied, ProjectionError>>;

    /// Lets readers see this version in place of an older one, which is dropped, and moves the
    /// checkpoint from `after` to `to`, in one transaction. What is to be done with an older one that is
    /// ahead of `to` says `supersede`.
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

    /// Events that this version passed over, in the order of their positions, after the position
    /// `after`; at most `limit`, at most [`SKIPPED_PAGE_MAX`]. An empty page is the end.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0; `Unavailable`, `Corrupt`.
    fn skipped(
        &self,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SkippedEvent>, ProjectionError>>;

    /// Forgets this version: its view and its checkpoint; it may begin anew, after its upstream has
    /// diverged, also beside an older version of another log. If readers see it, they see an empty view when it has begun, until it has caught up.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn discard(&self) -> BoxFuture<'_, Result<(), ProjectionError>>;
}

/// What a keeper keeps of one version beside the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a keeper must say all of it")]
pub struct Kept {
    /// Id of the log that was the upstream when the version began.
    pub upstream: LogId,
    /// The last event that is taken in or passed over; none before the first.
    pub checkpoint: Option<Mark>,
    /// Which version readers see.
    pub seen: Seen,
    /// How many events were passed over as poison.
    pub skipped: u64,
}

/// Which version of a view readers see.
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
#[allow(clippy::exhaustive_structs, reason = "a keeper must know all of it")]
pub struct ViewPage {
    /// The checkpoint after which the page was read.
    pub after: Option<Mark>,
    /// Events that the projection takes, in the order of the log.
    pub events: Vec<StoredEvent>,
    /// How far the page goes: the checkpoint, once it is applied.
    pub to: Mark,
}

/// What became of a page.
#[derive(Clone, Debug)]
#[allow(
    clippy::exhaustive_enums,
    reason = "whoever drives must know all of it"
)]
pub enum Applied {
    /// The view has it, and the checkpoint is at its end.
    Whole,
    /// An event could not be taken. Those before it are in the view, and the checkpoint is at the last
    /// of them.
    Until {
        /// How many of the page's events are in the view.
        count: usize,
        /// Why the next one is not.
        error: Arc<dyn StdError + Send + Sync>,
    },
    /// Nothing was applied: the checkpoint is not where the page begins, for another has moved it.
    Elsewhere(Option<Mark>),
}

/// When a version takes the place of an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a keeper must know all of it")]
pub enum Supersede {
    /// When it has all that the older one has: readers never go back.
    Reached,
    /// Also if the older one is ahead: what it is ahead by is not in the log any more.
    Diverged,
}

/// Whether readers see the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "whoever drives must know all of it"
)]
pub enum Switched {
    /// They do, and older ones are dropped.
    Done,
    /// The older one, which they see, is ahead, at this mark: catch up again.
    Behind(Mark),
    /// Another has moved this version's checkpoint.
    Elsewhere(Option<Mark>),
}

/// An event that a projection passed over as poison.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedEvent {
    /// Which event.
    pub mark: Mark,
    /// Its topic, as it is stored.
    pub topic: Arc<str>,
    /// Why it could not be taken, in words.
    pub error: Arc<str>,
    /// When it was passed over.
    pub at: Timestamp,
}

impl SkippedEvent {
    /// This event, passed over at this time.
    pub fn new(event: &PoisonedEvent, at: Timestamp) -> Self {
        Self {
            mark: event.mark,
            topic: event.topic.clone(),
            error: event.error.to_string().into(),
            at,
        }
    }

    /// For keepers: what they keep, put together again.
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
