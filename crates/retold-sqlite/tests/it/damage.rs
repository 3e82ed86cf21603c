//! Flipped bits in a file: reads return what was recorded or an error, or verification finds the
//! damage.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::sync::Arc;

use retold_core::recording::{
    Amendment, Append, Appended, Checkpoint, Condition, DELETED_TOPIC, ErasedParts, EventId,
    ExpectedVersion, FollowerKey, Head, LogId, LogRead, NewEvent, Page, PageEnd, Position,
    ProcessedRange, Query, RangeRead, RecordError, RecordedRange, Recorder, Replacement, Store,
    StoredEvent, StoredSnapshot, StreamRead, Version, verify_log,
};
use retold_sqlite::SqliteStore;
use uuid::Uuid;

use crate::place::{Place, record};

/// Files that are damaged, unless `RETOLD_ROUNDS` is set.
const ROUNDS: u64 = 150;
const LOGS: [&str; 2] = ["dogs", "cats"];
const EVENTS: u128 = 90;

fn stream(number: u128) -> String {
    format!("animal/{}", number % 7)
}

fn tag(number: u128) -> String {
    format!("breed:{}", number % 3)
}

fn topic(number: u128) -> &'static str {
    ["Dog.Registered", "Dog.TrickAdded", "Dog.Renamed"][(number % 3) as usize]
}

fn new_event(id: u128) -> NewEvent {
    let size = [2, 40, 700, 9_000][(id % 11 % 4) as usize];
    let payload = format!("{:?}", "x".repeat(size));
    let event = NewEvent::new(EventId::new(Uuid::from_u128(id)), topic(id / 2), payload)
        .tag(tag(id))
        .tag("all");
    match id % 5 {
        0 => event,
        _ => event.stream(stream(id)),
    }
}

fn follower() -> (FollowerKey, LogId) {
    (FollowerKey::new("f"), LogId::new(Uuid::from_u128(77)))
}

/// A closed file of two logs with every kind of data that a store keeps.
async fn fill(place: &Place) {
    let store = place.open();
    for (number, name) in (1..).zip(LOGS) {
        let log = store
            .open(name, LogId::new(Uuid::from_u128(number)))
            .await
            .unwrap();
        let mut after = None;
        for first in (1..=EVENTS).step_by(3) {
            let to = Checkpoint {
                position: Position::new(first as u64).unwrap(),
                event_id: EventId::new(Uuid::from_u128(first)),
            };
            let (key, upstream) = follower();
            let events = (first..first + 3).map(new_event);
            let append =
                Append::of(events).processed_range(ProcessedRange::new(key, upstream, after, to));
            log.append(append).await.unwrap();
            after = Some(to.position);
        }
        amend(&*log).await;
        for number in 1..7 {
            let state = format!("{{\"state\":{number}}}");
            let version = Version::new(90).unwrap();
            let snapshot = StoredSnapshot::new(stream(number), version, "Animal", state);
            log.put_snapshot(snapshot).await.unwrap();
        }
    }
}

/// Erases events in several ways, replaces one, and deletes a stream.
async fn amend(log: &dyn Recorder) {
    let first = log.read_stream(StreamRead::new(stream(2))).await.unwrap();
    let first = first.events.first().unwrap();
    let mut replacement = Replacement::of(first, "[]").unwrap();
    replacement.topic = "Dog.Replaced".into();
    let replace = Amendment::ReplaceEvent {
        event: first.id(),
        stream: Some(stream(2).into()),
        replacement,
    };
    log.append(Append::of([record(901, &stream(2))]).amendment(replace))
        .await
        .unwrap();
    let erase = |number, until, parts| Amendment::EraseStream {
        stream: stream(number).into(),
        after: None,
        until: Version::new(until).unwrap(),
        parts,
    };
    log.append(
        Append::of([record(902, &stream(3)), record(903, &stream(4))])
            .amendment(erase(3, 4, ErasedParts::PAYLOAD))
            .amendment(erase(4, 3, ErasedParts::ALL)),
    )
    .await
    .unwrap();
    let mut deleted = record(904, &stream(6));
    deleted.topic = DELETED_TOPIC.into();
    let append = Append::of([deleted]).amendment(erase(6, 5, ErasedParts::ALL));
    log.append(append).await.unwrap();
}

type Found<T> = Result<T, RecordError>;

/// The results of all ways of reading a log.
#[derive(Debug, Default, PartialEq)]
struct Answers {
    head: Option<Head>,
    /// Pages by the name of the way of reading.
    events: BTreeMap<String, Vec<StoredEvent>>,
    /// Names, versions, and whether they are deleted.
    streams: Vec<(Arc<str>, Version, bool)>,
    ranges: Vec<RecordedRange>,
    checkpoint: Option<Checkpoint>,
    snapshots: BTreeMap<String, Option<StoredSnapshot>>,
}

