//! Older shapes of events, events that became several, and erased ones: what every reader sees.

use std::sync::Arc;

use retold::application::{Error, Signal, fold_of};
use retold::domain::{Decoded, EventType, PastEvent, SplitInto, Upcast, Upcasted};
use retold::mapping::{Mapper, MappingError};
use retold::prelude::*;
use retold::projection::{BoxError, MemoryView, Projection};
use retold::recording::{Append, EventId, MemoryStore, NewEvent, Store};
use retold::system::Outbox;
use retold::testing::read_recorded;

/// Revision 1: name and breed in one text.
#[derive(Deserialize)]
struct RegisteredV1 {
    label: String,
}

/// Revisions 2 and 3: the breed was added in revision 3, with a default.
#[derive(Deserialize)]
struct RegisteredV3 {
    name: String,
    #[serde(default)]
    breed: String,
}

/// A shape that only a newer program records.
#[derive(Deserialize)]
struct RegisteredV5 {
    names: Vec<String>,
}

/// An event that became two.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(topic = "DogEvent.Moved", formerly("DogEvent.Carried"), revision = 2, from(1 = MovedV1))]
struct Moved {
    from: String,
    to: String,
}

#[derive(Deserialize)]
struct MovedV1 {
    path: String,
}

#[derive(Event, Serialize, Deserialize, Debug, PartialEq, Clone)]
#[event(past(Moved))]
enum DogEvent {
    #[event(revision = 4, from(1 = RegisteredV1, 3 = RegisteredV3), ahead(5 = RegisteredV5))]
    #[event(erased = unknown_dog)]
    Registered {
        name: String,
        breed: Option<String>,
        by: Option<String>,
    },
    Left {
        place: String,
    },
    Arrived {
        place: String,
    },
    #[event(erased = skip)]
    Barked {
        sound: String,
    },
}

impl Upcast<RegisteredV3> for RegisteredV1 {
    fn upcast(self, _: &PastEvent<'_>) -> Result<RegisteredV3, BoxError> {
        let (name, breed) = self.label.split_once(',').ok_or("no comma in the label")?;
        Ok(RegisteredV3 {
            name: name.into(),
            breed: breed.trim().into(),
        })
    }
}

impl Upcast<DogEvent> for RegisteredV3 {
    fn upcast(self, past: &PastEvent<'_>) -> Result<DogEvent, BoxError> {
        let user = past.metadata("user");
        let by = user.and_then(|it| it.as_str().map(str::to_owned));
        Ok(DogEvent::Registered {
            name: self.name,
            breed: (!self.breed.is_empty()).then_some(self.breed),
            by: by.or_else(|| past.tag_after("by:").map(str::to_owned)),
        })
    }
}

impl Upcast<DogEvent> for RegisteredV5 {
    fn upcast(self, _: &PastEvent<'_>) -> Result<DogEvent, BoxError> {
        Ok(DogEvent::Registered {
            name: self.names.join(" "),
            breed: None,
            by: None,
        })
    }
}

impl Upcast<Moved> for MovedV1 {
    fn upcast(self, _: &PastEvent<'_>) -> Result<Moved, BoxError> {
        let (from, to) = self.path.split_once('>').ok_or("no path")?;
        Ok(Moved {
            from: from.into(),
            to: to.into(),
        })
    }
}

impl SplitInto<DogEvent> for Moved {
    fn split(self, _: &PastEvent<'_>) -> Upcasted<DogEvent> {
        if self.from == self.to {
            return Ok(Decoded::Nothing);
        }
        let left = DogEvent::Left { place: self.from };
        let arrived = DogEvent::Arrived { place: self.to };
        Ok([left, arrived].into())
    }
}

fn unknown_dog(past: &PastEvent<'_>) -> DogEvent {
    DogEvent::Registered {
        name: format!("unknown at {}", past.position()),
        breed: None,
        by: past.stream().map(str::to_owned),
    }
}

fn old(topic: &str, revision: u32, payload: &str) -> NewEvent {
    let id = EventId::new(Uuid::now_v7());
    NewEvent::new(id, topic.to_owned(), payload.to_owned()).revision(revision)
}

fn registered(name: &str, breed: Option<&str>, by: Option<&str>) -> DogEvent {
    DogEvent::Registered {
        name: name.into(),
        breed: breed.map(Into::into),
        by: by.map(Into::into),
    }
}

