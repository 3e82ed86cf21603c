//! Opens an application: its log and its options.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::cache::Cache;
use super::error::{Error, Result};
use super::handle::{Application, Core, DeclaredAggregate, DeclaredTypes, OpenPurpose};
use super::lanes::Lanes;
use super::limits::{CACHE_SIZE_DEFAULT, RETRIES_DEFAULT};
use super::log_check::check_stream;
use super::publish::Bus;
use super::reports::Reports;
use super::topic_watch::check_topics;
use super::turns::Turns;
use crate::domain::{Aggregate, Clock, Event, IdSource, SystemClock, UuidV7Source};
use crate::mapping::{Codec, EventReader, Mapper, RegistryError, TopicRegistry};
#[cfg(feature = "protection")]
use crate::protection::Protection;
use crate::recording::{LogId, Recorder, Store};

/// Opens an [`Application`]. Needs a [`store`](Self::store) or a [`recorder`](Self::recorder);
/// everything else has a default.
///
/// ```
/// use retold::domain::ManualClock;
/// use retold::prelude::*;
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> retold::Result<()> {
/// let store = retold::open_store("memory:builder").await?;
/// let school = Application::builder("school")
///     .store(store)
///     .clock(Arc::new(ManualClock::new("2013-01-01T05:17:00Z".parse().expect("it is a time"))))
///     .cache_size(10_000)
///     .open()
///     .await?;
/// assert_eq!(school.now().to_string(), "2013-01-01T05:17:00Z");
/// # Ok(())
/// # }
/// ```
#[must_use = "an application is opened by `open`"]
pub struct ApplicationBuilder {
    name: String,
    log: Option<LogSource>,
    access: OpenPurpose,
    birth: Option<LogId>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    cache_size: usize,
    retries: u32,
    mapper: Mapper,
    #[cfg(feature = "protection")]
    protection: Option<Protection>,
    registry: Arc<TopicRegistry>,
    declared: DeclaredTypes,
    /// Whether all types could be registered; the first error if not.
    registered: Result<(), RegistryError>,
}

enum LogSource {
    In(Arc<dyn Store>),
    Opened(Arc<dyn Recorder>),
}

impl Application {
    /// Builds an application with this name, which is also the name of its log.
    pub fn builder(name: impl Into<String>) -> ApplicationBuilder {
        ApplicationBuilder {
            name: name.into(),
            log: None,
            access: OpenPurpose::Write,
            birth: None,
            clock: Arc::new(SystemClock),
            ids: Arc::new(UuidV7Source),
            cache_size: CACHE_SIZE_DEFAULT,
            retries: RETRIES_DEFAULT,
            mapper: Mapper::default(),
            #[cfg(feature = "protection")]
            protection: None,
            registry: Arc::default(),
            declared: DeclaredTypes::default(),
            registered: Ok(()),
        }
    }

    /// Builds another application with the store, clock, ids, types and options of this one, but
    /// without its metadata: for example one log per tenant, opened when it is first needed.
    ///
    /// An application that was opened with a recorder has no store: set one.
    pub fn another(&self, name: impl Into<String>) -> ApplicationBuilder {
        ApplicationBuilder {
            name: name.into(),
            log: self.core.store.clone().map(LogSource::In),
            access: self.core.access,
            birth: None,
            clock: Arc::clone(&self.core.clock),
            ids: Arc::clone(&self.core.ids),
            cache_size: self.core.cache.size(),
            retries: self.core.retries,
            mapper: self.core.mapper.clone(),
            #[cfg(feature = "protection")]
            protection: self.core.protection.clone(),
            registry: Arc::clone(&self.core.registry),
            declared: DeclaredTypes::clone(&self.core.declared),
            registered: Ok(()),
        }
    }
}

impl ApplicationBuilder {
    /// Opens the log in this store.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.log = Some(LogSource::In(store));
        self
    }

    /// Uses this log, which is already open, instead of one from a store.
    pub fn recorder(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.log = Some(LogSource::Opened(recorder));
        self
    }

    /// Opens the log read-only: a missing log is not created, and commands are refused as invalid.
    pub fn read_only(mut self) -> Self {
        self.access = OpenPurpose::ReadOnly;
        self
    }

    /// Sets the id of the log if this call creates it; a fresh id by default.
    pub fn log_id(mut self, id: LogId) -> Self {
        self.birth = Some(id);
        self
    }

    /// Takes the time of events from this clock; the system clock by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes fresh ids from this source; UUIDs of version 7 by default.
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// Keeps the states of about this many of the most used aggregates in memory; 0 for none,
    /// [`CACHE_SIZE_DEFAULT`] by default. Allocates nothing until they are used.
    pub fn cache_size(mut self, aggregates: usize) -> Self {
        self.cache_size = aggregates;
        self
    }

    /// Sets how many times a command is retried after conflicts, at most; [`RETRIES_DEFAULT`] by
    /// default.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Encodes events with this codec; JSON by default. A log can mix codecs: events that this or a
    /// built-in codec wrote can be read.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.mapper = self.mapper.writing(codec);
        self
    }

    /// Compresses and encrypts what is recorded in the log.
    #[cfg(feature = "protection")]
    pub fn protection(mut self, protection: Protection) -> Self {
        self.mapper = self.mapper.protection(protection.clone());
        self.protection = Some(protection);
        self
    }

    /// Also reads events that this codec of the program wrote.
    pub fn reads_codec(mut self, codec: Codec) -> Self {
        self.mapper = self.mapper.reading(codec);
        self
    }

    /// Declares an event type, so that opening fails if another type has one of its topics.
    ///
    /// An application that declares any type or topic must declare all topics of its log: its own
    /// types, the [`retired`](Self::retired) topics, and those [`of_others`](Self::of_others).
    /// Opening fails if the log has another topic, and readers refuse one that appears later,
    /// because its events may be events that they look for under another name. An application that
    /// declares nothing knows a type from its first use on, and checks the topics that a decision
    /// over a query reads only against the types known at that time.
    pub fn event<E: Event>(mut self) -> Self {
        self.declared.readers.push(EventReader::of::<E>());
        let registry = &self.registry;
        self.registered = self.registered.and_then(|()| registry.declare_event::<E>());
        self
    }

    /// Returns the readers of the declared event types.
    pub(crate) fn declared_readers(&self) -> &[EventReader] {
        &self.declared.readers
    }

    /// Returns the registry of the declared types and topics.
    pub(crate) fn registry(&self) -> &TopicRegistry {
        &self.registry
    }

    /// Declares an aggregate and its events, as [`event`](Self::event) does, so that opening fails
    /// if another type has its type name or one of its topics.
    pub fn aggregate<A: Aggregate>(mut self) -> Self {
        self.declared.readers.push(EventReader::of::<A::Event>());
        self.declared.aggregates.push(DeclaredAggregate {
            stream_type: A::TYPE,
            check: check_stream::<A>,
        });
        let registry = &self.registry;
        self.registered = self
            .registered
            .and_then(|()| registry.declare_aggregate::<A>());
        self
    }

    /// Declares a retired topic: the log has events with it, and the program no longer has a type
    /// for them. All readers skip them, including aggregates.
    pub fn retired(mut self, topic: &'static str) -> Self {
        let registry = &self.registry;
        self.registered = self.registered.and_then(|()| registry.retire(topic));
        self
    }

    /// Declares a topic of another program that also records in this log: this program has no type
    /// for it, and its readers skip such events. In the stream of an aggregate they are an error.
    pub fn of_others(mut self, topic: &'static str) -> Self {
        let registry = &self.registry;
        self.registered = self
            .registered
            .and_then(|()| registry.declare_of_others(topic));
        self
    }

    /// Notes topics that other members of a system process, with types of their own.
    pub(crate) fn processed_by_others(self, topics: &[&'static str]) -> Self {
        self.registry.note_of_others(topics);
        self
    }

    /// Opens the log, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an invalid name, or without a store; [`Error::Registry`] if two
    /// declared types share a name; [`Error::Mapping`] if any type or topic is declared, and the
    /// log has one that is not; [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn open(self) -> Result<Application> {
        self.registered?;
        let (recorder, store) = match (self.log, self.access) {
            (Some(LogSource::Opened(recorder)), _) => (recorder, None),
            (Some(LogSource::In(store)), OpenPurpose::ReadOnly) => {
                (store.open_read_only(&self.name).await?, Some(store))
            }
            (Some(LogSource::In(store)), OpenPurpose::Write) => {
                let birth = self.birth.unwrap_or_else(|| self.ids.next_id().into());
                (store.open(&self.name, birth).await?, Some(store))
            }
            (None, _) => {
                return Err(Error::invalid(format!(
                    "the application {:?} has no store; give one with `store`",
                    self.name
                )));
            }
        };
        #[cfg(feature = "protection")]
        let recorder = match &self.protection {
            Some(protection) => protection.recorder(recorder),
            None => recorder,
        };
        #[cfg(feature = "protection")]
        let forgets = self
            .protection
            .as_ref()
            .map_or_else(Arc::default, Protection::forgets);
        #[cfg(not(feature = "protection"))]
        let forgets = Arc::default();
        if self.registry.is_declared() {
            check_topics(&*recorder, &self.registry).await?;
        }
        Ok(Application {
            core: Arc::new(Core {
                recorder,
                clock: self.clock,
                ids: self.ids,
                retries: self.retries,
                cache: Arc::new(Cache::counting(self.cache_size, forgets)),
                own: None,
                lanes: Lanes::default(),
                turns: Turns::default(),
                bus: Bus::default(),
                mapper: self.mapper,
                #[cfg(feature = "protection")]
                protection: self.protection,
                registry: self.registry,
                reports: Reports::default(),
                topics: Arc::default(),
                typed_watches: Arc::default(),
                store,
                access: self.access,
                unfit_for_snapshots: Mutex::default(),
                declared: Arc::new(self.declared),
            }),
            metadata: None,
            conductor: None,
        })
    }
}

impl fmt::Debug for ApplicationBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationBuilder")
            .field("name", &self.name)
            .field("cache_size", &self.cache_size)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}
