//! The declaration of a projection: which events it selects, and how each changes the view.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::error::BoxError;
use super::handler::{
    AsyncViewKind, AtOnce, Awaited, Erased, HandleView, Handled, SyncViewKind, ViewKind,
    ViewReading,
};
use super::handling::Handling;
use super::outline::{OnPoison, ProjectionOutline, StartFrom};
use crate::application::Logged;
use crate::domain::Event;
use crate::mapping::Mapper;
use crate::recording::{Recorder, StoredEvent};

/// A projection: which events of one upstream log it selects, and how each changes a view. `K` is
/// the kind of the view, for example [`MemoryView`](super::memory_view::MemoryView); a view store
/// of that kind stores it.
///
/// Handlers are functions of the view and one event: synchronous if the view is in memory or in a
/// local file, asynchronous if it is in a database on a server. Their writes must depend on nothing
/// else, or a rebuilt view would differ. They must not wait for anything else: no other event is
/// applied meanwhile, and if the view is in the database of a store, appends to that store may wait
/// too.
///
/// ```
/// # use retold_core::projection::{MemoryView, OnPoison, Projection};
/// # fn example<DogEvent: retold_core::domain::Event>() {
/// let registered = Projection::<MemoryView<u64>>::new("registered", 1, "school")
///     .on::<DogEvent>(|count, _| {
///         *count += 1;
///         Ok(())
///     })
///     .tag("breed:beagle")
///     .on_poison(OnPoison::Skip);
/// # }
/// ```
#[must_use = "a projection does nothing until a view store has it"]
pub struct Projection<K: ViewKind> {
    outline: ProjectionOutline,
    handlers: HashMap<&'static str, Vec<Arc<K::Handler>>>,
    reading: ViewReading,
    handling: Handling,
}

impl<K: ViewKind> Projection<K> {
    /// Creates a projection with this name and version over the log `upstream`, without handlers.
    ///
    /// Versions start at 1. To change the tables or the handlers, raise the version and keep the
    /// name: the view is then rebuilt.
    pub fn new(name: impl Into<Arc<str>>, version: u32, upstream: impl Into<Arc<str>>) -> Self {
        Self {
            outline: ProjectionOutline::new(name.into(), version, upstream.into()),
            handlers: HashMap::new(),
            reading: ViewReading {
                mapper: Mapper::default(),
                erased: Erased::PassedOver,
            },
            handling: Handling::default(),
        }
    }

    fn with<E: Event>(mut self, handler: K::Handler) -> Self {
        let handler = Arc::new(handler);
        for topic in E::topics() {
            let of_topic = self.handlers.entry(topic).or_default();
            of_topic.push(handler.clone());
            self.outline.topics.insert(topic.into());
        }
        self
    }

    /// Returns the handlers for an event; none if it is ignored.
    fn handlers_for(&self, stored: &StoredEvent) -> &[Arc<K::Handler>] {
        self.handlers.get(stored.topic()).map_or(&[], Vec::as_slice)
    }

