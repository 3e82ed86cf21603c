//! The schemas of events: what is found for each kind of type, and which changes of a type are
//! safe.

use retold::domain::{PastEvent, SplitInto, Upcast, Upcasted};
use retold::prelude::*;
use retold::projection::BoxError;
use retold::schema::EventSchemas;
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

fn written(schemas: &EventSchemas, topic: &str, revision: u32) -> Value {
    let shape = &schemas.topics()[topic].shapes[&revision];
    shape.as_ref().unwrap().written.clone()
}

#[test]
fn each_variant_has_the_schema_of_its_content() {
    let schemas = EventSchemas::new().event::<DogEvent>();
    let topics: Vec<_> = schemas.topics().keys().map(String::as_str).collect();
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
    let read = schemas.topics()["DogEvent.Registered"].shapes[&2]
        .clone()
        .unwrap();
    assert_eq!(read.read["required"], json!(["fullName"]));
    assert!(written(&schemas, "DogEvent.Registered", 1)["properties"]["name"].is_object());
    assert_eq!(written(&schemas, "DogEvent.Fed", 1)["$ref"], "#/$defs/Meal");
    assert_eq!(written(&schemas, "DogEvent.Weighed", 1)["type"], "array");
    assert_eq!(written(&schemas, "DogEvent.Counted", 1)["type"], "integer");
    assert!(schemas.topics()["Moved"].is_past);
    // Recorded events are accepted by the type itself, and the file says the same.
    assert!(schemas.compare(&schemas).is_empty());
    let read = EventSchemas::from_lock(schemas.to_lock().as_bytes()).unwrap();
    assert!(read.compare(&schemas).is_empty());
}

#[test]
fn a_type_without_a_schema_is_reported() {
    let schemas = EventSchemas::new().event::<Undescribed>();
    assert_eq!(schemas.topics()["Undescribed"].shapes[&1], None);
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
        EventSchemas::new().event::<E>()
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
    let first = EventSchemas::new().event::<first::Placed>();
    let retired = EventSchemas::new().retired("Placed");
    let found = first.compare(&retired);
    assert!(
        found.breaking.is_empty() && !found.safe.is_empty(),
        "{found}"
    );
    let kept = first.updated(&retired);
    assert!(kept.topics()["Placed"].is_retired);
    assert!(kept.compare(&retired).is_empty());
    // A topic that the program has forgotten is not forgotten by the file.
    assert_eq!(first.updated(&EventSchemas::new()), first);
    // The topic is used again with another shape: its old events would be read.
    let other = EventSchemas::new().event::<kinds::Placed>();
    assert!(!kept.compare(&other).breaking.is_empty());

    let raised = EventSchemas::new().event::<converted::Placed>();
    let kept = first.updated(&raised);
    assert_eq!(kept.topics()["Placed"].shapes.len(), 2);
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
    let first = EventSchemas::new().event::<first::Placed>();
    let renamed = EventSchemas::new().event::<former::Booked>();
    let kept = first.updated(&renamed);
    assert!(kept.compare(&renamed).is_empty());
    let found = kept.compare(&EventSchemas::new().event::<forgetful::Booked>());
    assert!(
        found.breaking[0].what.contains("formerly(\"Placed\")"),
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
    assert!(schemas.topics()["DogEvent.Sneezed"].is_retired);
    assert!(schemas.applications()["door"].contains("DogEvent.Fed"));
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
    assert_eq!(school.schema().topics().len(), 7);
}
