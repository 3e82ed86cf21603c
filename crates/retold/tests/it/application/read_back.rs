//! Recorded events can be read back, and states are folded from the events as read back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use retold::mapping::Codec;
use retold::prelude::*;
use retold::recording::MemoryStore;
use retold::serde::Deserializer;

use super::{Place, on_every_store};

on_every_store! {
    every_command_folds_what_the_log_has,
    nothing_is_acknowledged_that_cannot_be_read,
    a_snapshot_and_the_rest_make_the_same_state_bit_by_bit,
    a_state_that_its_snapshot_changes_is_not_kept,
}

/// Has data that the log does not: a skipped field, and an option in an option that JSON reads as
/// none.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Noted {
    text: String,
    #[serde(skip)]
    aside: u32,
    twice: Option<Option<u32>>,
}

fn noted(text: &str) -> Noted {
    Noted {
        text: text.into(),
        aside: 7,
        twice: Some(None),
    }
}

#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = Noted, key = String)]
struct Notes {
    texts: Vec<String>,
    asides: u32,
    emptied: bool,
}

impl Apply<Noted> for Notes {
    fn apply(&mut self, event: &Noted) {
        self.texts.push(event.text.clone());
        self.asides += event.aside;
        self.emptied |= event.twice == Some(None);
    }
}

