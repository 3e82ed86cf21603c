//! What the store tells about its work: the names of its metrics.
//!
//! They go to whatever recorder the program installed for the crate `metrics`, without labels. What a
//! program cannot see from an answer (a connection that listens and was lost) is a warning of
//! `tracing`.

/// Histogram: appends of a group, as it is committed.
pub const GROUP_LENGTH: &str = "retold.postgres.group.length";
/// Histogram, seconds: from sending a group until the server has committed it.
pub const GROUP_SECONDS: &str = "retold.postgres.group.seconds";
