//! The description of a program's events: topics, revisions and shapes, and who follows whom.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::shape::bare;
use crate::domain::{Aggregate, ContentSchemas, Event, EventType};
use crate::recording::limits::RESERVED_PREFIX;

/// The events of a program, by their applications and topics, and the followers that process them.
///
/// Each application has a log of its own, so two of them may have different events of one topic. A
/// type is described if it implements `schemars::JsonSchema`, with the feature `schema`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventSchemas {
    pub(super) applications: BTreeMap<String, TopicsOfLog>,
    pub(super) followers: Vec<FollowerOutline>,
    /// Types with which followers read events of other types. A lock file does not have them.
    pub(super) readings: Vec<FollowerReading>,
}

/// The shapes of the events of an application, by their present topics.
pub type TopicsOfLog = BTreeMap<String, TopicSchemas>;

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
    /// The shapes of newer revisions, which the program reads and does not record.
    pub ahead: BTreeMap<u32, Option<ContentSchemas>>,
    /// What was written in a revision before its type changed compatibly, as JSON Schemas. Recorded
    /// events still have these shapes.
    pub earlier: BTreeMap<u32, Vec<Value>>,
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

/// A type with which a follower reads events that another type records.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FollowerReading {
    /// The follower, for people.
    pub(super) follower: String,
    /// The application whose events it reads.
    pub(super) application: String,
    pub(super) topic: String,
    pub(super) shapes: TopicSchemas,
}

impl EventSchemas {
    /// Creates a description without events.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event type of an application.
    #[must_use]
    pub fn event<E: Event>(mut self, application: &str) -> Self {
        self.add_types(application, E::TYPES);
        self
    }

    /// Adds the events of an aggregate of an application.
    #[must_use]
    pub fn aggregate<A: Aggregate>(self, application: &str) -> Self {
        self.event::<A::Event>(application)
    }

    /// Adds a retired topic of an application.
    #[must_use]
    pub fn retired(mut self, application: &str, topic: &str) -> Self {
        self.add_retired(application, topic);
        self
    }

    /// Returns the shapes of all events, by application and topic.
    pub fn applications(&self) -> &BTreeMap<String, TopicsOfLog> {
        &self.applications
    }

    /// Returns the shapes of the events of an application with this present topic.
    pub fn topic(&self, application: &str, topic: &str) -> Option<&TopicSchemas> {
        self.applications.get(application)?.get(topic)
    }

    /// Returns the followers.
    pub fn followers(&self) -> &[FollowerOutline] {
        &self.followers
    }

    /// Adds an application, if it is not there yet.
    pub(crate) fn add_application(&mut self, name: &str) {
        self.applications.entry(name.into()).or_default();
    }

    pub(crate) fn add_types(&mut self, application: &str, types: &[EventType]) {
        let topics = self.applications.entry(application.into()).or_default();
        for event_type in types.iter().filter(is_of_program) {
            // A past type may also be declared as itself; then that counts.
            let present = topics.get(event_type.topic);
            if present.is_some_and(|it| !it.is_past || event_type.is_past) {
                continue;
            }
            let shapes = TopicSchemas::of(event_type);
            topics.insert(event_type.topic.into(), shapes);
        }
    }

    pub(crate) fn add_retired(&mut self, application: &str, topic: &str) {
        let topics = self.applications.entry(application.into()).or_default();
        topics.entry(topic.into()).or_default().is_retired = true;
    }

