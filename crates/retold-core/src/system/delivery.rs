//! Deliveries: an outbox that a runner drains, by a function that takes each event to the outside.
//!
//! A delivery is given with the [`Infrastructure`](super::open_system::Infrastructure) and not with the system: what it
//! talks to is a matter of the program that runs. In a cluster one node drains an outbox at a time, another
//! goes on when that fails.
//!
//! Like a follower's pipeline it has no runtime: a runner makes its steps, ends those that take too long, and
//! may drop one at any moment.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;

use crate::application::{Application, Logged, Result, panic_text};
use crate::domain::{Event, Timestamp};
use crate::following::limits::DELIVERY_TIME_MAX;
use crate::following::{Outbox, Phase, Start, check_outbox_name};
use crate::health::{Began, Running, RunningCell};
use crate::health::{Finding, FindingKind, Trouble};
use crate::projection::BoxError;
use crate::recording::{BoxFuture, Invalid, Mark};

/// An outbox that a runner drains: its name, whose events it has, and what takes one to the outside.
///
/// `MultiThread` and `Cluster` deliver the events of type `E` of the application's own log, each at least
/// once and in the order of the log. What fails is tried again, after pauses that grow, and the later events
/// wait for it: a function that gives an event up returns `Ok`. An event that was sent is sent again only
/// if the process or its lease ended before that was recorded; its id is the same then.
///
/// ```
/// use std::sync::Arc;
/// use retold::application::Logged;
/// use retold::prelude::*;
/// use retold::recording::MemoryStore;
/// use retold::system::{Delivery, Infrastructure};
///
/// #[derive(Event, Serialize, Deserialize)]
/// struct MailRequested { to: String }
///
/// struct Mailer;
///
/// impl Mailer {
///     async fn send(&self, id: String, to: &str) -> Result<(), std::io::Error> {
///         # let _ = (id, to);
///         Ok(())
///     }
/// }
///
/// let mailer = Arc::new(Mailer);
/// let mail = Delivery::new("orders", "mail", move |mail: Arc<Logged<MailRequested>>| {
///     let mailer = Arc::clone(&mailer);
///     // The receiver knows it again by its id.
///     async move { Ok(mailer.send(mail.id().to_string(), &mail.event.to).await?) }
/// });
/// let infrastructure = Infrastructure::new(Arc::new(MemoryStore::new())).delivery(mail);
/// ```
#[derive(Clone)]
pub struct Delivery {
    application: Arc<str>,
    name: Arc<str>,
    start: Start,
    time_max: Duration,
    deliver: Arc<dyn AnyDelivery>,
}

impl Delivery {
    /// Of the application of this name, the outbox of this name, whose events this function delivers.
    pub fn new<E, F, Fut>(
        application: impl Into<Arc<str>>,
        outbox: impl Into<Arc<str>>,
        deliver: F,
    ) -> Self
    where
        E: Event,
        F: Fn(Arc<Logged<E>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let event = PhantomData::<fn(&E)>;
        Self {
            application: application.into(),
            name: outbox.into(),
            start: Start::FirstEvent,
            time_max: DELIVERY_TIME_MAX,
            deliver: Arc::new(OfType {
                deliver: Arc::new(deliver),
                event,
            }),
        }
    }

    /// Where it begins if nothing was delivered yet; with the log's first event, unless said otherwise.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How long the delivery of one event may take, [`DELIVERY_TIME_MAX`] unless said otherwise. Then it is
    /// dropped and tried again.
    #[must_use]
    pub fn time_max(mut self, time: Duration) -> Self {
        self.time_max = time;
        self
    }

    /// Name of the application whose events it delivers.
    pub fn application(&self) -> &str {
        &self.application
    }

    /// Name of the outbox.
    pub fn outbox(&self) -> &str {
        &self.name
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        check_outbox_name(&self.name)
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("application", &self.application)
            .field("outbox", &self.name)
            .field("start", &self.start)
            .field("time_max", &self.time_max)
            .finish_non_exhaustive()
    }
}

/// A function that delivers events of whatever type.
trait AnyDelivery: Send + Sync {
    fn open<'a>(
        &'a self,
        application: &'a Application,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Result<Box<dyn Drain>>>;
}

struct OfType<E, F> {
    deliver: Arc<F>,
    event: PhantomData<fn(&E)>,
}

