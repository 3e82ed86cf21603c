//! The names of the store's metrics.
//!
//! They are sent to the recorder that the program installed for the crate `metrics`, without
//! labels. Events that a program cannot see from a result (the listening connection was lost) are
//! warnings of `tracing`.

/// Histogram: appends of a group, when it is committed.
pub const GROUP_LENGTH: &str = "retold.postgres.group.length";
/// Histogram, seconds: from sending a group until the server has committed it.
pub const GROUP_SECONDS: &str = "retold.postgres.group.seconds";
