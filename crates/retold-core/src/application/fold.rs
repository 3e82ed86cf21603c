//! Folds: states over the events of some types and tags, anywhere in the log.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::error::{Error, Result};
use super::handle::{Application, ReadByTopics};
use super::limits::FOLD_PAGE_EVENTS;
use super::model::{Model, Reach, ReadTo};
use super::topic_watch::unknown_topic;
use crate::domain::{Apply, Event, EventType};
use crate::mapping::{Mapper, MappingError, RegistryError, TopicRegistry};
use crate::recording::limits::QUERY_NAMES_MAX;
use crate::recording::{
    BoxFuture, Checkpoint, Condition, Invalid, LogRead, PageEnd, Position, Query, QueryItem,
    StoredEvent,
};

/// A state folded over the events of some types with some tags, anywhere in the log. It is a
/// [`Model`], so you can decide on it or view it. See [`fold_of`].
pub struct Fold<S> {
    initial: S,
    tags: BTreeSet<Arc<str>>,
    kinds: Vec<FoldedType<S>>,
}

/// The events of one Rust type, and how the fold applies them.
struct FoldedType<S> {
    types: &'static [EventType],
    type_name: fn() -> &'static str,
    /// The only topics that are folded; all topics of the type if empty.
    only: Vec<&'static str>,
    register: fn(&TopicRegistry) -> Result<(), RegistryError>,
    /// Applies a stored event, as far as it is read as an event whose type is selected.
    take_in: TakeIn<S>,
}

