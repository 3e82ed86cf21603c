//! The queue of appends to a log, in the order of arrival.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use retold_core::recording::{
    Amendment, Append, Appended, Condition, Query, QueryItem, RecordError,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use crate::limits::{GROUP_COMPARISONS_MAX, GROUP_LENGTH_MAX, GROUP_SIZE_MAX, ROW_SIZE};
use crate::query_items::names;

/// Shorter waits yield to other tasks instead of using a timer, which is not precise enough.
const TIMER_GRAIN: Duration = Duration::from_millis(1);

/// An append and the channel to its caller.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) append: Append,
    pub(crate) size: usize,
    pub(crate) answer: oneshot::Sender<Result<Appended, RecordError>>,
    /// Its places in the queue, released when the caller gets its result.
    pub(crate) _places: OwnedSemaphorePermit,
}

/// A queue of appends, bounded by the places its members hold.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Notified when the awaited number of appends wait.
    gathered: Notify,
}

#[derive(Debug, Default)]
struct State {
    members: VecDeque<Member>,
    /// Whether a task serves the queue.
    is_served: bool,
    /// The number of appends that the task waits for, if it does.
    awaited: Option<usize>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a member at the end. Returns true if no task serves the queue: the caller must then
    /// start one, and the queue counts as served from now on.
    pub(crate) fn push(&self, member: Member) -> bool {
        let mut state = self.state();
        state.members.push_back(member);
        if state.awaited.is_some_and(|it| state.members.len() >= it) {
            state.awaited = None;
            self.gathered.notify_one();
        }
        !std::mem::replace(&mut state.is_served, true)
    }

    /// Returns the number of waiting appends.
    pub(crate) fn length(&self) -> usize {
        self.state().members.len()
    }

    /// Waits until the expected number of appends wait, or until `wait_max` is over.
    pub(crate) async fn gather(&self, expected: usize, wait_max: Duration) {
        if wait_max < TIMER_GRAIN {
            let begun = Instant::now();
            while self.length() < expected && begun.elapsed() < wait_max {
                tokio::task::yield_now().await;
            }
            return;
        }
        {
            let mut state = self.state();
            if state.members.len() >= expected {
                return;
            }
            state.awaited = Some(expected);
        }
        // Late appends are no error: the group takes those that have arrived.
        let _ = tokio::time::timeout(wait_max, self.gathered.notified()).await;
        self.state().awaited = None;
    }

    /// Takes the next group from the front. If there is none, the queue is no longer served. An
    /// append with amendments gets a group of its own.
    pub(crate) fn take_group(&self) -> Vec<Member> {
        let mut state = self.state();
        let mut group: Vec<Member> = Vec::new();
        let (mut size, mut events, mut comparisons) = (0, 0, 0);
        while group.len() < GROUP_LENGTH_MAX
            && let Some(member) = state.members.front()
        {
            size += member.size;
            comparisons += events * query_items(&member.append);
            let is_too_much = size > GROUP_SIZE_MAX || comparisons > GROUP_COMPARISONS_MAX;
            let is_apart = is_amending(member) || group.last().is_some_and(is_amending);
            if (is_too_much || is_apart) && !group.is_empty() {
                break;
            }
            events += member.append.new_events().len();
            group.extend(state.members.pop_front());
        }
        if group.is_empty() {
            state.is_served = false;
        }
        group
    }

    /// Drops all waiting appends without a result, as when the runtime ends.
    pub(crate) fn abandon(&self) {
        let mut state = self.state();
        state.is_served = false;
        let members = std::mem::take(&mut state.members);
        drop(state);
        drop(members);
    }
}

fn is_amending(member: &Member) -> bool {
    !member.append.amendments().is_empty()
}

/// Returns the approximate size of an append in memory and in a message to the server, in bytes.
pub(crate) fn size(append: &Append) -> usize {
    let events = append.new_events().iter().map(|event| {
        let stream = event.stream.as_ref().map_or(0, |it| it.len());
        let tags = event.tags.iter().map(|tag| ROW_SIZE + 2 * tag.len());
        ROW_SIZE + event.size() + event.topic.len() + stream + tags.sum::<usize>()
    });
    let conditions = append.all_conditions().iter().map(|condition| {
        let names = match condition {
            Condition::StreamAt { stream, .. } => stream.len(),
            Condition::NoneMatch {
                query: Query::Items(items),
                ..
            } => items.iter().map(item_size).sum(),
            _ => 0,
        };
        ROW_SIZE + names
    });
    let ranges = append
        .processed_ranges()
        .iter()
        .map(|range| ROW_SIZE + range.follower.as_str().len());
    let amendments = append.amendments().iter().map(|amendment| {
        let stream = amendment.stream().map_or(0, |it| it.len());
        ROW_SIZE + stream + amendment_size(amendment)
    });
    let all = events.chain(conditions).chain(ranges).chain(amendments);
    all.sum()
}

fn amendment_size(amendment: &Amendment) -> usize {
    match amendment {
        Amendment::ReplaceEvent { replacement, .. } => {
            let tags = replacement.tags.iter().map(|tag| ROW_SIZE + 2 * tag.len());
            replacement.payload.len() + replacement.topic.len() + tags.sum::<usize>()
        }
        _ => 0,
    }
}

fn item_size(item: &QueryItem) -> usize {
    names(item).map(|name| ROW_SIZE + name.len()).sum()
}

/// Counts the items of all queries in an append's conditions.
fn query_items(append: &Append) -> usize {
    let items = append
        .all_conditions()
        .iter()
        .map(|condition| match condition {
            Condition::NoneMatch {
                query: Query::Items(items),
                ..
            } => items.len(),
            _ => 0,
        });
    items.sum()
}
