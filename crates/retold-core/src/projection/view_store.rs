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
/// The trait is dyn-compatible, so that one runner can drive views in memory and in databases.
/// Several view stores of one projection may work at the same time, also in several processes.
///
/// # Contract
///
/// Each rule has a test of the same name in the crate `retold-conformance`, which every view store
/// runs. [`ViewRules`](super::ViewRules) and [`PageAttempt`](super::PageAttempt) make the decisions
/// from the stored data, so a view store only reads and writes its database.
///
/// 1. `view_and_checkpoint_change_together`, in one transaction, or not at all.
/// 2. `a_page_is_applied_once`: [`apply`](Self::apply), [`skip`](Self::skip) and
///    [`switch`](Self::switch) compare the stored checkpoint with the expected one. If another view
///    store has moved it, they change nothing and return the stored one.
/// 3. `an_event_that_fails_leaves_no_trace`: if a handler fails or panics, all of its changes are
///    undone. The events of the page before it are applied, and the checkpoint is at the last of
///    them.
/// 4. `skipped_events_are_listed`: a skipped event moves the checkpoint, and is listed once, for
///    its version only.
/// 5. `a_dropped_call_takes_effect_completely_or_not`: a future may be dropped at any time.
/// 6. `a_version_begins_once`: a version that has begun is left unchanged by
///    [`begin`](Self::begin), with one exception: if it began over another log and has no
///    checkpoint, it has processed nothing, so it takes the new log id and start.
/// 7. `readers_see_the_first_version_at_once`: if readers see no version, they see one that begins.
///    Other versions are built next to it, and change nothing that readers see.
/// 8. `readers_never_move_backward`: a version replaces an older one only if its checkpoint is not
///    before that of the older one, unless the log has [diverged](Supersede::Diverged).
/// 9. `a_switch_drops_older_versions`: readers see the version, and all older ones are dropped, in
///    one transaction. Every later call that would change one of them fails with
///    [`Superseded`](ProjectionError::Superseded).
/// 10. `a_version_that_is_not_stored_changes_nothing`: before it begins, and after it is discarded,
///     the calls of rule 2 fail with [`Invalid`](ProjectionError::Invalid), unless readers see a
///     newer version.
/// 11. `a_discarded_version_begins_again`, over any log. Its view, its checkpoint and its skipped
///     events are gone; other versions are unchanged.
/// 12. `versions_have_events_of_one_log`: a version does not begin over one log while another
///     version has events of another log, because it would replace the view of another store. It
///     fails with [`Diverged`](ProjectionError::Diverged), unless this view store was asked to
///     [`discard`](Self::discard) the version before.
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
    fn kept(&self) -> BoxFuture<'_, Result<Option<StoredView>, ProjectionError>>;

    /// Begins this version over the log with this id, with the checkpoint `start`, and returns the
    /// stored state (rules 6, 7 and 12).
    ///
    /// # Errors
    ///
    /// `Superseded` if readers see a newer version. `Diverged` by rule 12. `Unavailable`,
    /// `Invalid`, `Corrupt`.
    fn begin(
        &self,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> BoxFuture<'_, Result<StoredView, ProjectionError>>;

    /// Applies a page of events to the view and moves the checkpoint, in one transaction.
    ///
    /// # Errors
    ///
    /// `Superseded` if the version was dropped for a newer one; `Invalid` if it is not stored for
    /// another reason (rule 10). `Unavailable`, `Corrupt`.
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
pub struct StoredView {
    /// Id of the log that was the upstream when the version began.
    pub upstream: LogId,
    /// The last event that was applied or skipped; none before the first.
    pub checkpoint: Option<Checkpoint>,
    /// The version that readers see.
    pub seen: VisibleView,
    /// The number of events that were skipped as poison.
    pub skipped: u64,
}

impl StoredView {
    /// Returns whether [`begin`](ViewStore::begin) over this log leaves the version unchanged: it
    /// has begun over this log, or has processed events of the log over which it began.
    pub fn has_begun_over(&self, upstream: LogId) -> bool {
        self.checkpoint.is_some() || self.upstream == upstream
    }
}

/// The version of a view that readers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third")]
pub enum VisibleView {
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