async fn whole(recorder: &dyn Recorder, read: &LogRead) -> Found<Vec<StoredEvent>> {
    let mut read = read.clone().limit(17);
    let mut events = Vec::new();
    loop {
        let page: Page = recorder.read_log(read.clone()).await?;
        let last = page.events.last().map(StoredEvent::position);
        events.extend(page.events);
        if page.end == PageEnd::Complete || last.is_none() || last == read.after {
            return Ok(events);
        }
        read.after = last;
    }
}

/// Reads everything. Returns what could be read, and whether something could not.
async fn ask(recorder: &dyn Recorder) -> (Answers, bool) {
    let mut answers = Answers::default();
    let mut failed = false;
    let mut note = |name: String, found: Found<Vec<StoredEvent>>, answers: &mut Answers| match found
    {
        Ok(events) => drop(answers.events.insert(name, events)),
        Err(_) => failed = true,
    };
    for read in [LogRead::new(), LogRead::new().backward()] {
        let name = format!("log {:?}", read.direction);
        note(name, whole(recorder, &read).await, &mut answers);
    }
    for number in 0..7 {
        for read in [
            StreamRead::new(stream(number)),
            StreamRead::new(stream(number)).backward(),
        ] {
            let name = format!("stream {number} {:?}", read.direction);
            let page = recorder.read_stream(read).await;
            note(name, page.map(|page| page.events), &mut answers);
        }
    }
    for number in 0..3 {
        let queries = [
            Query::tag(tag(number)),
            Query::topic(topic(number)),
            Query::tag("all"),
        ];
        for query in queries {
            let name = format!("query {query:?}");
            let found = whole(recorder, &LogRead::of(query.clone())).await;
            note(name, found, &mut answers);
            let name = format!("query backward {query:?}");
            let found = whole(recorder, &LogRead::of(query).backward()).await;
            note(name, found, &mut answers);
        }
    }
    for id in 1..=EVENTS {
        let found = recorder.event(EventId::new(Uuid::from_u128(id))).await;
        let found = found.map(|event| event.into_iter().collect());
        note(format!("id {id}"), found, &mut answers);
    }
    let mut keep = |is_ok: bool| failed |= !is_ok;
    let head = recorder.head().await;
    keep(head.is_ok());
    answers.head = head.ok();
    let streams = recorder.streams("", None, 100).await;
    keep(streams.is_ok());
    let streams = streams.unwrap_or_default();
    answers.streams = streams
        .into_iter()
        .map(|it| (it.name, it.version, it.is_deleted))
        .collect();
    let ranges = recorder.processed_ranges(RangeRead::new()).await;
    keep(ranges.is_ok());
    answers.ranges = ranges.unwrap_or_default();
    let (key, upstream) = follower();
    let checkpoint = recorder.checkpoint(&key, upstream).await;
    keep(checkpoint.is_ok());
    answers.checkpoint = checkpoint.ok().flatten();
    for number in 1..7 {
        let snapshot = recorder.snapshot(&stream(number), None).await;
        keep(snapshot.is_ok());
        answers
            .snapshots
            .insert(stream(number), snapshot.ok().flatten());
    }
    (answers, failed)
}

/// Content is never wrong, even if an index hides something.
fn check_content(found: &Answers, truth: &Answers, seed: u64) {
    let recorded = &truth.events["log Forward"];
    for (way, events) in &found.events {
        for event in events {
            let index = usize::try_from(event.position().get()).unwrap() - 1;
            assert_eq!(
                recorded.get(index),
                Some(event),
                "{way} gave another event, RETOLD_SEED={seed}"
            );
        }
        // No event appears twice, or in a result to which it does not belong.
        let expected = &truth.events[way];
        let is_part = events.iter().all(|event| expected.contains(event));
        assert!(
            is_part && events.len() <= expected.len(),
            "{way}, RETOLD_SEED={seed}"
        );
    }
    for range in &found.ranges {
        assert!(
            truth.ranges.contains(range),
            "{range:?}, RETOLD_SEED={seed}"
        );
    }
    for (stream, snapshot) in &found.snapshots {
        assert!(
            snapshot.is_none() || *snapshot == truth.snapshots[stream],
            "{snapshot:?}, RETOLD_SEED={seed}"
        );
    }
}

