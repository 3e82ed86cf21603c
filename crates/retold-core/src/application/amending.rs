//! Amending recorded events: erasing, replacing, deleting and reopening, each recorded with who did
//! it and why.
//!
//! Everything here is made of appends with amendments, so that it is safe to stop at any moment and
//! to repeat. A stream of any length is erased in parts that do not delay other appends for long.

use std::fmt;
use std::sync::Arc;

use super::amendment_record::{AmendmentRecord, ErasedEvents};
use super::error::{Error, Result};
use super::handle::Application;
use super::limits::{AMENDING_PAGE_EVENTS, AMENDING_TEXT_SIZE_MAX, ERASED_PART_MAX};
use super::repository::absent;
use crate::domain::{Aggregate, Event, Id};
use crate::mapping::Envelope;
use crate::recording::{
    Amendment, Append, Checkpoint, Condition, DELETED_TOPIC, ErasedParts, EventId, NewEvent,
    Origin, PageEnd, Position, Replacement, StoredEvent, StreamRead, Version,
};

/// The beginning of the names of the streams of followers.
const FOLLOWER_STREAMS: &str = "retold.follower/";

impl Application {
    /// Returns the means to amend recorded events. `by` says who amends them, and `reason` why;
    /// both are recorded with each amendment.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if one of the texts is empty or longer than [`AMENDING_TEXT_SIZE_MAX`].
    pub fn amender(&self, by: impl Into<String>, reason: impl Into<String>) -> Result<Amender> {
        let (by, reason) = (by.into(), reason.into());
        for (what, text) in [("name of who amends events", &by), ("reason", &reason)] {
            if text.trim().is_empty() || text.len() > AMENDING_TEXT_SIZE_MAX {
                return Err(Error::invalid(format!(
                    "the {what} has {} bytes; it is recorded with the amendment, and needs 1 to \
                     {AMENDING_TEXT_SIZE_MAX}",
                    text.trim().len()
                )));
            }
        }
        Ok(Amender {
            application: self.clone(),
            by,
            reason,
            is_dry_run: false,
            progress: None,
        })
    }

    /// Deletes an aggregate: erases payloads, tags and metadata of its events, drops its snapshots,
    /// and closes its stream. From then on it is neither read nor changed, in any process, until it
    /// is [reopened](Self::reopen). Repeat a call that failed; it deletes the rest.
    ///
    /// Events, versions and positions remain, without content. Call
    /// [`Store::purge`](crate::recording::Store::purge) afterwards if the bytes must also be gone
    /// from the files of the store.
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// use retold::application::Error;
    ///
    /// school.delete(fido, "ann", "the owner asked for it, request 17").await?;
    /// let gone = school.get(fido).await;
    /// assert!(matches!(gone, Err(Error::Deleted { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it has no events; [`Error::Invalid`] as for
    /// [`amender`](Self::amender), or if the application was opened read-only;
    /// [`Error::OutcomeUnknown`], [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn delete<A: Aggregate>(
        &self,
        id: impl Into<Id<A>>,
        by: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<Amended> {
        self.register::<A>()?;
        let amender = self.amender(by, reason)?;
        let stream = id.into().stream();
        amender.delete_stream(stream, ErasedParts::ALL).await
    }

    /// Reopens a deleted aggregate: it begins again with the default state. Its versions continue.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is not deleted; [`Error::NotFound`] if it has no events; otherwise
    /// as for [`delete`](Self::delete).
    pub async fn reopen<A: Aggregate>(
        &self,
        id: impl Into<Id<A>>,
        by: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<Amended> {
        self.register::<A>()?;
        let amender = self.amender(by, reason)?;
        amender.reopen_stream(id.into().stream()).await
    }
}

/// The means to amend the events of a log. See [`Application::amender`].
#[derive(Clone)]
pub struct Amender {
    application: Application,
    by: String,
    reason: String,
    is_dry_run: bool,
    progress: Option<Arc<dyn Fn(AmendProgress) + Send + Sync>>,
}

/// What was amended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Amended {
    /// The number of events that were erased or replaced. In a dry run, the number of those that
    /// would be.
    pub events: u64,
    /// The last event that records it; none in a dry run, or if there was nothing to amend.
    pub record: Option<Checkpoint>,
}

