//! The timers of one application: tracking those that are pending, and firing those that are due.
//!
//! The pending timers are read from the log. Firing one is an append like any other: its ids are
//! derived from the event that scheduled the timer, and it has the condition that the timer has not
//! changed since. So a timer is recorded as fired once, even if several processes fire it, or one
//! fires it several times.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::caused::caused_by;
use super::derived_id::timer_event_id;
use super::limits::TIMERS_PENDING_MAX;
use super::timer_event::{PlannedEvent, TimerEvent};
use crate::application::{Application, Error, Result};
use crate::domain::{Event, Timestamp};
use crate::health::{Finding, FindingKind, Trouble};
use crate::mapping::Envelope;
use crate::recording::{
    AMENDED_TOPIC, Append, Checkpoint, Condition, Corrupt, DELETED_TOPIC, ERASED_TOPIC, Encoding,
    EventId, LogRead, NewEvent, Origin, PageEnd, Position, Query, QueryItem, StoredEvent, Version,
    is_amendment_record,
};

/// The timers of one application.
pub struct Timers {
    application: Application,
    query: Query,
    /// In the order in which they fire.
    pending: BTreeMap<(Timestamp, Position), Pending>,
    /// The key in `pending` of the timer of a stream.
    by_stream: HashMap<Arc<str>, (Timestamp, Position)>,
    /// Timers that are due and cannot be fired, by their streams, with the reason.
    aside: BTreeMap<Arc<str>, String>,
    read_to: Option<Checkpoint>,
}

struct Pending {
    stream: Arc<str>,
    scheduled: EventId,
    /// The last event of the stream: the one that scheduled it, or a later record of an amendment.
    last: (Option<Version>, EventId),
}

impl Timers {
    /// Creates the timers of this application. Nothing is read yet.
    pub fn new(application: Application) -> Self {
        // A record of an amendment is the last event of its stream then.
        let records = [ERASED_TOPIC, AMENDED_TOPIC, DELETED_TOPIC];
        let topics = TimerEvent::topics().chain(records);
        let item = topics.fold(QueryItem::new(), |item, topic| item.topic(topic));
        Self {
            application,
            query: Query::item(item),
            pending: BTreeMap::new(),
            by_stream: HashMap::new(),
            aside: BTreeMap::new(),
            read_to: None,
        }
    }

    /// Reads which timers were set, cancelled or fired since the last call.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] if the log no longer has the events that were read: nothing is pending
    /// then, and the next call reads everything again; [`Error::Invalid`] if more than
    /// [`TIMERS_PENDING_MAX`] are pending; [`Error::Replaced`], [`Error::Unavailable`],
    /// [`Error::Corrupt`], [`Error::Mapping`].
    pub async fn read_on(&mut self) -> Result<()> {
        loop {
            let read = LogRead::of(self.query.clone()).after_checkpoint(self.read_to);
            let page = self.application.recorder().read_log(read).await;
            let page = page.map_err(Error::from).inspect_err(|error| {
                if error.is_diverged() {
                    self.pending.clear();
                    self.by_stream.clear();
                    self.aside.clear();
                    self.read_to = None;
                }
            })?;
            for stored in &page.events {
                self.take_in(stored)?;
            }
            self.read_to = page.read_to;
            if page.end == PageEnd::Complete {
                return Ok(());
            }
        }
    }

    fn take_in(&mut self, stored: &StoredEvent) -> Result<()> {
        let Some(stream) = stored.stream() else {
            return Ok(());
        };
        if is_amendment_record(stored.topic()) && stored.topic() != DELETED_TOPIC {
            let pending = self.by_stream.get(stream);
            if let Some(pending) = pending.and_then(|place| self.pending.get_mut(place)) {
                pending.last = (stored.version(), stored.id());
            }
            return Ok(());
        }
        if let Some(place) = self.by_stream.remove(stream) {
            self.pending.remove(&place);
        }
        // It was fired, cancelled or set again.
        self.aside.remove(stream);
        if stored.is_erased() || stored.topic() == DELETED_TOPIC {
            // Its event was of a subject that was forgotten, or was erased, and is not recorded.
            return Ok(());
        }
        let event: TimerEvent = self.application.mapper().decode(stored)?;
        let TimerEvent::Scheduled { due, .. } = event else {
            return Ok(());
        };
        if self.pending.len() + self.aside.len() == TIMERS_PENDING_MAX {
            return Err(Error::invalid(format!(
                "more than {TIMERS_PENDING_MAX} timers of {:?} are pending; cancel some, or move \
                 some to another application",
                self.application.name()
            )));
        }
        let stream: Arc<str> = stream.into();
        let place = (due, stored.position());
        self.by_stream.insert(Arc::clone(&stream), place);
        let pending = Pending {
            stream,
            scheduled: stored.id(),
            last: (stored.version(), stored.id()),
        };
        self.pending.insert(place, pending);
        Ok(())
    }

