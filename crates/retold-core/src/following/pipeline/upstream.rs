//! A log that a pipeline follows: where it is, and where it must stop.

use std::sync::Arc;

use super::holding::Hold;
use crate::application::{Application, TopicWatch};
use crate::mapping::TopicRegistry;
use crate::recording::{Checkpoint, LogId, Position, Recorder};

/// A log that is followed.
pub(super) struct Upstream {
    pub(super) name: Arc<str>,
    pub(super) recorder: Arc<dyn Recorder>,
    pub(super) log: LogId,
    /// The end of the last recorded processed range, or where the generation started.
    pub(super) checkpoint: Option<Checkpoint>,
    /// The end of the range that the batch covers.
    pub(super) reached: Option<Checkpoint>,
    /// While a split is pending: no event after this checkpoint is processed before the split.
    pub(super) limit: Option<Option<Checkpoint>>,
    /// The types of its application.
    pub(super) registry: Arc<TopicRegistry>,
    /// Its known topics.
    pub(super) topics: TopicWatch,
    /// The event that this program does not know, before which it holds.
    pub(super) hold: Option<Hold>,
}

impl Upstream {
    /// The log of this application, before the pipeline has read anything.
    pub(super) fn new(application: &Application) -> Self {
        Self {
            name: application.name().into(),
            recorder: Arc::clone(application.recorder()),
            registry: Arc::clone(application.shared_registry()),
            topics: TopicWatch::default(),
            hold: None,
            log: LogId::new(uuid::Uuid::nil()),
            checkpoint: None,
            reached: None,
            limit: None,
        }
    }

    /// Returns whether a position is processed, recorded or not yet.
    pub(super) fn has_reached(&self, position: Position) -> bool {
        Some(position) <= self.reached_position()
    }

    /// The last processed position.
    pub(super) fn reached_position(&self) -> Option<Position> {
        self.reached.map(|checkpoint| checkpoint.position)
    }

    /// Returns how many positions were passed since the last recorded one.
    pub(super) fn unflushed(&self) -> u64 {
        let recorded = self.checkpoint.map(|checkpoint| checkpoint.position);
        Position::number(self.reached_position()) - Position::number(recorded)
    }

    /// Returns whether a position must not be processed yet.
    pub(super) fn is_beyond_limit(&self, position: Position) -> bool {
        let after = |limit: Option<Checkpoint>| {
            Some(position) > limit.map(|checkpoint| checkpoint.position)
        };
        self.limit.is_some_and(after) || self.is_held_at(position)
    }

    /// Returns whether a position is at or after the event that is held before.
    fn is_held_at(&self, position: Position) -> bool {
        let hold = self.hold.as_ref();
        hold.is_some_and(|hold| position >= hold.held.event.position)
    }

    /// Returns where its next page must end; none if there is no limit, and an empty limit if no
    /// event may be processed.
    pub(super) fn read_until(&self) -> Option<Option<Position>> {
        let limit = self
            .limit
            .map(|it| it.map(|checkpoint| checkpoint.position));
        let before = |hold: &Hold| Position::new(hold.held.event.position.get() - 1);
        let held = self.hold.as_ref().map(before);
        match (limit, held) {
            (Some(limit), Some(held)) => Some(limit.min(held)),
            (limit, held) => limit.or(held),
        }
    }
}
