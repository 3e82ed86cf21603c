//! The schemas of events: what is found for each kind of type, and which changes of a type are
//! safe.

use retold::domain::{PastEvent, SplitInto, Upcast, Upcasted};
use retold::prelude::*;
use retold::projection::BoxError;
use retold::schema::{EventSchemas, TopicSchemas};
use retold::schemars::{self, JsonSchema};
use retold::system::{Context, Follower};
use serde_json::{Value, json};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", rename_all_fields = "camelCase")]
#[event(past(Moved))]
enum DogEvent {
    Slept,
    #[event(revision = 2, from(1 = RegisteredV1), formerly("DogEvent.Born"))]
    Registered {
        full_name: String,
        #[serde(default)]
        leg_count: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        breed: Option<Breed>,
    },
    Fed(Meal),
    Barked,
    Weighed(u32, f64),
    Counted(u64),
}

#[derive(Serialize, Deserialize, JsonSchema)]
enum Breed {
    Pug,
    Mixed(Vec<Breed>),
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Meal {
    grams: u32,
}

#[derive(Deserialize, JsonSchema)]
struct RegisteredV1 {
    name: String,
}

impl Upcast<DogEvent> for RegisteredV1 {
    fn upcast(self, _: &PastEvent<'_>) -> Result<DogEvent, BoxError> {
        Ok(DogEvent::Registered {
            full_name: self.name,
            leg_count: 4,
            breed: None,
        })
    }
}

#[derive(Event, Serialize, Deserialize, JsonSchema)]
struct Moved {
    to: String,
}

impl SplitInto<DogEvent> for Moved {
    fn split(self, _: &PastEvent<'_>) -> Upcasted<DogEvent> {
        Ok(Vec::new().into())
    }
}

/// Has no schema.
#[derive(Event, Serialize, Deserialize)]
struct Undescribed {
    x: u8,
}

fn topic<'s>(schemas: &'s EventSchemas, topic: &str) -> &'s TopicSchemas {
    schemas.topic("dogs", topic).unwrap()
}

fn written(schemas: &EventSchemas, name: &str, revision: u32) -> Value {
    let shape = &topic(schemas, name).shapes[&revision];
    shape.as_ref().unwrap().written.clone()
}

#[test]
fn each_variant_has_the_schema_of_its_content() {
    let schemas = EventSchemas::new().event::<DogEvent>("dogs");
    let topics = schemas.applications()["dogs"].keys();
    let topics: Vec<_> = topics.map(String::as_str).collect();
    assert_eq!(
        topics,
        [
            "DogEvent.Barked",
            "DogEvent.Counted",
            "DogEvent.Fed",
            "DogEvent.Registered",
            "DogEvent.Slept",
            "DogEvent.Weighed",
            "Moved",
        ]
    );
    for topic in ["DogEvent.Slept", "DogEvent.Barked"] {
        assert_eq!(written(&schemas, topic, 1), json!({"type": "object"}));
    }
    let registered = written(&schemas, "DogEvent.Registered", 2);
    assert_eq!(registered["properties"]["fullName"]["type"], "string");
    assert_eq!(registered["required"], json!(["fullName", "legCount"]));
    assert!(registered["$defs"]["Breed"].is_object());
    let read = topic(&schemas, "DogEvent.Registered").shapes[&2].clone();
    let read = read.unwrap();
    assert_eq!(read.read["required"], json!(["fullName"]));
    assert!(written(&schemas, "DogEvent.Registered", 1)["properties"]["name"].is_object());
    assert_eq!(written(&schemas, "DogEvent.Fed", 1)["$ref"], "#/$defs/Meal");
    assert_eq!(written(&schemas, "DogEvent.Weighed", 1)["type"], "array");
    assert_eq!(written(&schemas, "DogEvent.Counted", 1)["type"], "integer");
    assert!(topic(&schemas, "Moved").is_past);
    // Recorded events are accepted by the type itself, and the file says the same.
    assert!(schemas.compare(&schemas).is_empty());
    let read = EventSchemas::from_lock(schemas.to_lock().as_bytes()).unwrap();
    assert!(read.compare(&schemas).is_empty());
}

#[test]
fn a_type_without_a_schema_is_reported() {
    let schemas = EventSchemas::new().event::<Undescribed>("dogs");
    assert_eq!(topic(&schemas, "Undescribed").shapes[&1], None);
    let found = EventSchemas::new().compare(&schemas);
    assert!(found.breaking[0].what.contains("JsonSchema"), "{found}");
    // A file may say that it is known.
    assert!(schemas.compare(&schemas).is_empty());
}

