//! Commits a decision about one aggregate, and finds what a command committed before.

use std::mem;
use std::sync::Arc;

use super::cache::Folded;
use super::command_id::CommandId;
use super::error::{Error, Result};
use super::handle::Application;
use super::recorded::{Outcome, Recorded};
use super::scope::Scope;
use super::stamp::Stamp;
use super::telemetry;
use crate::domain::Aggregate;
use crate::recording::{
    Append, Appended, Checkpoint, Conflict, EventId, Positions, StoredEvent, Version,
};

/// The result of a commit.
pub(super) enum Commit {
    /// The events are recorded.
    Recorded(Recorded),
    /// Events of the same command are already in the log, and those count.
    Before,
    /// Another append was recorded first.
    Conflict(Conflict),
}

impl Application {
    /// Records events that were decided on a state, if that is still the newest. The state then
    /// applies them as they will be read, because data of a decision that is not in the log must
    /// not count.
    pub(super) async fn commit<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        folded: &mut Folded<A>,
        events: &[A::Event],
        command: Option<&CommandId>,
        scope: Option<&Scope>,
    ) -> Result<Commit> {
        let before = folded.version;
        let (new, events) = Stamp::new(self, command, scope).of_stream(stream, events)?;
        let last = new.last().map(|event| event.id);
        let append = Append::of(new).condition(folded.condition(Arc::clone(stream)));
        let positions = match self.settle_new(append, command).await {
            Ok(Appended::Repeated(_)) if command.is_some() => return Ok(Commit::Before),
            Ok(appended) => appended.positions(),
            Err(Error::Conflict(Conflict::EventId { .. })) if command.is_some() => {
                return Ok(Commit::Before);
            }
            Err(Error::Conflict(conflict)) => return Ok(Commit::Conflict(conflict)),
            Err(error) => return Err(error),
        };
        let last = checkpoint(positions, last);
        let base = mem::take(folded);
        *folded = self.core.cache.advance(stream, base, &events, last);
        let recorded = self.committed(stream, before, folded, positions);
        Ok(Commit::Recorded(recorded.await))
    }

    /// Caches the state after events that were just recorded; `last` is the id of the last of them.
    pub(super) async fn keep<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        before: Option<Version>,
        mut folded: Folded<A>,
        positions: Positions,
        last: EventId,
    ) -> Recorded {
        folded.checkpoint = checkpoint(positions, Some(last));
        self.core.cache.put(stream, &folded);
        self.committed(stream, before, &folded, positions).await
    }

    /// Does the follow-up work for events that were recorded after the version `before`.
    async fn committed<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        before: Option<Version>,
        folded: &Folded<A>,
        positions: Positions,
    ) -> Recorded {
        self.take_snapshot_if_due(stream, before, folded).await;
        // Only after caching: a follower of this log starts with the cached state.
        self.after_commit().await;
        Recorded {
            stream: Some(Arc::clone(stream)),
            version: folded.version,
            positions,
            checkpoint: folded.checkpoint,
            outcome: Outcome::Recorded,
        }
    }

    /// Returns the first event that was recorded under this command id, or `None`.
    pub(super) async fn first_of(&self, command: &CommandId) -> Result<Option<StoredEvent>> {
        Ok(self.core.recorder.event(command.event_id(0)).await?)
    }

    /// Returns what was recorded under this command id, if anything: it must have been about this
    /// stream.
    pub(super) async fn recorded_before(
        &self,
        command: &CommandId,
        stream: &Arc<str>,
    ) -> Result<Option<Recorded>> {
        let Some(first) = self.first_of(command).await? else {
            return Ok(None);
        };
        Scope::stream(stream).check(command, &first)?;
        let count = first.place().count;
        let last = match count {
            1 => Some(first.clone()),
            _ => {
                let id = command.event_id(u64::from(count) - 1);
                self.core.recorder.event(id).await?
            }
        };
        let version = last
            .iter()
            .find(|last| last.stream() == Some(stream))
            .and_then(StoredEvent::version);
        telemetry::count(telemetry::REPEATS);
        Ok(Some(repeated(&first, last.as_ref(), Some(stream), version)))
    }
}

/// Returns what a command recorded before, from its first and last event.
pub(super) fn repeated(
    first: &StoredEvent,
    last: Option<&StoredEvent>,
    stream: Option<&Arc<str>>,
    version: Option<Version>,
) -> Recorded {
    Recorded {
        stream: stream.cloned(),
        version,
        positions: Positions::new(first.position(), u64::from(first.place().count)),
        checkpoint: last.map(StoredEvent::checkpoint),
        outcome: Outcome::Repeated,
    }
}

/// Returns the checkpoint of the last of these events.
pub(super) fn checkpoint(positions: Positions, last: Option<EventId>) -> Option<Checkpoint> {
    let position = positions.last()?;
    last.map(|event_id| Checkpoint { position, event_id })
}
