//! The policy that answers an event at this moment: since when, on which event, and whether it keeps its
//! thread. A pipeline writes it, runners and people read it.
//!
//! The core has no timer and never ends a policy by itself. A runner that finds one late drops the step
//! and tells the pipeline so.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::limits::{POLICY_BLOCKED_AFTER, POLICY_LATE_PART};
use crate::domain::Timestamp;
use crate::recording::{Mark, StoredEvent, Version};

/// What is done with an event at this moment: a policy processes it, it is delivered, or a view's handler takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Running {
    /// What it is, as in "policy", "delivery" or "handler".
    pub what: &'static str,
    /// Name of the application whose event it is.
    pub upstream: Arc<str>,
    /// Which event.
    pub event: Mark,
    /// Its topic.
    pub topic: Arc<str>,
    /// Since when, by the machine's clock.
    pub since: Timestamp,
    /// For how long.
    pub elapsed: Duration,
    /// How long it may take: [`Follower::policy_time_max`](crate::following::Follower::policy_time_max),
    /// [`Delivery::time_max`](crate::system::Delivery::time_max); for a view's handler, how long it is expected to take:
    /// [`VIEW_EVENT_TIME_EXPECTED`](super::limits::VIEW_EVENT_TIME_EXPECTED).
    pub time_max: Duration,
    /// For how long it has kept its thread without waiting for anything, if that is longer than
    /// [`POLICY_BLOCKED_AFTER`]: it sleeps or loops, and nothing can end it.
    pub blocks_for: Option<Duration>,
    /// For how long it has been waiting for an answer of the store; none if it does not.
    pub reads_for: Option<Duration>,
    /// Version of the follower's stream on which a policy was asked.
    pub version: Option<Version>,
}

impl Running {
    /// Whether somebody should look at it: it keeps its thread, or has run for the named part of its time
    /// ([`POLICY_LATE_PART`]).
    pub fn is_late(&self) -> bool {
        self.blocks_for.is_some() || self.elapsed >= self.time_max / POLICY_LATE_PART
    }
}

impl std::fmt::Display for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (topic, position) = (&self.topic, self.event.position);
        let (what, upstream, since) = (self.what, &self.upstream, self.since);
        write!(
            f,
            "the {what} for {topic} at {position} of {upstream:?} has been running since {since}"
        )?;
        match self.blocks_for {
            Some(_) => f.write_str(" and blocks its thread, so nothing can end it"),
            None => Ok(()),
        }
    }
}

/// Where the policy that runs is written. A clone is the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunningCell(Arc<Mutex<Option<Began>>>);

/// What is known of a policy that runs.
#[derive(Debug)]
pub(crate) struct Began {
    what: &'static str,
    upstream: Arc<str>,
    event: StoredEvent,
    version: Option<Version>,
    time_max: Duration,
    begun: Instant,
    since: Timestamp,
    /// Since when it has had its thread, if it has it.
    polled: Option<Instant>,
    /// Since when it has been reading.
    reading: Option<Instant>,
}

impl Began {
    pub(crate) fn new(
        what: &'static str,
        upstream: Arc<str>,
        event: StoredEvent,
        version: Option<Version>,
        time_max: Duration,
    ) -> Self {
        Self {
            what,
            upstream,
            event,
            version,
            time_max,
            begun: Instant::now(),
            since: std::time::SystemTime::now().into(),
            polled: None,
            reading: None,
        }
    }
}

impl RunningCell {
    fn lock(&self) -> MutexGuard<'_, Option<Began>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Began)) {
        if let Some(running) = &mut *self.lock() {
            change(running);
        }
    }

    /// Polls a policy to its end, and notes meanwhile that it runs.
    pub(crate) async fn watch<F: Future>(&self, running: Began, policy: F) -> F::Output {
        *self.lock() = Some(running);
        let _end = OnDrop(|| *self.lock() = None);
        let mut policy = pin!(policy);
        poll_fn(|context| {
            self.change(|it| it.polled = Some(Instant::now()));
            let polled = policy.as_mut().poll(context);
            self.change(|it| it.polled = None);
            polled
        })
        .await
    }

    /// Does what waits for nothing, and notes meanwhile that it runs and keeps its thread.
    pub(crate) fn watch_at_once<T>(&self, running: Began, act: impl FnOnce() -> T) -> T {
        let polled = Some(running.begun);
        *self.lock() = Some(Began { polled, ..running });
        let _end = OnDrop(|| *self.lock() = None);
        act()
    }

    /// Notes that the policy waits for the store, until what is returned is dropped.
    pub(crate) fn reading(&self) -> impl Drop + Send + use<> {
        self.change(|it| it.reading = Some(Instant::now()));
        let cell = self.clone();
        OnDrop(move || cell.change(|it| it.reading = None))
    }

    /// The policy that runs now; none if none does.
    pub(crate) fn read(&self) -> Option<Running> {
        let running = self.lock();
        let running = running.as_ref()?;
        let now = Instant::now();
        let for_long = |since: Option<Instant>| since.map(|since| now.duration_since(since));
        let elapsed = now.duration_since(running.begun);
        Some(Running {
            what: running.what,
            upstream: Arc::clone(&running.upstream),
            event: running.event.mark(),
            topic: running.event.topic().into(),
            since: running.since,
            elapsed,
            time_max: running.time_max,
            blocks_for: for_long(running.polled).filter(|it| *it >= POLICY_BLOCKED_AFTER),
            reads_for: for_long(running.reading),
            version: running.version,
        })
    }
}

/// Does something when it is dropped, also by a panic or with a future that is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