/// Declares the type `Placed` in a module of its own, as it is in one version of a program.
macro_rules! version {
    ($name:ident, $($shape:tt)*) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            #[derive(Event, Serialize, Deserialize, JsonSchema)]
            $($shape)*
        }
    };
}

#[derive(Deserialize, JsonSchema)]
struct OldPlaced {
    room: u32,
    by: String,
}

macro_rules! upcast {
    ($($version:ident: $by:ident),*) => {$(
        impl Upcast<$version::Placed> for OldPlaced {
            fn upcast(self, _: &PastEvent<'_>) -> Result<$version::Placed, BoxError> {
                let (room, $by) = (self.room, self.by);
                Ok($version::Placed { room, $by })
            }
        }
    )*};
}

#[derive(Serialize, Deserialize, JsonSchema)]
enum Kind {
    Day,
    Night,
}

version!(
    first,
    pub(super) struct Placed {
        room: u32,
        by: String,
    }
);
version!(
    documented,
    /** With text. */
    pub(super) struct Placed {
        /** The room. */
        room: u32,
        by: String,
    }
);
version!(
    with_default,
    pub(super) struct Placed {
        room: u32,
        by: String,
        #[serde(default)]
        guests: u32,
    }
);
version!(
    with_option,
    pub(super) struct Placed {
        room: u32,
        by: String,
        guests: Option<u32>,
    }
);
version!(
    with_field,
    pub(super) struct Placed {
        room: u32,
        by: String,
        guests: u32,
    }
);
version!(
    without_field,
    pub(super) struct Placed {
        room: u32,
    }
);
version!(
    without_field_raised,
    #[event(revision = 2)]
    pub(super) struct Placed {
        room: u32,
    }
);
version!(
    optional,
    pub(super) struct Placed {
        room: u32,
        by: Option<String>,
    }
);
version!(
    defaulted,
    pub(super) struct Placed {
        room: u32,
        #[serde(default)]
        by: String,
    }
);
version!(
    wider,
    pub(super) struct Placed {
        room: u64,
        by: String,
    }
);
version!(
    narrower,
    pub(super) struct Placed {
        room: u16,
        by: String,
    }
);
version!(
    wider_raised,
    #[event(revision = 2)]
    pub(super) struct Placed {
        room: u64,
        by: String,
    }
);
version!(
    renamed_field,
    pub(super) struct Placed {
        room: u32,
        user: String,
    }
);
version!(
    renamed_raised,
    #[event(revision = 2)]
    pub(super) struct Placed {
        room: u32,
        user: String,
    }
);
version!(
    converted,
    #[event(revision = 2, from(1 = OldPlaced))]
    pub(super) struct Placed {
        pub(super) room: u32,
        pub(super) user: String,
    }
);
version!(
    renamed,
    #[event(topic = "Booked", formerly("Placed"))]
    pub(super) struct Placed {
        room: u32,
        by: String,
    }
);
version!(
    forgotten,
    #[event(topic = "Booked")]
    pub(super) struct Placed {
        room: u32,
        by: String,
    }
);
version!(
    kinds,
    pub(super) struct Placed {
        kind: Kind,
    }
);
version!(
    more_kinds,
    #[allow(dead_code)]
    pub(super) struct Placed {
        kind: MoreKinds,
    }
);
version!(
    more_kinds_raised,
    #[event(revision = 2)]
    pub(super) struct Placed {
        kind: MoreKinds,
    }
);
upcast!(converted: user);

#[derive(Serialize, Deserialize, JsonSchema)]
enum MoreKinds {
    Day,
    Night,
    Week,
}

