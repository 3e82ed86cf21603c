//! The reader of a log: where reading and subscribing begin.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;

use super::error::Error;
use super::handle::Application;
use super::logged::Logged;
use super::selection::{Selection, TypedWatches};
use super::topic_watch::unknown_topic;
use crate::domain::Event;
use crate::mapping::{Mapper, TopicRegistry};
use crate::recording::{EventId, Recorder, StoredEvent};

impl Application {
    /// A reader of the application's log.
    pub fn log(&self) -> LogReader {
        LogReader {
            recorder: Arc::clone(self.recorder()),
            mapper: *self.mapper(),
            registry: Arc::clone(&self.core.registry),
            watches: Arc::clone(&self.core.typed_watches),
        }
    }

    /// The events of type `E` in the application's log, to be read or subscribed to.
    pub fn events<E: Event>(&self) -> Selection<Logged<E>> {
        self.log().events()
    }
}

/// Reads a log, once or for as long as it grows: events as they are stored, or events of a type.
///
/// Reads what is recorded and nothing else, so it works on every recorder, also one that was opened
/// for reading only. A clone costs next to nothing.
///
/// ```
/// # use retold_core::application::{Error, LogReader};
/// # use retold_core::recording::Query;
/// # use retold_core::recording::StoredEvent;
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
/// let resumed = log.stored().subscribe().after(subscription.mark()).await?;
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

/// What is done with events of topics that no registered type has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no fourth")]
pub enum UnknownTopics {
    /// They are given like all others.
    #[default]
    Give,
    /// They are passed over.
    Skip,
    /// The reading or subscription stops at them with an error.
    Fail,
}

impl LogReader {
    /// A reader of this recorder's log, which knows no types before they are asked for.
    pub fn new(recorder: Arc<dyn Recorder>) -> Self {
        Self {
            recorder,
            mapper: Mapper::default(),
            registry: Arc::default(),
            watches: Arc::default(),
        }
    }

    /// The events as they are stored, of whatever topic.
    pub fn stored(&self) -> Selection<StoredEvent> {
        self.stored_where(UnknownTopics::Give)
    }

    /// The events as they are stored; of topics that no type has which the application knows now,
    /// as `unknown` says. Retired topics and the library's own are always known.
    pub fn stored_where(&self, unknown: UnknownTopics) -> Selection<StoredEvent> {
        let registry = Arc::clone(&self.registry);
        let decode = move |event: &StoredEvent| match unknown {
            UnknownTopics::Skip if !registry.knows(event.topic()) => Ok(None),
            UnknownTopics::Fail if !registry.knows(event.topic()) => {
                Err(unknown_topic(&registry, event).into())
            }
            _ => Ok(Some(event.clone())),
        };
        Selection::new(Arc::clone(&self.recorder), None, Arc::new(decode))
    }

    /// The events of type `E`, decoded. Others are not read: the topics of `E`, the former ones too,
    /// are part of the query.
    ///
    /// If the application declares its types, the reading or subscription stops with an error at an event
    /// of a topic that the application does not know, unless it
    /// [skips them](Selection::skips_unknown_events): it may be an event of `E` under another name.
    pub fn events<E: Event>(&self) -> Selection<Logged<E>> {
        let (mapper, registry) = (self.mapper, Arc::clone(&self.registry));
        let decode = move |stored: &StoredEvent| {
            if E::index_of_topic(stored.topic()).is_none() {
                return Err(unknown_topic(&registry, stored).into());
            }
            Ok(Some(Logged {
                event: mapper.decode::<E>(stored)?,
                stored: stored.clone(),
            }))
        };
        let recorder = Arc::clone(&self.recorder);
        Selection::new(recorder, Some(E::TYPES), Arc::new(decode)).watching(
            TypeId::of::<E>(),
            &self.registry,
            &self.watches,
        )
    }

    /// The event with this id as it is stored, or none.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn stored_event(&self, id: EventId) -> Result<Option<StoredEvent>, Error> {
        Ok(self.recorder.event(id).await?)
    }

    /// The event with this id, decoded, or none.
    ///
    /// # Errors
    ///
    /// `Mapping` if it is of another type, or cannot be decoded; `Unavailable`, `Corrupt`.
    pub async fn event<E: Event>(&self, id: EventId) -> Result<Option<Logged<E>>, Error> {
        let Some(stored) = self.recorder.event(id).await? else {
            return Ok(None);
        };
        let event = self.mapper.decode(&stored)?;
        Ok(Some(Logged { event, stored }))
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader")
            .field("log", &self.recorder.log_name())
            .finish_non_exhaustive()
    }
}
