//! The rules of a view store as pure functions: which version of a view begins, which events it
//! processes, and which version readers see.
//!
//! A view store reads its stored versions, asks [`ViewRules`], and writes what the decision says,
//! all in one transaction. So every view store decides the same.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::ProjectionError;
use super::outline::ProjectionOutline;
use super::view_store::{
    Applied, SKIPPED_EVENTS_MAX, SkippedEvent, StoredView, Supersede, Switched, ViewPage,
    VisibleView,
};
use crate::recording::{Checkpoint, Invalid, LogId, RecordError, StoredEvent};

/// One version of a view as its view store has stored it, without the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "a view store must store every field"
)]
pub struct ViewVersion {
    /// The version of the projection.
    pub version: u32,
    /// Id of the log that was the upstream when the version began.
    pub upstream: LogId,
    /// The last event that was applied or skipped; none before the first.
    pub checkpoint: Option<Checkpoint>,
    /// Whether readers see this version. At most one version is seen.
    pub is_seen: bool,
    /// The plain names of the tables that were created for it; empty for a view without tables.
    pub tables: Vec<String>,
}

impl ViewVersion {
    /// Returns the stored state for a driver; `skipped` is the number of skipped events.
    pub fn kept(&self, skipped: u64) -> StoredView {
        StoredView {
            upstream: self.upstream,
            checkpoint: self.checkpoint,
            seen: match self.is_seen {
                true => VisibleView::This,
                false => VisibleView::Older,
            },
            skipped,
        }
    }

    /// Returns the result for a call that expects the checkpoint `after`, if the checkpoint is no
    /// longer there.
    pub fn elsewhere(&self, after: Option<Checkpoint>) -> Option<Applied> {
        (self.checkpoint != after).then_some(Applied::Elsewhere(self.checkpoint))
    }
}

/// How a version begins: what a view store does for [`ViewStore::begin`](super::ViewStore::begin).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a view store must handle all of it"
)]
pub enum Begin {
    /// It has begun, and is left unchanged.
    Unchanged(ViewVersion),
    /// It has begun over another log but has processed nothing: its stored state is replaced.
    Replaced(ViewVersion),
    /// It begins: its empty view is created, is shown to readers if they see no other, and its
    /// state is stored.
    Created(ViewVersion),
}

impl Begin {
    /// Returns the version as it is stored afterwards.
    pub fn version(&self) -> &ViewVersion {
        match self {
            Self::Unchanged(version) | Self::Replaced(version) | Self::Created(version) => version,
        }
    }
}

/// What a view store does for [`ViewStore::switch`](super::ViewStore::switch).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a view store must handle all of it"
)]
pub enum Switch<'a> {
    /// It changes nothing, and returns this.
    Unchanged(Switched),
    /// It shows this version to readers, if they do not see it yet, drops the older ones, moves
    /// the checkpoint, and returns [`Switched::Done`].
    Done {
        /// The version that readers see from now on.
        version: &'a ViewVersion,
        /// The versions to drop.
        older: Vec<&'a ViewVersion>,
    },
}

/// Decides for the view store of one version of a projection.
#[derive(Debug)]
pub struct ViewRules {
    outline: ProjectionOutline,
    /// Whether this view store was asked to rebuild the view.
    is_rebuilt: AtomicBool,
}

impl ViewRules {
    /// Creates the rules for a projection.
    pub fn new(outline: &ProjectionOutline) -> Self {
        Self {
            outline: outline.clone(),
            is_rebuilt: AtomicBool::new(false),
        }
    }

    /// Returns the projection without its handlers.
    pub fn outline(&self) -> &ProjectionOutline {
        &self.outline
    }

    /// Returns a database error as an error of this projection.
    pub fn error(&self, error: RecordError) -> ProjectionError {
        ProjectionError::of_record_error(self.outline.label(), error)
    }

    /// Returns the error about a mistake in how the projection is declared or used.
    pub fn invalid(&self, reason: impl Into<String>) -> ProjectionError {
        self.error(Invalid::new(reason.into()).into())
    }

