//! When something that is being processed counts as late or blocking.

use std::time::Duration;

/// How long the handler of a view is expected to take for one event. Nothing ends a handler then; it is shown as
/// late after a half of this.
pub const VIEW_EVENT_TIME_EXPECTED: Duration = Duration::from_secs(60);

/// A policy that has run for this part of its time, a half, is told as late.
pub const POLICY_LATE_PART: u32 = 2;

/// How long a policy may keep its thread without waiting for anything before it is told that it blocks:
/// much longer than what computes, so that a busy machine does not look like it.
pub const POLICY_BLOCKED_AFTER: Duration = Duration::from_secs(1);