type TakeIn<S> = fn(&Mapper, &StoredEvent, &mut S, &SelectsType<'_>) -> Result<()>;

/// Whether events of a type are applied.
type SelectsType<'a> = dyn Fn(&EventType) -> bool + 'a;

/// Returns the fold of the default `S` over all events of type `E`. Narrow it with
/// [`tag`](Fold::tag) and [`only`](Fold::only), extend it with [`and`](Fold::and).
///
/// A decision on it conflicts with every later event that the fold would apply, and with no other.
/// The fewer events it names, the fewer conflicts between decisions.
pub fn fold_of<S, E>() -> Fold<S>
where
    S: Apply<E> + Clone + Default + Send + Sync + 'static,
    E: Event,
{
    Fold {
        initial: S::default(),
        tags: BTreeSet::new(),
        kinds: vec![kind::<S, E>()],
    }
}

fn kind<S: Apply<E>, E: Event>() -> FoldedType<S> {
    FoldedType {
        types: E::TYPES,
        type_name: std::any::type_name::<E>,
        only: Vec::new(),
        register: TopicRegistry::register_event::<E>,
        take_in: |mapper, stored, state, is_selected| {
            let is_meant = |event: &&E| is_selected(event.event_type());
            let events = mapper.read::<E>(stored)?;
            let events = events.as_slice().iter().filter(is_meant);
            events.for_each(|event| state.apply(event));
            Ok(())
        },
    }
}

/// How far a fold was read, and what must not have changed since.
#[derive(Clone, Debug, Default)]
pub struct FoldPlace {
    /// The last event that was read or skipped.
    checkpoint: Option<Checkpoint>,
    /// After a read: the query including the topics that the program does not know, and how many
    /// topics the log had. This detects both an event of such a topic and a topic that is new to
    /// the log between the read and the append.
    watched: Option<(Query, u64)>,
    /// The state is that of the log with all amendments up to here. None before the first read, and
    /// while it is not known.
    amended_to: Option<Checkpoint>,
}

impl<S> Fold<S> {
    /// Starts with this state instead of the default.
    #[must_use]
    pub fn starting_with(mut self, state: S) -> Self {
        self.initial = state;
        self
    }

    /// Restricts the fold to events that have this tag, in addition to earlier tags.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// Adds the events of type `E` with the same tags.
    #[must_use]
    pub fn and<E: Event>(mut self) -> Self
    where
        S: Apply<E>,
    {
        self.kinds.push(kind::<S, E>());
        self
    }

    /// Restricts the event type that was added last to events with this topic; each further call
    /// adds another topic. Events recorded under a former name of the topic count too. An event
    /// type that is a struct does not need this, because it has only one topic.
    #[must_use]
    pub fn only(mut self, topic: &'static str) -> Self {
        if let Some(kind) = self.kinds.last_mut() {
            kind.only.push(topic);
        }
        self
    }

    /// Returns the query that selects the events of this fold, under the present and former topics
    /// of their types.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if a topic passed to [`only`](Self::only) does not belong to its type. The query
    /// itself is checked when it is read.
    pub fn query(&self) -> Result<Query, Invalid> {
        let mut topics: BTreeSet<&'static str> = BTreeSet::new();
        for kind in &self.kinds {
            topics.extend(kind.topics()?);
        }
        let topics: Vec<_> = topics.into_iter().collect();
        let room = QUERY_NAMES_MAX.saturating_sub(self.tags.len()).max(1);
        let items = topics.chunks(room).map(|topics| {
            let item = topics
                .iter()
                .fold(QueryItem::new(), |it, name| it.topic(*name));
            self.tags
                .iter()
                .fold(item, |it, tag| it.tag(Arc::clone(tag)))
        });
        Ok(Query::Items(items.collect()))
    }

    fn take_in(
        &self,
        application: &Application,
        stored: &StoredEvent,
        state: &mut S,
    ) -> Result<()> {
        let takes = |kind: &FoldedType<S>| kind.takes(stored.topic());
        if !self.kinds.iter().any(takes) {
            return Err(unknown_topic(application.registry(), stored).into());
        }
        let mut is_taken_as_itself = false;
        for (index, kind) in self
            .kinds
            .iter()
            .enumerate()
            .filter(|(_, kind)| takes(kind))
        {
            // A past event is read as events of every type that lists it. Any other is applied
            // once, even if several of the types join it.
            if !kind.has_past(stored.topic()) && std::mem::replace(&mut is_taken_as_itself, true) {
                continue;
            }
            let same = |it: &&FoldedType<S>| it.types == kind.types;
            let before: Vec<_> = self.kinds[..index].iter().filter(same).collect();
            let is_selected = |event_type: &EventType| {
                let selects = |it: &FoldedType<S>| is_selected(event_type, &it.only);
                selects(kind) && !before.iter().any(|it| selects(it))
            };
            (kind.take_in)(application.mapper(), stored, state, &is_selected)?;
        }
        Ok(())
    }
}

/// Returns whether the fold selects events of this type.
fn is_selected(event_type: &EventType, only: &[&'static str]) -> bool {
    only.is_empty() || only.iter().any(|topic| event_type.has_topic(topic))
}

impl<S> FoldedType<S> {
    /// Returns whether events with this topic are folded as this type, or may be read as events
    /// that are.
    fn takes(&self, topic: &str) -> bool {
        let is_meant = |it: &EventType| it.is_past || is_selected(it, &self.only);
        let mut types = self.types.iter();
        types.any(|it| it.has_topic(topic) && is_meant(it))
    }

    /// Returns whether the topic is that of a past event, which is read as others.
    fn has_past(&self, topic: &str) -> bool {
        let mut past = self.types.iter().filter(|it| it.is_past);
        past.any(|it| it.has_topic(topic))
    }

    fn topics(&self) -> Result<Vec<&'static str>, Invalid> {
        if self.only.is_empty() {
            return Ok(self.types.iter().flat_map(EventType::topics).collect());
        }
        let past = self.types.iter().filter(|it| it.is_past);
        let mut topics: Vec<_> = past.flat_map(EventType::topics).collect();
        for only in &self.only {
            match self.types.iter().find(|it| it.has_topic(only)) {
                Some(event_type) => topics.extend(event_type.topics()),
                None => {
                    return Err(Invalid::new(format!(
                        "a fold selects only {only:?}, but {} has no such topic",
                        (self.type_name)()
                    )));
                }
            }
        }
        Ok(topics)
    }
}

impl<S: Clone + Send + Sync + 'static> Model for Fold<S> {
    type State = S;
    type Place = FoldPlace;

    fn begin(&self) -> (S, FoldPlace) {
        (self.initial.clone(), FoldPlace::default())
    }

    fn read_on<'a>(
        &'a self,
        application: &'a Application,
        state: &'a mut S,
        place: &'a mut FoldPlace,
        reach: Reach,
    ) -> BoxFuture<'a, Result<ReadTo>> {
        Box::pin(async move {
            for kind in &self.kinds {
                (kind.register)(application.registry())?;
            }
            let query = self.query()?;
            // The last deletions of the streams of erased events.
            let mut deletions = HashMap::new();
            loop {
                let until = match reach {
                    Reach::Cached | Reach::Newest => None,
                    // A fold that has already read further stays there.
                    Reach::UpTo(until) => Some(
                        place
                            .checkpoint
                            .map_or(until, |checkpoint| checkpoint.position.max(until)),
                    ),
                };
                let read = LogRead::of(query.clone())
                    .after_checkpoint(place.checkpoint)
                    .until(until)
                    .limit(FOLD_PAGE_EVENTS);
                let ReadByTopics {
                    page,
                    query: watched,
                    has_amendments,
                } = application.read_by_topics(read).await?;
                let is_complete = page.end == PageEnd::Complete;
                if place.checkpoint.is_none() && place.amended_to.is_none() && has_amendments {
                    // A page shows one state of the log; several do not. So they are read after
                    // the amendments up to a head that is known.
                    place.amended_to = match is_complete {
                        true => page.read_to,
                        false => application.head().await?.checkpoint,
                    };
                    if !is_complete {
                        continue;
                    }
                }
                for stored in &page.events {
                    match self.take_in(application, stored, state) {
                        Err(Error::Mapping(MappingError::Erased { .. }))
                            if is_deleted(application, stored, &mut deletions).await? => {}
                        taken => taken?,
                    }
                    place.checkpoint = Some(stored.checkpoint());
                }
                if is_complete {
                    let is_amended = match place.amended_to {
                        Some(after) => {
                            has_amendments
                                && application.is_amended_between(after, page.read_to).await?
                        }
                        // The first amendments of the log were made while several pages were read.
                        None => has_amendments,
                    };
                    if is_amended {
                        // Among the amended events may be some that the state has seen.
                        (*state, *place) = self.begin();
                        place.amended_to = page.read_to;
                        continue;
                    }
                    place.checkpoint = page.read_to;
                    place.amended_to = page.read_to;
                    place.watched = Some((watched, page.topic_count));
                    return Ok(ReadTo::one(page.read_to));
                }
            }
        })
    }

    fn conditions(&self, place: &FoldPlace, conditions: &mut Vec<Condition>) {
        let after = place.checkpoint.map(|checkpoint| checkpoint.position);
        if let Some((query, topic_count)) = &place.watched {
            conditions.push(Condition::none_match_after(query.clone(), after));
            conditions.push(Condition::topic_count(*topic_count));
            return;
        }
        // If the query is invalid, the read has already failed.
        if let Ok(query) = self.query() {
            conditions.push(Condition::none_match_after(query, after));
        }
    }
}

/// Returns whether the stream of an event was deleted after it. `known` has the last deletions of
/// streams that were looked up before.
async fn is_deleted(
    application: &Application,
    stored: &StoredEvent,
    known: &mut HashMap<Arc<str>, Option<Position>>,
) -> Result<bool> {
    let Some(stream) = stored.stream() else {
        return Ok(false);
    };
    let deletion = match known.get(stream) {
        Some(deletion) => *deletion,
        None => {
            let deletion = application.last_deletion(stream).await?;
            known.insert(stream.into(), deletion);
            deletion
        }
    };
    Ok(deletion > Some(stored.position()))
}

impl<S: Clone> Clone for Fold<S> {
    fn clone(&self) -> Self {
        Self {
            initial: self.initial.clone(),
            tags: self.tags.clone(),
            kinds: self.kinds.clone(),
        }
    }
}

impl<S> Clone for FoldedType<S> {
    fn clone(&self) -> Self {
        Self {
            only: self.only.clone(),
            ..*self
        }
    }
}

impl<S> fmt::Debug for Fold<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fold")
            .field("query", &self.query())
            .finish_non_exhaustive()
    }
}
