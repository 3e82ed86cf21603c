//! When something that is running counts as late or blocking.

use std::time::Duration;

/// The time that a view's handler is expected to take for one event. A handler that takes longer is
/// not ended; it is shown as late after half of this time.
pub const VIEW_EVENT_TIME_EXPECTED: Duration = Duration::from_secs(60);

/// A policy is reported as late once it has run for its maximum time divided by this number.
pub const POLICY_LATE_PART: u32 = 2;

/// How long a policy may occupy its thread without awaiting anything before it is reported as
/// blocking. Much longer than any computation, so that a busy machine is not mistaken for it.
pub const POLICY_BLOCKED_AFTER: Duration = Duration::from_secs(1);
