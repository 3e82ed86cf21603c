//! The queue of writes, in the order of arrival.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::member::{Group, GroupMember};
use crate::limits::{GROUP_LENGTH_MAX, GROUP_SIZE_MAX, QUEUE_LENGTH_MAX, QUEUE_SIZE_MAX};
use crate::telemetry::QUEUE_LENGTH;

/// A bounded queue of members.
#[derive(Default)]
pub(crate) struct WriteQueue {
    state: Mutex<WriteQueueState>,
    /// The number of members, to be read without the lock.
    length: AtomicUsize,
    changed: Condvar,
}

#[derive(Default)]
struct WriteQueueState {
    members: VecDeque<Box<dyn GroupMember>>,
    size: usize,
    /// The callers that found the queue full.
    waiting_for_place: Vec<Waker>,
    /// How many members were ever taken out.
    taken_count: u64,
    /// The committer sleeps until the queue has a member.
    is_waited: bool,
    /// The store is closed; members that come later are refused.
    is_closed: bool,
}

/// Why a member was not queued.
pub(crate) enum NotQueued {
    /// The queue is full. Contains the member.
    Full(Box<dyn GroupMember>),
    /// The store is closed.
    Closed,
}

impl WriteQueue {
    fn state(&self) -> MutexGuard<'_, WriteQueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a member at the end.
    ///
    /// # Errors
    ///
    /// If the queue is full, `waker` is woken when there may be a place.
    pub(crate) fn push(
        &self,
        member: Box<dyn GroupMember>,
        waker: &Waker,
    ) -> Result<(), NotQueued> {
        let mut state = self.state();
        if state.is_closed {
            return Err(NotQueued::Closed);
        }
        let is_full = state.members.len() >= QUEUE_LENGTH_MAX
            || (!state.members.is_empty() && state.size + member.size() > QUEUE_SIZE_MAX);
        if is_full {
            let waiting = &mut state.waiting_for_place;
            if !waiting.iter().any(|known| known.will_wake(waker)) {
                waiting.push(waker.clone());
            }
            return Err(NotQueued::Full(member));
        }
        state.size += member.size();
        state.members.push_back(member);
        self.length.store(state.members.len(), Ordering::Relaxed);
        if std::mem::take(&mut state.is_waited) {
            drop(state);
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Waits until there is a member. Returns false once the queue is closed and empty.
    pub(crate) fn wait(&self) -> bool {
        let mut state = self.state();
        loop {
            if !state.members.is_empty() {
                state.is_waited = false;
                return true;
            }
            if state.is_closed {
                return false;
            }
            state.is_waited = true;
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Refuses members from now on.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_one();
    }

    /// The number of members.
    pub(crate) fn length(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// Takes the next group from the front.
    pub(crate) fn take_group(&self) -> Group {
        let mut state = self.state();
        let mut group = Group::new();
        if state.members.is_empty() {
            return group;
        }
        metrics::histogram!(QUEUE_LENGTH).record(state.members.len() as f64);
        let mut size = 0;
        while group.len() < GROUP_LENGTH_MAX
            && let Some(member) = state.members.front()
        {
            size += member.size();
            if size > GROUP_SIZE_MAX && !group.is_empty() {
                break;
            }
            group.extend(state.members.pop_front());
        }
        state.size -= group.iter().map(|member| member.size()).sum::<usize>();
        state.taken_count += group.len() as u64;
        self.length.store(state.members.len(), Ordering::Relaxed);
        let woken = std::mem::take(&mut state.waiting_for_place);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        group
    }

    /// Wakes the callers that found the queue full, so that they check their time limit.
    pub(crate) fn wake_those_without_place(&self) {
        let woken = std::mem::take(&mut self.state().waiting_for_place);
        woken.into_iter().for_each(Waker::wake);
    }

    /// The length of the queue, how many were ever taken out, and whether a caller found it full.
    pub(crate) fn progress(&self) -> QueueProgress {
        let state = self.state();
        QueueProgress {
            length: state.members.len(),
            taken_count: state.taken_count,
            has_refused: !state.waiting_for_place.is_empty(),
        }
    }
}

/// The state of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueProgress {
    pub(crate) length: usize,
    pub(crate) taken_count: u64,
    pub(crate) has_refused: bool,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use retold_core::recording::limits::ERASED_EVENTS_MAX;
    use retold_core::recording::{Amendment, Append, ErasedParts, EventId, NewEvent, Version};
    use uuid::Uuid;

    use super::*;
    use crate::file::log::Log;
    use crate::projection::inline::SqliteInlineProjections;
    use crate::writing::member::{AppendMember, OutcomeSlot};

    /// Appends that share a group with one that erases a long stream would wait for it.
    #[test]
    fn a_large_amendment_is_a_group_of_its_own() {
        let queue = WriteQueue::default();
        let log = Arc::new(Log::unborn("dogs"));
        let append = |id| Append::of([NewEvent::new(EventId::new(Uuid::from_u128(id)), "A", "{}")]);
        let erase = append(3).amendment(Amendment::EraseStream {
            stream: "dog/1".into(),
            after: None,
            until: Version::new(ERASED_EVENTS_MAX).unwrap(),
            parts: ErasedParts::ALL,
        });
        for append in [append(1), append(2), erase, append(4), append(5)] {
            let inline = SqliteInlineProjections::new();
            let slot = Arc::new(OutcomeSlot::new());
            let member = AppendMember::new(log.clone(), inline, append, slot);
            assert!(queue.push(Box::new(member), Waker::noop()).is_ok());
        }
        let lengths = [(); 4].map(|()| queue.take_group().len());
        assert_eq!(lengths, [2, 1, 2, 0]);
    }
}
