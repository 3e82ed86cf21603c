//! The topic registry: maps topics to Rust types, and stream types to aggregates.

use std::any::{TypeId, type_name};
use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use crate::domain::{Aggregate, Event, EventType};
use crate::recording::Invalid;
use crate::recording::limits::{RESERVED_PREFIX, check_name};

/// Maximum size of the name of a stream type, in bytes: it leaves 54 bytes of a stream's name for
/// the key after the `/`, more than the text of a uuid needs.
pub const STREAM_TYPE_SIZE_MAX: usize = 200;

/// Maps topics to the Rust types that own them, and stream types to the aggregates that own them.
///
/// Each application has one. Types are registered when it starts or when they are first used, from
/// any thread; registering a type again has no effect. If two types share a name, registration
/// fails before an event is recorded that would later be read as the wrong type.
#[derive(Debug, Default)]
pub struct TopicRegistry {
    names: RwLock<Names>,
}

#[derive(Debug, Default)]
struct Names {
    /// Types that were registered without error.
    registered: HashSet<TypeId>,
    topics: HashMap<&'static str, Owner>,
    /// Retired topics: events may have them, but no type does.
    retired: HashSet<&'static str>,
    /// Topics of other readers of the same log, which process them with their own types.
    of_others: HashSet<&'static str>,
    /// Whether types or retired topics were declared before the first use.
    is_declared: bool,
    stream_types: HashMap<&'static str, Owner>,
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    type_id: TypeId,
    type_name: &'static str,
    /// The present topic of the event type, or the stream type.
    present: &'static str,
}

impl Owner {
    fn of(event_type: &EventType) -> Self {
        Self {
            type_id: event_type.owner(),
            type_name: event_type.owner_name(),
            present: event_type.topic,
        }
    }
}

impl TopicRegistry {
    /// Creates a registry without types.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares an event type: registers it, and states that the program declares the types of the
    /// log. See [`is_declared`](Self::is_declared).
    ///
    /// # Errors
    ///
    /// As for [`register_event`](Self::register_event).
    pub fn declare_event<E: Event>(&self) -> Result<(), RegistryError> {
        self.declare();
        self.register_event::<E>()
    }

    /// Declares an aggregate and its events.
    ///
    /// # Errors
    ///
    /// As for [`register_aggregate`](Self::register_aggregate).
    pub fn declare_aggregate<A: Aggregate>(&self) -> Result<(), RegistryError> {
        self.declare();
        self.register_aggregate::<A>()
    }

    /// Declares a retired topic: events of the log may have it, and the program skips them.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] for an invalid name, or a topic that a registered type has.
    pub fn retire(&self, topic: &'static str) -> Result<(), RegistryError> {
        let owner = "a retired topic";
        check_name("topic", topic).map_err(|error| RegistryError::Name { owner, error })?;
        if topic.starts_with(RESERVED_PREFIX) {
            return Err(RegistryError::Reserved { name: topic, owner });
        }
        self.declare();
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = names.topics.get(topic) {
            let owner = owner.type_name;
            return Err(RegistryError::Retired { topic, owner });
        }
        names.retired.insert(topic);
        Ok(())
    }

    /// Declares a topic of another program that records in the same log: readers skip its events.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] for an invalid name.
    pub fn declare_of_others(&self, topic: &'static str) -> Result<(), RegistryError> {
        let owner = "a topic of another program";
        check_name("topic", topic).map_err(|error| RegistryError::Name { owner, error })?;
        self.declare();
        self.note_of_others(&[topic]);
        Ok(())
    }

