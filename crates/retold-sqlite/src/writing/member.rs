//! A member of a group: something to be written, with the one who waits for the answer.
//!
//! A member is performed inside the writer's transaction and answered only when that is committed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use retold_core::recording::{Append, Appended, RecordError};

use crate::error::Refusal;
use crate::file::log::Log;
use crate::projection::inline::InlineProjections;
use crate::transaction::Transaction;

/// Something to be written in a transaction that it may share with others.
pub(crate) trait Member: Send {
    /// Bytes it brings, for bounds.
    fn size(&self) -> usize;

    /// Judges and writes. May be called again, after a rollback.
    ///
    /// # Errors
    ///
    /// What the database finds; the transaction must be rolled back then. A refusal of the append
    /// itself is not an error here but its answer.
    fn perform(&mut self, transaction: &mut Transaction<'_>) -> rusqlite::Result<()>;

    /// Answers, once it is settled what became of the transaction.
    fn settle(&mut self, end: &End);

    /// Wakes the one who waits, if somebody does; woken, that one may lead a group.
    fn waker(&self) -> Option<Waker>;
}

/// Members that are written together.
pub(crate) type Group = Vec<Box<dyn Member>>;

/// What became of a transaction.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It is durable.
    Committed,
    /// It is gone, for this reason. What would not have written anything was no part of it.
    Failed(RecordError),
}

/// Where an answer is left and waited for.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    state: Mutex<SlotState<T>>,
}

#[derive(Debug)]
struct SlotState<T> {
    answer: Option<Result<T, RecordError>>,
    waker: Option<Waker>,
}

impl<T> Slot<T> {
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

    /// The answer, or to be woken when it is there.
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

    fn waker(&self) -> Option<Waker> {
        self.state().waker.clone()
    }

    /// Nobody waits any more.
    pub(crate) fn abandon(&self) {
        self.state().waker = None;
    }
}

/// An append on its way into its log.
pub(crate) struct AppendMember {
    log: Arc<Log>,
    inline: InlineProjections,
    append: Append,
    size: usize,
    answer: Option<Result<Appended, RecordError>>,
    append_count: u64,
    slot: Arc<Slot<Appended>>,
    settled: bool,
}

impl AppendMember {
    pub(crate) fn new(
        log: Arc<Log>,
        inline: InlineProjections,
        append: Append,
        slot: Arc<Slot<Appended>>,
    ) -> Self {
        let events = append.new_events().iter();
        let size = events.map(|event| event.size()).sum();
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

impl Member for AppendMember {
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

    fn settle(&mut self, end: &End) {
        self.settled = true;
        let answer = match (end, self.answer.take()) {
            (End::Committed, Some(answer)) => answer,
            (End::Committed, None) => Err(stopped()),
            // Recorded nothing itself; what it was refused for may rest on what failed.
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

    fn waker(&self) -> Option<Waker> {
        self.slot.waker()
    }
}

impl Drop for AppendMember {
    fn drop(&mut self) {
        if !self.settled {
            self.slot.set(Err(stopped()));
        }
    }
}

/// Anything else that is written: a birth, a snapshot, a lease.
pub(crate) struct WorkMember<T, W> {
    work: W,
    size: usize,
    answer: Option<Result<T, RecordError>>,
    slot: Arc<Slot<T>>,
    settled: bool,
}

impl<T, W> WorkMember<T, W>
where
    W: FnMut(&mut Transaction<'_>) -> rusqlite::Result<Result<T, RecordError>> + Send,
{
    pub(crate) fn new(size: usize, work: W, slot: Arc<Slot<T>>) -> Self {
        Self {
            work,
            size,
            answer: None,
            slot,
            settled: false,
        }
    }
}

impl<T, W> Member for WorkMember<T, W>
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

    fn settle(&mut self, end: &End) {
        self.settled = true;
        let answer = match (end, self.answer.take()) {
            (End::Committed, Some(answer)) => answer,
            (End::Committed, None) => Err(stopped()),
            (End::Failed(RecordError::OutcomeUnknown(failure)), _) => {
                // Each of these may simply be done again.
                Err(RecordError::Unavailable(failure.clone()))
            }
            (End::Failed(error), _) => Err(error.clone()),
        };
        self.slot.set(answer);
    }

    fn waker(&self) -> Option<Waker> {
        self.slot.waker()
    }
}

impl<T, W> Drop for WorkMember<T, W> {
    fn drop(&mut self) {
        if !self.settled {
            self.slot.set(Err(stopped()));
        }
    }
}

/// What a member answers that was dropped without being settled, as after a panic of the writer.
fn stopped() -> RecordError {
    RecordError::outcome_unknown("committing", Refusal::WriterStopped)
}
