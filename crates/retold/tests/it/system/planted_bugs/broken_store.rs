//! A store that makes of a sound library one with a bug: it changes the appends and reads that
//! followers make.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use retold::recording::append::{Append, Appended, Positions};
use retold::recording::condition::Condition;
use retold::recording::error::{Conflict, RecordError};
use retold::recording::identity::{EventId, LogId, Mark, Version};
use retold::recording::limits::Limits;
use retold::recording::new_event::NewEvent;
use retold::recording::origin::Origin;
use retold::recording::recorder::{
    BoxFuture, Head, LogRead, Page, Recorder, StreamEntry, StreamRead, StretchRead,
};
use retold::recording::snapshot::StoredSnapshot;
use retold::recording::store::{Lease, LogEntry, Store};
use retold::recording::stored_event::StoredEvent;
use retold::recording::stretch::{FollowerKey, RecordedStretch, Stretch};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    /// Effects first, then the stretch in an append of its own.
    CheckpointAfter,
    /// The stretch first, then its effects.
    CheckpointBefore,
    /// Effects are recorded as if somebody had asked for them.
    OriginLost,
    /// What was read is no condition of what is recorded.
    ReadsUnconditional,
    /// After a conflict the same effects are sent again, with the checkpoint that there is.
    RetryWithoutReading,
    /// What the store is unavailable for is taken for done.
    SkipAfterError,
    /// What may be recorded is taken for recorded.
    UnknownIsSuccess,
    /// Now and then a page of a log leaves its first event out.
    ReaderSkips,
    /// Of several effects the last is left out.
    EffectDropped,
}

pub(super) struct BrokenStore {
    sound: Arc<dyn Store>,
    bug: Bug,
}

impl BrokenStore {
    pub(super) fn new(sound: Arc<dyn Store>, bug: Bug) -> Self {
        Self { sound, bug }
    }

    fn broken(&self, sound: Arc<dyn Recorder>) -> Arc<dyn Recorder> {
        Arc::new(BrokenRecorder {
            sound,
            bug: self.bug,
            has_conflicted: AtomicBool::new(false),
        })
    }
}

impl Store for BrokenStore {
    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move { Ok(self.broken(self.sound.open(log, birth).await?)) })
    }

    /// Whoever only reads looks at what there is.
    fn open_read_only<'a>(
        &'a self,
        log: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        self.sound.open_read_only(log)
    }

    fn logs<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>, RecordError>> {
        self.sound.logs(after, limit)
    }

    fn acquire_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time_to_live: Duration,
    ) -> BoxFuture<'a, Result<Lease, RecordError>> {
        self.sound.acquire_lease(name, holder, time_to_live)
    }

    fn release_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
    ) -> BoxFuture<'a, Result<(), RecordError>> {
        self.sound.release_lease(name, holder)
    }

    fn leases<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>, RecordError>> {
        self.sound.leases(prefix, after, limit)
    }
}

struct BrokenRecorder {
    sound: Arc<dyn Recorder>,
    bug: Bug,
    has_conflicted: AtomicBool,
}

/// An append with other parts.
fn append_of(events: &[NewEvent], conditions: &[Condition], stretches: &[Stretch]) -> Append {
    let append = Append::of(events.iter().cloned()).conditions(conditions.iter().cloned());
    stretches.iter().cloned().fold(append, Append::stretch)
}

fn is_written(append: &Append, stream: &str) -> bool {
    let mut events = append.new_events().iter();
    events.any(|event| event.stream.as_deref() == Some(stream))
}