    fn declare(&self) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.is_declared = true;
    }

    /// Returns whether the program declared any types or topics. If so, it must declare all topics
    /// of the log; otherwise a type is known from its first use on.
    pub fn is_declared(&self) -> bool {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.is_declared
    }

    /// Adds topics of other readers of the same log, which process them with their own types.
    pub(crate) fn note_of_others(&self, topics: &[&'static str]) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.of_others.extend(topics);
    }

    /// Returns whether the topic is known: a registered type has it, it is retired, other parts of
    /// the same system process it, or it belongs to the library.
    pub fn knows(&self, topic: &str) -> bool {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        topic.starts_with(RESERVED_PREFIX)
            || names.topics.contains_key(topic)
            || names.retired.contains(topic)
            || names.of_others.contains(topic)
    }

    /// Returns whether the topic was declared as retired.
    pub fn is_retired(&self, topic: &str) -> bool {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.retired.contains(topic)
    }

    /// Returns the topics that were declared as retired, sorted.
    pub(crate) fn retired_topics(&self) -> Vec<&'static str> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let mut topics: Vec<_> = names.retired.iter().copied().collect();
        topics.sort_unstable();
        topics
    }

    /// Returns whether the type of this topic has another topic, present or former, for which this
    /// holds.
    pub(crate) fn has_other_name(&self, topic: &str, holds: impl Fn(&str) -> bool) -> bool {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let Some(owner) = names.topics.get(topic) else {
            return false;
        };
        let is_same =
            |other: &Owner| other.type_id == owner.type_id && other.present == owner.present;
        let mut topics = names.topics.iter();
        topics.any(|(other, of)| *other != topic && is_same(of) && holds(other))
    }

    /// Returns the number of known names, which only grows.
    pub(crate) fn name_count(&self) -> usize {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.topics.len() + names.retired.len() + names.of_others.len()
    }

    /// Registers an event type with its present and former topics.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; nothing is then registered.
    pub fn register_event<E: Event>(&self) -> Result<(), RegistryError> {
        let key = TypeId::of::<E>();
        if self.is_registered(key) {
            return Ok(());
        }
        E::TYPES.iter().try_for_each(check_event_type)?;
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.claim_topics(E::TYPES)?;
        names.registered.insert(key);
        Ok(())
    }

    /// Registers an aggregate with its stream type, and its events.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; the aggregate is then not registered.
    pub fn register_aggregate<A: Aggregate>(&self) -> Result<(), RegistryError> {
        let owner = Owner {
            type_id: TypeId::of::<A>(),
            type_name: type_name::<A>(),
            present: A::TYPE,
        };
        if self.is_registered(owner.type_id) {
            return Ok(());
        }
        check_stream_type(A::TYPE, owner.type_name)?;
        self.register_event::<A::Event>()?;
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let first = *names.stream_types.entry(A::TYPE).or_insert(owner);
        if first.type_id != owner.type_id {
            return Err(RegistryError::StreamTypeTwice {
                stream_type: A::TYPE,
                first: first.type_name,
                second: owner.type_name,
            });
        }
        names.registered.insert(owner.type_id);
        Ok(())
    }

    /// Returns all registered topics, present and former, sorted.
    pub fn topics(&self) -> Vec<&'static str> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let mut topics: Vec<_> = names.topics.keys().copied().collect();
        topics.sort_unstable();
        topics
    }

    /// Returns the present topic of the event type that has this present or former topic; none if
    /// no registered type has it.
    pub fn present_topic(&self, topic: &str) -> Option<&'static str> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.topics.get(topic).map(|owner| owner.present)
    }

    fn is_registered(&self, key: TypeId) -> bool {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.registered.contains(&key)
    }
}

impl Names {
    /// Registers all topics of the types, or none.
    fn claim_topics(&mut self, types: &'static [EventType]) -> Result<(), RegistryError> {
        let mut claimed = HashMap::new();
        for event_type in types {
            let owner = Owner::of(event_type);
            for topic in event_type.topics() {
                if self.retired.contains(topic) {
                    let owner = owner.type_name;
                    return Err(RegistryError::Retired { topic, owner });
                }
                let others = self
                    .topics
                    .get(topic)
                    .filter(|first| first.type_id != owner.type_id);
                if let Some(first) = others.copied().or(claimed.insert(topic, owner)) {
                    return Err(RegistryError::TopicTwice {
                        topic,
                        first: first.type_name,
                        second: owner.type_name,
                    });
                }
            }
        }
        self.topics.extend(claimed);
        Ok(())
    }
}

