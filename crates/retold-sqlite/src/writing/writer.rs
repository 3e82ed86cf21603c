//! The writer: all writes to the file pass through it, in groups.
//!
//! # Who commits
//!
//! A commit is one synchronous call that ends with a sync, and moving it to another thread and
//! back costs extra. So the callers commit themselves, by *combining*: the caller that finds the
//! writer free commits the whole queue, including its own append. A caller first queues and yields
//! to others, as long as the queue grows by that or members of the last group are not all back, so
//! that one group has the members of two: a group that comes too early costs a sync. While yielding
//! turns out to be in vain, callers usually skip it.
//!
//! Measured against a thread that commits for all: microseconds of CPU per append, the least of
//! four runs on a busy machine of 2 cores, on a file in memory, so that no sync hides the
//! difference. *Bare* is a loop of the same statements in groups of as many appends as there are
//! writers.
//!
//! | writers | bare | combining | thread | combining, 2 workers | thread, 2 workers |
//! |---|---|---|---|---|---|
//! | 1 | 30 | 35 | 45 | 37 | 60 |
//! | 8 | 15 | 17 | 24 | 21 | 28 |
//! | 64 | 8 | 13 | 17 | 16 | 19 |
//!
//! No group depends on a caller being polled again: the [keeper](super::keeper), a thread that
//! checks every few milliseconds while there is work, commits groups that no caller commits, and
//! waits when another process holds the file.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use retold_core::recording::{Append, Appended, Purged, RecordError};
use rusqlite::Connection;

use super::alarm::Alarm;
use super::group::{Busy, Writing, give_up};
use super::member::{AppendMember, GroupMember, OutcomeSlot, WorkMember};
use super::queue::{Full, QueueProgress, WriteQueue};
use crate::error::Refusal;
use crate::file::log::Log;
use crate::file::presence::FilePresence;
use crate::limits::QUEUE_WAIT_MAX;
use crate::projection::inline::SqliteInlineProjections;
use crate::transaction::Transaction;

/// After this many lone groups in a row, a caller usually does not yield to others first.
const LONE_GROUPS_MANY: u32 = 8;
/// One in this many callers then still yields, to find out whether it is still alone.
const LONE_GROUPS_PER_TRIAL: u32 = 16;

/// How often a caller yields to others before it leads, while more members are expected. Their
/// polls cost less than a group that comes too early.
const TURNS_GIVEN_MAX: u32 = 32;

/// The writing side of a store.
pub(crate) struct Writer {
    queue: WriteQueue,
    inline: SqliteInlineProjections,
    writing: Mutex<Writing>,
    /// SQLite's counter of others' changes, as the last group found it.
    data_version: AtomicI64,
    /// Groups of one in a row.
    lone_groups: AtomicU32,
    /// Length of the last group.
    last_length: AtomicUsize,
    alarm: Arc<Alarm>,
    busy_wait_max: Duration,
}

/// The result of leading a group.
enum Led {
    /// The queue, or a group of it, got its outcomes.
    Group,
    /// Another caller leads, or the keeper waits for another process.
    ByAnother,
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
            lone_groups: AtomicU32::new(0),
            last_length: AtomicUsize::new(0),
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

    /// Whether other tasks should run before this one leads a group.
    fn expects_company(&self) -> bool {
        let lone = self.lone_groups.load(Ordering::Relaxed);
        lone < LONE_GROUPS_MANY || lone.is_multiple_of(LONE_GROUPS_PER_TRIAL)
    }

    fn learn_company(&self, length: usize) {
        self.last_length.store(length, Ordering::Relaxed);
        match length {
            0 => {}
            1 => drop(self.lone_groups.fetch_add(1, Ordering::Relaxed)),
            _ => self.lone_groups.store(0, Ordering::Relaxed),
        }
    }

