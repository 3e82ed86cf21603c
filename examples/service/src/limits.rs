//! The limits and defaults of the service, in one place.

use std::time::Duration;

/// Events that a follower may be behind before commands are refused, unless told otherwise. Commands
/// that are taken beyond that would be answered later and later; those who send them had better wait
/// outside.
pub const LAG_MAX: u64 = 10_000;

/// Events that a follower may be behind while the service calls itself ready, unless told otherwise.
/// Less than [`LAG_MAX`]: a balancer turns elsewhere before commands are refused.
pub const READY_LAG_MAX: u64 = 5_000;

/// Requests that are at work at a time, unless told otherwise. Each may wait for the store or a view;
/// more would only wait for each other.
pub const REQUESTS_MAX: usize = 512;

/// How long a request waits for a view, or for what a command caused, unless told otherwise. Shorter
/// than the patience of usual clients and balancers, so that they get the answer that says why.
pub const WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a stop waits for the requests at work, unless told otherwise: [`WAIT_MAX`], and as much
/// again for what they do besides.
pub const STOP_WAIT_MAX: Duration = Duration::from_secs(10);

/// Least threads of the program. An append to SQLite holds one while it waits for another process that
/// writes, and reads take one for a moment; with these others are left to tell that the service lives.
pub const THREADS_MIN: usize = 4;

/// After how long clients are to come again, when the service is behind or its store is busy.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// After how long clients are to come again, when somebody has to act first.
pub const RETRY_AFTER_HALT: Duration = Duration::from_secs(30);

/// Size of a request's body. What this service is told fits into a fraction of it.
pub const BODY_SIZE_MAX: usize = 16 * 1024;

/// Bookings of one answer.
pub const PAGE_LINES_MAX: usize = 100;

/// Size of an `Idempotency-Key`: a UUID is 36 bytes, and what is made of keys has to fit into a command
/// id of the library, which is 255.
pub const KEY_SIZE_MAX: usize = 200;

/// The limits of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// See [`LAG_MAX`].
    pub lag_max: u64,
    /// See [`READY_LAG_MAX`].
    pub ready_lag_max: u64,
    /// See [`REQUESTS_MAX`].
    pub requests_max: usize,
    /// See [`WAIT_MAX`].
    pub wait_max: Duration,
    /// See [`STOP_WAIT_MAX`].
    pub stop_wait_max: Duration,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            lag_max: LAG_MAX,
            ready_lag_max: READY_LAG_MAX,
            requests_max: REQUESTS_MAX,
            wait_max: WAIT_MAX,
            stop_wait_max: STOP_WAIT_MAX,
        }
    }
}