fn check_event_type(event_type: &EventType) -> Result<(), RegistryError> {
    let owner = event_type.owner_name();
    let invalid = |error| RegistryError::Name { owner, error };
    for topic in event_type.topics() {
        check_name("topic", topic).map_err(invalid)?;
        if topic.starts_with(RESERVED_PREFIX) && !event_type.is_of_the_library() {
            return Err(RegistryError::Reserved { name: topic, owner });
        }
    }
    if event_type.revision == 0 {
        return Err(invalid(Invalid::new(format!(
            "{} has revision 0; revisions start at 1",
            event_type.topic
        ))));
    }
    Ok(())
}

fn check_stream_type(name: &'static str, owner: &'static str) -> Result<(), RegistryError> {
    let invalid = |error| RegistryError::Name { owner, error };
    check_name("stream type", name).map_err(invalid)?;
    if name.len() > STREAM_TYPE_SIZE_MAX {
        return Err(invalid(Invalid::new(format!(
            "the stream type {name:?} is {} bytes long; at most {STREAM_TYPE_SIZE_MAX} are \
             allowed, so that keys have room in the stream's name",
            name.len()
        ))));
    }
    if name.contains('/') {
        return Err(invalid(Invalid::new(format!(
            "the stream type {name:?} has a `/`, which ends the type in a stream's name"
        ))));
    }
    if name.starts_with(RESERVED_PREFIX) {
        return Err(RegistryError::Reserved { name, owner });
    }
    Ok(())
}

/// Two types share a name, or a name is retired, reserved or invalid. This is a mistake in the
/// program, found when the type is registered; nothing was recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two event types share a topic, present or former.
    #[error(
        "both {first} and {second} have the topic {topic:?}; give one of them another with \
         `#[event(topic = \"…\")]`"
    )]
    TopicTwice {
        /// The topic.
        topic: &'static str,
        /// The type that owns it.
        first: &'static str,
        /// The type that also has it; the same type if two of its variants have the topic.
        second: &'static str,
    },
    /// Two aggregates share a stream type.
    #[error(
        "both {first} and {second} have the stream type {stream_type:?}; give one of them another \
         with `#[aggregate(type = \"…\")]`"
    )]
    StreamTypeTwice {
        /// The type.
        stream_type: &'static str,
        /// The aggregate that owns it.
        first: &'static str,
        /// The aggregate that also has it.
        second: &'static str,
    },
    /// A type has a topic that was declared as retired.
    #[error(
        "the topic {topic:?} is declared as retired, and {owner} has it; remove \
         `retired({topic:?})`, or the topic from the type"
    )]
    Retired {
        /// The topic.
        topic: &'static str,
        /// The type that has it.
        owner: &'static str,
    },
    /// A name that belongs to the library.
    #[error("{owner} is named {name:?}, but names that begin with `retold.` belong to the library")]
    Reserved {
        /// The name.
        name: &'static str,
        /// The owner of the name.
        owner: &'static str,
    },
    /// A name that no recorder accepts.
    #[error("{owner} cannot be recorded: {error}")]
    Name {
        /// The owner of the name.
        owner: &'static str,
        /// The reason.
        #[source]
        error: Invalid,
    },
}

#[cfg(test)]
mod tests {
    use serde::{Deserializer, Serializer};

    use super::*;
    use crate::domain::Apply;
    use crate::domain::content;

    macro_rules! event {
        ($name:ident: $($type:expr),*) => {
            #[derive(Clone)]
            struct $name;

            impl Event for $name {
                const TYPES: &'static [EventType] = &[$($type),*];

                fn type_index(&self) -> usize {
                    0
                }

                fn serialize_payload<S: Serializer>(
                    &self,
                    serializer: S,
                ) -> Result<S::Ok, S::Error> {
                    content::serialize_nothing(serializer)
                }

                fn deserialize_payload<'de, D: Deserializer<'de>>(
                    _: usize,
                    deserializer: D,
                ) -> Result<Self, D::Error> {
                    content::deserialize_nothing(deserializer).map(|()| Self)
                }
            }
        };
    }

