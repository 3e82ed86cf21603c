//! The damping between processes that run the same follower: whoever is overtaken keeps still for a
//! while, longer each time, and then looks at the log before it does anything.
//!
//! Goal: one works, the others hardly cost anything, and one of them goes on when the first dies.
//! Nothing depends on it but speed: two that work at the same time record nothing twice.

use std::time::Duration;

use tokio::time::Instant;

use crate::back_off::BackOff;
use crate::options::Range;

/// Whether somebody else seems to do the work.
#[derive(Debug)]
pub(crate) struct Standby {
    waits: BackOff,
    lost_at: Option<Instant>,
    /// After this long without a loss the first wait is short again.
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

    /// Whether to keep still before each look.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Another was faster. Says how long to keep still.
    pub(crate) fn lost(&mut self, now: Instant) -> Duration {
        if self.lost_at.is_some_and(|at| now - at > self.memory) {
            self.waits.reset();
        }
        self.lost_at = Some(now);
        self.is_on = true;
        self.waits.next()
    }

    /// Something was recorded and nobody was faster: it is this one that works now.
    pub(crate) fn won(&mut self) {
        self.is_on = false;
    }

    /// How long to keep still after news, for the other to do the work.
    pub(crate) fn wait(&self) -> Duration {
        self.waits.again()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_in_a_row_make_it_keep_still_for_longer() {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(80));
        let mut standby = Standby::new(Range { min, max });
        assert!(!standby.is_on());
        let start = Instant::now();
        assert!(standby.lost(start) <= min);
        assert!(standby.is_on());
        standby.won();
        assert!(!standby.is_on());
        // Two that take turns in overtaking each other meet less and less often.
        assert!(standby.lost(start) > min / 2);
        assert!(standby.lost(start) >= min * 2);
        assert!(standby.lost(start + max * 3) <= min);
    }
}
