//! Turns: commands that lost a race for the same thing go one after the other.
//!
//! Whoever decides on the newest state and is beaten by somebody else decides again, and may be beaten
//! again: with many callers of one aggregate each wins only now and then, and some never within their
//! retries. So a command that was beaten once waits for its turn, and decides and appends while it has
//! it; those that were beaten too wait behind it, in the order in which they came. Nobody waits who was
//! not beaten, and correctness never rests on a turn: the append judges.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use tokio::sync::{Mutex, MutexGuard};

use crate::recording::condition::Condition;
use crate::recording::error::Conflict;

/// How many queues there are. Commands about different things that share one wait for each other
/// without need, which costs time and nothing else.
const QUEUES: usize = 64;

/// The queues of one application; take no memory before somebody is beaten.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queues: OnceLock<Box<[Mutex<()>]>>,
}

/// Whose turn it is: until it is dropped.
pub(super) type Turn<'a> = MutexGuard<'a, ()>;

impl Turns {
    /// Waits for a turn among those that were beaten for the same. A command holds one turn at most,
    /// so no two ever wait for each other.
    pub(super) async fn take(&self, contended: u64) -> Turn<'_> {
        let queues = self
            .queues
            .get_or_init(|| (0..QUEUES).map(|_| Mutex::new(())).collect());
        let queue = contended % QUEUES as u64;
        queues[usize::try_from(queue).unwrap_or_default()]
            .lock()
            .await
    }
}

/// What a conflict was about: equal for all that contend for the same. `conditions` are those of the
/// append that conflicted.
pub(super) fn contended(conflict: &Conflict, conditions: &[Condition]) -> u64 {
    let mut hasher = DefaultHasher::new();
    match conflict {
        Conflict::Stream { stream, .. } => stream.hash(&mut hasher),
        Conflict::Query { condition, .. } => {
            if let Some(Condition::NoneMatch { query, .. }) = conditions.get(*condition) {
                query.hash(&mut hasher);
            }
        }
        Conflict::EventId { .. } | Conflict::Checkpoint { .. } => {}
    }
    hasher.finish()
}
