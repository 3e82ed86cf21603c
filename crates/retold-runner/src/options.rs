//! The options of a runner.

use std::time::Duration;

use retold_core::following::limits::{BACK_OFF_MAX, BACK_OFF_MIN};
use retold_core::recording::Invalid;

use crate::limits::{
    FAILED_INTERVAL, FLUSH_DELAY, LEASE_TIME_TO_LIVE_MIN, OUTBOX_TIME_TO_LIVE, PASSED_FLUSH_DELAY,
    POLL_INTERVAL, STANDBY_MAX, STANDBY_MIN, STOP_WAIT_MAX,
};

/// How a [`MultiThread`](crate::MultiThread), or what is on a node of a [`Cluster`](crate::Cluster), waits
/// and tries again. The defaults are those of
/// [`limits`](crate::limits); few programs need others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiThreadOptions {
    pub(crate) poll_interval: Duration,
    pub(crate) flush_delay: Duration,
    pub(crate) passed_flush_delay: Duration,
    pub(crate) back_off: Range,
    pub(crate) standby: Range,
    pub(crate) failed_interval: Duration,
    pub(crate) stop_wait_max: Duration,
    pub(crate) outbox_time_to_live: Duration,
}

/// Bounds of a wait that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

impl MultiThreadOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            poll_interval: POLL_INTERVAL,
            flush_delay: FLUSH_DELAY,
            passed_flush_delay: PASSED_FLUSH_DELAY,
            back_off: Range {
                min: BACK_OFF_MIN,
                max: BACK_OFF_MAX,
            },
            standby: Range {
                min: STANDBY_MIN,
                max: STANDBY_MAX,
            },
            failed_interval: FAILED_INTERVAL,
            stop_wait_max: STOP_WAIT_MAX,
            outbox_time_to_live: OUTBOX_TIME_TO_LIVE,
        }
    }

    /// How often whoever waits for news looks into the logs, and at the clock, by itself.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// How long a follower that has nothing left to read keeps what it answered without effect, before
    /// it records how far it is.
    #[must_use]
    pub fn flush_delay(mut self, delay: Duration) -> Self {
        self.flush_delay = delay;
        self
    }

    /// The same if it only passed events that it has no policy for.
    #[must_use]
    pub fn passed_flush_delay(mut self, delay: Duration) -> Self {
        self.passed_flush_delay = delay;
        self
    }

    /// How long a follower waits after a failure of its store before it tries again: `min` at first,
    /// doubled with each failure in a row, `max` at most; a random part of up to a half is taken off,
    /// so that not all try at once.
    #[must_use]
    pub fn back_off(mut self, min: Duration, max: Duration) -> Self {
        self.back_off = Range { min, max };
        self
    }

    /// How long a follower keeps still that was overtaken by the same follower in another process, in
    /// the same manner. `max` bounds how long nobody works when that process dies.
    #[must_use]
    pub fn standby(mut self, min: Duration, max: Duration) -> Self {
        self.standby = Range { min, max };
        self
    }

    /// How often a follower that cannot go on tries again without an operator's act.
    #[must_use]
    pub fn failed_interval(mut self, interval: Duration) -> Self {
        self.failed_interval = interval;
        self
    }

    /// How long a stop waits for the followers.
    #[must_use]
    pub fn stop_wait_max(mut self, wait: Duration) -> Self {
        self.stop_wait_max = wait;
        self
    }

    /// How long the lease of an outbox lasts after it was renewed: this long no process drains the outbox after
    /// the one that drained it was killed. It is renewed after a third of that, by a write to the store. At least
    /// [`LEASE_TIME_TO_LIVE_MIN`]. Nodes of a cluster go by
    /// [`ClusterOptions::time_to_live`](crate::ClusterOptions::time_to_live) instead.
    #[must_use]
    pub fn outbox_time_to_live(mut self, time_to_live: Duration) -> Self {
        self.outbox_time_to_live = time_to_live;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        check_time_to_live(self.outbox_time_to_live)
    }
}

/// Checks how long a lease is to last.
pub(crate) fn check_time_to_live(time_to_live: Duration) -> Result<(), Invalid> {
    if time_to_live < LEASE_TIME_TO_LIVE_MIN {
        return Err(Invalid::new(format!(
            "leases that live {time_to_live:?} end before they can be renewed; let them live {LEASE_TIME_TO_LIVE_MIN:?} at least"
        )));
    }
    Ok(())
}

impl Default for MultiThreadOptions {
    fn default() -> Self {
        Self::new()
    }
}