/// The table of the guide: which changes are safe.
#[test]
fn changes_of_a_type_are_safe_or_not() {
    fn of<E: Event>() -> EventSchemas {
        EventSchemas::new().event::<E>("dogs")
    }
    let first = of::<first::Placed>();
    let rows: [(&str, &EventSchemas, EventSchemas, Option<bool>); 20] = [
        ("nothing", &first, of::<first::Placed>(), None),
        ("documentation", &first, of::<documented::Placed>(), None),
        (
            "a field with a default",
            &first,
            of::<with_default::Placed>(),
            Some(true),
        ),
        (
            "an optional field",
            &first,
            of::<with_option::Placed>(),
            Some(true),
        ),
        ("a field", &first, of::<with_field::Placed>(), Some(false)),
        (
            "no field",
            &first,
            of::<without_field::Placed>(),
            Some(false),
        ),
        (
            "no field, raised",
            &first,
            of::<without_field_raised::Placed>(),
            Some(true),
        ),
        (
            "no field that was optional",
            &of::<with_option::Placed>(),
            first.clone(),
            Some(true),
        ),
        (
            "a field that may be null",
            &first,
            of::<optional::Placed>(),
            Some(false),
        ),
        (
            "a default for a field",
            &first,
            of::<defaulted::Placed>(),
            Some(true),
        ),
        ("a wider type", &first, of::<wider::Placed>(), Some(false)),
        (
            "a wider type, raised",
            &first,
            of::<wider_raised::Placed>(),
            Some(true),
        ),
        (
            "a narrower type",
            &first,
            of::<narrower::Placed>(),
            Some(false),
        ),
        (
            "another name of a field",
            &first,
            of::<renamed_field::Placed>(),
            Some(false),
        ),
        (
            "another name, raised",
            &first,
            of::<renamed_raised::Placed>(),
            Some(false),
        ),
        (
            "another name, converted",
            &first,
            of::<converted::Placed>(),
            Some(true),
        ),
        ("another topic", &first, of::<renamed::Placed>(), Some(true)),
        (
            "another topic, not listed",
            &first,
            of::<forgotten::Placed>(),
            Some(false),
        ),
        (
            "a variant",
            &of::<kinds::Placed>(),
            of::<more_kinds::Placed>(),
            Some(false),
        ),
        (
            "a variant, raised",
            &of::<kinds::Placed>(),
            of::<more_kinds_raised::Placed>(),
            Some(true),
        ),
    ];
    for (change, old, new, is_safe) in rows {
        let found = old.compare(&new);
        let judged = (!found.is_empty()).then_some(found.breaking.is_empty());
        assert_eq!(judged, is_safe, "{change}: {found}");
        if is_safe == Some(true) {
            let updated = old.updated(&new);
            assert!(
                updated.compare(&new).is_empty(),
                "{change}: {}",
                updated.compare(&new)
            );
        }
    }
}

#[test]
fn a_retired_topic_stays_in_the_file_and_a_going_back_is_noticed() {
    let first = EventSchemas::new().event::<first::Placed>("dogs");
    let retired = EventSchemas::new().retired("dogs", "Placed");
    let found = first.compare(&retired);
    assert!(
        found.breaking.is_empty() && !found.safe.is_empty(),
        "{found}"
    );
    let kept = first.updated(&retired);
    assert!(topic(&kept, "Placed").is_retired);
    assert!(kept.compare(&retired).is_empty());
    // A topic that the program has forgotten is not forgotten by the file.
    assert_eq!(first.updated(&EventSchemas::new()), first);
    // The topic is used again with another shape: its old events would be read.
    let other = EventSchemas::new().event::<kinds::Placed>("dogs");
    assert!(!kept.compare(&other).breaking.is_empty());

    let raised = EventSchemas::new().event::<converted::Placed>("dogs");
    let kept = first.updated(&raised);
    assert_eq!(topic(&kept, "Placed").shapes.len(), 2);
    let found = kept.compare(&first);
    assert!(
        found.breaking[0].what.contains("reads only up to 1"),
        "{found}"
    );
}

mod former {
    use super::*;

    #[derive(Event, Serialize, Deserialize, JsonSchema)]
    #[event(topic = "Booked", formerly("Placed"))]
    pub(super) struct Booked {
        room: u32,
        by: String,
    }
}

mod forgetful {
    use super::*;

    #[derive(Event, Serialize, Deserialize, JsonSchema)]
    pub(super) struct Booked {
        room: u32,
        by: String,
    }
}

/// Events are still recorded under a former topic after the file was updated.
#[test]
fn a_former_topic_that_is_left_out_is_noticed() {
    let first = EventSchemas::new().event::<first::Placed>("dogs");
    let renamed = EventSchemas::new().event::<former::Booked>("dogs");
    let kept = first.updated(&renamed);
    assert!(kept.compare(&renamed).is_empty());
    let found = kept.compare(&EventSchemas::new().event::<forgetful::Booked>("dogs"));
    assert!(
        found.breaking[0].what.contains("formerly(\"Placed\")"),
        "{found}"
    );
}

mod before {
    use super::*;

    #[derive(Event, Serialize, Deserialize, JsonSchema)]
    #[event(ahead(2 = OldPlaced))]
    pub(super) struct Placed {
        room: u32,
    }

    impl Upcast<Placed> for OldPlaced {
        fn upcast(self, _: &PastEvent<'_>) -> Result<Placed, BoxError> {
            Ok(Placed { room: self.room })
        }
    }

