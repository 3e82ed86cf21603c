//! Setting and cancelling timers, in commands and in policies.

use std::convert::Infallible;
use std::sync::Arc;

use serde::ser::Error as _;
use serde::{Deserializer, Serializer};

use super::timer_event::{PlannedEvent, TimerEvent, check_timer_key, timer_stream, whole_of};
use crate::application::{
    Application, Error, ExecuteError, Model, Reach, ReadTo, Recorded, Result,
};
use crate::domain::{Decision, Event, EventType, SubjectPart, Timestamp};
use crate::mapping::{AnyEvent, Envelope, Mapper};
use crate::recording::{
    BoxFuture, Condition, DELETED_TOPIC, EventId, StoredEvent, StreamRead, Version,
    is_amendment_record,
};

/// A deadline: an event that is recorded at a given time unless it is cancelled before then. The
/// event is recorded exactly once, even across restarts.
///
/// A deadline is a decision, so it can be recorded together with others: in
/// [`Application::decide`], and in [`Context::record`](super::context::Context::record). To react
/// to its event, follow the log in which the event is recorded; an application can follow its own
/// log like any other.
///
/// ```
/// use std::time::Duration;
/// use retold::prelude::*;
/// use retold::system::Deadline;
///
/// #[derive(Event, Serialize, Deserialize)]
/// struct PaymentOverdue { order: String }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> retold::Result<()> {
/// let orders = Application::open("orders", "memory:deadlines").await?;
/// let due = orders.now().saturating_add(Duration::from_secs(3600));
/// let overdue = PaymentOverdue { order: "17".into() };
/// orders.schedule(Deadline::new("order-17/payment", due, overdue)).await?;
///
/// // It was paid in time.
/// assert!(orders.cancel("order-17/payment").await?);
/// assert!(!orders.cancel("order-17/payment").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Deadline {
    key: String,
    due: Timestamp,
    event: AnyEvent,
}

impl Deadline {
    /// Creates a deadline that records `event` at `due`. The key identifies the timer in its
    /// application: another deadline with the same key replaces it, and the key is what you pass to
    /// cancel it. The key has 1 to [`TIMER_KEY_SIZE_MAX`](super::limits::TIMER_KEY_SIZE_MAX) bytes.
    ///
    /// The event is recorded in the stream that it is addressed to, or in none.
    pub fn new(key: impl Into<String>, due: Timestamp, event: impl Into<AnyEvent>) -> Self {
        Self {
            key: key.into(),
            due,
            event: event.into(),
        }
    }

    /// Returns the key of the timer.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the time at which it fires.
    pub fn due(&self) -> Timestamp {
        self.due
    }

    /// Returns the event that sets the timer.
    fn scheduled(&self) -> Result<TimerEvent> {
        check_timer_key(&self.key)?;
        // A timer stores text, with any codec that the application writes with.
        let envelope = Envelope::new(EventId::new(uuid::Uuid::nil()), self.due);
        let (planned, _) = Mapper::default().encode_any(&self.event, envelope)?;
        Ok(TimerEvent::Scheduled {
            due: self.due,
            event: PlannedEvent::of(&planned)?,
        })
    }
}

impl Decision<AnyEvent> for Deadline {
    type Refusal = Infallible;

    fn decided(self, events: &mut Vec<AnyEvent>) -> Result<(), Infallible> {
        let stream = timer_stream(&self.key).into();
        let setting = Setting::Deadline(self);
        events.push(AnyEvent::of_the_library(setting, stream));
        Ok(())
    }
}

/// A deadline that is about to be recorded as [`TimerEvent::Scheduled`].
enum Setting {
    Deadline(Deadline),
    /// The event, read back.
    ReadBack(TimerEvent),
}

impl Event for Setting {
    const TYPES: &'static [EventType] = &[TimerEvent::TYPES[0]];

    fn type_index(&self) -> usize {
        0
    }

    fn subjects(&self) -> Vec<SubjectPart> {
        match self {
            Self::Deadline(deadline) => whole_of(&deadline.event.subjects()),
            Self::ReadBack(event) => event.subjects(),
        }
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Deadline(deadline) => {
                let scheduled = deadline.scheduled().map_err(S::Error::custom)?;
                scheduled.serialize_payload(serializer)
            }
            Self::ReadBack(event) => event.serialize_payload(serializer),
        }
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        type_index: usize,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        TimerEvent::deserialize_payload(type_index, deserializer).map(Self::ReadBack)
    }
}

/// Returns the timer of this key as a [`Model`]. Its state is the time at which the timer is due,
/// or none if the timer is not pending. A decision on it is recorded only if the timer has not
/// changed since it was read.
pub fn timer(key: impl Into<String>) -> TimerModel {
    let key = key.into();
    TimerModel {
        stream: timer_stream(&key).into(),
        key,
    }
}