    /// Decides how this version begins over the log `upstream`, with the checkpoint `start` and
    /// these tables. `stored` are all stored versions of the projection.
    ///
    /// # Errors
    ///
    /// `Superseded` if readers see a newer version. `Diverged` if another version has events of
    /// another log, which usually belongs to another store; not after a
    /// [discard](Self::discard).
    pub fn begin(
        &self,
        stored: &[ViewVersion],
        upstream: LogId,
        start: Option<Checkpoint>,
        tables: &[Arc<str>],
    ) -> Result<Begin, ProjectionError> {
        if let Some(newer) = self.seen_newer(stored) {
            self.check_same_log(newer, upstream)?;
            return Err(self.superseded(newer));
        }
        let Some(begun) = self.own(stored) else {
            // A new version would replace the view that another store keeps under the same name.
            for other in stored {
                self.check_same_log(other, upstream)?;
            }
            return Ok(Begin::Created(ViewVersion {
                version: self.outline.version,
                upstream,
                checkpoint: start,
                is_seen: seen(stored).is_none(),
                tables: tables.iter().map(|it| (**it).into()).collect(),
            }));
        };
        Ok(match begun.kept(0).has_begun_over(upstream) {
            true => Begin::Unchanged(begun.clone()),
            // The tables have the names of their creation, even if the declaration has changed.
            false => Begin::Replaced(ViewVersion {
                upstream,
                checkpoint: start,
                ..begun.clone()
            }),
        })
    }

    /// Returns this version among the stored ones.
    pub fn own<'a>(&self, stored: &'a [ViewVersion]) -> Option<&'a ViewVersion> {
        stored.iter().find(|it| it.version == self.outline.version)
    }

    /// Returns the version that readers see, if it is newer than this one.
    fn seen_newer<'a>(&self, stored: &'a [ViewVersion]) -> Option<&'a ViewVersion> {
        seen(stored).filter(|it| it.version > self.outline.version)
    }

    /// Returns the error that this version is not among the stored ones: `Superseded` if readers
    /// see a newer one, otherwise `Invalid`.
    pub fn missing(&self, stored: &[ViewVersion]) -> ProjectionError {
        match self.seen_newer(stored) {
            Some(newer) => self.superseded(newer),
            None => self
                .invalid("it was discarded while it was running, or has not begun; begin it again"),
        }
    }

    /// Decides whether an event is skipped in this stored version, of which `count` events are
    /// skipped already. Returns the result if it is not.
    ///
    /// # Errors
    ///
    /// `Invalid` if [`SKIPPED_EVENTS_MAX`] are skipped already.
    pub fn skip(
        &self,
        stored: &ViewVersion,
        after: Option<Checkpoint>,
        skipped: &SkippedEvent,
        count: u64,
    ) -> Result<Option<Applied>, ProjectionError> {
        if let Some(elsewhere) = stored.elsewhere(after) {
            return Ok(Some(elsewhere));
        }
        match count >= SKIPPED_EVENTS_MAX {
            true => Err(self.invalid(format!(
                "{SKIPPED_EVENTS_MAX} events were skipped already, and {} would be one more",
                skipped.checkpoint
            ))),
            false => Ok(None),
        }
    }

    /// Decides whether readers see this version from now on.
    ///
    /// # Errors
    ///
    /// As for [`missing`](Self::missing) if this version is not stored; `Superseded` if readers see
    /// a newer one.
    pub fn switch<'a>(
        &self,
        stored: &'a [ViewVersion],
        after: Option<Checkpoint>,
        to: Option<Checkpoint>,
        supersede: Supersede,
    ) -> Result<Switch<'a>, ProjectionError> {
        let Some(version) = self.own(stored) else {
            return Err(self.missing(stored));
        };
        if version.checkpoint != after {
            return Ok(Switch::Unchanged(Switched::Elsewhere(version.checkpoint)));
        }
        if let Some(newer) = self.seen_newer(stored) {
            return Err(self.superseded(newer));
        }
        if let Some(ahead) = seen(stored).and_then(|it| it.checkpoint)
            && !version.is_seen
            && supersede == Supersede::Reached
            && to.map(|to| to.position) < Some(ahead.position)
        {
            return Ok(Switch::Unchanged(Switched::Behind(ahead)));
        }
        let older = stored.iter().filter(|it| it.version < version.version);
        Ok(Switch::Done {
            version,
            older: older.collect(),
        })
    }

    /// Notes that this version is discarded, so that it may begin over another log.
    pub fn discard(&self) {
        self.is_rebuilt.store(true, Ordering::Release);
    }

    /// Checks that a version's rows are of this log, unless a rebuild of the view from the present
    /// log was requested.
    fn check_same_log(&self, stored: &ViewVersion, upstream: LogId) -> Result<(), ProjectionError> {
        match stored.checkpoint {
            Some(checkpoint) if stored.upstream != upstream && !self.is_rebuilt() => {
                let ids = (stored.upstream, upstream);
                Err(self.outline.of_another_log(checkpoint, None, ids))
            }
            _ => Ok(()),
        }
    }

    /// For inline projections: checks that the view is of this log in its present state. `found` is
    /// the event of the log at the position of the version's checkpoint.
    ///
    /// # Errors
    ///
    /// `Diverged` if the view has events that the log does not have.
    pub fn check_upstream(
        &self,
        kept: &StoredView,
        upstream: LogId,
        found: Option<Checkpoint>,
    ) -> Result<(), ProjectionError> {
        let ids = (kept.upstream, upstream);
        match kept.checkpoint {
            Some(checkpoint) if ids.0 != ids.1 => {
                Err(self.outline.of_another_log(checkpoint, found, ids))
            }
            Some(checkpoint) if found != Some(checkpoint) => {
                Err(self.outline.diverged(checkpoint, found))
            }
            _ => Ok(()),
        }
    }

    fn is_rebuilt(&self) -> bool {
        self.is_rebuilt.load(Ordering::Acquire)
    }

    fn superseded(&self, newer: &ViewVersion) -> ProjectionError {
        ProjectionError::Superseded {
            projection: self.outline.label(),
            current: newer.version,
        }
    }

    /// For inline projections: returns the error of an append with an event that the projection
    /// cannot process.
    pub fn refuse_append(
        &self,
        event: &StoredEvent,
        error: &(dyn StdError + Send + Sync),
    ) -> RecordError {
        RecordError::invalid(format!(
            "{}, an inline projection of {:?}, cannot process the event {:?} that would be at \
             position {}, so nothing is recorded: {error}",
            self.outline.label(),
            self.outline.upstream,
            event.topic(),
            event.position(),
        ))
    }
}

