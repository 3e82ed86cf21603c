//! Waiting at startup for a store that is busy or not running, for example to open a log or to join
//! a cluster.
//!
//! The core has no async runtime and therefore no timer: each pause starts a thread that sleeps.
//! This would be expensive if it happened often, but it happens only while a program cannot start.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Default maximum time to wait for a busy or stopped store when opening a log: about as long as a
/// database takes to start.
pub const OPEN_WAIT_MAX: Duration = Duration::from_secs(30);

/// The first pause. Each further pause is twice as long as the previous one, up to
/// [`OPEN_PAUSE_MAX`].
pub const OPEN_PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause.
pub const OPEN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Retries an operation at startup until a deadline.
///
/// ```
/// use std::time::Duration;
/// use retold::recording::Patience;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut attempts = 0;
/// let mut patience = Patience::new("an example", Duration::from_secs(10));
/// let opened = loop {
///     attempts += 1;
///     match if attempts < 3 { Err("busy") } else { Ok("opened") } {
///         Err(error) if patience.pause(&error).await => {}
///         done => break done,
///     }
/// };
/// assert_eq!((opened, attempts), (Ok("opened"), 3));
/// # }
/// ```
#[derive(Debug)]
pub struct Patience {
    what: String,
    deadline: Option<Instant>,
    next: Duration,
}

impl Patience {
    /// Creates a retry policy for the operation `what`, for example "opening the log of orders". It
    /// retries for at most `wait_max`; if that is zero, it never retries.
    pub fn new(what: impl Into<String>, wait_max: Duration) -> Self {
        Self {
            what: what.into(),
            // A deadline that no clock can represent is never reached.
            deadline: Instant::now().checked_add(wait_max),
            next: OPEN_PAUSE_MIN,
        }
    }

    /// Pauses after a failure that may be temporary, and reports it with `tracing`. Returns false,
    /// without a pause, if the time is up: the failure is then final.
    ///
    /// The future can be dropped at any time.
    pub async fn pause(&mut self, failure: &(dyn Display + Sync)) -> bool {
        let left = self.deadline.map_or(Duration::MAX, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        if left.is_zero() {
            return false;
        }
        // A random factor, so that many processes do not retry at the same time.
        let pause = self.next.mul_f64(0.5 + fastrand::f64() / 2.0).min(left);
        self.next = self.next.saturating_mul(2).min(OPEN_PAUSE_MAX);
        tracing::warn!(what = self.what, %failure, ?pause, "failed; retrying after a pause");
        let (wake, woken) = oneshot::channel::<()>();
        let sleeping = thread::Builder::new()
            .name("retold-pause".into())
            .spawn(move || {
                thread::sleep(pause);
                drop(wake);
            });
        if sleeping.is_err() {
            return false;
        }
        // Nothing is ever sent: the wait ends when the sender is dropped.
        let _ = woken.await;
        true
    }
}