    /// Returns when the next known timer is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.pending.keys().next().map(|(due, _)| *due)
    }

    /// Returns how many timers are known to be pending.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Returns how many timers are set aside because they cannot be fired, and the reason for one
    /// of them; none if no timer is set aside.
    pub fn aside(&self) -> Option<(usize, &str)> {
        let (_, reason) = self.aside.first_key_value()?;
        Some((self.aside.len(), reason))
    }

    /// Reports the timers that are set aside, if there are any, for an operator to look at.
    pub fn finding(&self) -> Option<Finding> {
        let (count, reason) = self.aside()?;
        let name = self.application.name();
        let reason = format!("{count} cannot be fired: {reason}");
        Some(Finding::new(
            FindingKind::Timers,
            name,
            Trouble::Parked,
            reason,
        ))
    }

    /// Fires the first of the timers that are due at `now`, in the order of due time, then
    /// position. Returns false if none is due. If another process has fired or changed the timer
    /// first, reads that change and returns true.
    ///
    /// # Errors
    ///
    /// The errors of [`Application::settle`], except conflicts; call it again. If no log accepts
    /// the event of the timer ([`Error::Invalid`], [`Error::Deleted`]) or it cannot be read, the
    /// timer is set aside, so that the others fire. Another process, or this one after a restart,
    /// tries it again.
    pub async fn fire_next(&mut self, now: Timestamp) -> Result<bool> {
        let first = self.pending.first_key_value();
        let Some((place, pending)) = first.filter(|((due, _), _)| *due <= now) else {
            return Ok(false);
        };
        let place = *place;
        let fired = match self.firing(pending).await {
            Ok(Some(append)) => self.application.settle(append).await.map(drop),
            Ok(None) => {
                // It was erased since it was read: its event is not recorded.
                if let Some(pending) = self.pending.remove(&place) {
                    self.by_stream.remove(&pending.stream);
                }
                Ok(())
            }
            Err(error) => Err(error),
        };
        match fired {
            Ok(()) | Err(Error::Conflict(_)) => {}
            Err(
                error @ (Error::Invalid(_)
                | Error::Corrupt(_)
                | Error::Mapping(_)
                | Error::Deleted { .. }),
            ) => {
                if let Some(pending) = self.pending.remove(&place) {
                    self.by_stream.remove(&pending.stream);
                    let (application, timer) = (self.application.name(), &*pending.stream);
                    tracing::error!(
                        application,
                        timer,
                        %error,
                        "a timer cannot be fired, and is set aside"
                    );
                    self.aside.insert(pending.stream, error.to_string());
                }
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        self.read_on().await?;
        Ok(true)
    }

    /// Returns the append that fires a timer; none if its event was erased.
    async fn firing(&self, pending: &Pending) -> Result<Option<Append>> {
        let id = pending.scheduled;
        let Some(stored) = self.application.recorder().event(id).await? else {
            let what = "the event that scheduled a timer is not found by its id";
            return Err(Corrupt::new(format!("event {id}"), what).into());
        };
        if stored.is_erased() {
            return Ok(None);
        }
        let mapper = self.application.mapper();
        let TimerEvent::Scheduled { due, event } = mapper.decode(&stored)? else {
            let what = "it scheduled a timer when it was first read, and no longer does";
            return Err(Corrupt::new(format!("event {id}"), what).into());
        };
        let origin = Origin::Timer { scheduled: id };
        let envelope = Envelope {
            stream: Some(Arc::clone(&pending.stream)),
            origin: origin.clone(),
            metadata: caused_by(&stored)?,
            ..Envelope::new(timer_event_id(id, due, 0), due)
        };
        let (fired, _) = mapper.encode(&TimerEvent::Fired, envelope.clone())?;
        let planned = planned(event, timer_event_id(id, due, 1), &envelope)?;
        let stream = Arc::clone(&pending.stream);
        let (version, last) = pending.last;
        let condition = Condition::stream_read(stream, version, Some(last));
        Ok(Some(Append::of([fired, planned]).condition(condition)))
    }
}

/// Builds the event that a timer recorded, to be recorded now.
fn planned(planned: PlannedEvent, id: EventId, envelope: &Envelope) -> Result<NewEvent> {
    let encoding = Encoding::parse(planned.encoding)
        .map_err(|error| Corrupt::new(format!("event {id}"), error.to_string()))?;
    let mut event = NewEvent::new(id, planned.topic, planned.payload)
        .revision(planned.revision)
        .time(envelope.time)
        .origin(envelope.origin.clone())
        .metadata(envelope.metadata.clone())
        .encoding(encoding);
    event.stream = planned.stream;
    event.tags = planned.tags;
    event.subjects = planned.subjects;
    Ok(event)
}

impl std::fmt::Debug for Timers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timers")
            .field("application", &self.application.name())
            .field("pending", &self.pending.len())
            .field("read_to", &self.read_to)
            .finish_non_exhaustive()
    }
}
