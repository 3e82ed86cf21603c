//! The writer: what of the file is written, goes through here, in groups.
//!
//! # Who commits
//!
//! A commit is one synchronous call that ends with a sync, and handing it to another thread and
//! back costs beside that. So the callers do it themselves, by *combining*: the caller that finds
//! the writer free commits everything that is queued, its own append among it. A caller first
//! queues and lets others run, as long as more of them queue by that or those of the last group are
//! not all back, so that one group has what two would have: a group that comes too early costs a
//! sync. While that turns out to be in vain it mostly leaves it out.
//!
//! Measured against a thread that commits for all: microseconds of CPU an append, the least of four
//! runs on a busy machine of 2 cores, on a file in memory, so that no sync hides the difference.
//! *Bare* is a loop of the same statements in groups of as many appends as there are writers.
//!
//! | writers | bare | combining | thread | combining, 2 workers | thread, 2 workers |
//! |---|---|---|---|---|---|
//! | 1 | 30 | 35 | 45 | 37 | 60 |
//! | 8 | 15 | 17 | 24 | 21 | 28 |
//! | 64 | 8 | 13 | 17 | 16 | 19 |
//!
//! No group depends on a caller being polled again: the [keeper](super::keeper), a thread that
//! looks every few milliseconds while there is work, commits what nobody does, and does the waiting
//! when another process has the file.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use retold_core::recording::{Append, Appended, RecordError};
use rusqlite::Connection;

use super::alarm::Alarm;
use super::group::{Busy, Writing, give_up};
use super::member::{AppendMember, Member, Slot, WorkMember};
use super::queue::{Full, Progress, Queue};
use crate::error::Refusal;
use crate::file::log::Log;
use crate::file::presence::Presence;
use crate::options::QUEUE_WAIT_MAX;
use crate::projection::inline::InlineProjections;
use crate::transaction::Transaction;

/// After so many lone groups in a row a caller mostly does not let others run first.
const LONE_GROUPS_MANY: u32 = 8;
/// Of so many then, one still does, and finds out if it is not alone any more.
const LONE_GROUPS_PER_TRIAL: u32 = 16;

/// How often a caller lets others run before it leads, while more are to be expected. Their polls
/// cost less than a group that comes too early.
const TURNS_GIVEN_MAX: u32 = 32;

/// The writing side of a store.
pub(crate) struct Writer {
    queue: Queue,
    inline: InlineProjections,
    writing: Mutex<Writing>,
    /// SQLite's number for what others have written, as the last group found it.
    data_version: AtomicI64,
    /// Groups of one in a row.
    lone_groups: AtomicU32,
    /// Length of the last group.
    last_length: AtomicUsize,
    alarm: Arc<Alarm>,
    busy_wait_max: Duration,
}

/// How leading a group went.
enum Led {
    /// What was queued is answered, or a group of it.
    Group,
    /// Somebody else leads, or the keeper waits for another process.
    ByAnother,
}

impl Writer {
    pub(crate) fn new(
        conn: Connection,
        presence: Arc<Presence>,
        alarm: Arc<Alarm>,
        busy_wait_max: Duration,
    ) -> Self {
        Self {
            queue: Queue::default(),
            inline: InlineProjections::new(),
            writing: Mutex::new(Writing::new(conn, presence)),
            data_version: AtomicI64::new(0),
            lone_groups: AtomicU32::new(0),
            last_length: AtomicUsize::new(0),
            alarm,
            busy_wait_max,
        }
    }

    /// With projections that take part in every append.
    pub(crate) fn with_inline(mut self, inline: InlineProjections) -> Self {
        self.inline = inline;
        self
    }

    /// The projections that take part in every append.
    pub(crate) fn inline(&self) -> &InlineProjections {
        &self.inline
    }

    /// Records an append to a log that is born.
    pub(crate) fn append(self: &Arc<Self>, log: Arc<Log>, append: Append) -> Submission<Appended> {
        let slot = Arc::new(Slot::new());
        let member = AppendMember::new(log, self.inline.clone(), append, slot.clone());
        Submission::new(self.clone(), Box::new(member), slot)
    }

