//! A selection of a log's events and their form: the common part of reading and subscribing.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::Error;
use super::topic_watch::TopicWatch;
use crate::domain::{Decoded, EventType};
use crate::mapping::TopicRegistry;
use crate::recording::limits::{PAGE_EVENTS_MAX, QUERY_NAMES_MAX};
use crate::recording::{
    BoxFuture, Invalid, LogRead, Page, Query, QueryItem, RecordError, Recorder, StoredEvent,
};

/// Number of events in a page, by default: a reading or a subscription fetches one page at a time,
/// and holds at most one in memory.
pub const READ_PAGE_EVENTS_DEFAULT: usize = 500;

/// Converts a stored event into the caller's form: none to skip it, or several. Of an event that is
/// read as others, those are returned that the query selects.
pub(super) type Decode<T> =
    Arc<dyn Fn(&StoredEvent, &Query) -> Result<Decoded<T>, Error> + Send + Sync>;

/// What the typed readings of an application know about its log's topics, for each event type.
#[derive(Debug, Default)]
pub(super) struct TypedWatches(Mutex<HashMap<TypeId, SharedWatch>>);

type SharedWatch = Arc<Mutex<TopicWatch>>;

impl TypedWatches {
    fn of(&self, type_id: TypeId) -> SharedWatch {
        let mut watches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(watches.entry(type_id).or_default())
    }
}

/// Detects topics that the program does not know, for a typed selection.
#[derive(Clone)]
struct Watched {
    registry: Arc<TopicRegistry>,
    watch: SharedWatch,
}

impl Watched {
    async fn read(
        &self,
        recorder: &dyn Recorder,
        types: &'static [EventType],
        read: LogRead,
    ) -> Result<Page, RecordError> {
        let lock = || self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut watch = lock().clone();
        let is_asked = |topic: &str| types.iter().any(|it| it.has_topic(topic));
        let page = watch.read_asking(recorder, &self.registry, read, is_asked);
        let page = page.await;
        *lock() = watch;
        page
    }
}

/// A selection of a log's events, returned as `StoredEvent`s or decoded as events of a type.
///
/// Created by a `LogReader`, narrowed with these methods, and then [read](Self::read) or
/// [subscribed to](Self::subscribe).
#[must_use = "a selection does nothing until it is read or subscribed to"]
pub struct Selection<T> {
    recorder: Arc<dyn Recorder>,
    query: Query,
    types: Option<&'static [EventType]>,
    /// `None` if events of unknown topics are skipped.
    watched: Option<Watched>,
    decode: Decode<T>,
    page_size: usize,
}

impl<T> Selection<T> {
    pub(super) fn new(
        recorder: Arc<dyn Recorder>,
        types: Option<&'static [EventType]>,
        decode: Decode<T>,
    ) -> Self {
        Self {
            recorder,
            query: Query::All,
            types,
            watched: None,
            decode,
            page_size: READ_PAGE_EVENTS_DEFAULT,
        }
    }

    /// Makes the selection stop before events of topics that the program does not know.
    pub(super) fn watching(
        mut self,
        type_id: TypeId,
        registry: &Arc<TopicRegistry>,
        watches: &TypedWatches,
    ) -> Self {
        self.watched = Some(Watched {
            registry: Arc::clone(registry),
            watch: watches.of(type_id),
        });
        self
    }

    /// Skips events of topics that the program does not know instead of stopping before them. Has
    /// no effect on stored events.
    pub fn skips_unknown_events(mut self) -> Self {
        self.watched = None;
        self
    }

    /// Restricts the selection to events that match `query`. It replaces an earlier query and
    /// earlier tags.
    ///
    /// A selection of typed events reads only events of the type, regardless of the query: the
    /// type's topics, including former ones, are added to it. A past event is selected if an event
    /// that it is read as has a topic of the query. A query that names topics, but none of the
    /// type, is `Invalid` when it is read. A selection of stored events compares topics as they are
    /// stored.
    pub fn matching(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// Restricts the selection to events that also have this tag.
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        let tag = tag.into();
        self.query = match self.query {
            Query::All => Query::tag(tag),
            Query::Items(items) => {
                Query::Items(items.into_iter().map(|it| it.tag(tag.clone())).collect())
            }
        };
        self
    }

    /// Sets how many events are fetched, and held in memory, at once: [`READ_PAGE_EVENTS_DEFAULT`]
    /// by default, at most [`PAGE_EVENTS_MAX`]; 0 counts as 1.
    pub fn page_size(mut self, events: usize) -> Self {
        self.page_size = events.clamp(1, PAGE_EVENTS_MAX);
        self
    }

    pub(super) fn recorder(&self) -> &Arc<dyn Recorder> {
        &self.recorder
    }

    /// Reads a page. If the program declares its types, the page also has the events of unknown
    /// topics with the same streams and tags.
    pub(super) fn read_page(&self, read: LogRead) -> BoxFuture<'static, Result<Page, RecordError>> {
        let recorder = Arc::clone(&self.recorder);
        match (&self.watched, self.types) {
            (Some(watched), Some(types)) if watched.registry.is_declared() => {
                let watched = watched.clone();
                Box::pin(async move { watched.read(&*recorder, types, read).await })
            }
            _ => Box::pin(async move { recorder.read_log(read).await }),
        }
    }

    pub(super) fn page_events(&self) -> usize {
        self.page_size
    }

    pub(super) fn decode(&self, event: &StoredEvent) -> Result<Decoded<T>, Error> {
        (self.decode)(event, &self.query)
    }

    /// The query for the recorder: the selection's query, with the type's topics if it is typed.
    pub(super) fn query(&self) -> Result<Query, Invalid> {
        self.query.check()?;
        match self.types {
            Some(types) => narrowed(&self.query, types),
            None => Ok(self.query.clone()),
        }
    }
}

