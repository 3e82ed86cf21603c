//! Queries: select events by stream, topic and tag.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fault::Invalid;
use super::limits::{QUERY_ITEMS_MAX, QUERY_NAMES_MAX, check_name};
use super::stored_event::StoredEvent;

/// Selects events of a log: all of them, or those that match at least one item.
///
/// ```
/// use retold_core::recording::{Query, QueryItem};
///
/// let in_air = Query::item(
///     QueryItem::new().topic("Flight.Departed").topic("Flight.Arrived").tag("aircraft:N14228"),
/// );
/// let carriers = Query::tag("carrier:UA").or(Query::tag("carrier:DL"));
/// ```
///
/// A query without items is `Invalid`, so that a program that builds its items in a loop over an
/// empty list does not lock or read the whole log by mistake. To select all events, use
/// `Query::All`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Query {
    /// Every event.
    All,
    /// The events that match at least one of these items.
    Items(Vec<QueryItem>),
}

/// One alternative of a query. Streams are combined with OR, topics with OR, tags with AND, and the
/// three with AND. An empty set does not restrict the selection; an item names at least one stream,
/// topic or tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct QueryItem {
    /// An event matches if it is of one of these streams; if empty, any event matches, including
    /// one without a stream.
    pub streams: BTreeSet<Arc<str>>,
    /// An event matches if it has one of these topics; if empty, any topic matches.
    pub topics: BTreeSet<Arc<str>>,
    /// An event matches if it has all of these tags.
    pub tags: BTreeSet<Arc<str>>,
}

impl QueryItem {
    /// Creates an item without streams, topics and tags.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a stream as an alternative.
    #[must_use]
    pub fn stream(mut self, stream: impl Into<Arc<str>>) -> Self {
        self.streams.insert(stream.into());
        self
    }

    /// Adds a topic as an alternative.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<Arc<str>>) -> Self {
        self.topics.insert(topic.into());
        self
    }

    /// Adds a tag that is also required.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// Returns whether the item selects this event.
    pub fn matches(&self, event: &StoredEvent) -> bool {
        let topic = self.topics.is_empty() || self.topics.contains(event.topic());
        topic && self.matches_but_topic(event)
    }

    /// Returns whether the item selects this event, if it has a topic that the item selects.
    pub(crate) fn matches_but_topic(&self, event: &StoredEvent) -> bool {
        let stream = self.streams.is_empty()
            || event
                .stream()
                .is_some_and(|stream| self.streams.contains(stream));
        stream && self.tags.iter().all(|tag| event.has_tag(tag))
    }

    fn check(&self) -> Result<(), Invalid> {
        let count = self.streams.len() + self.topics.len() + self.tags.len();
        if count == 0 {
            return Err(Invalid::new(
                "an item of a query names no stream, topic or tag; use Query::All for every event"
                    .into(),
            ));
        }
        if count > QUERY_NAMES_MAX {
            return Err(Invalid::new(format!(
                "an item of a query has {count} names; at most {QUERY_NAMES_MAX} are allowed"
            )));
        }
        self.streams
            .iter()
            .try_for_each(|name| check_name("stream name", name))?;
        self.topics
            .iter()
            .try_for_each(|name| check_name("topic", name))?;
        self.tags
            .iter()
            .try_for_each(|name| check_name("tag", name))
    }
}

impl Query {
    /// Selects the events of one stream.
    pub fn stream(stream: impl Into<Arc<str>>) -> Self {
        Self::item(QueryItem::new().stream(stream))
    }

    /// Selects the events with this topic.
    pub fn topic(topic: impl Into<Arc<str>>) -> Self {
        Self::item(QueryItem::new().topic(topic))
    }

    /// Selects the events with this tag.
    pub fn tag(tag: impl Into<Arc<str>>) -> Self {
        Self::item(QueryItem::new().tag(tag))
    }

    /// Selects the events that match one item.
    pub fn item(item: QueryItem) -> Self {
        Self::Items(vec![item])
    }

    /// Selects the events that match this query or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Items(mut items), Self::Items(others)) => {
                items.extend(others);
                Self::Items(items)
            }
            (Self::All, _) | (_, Self::All) => Self::All,
        }
    }

    /// Returns whether the query selects this event.
    pub fn matches(&self, event: &StoredEvent) -> bool {
        match self {
            Self::All => true,
            Self::Items(items) => items.iter().any(|item| item.matches(event)),
        }
    }

    /// Checks the query against the limits.
    ///
    /// # Errors
    ///
    /// [`Invalid`] with the reason.
    pub fn check(&self) -> Result<(), Invalid> {
        let Self::Items(items) = self else {
            return Ok(());
        };
        if items.is_empty() {
            return Err(Invalid::new(
                "a query has no items; use Query::All for every event".into(),
            ));
        }
        if items.len() > QUERY_ITEMS_MAX {
            return Err(Invalid::new(format!(
                "a query has {} items; at most {QUERY_ITEMS_MAX} are allowed",
                items.len()
            )));
        }
        items.iter().try_for_each(QueryItem::check)
    }
}
