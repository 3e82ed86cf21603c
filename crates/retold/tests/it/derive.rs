//! What the derives generate for enums, structs and joins: topics, tags, keys, and payloads to the
//! byte.

use std::collections::BTreeMap;

use retold::domain::EventType;
use retold::mapping::{Codec, STREAM_TYPE_SIZE_MAX, TopicRegistry};
use retold::prelude::*;
use retold::recording::limits::{NAME_SIZE_MAX, RESERVED_PREFIX};

fn topics<E: Event>() -> Vec<&'static str> {
    E::TYPES.iter().map(|it| it.topic).collect()
}

fn tags<E: Event>(event: &E) -> Vec<String> {
    event.tags().iter().map(ToString::to_string).collect()
}

/// Checks topic and payload to the byte, and that the event reads back.
#[track_caller]
fn recorded<E: Event + PartialEq + std::fmt::Debug>(event: &E, topic: &str, payload: &str) {
    assert_eq!(event.event_type().topic, topic);
    let bytes = Codec::Json.encode(event).unwrap();
    assert_eq!(std::str::from_utf8(&bytes).unwrap(), payload);
    let index = E::index_of_topic(topic).unwrap();
    assert_eq!(&Codec::Json.decode::<E>(index, &bytes).unwrap(), event);
}

#[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
#[event(formerly("TripEvent"))]
#[event(tags = carrier_tags)]
enum FlightEvent {
    Scheduled {
        carrier: String,
        flight_number: u16,
    },
    #[event(formerly("FlightEvent.TookOff"), revision = 2)]
    #[event(tag = "aircraft:{tail}", tag = "from:{origin}/{tail}")]
    Departed {
        tail: Option<String>,
        origin: String,
        #[serde(default)]
        delay: i32,
    },
    #[event(topic = "landed", tag = "aircraft:{tail}", tag = "airport:{r#type}")]
    Arrived {
        tail: String,
        r#type: String,
    },
    #[event(tag = "{0}-{1}", tag = "all {{of}} them")]
    Diverted(String, Option<u8>),
    Cancelled,
}

fn carrier_tags(event: &FlightEvent) -> Option<String> {
    match event {
        FlightEvent::Scheduled { carrier, .. } => Some(format!("carrier:{carrier}")),
        _ => None,
    }
}

#[test]
fn an_enum_has_a_topic_for_each_variant() {
    assert_eq!(
        topics::<FlightEvent>(),
        [
            "FlightEvent.Scheduled",
            "FlightEvent.Departed",
            "landed",
            "FlightEvent.Diverted",
            "FlightEvent.Cancelled",
        ]
    );
    let departed = EventType::of::<FlightEvent>("FlightEvent.Departed")
        .formerly(&["FlightEvent.TookOff", "TripEvent.Departed"])
        .revision(2);
    assert_eq!(FlightEvent::TYPES[1], departed);
    assert!(FlightEvent::TYPES[2].former_topics.is_empty());
    assert_eq!(FlightEvent::index_of_topic("TripEvent.Cancelled"), Some(4));
    assert_eq!(FlightEvent::index_of_topic("TripEvent.Arrived"), None);
}

