//! The options of a node.

use std::time::Duration;

use retold_core::recording::Invalid;

use crate::limits::{LEASE_LOOK_INTERVAL, LEASE_TIME_TO_LIVE};
use crate::options::{MultiThreadOptions, check_time_to_live};

/// The options of a node of a [`Cluster`](crate::Cluster). The defaults are those of
/// [`limits`](crate::limits). All nodes of a cluster should have the same options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    pub(crate) time_to_live: Duration,
    pub(crate) look_interval: Duration,
    pub(crate) name_wait_max: Duration,
    pub(crate) work: MultiThreadOptions,
}

impl ClusterOptions {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self {
            time_to_live: LEASE_TIME_TO_LIVE,
            look_interval: LEASE_LOOK_INTERVAL,
            name_wait_max: Duration::ZERO,
            work: MultiThreadOptions::new(),
        }
    }

    /// How long a lease lasts after it was renewed: if a node dies or hangs, no other node does its
    /// work for this long. The lease is renewed after a third of this time. At least
    /// [`LEASE_TIME_TO_LIVE_MIN`](crate::limits::LEASE_TIME_TO_LIVE_MIN).
    #[must_use]
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live = time_to_live;
        self
    }

    /// How often the node looks at the leases of all nodes, so that it notices nodes that joined or
    /// left.
    #[must_use]
    pub fn look_interval(mut self, interval: Duration) -> Self {
        self.look_interval = interval;
        self
    }

    /// How long joining waits for a living node of the same name to end; by default it does not
    /// wait. A process that is restarted under its name after it was killed uses this to wait for
    /// its own former lease: somewhat more than the time to live is enough.
    #[must_use]
    pub fn name_wait_max(mut self, wait: Duration) -> Self {
        self.name_wait_max = wait;
        self
    }

    /// The options of the followers, timers and views that run on this node.
    #[must_use]
    pub fn work(mut self, options: MultiThreadOptions) -> Self {
        self.work = options;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        check_time_to_live(self.time_to_live)
    }

    /// Returns how long after a renewal a lease is renewed again, and how long one call for it may
    /// take. Two attempts can fail before the lease ends.
    pub(crate) fn renew_interval(&self) -> Duration {
        self.time_to_live / 3
    }

    /// Returns how long the node rests between two looks.
    pub(crate) fn rest(&self) -> Duration {
        self.look_interval.min(self.time_to_live / 6)
    }
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self::new()
    }
}