fn moved(from: &str, to: &str) -> [DogEvent; 2] {
    let place = |it: &str| it.to_owned();
    [
        DogEvent::Left { place: place(from) },
        DogEvent::Arrived { place: place(to) },
    ]
}

fn read(event: &NewEvent) -> Result<Vec<DogEvent>, MappingError> {
    Ok(read_recorded::<DogEvent>(event)?.into_iter().collect())
}

const REGISTERED: &str = "DogEvent.Registered";

#[test]
fn every_revision_is_read_as_the_present_type() {
    let rows = [
        (
            1,
            r#"{"label":"Fido, beagle"}"#,
            registered("Fido", Some("beagle"), None),
        ),
        (2, r#"{"name":"Fido"}"#, registered("Fido", None, None)),
        (
            3,
            r#"{"name":"Fido","breed":"pug"}"#,
            registered("Fido", Some("pug"), None),
        ),
        (
            4,
            r#"{"name":"Fido","breed":"pug"}"#,
            registered("Fido", Some("pug"), None),
        ),
        (
            5,
            r#"{"names":["Fido","II"]}"#,
            registered("Fido II", None, None),
        ),
    ];
    for (revision, payload, expected) in rows {
        assert_eq!(
            read(&old(REGISTERED, revision, payload)).unwrap(),
            [expected]
        );
    }
}

#[test]
fn fields_are_filled_from_what_is_recorded_around_an_event() {
    let event = old(REGISTERED, 2, r#"{"name":"Fido"}"#);
    let by_tag = event.clone().tag("by:bob");
    assert_eq!(
        read(&by_tag).unwrap(),
        [registered("Fido", None, Some("bob"))]
    );
    let by_metadata = by_tag.metadata(Metadata::new().with("user", "ann").to_bytes());
    assert_eq!(
        read(&by_metadata).unwrap(),
        [registered("Fido", None, Some("ann"))]
    );
}

#[test]
fn a_past_event_is_read_as_several_or_none() {
    let rows = [
        (
            "DogEvent.Moved",
            2,
            r#"{"from":"a","to":"b"}"#,
            &moved("a", "b")[..],
        ),
        (
            "DogEvent.Carried",
            1,
            r#"{"path":"a>b"}"#,
            &moved("a", "b")[..],
        ),
        ("DogEvent.Moved", 2, r#"{"from":"a","to":"a"}"#, &[]),
    ];
    for (topic, revision, payload, expected) in rows {
        assert_eq!(read(&old(topic, revision, payload)).unwrap(), expected);
    }
    // The past event is still an event of its own.
    let event = old("DogEvent.Moved", 1, r#"{"path":"a>b"}"#);
    let read = read_recorded::<Moved>(&event).unwrap().single().unwrap();
    assert_eq!((&*read.from, &*read.to), ("a", "b"));
}

#[test]
fn what_cannot_be_read_says_which_event_and_why() {
    let rows = [
        (
            REGISTERED,
            1,
            r#"{"label":"Fido"}"#,
            "revision 1, cannot be converted",
            "no comma",
        ),
        (
            REGISTERED,
            1,
            r#"{"name":"Fido"}"#,
            "revision 1, cannot be read",
            "missing field `label`",
        ),
        (REGISTERED, 6, "{}", "has revision 6", "ahead(6 = …)"),
        (REGISTERED, u32::MAX, "{}", "only up to 5", "can read it"),
        (
            "DogEvent.Left",
            2,
            r#"{"place":"a"}"#,
            "has revision 2",
            "only up to 1",
        ),
        ("DogEvent.Moved", 3, "{}", "has revision 3", "only up to 2"),
        (
            "DogEvent.Moved",
            1,
            r#"{"path":"a"}"#,
            "cannot be converted",
            "no path",
        ),
        (
            "DogEvent.Moved",
            1,
            r#"{"path":7}"#,
            "at `path`",
            "invalid type",
        ),
    ];
    for (topic, revision, payload, what, why) in rows {
        let event = old(topic, revision, payload).stream("Dog/1");
        let error = read(&event).unwrap_err();
        let text = error.to_string();
        for part in [what, why, "position 1 (version 1 of \"Dog/1\")", topic] {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
        let is_newer = matches!(error, MappingError::NewerRevision { .. });
        assert_eq!(
            is_newer,
            what.starts_with("has revision") || what.starts_with("only")
        );
    }
}

#[test]
fn erased_events_are_read_as_their_type_declares() {
    let erased = |topic: &str, revision| old(topic, revision, "{}").stream("Dog/7").erased();
    for revision in 1..=5 {
        let unknown = registered("unknown at 1", None, Some("Dog/7"));
        assert_eq!(read(&erased(REGISTERED, revision)).unwrap(), [unknown]);
    }
    assert_eq!(read(&erased("DogEvent.Barked", 1)).unwrap(), []);
    for topic in ["DogEvent.Left", "DogEvent.Moved"] {
        let error = read(&erased(topic, 1)).unwrap_err();
        assert!(matches!(error, MappingError::Erased { .. }), "{error}");
    }
}

#[test]
fn the_types_of_an_enum_end_with_its_past_events() {
    let topics: Vec<_> = DogEvent::TYPES
        .iter()
        .map(|it| (it.topic, it.is_past))
        .collect();
    assert_eq!(
        topics[3..],
        [("DogEvent.Barked", false), ("DogEvent.Moved", true)]
    );
    let registered: &EventType = &DogEvent::TYPES[0];
    let revisions: Vec<_> = registered.shapes.iter().map(|it| it.revision).collect();
    assert_eq!(revisions, [1, 3, 5]);
    assert!(registered.shapes[0].type_name().ends_with("RegisteredV1"));
    assert_eq!(registered.readable_revision(), 5);
}

/// Shapes that only newer programs record, around the present one.
#[test]
fn shapes_ahead_are_read_and_no_others() {
    mod wide {
        use super::*;

        #[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
        #[event(revision = 2, from(1 = FedOld), ahead(4 = FedNew, 6 = FedSplit))]
        pub(super) struct Fed {
            pub(super) grams: u32,
        }

        #[derive(Deserialize)]
        pub(super) struct FedOld(u32);

        #[derive(Deserialize)]
        pub(super) struct FedNew {
            kilograms: u32,
        }

        #[derive(Deserialize)]
        pub(super) struct FedSplit(Vec<u32>);

        impl Upcast<Fed> for FedOld {
            fn upcast(self, _: &PastEvent<'_>) -> Result<Fed, BoxError> {
                Ok(Fed { grams: self.0 })
            }
        }

        impl Upcast<Fed> for FedNew {
            fn upcast(self, _: &PastEvent<'_>) -> Result<Fed, BoxError> {
                let grams = self.kilograms.checked_mul(1000).ok_or("too heavy")?;
                Ok(Fed { grams })
            }
        }

        impl SplitInto<Fed> for FedSplit {
            fn split(self, _: &PastEvent<'_>) -> Upcasted<Fed> {
                let all = self.0.into_iter().map(|grams| Fed { grams });
                Ok(all.collect::<Vec<_>>().into())
            }
        }
    }
    use wide::Fed;

    let rows: [(u32, &str, &[u32]); 5] = [
        (1, "5", &[5]),
        (2, r#"{"grams":5}"#, &[5]),
        (4, r#"{"kilograms":5}"#, &[5000]),
        (6, "[1,2]", &[1, 2]),
        (6, "[]", &[]),
    ];
    for (revision, payload, expected) in rows {
        let read = read_recorded::<Fed>(&old("Fed", revision, payload)).unwrap();
        let read: Vec<_> = read.into_iter().map(|it| it.grams).collect();
        assert_eq!(read, expected);
    }
    for revision in [3, 5, 7, u32::MAX] {
        let error = read_recorded::<Fed>(&old("Fed", revision, "{}")).unwrap_err();
        let MappingError::NewerRevision { known, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(known, 6);
    }
    let heavy = old("Fed", 4, r#"{"kilograms":4294967295}"#);
    let error = read_recorded::<Fed>(&heavy).unwrap_err();
    assert!(
        matches!(error, MappingError::Upcast { revision: 4, .. }),
        "{error}"
    );
    // What it records itself has its own revision.
    assert_eq!(
        (Fed::TYPES[0].revision, Fed::TYPES[0].readable_revision()),
        (2, 6)
    );
}

/// A struct and a join: the attributes belong to the joined events, and past events to the join.
mod joined {
    use super::*;

    #[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
    #[event(revision = 2, from(1 = FedV1), erased = skip)]
    pub(super) struct Fed {
        pub(super) grams: u32,
    }

    #[derive(Deserialize)]
    pub(super) struct FedV1 {
        meals: Vec<u32>,
    }

    impl SplitInto<Fed> for FedV1 {
        fn split(self, _: &PastEvent<'_>) -> Upcasted<Fed> {
            let fed = self.meals.into_iter().map(|grams| Fed { grams });
            Ok(fed.collect::<Vec<_>>().into())
        }
    }

    #[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
    pub(super) struct Slept;

    #[derive(Event, Debug, PartialEq)]
    #[event(join, past(Moved))]
    pub(super) enum Day {
        Slept(Slept),
        Fed(Fed),
    }

    impl SplitInto<Day> for Moved {
        fn split(self, _: &PastEvent<'_>) -> Upcasted<Day> {
            Ok([Day::Slept(Slept), Day::Fed(Fed { grams: 1 })].into())
        }
    }
}

#[test]
fn joined_events_are_read_by_their_own_rules() {
    use joined::{Day, Fed, Slept};

    let fed = |grams| Day::Fed(Fed { grams });
    let read = |event: &NewEvent| read_recorded::<Day>(event).unwrap();
    let meals = read(&old("Fed", 1, r#"{"meals":[3,5]}"#));
    assert_eq!(meals.as_slice(), [fed(3), fed(5)]);
    assert_eq!(read(&old("Fed", 2, r#"{"grams":7}"#)).as_slice(), [fed(7)]);
    assert_eq!(read(&old("Slept", 1, "{}")).as_slice(), [Day::Slept(Slept)]);
    assert!(read(&old("Fed", 1, "{}").erased()).is_empty());
    let past = read(&old("DogEvent.Moved", 1, r#"{"path":"a>b"}"#));
    assert_eq!(past.as_slice(), [Day::Slept(Slept), fed(1)]);
    assert!(read_recorded::<Day>(&old("Slept", 1, "{}").erased()).is_err());
}

#[derive(Aggregate, Clone, Debug, Default, Serialize, Deserialize)]
#[aggregate(event = DogEvent, key = u32, snapshots(every = 3, revision = 2))]
struct Dog {
    log: Vec<String>,
}

impl Apply<DogEvent> for Dog {
    fn apply(&mut self, event: &DogEvent) {
        self.log.push(match event {
            DogEvent::Registered { name, .. } => name.clone(),
            DogEvent::Left { place } => format!("-{place}"),
            DogEvent::Arrived { place } => format!("+{place}"),
            DogEvent::Barked { sound } => sound.clone(),
        });
    }
}

const STREAM: &str = "Dog/1";

/// A log in which every kind of past event occurs, all in one stream.
async fn school() -> (Arc<dyn Store>, Application) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let builder = Application::builder("school").store(Arc::clone(&store));
    let school = builder.retired("DogEvent.Sneezed").open().await.unwrap();
    let events = [
        old(REGISTERED, 1, r#"{"label":"Fido, pug"}"#),
        old("DogEvent.Carried", 1, r#"{"path":"a>b"}"#),
        old("DogEvent.Sneezed", 1, "{}"),
        old("DogEvent.Moved", 2, r#"{"from":"b","to":"b"}"#),
        old("DogEvent.Barked", 1, "{}").erased(),
        old(REGISTERED, 4, "{}").erased(),
        old("DogEvent.Barked", 1, r#"{"sound":"woof"}"#),
    ];
    let append = Append::of(events.map(|event| event.stream(STREAM)));
    school.recorder().append(append).await.unwrap();
    (store, school)
}

/// What is read of them.
const LOG: [&str; 5] = ["Fido", "-a", "+b", "unknown at 6", "woof"];

#[tokio::test]
async fn an_aggregate_folds_all_shapes_and_keeps_its_versions() {
    let (_, school) = school().await;
    let dog = school.get::<Dog>(1).await.unwrap();
    assert_eq!(
        (dog.version.get(), &*dog.state.log),
        (7, &LOG.map(String::from)[..])
    );
    let second = retold::recording::Version::new(2).unwrap();
    let dog = school.get_at::<Dog>(1, second).await.unwrap();
    assert_eq!(dog.state.log, LOG[..3]);
    // A command decides on it, and its event follows.
    let bark = |_: &Dog| DogEvent::Barked {
        sound: "wau".into(),
    };
    let recorded = school.execute(Id::<Dog>::new(1), bark).await.unwrap();
    assert_eq!(recorded.version.map(|it| it.get()), Some(8));
}

#[tokio::test]
async fn folds_and_their_selections_see_what_an_event_is_read_as() {
    let (_, school) = school().await;
    let whole = school.view(fold_of::<Dog, DogEvent>()).await.unwrap();
    assert_eq!(whole.state.log, LOG);
    let arrived = fold_of::<Dog, DogEvent>().only("DogEvent.Arrived");
    assert_eq!(school.view(arrived).await.unwrap().state.log, ["+b"]);
}

#[tokio::test]
async fn readings_return_each_event_that_a_stored_event_is_read_as() {
    let (_, school) = school().await;
    let all = school.events::<DogEvent>().read().collect().await.unwrap();
    let places: Vec<_> = all
        .iter()
        .map(|it| (it.position().get(), it.part))
        .collect();
    assert_eq!(places, [(1, 0), (2, 0), (2, 1), (6, 0), (7, 0)]);
    assert_eq!(all[2].event, moved("a", "b")[1]);
    // A limit counts stored events, so that no part of one is lost.
    for (limit, count) in [(0, 0), (1, 1), (2, 3), (3, 4), (4, 5), (9, 5)] {
        for page in [1, 2, 500] {
            let reading = || {
                school
                    .events::<DogEvent>()
                    .page_size(page)
                    .read()
                    .limit(limit)
            };
            assert_eq!(reading().collect().await.unwrap(), all[..count]);
            let last_first: Vec<_> = all.iter().rev().cloned().collect();
            let read = reading().backward().collect().await.unwrap();
            let count = [0, 1, 2, 4, 5][limit.min(4)];
            assert_eq!(read, last_first[..count]);
        }
    }
    // A reading that continues where another ended has no gap, for any limit.
    for limit in 1..4 {
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let reading = school.events::<DogEvent>().read().after(after).limit(limit);
            let read = reading.collect().await.unwrap();
            let Some(last) = read.last() else { break };
            after = Some(last.position());
            seen.extend(read);
        }
        assert_eq!(seen, all);
    }
    let third = retold::recording::Position::new(3);
    let before = school.events::<DogEvent>().read().after(third).backward();
    assert_eq!(before.first().await.unwrap().unwrap().part, 1);
    let split = school
        .log()
        .event::<DogEvent>(all[1].id())
        .await
        .unwrap_err();
    assert!(split.to_string().contains("is read as 2 events"), "{split}");
    let erased = school.log().stored().read().collect().await.unwrap()[4].id();
    assert!(
        school
            .log()
            .event::<DogEvent>(erased)
            .await
            .unwrap()
            .is_none()
    );
}

/// Events are still stored under the names that their types had.
#[tokio::test]
async fn a_query_for_a_topic_finds_past_events_that_are_read_as_it() {
    use retold::recording::{Query, QueryItem};

    let (_, school) = school().await;
    let read = async |query: Query| {
        let selection = school.events::<DogEvent>().matching(query);
        let read = selection.read().collect().await.unwrap();
        read.into_iter()
            .map(|it| (it.position().get(), it.part))
            .collect::<Vec<_>>()
    };
    let in_stream = |topic: &str| QueryItem::new().stream(STREAM).topic(topic.to_owned());
    assert_eq!(read(Query::topic("DogEvent.Arrived")).await, [(2, 1)]);
    assert_eq!(
        read(Query::item(in_stream("DogEvent.Left"))).await,
        [(2, 0)]
    );
    assert_eq!(
        read(Query::item(
            QueryItem::new().stream("x").topic("DogEvent.Left")
        ))
        .await,
        []
    );
    for past in ["DogEvent.Moved", "DogEvent.Carried"] {
        assert_eq!(read(Query::topic(past)).await, [(2, 0), (2, 1)]);
    }
    let either = Query::topic("DogEvent.Left").or(Query::topic("DogEvent.Barked"));
    assert_eq!(read(either).await, [(2, 0), (7, 0)]);
    assert_eq!(read(Query::stream(STREAM)).await.len(), 5);
    // A limit counts what is selected.
    let arrived = school
        .events::<DogEvent>()
        .matching(Query::topic("DogEvent.Arrived"));
    assert_eq!(
        arrived
            .read()
            .backward()
            .first()
            .await
            .unwrap()
            .unwrap()
            .part,
        1
    );
    let mut arrived = school
        .events::<DogEvent>()
        .matching(Query::topic("DogEvent.Arrived"))
        .subscribe()
        .await
        .unwrap();
    assert_eq!(arrived.next().await.unwrap().part, 1);
    assert!(matches!(
        arrived.next_signal().await.unwrap(),
        Signal::CaughtUp(_)
    ));
}

/// A second type that reads the same past event.
#[derive(Event, Serialize, Deserialize)]
#[event(past(Moved))]
enum CatEvent {
    Watched { place: String },
}

impl SplitInto<CatEvent> for Moved {
    fn split(self, _: &PastEvent<'_>) -> Upcasted<CatEvent> {
        Ok(CatEvent::Watched { place: self.to }.into())
    }
}

impl Apply<CatEvent> for Dog {
    fn apply(&mut self, event: &CatEvent) {
        let CatEvent::Watched { place } = event;
        self.log.push(format!("cat at {place}"));
    }
}

impl Apply<Moved> for Dog {
    fn apply(&mut self, event: &Moved) {
        self.log.push(format!("{}>{}", event.from, event.to));
    }
}

#[tokio::test]
async fn a_fold_of_several_types_reads_a_past_event_as_each_of_them() {
    let (_, school) = school().await;
    let log = async |fold: retold::application::Fold<Dog>| {
        school.view(fold).await.unwrap().state.log.clone()
    };
    let fold = fold_of::<Dog, DogEvent>()
        .only("DogEvent.Left")
        .and::<CatEvent>();
    assert_eq!(log(fold).await, ["-a", "cat at b", "cat at b"]);
    let fold = fold_of::<Dog, CatEvent>()
        .and::<DogEvent>()
        .only("DogEvent.Arrived");
    assert_eq!(log(fold).await, ["cat at b", "+b", "cat at b"]);
    let fold = fold_of::<Dog, Moved>().and::<CatEvent>();
    assert_eq!(log(fold).await, ["a>b", "cat at b", "b>b", "cat at b"]);
    // The same type twice, each time with some of its topics.
    let left = || fold_of::<Dog, DogEvent>().only("DogEvent.Left");
    let fold = left().and::<DogEvent>().only("DogEvent.Arrived");
    assert_eq!(log(fold).await, ["-a", "+b"]);
    let fold = left().and::<DogEvent>().only("DogEvent.Left");
    assert_eq!(log(fold).await, ["-a"]);
}

#[tokio::test]
async fn a_subscription_passes_an_event_with_the_last_of_its_parts() {
    let (_, school) = school().await;
    let mut events = school.events::<DogEvent>().subscribe().await.unwrap();
    let mut seen = Vec::new();
    while let Signal::Event(event) = events.next_signal().await.unwrap() {
        let passed = events.checkpoint().map(|it| it.position.get());
        seen.push((event.position().get(), event.part, passed));
    }
    assert_eq!(
        seen,
        [
            (1, 0, Some(1)),
            (2, 0, Some(1)),
            (2, 1, Some(2)),
            (6, 0, Some(6)),
            (7, 0, Some(7)),
        ]
    );
}

#[tokio::test]
async fn an_outbox_delivers_each_part_and_records_the_whole() {
    let (_, school) = school().await;
    let mut sent = Vec::new();
    let mut outbox = Outbox::<DogEvent>::open(&school, "mail").await.unwrap();
    for _ in 0..2 {
        let mail = outbox.next().await.unwrap().unwrap();
        sent.push((mail.position().get(), mail.part));
        outbox.delivered().await.unwrap();
    }
    assert_eq!(outbox.checkpoint().map(|it| it.position.get()), Some(1));
    // After a crash between the parts, both are delivered again.
    let mut outbox = Outbox::<DogEvent>::open(&school, "mail").await.unwrap();
    while let Some(mail) = outbox.next().await.unwrap() {
        sent.push((mail.position().get(), mail.part));
        outbox.delivered().await.unwrap();
    }
    assert_eq!(sent, [(1, 0), (2, 0), (2, 0), (2, 1), (6, 0), (7, 0)]);
}

#[tokio::test]
async fn an_outbox_is_not_held_back_by_an_erased_event() {
    let (_, school) = school().await;
    let events = [
        old("DogEvent.Left", 1, "{}").erased(),
        old("DogEvent.Left", 1, r#"{"place":"z"}"#),
    ];
    school.recorder().append(Append::of(events)).await.unwrap();
    let mut outbox = Outbox::<DogEvent>::open(&school, "mail").await.unwrap();
    let mut count = 0;
    while outbox.next().await.unwrap().is_some() {
        outbox.delivered().await.unwrap();
        count += 1;
    }
    assert_eq!(count, 6);
}

#[tokio::test]
async fn a_view_is_told_each_event_that_a_stored_event_is_read_as() {
    let (_, school) = school().await;
    let erased = old("DogEvent.Left", 1, "{}").stream(STREAM).erased();
    school
        .recorder()
        .append(Append::of([erased]))
        .await
        .unwrap();
    let declared = |version| {
        Projection::<MemoryView<Dog>>::new("dogs", version, "school").on::<DogEvent>(
            |dog, logged| {
                dog.apply(&logged.event);
                Ok(())
            },
        )
    };
    let view = MemoryView::<Dog>::new();
    let keep = |projection| {
        let recorder = Arc::clone(school.recorder());
        retold::projection::ProjectionPipeline::new(recorder, view.keep(projection).unwrap())
    };
    keep(declared(1)).catch_up().await.unwrap();
    assert_eq!(view.read(|dog| dog.log.clone()), LOG);
    let error = keep(declared(2).erased_is_poison())
        .catch_up()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("position 8"), "{error}");
}

#[tokio::test]
async fn a_command_is_not_decided_on_an_event_of_a_newer_revision() {
    let (_, school) = school().await;
    let newer = old(REGISTERED, 9, "{}").stream(STREAM);
    school.recorder().append(Append::of([newer])).await.unwrap();
    let error = school.get::<Dog>(1).await.unwrap_err();
    let Error::Mapping(error) = error else {
        panic!("{error}");
    };
    assert!(error.is_of_another_program(), "{error}");
}

/// The program before the shape of its state changed.
mod older_state {
    use super::*;

    #[derive(Aggregate, Clone, Default, Serialize, Deserialize)]
    #[aggregate(event = DogEvent, key = u32, type = "Dog", snapshots(every = 1, revision = 1))]
    pub(super) struct OlderDog {
        /// The present program would read this as its log.
        log: Vec<String>,
    }

    impl Apply<DogEvent> for OlderDog {
        fn apply(&mut self, _: &DogEvent) {
            self.log.push("of the older state".into());
        }
    }
}

#[tokio::test]
async fn a_snapshot_of_an_older_state_shape_is_ignored() {
    let (store, school) = school().await;
    let bark = || DogEvent::Barked {
        sound: "wau".into(),
    };
    let older = Id::<older_state::OlderDog>::new(1);
    school.execute(older, |_| bark()).await.unwrap();
    let snapshot = school.recorder().snapshot(STREAM, None).await.unwrap();
    assert_eq!(snapshot.unwrap().revision, 1);
    drop(school);
    let builder = Application::builder("school").store(store);
    let builder = builder.aggregate::<Dog>().retired("DogEvent.Sneezed");
    let school = builder.open().await.unwrap();
    let dog = school.get::<Dog>(1).await.unwrap();
    assert_eq!(dog.state.log[..5], LOG);
    assert_eq!(dog.state.log[5..], ["wau"]);
}

#[tokio::test]
async fn the_log_of_older_shapes_is_checked_as_sound() {
    let (store, school) = school().await;
    drop(school);
    let builder = Application::builder("school").store(store);
    let builder = builder.aggregate::<Dog>().retired("DogEvent.Sneezed");
    let school = builder.open().await.unwrap();
    let check = school.check_log().await.unwrap();
    assert!(check.is_sound(), "{check}");
    assert_eq!(
        (check.events, check.erased, check.erased_aggregates),
        (7, 2, 0)
    );
    let events = [
        old(REGISTERED, 9, "{}"),
        old(REGISTERED, 1, r#"{"label":"x"}"#),
    ];
    school.recorder().append(Append::of(events)).await.unwrap();
    let check = school.check_log().await.unwrap();
    assert_eq!(check.finding_count, 2, "{check}");
}

#[test]
fn the_events_of_a_commit_are_read_like_stored_ones() {
    let position = retold::recording::Position::FIRST;
    let event = old("DogEvent.Moved", 2, r#"{"from":"a","to":"b"}"#);
    let read = Mapper::default()
        .read_new::<DogEvent>(&event, position)
        .unwrap();
    assert_eq!(read.as_slice(), moved("a", "b"));
}
