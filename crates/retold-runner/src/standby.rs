//! Damping between processes that run the same follower: a process that is overtaken waits for a
//! while, longer each time, and then checks the log before it does anything.
//!
//! Goal: one process works, the others cost almost nothing, and one of them takes over when the
//! first dies. Only speed depends on it: two processes that work at the same time record nothing
//! twice.

use std::time::Duration;

use tokio::time::Instant;

use crate::back_off::BackOff;
use crate::options::Range;

/// Whether another process seems to do the work.
#[derive(Debug)]
pub(crate) struct Standby {
    waits: BackOff,
    lost_at: Option<Instant>,
    /// After this long without a loss, the first wait is short again.
    memory: Duration,
    is_on: bool,
}

impl Standby {
    pub(crate) fn new(range: Range) -> Self {
        Self {
            waits: BackOff::new(range),
            lost_at: None,
            memory: range.max.saturating_mul(2),
            is_on: false,
        }
    }

    /// Returns whether to wait before each look.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Another process was faster. Returns how long to wait.
    pub(crate) fn lost(&mut self, now: Instant) -> Duration {
        if self.lost_at.is_some_and(|at| now - at > self.memory) {
            self.waits.reset();
        }
        self.lost_at = Some(now);
        self.is_on = true;
        self.waits.next()
    }

    /// Something was recorded without being overtaken: this process does the work now.
    pub(crate) fn won(&mut self) {
        self.is_on = false;
    }

    /// Returns how long to wait after news, so that the other process can do the work.
    pub(crate) fn wait(&self) -> Duration {
        self.waits.again()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_losses_make_it_wait_longer() {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(80));
        let mut standby = Standby::new(Range { min, max });
        assert!(!standby.is_on());
        let start = Instant::now();
        assert!(standby.lost(start) <= min);
        assert!(standby.is_on());
        standby.won();
        assert!(!standby.is_on());
        // Two processes that overtake each other alternately meet less and less often.
        assert!(standby.lost(start) > min / 2);
        assert!(standby.lost(start) >= min * 2);
        assert!(standby.lost(start + max * 3) <= min);
    }
}