/// How far the erasure of a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AmendProgress {
    /// The last version that was erased or passed over.
    pub version: Version,
    /// The last version that is to be erased.
    pub until: Version,
    /// The number of events erased so far.
    pub events: u64,
}

impl Amender {
    /// Sets whether to check everything and amend nothing.
    #[must_use]
    pub fn dry_run(mut self, is_dry_run: bool) -> Self {
        self.is_dry_run = is_dry_run;
        self
    }

    /// Sets a function that is called after each part of a stream that was erased.
    #[must_use]
    pub fn on_progress(mut self, report: impl Fn(AmendProgress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(report));
        self
    }

    /// Erases one event: its payload, and these parts.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the log has no such event, if it records an amendment, or if nothing
    /// is left to erase; [`Error::Conflict`] if another amendment came first; otherwise as for
    /// [`Application::delete`].
    pub async fn erase_event(&self, event: EventId, parts: ErasedParts) -> Result<Amended> {
        let stored = self.stored(event).await?;
        let record = AmendmentRecord::Erased {
            by: self.by.clone(),
            reason: self.reason.clone(),
            which: ErasedEvents::Event(event),
            parts: parts.into(),
        };
        let amendment = Amendment::EraseEvent {
            event,
            stream: stored.stream().map(Arc::from),
            parts,
        };
        self.amend_event(&stored, amendment, record).await
    }

    /// Replaces the content of one event.
    ///
    /// The new content is data of the subjects that the replacement names; without any, of those
    /// whose data the event was.
    ///
    /// # Errors
    ///
    /// As for [`erase_event`](Self::erase_event); [`Error::Invalid`] also if the event is erased,
    /// the replacement exceeds a limit, one of its subjects was forgotten, or it is not known which
    /// of its fields are data of a subject.
    pub async fn replace_event(&self, event: EventId, by: Replacement) -> Result<Amended> {
        let stored = self.stored(event).await?;
        let record = AmendmentRecord::Amended {
            by: self.by.clone(),
            reason: self.reason.clone(),
            event,
        };
        let amendment = Amendment::ReplaceEvent {
            event,
            stream: stored.stream().map(Arc::from),
            replacement: by,
        };
        self.amend_event(&stored, amendment, record).await
    }

    /// Replaces one event by an event of the program: with its topic, revision, tags, content and
    /// subjects, as the application records it.
    ///
    /// # Errors
    ///
    /// As for [`replace_event`](Self::replace_event); [`Error::Mapping`] if the event cannot be
    /// encoded.
    pub async fn replace_by<E: Event>(&self, event: EventId, by: &E) -> Result<Amended> {
        self.application.registry().register_event::<E>()?;
        let stored = self.stored(event).await?;
        let envelope = Envelope {
            stream: stored.stream().map(Arc::from),
            ..Envelope::new(event, stored.time())
        };
        let (new, _) = self.application.mapper().encode(by, envelope)?;
        let mut replacement = Replacement::of(&stored, new.payload.unwrap_or_default())?;
        replacement.topic = new.topic;
        replacement.revision = new.revision;
        replacement.tags = new.tags;
        replacement.encoding = new.encoding;
        replacement.subjects = Some(new.subjects);
        self.replace_event(event, replacement).await
    }

    /// Erases the events of a stream up to and including a version; without one, all that it has
    /// now. Those that record amendments remain.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the stream has no events or not this version; [`Error::Deleted`] if
    /// it is deleted; otherwise as for [`Application::delete`]. After an error, a part may be
    /// erased; repeat the call.
    pub async fn erase_stream(
        &self,
        stream: impl Into<Arc<str>>,
        until: Option<Version>,
        parts: ErasedParts,
    ) -> Result<Amended> {
        let stream = stream.into();
        let last = self.last(&stream).await?;
        if last.topic() == DELETED_TOPIC {
            return Err(Error::Deleted {
                stream,
                record: last.checkpoint(),
            });
        }
        let until = until.or(last.version()).unwrap_or(Version::FIRST);
        if last.version() < Some(until) {
            return Err(absent(stream, Some(until)));
        }
        self.erase_in_parts(&stream, until, parts, |which| AmendmentRecord::Erased {
            by: self.by.clone(),
            reason: self.reason.clone(),
            which,
            parts: parts.into(),
        })
        .await
    }