/// The model of [`timer`].
#[derive(Clone, Debug)]
pub struct TimerModel {
    key: String,
    stream: Arc<str>,
}

impl Model for TimerModel {
    /// The due time, if the timer is pending.
    type State = Option<Timestamp>;
    type Place = Option<(Version, EventId)>;

    fn begin(&self) -> (Option<Timestamp>, Self::Place) {
        (None, None)
    }

    fn read_on<'a>(
        &'a self,
        application: &'a Application,
        state: &'a mut Option<Timestamp>,
        place: &'a mut Self::Place,
        reach: Reach,
    ) -> BoxFuture<'a, Result<ReadTo>> {
        Box::pin(async move {
            check_timer_key(&self.key)?;
            let mut read = StreamRead::new(Arc::clone(&self.stream))
                .backward()
                .limit(1);
            loop {
                let page = application.recorder().read_stream(read.clone()).await?;
                let last = page.events.first();
                if let (Reach::UpTo(until), Some(event)) = (reach, last)
                    && event.position() > until
                {
                    read = read.after(event.version());
                    continue;
                }
                // A read up to a position may return an older event than the last one seen.
                let is_newest = !matches!(reach, Reach::UpTo(_));
                let there = last.and_then(|event| Some((event.version()?, event.id())));
                let number = |place: &Self::Place| place.map(|(version, _)| version);
                // A record of an amendment is no event of the timer itself.
                let last = match last {
                    Some(record) if is_amendment_record(record.topic()) => {
                        timer_event_before(application, record).await?
                    }
                    last => last.cloned(),
                };
                if is_newest || number(&there) >= number(place) {
                    *place = there;
                    *state = match &last {
                        Some(event) if !event.is_erased() => {
                            due(&application.mapper().decode(event)?)
                        }
                        // The event of an erased timer is not recorded.
                        Some(_) | None => None,
                    };
                }
                return Ok(ReadTo::one(page.read_to));
            }
        })
    }

    fn conditions(&self, place: &Self::Place, conditions: &mut Vec<Condition>) {
        let (version, event) = place.unzip();
        let stream = Arc::clone(&self.stream);
        conditions.push(Condition::stream_read(stream, version, event));
    }
}

/// Returns the last event of a timer before a record of an amendment; none if the record deletes
/// the stream of the timer or none is left.
async fn timer_event_before(
    application: &Application,
    record: &StoredEvent,
) -> Result<Option<StoredEvent>> {
    let mut record = record.clone();
    loop {
        let (Some(stream), false) = (record.stream(), record.topic() == DELETED_TOPIC) else {
            return Ok(None);
        };
        let read = StreamRead::new(stream)
            .after(record.version())
            .backward()
            .limit(1);
        let page = application.recorder().read_stream(read).await?;
        match page.events.into_iter().next() {
            Some(event) if is_amendment_record(event.topic()) => record = event,
            event => return Ok(event),
        }
    }
}

fn due(event: &TimerEvent) -> Option<Timestamp> {
    match event {
        TimerEvent::Scheduled { due, .. } => Some(*due),
        TimerEvent::Cancelled | TimerEvent::Fired => None,
    }
}

/// Returns the event that cancels the timer of this key.
pub(crate) fn cancelling(key: &str) -> AnyEvent {
    AnyEvent::of_the_library(TimerEvent::Cancelled, timer_stream(key).into())
}

impl Application {
    /// Sets a timer, replacing a pending one of the same key. To record other events together with
    /// it, pass the [`Deadline`] to [`decide`](Self::decide).
    ///
    /// Timers are fired by a runner: an application that no runner runs fires none.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a bad key or an event that is not text; [`Error::Mapping`] for one
    /// that cannot be encoded; the errors of [`settle`](Self::settle).
    pub async fn schedule(&self, deadline: Deadline) -> Result<Recorded> {
        let scheduled = deadline.scheduled()?;
        let stream: Arc<str> = timer_stream(&deadline.key).into();
        let decide = |(): &()| {
            let event = scheduled.clone();
            AnyEvent::of_the_library(event, Arc::clone(&stream))
        };
        self.decide((), decide).await.map_err(never_refused)
    }

    /// Cancels the timer of this key. Returns whether it was pending.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a bad key; the errors of [`decide`](Self::decide).
    pub async fn cancel(&self, key: &str) -> Result<bool> {
        let decided = self.decide(timer(key), |due| due.map(|_| cancelling(key)));
        let recorded = decided.await.map_err(never_refused)?;
        Ok(recorded.checkpoint.is_some())
    }
}

fn never_refused(error: ExecuteError<Infallible>) -> Error {
    match error {
        ExecuteError::Refused(never) => match never {},
        ExecuteError::Retold(error) => error,
    }
}