/// Returns the version that readers see.
fn seen(stored: &[ViewVersion]) -> Option<&ViewVersion> {
    stored.iter().find(|it| it.is_seen)
}

/// A page while a view store applies it in a transaction. An event that fails undoes those before
/// it too; these are processed again without it, which costs nothing if none fails.
#[derive(Debug)]
pub struct PageAttempt<'a> {
    page: &'a ViewPage,
    count: usize,
    error: Option<Arc<dyn StdError + Send + Sync>>,
}

impl<'a> PageAttempt<'a> {
    /// Begins with all events of the page.
    pub fn new(page: &'a ViewPage) -> Self {
        Self {
            page,
            count: page.events.len(),
            error: None,
        }
    }

    /// Returns the events to process, all in one transaction.
    pub fn events(&self) -> &'a [StoredEvent] {
        &self.page.events[..self.count]
    }

    /// Returns the checkpoint to store once all of [`events`](Self::events) are processed; none if
    /// there is nothing to store, because the first event of the page failed.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        match self.error {
            None => Some(self.page.to),
            Some(_) => self.events().last().map(StoredEvent::checkpoint),
        }
    }

    /// Continues after the event with this index failed and the changes were rolled back: with the
    /// events before it.
    pub fn without(&mut self, index: usize, error: Arc<dyn StdError + Send + Sync>) {
        self.count = index;
        self.error = Some(error);
    }

    /// Returns the result, once all of [`events`](Self::events) are processed.
    pub fn applied(self) -> Applied {
        match self.error {
            None => Applied::Whole,
            Some(error) => Applied::Until {
                count: self.count,
                error,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::Timestamp;
    use crate::recording::{EventId, Position};

    fn checkpoint(position: u64) -> Checkpoint {
        Checkpoint {
            position: Position::new(position).expect("it is not 0"),
            event_id: EventId::new(Uuid::from_u128(position.into())),
        }
    }

    fn log(number: u128) -> LogId {
        LogId::new(Uuid::from_u128(number))
    }

    /// A version over log 1.
    fn stored(version: u32, position: u64, is_seen: bool) -> ViewVersion {
        ViewVersion {
            version,
            upstream: log(1),
            checkpoint: (position > 0).then(|| checkpoint(position)),
            is_seen,
            tables: vec![format!("table_of_{version}")],
        }
    }

    fn rules(version: u32) -> ViewRules {
        ViewRules::new(&ProjectionOutline::new(
            "dogs".into(),
            version,
            "log".into(),
        ))
    }

    #[test]
    fn a_version_keeps_the_tables_of_its_creation() {
        let begun = [stored(2, 0, true)];
        let begin = rules(2).begin(&begun, log(2), Some(checkpoint(5)), &["new".into()]);
        let expected = ViewVersion {
            upstream: log(2),
            checkpoint: Some(checkpoint(5)),
            ..stored(2, 0, true)
        };
        assert_eq!(begin.ok(), Some(Begin::Replaced(expected)));
        let begin = rules(3).begin(&begun, log(1), None, &["new".into()]);
        let expected = ViewVersion {
            tables: vec!["new".into()],
            ..stored(3, 0, false)
        };
        assert_eq!(begin.ok(), Some(Begin::Created(expected)));
    }

    #[test]
    fn a_switch_drops_exactly_the_older_versions() {
        let all = [
            stored(1, 9, true),
            stored(2, 1, false),
            stored(3, 4, false),
            stored(4, 4, false),
        ];
        let switch = |to, supersede| {
            let switch =
                rules(3).switch(&all, Some(checkpoint(4)), Some(checkpoint(to)), supersede);
            switch.expect("it is stored")
        };
        let done = Switch::Done {
            version: &all[2],
            older: vec![&all[0], &all[1]],
        };
        let behind = Switch::Unchanged(Switched::Behind(checkpoint(9)));
        assert_eq!(switch(8, Supersede::Reached), behind);
        assert_eq!(switch(9, Supersede::Reached), done);
        assert_eq!(switch(4, Supersede::Diverged), done);
        let missing = rules(5).switch(&all, None, None, Supersede::Reached);
        assert!(
            matches!(missing, Err(ProjectionError::Invalid { .. })),
            "{missing:?}"
        );
    }

    /// A version that readers see is never replaced by an older one, however far that has read.
    #[test]
    fn a_newer_version_that_readers_see_stays() {
        let all = [stored(2, 9, false), stored(3, 4, true)];
        for supersede in [Supersede::Reached, Supersede::Diverged] {
            let switch = rules(2).switch(&all, all[0].checkpoint, all[0].checkpoint, supersede);
            assert!(
                matches!(switch, Err(ProjectionError::Superseded { current: 3, .. })),
                "{switch:?}"
            );
        }
    }

    #[test]
    fn skipped_events_are_limited() {
        let event = SkippedEvent::from_parts(checkpoint(5), "topic", "error", Timestamp::default());
        let stored = stored(1, 4, true);
        let skip = |count| rules(1).skip(&stored, stored.checkpoint, &event, count);
        assert!(matches!(skip(SKIPPED_EVENTS_MAX - 1), Ok(None)));
        let refused = skip(SKIPPED_EVENTS_MAX).err().map(|it| it.to_string());
        assert!(refused.is_some_and(|it| it.contains("one more")));
    }

    #[test]
    fn a_view_of_another_log_is_diverged() {
        let kept = stored(1, 4, true).kept(0);
        let check = |upstream, found| rules(1).check_upstream(&kept, upstream, found).err();
        assert!(check(log(1), Some(checkpoint(4))).is_none());
        for (upstream, found) in [
            (1, None),
            (1, Some(checkpoint(3))),
            (2, Some(checkpoint(4))),
        ] {
            let error = check(log(upstream), found);
            let is_diverged = matches!(error, Some(ProjectionError::Diverged { .. }));
            assert!(is_diverged, "{upstream}, {found:?}: {error:?}");
        }
        assert!(
            rules(1)
                .check_upstream(&stored(1, 0, true).kept(0), log(2), None)
                .is_ok()
        );
    }
}
