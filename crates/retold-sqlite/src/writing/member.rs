//! A member of a group: a write, with the caller that waits for its outcome.
//!
//! A member is performed inside the writer's transaction and gets its outcome only when that is
//! committed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use retold_core::recording::{Amendment, Append, Appended, RecordError, Version};

use crate::error::Refusal;
use crate::file::log::Log;
use crate::limits::AMENDED_EVENT_SIZE;
use crate::projection::inline::SqliteInlineProjections;
use crate::transaction::Transaction;

/// A write for a transaction that it may share with others.
pub(crate) trait GroupMember: Send {
    /// Its size in bytes, for limits.
    fn size(&self) -> usize;

    /// Judges and writes. May be called again, after a rollback.
    ///
    /// # Errors
    ///
    /// Those of the database; the transaction must then be rolled back. A refusal of the append
    /// itself is not an error here but its outcome.
    fn perform(&mut self, transaction: &mut Transaction<'_>) -> rusqlite::Result<()>;

    /// Whether it may have written what a caller relies on, once it was performed.
    fn has_written(&self) -> bool;

    /// Sets the outcome, once the end of the transaction is known.
    fn settle(&mut self, end: &End);
}

/// Members that are written together.
pub(crate) type Group = Vec<Box<dyn GroupMember>>;

/// The end of a transaction.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It is durable.
    Committed,
    /// It failed, for this reason. Members that would not have written anything were no part of it.
    Failed(RecordError),
}

/// A slot for an outcome and its waiter.
#[derive(Debug)]
pub(crate) struct OutcomeSlot<T> {
    state: Mutex<SlotState<T>>,
}

#[derive(Debug)]
struct SlotState<T> {
    answer: Option<Result<T, RecordError>>,
    waker: Option<Waker>,
}

impl<T> OutcomeSlot<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(SlotState {
                answer: None,
                waker: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, SlotState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the outcome, or registers the task to be woken when it is set.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Result<T, RecordError>> {
        let mut state = self.state();
        if let Some(answer) = state.answer.take() {
            return Poll::Ready(answer);
        }
        match &mut state.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        Poll::Pending
    }

    fn set(&self, answer: Result<T, RecordError>) {
        let mut state = self.state();
        state.answer = Some(answer);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Records that the caller stopped waiting.
    pub(crate) fn abandon(&self) {
        self.state().waker = None;
    }
}

/// An append on its way into its log.
pub(crate) struct AppendMember {
    log: Arc<Log>,
    inline: SqliteInlineProjections,
    append: Append,
    size: usize,
    answer: Option<Result<Appended, RecordError>>,
    append_count: u64,
    slot: Arc<OutcomeSlot<Appended>>,
    settled: bool,
}

impl AppendMember {
    pub(crate) fn new(
        log: Arc<Log>,
        inline: SqliteInlineProjections,
        append: Append,
        slot: Arc<OutcomeSlot<Appended>>,
    ) -> Self {
        let events = append.new_events().iter().map(|event| event.size());
        let size = events.chain(append.amendments().iter().map(weight)).sum();
        Self {
            log,
            inline,
            append,
            size,
            answer: None,
            append_count: 0,
            slot,
            settled: false,
        }
    }
}

/// What an amendment counts for in limits: its own payload, and each event that it may change.
fn weight(amendment: &Amendment) -> usize {
    match amendment {
        Amendment::EraseStream { after, until, .. } => {
            let versions = until.get().saturating_sub(Version::number(*after));
            let versions = usize::try_from(versions).unwrap_or(usize::MAX);
            versions.saturating_mul(AMENDED_EVENT_SIZE)
        }
        Amendment::ReplaceEvent { replacement, .. } => {
            AMENDED_EVENT_SIZE + replacement.payload.len()
        }
        _ => AMENDED_EVENT_SIZE,
    }
}

impl GroupMember for AppendMember {
    fn size(&self) -> usize {
        self.size
    }

    fn perform(&mut self, transaction: &mut Transaction<'_>) -> rusqlite::Result<()> {
        self.answer = None;
        let (answer, append_count) = transaction.append(&self.log, &self.inline, &self.append)?;
        self.answer = Some(answer);
        self.append_count = append_count;
        Ok(())
    }

    fn has_written(&self) -> bool {
        matches!(self.answer, Some(Ok(Appended::Recorded(_))))
    }

    fn settle(&mut self, end: &End) {
        self.settled = true;
        let answer = match (end, self.answer.take()) {
            (End::Committed, Some(answer)) => answer,
            (End::Committed, None) => Err(stopped()),
            // It recorded nothing itself, but the reason for its refusal may depend on the failed
            // part.
            (
                End::Failed(RecordError::OutcomeUnknown(_)),
                Some(Err(_) | Ok(Appended::Repeated(_))),
            ) => Err(RecordError::unavailable("committing", Refusal::GroupFailed)),
            (End::Failed(error), _) => Err(error.clone()),
        };
        if matches!(answer, Ok(Appended::Recorded(_))) {
            self.log.announce(self.append_count);
        }
        self.slot.set(answer);
    }
}

impl Drop for AppendMember {
    fn drop(&mut self) {
        if !self.settled {
            self.slot.set(Err(stopped()));
        }
    }
}

/// Any other write: the creation of a log, a snapshot, a lease.
pub(crate) struct WorkMember<T, W> {
    work: W,
    size: usize,
    answer: Option<Result<T, RecordError>>,
    slot: Arc<OutcomeSlot<T>>,
    settled: bool,
}

impl<T, W> WorkMember<T, W>
where
    W: FnMut(&mut Transaction<'_>) -> rusqlite::Result<Result<T, RecordError>> + Send,
{
    pub(crate) fn new(size: usize, work: W, slot: Arc<OutcomeSlot<T>>) -> Self {
        Self {
            work,
            size,
            answer: None,
            slot,
            settled: false,
        }
    }
}

impl<T, W> GroupMember for WorkMember<T, W>
where
    T: Send,
    W: FnMut(&mut Transaction<'_>) -> rusqlite::Result<Result<T, RecordError>> + Send,
{
    fn size(&self) -> usize {
        self.size
    }

    fn perform(&mut self, transaction: &mut Transaction<'_>) -> rusqlite::Result<()> {
        self.answer = Some((self.work)(transaction)?);
        Ok(())
    }

    fn has_written(&self) -> bool {
        true
    }

    fn settle(&mut self, end: &End) {
        self.settled = true;
        let answer = match (end, self.answer.take()) {
            (End::Committed, Some(answer)) => answer,
            (End::Committed, None) => Err(stopped()),
            (End::Failed(RecordError::OutcomeUnknown(failure)), _) => {
                // Each of these may simply be repeated.
                Err(RecordError::Unavailable(failure.clone()))
            }
            (End::Failed(error), _) => Err(error.clone()),
        };
        self.slot.set(answer);
    }
}

impl<T, W> Drop for WorkMember<T, W> {
    fn drop(&mut self) {
        if !self.settled {
            self.slot.set(Err(stopped()));
        }
    }
}

/// The outcome of a member that was dropped without being settled, as after a panic of the writer.
fn stopped() -> RecordError {
    RecordError::outcome_unknown("committing", Refusal::WriterStopped)
}