    /// Selects only events that also have this tag.
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.outline.tags.insert(tag.into());
        self
    }

    /// Sets how an event that cannot be processed is treated; by default the projection stops
    /// there.
    pub fn on_poison(mut self, choice: OnPoison) -> Self {
        self.outline.on_poison = choice;
        self
    }

    /// Passes over events whose payload was erased, which is the default. Has no effect on types
    /// that declare what an erased event is read as: `#[event(erased = …)]`.
    pub fn pass_over_erased(mut self) -> Self {
        self.reading.erased = Erased::PassedOver;
        self
    }

    /// Treats events whose payload was erased as poison, for views that are wrong without them. By
    /// default they are passed over. Has no effect on types that declare what an erased event is
    /// read as: `#[event(erased = …)]`.
    pub fn erased_is_poison(mut self) -> Self {
        self.reading.erased = Erased::Poison;
        self
    }

    /// Begins at the end of the log as of the first step, if there is no checkpoint yet. By default
    /// the projection begins with the first event of the log.
    pub fn from_now(mut self) -> Self {
        self.outline.start_from = StartFrom::Now;
        self
    }

    /// Decodes events with this mapper; by default with one that reads the output of the built-in
    /// codecs.
    ///
    /// A projection that takes part in the appends of a protected log reads below the application,
    /// so it needs a mapper with the same [protection](Mapper::protection). Other projections read
    /// what the application has opened.
    pub fn mapper(mut self, mapper: Mapper) -> Self {
        self.reading.mapper = mapper;
        self
    }

    /// Returns the description of the projection without its handlers.
    pub fn outline(&self) -> &ProjectionOutline {
        &self.outline
    }

    /// For stores whose appends projections take part in: whether [`opening`](Self::opening)
    /// returns a reader.
    pub fn needs_opening(&self) -> bool {
        self.reading.mapper.is_protected()
    }

    /// For stores whose appends projections take part in: returns a reader of the log that opens
    /// its events as the projection's mapper does, and fetches the keys for it; none if the mapper
    /// opens nothing.
    ///
    /// A handler finds only keys that are in memory. Those of an append are, because the program
    /// has just encrypted its events; those of events that other programs recorded may be missing.
    pub fn opening(&self, log: &Arc<dyn Recorder>) -> Option<Arc<dyn Recorder>> {
        self.reading.mapper.opening(log)
    }

    /// For view stores: returns the tracker of the event that its handlers are processing.
    pub fn handling(&self) -> &Handling {
        &self.handling
    }

    /// For view stores: returns whether the projection selects the event. Pages from a pipeline
    /// contain only such events.
    pub fn takes(&self, stored: &StoredEvent) -> bool {
        self.handlers.contains_key(stored.topic())
            && self.outline.tags.iter().all(|tag| stored.has_tag(tag))
    }
}

impl<K: ViewKind> Projection<K> {
    /// Handles the events of type `E`, under its present and former topics. Two handlers for one
    /// type run in the order of their declaration. Events of types without a handler are neither
    /// read nor decoded.
    ///
    /// If a handler fails or panics, its changes are rolled back and [`on_poison`](Self::on_poison)
    /// applies to the event.
    pub fn on<E: Event>(
        self,
        handler: impl for<'a, 'b, 'c> Fn(&'a mut K::Target<'b>, &'c Logged<E>) -> Handled
        + Send
        + Sync
        + 'static,
    ) -> Self
    where
        K: SyncViewKind,
    {
        self.with::<E>(AtOnce::new(handler))
    }

    /// Handles the events of type `E`, under its present and former topics, with a handler that
    /// awaits the database: see [`HandleView`]. Two handlers for one type run in the order of their
    /// declaration. Events of types without a handler are neither read nor decoded.
    ///
    /// If a handler fails or panics, its changes are rolled back and [`on_poison`](Self::on_poison)
    /// applies to the event.
    pub fn on_async<E, F>(self, handler: F) -> Self
    where
        K: AsyncViewKind,
        E: Event,
        F: for<'a, 'e> HandleView<'a, 'e, K, E> + 'static,
        for<'a> K::Target<'a>: Sync,
    {
        self.with::<E>(Awaited::new(handler))
    }
}

impl<K: ViewKind<Handler = AtOnce<K>>> Projection<K> {
    /// For view stores: applies one event to the view.
    ///
    /// # Errors
    ///
    /// The reason why the event could not be decoded, the handler's error, or its panic. The target
    /// may be partly changed.
    pub fn handle(&self, target: &mut K::Target<'_>, stored: &StoredEvent) -> Result<(), BoxError> {
        let handlers = self.handlers_for(stored).iter();
        self.handling.at_once(&self.outline.upstream, stored, || {
            let mut handlers = handlers.map(|it| it.handle(&mut *target, stored, &self.reading));
            handlers.try_for_each(|handled| handled)
        })
    }
}

impl<K: ViewKind<Handler = Awaited<K>>> Projection<K> {
    /// For view stores: applies one event to the view.
    ///
    /// # Errors
    ///
    /// The reason why the event could not be decoded, the handler's error, or its panic. The target
    /// may be partly changed.
    pub async fn handle_async<'a>(
        &'a self,
        target: &'a K::Target<'a>,
        stored: &'a StoredEvent,
    ) -> Result<(), BoxError> {
        let handling = async {
            for handler in self.handlers_for(stored) {
                handler.handle(target, stored, &self.reading).await?;
            }
            Ok(())
        };
        let upstream = &self.outline.upstream;
        self.handling.awaited(upstream, stored, handling).await
    }
}

impl<K: ViewKind> fmt::Debug for Projection<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Projection").field(&self.outline).finish()
    }
}
