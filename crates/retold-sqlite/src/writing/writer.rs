//! The writer: all writes to the file pass through it, in groups.
//!
//! Callers queue what they write and wait for its outcome; the [committer](super::committer), a
//! thread, commits what is queued.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use retold_core::recording::{Append, Appended, Purged, RecordError};
use rusqlite::Connection;

use super::alarm::Alarm;
use super::group::{Busy, Writing, give_up};
use super::member::{AppendMember, Group, GroupMember, OutcomeSlot, WorkMember};
use super::queue::{NotQueued, WriteQueue};
use crate::error::Refusal;
use crate::file::log::Log;
use crate::file::presence::FilePresence;
use crate::limits::QUEUE_WAIT_MAX;
use crate::projection::inline::SqliteInlineProjections;
use crate::transaction::Transaction;

/// The writing side of a store.
pub(crate) struct Writer {
    queue: WriteQueue,
    inline: SqliteInlineProjections,
    writing: Mutex<Writing>,
    /// SQLite's counter of others' changes, as the last group found it.
    data_version: AtomicI64,
    alarm: Arc<Alarm>,
    busy_wait_max: Duration,
}

impl Writer {
    pub(crate) fn new(
        conn: Connection,
        presence: Arc<FilePresence>,
        alarm: Arc<Alarm>,
        busy_wait_max: Duration,
    ) -> Self {
        Self {
            queue: WriteQueue::default(),
            inline: SqliteInlineProjections::new(),
            writing: Mutex::new(Writing::new(conn, presence)),
            data_version: AtomicI64::new(0),
            alarm,
            busy_wait_max,
        }
    }

    /// Creates a writer with projections that take part in every append.
    pub(crate) fn with_inline(mut self, inline: SqliteInlineProjections) -> Self {
        self.inline = inline;
        self
    }

    /// The projections that take part in every append.
    pub(crate) fn inline(&self) -> &SqliteInlineProjections {
        &self.inline
    }

    /// Records an append to a log that exists.
    pub(crate) fn append(self: &Arc<Self>, log: Arc<Log>, append: Append) -> Submission<Appended> {
        let slot = Arc::new(OutcomeSlot::new());
        let member = AppendMember::new(log, self.inline.clone(), append, slot.clone());
        Submission::new(self.clone(), Box::new(member), slot)
    }