/// These bytes must not change: logs that are already written contain them.
#[test]
fn payloads_are_the_content_alone() {
    recorded(
        &FlightEvent::Scheduled {
            carrier: "UA".into(),
            flight_number: 1545,
        },
        "FlightEvent.Scheduled",
        r#"{"carrier":"UA","flightNumber":1545}"#,
    );
    recorded(
        &FlightEvent::Departed {
            tail: None,
            origin: "EWR".into(),
            delay: -3,
        },
        "FlightEvent.Departed",
        r#"{"tail":null,"origin":"EWR","delay":-3}"#,
    );
    recorded(
        &FlightEvent::Diverted("IAH".into(), Some(7)),
        "FlightEvent.Diverted",
        r#"["IAH",7]"#,
    );
    recorded(&FlightEvent::Cancelled, "FlightEvent.Cancelled", "{}");
    recorded(
        &TrickAdded {
            trick: "sit".into(),
        },
        "TrickAdded",
        r#"{"trick":"sit"}"#,
    );
    recorded(&Walked, "dog walked", "{}");
    recorded(&Renamed("Rex".into()), "Renamed", r#""Rex""#);
    recorded(
        &DogEvent::Renamed(Renamed("Rex".into())),
        "Renamed",
        r#""Rex""#,
    );
    recorded(&DogEvent::Walked(Walked), "dog walked", "{}");
    let rest = BTreeMap::from([("b".to_owned(), 1)]);
    recorded(&Measured { a: 0, rest }, "Measured", r#"{"a":0,"b":1}"#);
}

#[test]
fn tags_come_from_fields_and_functions() {
    let scheduled = FlightEvent::Scheduled {
        carrier: "UA".into(),
        flight_number: 1,
    };
    assert_eq!(tags(&scheduled), ["carrier:UA"]);
    let departed = |tail: Option<&str>| FlightEvent::Departed {
        tail: tail.map(Into::into),
        origin: "JFK".into(),
        delay: 0,
    };
    assert_eq!(tags(&departed(Some("N1"))), ["aircraft:N1", "from:JFK/N1"]);
    assert!(tags(&departed(None)).is_empty());
    let arrived = FlightEvent::Arrived {
        tail: "N1".into(),
        r#type: "IAH".into(),
    };
    assert_eq!(tags(&arrived), ["aircraft:N1", "airport:IAH"]);
    let diverted = |number| FlightEvent::Diverted("x".into(), number);
    assert_eq!(tags(&diverted(Some(2))), ["all {of} them", "x-2"]);
    assert_eq!(tags(&diverted(None)), ["all {of} them"]);
    assert!(tags(&FlightEvent::Cancelled).is_empty());
    assert_eq!(tags(&Renamed("Rex".into())), ["1", "2", "name:Rex"]);
}

#[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
struct TrickAdded {
    trick: String,
}

#[derive(Clone, Debug, PartialEq, Event)]
#[event(topic = "dog walked", formerly("Walked", "walked"), revision = 3)]
struct Walked;

#[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(tag = "name:{0}", tags = Renamed::numbers)]
struct Renamed(String);

impl Renamed {
    fn numbers(&self) -> [&'static str; 2] {
        ["1", "2"]
    }
}

#[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
struct Measured {
    a: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[derive(Clone, Debug, PartialEq, Event)]
#[event(join)]
enum DogEvent {
    TrickAdded(TrickAdded),
    Walked(Walked),
    Renamed(Renamed),
}

#[derive(Clone, Debug, PartialEq, Event)]
#[event(join)]
enum KennelEvent {
    Measured(Measured),
    Dog(DogEvent),
}

#[test]
fn a_join_has_the_types_and_tags_of_its_events() {
    let types = [TrickAdded::TYPES[0], Walked::TYPES[0], Renamed::TYPES[0]];
    assert_eq!(DogEvent::TYPES, types);
    assert_eq!(types[1].revision, 3);
    assert_eq!(DogEvent::index_of_topic("walked"), Some(1));
    assert_eq!(
        topics::<KennelEvent>(),
        ["Measured", "TrickAdded", "dog walked", "Renamed"]
    );
    let renamed = DogEvent::from(Renamed("Rex".into()));
    assert_eq!(renamed.type_index(), 2);
    assert_eq!(tags(&renamed), ["1", "2", "name:Rex"]);
    let kennel = KennelEvent::from(renamed);
    assert_eq!(kennel.type_index(), 3);
    recorded(&kennel, "Renamed", r#""Rex""#);
    assert!(Codec::Json.decode::<KennelEvent>(4, b"{}").is_err());

    let registry = TopicRegistry::new();
    registry.register_event::<KennelEvent>().unwrap();
    registry.register_event::<DogEvent>().unwrap();
    registry.register_event::<Walked>().unwrap();
    registry.register_aggregate::<Dog>().unwrap();
}

/// As applications take decisions: the closure's argument and return type are not annotated.
fn decide<A: Aggregate, D: Decision<A::Event>>(
    _: Id<A>,
    decide: impl Fn(&A) -> D,
) -> Result<Vec<A::Event>, D::Refusal> {
    let mut events = Vec::new();
    decide(&A::default()).decided(&mut events).map(|()| events)
}

#[derive(Debug, PartialEq)]
struct TooManyTricks;

#[derive(Aggregate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[aggregate(event = DogEvent, key = ChipNumber, snapshots(every = 100, revision = 2))]
struct Dog {
    tricks: Vec<String>,
}

impl Apply<DogEvent> for Dog {
    fn apply(&mut self, event: &DogEvent) {
        if let DogEvent::TrickAdded(event) = event {
            self.tricks.push(event.trick.clone());
        }
    }
}

impl Dog {
    fn add_trick(&self, trick: &str) -> Result<TrickAdded, TooManyTricks> {
        if self.tricks.len() > 2 || trick.is_empty() {
            return Err(TooManyTricks);
        }
        Ok(TrickAdded {
            trick: trick.into(),
        })
    }
}

#[test]
fn a_decision_may_return_joined_events() {
    let id = Id::<Dog>::from(ChipNumber(7));
    let sit = TrickAdded {
        trick: "sit".into(),
    };
    assert_eq!(
        decide(id, |dog| dog.add_trick("sit")),
        Ok(vec![sit.clone().into()])
    );
    assert_eq!(decide(id, |dog| dog.add_trick("")), Err(TooManyTricks));
    let Ok(events) = decide(id, |_| (Walked, Some(Renamed("Rex".into())), ()));
    assert_eq!(events, [Walked.into(), Renamed("Rex".into()).into()]);
    let Ok(events) = decide(id, |dog| vec![Walked; dog.tricks.len()]);
    assert!(events.is_empty());
    let addressed = sit.to(&id);
    assert_eq!(&**addressed.stream().unwrap(), "Dog/7");
    assert!(addressed.downcast_ref::<DogEvent>().is_some());
}

#[derive(Key, Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ChipNumber(u32);

#[derive(Key, Clone, Debug, PartialEq, Eq, Hash)]
struct Tail {
    number: String,
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = FlightEvent, type = "aircraft", key = Tail)]
struct Aircraft;

impl Apply<FlightEvent> for Aircraft {
    fn apply(&mut self, _: &FlightEvent) {}
}

/// An aggregate may be an enum of its states; its key is a uuid by default.
#[derive(Aggregate, Clone, Default)]
#[aggregate(event = FlightEvent, snapshots(revision = 1))]
#[derive(Serialize, Deserialize)]
enum Flight {
    #[default]
    Absent,
    Scheduled,
}

impl Apply<FlightEvent> for Flight {
    fn apply(&mut self, _: &FlightEvent) {
        *self = Self::Scheduled;
    }
}

#[test]
fn an_aggregate_has_the_given_type_key_and_snapshots() {
    assert_eq!(Dog::TYPE, "Dog");
    let rule = Dog::SNAPSHOTS.unwrap();
    assert_eq!((rule.every, rule.revision), (100, 2));
    let dog = Dog {
        tricks: vec!["sit".into()],
    };
    let state = (rule.encode)(&dog).unwrap();
    assert_eq!((rule.decode)(&state).unwrap(), dog);

    assert_eq!(Aircraft::TYPE, "aircraft");
    assert!(Aircraft::SNAPSHOTS.is_none());
    let tail = Tail {
        number: "N14228".into(),
    };
    let id = Id::<Aircraft>::from(tail);
    assert_eq!(id.stream(), "aircraft/N14228");
    assert_eq!(Id::of_stream("aircraft/N14228"), Some(id));

    let rule = Flight::SNAPSHOTS.unwrap();
    assert_eq!((rule.every, rule.revision), (0, 1));
    let id = Id::<Flight>::from(Uuid::from_u128(1));
    assert_eq!(id.stream(), "Flight/00000000-0000-0000-0000-000000000001");
    assert_eq!(Id::<Dog>::of_stream("Dog/007"), None);
}

/// A module in which Retold has another name.
mod elsewhere {
    pub(super) mod library {
        pub(crate) use retold::{domain, serde};
    }

    use super::elsewhere;

    #[derive(
        Debug,
        PartialEq,
        retold::prelude::Event,
        retold::serde::Serialize,
        retold::serde::Deserialize,
    )]
    #[serde(crate = "retold::serde")]
    #[event(crate = elsewhere::library, tag = "n:{0}", tag = "n")]
    pub(super) enum Counted {
        Up(u8),
        Down(u8),
    }

    #[derive(Debug, PartialEq, retold::prelude::Event)]
    #[event(join, crate = elsewhere::library)]
    pub(super) enum Joined {
        Counted(Counted),
    }

    #[derive(Clone, Debug, PartialEq, Eq, Hash, retold::prelude::Key)]
    #[key(crate = elsewhere::library)]
    pub(super) struct Counter(u16);

    #[derive(Clone, Default, retold::prelude::Aggregate)]
    #[aggregate(event = Joined, key = Counter, crate = elsewhere::library)]
    pub(super) struct Count;

    impl super::Apply<Joined> for Count {
        fn apply(&mut self, _: &Joined) {}
    }
}

#[test]
fn the_library_may_have_another_name() {
    let event = elsewhere::Joined::from(elsewhere::Counted::Down(3));
    recorded(&event, "Counted.Down", "3");
    assert_eq!(tags(&event), ["n", "n:3"]);
    let id = Id::<elsewhere::Count>::of_stream("Count/9").unwrap();
    assert_eq!(id.to_string(), "9");
}

/// The derives cannot depend on the core, so they repeat its limits.
#[test]
fn the_derives_know_the_limits_of_the_core() {
    assert_eq!(
        (NAME_SIZE_MAX, STREAM_TYPE_SIZE_MAX, RESERVED_PREFIX),
        (255, 200, "retold.")
    );
}

/// No name in a user's scope changes the meaning of derived code, and derived code causes no
/// warnings.
#[deny(warnings, clippy::pedantic)]
mod hygiene {
    use retold::{domain, serde};

    #[allow(dead_code, reason = "they exist to shadow names")]
    mod in_the_way {
        pub(super) struct Option;
        pub(super) struct Result;
        pub(super) struct Vec;
        pub(super) struct String;
        pub(super) struct Event;
    }

    #[allow(unused_imports, reason = "they exist to shadow names")]
    use in_the_way::{Event, Option, Result, String, Vec};

    macro_rules! format {
        () => {};
    }

    #[allow(unused_macros, reason = "it exists to shadow a name")]
    macro_rules! panic {
        () => {};
    }

    /// Something happened.
    #[derive(Debug, PartialEq, retold::prelude::Event, serde::Serialize, serde::Deserialize)]
    #[serde(crate = "retold::serde")]
    pub(super) enum Thing {
        /// With names that the derived code uses too.
        #[event(tag = "tags:{tags}/{serializer}")]
        #[allow(non_camel_case_types, reason = "they exist to shadow names")]
        event {
            tags: u8,
            serializer: std::option::Option<u8>,
        },
        #[deprecated]
        Old,
        New(u8),
    }

    /// Something else happened.
    #[derive(Debug, PartialEq, retold::prelude::Event)]
    #[event(topic = "hygiene.Else")]
    pub(super) struct Else;

    /// One of both.
    #[derive(Debug, PartialEq, retold::prelude::Event)]
    #[event(join)]
    pub(super) enum Joined {
        /// This.
        Thing(Thing),
        /// That.
        Else(Else),
    }

    /// A state.
    #[derive(Clone, Default, retold::prelude::Aggregate)]
    #[aggregate(event = Joined, type = "hygiene")]
    pub(super) struct State;

    impl domain::Apply<Joined> for State {
        fn apply(&mut self, _: &Joined) {}
    }

    #[test]
    fn derived_code_works_with_shadowed_names() {
        format!();
        let thing = Thing::event {
            tags: 1,
            serializer: Some(2),
        };
        super::recorded(&thing, "Thing.event", r#"{"tags":1,"serializer":2}"#);
        assert_eq!(super::tags(&thing), ["tags:1/2"]);
        assert_eq!(super::topics::<Joined>().len(), 4);
        super::recorded(&Thing::New(1), "Thing.New", "1");
        assert_eq!(<State as domain::Aggregate>::TYPE, "hygiene");
    }
}
