//! The times at which tasks poll: the same times for all tasks of a process, so that it is woken
//! once for all of them.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// The time from which the intervals are counted.
static BEGUN: OnceLock<Instant> = OnceLock::new();

/// Returns the next multiple of this interval. It is at most one interval away.
pub(crate) fn next_look(interval: Duration) -> Instant {
    let now = Instant::now();
    let begun = *BEGUN.get_or_init(|| now);
    let passed = now.saturating_duration_since(begun).as_nanos();
    let interval_ns = interval.as_nanos().max(1);
    let left = interval_ns - passed % interval_ns;
    let left = u64::try_from(left).map_or(interval, Duration::from_nanos);
    now + left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_poll_at_the_same_time_and_in_time() {
        let interval = Duration::from_secs(3_600);
        let (first, second) = (next_look(interval), next_look(interval));
        assert!(second.duration_since(first) < Duration::from_millis(1));
        assert!(first <= Instant::now() + interval);
        let soon = next_look(Duration::from_nanos(1));
        assert!(soon <= Instant::now() + Duration::from_nanos(1));
        next_look(Duration::ZERO);
    }
}