    /// Erases all events of a stream, and closes it. See [`Application::delete`].
    ///
    /// # Errors
    ///
    /// As for [`Application::delete`].
    pub async fn delete_stream(
        &self,
        stream: impl Into<Arc<str>>,
        parts: ErasedParts,
    ) -> Result<Amended> {
        let stream = stream.into();
        let mut first = Amended::default();
        let mut last = self.last(&stream).await?;
        if last.topic() != DELETED_TOPIC && !self.is_dry_run {
            // It is closed with its first part, so that no event is recorded while the rest is
            // erased.
            let until = last.version().unwrap_or(Version::FIRST).get();
            let until = Version::new(until.min(ERASED_PART_MAX));
            first = self
                .close(&stream, until.unwrap_or(Version::FIRST), parts)
                .await?;
            last = self.last(&stream).await?;
        }
        let until = last.version().unwrap_or(Version::FIRST);
        let deletion = |which| {
            let until = match which {
                ErasedEvents::Versions { until, .. } => Some(until),
                ErasedEvents::Event(_) => None,
            };
            self.deletion(until, parts)
        };
        let rest = self.erase_in_parts(&stream, until, parts, deletion).await?;
        Ok(Amended {
            events: first.events + rest.events,
            record: rest.record.or(first.record),
        })
    }

    /// Closes a stream, and erases its first part.
    async fn close(
        &self,
        stream: &Arc<str>,
        until: Version,
        parts: ErasedParts,
    ) -> Result<Amended> {
        let amendment = Amendment::EraseStream {
            stream: Arc::clone(stream),
            after: None,
            until,
            parts,
        };
        let events = self.count_left(stream, None, until, &amendment).await?;
        let record = self.record(stream, &self.deletion(Some(until), parts))?;
        let append = Append::of([record]).amendment(amendment);
        let record = self.settle(append).await?;
        Ok(Amended { events, record })
    }

    fn deletion(&self, until: Option<Version>, parts: ErasedParts) -> AmendmentRecord {
        AmendmentRecord::Deleted {
            by: self.by.clone(),
            reason: self.reason.clone(),
            until,
            parts: parts.into(),
        }
    }

    /// Reopens a deleted stream: it takes events again.
    ///
    /// # Errors
    ///
    /// As for [`Application::reopen`].
    pub async fn reopen_stream(&self, stream: impl Into<Arc<str>>) -> Result<Amended> {
        let stream = stream.into();
        let last = self.last(&stream).await?;
        if last.topic() != DELETED_TOPIC {
            return Err(Error::invalid(format!(
                "the stream {stream:?} is not deleted"
            )));
        }
        if self.is_dry_run {
            return Ok(Amended::default());
        }
        let record = AmendmentRecord::Reopened {
            by: self.by.clone(),
            reason: self.reason.clone(),
        };
        let record = self.record(&stream, &record)?;
        let condition = Condition::stream_read(stream, last.version(), Some(last.id()));
        let record = self
            .settle(Append::of([record]).condition(condition))
            .await?;
        Ok(Amended { events: 0, record })
    }

    /// Erases a stream in appends of at most [`ERASED_PART_MAX`] versions, and passes over parts
    /// in which nothing is left.
    async fn erase_in_parts(
        &self,
        stream: &Arc<str>,
        until: Version,
        parts: ErasedParts,
        record: impl Fn(ErasedEvents) -> AmendmentRecord,
    ) -> Result<Amended> {
        let mut amended = Amended::default();
        let mut after: Option<Version> = None;
        while Version::number(after) < until.get() {
            let last = Version::number(after).saturating_add(ERASED_PART_MAX);
            let last = Version::new(last.min(until.get())).unwrap_or(until);
            let amendment = Amendment::EraseStream {
                stream: Arc::clone(stream),
                after,
                until: last,
                parts,
            };
            let left = self.count_left(stream, after, last, &amendment).await?;
            if left > 0 && !self.is_dry_run {
                let which = ErasedEvents::Versions { after, until: last };
                let record = self.record(stream, &record(which))?;
                let append = Append::of([record]).amendment(amendment);
                amended.record = self.settle(append).await?;
            }
            amended.events += left;
            after = Some(last);
            if let Some(report) = &self.progress {
                report(AmendProgress {
                    version: last,
                    until,
                    events: amended.events,
                });
            }
        }
        Ok(amended)
    }

