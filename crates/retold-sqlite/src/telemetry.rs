//! Telemetry of the store: the names of its metrics.
//!
//! They are sent to the recorder that the program installed for the crate `metrics`, without
//! labels. Problems that no result shows (groups that were not committed, a write-ahead log that
//! could not be emptied) are logged as warnings of `tracing`.

/// Histogram: members of a group when it is committed: appends, creations of logs, snapshots and
/// leases.
pub const GROUP_LENGTH: &str = "retold.sqlite.group.length";
/// Histogram, seconds: from the beginning of a group's transaction until its outcomes are
/// delivered.
pub const GROUP_SECONDS: &str = "retold.sqlite.group.seconds";
/// Histogram: queue length when a group is taken, including the group.
pub const QUEUE_LENGTH: &str = "retold.sqlite.queue.length";