impl<E, F, Fut> AnyDelivery for OfType<E, F>
where
    E: Event,
    F: Fn(Arc<Logged<E>>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    fn open<'a>(
        &'a self,
        application: &'a Application,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Result<Box<dyn Drain>>> {
        Box::pin(async move {
            let Delivery { name, start, .. } = delivery;
            let drain: Box<dyn Drain> = Box::new(Opened {
                outbox: Outbox::<E>::open_from(application, name, *start).await?,
                deliver: Arc::clone(&self.deliver),
                sent: None,
            });
            Ok(drain)
        })
    }
}

/// An outbox that is open, of events of whatever type.
trait Drain: Send {
    /// Delivers the next event and records that.
    fn next<'a>(
        &'a mut self,
        upstream: &'a Arc<str>,
        running: &'a RunningCell,
        time_max: Duration,
    ) -> BoxFuture<'a, Result<Drained>>;

    fn checkpoint(&self) -> Option<Mark>;
}

/// What came of an event.
enum Drained {
    /// There was none.
    Nothing,
    Delivered,
    Failed(String),
}

struct Opened<E, F> {
    outbox: Outbox<E>,
    deliver: Arc<F>,
    /// The event that was delivered, until that is recorded.
    sent: Option<Mark>,
}

impl<E, F, Fut> Drain for Opened<E, F>
where
    E: Event,
    F: Fn(Arc<Logged<E>>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    fn next<'a>(
        &'a mut self,
        upstream: &'a Arc<str>,
        running: &'a RunningCell,
        time_max: Duration,
    ) -> BoxFuture<'a, Result<Drained>> {
        Box::pin(async move {
            let Some(event) = self.outbox.next_shared().await? else {
                return Ok(Drained::Nothing);
            };
            let mark = event.mark();
            // A store that failed to record it is no reason to send it again.
            if self.sent != Some(mark) {
                let stored = event.stored.clone();
                let began = Began::new("delivery", Arc::clone(upstream), stored, None, time_max);
                let deliver = Arc::clone(&self.deliver);
                let delivering = AssertUnwindSafe(async move { deliver(event).await });
                let delivered = running.watch(began, delivering.catch_unwind()).await;
                let failure = match delivered {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(panic) => {
                        let text = panic_text(&*panic).unwrap_or("without a word");
                        Some(format!("it panicked: {text}"))
                    }
                };
                if let Some(failure) = failure {
                    let position = mark.position;
                    return Ok(Drained::Failed(format!(
                        "the event at {position} could not be delivered: {failure}"
                    )));
                }
                self.sent = Some(mark);
            }
            self.outbox.delivered().await?;
            Ok(Drained::Delivered)
        })
    }

    fn checkpoint(&self) -> Option<Mark> {
        self.outbox.checkpoint()
    }
}

/// How an outbox that a runner drains is getting on.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OutboxStatus {
    /// Name of the application whose events it delivers.
    pub application: Arc<str>,
    /// Its name.
    pub outbox: Arc<str>,
    /// What it is doing: [`Phase::Standby`] if another node drains it, [`Phase::Retrying`] after a failure.
    pub phase: Phase,
    /// Up to where everything is delivered, as this process knows it.
    pub checkpoint: Option<Mark>,
    /// How many events were delivered by this process.
    pub delivered: u64,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure, with the time it happened, by the machine's clock.
    pub last_error: Option<(Timestamp, String)>,
    /// The delivery that is going on at this moment.
    pub running: Option<Running>,
}

impl OutboxStatus {
    /// Whether there is nothing to say about it; see [`findings`](Self::findings).
    pub fn is_well(&self) -> bool {
        self.findings().is_empty()
    }

    /// Everything that somebody has to look at.
    pub fn findings(&self) -> Vec<Finding> {
        let name = format!("{}/{}", self.application, self.outbox);
        let finding =
            |trouble, reason| Finding::new(FindingKind::Outbox, name.clone(), trouble, reason);
        let mut findings = Vec::new();
        if self.phase == Phase::Retrying {
            let error = self.last_error.as_ref();
            let error = error.map_or("it is not known why", |(_, error)| error);
            findings.push(finding(Trouble::Retrying, error.to_owned()));
        }
        if let Some(late) = self.running.as_ref().filter(|it| it.is_late()) {
            findings.push(finding(Trouble::Late, late.to_string()));
        }
        findings
    }
}