    #[derive(Event, Serialize, Deserialize, JsonSchema)]
    #[event(topic = "Placed")]
    pub(super) struct Alone {
        room: u32,
    }

    #[derive(Event, Serialize, Deserialize, JsonSchema)]
    #[event(topic = "Placed", revision = 2)]
    pub(super) struct AsDeclared {
        room: u32,
        by: String,
    }

    #[derive(Event, Serialize, Deserialize, JsonSchema)]
    #[event(topic = "Placed", revision = 2, from(1 = Alone))]
    pub(super) struct Otherwise {
        room: u32,
        user: String,
    }

    impl Upcast<Otherwise> for Alone {
        fn upcast(self, _: &PastEvent<'_>) -> Result<Otherwise, BoxError> {
            let user = String::new();
            Ok(Otherwise {
                room: self.room,
                user,
            })
        }
    }

    #[derive(Event, Serialize, Deserialize, JsonSchema)]
    #[event(topic = "Placed", revision = 2, from(1 = Alone))]
    pub(super) struct Kept {
        room: u32,
        by: String,
    }

    impl Upcast<Kept> for Alone {
        fn upcast(self, _: &PastEvent<'_>) -> Result<Kept, BoxError> {
            let by = String::new();
            Ok(Kept {
                room: self.room,
                by,
            })
        }
    }
}

/// Programs that read a newer revision ahead still run when it becomes the present one.
#[test]
fn a_revision_has_the_shape_with_which_it_was_declared_ahead() {
    fn of<E: Event>() -> EventSchemas {
        EventSchemas::new().event::<E>("dogs")
    }
    let alone = of::<before::Alone>();
    let declared = of::<before::Placed>();
    assert_eq!(topic(&declared, "Placed").ahead.len(), 1);
    let found = alone.compare(&declared);
    assert!(
        found.breaking.is_empty() && !found.safe.is_empty(),
        "{found}"
    );
    let recorded = alone.updated(&declared);
    assert!(recorded.compare(&declared).is_empty());
    let read = EventSchemas::from_lock(recorded.to_lock().as_bytes()).unwrap();
    assert_eq!(read, recorded);

    let found = recorded.compare(&of::<before::Kept>());
    assert!(found.breaking.is_empty(), "{found}");
    let found = recorded.compare(&of::<before::Otherwise>());
    assert!(
        found.breaking[0].what.contains("declared with `ahead`"),
        "{found}"
    );
    assert_eq!(
        found.breaking[0].details[0],
        "`by`: the field is needed, but may be missing"
    );
    // It was never recorded, so it may be given up.
    assert!(recorded.compare(&alone).breaking.is_empty());

    // After a rollback, the newer revision is recorded, and is not forgotten.
    let newer = recorded.updated(&of::<before::Kept>());
    let found = newer.compare(&declared);
    assert!(found.breaking.is_empty(), "{found}");
    let back = newer.updated(&declared);
    assert!(back.compare(&declared).is_empty());
    let found = back.compare(&alone);
    assert!(
        found.breaking[0].what.contains("reads only up to 1"),
        "{found}"
    );
    assert!(back.compare(&of::<before::Kept>()).breaking.is_empty());
    // The type of the first revision is missing.
    assert!(
        !back
            .compare(&of::<before::AsDeclared>())
            .breaking
            .is_empty()
    );
}

/// Each application has a log, and events of its own under a topic.
#[test]
fn the_same_topic_in_two_applications_is_not_overwritten() {
    let both = |swapped: bool| {
        let names = if swapped { ["b", "a"] } else { ["a", "b"] };
        EventSchemas::new()
            .event::<first::Placed>(names[0])
            .event::<kinds::Placed>(names[1])
    };
    let schemas = both(false);
    assert_ne!(schemas.topic("a", "Placed"), schemas.topic("b", "Placed"));
    let read = EventSchemas::from_lock(schemas.to_lock().as_bytes()).unwrap();
    assert!(read.compare(&schemas).is_empty());
    let found = read.compare(&both(true));
    let concerned: Vec<_> = found.breaking.iter().map(|it| &*it.application).collect();
    assert_eq!(concerned, ["a", "b"], "{found}");
    // An event that another application records now is still in the log of the first.
    let moved = EventSchemas::new()
        .event::<first::Placed>("b")
        .event::<Moved>("a");
    let found = EventSchemas::new()
        .event::<first::Placed>("a")
        .event::<Moved>("a")
        .compare(&moved);
    assert!(
        found.breaking[0].what.contains("retired(\"Placed\")"),
        "{found}"
    );
    let gone = schemas.compare(&EventSchemas::new().event::<first::Placed>("a"));
    assert!(
        gone.breaking[0].what.contains("no such application"),
        "{gone}"
    );
    assert_eq!(gone.breaking.len(), 1);
}

