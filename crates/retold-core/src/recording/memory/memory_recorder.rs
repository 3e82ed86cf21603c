//! The memory log as a recorder: behind a lock, with a hint for waiting readers.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;

use super::memory_log::MemoryLog;
use crate::domain::Clock;
use crate::recording::append::{Append, Appended};
use crate::recording::error::RecordError;
use crate::recording::identity::{Checkpoint, EventId, LogId, Version};
use crate::recording::limits::Limits;
use crate::recording::processed_range::{FollowerKey, RecordedRange};
use crate::recording::recorder::{
    BoxFuture, Head, LogRead, Page, RangeRead, Recorder, StreamEntry, StreamRead,
};
use crate::recording::snapshot::StoredSnapshot;
use crate::recording::stored_event::StoredEvent;

/// A log of a memory store, shared by all its recorders; it may not exist yet.
#[derive(Debug)]
pub(super) struct SharedLog {
    pub(super) name: Arc<str>,
    state: Mutex<LogState>,
    append_count: watch::Sender<u64>,
}

#[derive(Clone, Debug, Default)]
struct LogState {
    id: Option<LogId>,
    log: MemoryLog,
}

impl SharedLog {
    /// Creates the entry of a log that does not exist yet.
    pub(super) fn unborn(name: &str) -> Self {
        Self {
            name: name.into(),
            state: Mutex::default(),
            append_count: watch::Sender::new(0),
        }
    }

    /// Returns a separate log with the same id and history.
    pub(super) fn fork(&self) -> Self {
        let state = self.state().clone();
        Self {
            name: self.name.clone(),
            append_count: watch::Sender::new(state.log.head().append_count),
            state: Mutex::new(state),
        }
    }

    /// Returns the id of the log, which is set to `birth` if it had none.
    pub(super) fn bear(&self, birth: LogId) -> LogId {
        *self.state().id.get_or_insert(birth)
    }

    /// Returns the id of the log, if it exists.
    pub(super) fn id(&self) -> Option<LogId> {
        self.state().id
    }

    /// Takes over id and history of another log, or becomes a log that does not exist.
    pub(super) fn restore(&self, copy: Option<&Self>) {
        let state = copy.map_or_else(LogState::default, |copy| copy.state().clone());
        let append_count = state.log.head().append_count;
        *self.state() = state;
        self.append_count.send_replace(append_count);
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        // No code that holds the lock leaves the log half changed, even if it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notifies waiting readers, after the lock is released, because a waker may run any code.
    /// Counts may therefore arrive out of order, so a lower one never replaces a higher one.
    fn announce(&self, append_count: u64) {
        self.append_count.send_if_modified(|known| {
            let grows = *known < append_count;
            *known = append_count.max(*known);
            grows
        });
    }
}

/// The access that a recorder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryAccess {
    ReadWrite,
    ReadOnly,
}

/// One opening of a log of a memory store.
#[derive(Debug)]
pub(super) struct MemoryRecorder {
    pub(super) shared: Arc<SharedLog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    pub(super) access: MemoryAccess,
    /// Id of the log, once it is known to exist.
    pub(super) met: OnceLock<LogId>,
}

impl MemoryRecorder {
    /// Returns the log, if it is the one that the recorder opened.
    fn state(&self) -> Result<MutexGuard<'_, LogState>, RecordError> {
        let state = self.shared.state();
        let Some(id) = self.met.get().copied().or(state.id) else {
            return Ok(state);
        };
        let expected = *self.met.get_or_init(|| id);
        match state.id == Some(expected) {
            true => Ok(state),
            false => Err(RecordError::Replaced {
                log: Arc::clone(&self.shared.name),
                expected,
                found: state.id,
            }),
        }
    }

    fn check_writable(&self) -> Result<(), RecordError> {
        match self.access {
            MemoryAccess::ReadWrite => Ok(()),
            MemoryAccess::ReadOnly => Err(RecordError::invalid(format!(
                "the log {:?} was opened for reading only",
                self.shared.name
            ))),
        }
    }

    fn append_now(&self, append: &Append) -> Result<Appended, RecordError> {
        self.check_writable()?;
        let mut state = self.state()?;
        let appended = state.log.append(append, &self.limits, self.clock.now())?;
        let append_count = state.log.head().append_count;
        drop(state);
        self.shared.announce(append_count);
        Ok(appended)
    }

    /// Returns a future that accesses the log when it is first polled.
    fn look<'a, T: 'a>(
        &'a self,
        look: impl FnOnce(&MemoryLog) -> Result<T, RecordError> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, RecordError>> {
        Box::pin(async move { look(&self.state()?.log) })
    }
}

impl Recorder for MemoryRecorder {
    fn log_name(&self) -> &str {
        &self.shared.name
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn log_id(&self) -> BoxFuture<'_, Result<Option<LogId>, RecordError>> {
        Box::pin(async { Ok(self.state()?.id) })
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        Box::pin(async move { self.append_now(&append) })
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        self.look(move |log| log.read_log(&self.shared.name, &read))
    }

    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        self.look(move |log| log.read_stream(&self.shared.name, &read))
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>> {
        self.look(move |log| Ok(log.event(id).cloned()))
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>> {
        self.look(|log| Ok(log.head()))
    }

    fn streams<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>, RecordError>> {
        self.look(move |log| log.streams(prefix, after, limit))
    }

    fn topics<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<str>>, RecordError>> {
        self.look(move |log| log.topics(after, limit))
    }

    fn checkpoint<'a>(
        &'a self,
        follower: &'a FollowerKey,
        upstream: LogId,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, RecordError>> {
        self.look(move |log| Ok(log.checkpoint(follower, upstream)))
    }

    fn processed_ranges(
        &self,
        read: RangeRead,
    ) -> BoxFuture<'_, Result<Vec<RecordedRange>, RecordError>> {
        self.look(move |log| log.processed_ranges(&read))
    }

    fn changed_since(&self, append_count: u64) -> BoxFuture<'_, Result<u64, RecordError>> {
        Box::pin(async move {
            let mut news = self.shared.append_count.subscribe();
            loop {
                let there = self.state()?.log.head().append_count;
                if there != append_count {
                    return Ok(there);
                }
                let changed = news.changed().await;
                changed.expect("this recorder keeps the sender");
            }
        })
    }

    fn put_snapshot(&self, snapshot: StoredSnapshot) -> BoxFuture<'_, Result<(), RecordError>> {
        Box::pin(async move {
            self.check_writable()?;
            let mut state = self.state()?;
            state.log.put_snapshot(snapshot, &self.limits)
        })
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a str,
        until: Option<Version>,
    ) -> BoxFuture<'a, Result<Option<StoredSnapshot>, RecordError>> {
        self.look(move |log| Ok(log.snapshot(stream, until).cloned()))
    }

    fn drop_snapshots<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<(), RecordError>> {
        Box::pin(async move {
            self.check_writable()?;
            self.state()?.log.drop_snapshots(stream);
            Ok(())
        })
    }
}