impl<T> Clone for Selection<T> {
    fn clone(&self) -> Self {
        Self {
            recorder: self.recorder.clone(),
            query: self.query.clone(),
            types: self.types,
            watched: self.watched.clone(),
            decode: self.decode.clone(),
            page_size: self.page_size,
        }
    }
}

impl<T> fmt::Debug for Selection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selection")
            .field("log", &self.recorder.log_name())
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

/// Returns `query`, restricted to these types. An item that names a topic, present or former,
/// includes the whole type. An item that names topics, but none of these types, matches nothing and
/// is omitted.
fn narrowed(query: &Query, types: &[EventType]) -> Result<Query, Invalid> {
    let everything = [QueryItem::new()];
    let items = match query {
        Query::All => &everything[..],
        Query::Items(items) => items,
    };
    let items: Vec<_> = items.iter().flat_map(|it| of_types(it, types)).collect();
    if items.is_empty() {
        let known: Vec<_> = types.iter().map(|it| it.topic).collect();
        return Err(Invalid::new(format!(
            "the query names topics, but none of the type that is read: {}",
            known.join(", ")
        )));
    }
    Ok(Query::Items(items))
}

/// Returns `item` with the topics of these types, split into as many items as the limit of names
/// requires. Past events may be read as events of any of the types.
fn of_types(item: &QueryItem, types: &[EventType]) -> Vec<QueryItem> {
    let is_named = |it: &EventType| names(item, it);
    let is_meant = |it: &&EventType| is_named(it) || it.is_past;
    if !types.iter().any(is_named) {
        return Vec::new();
    }
    let topics: Vec<_> = types
        .iter()
        .filter(is_meant)
        .flat_map(EventType::topics)
        .collect();
    let room = QUERY_NAMES_MAX.saturating_sub(item.streams.len() + item.tags.len());
    let with_topics = |topics: &[&'static str]| {
        let mut item = item.clone();
        item.topics = topics.iter().map(|it| Arc::from(*it)).collect();
        item
    };
    topics.chunks(room.max(1)).map(with_topics).collect()
}

/// Returns whether an item selects events of this type.
fn names(item: &QueryItem, event_type: &EventType) -> bool {
    item.topics.is_empty() || item.topics.iter().any(|topic| event_type.has_topic(topic))
}

/// Returns whether a query selects a past event, by its own type or by the type of an event that it
/// is read as.
pub(super) fn selects(query: &Query, stored: &StoredEvent, types: [&EventType; 2]) -> bool {
    let Query::Items(items) = query else {
        return true;
    };
    let is_selected =
        |item: &QueryItem| item.matches_but_topic(stored) && types.iter().any(|it| names(item, it));
    items.iter().any(is_selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: &[EventType] = &[
        EventType::of::<u8>("Dog.Registered").formerly(&["Hound.Registered"]),
        EventType::of::<u8>("Dog.TrickAdded"),
    ];

    fn topics(query: &Query) -> Vec<Vec<&str>> {
        let Query::Items(items) = query else {
            panic!("{query:?}");
        };
        items
            .iter()
            .map(|item| item.topics.iter().map(|it| &**it).collect())
            .collect()
    }

    #[test]
    fn a_type_brings_its_present_and_former_topics() {
        let all = narrowed(&Query::All, TYPES).unwrap();
        assert_eq!(
            topics(&all),
            [["Dog.Registered", "Dog.TrickAdded", "Hound.Registered"]]
        );
        let one = narrowed(&Query::topic("Dog.Registered"), TYPES).unwrap();
        assert_eq!(topics(&one), [["Dog.Registered", "Hound.Registered"]]);
        let former = narrowed(&Query::topic("Hound.Registered"), TYPES).unwrap();
        assert_eq!(topics(&former), [["Dog.Registered", "Hound.Registered"]]);
    }

    #[test]
    fn items_of_other_types_are_left_out() {
        let query = Query::topic("Cat.Seen").or(Query::tag("red"));
        let query = narrowed(&query, TYPES).unwrap();
        assert_eq!(topics(&query).len(), 1);
        assert!(query.check().is_ok());
        let error = narrowed(&Query::topic("Cat.Seen"), TYPES).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid: the query names topics, but none of the type that is read: Dog.Registered, \
             Dog.TrickAdded"
        );
    }

    #[test]
    fn many_topics_become_many_items() {
        let types: Vec<_> = (0..100)
            .map(|number| {
                let topic = format!("Topic.{number}");
                EventType::of::<u8>(Box::leak(topic.into_boxed_str()))
            })
            .collect();
        let query = narrowed(&Query::tag("a").or(Query::tag("b")), &types).unwrap();
        assert!(query.check().is_ok());
        assert_eq!(topics(&query).len(), 4);
        assert_eq!(topics(&query).concat().len(), 200);
    }
}
