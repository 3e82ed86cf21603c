//! The telemetry of an application: the names of its metrics and spans, in one place.
//!
//! Metrics are sent to the recorder that the program installed for the crate `metrics`; spans and
//! the events of `tracing` go to the subscriber that it installed for `tracing`. Both are nearly
//! free while nothing is installed. Metrics have no labels, so that thousands of logs in a process
//! do not create thousands of series; the spans contain the log's name.
//!
//! | span (level debug) | fields |
//! |---|---|
//! | `retold.execute` | log, stream, command |
//! | `retold.decide` | log, command |
//! | `retold.create` | log, aggregate, command |
//! | `retold.load` | log, stream |
//! | `retold.append` | log, events, event, correlation, causation, position |
//!
//! The event, correlation and causation of `retold.append` are those of its first event. The
//! position is set once the append is recorded.
//!
//! At level trace there is an event `retold.recorded` for each recorded event, with its id, topic,
//! position, correlation and causation. In this way a command can be traced across processes to
//! everything that it caused: all of it has one correlation, and the causation of an effect is the
//! id of the processed event, which the span `retold.process` also contains
//! ([`system`](crate::system)).
//!
//! Warnings report work that was not done although the call succeeded: a snapshot that could not be
//! stored or was ignored.

use metrics::{describe_counter, describe_histogram};
use tracing::{Level, Span};

use crate::recording::{Append, Metadata, Positions};

/// Counter: appends that were recorded.
pub const APPENDS: &str = "retold.appends";
/// Counter: events that were recorded.
pub const EVENTS: &str = "retold.events";
/// Histogram, seconds: from sending an append to the recorder to its result.
pub const APPEND_SECONDS: &str = "retold.append.seconds";
/// Counter: appends that were not recorded because of a conflict.
pub const CONFLICTS: &str = "retold.conflicts";
/// Counter: retries of commands after a conflict.
pub const RETRIES: &str = "retold.retries";
/// Counter: appends that were sent again because their outcome was unknown.
pub const SETTLES: &str = "retold.settles";
/// Counter: commands that were refused by the domain.
pub const REFUSALS: &str = "retold.refusals";
/// Counter: commands that had already been recorded under their command id.
pub const REPEATS: &str = "retold.repeats";
/// Counter: aggregates found in the cache.
pub const CACHE_HITS: &str = "retold.cache.hits";
/// Counter: aggregates not found in the cache.
pub const CACHE_MISSES: &str = "retold.cache.misses";
/// Counter: snapshots taken.
pub const SNAPSHOTS_TAKEN: &str = "retold.snapshots.taken";
/// Counter: snapshots that could not be taken; this does not fail a command.
pub const SNAPSHOTS_FAILED: &str = "retold.snapshots.failed";
/// Counter: snapshots that a load started from.
pub const SNAPSHOTS_USED: &str = "retold.snapshots.used";
/// Counter: snapshots that were ignored: of another type or revision, unreadable, or beyond the
/// stream's end.
pub const SNAPSHOTS_IGNORED: &str = "retold.snapshots.ignored";

/// Describes each metric to the installed metrics recorder. Call it once, after installing one.
pub fn describe_metrics() {
    describe_counter!(APPENDS, "Appends that were recorded.");
    describe_counter!(EVENTS, "Events that were recorded.");
    describe_histogram!(
        APPEND_SECONDS,
        metrics::Unit::Seconds,
        "From sending an append to the recorder to its result."
    );
    describe_counter!(
        CONFLICTS,
        "Appends that were not recorded because of a conflict."
    );
    describe_counter!(RETRIES, "Retries of commands after a conflict.");
    describe_counter!(
        SETTLES,
        "Appends sent again because their outcome was unknown."
    );
    describe_counter!(REFUSALS, "Commands that were refused by the domain.");
    describe_counter!(
        REPEATS,
        "Commands that had already been recorded under their command id."
    );
    describe_counter!(CACHE_HITS, "Aggregates found in the cache.");
    describe_counter!(CACHE_MISSES, "Aggregates not found in the cache.");
    describe_counter!(SNAPSHOTS_TAKEN, "Snapshots taken.");
    describe_counter!(SNAPSHOTS_FAILED, "Snapshots that could not be taken.");
    describe_counter!(SNAPSHOTS_USED, "Snapshots that a load started from.");
    describe_counter!(SNAPSHOTS_IGNORED, "Snapshots that were ignored.");
}

/// Creates the span of an append. Costly fields are computed only if the span is enabled.
pub(super) fn append_span(log: &str, append: &Append) -> Span {
    let events = append.new_events();
    let first = events.first().filter(|_| tracing::enabled!(Level::DEBUG));
    let metadata = first.and_then(|first| Metadata::from_bytes(&first.metadata).ok());
    let metadata = metadata.as_ref();
    tracing::debug_span!(
        "retold.append",
        log,
        events = events.len(),
        event = first.map(|first| tracing::field::display(first.id)),
        correlation = metadata.and_then(Metadata::correlation_id),
        causation = metadata.and_then(Metadata::causation_id),
        position = tracing::field::Empty,
    )
}

/// Traces each event that was recorded, in the span of its append.
pub(super) fn report_recorded(span: &Span, append: &Append, positions: Positions) {
    let Some(first) = positions.first() else {
        return;
    };
    span.record("position", first.get());
    if !tracing::enabled!(Level::TRACE) {
        return;
    }
    for (event, position) in append.new_events().iter().zip(first.get()..) {
        let metadata = Metadata::from_bytes(&event.metadata).unwrap_or_default();
        tracing::trace!(
            parent: span,
            event = %event.id,
            topic = &*event.topic,
            position,
            correlation = metadata.correlation_id(),
            causation = metadata.causation_id(),
            "retold.recorded"
        );
    }
}

/// Increments a counter.
pub(super) fn count(metric: &'static str) {
    metrics::counter!(metric).increment(1);
}
