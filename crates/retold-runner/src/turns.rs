//! Turns: followers that lost a race for the same aggregate or query decide one after the other.
//!
//! Many followers that answer one event by deciding on one aggregate decide at the same time. One of them
//! records, and the others decide again, where again one of them records: the work grows with the square of
//! their number. So a follower that was overtaken once waits for its turn before it decides again. Turns are
//! given in the order in which they were asked for. Correctness never rests on a turn, because the append
//! judges; so nobody waits for a follower that has its turn and does not come to an end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::sleep;

use crate::limits::TURN_HELD_MAX;

/// How many turns an application has. Followers that contend for different things and share one wait for
/// each other without need, which costs time and nothing else.
const TURNS: u64 = 64;

/// The turns of one application.
#[derive(Debug)]
pub(crate) struct Turns(Vec<Turn>);

#[derive(Debug, Default)]
struct Turn {
    lock: Arc<Mutex<()>>,
    /// How often it was taken.
    taken: AtomicU64,
}

impl Default for Turns {
    fn default() -> Self {
        Self((0..TURNS).map(|_| Turn::default()).collect())
    }
}

impl Turns {
    /// Waits for the turn of those that contend for the same. None if the one that has it keeps it for too
    /// long. May be dropped at any time.
    pub(crate) async fn take(&self, contended: u64) -> Option<OwnedMutexGuard<()>> {
        let index = usize::try_from(contended % TURNS).unwrap_or_default();
        let turn = &self.0[index];
        let mut locked = pin!(Arc::clone(&turn.lock).lock_owned());
        loop {
            let taken = turn.taken.load(Ordering::Relaxed);
            tokio::select! {
                biased;
                guard = &mut locked => {
                    turn.taken.fetch_add(1, Ordering::Relaxed);
                    return Some(guard);
                }
                () = sleep(TURN_HELD_MAX) => {
                    if turn.taken.load(Ordering::Relaxed) == taken {
                        return None;
                    }
                }
            }
        }
    }
}
