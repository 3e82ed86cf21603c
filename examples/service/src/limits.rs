//! The limits and defaults of the service, in one place.

use std::time::Duration;

/// Default number of events that a follower may be behind before commands are refused. Commands
/// accepted beyond that would take longer and longer to process, so it is better that clients wait.
pub const LAG_MAX: u64 = 10_000;

/// Default number of events that a follower may be behind while the service is ready. Less than
/// [`LAG_MAX`], so that a load balancer uses other instances before commands are refused.
pub const READY_LAG_MAX: u64 = 5_000;

/// Default maximum number of concurrent requests. Each may wait for the store or a view; more
/// requests would only wait for each other.
pub const REQUESTS_MAX: usize = 512;

/// Default time limit of a request that waits for a view or for effects of a command. Shorter than
/// the timeouts of typical clients and load balancers, so that they get the response with the
/// reason.
pub const WAIT_MAX: Duration = Duration::from_secs(5);

/// Default time limit of a shutdown that waits for running requests: [`WAIT_MAX`], and the same
/// time again for their other work.
pub const STOP_WAIT_MAX: Duration = Duration::from_secs(10);

/// Minimum number of threads. An append to SQLite occupies one thread while it waits for another
/// writing process, and reads occupy one briefly. With this number, some remain to report that the
/// service is live.
pub const THREADS_MIN: usize = 4;

/// `Retry-After` when the service is behind or its store is busy.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// `Retry-After` when an operator has to act first.
pub const RETRY_AFTER_HALT: Duration = Duration::from_secs(30);

/// Maximum size of a request body. Valid requests are much smaller.
pub const BODY_SIZE_MAX: usize = 16 * 1024;

/// Maximum number of bookings in a response.
pub const PAGE_LINES_MAX: usize = 100;

/// Maximum size of an `Idempotency-Key`. A UUID has 36 bytes, and ids derived from keys must fit
/// into a command id of the library, which has at most 255.
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