/// Sends appends that must be refused; returns how many are not.
async fn append_what_must_be_refused(recorder: &dyn Recorder) -> usize {
    let fresh = |id: u128| NewEvent::new(EventId::new(Uuid::from_u128(id)), "Dog.Renamed", "{}");
    let mut accepted = 0;
    let appends = [
        Append::of([fresh(1_001).stream(stream(1))])
            .condition(Condition::stream_at(stream(1), ExpectedVersion::None)),
        Append::of([fresh(1_002).stream(stream(2))]).condition(Condition::stream_at(
            stream(2),
            ExpectedVersion::At(Version::FIRST),
        )),
        Append::of([fresh(1_003)]).condition(Condition::none_match_after(Query::tag(tag(1)), None)),
        Append::of([fresh(1_004)])
            .condition(Condition::none_match_after(Query::topic(topic(2)), None)),
        Append::of([fresh(17)]),
        Append::of([fresh(1_005).stream(stream(6))]),
        Append::of([record(1_006, &stream(3))]).amendment(Amendment::EraseStream {
            stream: stream(3).into(),
            after: None,
            until: Version::new(90).unwrap(),
            parts: ErasedParts::ALL,
        }),
    ];
    for append in appends {
        if let Ok(Appended::Recorded(_)) = recorder.append(append).await {
            accepted += 1;
        }
    }
    accepted
}

async fn is_found(store: &SqliteStore) -> bool {
    if store.verify().await.map_or(true, |found| !found.is_empty()) {
        return true;
    }
    for name in LOGS {
        let Ok(recorder) = store.open_read_only(name).await else {
            return true;
        };
        let report = verify_log(&*recorder, &mut |_| {}).await;
        if report.map_or(true, |report| !report.is_sound()) {
            return true;
        }
    }
    false
}

/// Goal: damage never silently changes results. Method: flip one to three bits of a file, read
/// everything in every way, send appends that must be refused, and verify. What was read is what
/// was recorded; if something is missing or an append was accepted, the verification found damage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_never_silently_change_what_is_read() {
    let seed = env::var("RETOLD_SEED").ok().and_then(|it| it.parse().ok());
    let rounds = env::var("RETOLD_ROUNDS")
        .ok()
        .and_then(|it| it.parse().ok());
    let first = seed.unwrap_or_else(|| fastrand::u64(..1 << 40));
    let rounds = if seed.is_some() {
        1
    } else {
        rounds.unwrap_or(ROUNDS)
    };
    println!("RETOLD_SEED={first} is the first of {rounds}");
    let place = Place::new();
    fill(&place).await;
    let sound = fs::read(place.path()).unwrap();
    let mut truth = Vec::new();
    {
        let store = place.open();
        assert!(!is_found(&store).await);
        for name in LOGS {
            let recorder = store.open_read_only(name).await.unwrap();
            let (answers, failed) = ask(&*recorder).await;
            assert!(!failed);
            truth.push(answers);
        }
    }
    let (mut refused, mut hidden, mut accepted) = (0, 0, 0);
    for seed in first..first + rounds {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = sound.clone();
        for _ in 0..random.usize(1..=3) {
            let at = random.usize(0..bytes.len());
            bytes[at] ^= 1 << random.u8(0..8);
        }
        let place = Place::new();
        fs::write(place.path(), &bytes).unwrap();
        let Ok(store) = SqliteStore::open(place.path()) else {
            refused += 1;
            continue;
        };
        let mut is_different = false;
        let mut accepted_here = 0;
        for ((number, name), truth) in (1..).zip(LOGS).zip(&truth) {
            let Ok(recorder) = store.open(name, LogId::new(Uuid::from_u128(number))).await else {
                continue;
            };
            let (answers, failed) = ask(&*recorder).await;
            check_content(&answers, truth, seed);
            is_different |= !failed && answers != *truth;
        }
        // A verification before the appends separates their effects from the earlier damage.
        let mut was_found = None;
        if is_different {
            hidden += 1;
            was_found = Some(is_found(&store).await);
            assert_eq!(
                was_found,
                Some(true),
                "something is missing, RETOLD_SEED={seed}"
            );
        }
        for (number, name) in (1..).zip(LOGS) {
            let Ok(recorder) = store.open(name, LogId::new(Uuid::from_u128(number))).await else {
                continue;
            };
            accepted_here += append_what_must_be_refused(&*recorder).await;
        }
        if accepted_here > 0 {
            accepted += 1;
            let is_found = was_found.unwrap_or(false) || is_found(&store).await;
            assert!(is_found, "an append was accepted, RETOLD_SEED={seed}");
        }
    }
    println!(
        "{rounds} files: {refused} were not opened, {hidden} gave less and verifying found why, \
         {accepted} accepted an append and verifying found it"
    );
}
