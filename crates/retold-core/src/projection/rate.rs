//! The speed of a projection: events per second, over the last seconds.

use std::time::{Duration, Instant};

/// The rate covers the last one to two windows: short enough to show the present speed, long enough
/// not to jump with every page.
const WINDOW: Duration = Duration::from_secs(5);

/// Counts events in two windows, the current and the previous one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    began: Instant,
    before: u64,
    before_took: Duration,
    now: u64,
}

impl Rate {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            began: now,
            before: 0,
            before_took: Duration::ZERO,
            now: 0,
        }
    }

    pub(crate) fn count(&mut self, events: u64, now: Instant) {
        let took = now.saturating_duration_since(self.began);
        if took >= WINDOW {
            (self.before, self.before_took) = (self.now, took);
            (self.now, self.began) = (0, now);
        }
        self.now += events;
    }

    /// Returns the events per second.
    pub(crate) fn per_second(&self, now: Instant) -> f64 {
        let took = now.saturating_duration_since(self.began);
        // The time before a pause says nothing about now.
        let (before, before_took) = if took >= WINDOW {
            (0, Duration::ZERO)
        } else {
            (self.before, self.before_took)
        };
        let seconds = (took + before_took).as_secs_f64();
        if seconds > 0.0 {
            (self.now + before) as f64 / seconds
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_last_windows() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        assert_eq!(rate.per_second(start), 0.0);
        rate.count(100, start);
        assert_eq!(rate.per_second(start + Duration::from_secs(2)), 50.0);
        rate.count(50, start + WINDOW);
        assert_eq!(rate.per_second(start + WINDOW), 30.0);
        assert_eq!(rate.per_second(start + WINDOW + WINDOW), 10.0);
        rate.count(0, start + 3 * WINDOW);
        assert!(rate.per_second(start + 6 * WINDOW) < 1.0);
    }
}