    /// Does other work in a transaction; `size` is what it brings, in bytes. May run twice, the
    /// first time without a trace.
    pub(crate) fn work<T, W>(self: &Arc<Self>, size: usize, work: W) -> Submission<T>
    where
        T: Send + 'static,
        W: FnMut(&mut Transaction<'_>) -> rusqlite::Result<Result<T, RecordError>> + Send + 'static,
    {
        let slot = Arc::new(Slot::new());
        let member = WorkMember::new(size, work, slot.clone());
        Submission::new(self.clone(), Box::new(member), slot)
    }

    /// Whether it is worth letting other tasks run before leading a group.
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

    /// Commits a group of what is queued, if nobody else is at it. Waits for no other process.
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
        // Who queued meanwhile found the writer taken; one of them goes on.
        if !self.queue.wake_front() {
            self.alarm.raise();
        }
        Led::Group
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        // A panic in the middle of a group leaves a transaction, which the next one rolls back.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn_data_version(&self, writing: &Writing) {
        if let Some(found) = writing.known_data_version() {
            self.data_version.store(found, Ordering::Release);
        }
    }

    /// SQLite's number for what other connections have written; while a group is written, as the
    /// last one found it. So a writer that never rests hides nothing.
    pub(crate) fn data_version(&self) -> rusqlite::Result<i64> {
        match self.writing.try_lock() {
            Ok(writing) => writing.data_version(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().data_version(),
            Err(TryLockError::WouldBlock) => Ok(self.data_version.load(Ordering::Acquire)),
        }
    }

    /// For the keeper: commits all that is queued, waiting for other processes as long as it must.
    pub(crate) fn lead_to_the_end(&self) {
        loop {
            let mut writing = self.writing();
            let group = self.queue.take_group();
            if group.is_empty() {
                self.alarm.clear_contended();
                drop(writing);
                // Who queued since then found the writer taken.
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

    pub(crate) fn progress(&self) -> Progress {
        self.queue.progress()
    }

    /// For the keeper: lets those without a place in the queue look at the time.
    pub(crate) fn wake_those_without_place(&self) {
        self.queue.wake_those_without_place();
    }
}

/// Something on its way through the writer. Dropped, it goes its way all the same, once it is
/// queued.
pub(crate) struct Submission<T> {
    writer: Arc<Writer>,
    slot: Arc<Slot<T>>,
    stage: Stage,
    /// How often it lets others run before it leads, as long as the queue grows by that.
    turns_left: u32,
    /// How long the queue was at the last look.
    seen_length: usize,
}

enum Stage {
    /// Not queued yet; since when it tries.
    New(Box<dyn Member>, Option<Instant>),
    Queued,
    Answered,
}

impl<T> Submission<T> {
    fn new(writer: Arc<Writer>, member: Box<dyn Member>, slot: Arc<Slot<T>>) -> Self {
        Self {
            writer,
            slot,
            stage: Stage::New(member, None),
            turns_left: 0,
            seen_length: 0,
        }
    }

    /// Whether others are to run before this one leads: while the queue grows by it, or those of
    /// the last group, who were just answered, are not all back.
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

    /// Queues the member. Ready with an answer if it never found a place.
    fn queue(
        &mut self,
        member: Box<dyn Member>,
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
        // Makes place, and so wakes this task again, if nobody else is at it.
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
                // The answer may have come just before the writer was looked at, but then the waker
                // was woken.
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
    use crate::file::connection::Place;
    use crate::options::{GROUP_SIZE_MAX, SqliteOptions};

    /// An executor that polls inside of a wake.
    struct Inline<T>(Mutex<Option<Submission<T>>>);

    impl<T: Send + 'static> Inline<T> {
        fn poll(self: &Arc<Self>) {
            // Taken if it polls already.
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

    /// Goal: whatever a waker does, the writer holds nothing that it needs. Method: the second of
    /// two that are no group together is polled inside of the wake that hands the lead over.
    #[test]
    fn a_waker_may_poll() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::writable(&folder.path().join("dogs.db")).unwrap();
        let conn = place.open_writer(&SqliteOptions::new()).unwrap();
        let presence = place.presence().clone();
        let writer = Writer::new(conn, presence, Arc::default(), Duration::ZERO);
        let writer = Arc::new(writer);
        let tasks = [0, 1].map(|_| {
            let work = writer.work(GROUP_SIZE_MAX, |_: &mut Transaction<'_>| Ok(Ok(())));
            Arc::new(Inline(Mutex::new(Some(work))))
        });
        // The first leads when it has let others run often enough.
        tasks[0].poll();
        tasks[1].poll();
        for _ in 0..=TURNS_GIVEN_MAX {
            tasks[0].poll();
        }
        for task in tasks {
            assert!(task.0.lock().unwrap().is_none(), "it is answered");
        }
    }
}
