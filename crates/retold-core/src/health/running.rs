//! The policy, delivery or handler that is processing an event: for which event, since when, and
//! whether it blocks its thread. A pipeline records this; runners and people read it.
//!
//! The core has no timer and never stops a policy by itself. A runner drops the step of a policy
//! that exceeds its maximum time and notifies the pipeline.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::limits::{POLICY_BLOCKED_AFTER, POLICY_LATE_PART};
use crate::domain::Timestamp;
use crate::recording::{Checkpoint, StoredEvent, Version};

/// Work on an event that is running now: a policy, a delivery, or the handler of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Running {
    /// What is running: "policy", "delivery" or "handler".
    pub what: &'static str,
    /// Name of the application that recorded the event.
    pub upstream: Arc<str>,
    /// The event.
    pub event: Checkpoint,
    /// Its topic.
    pub topic: Arc<str>,
    /// When it started, by the machine's clock.
    pub since: Timestamp,
    /// How long it has been running.
    pub elapsed: Duration,
    /// How long it may take:
    /// [`Follower::policy_time_max`](crate::following::Follower::policy_time_max) or
    /// [`Delivery::time_max`](crate::system::Delivery::time_max). For a view's handler, how long it
    /// is expected to take: [`VIEW_EVENT_TIME_EXPECTED`](super::limits::VIEW_EVENT_TIME_EXPECTED).
    pub time_max: Duration,
    /// How long it has occupied its thread without awaiting anything, if longer than
    /// [`POLICY_BLOCKED_AFTER`]: it sleeps or loops, and cannot be stopped.
    pub blocks_for: Option<Duration>,
    /// How long it has been waiting for the store; none if it is not waiting.
    pub reads_for: Option<Duration>,
    /// The version of the follower's own stream when the policy was called; none for a delivery or
    /// a handler.
    pub version: Option<Version>,
}

impl Running {
    /// Returns whether it needs attention: it blocks its thread, or has run for its maximum time
    /// divided by [`POLICY_LATE_PART`].
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

/// The cell that holds the running policy. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunningCell(Arc<Mutex<Option<Began>>>);

/// The recorded facts about a running policy.
#[derive(Debug)]
pub(crate) struct Began {
    what: &'static str,
    upstream: Arc<str>,
    event: StoredEvent,
    version: Option<Version>,
    time_max: Duration,
    begun: Instant,
    since: Timestamp,
    /// Since when it has occupied its thread, if it does now.
    polled: Option<Instant>,
    /// Since when it has been reading, if it is.
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

    /// Polls a policy to completion, and notes meanwhile that it is running.
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

    /// Runs a synchronous function, and notes meanwhile that it is running and occupies its thread.
    pub(crate) fn watch_at_once<T>(&self, running: Began, act: impl FnOnce() -> T) -> T {
        let polled = Some(running.begun);
        *self.lock() = Some(Began { polled, ..running });
        let _end = OnDrop(|| *self.lock() = None);
        act()
    }

    /// Notes that the policy is waiting for the store, until the returned guard is dropped.
    pub(crate) fn reading(&self) -> impl Drop + Send + use<> {
        self.change(|it| it.reading = Some(Instant::now()));
        let cell = self.clone();
        OnDrop(move || cell.change(|it| it.reading = None))
    }

    /// Returns the policy that is running now; none if none is.
    pub(crate) fn read(&self) -> Option<Running> {
        let running = self.lock();
        let running = running.as_ref()?;
        let now = Instant::now();
        let for_long = |since: Option<Instant>| since.map(|since| now.duration_since(since));
        let elapsed = now.duration_since(running.begun);
        Some(Running {
            what: running.what,
            upstream: Arc::clone(&running.upstream),
            event: running.event.checkpoint(),
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

/// Calls a function when it is dropped, including by a panic or with a dropped future.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
