//! Waiting for a store that is busy or absent when something begins: a log is opened, a node joins.
//!
//! The core has no runtime and so no timer. A pause is a thread that sleeps: dear where it happens often,
//! and these pauses happen only while a program cannot begin its work.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// How long opening waits for a store that is busy or absent, unless told otherwise: about what a
/// database takes to start.
pub const OPEN_WAIT_MAX: Duration = Duration::from_secs(30);

/// The first pause. Doubled with every further one.
pub const OPEN_PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause.
pub const OPEN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The patience of somebody who tries to begin until a time is up.
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
    /// For an attempt to do `what`, as in "opening the log of orders", which is repeated for `wait_max`
    /// at most; not at all, if that is zero.
    pub fn new(what: impl Into<String>, wait_max: Duration) -> Self {
        Self {
            what: what.into(),
            // A time that no clock can show is never up.
            deadline: Instant::now().checked_add(wait_max),
            next: OPEN_PAUSE_MIN,
        }
    }

    /// Pauses after a failure that may pass, and tells it by `tracing`. False, without a pause, if the
    /// time is up: the failure is final then.
    ///
    /// May be dropped at any time.
    pub async fn pause(&mut self, failure: &(dyn Display + Sync)) -> bool {
        let left = self.deadline.map_or(Duration::MAX, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        if left.is_zero() {
            return false;
        }
        // A random part, so that many do not try at the same time.
        let pause = self.next.mul_f64(0.5 + fastrand::f64() / 2.0).min(left);
        self.next = self.next.saturating_mul(2).min(OPEN_PAUSE_MAX);
        tracing::warn!(what = self.what, %failure, ?pause, "it is tried again");
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
        // Nothing is ever sent: that the sender is gone ends the wait.
        let _ = woken.await;
        true
    }
}
