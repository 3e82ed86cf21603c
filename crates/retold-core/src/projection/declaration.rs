//! The declaration of a projection: which events it takes, and what each does to the view.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::error::BoxError;
use super::handler::{AtOnce, Awaited, HandleView, ViewKind};
use super::handling::Handling;
use super::outline::{OnPoison, ProjectionOutline, StartFrom};
use crate::application::Logged;
use crate::domain::Event;
use crate::mapping::Mapper;
use crate::recording::StoredEvent;

/// A projection: which events of one upstream log it takes, and what each does to a view of the kind
/// `K`. Give it to a keeper of that kind, which keeps the view.
///
/// Handlers are functions of the view and one event: plain synchronous ones where the view is in the
/// process or its file, asynchronous ones where it is in a database on a server. What they write must
/// depend on nothing else, or a view that is built anew is another one; and they wait for nothing else,
/// for the view, and in a store's own place its appends too, wait for them.
///
/// ```
/// # use retold_core::projection::MemoryView;
/// # use retold_core::projection::{OnPoison, Projection};
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
#[must_use = "a projection does nothing until a keeper has it"]
pub struct Projection<K: ViewKind> {
    outline: ProjectionOutline,
    handlers: HashMap<&'static str, Vec<Arc<K::Handler>>>,
    mapper: Mapper,
    erased: Erased,
    handling: Handling,
}

/// What is done with events whose payload was erased.
#[derive(Clone, Copy)]
enum Erased {
    /// They cannot be decoded, like others that cannot.
    Poison,
    PassedOver,
}

impl<K: ViewKind> Projection<K> {
    /// A projection of this name and version over the log `upstream`, without handlers yet.
    ///
    /// Raise the version, which counts from 1, when the view is to be built anew: for another table,
    /// or other handlers. The name stays.
    pub fn new(name: impl Into<Arc<str>>, version: u32, upstream: impl Into<Arc<str>>) -> Self {
        Self {
            outline: ProjectionOutline::new(name.into(), version, upstream.into()),
            handlers: HashMap::new(),
            mapper: Mapper::default(),
            erased: Erased::Poison,
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

    /// The handlers for an event; none if it is passed over.
    fn handlers_for(&self, stored: &StoredEvent) -> &[Arc<K::Handler>] {
        match (self.erased, stored.payload()) {
            (Erased::PassedOver, None) => &[],
            _ => self.handlers.get(stored.topic()).map_or(&[], Vec::as_slice),
        }
    }

    /// Takes only events that have this tag too.
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.outline.tags.insert(tag.into());
        self
    }

    /// What is done with an event that cannot be taken: by default the projection stops there.
    pub fn on_poison(mut self, choice: OnPoison) -> Self {
        self.outline.on_poison = choice;
        self
    }

    /// Takes events whose payload was erased as if they were not there: for views that can do without
    /// what was forgotten on purpose. By default they are poison.
    pub fn pass_over_erased(mut self) -> Self {
        self.erased = Erased::PassedOver;
        self
    }

    /// Begins with what is recorded after the first step, if there is no checkpoint yet; by default it
    /// begins with the first event.
    pub fn from_now(mut self) -> Self {
        self.outline.start_from = StartFrom::Now;
        self
    }

    /// Decodes events by this mapper; by default one that reads what any codec wrote.
    pub fn mapper(mut self, mapper: Mapper) -> Self {
        self.mapper = mapper;
        self
    }

    /// Name, version, upstream, query and choices.
    pub fn outline(&self) -> &ProjectionOutline {
        &self.outline
    }

    /// For keepers: which event its handlers are at.
    pub fn handling(&self) -> &Handling {
        &self.handling
    }

    /// For keepers: whether the projection takes the event. Pages that a pipeline brings have no
    /// others.
    pub fn takes(&self, stored: &StoredEvent) -> bool {
        self.handlers.contains_key(stored.topic())
            && self.outline.tags.iter().all(|tag| stored.has_tag(tag))
    }
}

impl<K: ViewKind<Handler = AtOnce<K>>> Projection<K> {
    /// Takes the events of type `E`, under its present and former topics. Of two handlers for one type
    /// the first declared acts first. Events of types without a handler are neither read nor decoded.
    ///
    /// A handler that fails, or panics, leaves the event to what [`on_poison`](Self::on_poison) says; its
    /// changes are rolled back.
    pub fn on<E: Event>(
        self,
        handler: impl for<'a, 'b, 'c> Fn(&'a mut K::Target<'b>, &'c Logged<E>) -> Result<(), BoxError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.with::<E>(AtOnce::new(handler))
    }

    /// For keepers: takes one event into the view.
    ///
    /// # Errors
    ///
    /// Why the event could not be decoded, what its handler failed with, or that it panicked. The
    /// target may be changed in part.
    pub fn handle(&self, target: &mut K::Target<'_>, stored: &StoredEvent) -> Result<(), BoxError> {
        let handlers = self.handlers_for(stored).iter();
        self.handling.at_once(&self.outline.upstream, stored, || {
            let mut handlers = handlers.map(|it| it.handle(&mut *target, stored, self.mapper));
            handlers.try_for_each(|handled| handled)
        })
    }
}

impl<K: ViewKind<Handler = Awaited<K>>> Projection<K> {
    /// Takes the events of type `E`, under its present and former topics, by a handler that waits for
    /// the database: see [`HandleView`]. Of two handlers for one type the first declared acts first.
    /// Events of types without a handler are neither read nor decoded.
    ///
    /// A handler that fails, or panics, leaves the event to what [`on_poison`](Self::on_poison) says;
    /// its changes are rolled back.
    pub fn on_async<E, F>(self, handler: F) -> Self
    where
        E: Event,
        F: for<'a, 'e> HandleView<'a, 'e, K, E> + 'static,
        for<'a> K::Target<'a>: Sync,
    {
        self.with::<E>(Awaited::new(handler))
    }

    /// For keepers: takes one event into the view.
    ///
    /// # Errors
    ///
    /// Why the event could not be decoded, what its handler failed with, or that it panicked. The
    /// target may be changed in part.
    pub async fn handle_async<'a>(
        &'a self,
        target: &'a K::Target<'a>,
        stored: &'a StoredEvent,
    ) -> Result<(), BoxError> {
        let handling = async {
            for handler in self.handlers_for(stored) {
                handler.handle(target, stored, self.mapper).await?;
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