    /// Adds a follower, after all applications, and the types with which it reads events. A type
    /// of an application that declares it is not added again; another type for the same topic is
    /// compared with it.
    pub(crate) fn add_follower<'t>(
        &mut self,
        follower: FollowerOutline,
        types: impl Iterator<Item = &'t EventType>,
    ) {
        for event_type in types.filter(is_of_program) {
            for application in self.applications_with(event_type, &follower.upstreams) {
                let topics = self.applications.entry(application.clone()).or_default();
                let shapes = TopicSchemas::of(event_type);
                let declared = event_type.topics().find_map(|topic| present(topics, topic));
                let Some((topic, declared)) = declared else {
                    topics.insert(event_type.topic.into(), shapes);
                    continue;
                };
                if declared.shapes == shapes.shapes && declared.ahead == shapes.ahead {
                    continue;
                }
                let reading = FollowerReading {
                    follower: format!("{}.{}", follower.application, follower.name),
                    topic: topic.to_owned(),
                    application,
                    shapes,
                };
                self.readings.push(reading);
            }
        }
        self.followers.push(follower);
        self.followers.sort();
    }

    /// Returns the applications among some that have events of a type: those that declare its
    /// topic; otherwise those that declare no topics, and otherwise all.
    fn applications_with(&self, event_type: &EventType, among: &BTreeSet<String>) -> Vec<String> {
        let has = |application: &&String| {
            let topics = self.applications.get(*application);
            let has = |topics: &TopicsOfLog| {
                let mut names = event_type.topics();
                names.any(|topic| present(topics, topic).is_some())
            };
            topics.is_some_and(has)
        };
        let declares_nothing = |application: &&String| {
            let topics = self.applications.get(*application);
            topics.is_none_or(BTreeMap::is_empty)
        };
        let chosen: Vec<_> = among.iter().filter(has).cloned().collect();
        if !chosen.is_empty() {
            return chosen;
        }
        let chosen: Vec<_> = among.iter().filter(declares_nothing).cloned().collect();
        match chosen.is_empty() {
            false => chosen,
            true => among.iter().cloned().collect(),
        }
    }
}

/// The types of the library are not described.
fn is_of_program(event_type: &&EventType) -> bool {
    !event_type.topic.starts_with(RESERVED_PREFIX)
}

/// Returns the topic that has this name now, and its shapes: the topic itself, or the one that has
/// it as a former topic.
pub(super) fn present<'s>(
    topics: &'s TopicsOfLog,
    topic: &str,
) -> Option<(&'s str, &'s TopicSchemas)> {
    let found = topics.get_key_value(topic).or_else(|| {
        let mut topics = topics.iter();
        topics.find(|(_, shapes)| shapes.former_topics.contains(topic))
    });
    found.map(|(name, shapes)| (name.as_str(), shapes))
}

impl TopicSchemas {
    fn of(event_type: &EventType) -> Self {
        let all = event_type.shapes.iter();
        let all = all.map(|shape| (shape.revision, shape.schemas()));
        let (ahead, mut shapes): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.partition(|(revision, _)| *revision > event_type.revision);
        shapes.insert(event_type.revision, event_type.content.schemas());
        Self {
            revision: event_type.revision,
            former_topics: event_type
                .former_topics
                .iter()
                .map(ToString::to_string)
                .collect(),
            is_past: event_type.is_past,
            is_retired: false,
            shapes,
            ahead,
            earlier: BTreeMap::new(),
        }
    }

    /// Returns the shape as which events of a revision are read, with its revision; `None` if they
    /// cannot be read.
    pub fn reader_of(&self, revision: u32) -> Option<(u32, Option<&ContentSchemas>)> {
        let found = match revision > self.revision {
            true => self.ahead.get_key_value(&revision),
            false => self.shapes.range(revision..=self.revision).next(),
        };
        found.map(|(revision, shape)| (*revision, shape.as_ref()))
    }

    /// Returns everything that was written in a revision.
    pub(super) fn written_in(&self, revision: u32) -> impl Iterator<Item = &Value> {
        let present = self.shapes.get(&revision).and_then(Option::as_ref);
        let earlier = self.earlier.get(&revision).into_iter().flatten();
        present.map(|it| &it.written).into_iter().chain(earlier)
    }

    /// Adds what was recorded in a revision. If that has another shape already, both are kept.
    pub(super) fn keep(&mut self, revision: u32, shape: Option<&ContentSchemas>) {
        let present = self.shapes.entry(revision).or_default();
        let Some(shape) = shape else {
            return;
        };
        match present {
            None if revision != self.revision => *present = Some(shape.clone()),
            Some(present) if bare(&present.written) == bare(&shape.written) => {}
            _ => self.keep_earlier(revision, &shape.written),
        }
    }

    /// Adds what was written in a revision before.
    pub(super) fn keep_earlier(&mut self, revision: u32, written: &Value) {
        let earlier = self.earlier.entry(revision).or_default();
        if !earlier.iter().any(|it| bare(it) == bare(written)) {
            earlier.push(written.clone());
        }
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