    event!(Barked: EventType::of::<Barked>("Barked").formerly(&["Yapped"]));
    event!(Yapped: EventType::of::<Yapped>("Yapped"));
    event!(Slept: EventType::of::<Slept>("Slept"));
    event!(BarkedOrSlept: Barked::TYPES[0], Slept::TYPES[0]);
    event!(Twice: EventType::of::<Twice>("Twice.A"), EventType::of::<Twice>("Twice.A"));
    event!(Reserved: EventType::of::<Reserved>("A").formerly(&["retold.started"]));
    event!(Unnamed: EventType::of::<Unnamed>(""));
    event!(Unrevised: EventType::of::<Unrevised>("Unrevised").revision(0));

    macro_rules! aggregate {
        ($name:ident: $event:ty, $type:expr) => {
            #[derive(Clone, Default)]
            struct $name;

            impl Apply<$event> for $name {
                fn apply(&mut self, _: &$event) {}
            }

            impl Aggregate for $name {
                type Event = $event;
                type Key = String;
                const TYPE: &'static str = $type;
            }
        };
    }

    aggregate!(Dog: BarkedOrSlept, "Dog");
    aggregate!(Hound: BarkedOrSlept, "Dog");
    aggregate!(Slash: Slept, "Dog/Hound");
    aggregate!(Library: Slept, "retold.follower");
    aggregate!(Long: Slept, {
        const LONG: &[u8] = &[b'a'; STREAM_TYPE_SIZE_MAX + 1];
        match std::str::from_utf8(LONG) {
            Ok(text) => text,
            Err(_) => "",
        }
    });

    #[track_caller]
    fn refused(result: Result<(), RegistryError>, parts: &[&str]) {
        let message = result.unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    }

    #[test]
    fn a_type_may_register_repeatedly_and_in_joins() {
        let registry = TopicRegistry::new();
        for _ in 0..2 {
            registry.register_event::<Barked>().unwrap();
            registry.register_event::<BarkedOrSlept>().unwrap();
            registry.register_event::<Slept>().unwrap();
            registry.register_aggregate::<Dog>().unwrap();
        }
        assert_eq!(registry.topics(), ["Barked", "Slept", "Yapped"]);
    }

    #[test]
    fn two_types_with_one_topic_are_both_named() {
        let registry = TopicRegistry::new();
        registry.register_event::<Barked>().unwrap();
        refused(
            registry.register_event::<Yapped>(),
            &["tests::Barked", "tests::Yapped", "\"Yapped\""],
        );
        refused(
            registry.register_event::<Twice>(),
            &["tests::Twice", "\"Twice.A\""],
        );
        assert_eq!(registry.topics(), ["Barked", "Yapped"]);
    }

    #[test]
    fn two_aggregates_with_one_stream_type_are_both_named() {
        let registry = TopicRegistry::new();
        registry.register_aggregate::<Dog>().unwrap();
        refused(
            registry.register_aggregate::<Hound>(),
            &["tests::Dog", "tests::Hound", "\"Dog\""],
        );
        registry.register_aggregate::<Dog>().unwrap();
    }

    #[test]
    fn invalid_names_are_refused() {
        let registry = TopicRegistry::new();
        refused(
            registry.register_event::<Reserved>(),
            &[
                "tests::Reserved",
                "\"retold.started\"",
                "belong to the library",
            ],
        );
        refused(registry.register_event::<Unnamed>(), &["topic is empty"]);
        refused(registry.register_event::<Unrevised>(), &["revision 0"]);
        refused(registry.register_aggregate::<Slash>(), &["has a `/`"]);
        refused(
            registry.register_aggregate::<Library>(),
            &["belong to the library"],
        );
        refused(registry.register_aggregate::<Long>(), &["201 bytes"]);
        assert!(registry.topics().is_empty());
    }
}