/// Two topics that one type has now may have had different shapes in one revision.
#[test]
fn shapes_of_former_topics_are_kept_beside_each_other() {
    let text = r#"{"retold_events": 1, "applications": {"dogs": {
        "Booked": {"revision": 1, "shapes": {"1": {"schema": {"type": "string"}}}},
        "Placed": {"revision": 1, "shapes": {"1": {"schema": {"type": "integer"}}}},
        "Stored": {"revision": 2, "shapes": {
            "1": {"schema": {"type": "boolean"}}, "2": {"schema": {"type": "string"}}}}
    }}}"#;
    let recorded = EventSchemas::from_lock(text.as_bytes()).unwrap();
    let alone = r#"{"retold_events": 1, "applications": {"dogs": {"Booked": {
        "revision": 1, "formerly": ["Placed", "Stored"],
        "shapes": {"1": {"schema": {"type": "string"}}}
    }}}}"#;
    let alone = EventSchemas::from_lock(alone.as_bytes()).unwrap();
    let kept = recorded.updated(&alone);
    let booked = topic(&kept, "Booked");
    assert_eq!(booked.earlier[&1].len(), 2);
    assert_eq!(booked.shapes.keys().collect::<Vec<_>>(), [&1, &2]);
    assert!(!kept.compare(&alone).breaking.is_empty());
}

async fn on_placed(_: &with_default::Placed, _: &mut Context) -> retold::Result<()> {
    Ok(())
}

async fn on_other(_: &kinds::Placed, _: &mut Context) -> retold::Result<()> {
    Ok(())
}

/// A follower may read the events of another application with a type of its own.
#[test]
fn a_follower_with_a_type_of_its_own_does_not_replace_the_recorded_one() {
    // Followers that stand before and after the application that they follow.
    let system = |follower: fn() -> Follower| {
        System::new("inn")
            .application("before", move |app| app.follower(follower()))
            .application("desk", |app| app.event::<first::Placed>())
            .application("later", move |app| app.follower(follower()))
            .build()
            .unwrap()
            .schema()
    };
    let expected = EventSchemas::new().event::<first::Placed>("desk");
    let alike = system(|| Follower::new("read").follows("desk").on(on_placed));
    assert_eq!(
        alike.topic("desk", "Placed"),
        expected.topic("desk", "Placed")
    );
    assert!(
        alike.compare(&alike).is_empty(),
        "{}",
        alike.compare(&alike)
    );
    let other = system(|| Follower::new("read").follows("desk").on(on_other));
    assert_eq!(
        other.topic("desk", "Placed"),
        expected.topic("desk", "Placed")
    );
    let found = other.compare(&other);
    assert_eq!(found.breaking.len(), 2, "{found}");
    assert!(
        found.breaking[0].what.contains("\"before.read\""),
        "{found}"
    );
    assert!(
        found.breaking[0].details[0].contains("`kind`: the field is needed"),
        "{found}"
    );
}

async fn on_dog(_: &Moved, _: &mut Context) -> retold::Result<()> {
    Ok(())
}

#[tokio::test]
async fn a_system_says_who_follows_whom() {
    let system = System::new("kennel")
        .application("door", |app| {
            app.event::<DogEvent>().retired("DogEvent.Sneezed")
        })
        .application("post", |app| {
            app.follower(Follower::new("cards").follows("door").on(on_dog))
        })
        .build()
        .unwrap();
    let schemas = system.schema();
    assert!(
        schemas
            .topic("door", "DogEvent.Sneezed")
            .unwrap()
            .is_retired
    );
    assert!(schemas.topic("door", "DogEvent.Fed").is_some());
    let follower = &schemas.followers()[0];
    assert_eq!((&*follower.application, &*follower.name), ("post", "cards"));
    assert!(follower.topics.contains("Moved") && follower.upstreams.contains("door"));
    let document = schemas.to_asyncapi("kennel", "1");
    let received = &document["operations"]["post.cards.door"]["messages"];
    assert_eq!(
        received,
        &json!([{"$ref": "#/channels/door/messages/Moved"}])
    );

    let school = Application::builder("school")
        .store(std::sync::Arc::new(retold::recording::MemoryStore::new()))
        .event::<DogEvent>();
    let school = school.open().await.unwrap();
    assert_eq!(school.schema().applications()["school"].len(), 7);
}
