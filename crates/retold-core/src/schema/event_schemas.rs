//! The description of a program's events: topics, revisions and shapes, and who follows whom.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{Aggregate, ContentSchemas, Event, EventType};
use crate::recording::limits::RESERVED_PREFIX;

/// The events of a program, by their topics, and the followers that process them.
///
/// A type is described if it implements `schemars::JsonSchema`, with the feature `schema`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventSchemas {
    pub(super) topics: BTreeMap<String, TopicSchemas>,
    /// The topics of each application.
    pub(super) applications: BTreeMap<String, BTreeSet<String>>,
    pub(super) followers: Vec<FollowerOutline>,
}

/// The shapes of the events of one topic.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TopicSchemas {
    /// The present revision; 0 if the topic is retired and never had a type.
    pub revision: u32,
    /// Topics under which the events were recorded before.
    pub former_topics: BTreeSet<String>,
    /// Whether its events are no longer recorded and are read as others.
    pub is_past: bool,
    /// Whether the topic was declared as retired.
    pub is_retired: bool,
    /// The shapes by revision; `None` for a Rust type that has no schema.
    pub shapes: BTreeMap<u32, Option<ContentSchemas>>,
}

/// A follower: which application it belongs to, whose events it processes, and which.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct FollowerOutline {
    /// Name of its application.
    pub application: String,
    /// Its name.
    pub name: String,
    /// The applications that it follows.
    pub upstreams: BTreeSet<String>,
    /// The topics for which it has policies.
    pub topics: BTreeSet<String>,
}

impl EventSchemas {
    /// Creates a description without events.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event type.
    #[must_use]
    pub fn event<E: Event>(mut self) -> Self {
        self.add_types(E::TYPES);
        self
    }

    /// Adds the events of an aggregate.
    #[must_use]
    pub fn aggregate<A: Aggregate>(self) -> Self {
        self.event::<A::Event>()
    }

    /// Adds a retired topic.
    #[must_use]
    pub fn retired(mut self, topic: &str) -> Self {
        self.add_retired(topic);
        self
    }

    /// Returns the shapes of all topics, by topic.
    pub fn topics(&self) -> &BTreeMap<String, TopicSchemas> {
        &self.topics
    }

    /// Returns the topics of each application.
    pub fn applications(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.applications
    }

    /// Returns the followers.
    pub fn followers(&self) -> &[FollowerOutline] {
        &self.followers
    }

    /// Returns the topic that has this name now, and its shapes: the topic itself, or the one that
    /// has it as a former topic.
    pub fn present(&self, topic: &str) -> Option<(&str, &TopicSchemas)> {
        let found = self.topics.get_key_value(topic).or_else(|| {
            let mut topics = self.topics.iter();
            topics.find(|(_, shapes)| shapes.former_topics.contains(topic))
        });
        found.map(|(name, shapes)| (name.as_str(), shapes))
    }

    pub(crate) fn add_types(&mut self, types: &[EventType]) {
        let own = |it: &&EventType| !it.topic.starts_with(RESERVED_PREFIX);
        for event_type in types.iter().filter(own) {
            // A past type may also be declared as itself; then that counts.
            let present = self.topics.get(event_type.topic);
            if present.is_some_and(|it| !it.is_past || event_type.is_past) {
                continue;
            }
            let shapes = TopicSchemas::of(event_type);
            self.topics.insert(event_type.topic.into(), shapes);
        }
    }

    pub(crate) fn add_retired(&mut self, topic: &str) {
        self.topics.entry(topic.into()).or_default().is_retired = true;
    }

    pub(crate) fn add_application(&mut self, name: &str, topics: impl Iterator<Item = String>) {
        self.applications
            .entry(name.into())
            .or_default()
            .extend(topics);
    }

    pub(crate) fn add_follower(&mut self, follower: FollowerOutline) {
        self.followers.push(follower);
        self.followers.sort();
    }
}

impl TopicSchemas {
    fn of(event_type: &EventType) -> Self {
        let older = event_type.shapes.iter();
        let shapes = older.map(|shape| (shape.revision, shape.schemas()));
        let present = (event_type.revision, event_type.content.schemas());
        Self {
            revision: event_type.revision,
            former_topics: event_type
                .former_topics
                .iter()
                .map(ToString::to_string)
                .collect(),
            is_past: event_type.is_past,
            is_retired: false,
            shapes: shapes.chain([present]).collect(),
        }
    }

    /// Returns the shape as which events of a revision are read, with its revision; `None` if they
    /// cannot be read.
    pub fn reader_of(&self, revision: u32) -> Option<(u32, Option<&ContentSchemas>)> {
        let found = match revision > self.revision {
            true => self.shapes.get_key_value(&revision),
            false => self.shapes.range(revision..=self.revision).next(),
        };
        found.map(|(revision, shape)| (*revision, shape.as_ref()))
    }
}

impl FollowerOutline {
    pub(crate) fn new(application: &str, name: &str) -> Self {
        Self {
            application: application.into(),
            name: name.into(),
            upstreams: BTreeSet::new(),
            topics: BTreeSet::new(),
        }
    }
}
