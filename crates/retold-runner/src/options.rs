//! The options of a runner.

use std::time::Duration;

use retold_core::following::limits::{BACK_OFF_MAX, BACK_OFF_MIN};
use retold_core::recording::Invalid;

use crate::limits::{
    FAILED_INTERVAL, FLUSH_DELAY, LEASE_TIME_TO_LIVE_MIN, OUTBOX_TIME_TO_LIVE, PASSED_FLUSH_DELAY,
    POLL_INTERVAL, STANDBY_MAX, STANDBY_MIN, STOP_WAIT_MAX,
};

/// How a [`MultiThread`](crate::MultiThread), or the work on a node of a
/// [`Cluster`](crate::Cluster), waits and retries. The defaults are those of
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

/// The bounds of a growing wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

impl MultiThreadOptions {
    /// Returns the defaults.
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

    /// How often a task that waits for news checks the logs and the clock by itself.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// How long a follower that has nothing left to read holds back events that it processed
    /// without effects before it records its checkpoint.
    #[must_use]
    pub fn flush_delay(mut self, delay: Duration) -> Self {
        self.flush_delay = delay;
        self
    }

    /// As [`flush_delay`](Self::flush_delay), for a follower that only passed over events for which
    /// it has no policy.
    #[must_use]
    pub fn passed_flush_delay(mut self, delay: Duration) -> Self {
        self.passed_flush_delay = delay;
        self
    }

    /// How long a follower waits after a failure of its store before it retries: `min` at first,
    /// doubled with each consecutive failure, at most `max`. A random part of up to half is
    /// subtracted so that not all followers retry at once.
    #[must_use]
    pub fn back_off(mut self, min: Duration, max: Duration) -> Self {
        self.back_off = Range { min, max };
        self
    }

    /// How long a follower waits after the same follower in another process has overtaken it. The
    /// wait grows as in [`back_off`](Self::back_off). `max` bounds how long no process does the
    /// work after the other process dies.
    #[must_use]
    pub fn standby(mut self, min: Duration, max: Duration) -> Self {
        self.standby = Range { min, max };
        self
    }

    /// How often a follower that cannot continue retries without an operator's act.
    #[must_use]
    pub fn failed_interval(mut self, interval: Duration) -> Self {
        self.failed_interval = interval;
        self
    }

    /// How long stopping waits for the followers.
    #[must_use]
    pub fn stop_wait_max(mut self, wait: Duration) -> Self {
        self.stop_wait_max = wait;
        self
    }

    /// How long the lease of an outbox lasts after it was renewed. If the process that drains the
    /// outbox is killed, no process drains it for this long. The lease is renewed after a third of
    /// this time, by a write to the store. At least [`LEASE_TIME_TO_LIVE_MIN`]. Nodes of a cluster
    /// use [`ClusterOptions::time_to_live`](crate::ClusterOptions::time_to_live) instead.
    #[must_use]
    pub fn outbox_time_to_live(mut self, time_to_live: Duration) -> Self {
        self.outbox_time_to_live = time_to_live;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        check_time_to_live(self.outbox_time_to_live)
    }
}

/// Checks the time to live of a lease.
pub(crate) fn check_time_to_live(time_to_live: Duration) -> Result<(), Invalid> {
    if time_to_live < LEASE_TIME_TO_LIVE_MIN {
        return Err(Invalid::new(format!(
            "a lease with a time to live of {time_to_live:?} ends before it can be renewed; \
             the minimum is {LEASE_TIME_TO_LIVE_MIN:?}"
        )));
    }
    Ok(())
}

impl Default for MultiThreadOptions {
    fn default() -> Self {
        Self::new()
    }
}
