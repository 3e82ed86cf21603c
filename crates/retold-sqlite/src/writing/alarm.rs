//! The alarm: wakes the keeper.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Wakes the keeper.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    state: Mutex<Raised>,
    raised: Condvar,
    /// The keeper sleeps until it is woken.
    asleep: AtomicBool,
    /// The number of callers that wait for news.
    waiting: AtomicUsize,
}

/// The reason for an alarm.
#[derive(Debug, Default)]
pub(crate) struct Raised {
    /// There is work to watch.
    pub(crate) wake: bool,
    /// The store is closed.
    pub(crate) stop: bool,
}

impl Alarm {
    fn state(&self) -> MutexGuard<'_, Raised> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports that something was queued, which the keeper must watch. Costs nothing while it is
    /// awake.
    pub(crate) fn stay_awake(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            self.state().wake = true;
            self.raised.notify_one();
        }
    }

    /// Reports that the store is closed.
    pub(crate) fn stop(&self) {
        self.state().stop = true;
        self.raised.notify_one();
    }

    /// Registers a caller that waits for news, until the result is dropped.
    pub(crate) fn wait_for_news(self: &Arc<Self>) -> Waiting {
        // While others wait, the keeper already polls at its interval.
        if self.waiting.fetch_add(1, Ordering::SeqCst) == 0 {
            self.stay_awake();
        }
        Waiting(self.clone())
    }

    /// Whether any caller waits for news.
    pub(crate) fn is_waited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// From now on, new work wakes the keeper.
    pub(crate) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// The keeper polls by itself again.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Sleeps for a tick, or without limit; returns the reason for waking.
    pub(crate) fn sleep(&self, tick: Option<Duration>) -> Raised {
        let mut state = self.state();
        let mut deadline = tick.map(|tick| Instant::now() + tick);
        while !state.wake && !state.stop {
            state = match deadline {
                None => self
                    .raised
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    deadline = Some(at);
                    let waited = self.raised.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        let raised = Raised {
            wake: state.wake,
            stop: state.stop,
        };
        state.wake = false;
        raised
    }
}

/// A caller that waits for news.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Alarm>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