    /// Commits a group of the queue, if no other caller does. Does not wait for other processes.
    fn try_lead(&self) -> Led {
        let mut writing = match self.writing.try_lock() {
            Ok(writing) => writing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Led::ByAnother,
        };
        if self.alarm.is_contended() {
            return Led::ByAnother;
        }
        let group = self.queue.take_group();
        self.learn_company(group.len());
        let committed = writing.commit(group, Duration::ZERO);
        self.learn_data_version(&writing);
        if let Err(Busy(group)) = committed {
            self.queue.put_back(group);
            self.alarm.raise_contended();
            return Led::ByAnother;
        }
        drop(writing);
        // The keeper may have fallen asleep during a slow commit, before it could note the count.
        self.alarm.stay_awake();
        // Callers that queued in the meantime found the writer taken; one of them takes over.
        if !self.queue.wake_front() {
            self.alarm.raise();
        }
        Led::Group
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        // A panic during a group leaves a transaction, which the next one rolls back.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn_data_version(&self, writing: &Writing) {
        if let Some(found) = writing.known_data_version() {
            self.data_version.store(found, Ordering::Release);
        }
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

    /// For the keeper: commits the whole queue, waiting for other processes as long as necessary.
    pub(crate) fn lead_to_the_end(&self) {
        loop {
            let mut writing = self.writing();
            let group = self.queue.take_group();
            if group.is_empty() {
                self.alarm.clear_contended();
                drop(writing);
                // Callers that queued since then found the writer taken.
                self.queue.wake_front();
                break;
            }
            let committed = writing.commit(group, self.busy_wait_max);
            self.learn_data_version(&writing);
            match committed {
                Ok(()) => self.alarm.clear_contended(),
                Err(Busy(group)) => give_up(group, self.busy_wait_max),
            }
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
        let purged = self.writing().purge(self.busy_wait_max);
        // Callers that queued in the meantime found the writer taken.
        if !self.queue.wake_front() {
            self.alarm.raise();
        }
        purged
    }

    pub(crate) fn progress(&self) -> QueueProgress {
        self.queue.progress()
    }

    /// For the keeper: wakes the callers without a place in the queue, to check their time limit.
    pub(crate) fn wake_those_without_place(&self) {
        self.queue.wake_those_without_place();
    }
}

/// A member on its way through the writer. Once it is queued it is processed even if this is
/// dropped.
pub(crate) struct Submission<T> {
    writer: Arc<Writer>,
    slot: Arc<OutcomeSlot<T>>,
    stage: Stage,
    /// How often it yields before it leads, as long as the queue grows.
    turns_left: u32,
    /// The queue's length at the last check.
    seen_length: usize,
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
            turns_left: 0,
            seen_length: 0,
        }
    }

    /// Whether others should run before this one leads: while the queue grows by it, or members of
    /// the last group, whose outcomes were just delivered, are not all back.
    fn gives_way(&mut self) -> bool {
        if self.turns_left == 0 {
            return false;
        }
        let length = self.writer.progress().length;
        let last_length = self.writer.last_length.load(Ordering::Relaxed);
        let is_growing = length > self.seen_length || length < last_length;
        self.seen_length = length;
        self.turns_left -= 1;
        is_growing
    }

    /// Queues the member. Ready with an outcome if it never found a place.
    fn queue(
        &mut self,
        member: Box<dyn GroupMember>,
        since: Option<Instant>,
        context: &Context<'_>,
    ) -> Poll<RecordError> {
        let Err(Full(member)) = self.writer.queue.push(member, context.waker()) else {
            self.stage = Stage::Queued;
            self.writer.alarm.stay_awake();
            return Poll::Pending;
        };
        let since = since.unwrap_or_else(Instant::now);
        if since.elapsed() >= QUEUE_WAIT_MAX {
            return Poll::Ready(RecordError::unavailable("appending", Refusal::QueueFull));
        }
        self.stage = Stage::New(member, Some(since));
        self.writer.alarm.stay_awake();
        // Makes a place, and so wakes this task again, if no other caller leads.
        self.writer.try_lead();
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
            if this.writer.expects_company() {
                this.turns_left = TURNS_GIVEN_MAX;
            }
        }
        loop {
            this.stage = Stage::Queued;
            if let Poll::Ready(answer) = this.slot.poll(context.waker()) {
                this.stage = Stage::Answered;
                return Poll::Ready(answer);
            }
            if this.gives_way() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Led::ByAnother = this.writer.try_lead() {
                // The outcome may have arrived just before the writer was checked, but then the
                // waker was woken.
                return Poll::Pending;
            }
        }
    }
}

impl<T> Drop for Submission<T> {
    fn drop(&mut self) {
        if let Stage::Queued = self.stage {
            self.slot.abandon();
            self.writer.alarm.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Wake, Waker};

    use super::*;
    use crate::file::connection::FilePlace;
    use crate::limits::GROUP_SIZE_MAX;
    use crate::options::SqliteOptions;

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

    /// Goal: the writer holds no lock that a waker may need. Method: the second of two appends that
    /// form no group is polled inside of the wake that hands the lead over.
    #[test]
    fn a_waker_may_poll() {
        let folder = tempfile::tempdir().unwrap();
        let place = FilePlace::writable(&folder.path().join("dogs.db")).unwrap();
        let conn = place.open_writer(&SqliteOptions::new()).unwrap();
        let presence = place.presence().clone();
        let writer = Writer::new(conn, presence, Arc::default(), Duration::ZERO);
        let writer = Arc::new(writer);
        let tasks = [0, 1].map(|_| {
            let work = writer.work(GROUP_SIZE_MAX, |_: &mut Transaction<'_>| Ok(Ok(())));
            Arc::new(Inline(Mutex::new(Some(work))))
        });
        // The first leads when it has yielded often enough.
        tasks[0].poll();
        tasks[1].poll();
        for _ in 0..=TURNS_GIVEN_MAX {
            tasks[0].poll();
        }
        for task in tasks {
            assert!(task.0.lock().unwrap().is_none(), "it has an outcome");
        }
    }
}
