//! Deliveries: outboxes that a runner drains, each with a function that sends an event to an
//! external system.
//!
//! A delivery is given to the [`Infrastructure`](super::open_system::Infrastructure) and not to the
//! system, because the external system depends on the program that runs. In a cluster one node at a
//! time drains an outbox, and another node takes over when that node fails.
//!
//! Like a follower's pipeline, a delivery has no runtime: a runner makes its steps, ends those that
//! take too long, and may drop one at any moment.

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
use crate::recording::{BoxFuture, Checkpoint, Invalid};

/// An outbox that a runner drains: its application, its name, and the function that sends an event.
///
/// `MultiThread` and `Cluster` deliver the events of type `E` of the application's own log, each at
/// least once and in the order of the log. A failed delivery is retried after growing pauses, and
/// later events wait for it; to give an event up, the function returns `Ok`. An event that was
/// delivered is sent a second time, with the same id, only if the process or its lease ended before
/// the delivery was recorded.
///
/// ```
/// use std::sync::Arc;
/// use retold::application::Logged;
/// use retold::prelude::*;
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
/// let infrastructure = Infrastructure::memory().delivery(mail);
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
    /// Declares the outbox with this name in this application; `deliver` sends its events.
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

    /// Sets where it begins if nothing was delivered yet; the first event of the log by default.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Limits the time for the delivery of one event; [`DELIVERY_TIME_MAX`] by default. A delivery
    /// that takes longer is dropped and retried.
    #[must_use]
    pub fn time_max(mut self, time: Duration) -> Self {
        self.time_max = time;
        self
    }

    /// Returns the name of the application whose events it delivers.
    pub fn application(&self) -> &str {
        &self.application
    }

    /// Returns the name of the outbox.
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

/// A function that delivers events, of any type.
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

/// An open outbox, of events of any type.
trait Drain: Send {
    /// Delivers the next event and records that.
    fn next<'a>(
        &'a mut self,
        upstream: &'a Arc<str>,
        running: &'a RunningCell,
        time_max: Duration,
    ) -> BoxFuture<'a, Result<Drained>>;

    fn checkpoint(&self) -> Option<Checkpoint>;
}

/// The result of attempting the next event.
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
    sent: Option<Checkpoint>,
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
            let checkpoint = event.checkpoint();
            // If the store failed to record the delivery, the event is not sent again.
            if self.sent != Some(checkpoint) {
                let stored = event.stored.clone();
                let began = Began::new("delivery", Arc::clone(upstream), stored, None, time_max);
                let deliver = Arc::clone(&self.deliver);
                let delivering = AssertUnwindSafe(async move { deliver(event).await });
                let delivered = running.watch(began, delivering.catch_unwind()).await;
                let failure = match delivered {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(panic) => {
                        let text = panic_text(&*panic).unwrap_or("without a message");
                        Some(format!("it panicked: {text}"))
                    }
                };
                if let Some(failure) = failure {
                    let position = checkpoint.position;
                    return Ok(Drained::Failed(format!(
                        "the event at {position} could not be delivered: {failure}"
                    )));
                }
                self.sent = Some(checkpoint);
            }
            self.outbox.delivered().await?;
            // Another part of an event that is read as several has the same checkpoint.
            self.sent = None;
            Ok(Drained::Delivered)
        })
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        self.outbox.checkpoint()
    }
}

/// The status of an outbox that a runner drains.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OutboxStatus {
    /// Name of the application whose events it delivers.
    pub application: Arc<str>,
    /// Its name.
    pub outbox: Arc<str>,
    /// Its phase: [`Phase::Standby`] if another node drains it, [`Phase::Retrying`] after a
    /// failure.
    pub phase: Phase,
    /// The position up to which everything is delivered, as known to this process.
    pub checkpoint: Option<Checkpoint>,
    /// Number of events delivered by this process.
    pub delivered: u64,
    /// Number of consecutive failures.
    pub failures: u32,
    /// The last failure, with its time by the machine's clock.
    pub last_error: Option<(Timestamp, String)>,
    /// The delivery that is running now.
    pub running: Option<Running>,
}

impl OutboxStatus {
    /// Returns whether there are no [`findings`](Self::findings).
    pub fn is_well(&self) -> bool {
        self.findings().is_empty()
    }

    /// Returns everything that needs attention.
    pub fn findings(&self) -> Vec<Finding> {
        let name = format!("{}/{}", self.application, self.outbox);
        let finding =
            |trouble, reason| Finding::new(FindingKind::Outbox, name.clone(), trouble, reason);
        let mut findings = Vec::new();
        if self.phase == Phase::Retrying {
            let error = self.last_error.as_ref();
            let error = error.map_or("the reason is unknown", |(_, error)| error);
            findings.push(finding(Trouble::Retrying, error.to_owned()));
        }
        if let Some(late) = self.running.as_ref().filter(|it| it.is_late()) {
            findings.push(finding(Trouble::Late, late.to_string()));
        }
        findings
    }
}

/// Shares the status of an outbox. A clone shares the same status.
#[derive(Clone, Debug, Default)]
pub struct OutboxCell {
    status: Arc<Mutex<OutboxStatus>>,
    running: RunningCell,
}

impl OutboxCell {
    /// Returns the current status.
    pub fn read(&self) -> OutboxStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let mut status = status.clone();
        status.running = self.running.read();
        status
    }

    /// Returns the delivery that is running now.
    pub fn running(&self) -> Option<Running> {
        self.running.read()
    }

    /// For runners: records as the last error that a delivery is late, which is not yet a failure.
    pub fn report_late(&self, late: &Running) {
        self.write(|status| status.last_error = Some((now(), late.to_string())));
    }

    fn write(&self, change: impl FnOnce(&mut OutboxStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

/// The result of a step of an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutboxStep {
    /// An event was delivered, and there may be more.
    Delivered,
    /// There is nothing to deliver now.
    Idle,
    /// The event could not be delivered; the status has the reason. The runner retries after a
    /// pause.
    Failed,
}

/// Drains one outbox, step by step.
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

    /// Returns its delivery.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Returns its status, which can be read from anywhere.
    pub fn status(&self) -> OutboxCell {
        self.status.clone()
    }

    /// Delivers the next event and records the delivery. The future may be dropped at any moment;
    /// an event whose delivery was running is then delivered again.
    ///
    /// # Errors
    ///
    /// Those of [`Outbox::next`] and [`Outbox::delivered`]. If an event was delivered but could not
    /// be recorded as delivered, the next step only records it.
    pub async fn step(&mut self) -> Result<OutboxStep> {
        let stepped = self.step_on().await;
        if let Err(error) = &stepped {
            self.report_failure(error);
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
                self.report_failure(&reason);
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

    /// Makes the next step read the outbox's checkpoint from the log: another process may have
    /// delivered.
    pub fn invalidate(&mut self) {
        self.drain = None;
    }

    /// For runners: sets the phase.
    pub fn report_phase(&self, phase: Phase) {
        self.status.write(|status| status.phase = phase);
    }

    /// For runners: records a failure, for example of a delivery that took too long.
    pub fn report_failure(&self, failure: &dyn fmt::Display) {
        let (application, outbox) = (&self.upstream, &self.delivery.name);
        tracing::warn!(
            application = &**application, outbox = &**outbox, %failure, "an outbox retries"
        );
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
