//! What the store tells about its work: the names of its metrics.
//!
//! They go to whatever recorder the program installed for the crate `metrics`, without labels. What
//! a program cannot see from an answer (groups that were not committed, a write-ahead log that
//! could not be emptied) is a warning of `tracing`.

/// Histogram: members of a group, as it is committed; beside appends also births of logs, snapshots
/// and leases.
pub const GROUP_LENGTH: &str = "retold.sqlite.group.length";
/// Histogram, seconds: from the beginning of a group's transaction until its answers are given.
pub const GROUP_SECONDS: &str = "retold.sqlite.group.seconds";
/// Histogram: how many wait when a group is taken, those of the group included.
pub const QUEUE_LENGTH: &str = "retold.sqlite.queue.length";
