//! The alarm: what wakes the keeper, and what it and the writer tell each other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What wakes the keeper.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    state: Mutex<Raised>,
    raised: Condvar,
    /// The keeper sleeps until it is woken.
    asleep: AtomicBool,
    /// Another process has the file; the keeper waits for it, and nobody else tries.
    contended: AtomicBool,
    /// How many wait for news.
    waiting: AtomicUsize,
}

/// What it was raised for.
#[derive(Debug, Default)]
pub(crate) struct Raised {
    /// Something is to be committed and nobody does it.
    pub(crate) lead: bool,
    /// There is something to look after.
    pub(crate) wake: bool,
    /// The store is closed.
    pub(crate) stop: bool,
}

impl Alarm {
    fn state(&self) -> MutexGuard<'_, Raised> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to commit and nobody to do it.
    pub(crate) fn raise(&self) {
        self.state().lead = true;
        self.raised.notify_one();
    }

    /// Another process has the file.
    pub(crate) fn raise_contended(&self) {
        self.contended.store(true, Ordering::Release);
        self.raise();
    }

    pub(crate) fn clear_contended(&self) {
        self.contended.store(false, Ordering::Release);
    }

    pub(crate) fn is_contended(&self) -> bool {
        self.contended.load(Ordering::Acquire)
    }

    /// Something was queued: the keeper is to look after it. Costs nothing while it is awake.
    pub(crate) fn stay_awake(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            self.state().wake = true;
            self.raised.notify_one();
        }
    }

    /// The store is closed.
    pub(crate) fn stop(&self) {
        self.state().stop = true;
        self.raised.notify_one();
    }

    /// Somebody waits for news, until what is returned is dropped.
    pub(crate) fn wait_for_news(self: &Arc<Self>) -> Waiting {
        // While others wait, the keeper looks as often as it is to.
        if self.waiting.fetch_add(1, Ordering::SeqCst) == 0 {
            self.stay_awake();
        }
        Waiting(self.clone())
    }

    /// Whether somebody waits for news.
    pub(crate) fn is_waited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// From now on whoever has something to look after wakes the keeper.
    pub(crate) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// The keeper looks by itself again.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Sleeps for a tick, or without end; says what it was woken for.
    pub(crate) fn sleep(&self, tick: Option<Duration>) -> Raised {
        let mut state = self.state();
        let mut deadline = tick.map(|tick| Instant::now() + tick);
        while !state.lead && !state.wake && !state.stop {
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
            lead: state.lead,
            wake: state.wake,
            stop: state.stop,
        };
        state.lead = false;
        state.wake = false;
        raised
    }
}

/// Somebody who waits for news.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Alarm>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
