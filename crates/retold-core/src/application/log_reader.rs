//! The reader of a log: the entry point for reading and subscribing.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;

use super::error::Error;
use super::handle::Application;
use super::logged::Logged;
use super::selection::{Selection, TypedWatches, selects};
use super::topic_watch::unknown_topic;
use crate::domain::{Decoded, Event};
use crate::mapping::{Mapper, TopicRegistry};
use crate::recording::{EventId, Query, Recorder, StoredEvent};

impl Application {
    /// Returns a reader of the application's log.
    pub fn log(&self) -> LogReader {
        LogReader {
            recorder: Arc::clone(self.recorder()),
            mapper: self.mapper().clone(),
            registry: Arc::clone(&self.core.registry),
            watches: Arc::clone(&self.core.typed_watches),
        }
    }

    /// Selects the events of type `E` in the application's log, to read or subscribe to.
    pub fn events<E: Event>(&self) -> Selection<Logged<E>> {
        self.log().events()
    }
}

/// Reads a log, once or continuously: events as they are stored, or events of a type.
///
/// It never writes, so it works on every recorder, including one opened read-only. Cloning is
/// cheap.
///
/// ```
/// # use retold_core::application::{Error, LogReader};
/// # use retold_core::recording::{Query, StoredEvent};
/// # async fn example(log: LogReader) -> Result<(), Error> {
/// // Once: the last three events with a tag.
/// let last = log.stored().tag("carrier:UA").read().backward().limit(3).collect().await?;
///
/// // For as long as the log grows: everything of a stream, then what comes.
/// let mut subscription = log.stored().matching(Query::stream("Dog/fido")).subscribe().await?;
/// loop {
///     let event: StoredEvent = subscription.next().await?;
///     # break;
/// }
///
/// // Later, where that ended.
/// let resumed = log.stored().subscribe().after(subscription.checkpoint()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LogReader {
    recorder: Arc<dyn Recorder>,
    mapper: Mapper,
    registry: Arc<TopicRegistry>,
    watches: Arc<TypedWatches>,
}

/// How to treat events whose topic no registered type has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no fourth")]
pub enum UnknownTopics {
    /// Return them like all others.
    #[default]
    Give,
    /// Skip them.
    Skip,
    /// Stop the reading or subscription with an error.
    Fail,
}

impl LogReader {
    /// Creates a reader of this recorder's log. It knows a type only from its first use on.
    pub fn new(recorder: Arc<dyn Recorder>) -> Self {
        Self {
            recorder,
            mapper: Mapper::default(),
            registry: Arc::default(),
            watches: Arc::default(),
        }
    }

    /// Selects the events as they are stored, with any topic.
    pub fn stored(&self) -> Selection<StoredEvent> {
        self.stored_where(UnknownTopics::Give)
    }

    /// Selects the events as they are stored. `unknown` defines how to treat an event whose topic
    /// the application does not know when the event is read. Retired topics and the library's own
    /// topics are always known.
    pub fn stored_where(&self, unknown: UnknownTopics) -> Selection<StoredEvent> {
        let registry = Arc::clone(&self.registry);
        let decode = move |event: &StoredEvent, _: &Query| match unknown {
            UnknownTopics::Skip if !registry.knows(event.topic()) => Ok(Decoded::Nothing),
            UnknownTopics::Fail if !registry.knows(event.topic()) => {
                Err(unknown_topic(&registry, event).into())
            }
            _ => Ok(Decoded::One(event.clone())),
        };
        Selection::new(Arc::clone(&self.recorder), None, Arc::new(decode))
    }

    /// Selects the events of type `E`, decoded. Other events are not read: the query contains the
    /// topics of `E`, including former ones. An event of an older shape that is read as several
    /// events is returned as several, with the same position and id.
    ///
    /// If the application declares its types, the reading or subscription stops with an error at an
    /// event of an unknown topic, unless it [skips them](Selection::skips_unknown_events): it may
    /// be an event of `E` under another name.
    pub fn events<E: Event>(&self) -> Selection<Logged<E>> {
        let (mapper, registry) = (self.mapper.clone(), Arc::clone(&self.registry));
        let decode = move |stored: &StoredEvent, query: &Query| {
            let Some(index) = E::index_of_topic(stored.topic()) else {
                return Err(unknown_topic(&registry, stored).into());
            };
            let own = &E::TYPES[index];
            let events = Logged::all(mapper.read::<E>(stored)?, stored);
            if !own.is_past {
                return Ok(events);
            }
            let read = |it: &Logged<E>| [own, it.event.event_type()];
            Ok(events.filter(|it| selects(query, stored, read(it))))
        };
        let recorder = Arc::clone(&self.recorder);
        Selection::new(recorder, Some(E::TYPES), Arc::new(decode)).watching(
            TypeId::of::<E>(),
            &self.registry,
            &self.watches,
        )
    }

    /// Returns the event with this id as it is stored, or `None`.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn stored_event(&self, id: EventId) -> Result<Option<StoredEvent>, Error> {
        Ok(self.recorder.event(id).await?)
    }

    /// Returns the event with this id, decoded, or `None`: also if nothing is left of it because
    /// its content was erased.
    ///
    /// # Errors
    ///
    /// `Mapping` if it has another type, cannot be decoded, or is read as several events;
    /// `Unavailable`, `Corrupt`.
    pub async fn event<E: Event>(&self, id: EventId) -> Result<Option<Logged<E>>, Error> {
        let Some(stored) = self.recorder.event(id).await? else {
            return Ok(None);
        };
        if let Decoded::Nothing = self.mapper.read::<E>(&stored)? {
            return Ok(None);
        }
        let event = self.mapper.decode(&stored)?;
        let part = 0;
        Ok(Some(Logged {
            event,
            stored,
            part,
        }))
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader")
            .field("log", &self.recorder.log_name())
            .finish_non_exhaustive()
    }
}
