//! The options of a node.

use std::time::Duration;

use retold_core::recording::Invalid;

use crate::limits::{LEASE_LOOK_INTERVAL, LEASE_TIME_TO_LIVE};
use crate::options::{MultiThreadOptions, check_time_to_live};

/// How a node of a [`Cluster`](crate::Cluster) leases its work. The defaults are those of
/// [`limits`](crate::limits). All nodes of a cluster had better have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    pub(crate) time_to_live: Duration,
    pub(crate) look_interval: Duration,
    pub(crate) name_wait_max: Duration,
    pub(crate) work: MultiThreadOptions,
}

impl ClusterOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            time_to_live: LEASE_TIME_TO_LIVE,
            look_interval: LEASE_LOOK_INTERVAL,
            name_wait_max: Duration::ZERO,
            work: MultiThreadOptions::new(),
        }
    }

    /// How long a lease lasts after it was renewed: so long nobody does the work of a node that died or
    /// hangs. It is renewed after a third of that. At least
    /// [`LEASE_TIME_TO_LIVE_MIN`](crate::limits::LEASE_TIME_TO_LIVE_MIN).
    #[must_use]
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live = time_to_live;
        self
    }

    /// How often the node looks at everybody's leases, so that it notices nodes that came or went.
    #[must_use]
    pub fn look_interval(mut self, interval: Duration) -> Self {
        self.look_interval = interval;
        self
    }

    /// How long joining waits for a living node of the same name to go; not at all unless told. A
    /// process that is started again under its name after it was killed waits for its own lease with
    /// that: somewhat more than the time to live is enough.
    #[must_use]
    pub fn name_wait_max(mut self, wait: Duration) -> Self {
        self.name_wait_max = wait;
        self
    }

    /// How followers, timers and views work while they are on this node.
    #[must_use]
    pub fn work(mut self, options: MultiThreadOptions) -> Self {
        self.work = options;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        check_time_to_live(self.time_to_live)
    }

    /// After which part of its life a lease is renewed, and how long one call for it may take: so two
    /// attempts may fail.
    pub(crate) fn renew_interval(&self) -> Duration {
        self.time_to_live / 3
    }

    /// How long the node rests between two looks.
    pub(crate) fn rest(&self) -> Duration {
        self.look_interval.min(self.time_to_live / 6)
    }
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self::new()
    }
}