/// Where the status of an outbox is told. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct OutboxCell {
    status: Arc<Mutex<OutboxStatus>>,
    running: RunningCell,
}

impl OutboxCell {
    /// The status as it is now.
    pub fn read(&self) -> OutboxStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let mut status = status.clone();
        status.running = self.running.read();
        status
    }

    /// The delivery that is going on at this moment.
    pub fn running(&self) -> Option<Running> {
        self.running.read()
    }

    /// For runners: notes as the last error that a delivery is late, which is no failure yet.
    pub fn tell_late(&self, late: &Running) {
        self.write(|status| status.last_error = Some((now(), late.to_string())));
    }

    fn write(&self, change: impl FnOnce(&mut OutboxStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

/// What a step of an outbox came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutboxStep {
    /// An event was delivered, and there may be more.
    Delivered,
    /// There is nothing to deliver now.
    Idle,
    /// The event could not be delivered; the status says why. It is to be tried again after a while.
    Failed,
}

/// One outbox at work.
pub struct OutboxPipeline {
    application: Application,
    upstream: Arc<str>,
    delivery: Delivery,
    drain: Option<Box<dyn Drain>>,
    status: OutboxCell,
}

impl OutboxPipeline {
    pub(super) fn new(application: Application, delivery: Delivery) -> Self {
        let status = OutboxCell::default();
        status.write(|status| {
            status.application = Arc::clone(&delivery.application);
            status.outbox = Arc::clone(&delivery.name);
        });
        Self {
            upstream: application.name().into(),
            application,
            delivery,
            drain: None,
            status,
        }
    }

    /// The delivery that it makes.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// How it is getting on, to be read from anywhere.
    pub fn status(&self) -> OutboxCell {
        self.status.clone()
    }

    /// Delivers the next event and records that it is delivered. May be dropped at any moment; an event
    /// that was on its way then is delivered again.
    ///
    /// # Errors
    ///
    /// Those of [`Outbox::next`] and [`Outbox::delivered`]; what was delivered and not recorded is not
    /// delivered again by the next step.
    pub async fn step(&mut self) -> Result<OutboxStep> {
        let stepped = self.step_on().await;
        if let Err(error) = &stepped {
            self.tell_failure(error);
        }
        stepped
    }

    async fn step_on(&mut self) -> Result<OutboxStep> {
        let drain = match &mut self.drain {
            Some(drain) => drain,
            None => {
                let deliver = Arc::clone(&self.delivery.deliver);
                let opened = deliver.open(&self.application, &self.delivery).await?;
                self.drain.insert(opened)
            }
        };
        let (running, time_max) = (&self.status.running, self.delivery.time_max);
        let drained = drain.next(&self.upstream, running, time_max).await?;
        let checkpoint = drain.checkpoint();
        let (step, phase) = match drained {
            Drained::Failed(reason) => {
                self.tell_failure(&reason);
                return Ok(OutboxStep::Failed);
            }
            Drained::Nothing => (OutboxStep::Idle, Phase::CaughtUp),
            Drained::Delivered => (OutboxStep::Delivered, Phase::Running),
        };
        self.status.write(|status| {
            status.phase = phase;
            status.failures = 0;
            status.checkpoint = checkpoint;
            status.delivered += u64::from(step == OutboxStep::Delivered);
        });
        Ok(step)
    }

    /// Goes by what the log says from the next step on: another process may have delivered.
    pub fn look_again(&mut self) {
        self.drain = None;
    }

    /// For runners: tells what they make of it.
    pub fn tell_phase(&self, phase: Phase) {
        self.status.write(|status| status.phase = phase);
    }

    /// For runners: tells of a failure that they met, as that a delivery took too long.
    pub fn tell_failure(&self, failure: &dyn fmt::Display) {
        let (application, outbox) = (&self.upstream, &self.delivery.name);
        tracing::warn!(application = &**application, outbox = &**outbox, %failure, "an outbox tries again");
        self.status.write(|status| {
            status.phase = Phase::Retrying;
            status.failures = status.failures.saturating_add(1);
            status.last_error = Some((now(), failure.to_string()));
        });
    }
}

impl fmt::Debug for OutboxPipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxPipeline")
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}
