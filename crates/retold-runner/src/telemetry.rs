//! The names of the metrics and spans that a runner emits, in one place.
//!
//! Metrics are sent to the recorder that the program installed for the crate `metrics`, with the
//! labels `application` and `follower` for metrics of a follower, and `pipeline` if the follower
//! has several; spans and events are sent to the subscriber installed for `tracing`. Both cost
//! almost nothing if none is installed.
//!
//! | span (level debug) | fields | what |
//! |---|---|---|
//! | `retold.follow` | application, follower | one step of a follower: read, process, record |
//! | `retold.timers` | application | one look at the timers of an application |
//!
//! Within `retold.follow` are the spans of the core: `retold.process` for each processed event, and
//! `retold.append` for recording its effects.
//!
//! Warnings report failures that are retried; errors report problems that need attention.

use std::sync::Arc;
use std::time::SystemTime;

use metrics::{Counter, Gauge, Label, Unit, counter, describe_counter, describe_gauge, gauge};
use retold_core::following::{Counts, FollowerStatus};

/// Counter: upstream events that were processed.
pub const PROCESSED: &str = "retold.follower.processed";
/// Counter: events that a follower recorded.
pub const EFFECTS: &str = "retold.follower.effects";
/// Counter: appends of a follower that were not recorded, and whose events were decided again,
/// because others had changed the state that they depended on.
pub const CONFLICTS: &str = "retold.follower.conflicts";
/// Counter: conflicts in which the follower's work was already recorded, by another process or by
/// an attempt of its own whose outcome was unknown.
pub const OVERTAKEN: &str = "retold.follower.overtaken";
/// Counter: failures of a store after which a follower retries.
pub const RETRIES: &str = "retold.follower.retries";
/// Gauge: events of the followed logs that are not processed yet, as far as the follower knows.
pub const LAG_EVENTS: &str = "retold.follower.lag.events";
/// Gauge, seconds: how long the next of these events has been waiting, by the clocks of the stores.
pub const LAG_SECONDS: &str = "retold.follower.lag.seconds";
/// Gauge: parked events.
pub const PARKED: &str = "retold.follower.parked";
/// Counter, by application: fired timers.
pub const TIMERS_FIRED: &str = "retold.timers.fired";

/// Counter: units that a node of a cluster has taken.
pub const UNITS_TAKEN: &str = "retold.cluster.units.taken";
/// Counter: units that it has given up. [`UNITS_TAKEN`] minus this is the number of units that it
/// holds.
pub const UNITS_GIVEN_UP: &str = "retold.cluster.units.given_up";
/// Counter: failed looks of a node at its leases.
pub const LOOK_FAILURES: &str = "retold.cluster.look.failures";

/// Describes each metric to the installed metrics recorder. Call it once, after installing one.
pub fn describe_metrics() {
    describe_counter!(PROCESSED, "Upstream events that were processed.");
    describe_counter!(EFFECTS, "Events that a follower recorded.");
    describe_counter!(
        CONFLICTS,
        "Appends of a follower that were decided again after a conflict."
    );
    describe_counter!(
        OVERTAKEN,
        "Appends that found the work done by another process."
    );
    describe_counter!(
        RETRIES,
        "Failures of a store after which a follower retries."
    );
    describe_gauge!(
        LAG_EVENTS,
        Unit::Count,
        "Events that are not processed yet."
    );
    describe_gauge!(
        LAG_SECONDS,
        Unit::Seconds,
        "How long the next event has been waiting."
    );
    describe_counter!(UNITS_TAKEN, "Units that a node has taken.");
    describe_counter!(UNITS_GIVEN_UP, "Units that a node has given up.");
    describe_counter!(LOOK_FAILURES, "Failed looks at leases.");
    describe_gauge!(PARKED, Unit::Count, "Parked events.");
    describe_counter!(TIMERS_FIRED, "Fired timers.");
}

/// The metrics of one follower.
pub(crate) struct FollowerMetrics {
    processed: Counter,
    effects: Counter,
    conflicts: Counter,
    overtaken: Counter,
    retries: Counter,
    lag_events: Gauge,
    lag_seconds: Gauge,
    parked: Gauge,
}

impl FollowerMetrics {
    pub(crate) fn new(application: &Arc<str>, follower: &Arc<str>, pipeline: Option<u32>) -> Self {
        let mut labels = vec![
            Label::new("application", Arc::clone(application)),
            Label::new("follower", Arc::clone(follower)),
        ];
        labels.extend(pipeline.map(|it| Label::new("pipeline", it.to_string())));
        Self {
            processed: counter!(PROCESSED, labels.clone()),
            effects: counter!(EFFECTS, labels.clone()),
            conflicts: counter!(CONFLICTS, labels.clone()),
            overtaken: counter!(OVERTAKEN, labels.clone()),
            retries: counter!(RETRIES, labels.clone()),
            lag_events: gauge!(LAG_EVENTS, labels.clone()),
            lag_seconds: gauge!(LAG_SECONDS, labels.clone()),
            parked: gauge!(PARKED, labels),
        }
    }

    /// Counts the results of a step.
    pub(crate) fn count(&self, before: Counts, after: Counts) {
        self.processed.increment(after.processed - before.processed);
        self.effects.increment(after.effects - before.effects);
        self.conflicts.increment(after.conflicts - before.conflicts);
        self.overtaken.increment(after.overtaken - before.overtaken);
    }

    pub(crate) fn count_retry(&self) {
        self.retries.increment(1);
    }

    /// Updates the gauges of the follower's progress.
    pub(crate) fn announce(&self, status: &FollowerStatus) {
        self.lag_events.set(status.lag_events() as f64);
        let lag = status.lag(SystemTime::now().into());
        self.lag_seconds.set(lag.as_secs_f64());
        self.parked.set(status.parked as f64);
    }
}

impl Drop for FollowerMetrics {
    /// The next process that runs the follower reports its progress; this one no longer does.
    fn drop(&mut self) {
        self.lag_events.set(0.0);
        self.lag_seconds.set(0.0);
        self.parked.set(0.0);
    }
}

/// Adds `count` to the counter.
pub(crate) fn count(metric: &'static str, count: usize) {
    counter!(metric).increment(count as u64);
}