    /// Counts the events of a part of a stream that an amendment would change.
    async fn count_left(
        &self,
        stream: &Arc<str>,
        mut after: Option<Version>,
        until: Version,
        amendment: &Amendment,
    ) -> Result<u64> {
        let mut count = 0;
        loop {
            let read = StreamRead::new(Arc::clone(stream))
                .after(after)
                .until(until)
                .limit(AMENDING_PAGE_EVENTS);
            let page = self.application.recorder().read_stream(read).await?;
            let is_changed = |event: &&StoredEvent| matches!(amendment.amended(event), Ok(Some(_)));
            count += page.events.iter().filter(is_changed).count() as u64;
            after = page.events.last().and_then(StoredEvent::version).or(after);
            if page.end == PageEnd::Complete {
                return Ok(count);
            }
        }
    }

    async fn amend_event(
        &self,
        stored: &StoredEvent,
        amendment: Amendment,
        record: AmendmentRecord,
    ) -> Result<Amended> {
        stored.stream().map_or(Ok(()), Self::check_stream)?;
        if let Err(reason) = amendment.amended(stored) {
            return Err(Error::invalid(format!(
                "the event {} at position {} is not amended: {reason}",
                stored.id(),
                stored.position()
            )));
        }
        let mut record = match stored.stream() {
            Some(stream) => self.record(&stream.into(), &record)?,
            None => self.unplaced(None, &record)?,
        };
        let append = |record| Append::of([record]).amendment(amendment);
        if self.is_dry_run {
            record.time = stored.time();
            append(record).check(&self.application.recorder().limits())?;
            return Ok(Amended {
                events: 1,
                record: None,
            });
        }
        let record = self.settle(append(record)).await?;
        Ok(Amended { events: 1, record })
    }

    /// Refuses the history of a follower, which the follower needs.
    fn check_stream(stream: &str) -> Result<()> {
        match stream.starts_with(FOLLOWER_STREAMS) {
            true => Err(Error::invalid(format!(
                "the stream {stream:?} is the history of a follower, which reads it whenever it \
                 starts; it cannot be amended"
            ))),
            false => Ok(()),
        }
    }

    /// Returns the event that records an amendment, for its stream.
    fn record(&self, stream: &Arc<str>, record: &AmendmentRecord) -> Result<NewEvent> {
        self.unplaced(Some(Arc::clone(stream)), record)
    }

    fn unplaced(&self, stream: Option<Arc<str>>, record: &AmendmentRecord) -> Result<NewEvent> {
        let envelope = Envelope {
            stream,
            origin: Origin::Library,
            ..Envelope::new(self.application.next_event_id(), self.application.now())
        };
        Ok(self.application.mapper().encode(record, envelope)?.0)
    }

    /// Records an append; returns the checkpoint of its last event.
    async fn settle(&self, append: Append) -> Result<Option<Checkpoint>> {
        let last = append.new_events().last().map(|event| event.id);
        let appended = self.application.settle(append).await?;
        let checkpoint =
            |(position, event_id): (Position, EventId)| Checkpoint { position, event_id };
        Ok(appended.positions().last().zip(last).map(checkpoint))
    }

    async fn stored(&self, event: EventId) -> Result<StoredEvent> {
        let stored = self.application.recorder().event(event).await?;
        stored.ok_or_else(|| {
            Error::invalid(format!(
                "the log {:?} has no event with the id {event}",
                self.application.name()
            ))
        })
    }

    /// Returns the last event of a stream that may be amended.
    async fn last(&self, stream: &Arc<str>) -> Result<StoredEvent> {
        Self::check_stream(stream)?;
        let read = StreamRead::new(Arc::clone(stream)).backward().limit(1);
        let mut page = self.application.recorder().read_stream(read).await?;
        page.events
            .pop()
            .ok_or_else(|| absent(Arc::clone(stream), None))
    }
}

impl fmt::Debug for Amender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Amender")
            .field("application", &self.application.name())
            .field("by", &self.by)
            .field("reason", &self.reason)
            .field("is_dry_run", &self.is_dry_run)
            .finish_non_exhaustive()
    }
}