fn notes(count: usize) -> Notes {
    Notes {
        texts: vec!["x".into(); count],
        ..Notes::default()
    }
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Created {
    #[serde(skip)]
    aside: u32,
}

#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = Created)]
struct Thing {
    asides: u32,
}

impl Apply<Created> for Thing {
    fn apply(&mut self, event: &Created) {
        self.asides += event.aside;
    }
}

async fn every_command_folds_what_the_log_has(place: Place) {
    let application = place.open().await;
    let id = Id::<Notes>::from("a");
    let agree = async |count: usize| {
        let kept = application.get(&id).await.unwrap().state;
        let read = place.open().await.get(&id).await.unwrap().state;
        assert_eq!((&kept, &read), (&notes(count), &notes(count)));
    };
    let x = |_: &Notes| noted("x");

    application.execute_or_create(&id, x).await.unwrap();
    agree(1).await;
    application.execute(&id, x).await.unwrap();
    agree(2).await;
    let to_id = id.clone();
    application
        .decide(id.clone(), |_| noted("x").to(&to_id))
        .await
        .unwrap();
    agree(3).await;
    application
        .change(id.clone(), |draft| {
            assert_eq!(**draft, notes(3));
            draft.record(noted("x"));
            assert_eq!(**draft, notes(4));
            draft.record(noted("x"));
        })
        .await
        .unwrap();
    agree(5).await;

    let bus = retold::application::EventBus::new();
    bus.record_into(&application).unwrap();
    let mut listener = bus.subscribe::<Noted>();
    let mut commits = application.commits();
    bus.publish(noted("x").to(&id)).await.unwrap();
    let reported = listener.next_reported().unwrap().unwrap();
    assert_eq!((reported.aside, reported.twice), (0, None));
    let committed = commits.next_reported().unwrap().unwrap();
    let events: Vec<_> = committed.events_of::<Noted>().collect();
    assert_eq!(events.into_iter().next().unwrap().unwrap().1.aside, 0);
    agree(6).await;

    let thing = application
        .create::<Thing>(Created { aside: 7 })
        .await
        .unwrap();
    assert_eq!(application.get(thing).await.unwrap().state.asides, 0);
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Weighed {
    kg: f64,
}

#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = Weighed, key = String)]
struct Scale {
    kg: f64,
}

impl Apply<Weighed> for Scale {
    fn apply(&mut self, event: &Weighed) {
        self.kg = event.kg;
    }
}

/// Is read as a different event than was written.
#[derive(Event, Clone, Debug, PartialEq)]
struct Unfit {
    lines: Vec<u32>,
}

impl Serialize for Unfit {
    fn serialize<S: retold::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        BTreeMap::from([("lines", &self.lines)]).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Unfit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut read = BTreeMap::<String, Vec<u32>>::deserialize(deserializer)?;
        let mut lines = read.remove("lines").unwrap_or_default();
        lines.iter_mut().skip(2).for_each(|it| *it += 1);
        Ok(Self { lines })
    }
}

async fn nothing_is_acknowledged_that_cannot_be_read(place: Place) {
    #[track_caller]
    fn fails<R: Debug>(result: Result<R, ExecuteError<std::convert::Infallible>>, parts: &[&str]) {
        let ExecuteError::Retold(error @ retold::Error::Mapping(_)) = result.unwrap_err() else {
            panic!("the error is of another kind");
        };
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
    }
    let application = place.open().await;
    let scale = Id::<Scale>::from("s");
    let nan = |_: &Scale| Weighed { kg: f64::NAN };
    let parts = ["\"Weighed\"", "at `kg`", "the float is NaN"];
    fails(application.execute_or_create(&scale, nan).await, &parts);
    let to_scale = scale.clone();
    let decided = application.decide((), |()| {
        [Weighed { kg: 1.0 }, Weighed { kg: f64::INFINITY }].map(|it| it.to(&to_scale))
    });
    fails(decided.await, &["\"Weighed\"", "at `kg`", "inf"]);
    let changed = application.change(scale.clone(), |draft| {
        draft.record(Weighed { kg: f64::NAN })
    });
    fails(changed.await, &parts);
    let unfit = Unfit {
        lines: vec![1, 2, 3, 4],
    };
    let decided = application.decide((), |()| unfit.clone());
    let parts = ["Unfit", "at `lines[2]`", "written as 3", "comes back as 4"];
    fails(decided.await, &parts);
    assert_eq!(application.head().await.unwrap().checkpoint, None);
    let weighed = |_: &Scale| Weighed { kg: 1.0 };
    application
        .execute_or_create(&scale, weighed)
        .await
        .unwrap();
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Measured {
    value: f64,
    small: f32,
}

/// Computes with floats, whose bits show whether a snapshot lost any.
#[derive(Aggregate, Clone, Default, Serialize, Deserialize)]
#[aggregate(event = Measured, key = String, snapshots(every = 3, revision = 1))]
struct Series {
    sum: f64,
    squares: f64,
    small: f32,
    seen: HashMap<String, Vec<f64>>,
    last: Option<Option<f64>>,
}

impl Series {
    /// The whole state, floats as their bits.
    fn bits(&self) -> Vec<u64> {
        let sorted: BTreeMap<_, _> = self.seen.iter().collect();
        let seen = sorted.into_values().flatten().copied();
        let last = self.last.flatten();
        [self.sum, self.squares, self.small.into()]
            .into_iter()
            .chain(last)
            .chain(seen)
            .map(f64::to_bits)
            .collect()
    }
}

impl Apply<Measured> for Series {
    fn apply(&mut self, event: &Measured) {
        self.sum += event.value;
        self.squares = self.squares / 3.0 + event.value * event.value;
        self.small = self.small * 0.7 + event.small;
        let key = (self.seen.len() % 20).to_string();
        self.seen.entry(key).or_default().push(self.sum);
        self.last = Some(Some(event.value));
    }
}

async fn a_snapshot_and_the_rest_make_the_same_state_bit_by_bit(place: Place) {
    let mut random = fastrand::Rng::with_seed(crate::seed());
    let application = place.open().await;
    let id = Id::<Series>::from("s");
    let stream = id.stream();
    let mut events = Vec::new();
    for number in 1..=20 {
        let event = Measured {
            value: (random.f64() - 0.5) * 10_f64.powi(random.i32(-20..20)),
            small: random.f32() / 7.0,
        };
        events.push(event.clone());
        application
            .execute_or_create(&id, |_| event.clone())
            .await
            .unwrap();
        let full = fold(Series::default(), &events);
        let newest = application.recorder().snapshot(&stream, None);
        let newest = newest.await.unwrap().map_or(0, |it| it.version.get());
        assert_eq!(newest, number / 3 * 3);
        // From the snapshot and the later events, and from the writer's cache.
        for reader in [&place.open().await, &application] {
            let read = reader.get(&id).await.unwrap().state;
            assert_eq!(read.bits(), full.bits(), "version {number}");
        }
    }
}

/// Has a field that no snapshot contains and that `apply` uses.
#[derive(Aggregate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[aggregate(event = Noted, key = String, snapshots(every = 1, revision = 1))]
struct Counting {
    texts: Vec<String>,
    #[serde(skip)]
    count: u32,
}

impl Apply<Noted> for Counting {
    fn apply(&mut self, event: &Noted) {
        self.count += 1;
        self.texts.push(format!("{} {}", self.count, event.text));
    }
}

async fn a_state_that_its_snapshot_changes_is_not_kept(place: Place) {
    let application = place.open().await;
    let id = Id::<Counting>::from("c");
    for _ in 0..3 {
        application
            .execute_or_create(&id, |_| noted("x"))
            .await
            .unwrap();
    }
    let error = application.take_snapshot(&id).await.unwrap_err();
    assert!(matches!(error, retold::Error::Invalid(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("not equal; does serde skip a field"),
        "{text}"
    );
    let found = application.recorder().snapshot(&id.stream(), None).await;
    assert_eq!(found.unwrap(), None);
    let read = place.open().await.get(&id).await.unwrap().state;
    assert_eq!(read.texts, ["1 x", "2 x", "3 x"]);
}

/// The outcome of recording an event.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It reads back unchanged.
    Same,
    /// It reads back without the parts that the codec or its serde attributes leave out, also for
    /// the writer.
    Reduced,
    /// The command fails with an error.
    Refused,
}
use Fate::{Reduced, Refused, Same};

/// The last event, as it was folded.
#[derive(Clone)]
struct Last<E>(Option<E>);

impl<E> Default for Last<E> {
    fn default() -> Self {
        Self(None)
    }
}

impl<E: Event + Clone> Apply<E> for Last<E> {
    fn apply(&mut self, event: &E) {
        self.0 = Some(event.clone());
    }
}

impl<E: Event + Clone> Aggregate for Last<E> {
    type Event = E;
    type Key = String;
    const TYPE: &'static str = "Last";
}

async fn check<E: Event + Clone + PartialEq + Debug>(what: &str, event: E, expected: Fate) {
    assert_eq!(fate(what, &event, Codec::Json).await, expected, "{what}");
    for codec in other_codecs() {
        let what = format!("{what}, as {codec:?}");
        let fate = fate(&what, &event, codec).await;
        let is_sound = fate != Reduced || expected == Reduced;
        assert!(is_sound, "{what}: it was changed, and not refused");
    }
}

fn other_codecs() -> Vec<Codec> {
    vec![
        Codec::custom(&super::codecs::Pretty).unwrap(),
        #[cfg(feature = "msgpack")]
        Codec::MessagePack,
    ]
}

/// What happens to an event of an application that writes with this codec.
async fn fate<E: Event + Clone + PartialEq + Debug>(what: &str, event: &E, codec: Codec) -> Fate {
    let store = Arc::new(MemoryStore::new());
    let open = || {
        let builder = Application::builder("log").store(store.clone());
        builder.codec(codec).open()
    };
    let (writer, id) = (open().await.unwrap(), Id::<Last<E>>::from("k"));
    let again = event.clone();
    let recorded = writer.execute_or_create(&id, move |_| again.clone());
    match recorded.await {
        Err(ExecuteError::Retold(retold::Error::Mapping(error))) => {
            assert!(error.to_string().contains("\"Ev\""), "{what}: {error}");
            assert_eq!(writer.head().await.unwrap().checkpoint, None, "{what}");
            Refused
        }
        Err(error) => panic!("{what}: {error}"),
        Ok(_) => {
            let reader = open().await.unwrap();
            // As text, in which NaN equals itself. The order of a hashed set is random, so equal
            // values are the same too.
            let is_one =
                |one: &E, other: &E| one == other || format!("{one:?}") == format!("{other:?}");
            let kept = writer.get(&id).await.unwrap().state.0.unwrap();
            let read = reader.get(&id).await.unwrap().state.0.unwrap();
            assert!(is_one(&kept, &read), "{what}");
            reader
                .execute(&id, |last| last.0.clone().unwrap())
                .await
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            match is_one(&read, event) {
                true => Same,
                false => Reduced,
            }
        }
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Amount {
    wei: u128,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    amount: Amount,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Counts {
    counts: BTreeMap<u32, u32>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct FlatMap {
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(tag = "type")]
enum Tagged {
    A { wei: u128 },
    B { counts: BTreeMap<u32, u32> },
    C { n: i128 },
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    A { wei: u128 },
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(untagged)]
enum Untagged {
    A(u128),
    S(String),
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(untagged)]
enum IntegerOrFloat {
    I(i64),
    F(f64),
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(untagged)]
enum FloatOrInteger {
    F(f64),
    I(u64),
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
enum Tree {
    Leaf,
    Node(Box<Tree>),
}

fn tree(depth: usize) -> Tree {
    (0..depth).fold(Tree::Leaf, |inner, _| Tree::Node(Box::new(inner)))
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Chain {
    child: Option<Box<Chain>>,
}

fn chain(depth: usize) -> Chain {
    (0..depth).fold(Chain { child: None }, |inner, _| Chain {
        child: Some(Box::new(inner)),
    })
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Skipping {
    a: u8,
    #[serde(skip)]
    b: u8,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Letter {
    A,
    B,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct SkippingNone {
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<Option<u8>>,
    b: Option<()>,
}

/// A list that is read in a different order than it was written.
#[derive(Clone, Debug, PartialEq)]
struct Turned(Vec<u32>);

impl Serialize for Turned {
    fn serialize<S: retold::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Turned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut read = Vec::deserialize(deserializer)?;
        if !read.is_empty() {
            read.rotate_left(1);
        }
        Ok(Self(read))
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct SetAndTurned {
    set: HashSet<u32>,
    turned: Turned,
}

/// Every kind of content, with one event of each.
macro_rules! events {
    ($($what:literal: $type:ty = $value:expr => $fate:ident;)*) => {
        #[tokio::test]
        async fn every_kind_of_content_is_refused_or_read_back() {
            $({
                #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
                struct Ev {
                    v: $type,
                }
                check($what, Ev { v: $value }, $fate).await;
            })*
        }
    };
}

events! {
    "a float with 17 digits": f64 = 117.633_313_394_000_17 => Same;
    "a sum of floats": f64 = 0.1 + 0.2 => Same;
    "a small f32": f32 = 1.175_494_2e-38 => Same;
    "-0.0": f64 = -0.0 => Same;
    "the least float": f64 = f64::MIN_POSITIVE => Same;
    "the greatest float": f64 = f64::MAX => Same;
    "NaN": f64 = f64::NAN => Refused;
    "infinity": f64 = f64::INFINITY => Refused;
    "infinity in an option": Option<f64> = Some(f64::INFINITY) => Refused;
    "infinity in a vector": Vec<f64> = vec![1.0, f64::NEG_INFINITY] => Refused;
    "u128": u128 = u128::MAX => Same;
    "i128": i128 = i128::MIN => Same;
    "u64": u64 = u64::MAX => Same;
    "u128 in a flattened struct": Flat =
        Flat { id: 1, amount: Amount { wei: u128::MAX } } => Refused;
    "a small u128 in a flattened struct": Flat =
        Flat { id: 1, amount: Amount { wei: 5 } } => Refused;
    "u128 in a tagged enum": Tagged = Tagged::A { wei: u128::MAX } => Refused;
    "i128 in a tagged enum": Tagged = Tagged::C { n: i128::MIN } => Refused;
    "integer keys in a tagged enum": Tagged = Tagged::B { counts: [(1, 2)].into() } => Refused;
    "integer keys in a flattened struct": FlatMap =
        FlatMap { counts: Counts { counts: [(1, 2)].into() } } => Refused;
    "u128 in an adjacently tagged enum": Adjacent = Adjacent::A { wei: u128::MAX } => Same;
    "u128 in an untagged enum": Untagged = Untagged::A(u128::MAX) => Refused;
    "a text in an untagged enum": Untagged = Untagged::S("x".into()) => Same;
    "an integer or a float": IntegerOrFloat = IntegerOrFloat::F(1.0) => Same;
    "an integer that is one": IntegerOrFloat = IntegerOrFloat::I(1) => Same;
    "a float or an integer": FloatOrInteger = FloatOrInteger::I((1 << 53) + 1) => Refused;
    "a float that is one": FloatOrInteger = FloatOrInteger::F(0.5) => Same;
    "integer keys": BTreeMap<u32, u32> = [(1, 2)].into() => Same;
    "tuple keys": BTreeMap<(u8, u8), u8> = [((1, 2), 3)].into() => Refused;
    "boolean keys": BTreeMap<bool, u8> = [(true, 3)].into() => Same;
    "enum keys": BTreeMap<Letter, u8> = [(Letter::A, 3), (Letter::B, 4)].into() => Same;
    "option keys": BTreeMap<Option<u8>, u8> = [(None, 3)].into() => Refused;
    "u128 keys": BTreeMap<u128, u8> = [(u128::MAX, 3)].into() => Same;
    "character keys": BTreeMap<char, u8> = [('é', 3)].into() => Same;
    "keys of bytes": BTreeMap<Vec<u8>, u8> = [(vec![1], 3)].into() => Refused;
    "uuid keys": BTreeMap<Uuid, u8> = [(Uuid::nil(), 3)].into() => Same;
    "none in an option": Option<Option<u8>> = Some(None) => Reduced;
    "a unit in an option": Option<()> = Some(()) => Reduced;
    "none in an option that is skipped": SkippingNone =
        SkippingNone { a: Some(None), b: Some(()) } => Refused;
    "null in an option": Option<serde_json::Value> = Some(serde_json::Value::Null) => Reduced;
    "an enum 60 levels deep": Tree = tree(60) => Same;
    "an enum 130 levels deep": Tree = tree(130) => Refused;
    "structs 120 levels deep": Chain = chain(120) => Same;
    "structs 130 levels deep": Chain = chain(130) => Refused;
    "arrays 130 levels deep": serde_json::Value = (0..130).fold(
        serde_json::Value::Null,
        |inner, _| serde_json::Value::Array(vec![inner])
    ) => Refused;
    "a float in a value": serde_json::Value = serde_json::json!(117.633_313_394_000_17) => Same;
    "a text with NUL": String = "a\0b".into() => Same;
    "a text that is not composed": String = "e\u{301}".into() => Same;
    "a text of rare characters": String = "\u{ffff}😀\u{2028}".into() => Same;
    "a skipped field": Skipping = Skipping { a: 1, b: 2 } => Reduced;
    "a duration": std::time::Duration = std::time::Duration::MAX => Same;
    "a time before 1970": std::time::SystemTime =
        std::time::UNIX_EPOCH - std::time::Duration::new(1, 5) => Refused;
    "a unit": () = () => Same;
    "a character": char = '\u{10ffff}' => Same;
    "a timestamp": Timestamp = Timestamp::from_micros(i64::MAX) => Same;
    "a string of the system": std::ffi::OsString = "x".into() => Same;
    "a path": std::path::PathBuf = "/x".into() => Same;
    "an address": std::net::IpAddr = "::1".parse().unwrap() => Same;
    "a bound": std::ops::Bound<u8> = std::ops::Bound::Unbounded => Same;
    "a result": Result<u8, String> = Err("x".into()) => Same;
    "a hash map": HashMap<u32, Vec<u32>> =
        (0..50).map(|it| (it, vec![it])).collect() => Same;
    "a hash set": HashSet<String> = (0..50).map(|it| it.to_string()).collect() => Same;
    "sets in a map": HashMap<String, HashSet<u32>> =
        (0..20).map(|it| (it.to_string(), (0..it).collect())).collect() => Same;
    "many small sets": Vec<HashSet<u32>> = (0..100).map(|it| [it, it + 1].into()).collect() => Same;
    "sets in sets": BTreeMap<String, Vec<HashSet<String>>> = (0..9_usize)
        .map(|it| (it.to_string(), vec![(0..it).map(|it| it.to_string()).collect(); 2]))
        .collect() => Same;
    "a rotated list": Turned = Turned(vec![1, 2]) => Refused;
    "a longer rotated list": Turned = Turned(vec![1, 2, 3, 4, 5]) => Refused;
    "a list that is equal when rotated": Turned = Turned(vec![1, 1]) => Same;
    "a rotated list next to a set": SetAndTurned =
        SetAndTurned { set: (0..50).collect(), turned: Turned(vec![1, 2, 3]) } => Refused;
}

static WRITTEN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Counts how often it is serialized.
#[derive(Event, Deserialize, Clone, Debug, PartialEq)]
#[event(tag = "aside:{aside}")]
struct Counted {
    text: String,
    #[serde(skip)]
    aside: u32,
}

impl Serialize for Counted {
    fn serialize<S: retold::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WRITTEN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        BTreeMap::from([("text", &self.text)]).serialize(serializer)
    }
}

/// An event of a change is serialized and read back when it is added to the draft, and not again
/// when it is recorded; its tags are those of the event as decided.
#[tokio::test]
async fn a_change_reads_an_event_back_once() {
    let application = Application::open("log", "memory:read-back-once").await;
    let application = application.unwrap();
    let id = Id::<Last<Counted>>::from("k");
    let changed = application.change(id.clone(), |draft| {
        let text = "x".into();
        draft.record(Counted { text, aside: 7 });
        assert_eq!(draft.0.as_ref().map(|it| it.aside), Some(0));
    });
    changed.await.unwrap();
    let written = WRITTEN.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(written, 2, "once to be recorded, once to be compared");
    let tagged = application.log().stored().tag("aside:7").read();
    let tagged = tagged.first().await.unwrap().unwrap();
    assert_eq!(tagged.payload(), Some(&br#"{"text":"x"}"#[..]));
}

/// Random bits, and the floats from 0 to 1 that decisions compute with.
#[test]
fn no_float_changes() {
    let mut random = fastrand::Rng::with_seed(crate::seed());
    for _ in 0..100_000 {
        for float in [f64::from_bits(random.u64(..)), random.f64()] {
            if float.is_finite() {
                let text = serde_json::to_string(&float).unwrap();
                let read: f64 = serde_json::from_str(&text).unwrap();
                assert_eq!(read.to_bits(), float.to_bits(), "{text}");
                let read: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(
                    read.as_f64().map(f64::to_bits),
                    Some(float.to_bits()),
                    "{text}"
                );
            }
        }
        let float = f32::from_bits(random.u32(..));
        if float.is_finite() {
            let text = serde_json::to_string(&float).unwrap();
            let read: f32 = serde_json::from_str(&text).unwrap();
            assert_eq!(read.to_bits(), float.to_bits(), "{text}");
        }
    }
}
