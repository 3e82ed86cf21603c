//! Turns: followers that lost a race for the same aggregate or query decide one after the other.
//!
//! Followers that process one event by deciding on the same aggregate decide at the same time. One
//! of them records, and the others decide again, where again only one records: the work grows with
//! the square of their number. A follower that was overtaken once therefore waits for its turn
//! before it decides again. Turns are given in the order of the requests. Correctness never depends
//! on a turn, because the append checks its conditions; so no follower waits for a turn whose
//! holder makes no progress.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::sleep;

use crate::limits::TURN_HELD_MAX;

/// The number of turns of an application. Followers that contend for different things but share a
/// turn wait for each other needlessly, which only costs time.
const TURNS: u64 = 64;

/// The turns of one application.
#[derive(Debug)]
pub(crate) struct Turns(Vec<Turn>);

#[derive(Debug, Default)]
struct Turn {
    lock: Arc<Mutex<()>>,
    /// How often the turn was taken.
    taken: AtomicU64,
}

impl Default for Turns {
    fn default() -> Self {
        Self((0..TURNS).map(|_| Turn::default()).collect())
    }
}

impl Turns {
    /// Waits for the turn of the followers that contend for the same thing. Returns `None` if the
    /// current holder keeps it for too long. May be dropped at any time.
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
