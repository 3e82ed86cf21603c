//! Limits that define when a policy, a delivery or a handler is reported as late or blocking.

use std::time::Duration;

/// The time that a view's handler is expected to take for one event. A handler that takes longer is
/// not stopped; it is reported as late after half of this time.
pub const VIEW_EVENT_TIME_EXPECTED: Duration = Duration::from_secs(60);

/// A policy is reported as late once it has run for its maximum time divided by this number. The
/// same holds for deliveries and handlers.
pub const POLICY_LATE_PART: u32 = 2;

/// How long a policy may occupy its thread without awaiting anything before it is reported as
/// blocking. Much longer than a policy should compute, so that a busy machine is not mistaken for a
/// blocked thread.
pub const POLICY_BLOCKED_AFTER: Duration = Duration::from_secs(1);