    /// Performs other work in a transaction; `size` is its size in bytes. May run twice, the first
    /// time without a trace.
    pub(crate) fn work<T, W>(self: &Arc<Self>, size: usize, work: W) -> Submission<T>
    where
        T: Send + 'static,
        W: FnMut(&mut Transaction<'_>) -> rusqlite::Result<Result<T, RecordError>> + Send + 'static,
    {
        let slot = Arc::new(OutcomeSlot::new());
        let member = WorkMember::new(size, work, slot.clone());
        Submission::new(self.clone(), Box::new(member), slot)
    }

    /// The members that wait for the committer.
    pub(crate) fn queue(&self) -> &WriteQueue {
        &self.queue
    }

    /// For the committer: commits a group, waiting for other processes if necessary.
    pub(crate) fn commit(&self, group: Group) {
        let mut writing = self.writing();
        let committed = writing.commit(group, self.busy_wait_max);
        if let Some(found) = writing.known_data_version() {
            self.data_version.store(found, Ordering::Release);
        }
        drop(writing);
        if let Err(Busy(group)) = committed {
            give_up(group, self.busy_wait_max);
        }
        // The keeper may have fallen asleep during a slow commit, before it could note the count.
        self.alarm.stay_awake();
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        // A panic during a group leaves a transaction, which the next one rolls back.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SQLite's counter of others' changes; while a group is written, as the last one found it. So
    /// a writer that never rests hides nothing.
    pub(crate) fn data_version(&self) -> rusqlite::Result<i64> {
        match self.writing.try_lock() {
            Ok(writing) => writing.data_version(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().data_version(),
            Err(TryLockError::WouldBlock) => Ok(self.data_version.load(Ordering::Acquire)),
        }
    }

    /// For the keeper: empties the write-ahead log.
    pub(crate) fn empty_wal(&self, patience: Duration) {
        match self.writing().empty_wal(patience) {
            Ok(true) => tracing::debug!("the write-ahead log was emptied"),
            Ok(false) => tracing::warn!("the write-ahead log is large, and a read still needs it"),
            Err(error) => tracing::warn!(%error, "the write-ahead log could not be emptied"),
        }
    }

    /// Rewrites the file without what is no longer part of it. Appends wait in the meantime.
    pub(crate) fn purge(&self) -> Result<Purged, RecordError> {
        self.writing().purge(self.busy_wait_max)
    }
}

/// A member on its way through the writer. Once it is queued it is processed even if this is
/// dropped.
pub(crate) struct Submission<T> {
    writer: Arc<Writer>,
    slot: Arc<OutcomeSlot<T>>,
    stage: Stage,
}

enum Stage {
    /// Not queued yet; when the attempts began.
    New(Box<dyn GroupMember>, Option<Instant>),
    Queued,
    Answered,
}

impl<T> Submission<T> {
    fn new(writer: Arc<Writer>, member: Box<dyn GroupMember>, slot: Arc<OutcomeSlot<T>>) -> Self {
        Self {
            writer,
            slot,
            stage: Stage::New(member, None),
        }
    }

    /// Queues the member. Ready with an outcome if it never found a place.
    fn queue(
        &mut self,
        member: Box<dyn GroupMember>,
        since: Option<Instant>,
        context: &Context<'_>,
    ) -> Poll<RecordError> {
        let member = match self.writer.queue.push(member, context.waker()) {
            Ok(()) => {
                self.stage = Stage::Queued;
                self.writer.alarm.stay_awake();
                return Poll::Pending;
            }
            Err(NotQueued::Closed) => {
                let error = RecordError::unavailable("appending", Refusal::WriterStopped);
                return Poll::Ready(error);
            }
            Err(NotQueued::Full(member)) => member,
        };
        let since = since.unwrap_or_else(Instant::now);
        if since.elapsed() >= QUEUE_WAIT_MAX {
            return Poll::Ready(RecordError::unavailable("appending", Refusal::QueueFull));
        }
        self.stage = Stage::New(member, Some(since));
        self.writer.alarm.stay_awake();
        Poll::Pending
    }
}

impl<T> Future for Submission<T> {
    type Output = Result<T, RecordError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Stage::New(member, since) = std::mem::replace(&mut this.stage, Stage::Answered) {
            if let Poll::Ready(error) = this.queue(member, since, context) {
                return Poll::Ready(Err(error));
            }
            if matches!(this.stage, Stage::New(..)) {
                return Poll::Pending;
            }
        }
        this.stage = Stage::Queued;
        let answer = this.slot.poll(context.waker());
        if answer.is_ready() {
            this.stage = Stage::Answered;
        }
        answer
    }
}

impl<T> Drop for Submission<T> {
    fn drop(&mut self) {
        if let Stage::Queued = self.stage {
            self.slot.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Wake, Waker};

    use retold_core::recording::OwnProcess;

    use super::*;
    use crate::file::connection::FilePlace;
    use crate::limits::GROUP_SIZE_MAX;
    use crate::options::SqliteOptions;
    use crate::writing::committer::Committer;

    /// An executor that polls inside of a wake.
    struct Inline<T>(Mutex<Option<Submission<T>>>);

    impl<T: Send + 'static> Inline<T> {
        fn poll(self: &Arc<Self>) {
            // `None` if it is being polled already.
            let Ok(mut polled) = self.0.try_lock() else {
                return;
            };
            if let Some(submission) = &mut *polled {
                let waker = Waker::from(self.clone());
                let context = &mut Context::from_waker(&waker);
                if Pin::new(submission).poll(context).is_ready() {
                    *polled = None;
                }
            }
        }
    }

    impl<T: Send + 'static> Wake for Inline<T> {
        fn wake(self: Arc<Self>) {
            self.poll();
        }
    }

    /// Goal: the writer holds no lock that a waker may need. Method: the appends are polled inside
    /// of the wake by the thread that commits.
    #[test]
    fn a_waker_may_poll() {
        let folder = tempfile::tempdir().unwrap();
        let place = FilePlace::writable(&folder.path().join("dogs.db")).unwrap();
        let conn = place.open_writer(&SqliteOptions::new()).unwrap();
        let presence = place.presence().clone();
        let writer = Writer::new(conn, presence, Arc::default(), Duration::ZERO);
        let writer = Arc::new(writer);
        let process = Arc::new(OwnProcess::current());
        let committer = Committer::start(process, writer.clone()).unwrap();
        let tasks = [0, 1].map(|_| {
            let work = writer.work(GROUP_SIZE_MAX, |_: &mut Transaction<'_>| Ok(Ok(())));
            Arc::new(Inline(Mutex::new(Some(work))))
        });
        tasks.iter().for_each(|task| task.poll());
        drop(committer);
        for task in tasks {
            assert!(task.0.lock().unwrap().is_none(), "it has an outcome");
        }
    }

    /// A write that comes when the store is closed fails; it does not wait for ever.
    #[test]
    fn a_closed_writer_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let place = FilePlace::writable(&folder.path().join("dogs.db")).unwrap();
        let conn = place.open_writer(&SqliteOptions::new()).unwrap();
        let presence = place.presence().clone();
        let writer = Writer::new(conn, presence, Arc::default(), Duration::ZERO);
        writer.queue().close();
        let mut work = pin!(Arc::new(writer).work(1, |_: &mut Transaction<'_>| Ok(Ok(()))));
        let context = &mut Context::from_waker(Waker::noop());
        let answer = work.as_mut().poll(context);
        assert!(
            matches!(answer, Poll::Ready(Err(RecordError::Unavailable(_)))),
            "{answer:?}"
        );
    }
}