impl BrokenRecorder {
    async fn append_broken(&self, append: Append) -> Result<Appended, RecordError> {
        let (events, conditions, stretches) = (
            append.new_events(),
            append.all_conditions(),
            append.stretches(),
        );
        let has_both = !events.is_empty() && !stretches.is_empty();
        match self.bug {
            Bug::CheckpointAfter if has_both => {
                let effects = append_of(events, conditions, &[]);
                let done = self.sound.append(effects).await?;
                self.sound.append(append_of(&[], &[], stretches)).await?;
                Ok(done)
            }
            Bug::CheckpointBefore if has_both => {
                let stretch = append_of(&[], conditions, stretches);
                self.sound.append(stretch).await?;
                self.sound.append(append_of(events, &[], &[])).await
            }
            Bug::OriginLost if has_both => {
                let events = events.iter().cloned();
                let events: Vec<_> = events.map(|event| event.origin(Origin::Command)).collect();
                self.sound
                    .append(append_of(&events, conditions, stretches))
                    .await
            }
            Bug::ReadsUnconditional if !stretches.is_empty() => {
                let conditions: Vec<_> = conditions
                    .iter()
                    .filter(|condition| match condition {
                        Condition::StreamAt { stream, .. } => {
                            stream.starts_with("retold.follower") || !is_written(&append, stream)
                        }
                        _ => false,
                    })
                    .cloned()
                    .collect();
                self.sound
                    .append(append_of(events, &conditions, stretches))
                    .await
            }
            Bug::RetryWithoutReading if has_both => self.retry_without_reading(append).await,
            Bug::SkipAfterError if has_both => match self.sound.append(append).await {
                Err(RecordError::Unavailable(_)) => Ok(Appended::Recorded(Positions::NONE)),
                other => other,
            },
            Bug::UnknownIsSuccess => match self.sound.append(append).await {
                Err(RecordError::OutcomeUnknown(_)) => Ok(Appended::Recorded(Positions::NONE)),
                other => other,
            },
            Bug::EffectDropped if has_both && events.len() > 1 => {
                let events = &events[..events.len() - 1];
                self.sound
                    .append(append_of(events, conditions, stretches))
                    .await
            }
            _ => self.sound.append(append).await,
        }
    }

    /// Makes what conflicts fit: the stretch begins at the checkpoint, and nothing is demanded.
    async fn retry_without_reading(&self, append: Append) -> Result<Appended, RecordError> {
        match self.sound.append(append.clone()).await {
            Err(RecordError::Conflict(Conflict::Stream { stream, .. }))
                if !stream.starts_with("retold.") => {}
            other => return other,
        }
        let own = append.all_conditions().first().cloned();
        let own: Vec<_> = own.into_iter().collect();
        self.sound
            .append(append_of(append.new_events(), &own, append.stretches()))
            .await
    }
}

impl Recorder for BrokenRecorder {
    fn log_name(&self) -> &str {
        self.sound.log_name()
    }

    fn limits(&self) -> Limits {
        self.sound.limits()
    }

    fn log_id(&self) -> BoxFuture<'_, Result<Option<LogId>, RecordError>> {
        self.sound.log_id()
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        Box::pin(self.append_broken(append))
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            let mut page = self.sound.read_log(read).await?;
            // Every other page, and only where there are more: a hole, not a late event.
            let is_bad = self.bug == Bug::ReaderSkips && page.events.len() > 1;
            if is_bad && !self.has_conflicted.swap(true, Ordering::Relaxed) {
                page.events.remove(0);
            }
            Ok(page)
        })
    }

    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        self.sound.read_stream(read)
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>> {
        self.sound.event(id)
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>> {
        self.sound.head()
    }

    fn streams<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>, RecordError>> {
        self.sound.streams(prefix, after, limit)
    }

    fn checkpoint<'a>(
        &'a self,
        follower: &'a FollowerKey,
        upstream: LogId,
    ) -> BoxFuture<'a, Result<Option<Mark>, RecordError>> {
        self.sound.checkpoint(follower, upstream)
    }

    fn stretches(
        &self,
        read: StretchRead,
    ) -> BoxFuture<'_, Result<Vec<RecordedStretch>, RecordError>> {
        self.sound.stretches(read)
    }

    fn changed_since(&self, append_count: u64) -> BoxFuture<'_, Result<u64, RecordError>> {
        self.sound.changed_since(append_count)
    }

    fn put_snapshot(&self, snapshot: StoredSnapshot) -> BoxFuture<'_, Result<(), RecordError>> {
        self.sound.put_snapshot(snapshot)
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a str,
        until: Option<Version>,
    ) -> BoxFuture<'a, Result<Option<StoredSnapshot>, RecordError>> {
        self.sound.snapshot(stream, until)
    }

    fn drop_snapshots<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<(), RecordError>> {
        self.sound.drop_snapshots(stream)
    }
}
