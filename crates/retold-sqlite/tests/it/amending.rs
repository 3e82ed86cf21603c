//! Amendments under faults: a full disk, a write-ahead log that was cut off, damage, and several
//! stores and groups at the same time. An append with amendments is made as a whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use retold_core::recording::{
    Amendment, AmendmentConflict, Append, Appended, Conflict, ErasedParts, EventId, LogRead,
    Metadata, Query, RecordError, Recorder, Replacement, Store, StoredEvent, StoredSnapshot,
    Version, verify_log,
};
use retold_sqlite::{SqliteInlineProjections, SqliteOptions, SqliteStore};
use rusqlite::Connection;
use uuid::Uuid;

use crate::place::{Place, event, log, patient, record};
use crate::tricks::{TrickAdded, read, tables, tricks};

const STREAM: &str = "dog/1";
const EVENTS: u64 = 6;

/// Records six events in a stream, each with tags, and a snapshot.
async fn fill(dogs: &dyn Recorder) {
    for id in 1..=u128::from(EVENTS) {
        let mut event = event(id).stream(STREAM).tag("all").tag(format!("nr:{id}"));
        event.payload = Some(format!("{:?}", "x".repeat(700 * id as usize)).into());
        event = event.metadata(Metadata::new().with("user", "ann").to_bytes());
        dogs.append(Append::of([event])).await.unwrap();
    }
    let snapshot = StoredSnapshot::new(STREAM, Version::FIRST, "Dog", "{}");
    dogs.put_snapshot(snapshot).await.unwrap();
}

fn id(number: u128) -> EventId {
    EventId::new(Uuid::from_u128(number))
}

fn erase(event: u128) -> Amendment {
    Amendment::EraseEvent {
        event: id(event),
        stream: Some(STREAM.into()),
        parts: ErasedParts::ALL,
    }
}

/// Erases the first three events, and replaces the fourth by a larger one with other tags.
async fn all_kinds(dogs: &dyn Recorder, number: u128, size: usize) -> Append {
    let fourth = dogs.event(id(4)).await.unwrap().unwrap();
    let payload = format!("{:?}", "y".repeat(size));
    let mut replacement = Replacement::of(&fourth, payload).unwrap();
    replacement.topic = "Dog.Renamed".into();
    replacement.tags = ["new".into(), "all".into()].into();
    Append::of([record(number, STREAM), event(number + 1).tag("nr:1")])
        .amendment(Amendment::EraseStream {
            stream: STREAM.into(),
            after: None,
            until: Version::new(2).unwrap(),
            parts: ErasedParts::PAYLOAD,
        })
        .amendment(erase(3))
        .amendment(Amendment::ReplaceEvent {
            event: id(4),
            stream: Some(STREAM.into()),
            replacement,
        })
}

/// Everything that the log shows.
#[derive(Debug, PartialEq)]
struct Content {
    events: Vec<StoredEvent>,
    by_tag: Vec<Vec<u64>>,
    topics: Vec<Arc<str>>,
    has_snapshot: bool,
    append_count: u64,
}

async fn content(dogs: &dyn Recorder) -> Content {
    let mut by_tag = Vec::new();
    for tag in ["all", "new", "nr:1", "nr:3", "nr:4"] {
        let page = dogs.read_log(LogRead::of(Query::tag(tag))).await.unwrap();
        let positions = page.events.iter().map(|event| event.position().get());
        by_tag.push(positions.collect());
    }
    Content {
        events: dogs.read_log(LogRead::new()).await.unwrap().events,
        by_tag,
        topics: dogs.topics(None, 10).await.unwrap(),
        has_snapshot: dogs.snapshot(STREAM, None).await.unwrap().is_some(),
        append_count: dogs.head().await.unwrap().append_count,
    }
}

#[track_caller]
fn check_amended(content: &Content) {
    let erased: Vec<_> = content.events.iter().map(StoredEvent::is_erased).collect();
    let first_three = [true, true, true, false, false, false, false, false];
    assert_eq!(erased, first_three);
    assert_eq!(content.events[0].tags().count(), 2);
    assert_eq!(content.events[2].tags().count(), 0);
    assert_eq!(content.events[3].topic(), "Dog.Renamed");
    let by_tag = [vec![1, 2, 4, 5, 6], vec![4], vec![1, 8], vec![], vec![]];
    assert_eq!(content.by_tag, by_tag);
    let topics = ["Dog.Registered", "Dog.Renamed", "retold.erased"].map(Arc::from);
    assert_eq!(content.topics, topics);
    assert!(!content.has_snapshot);
}

async fn check_is_sound(store: &SqliteStore) {
    assert_eq!(store.verify().await.unwrap(), []);
    let dogs = store.open_read_only("dogs").await.unwrap();
    let report = verify_log(&*dogs, &mut |_| {}).await.unwrap();
    assert_eq!(report.findings, []);
}

#[tokio::test]
async fn an_append_may_amend_in_every_way() {
    let place = Place::new();
    let store = place.open();
    let dogs = log(&store, "dogs").await;
    fill(&*dogs).await;
    let append = all_kinds(&*dogs, 100, 9_000).await;
    dogs.append(append.clone()).await.unwrap();
    let amended = content(&*dogs).await;
    check_amended(&amended);
    let again = dogs.append(append).await.unwrap();
    assert!(matches!(again, Appended::Repeated(_)), "{again:?}");
    assert_eq!(content(&*dogs).await, amended);
    check_is_sound(&store).await;
    // The text of a tag that no event has any more is gone, and may come back.
    let conn = Connection::open(place.path()).unwrap();
    let tags = || -> Vec<String> {
        let mut select = conn.prepare("SELECT name FROM tag ORDER BY name").unwrap();
        let names = select.query_map([], |row| row.get(0)).unwrap();
        names.collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(tags(), ["all", "new", "nr:1", "nr:2", "nr:5", "nr:6"]);
    dogs.append(Append::of([event(200).tag("nr:3")]))
        .await
        .unwrap();
    assert_eq!(tags()[4], "nr:3");
    let found = dogs
        .read_log(LogRead::of(Query::tag("nr:3")))
        .await
        .unwrap();
    assert_eq!(found.events.len(), 1);
    check_is_sound(&store).await;
}

/// Goal: nothing of an append is recorded if the disk has no room for all of it, wherever it fails.
/// Method: the file may have one page more each time, until the append has room.
#[tokio::test]
async fn a_full_disk_amends_nothing() {
    let place = Place::new();
    let store = place.open();
    let dogs = log(&store, "dogs").await;
    fill(&*dogs).await;
    let before = content(&*dogs).await;
    drop((dogs, store));
    let size = fs::metadata(place.path()).unwrap().len();
    let mut refused = 0;
    loop {
        let options = SqliteOptions::new().file_size_max(size + refused * 4096);
        let store = SqliteStore::open_with(place.path(), &options).unwrap();
        let dogs = log(&store, "dogs").await;
        match dogs.append(all_kinds(&*dogs, 100, 60_000).await).await {
            Ok(_) => {
                check_amended(&content(&*dogs).await);
                check_is_sound(&store).await;
                break;
            }
            Err(RecordError::Unavailable(_)) => {
                assert_eq!(content(&*dogs).await, before);
                check_is_sound(&store).await;
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 5, "it failed at few places: {refused}");
}

fn sibling(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Goal: a process that is killed, or a power cut, at any step of an append with amendments leaves
/// all of it or nothing. Method: cut the write-ahead log off within each of its frames and after
/// it, and open the file as it would be found then.
#[tokio::test]
async fn an_append_that_was_cut_off_amended_nothing() {
    let (header, frame) = (32, 24 + 4096);
    let living = Place::new();
    let store = living.open();
    let dogs = log(&store, "dogs").await;
    fill(&*dogs).await;
    let before = content(&*dogs).await;
    let other = Connection::open(living.path()).unwrap();
    other
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    dogs.append(all_kinds(&*dogs, 100, 60_000).await)
        .await
        .unwrap();
    let wal = fs::read(sibling(&living.path(), "-wal")).unwrap();
    let frames = (wal.len() - header) / frame;
    assert!(frames > 20, "{frames}");
    for cut in (0..=frames).flat_map(|it| [it * frame, it * frame + frame / 2]) {
        let left = Place::new();
        fs::copy(living.path(), left.path()).unwrap();
        let end = (header + cut).min(wal.len());
        fs::write(sibling(&left.path(), "-wal"), &wal[..end]).unwrap();
        let store = left.open();
        let dogs = log(&store, "dogs").await;
        if end == wal.len() {
            check_amended(&content(&*dogs).await);
        } else {
            assert_eq!(content(&*dogs).await, before, "cut at {end}");
            // The same append settles it.
            dogs.append(all_kinds(&*dogs, 100, 60_000).await)
                .await
                .unwrap();
            check_amended(&content(&*dogs).await);
        }
        check_is_sound(&store).await;
    }
}

/// Of two erasures of one event, by one store or by two, exactly one is recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_erased_once() {
    let place = Place::new();
    let stores = [place.open(), place.open()];
    let logs = [log(&stores[0], "dogs").await, log(&stores[1], "dogs").await];
    fill(&*logs[0]).await;
    for event in 1..=u128::from(EVENTS) {
        let attempts = (0..6).map(|attempt| {
            let recorder = logs[attempt % 2].clone();
            let append = Append::of([record(event * 100 + attempt as u128, STREAM)]);
            tokio::spawn(async move { recorder.append(append.amendment(erase(event))).await })
        });
        let mut recorded = 0;
        for answer in join_all(attempts).await {
            match answer.unwrap() {
                Ok(Appended::Recorded(_)) => recorded += 1,
                Err(RecordError::Conflict(Conflict::Amendment {
                    amendment: 0,
                    reason,
                })) => {
                    assert_eq!(reason, AmendmentConflict::Erased);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(recorded, 1);
    }
    let version = logs[0].streams("", None, 1).await.unwrap()[0].version;
    assert_eq!(version.get(), 2 * EVENTS);
    check_is_sound(&stores[1]).await;
}

/// A stream that another process deletes is closed for this one, although its writer remembers it.
#[tokio::test]
async fn a_stream_that_another_process_deleted_is_closed() {
    let place = Place::new();
    let (one, other) = (place.open(), place.open());
    let (dogs, others) = (log(&one, "dogs").await, log(&other, "dogs").await);
    fill(&*dogs).await;
    let topic = |number, topic: &'static str| {
        let mut event = record(number, STREAM);
        event.topic = topic.into();
        Append::of([event])
    };
    let deleted = others.append(topic(100, "retold.deleted")).await.unwrap();
    let position = deleted.positions().first().unwrap();
    let append = Append::of([event(101), event(102).stream(STREAM)]);
    match dogs.append(append.clone()).await {
        Err(RecordError::Conflict(Conflict::Deleted { stream, record })) => {
            assert_eq!((&*stream, record.position), (STREAM, position));
            assert_eq!(record.event_id, id(100));
        }
        other => panic!("{other:?}"),
    }
    assert!(dogs.streams("", None, 1).await.unwrap()[0].is_deleted);
    others.append(topic(103, "retold.reopened")).await.unwrap();
    dogs.append(append).await.unwrap();
    assert!(!dogs.streams("", None, 1).await.unwrap()[0].is_deleted);
}

/// Goal: damage is not covered up by an amendment. Method: change a row behind the triggers, erase
/// it in a group with another append.
#[tokio::test]
async fn a_damaged_event_is_not_amended() {
    for damage in [
        "UPDATE event SET time = 99 WHERE version = 2",
        "UPDATE event SET payload = x'00' WHERE version = 2",
        "DELETE FROM event_tag WHERE seq & 255 = 2 AND tag = (SELECT min(key) FROM tag)",
        "UPDATE event SET id = x'00000000000000000000000000000077' WHERE version = 2",
        "DELETE FROM event WHERE version = 2",
    ] {
        let place = Place::new();
        let store = place.open();
        let dogs = log(&store, "dogs").await;
        fill(&*dogs).await;
        let other = Connection::open(place.path()).unwrap();
        other
            .execute_batch(
                "DROP TRIGGER event_never_changes; DROP TRIGGER event_tag_is_never_deleted;
                 DROP TRIGGER event_is_never_deleted",
            )
            .unwrap();
        other.execute_batch(damage).unwrap();
        let until = Version::new(3).unwrap();
        let erase = Append::of([record(100, STREAM)]).amendment(Amendment::EraseStream {
            stream: STREAM.into(),
            after: None,
            until,
            parts: ErasedParts::ALL,
        });
        let (refused, fine) = tokio::join!(
            dogs.append(erase),
            dogs.append(Append::of([event(101).stream(STREAM)]))
        );
        assert!(
            matches!(refused, Err(RecordError::Corrupt(_))),
            "{damage}: {refused:?}"
        );
        assert!(fine.is_ok(), "{damage}: {fine:?}");
        let read = "SELECT count(*) FROM event WHERE payload IS NULL";
        let erased: i64 = other.query_row(read, [], |row| row.get(0)).unwrap();
        assert_eq!(erased, 0, "{damage}");
        let left = "SELECT count(*) FROM amending";
        let left: i64 = other.query_row(left, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{damage}");
    }
}

/// A record drops the snapshots of a stream only with an amendment that changes an event of it. One
/// that changes nothing there leaves them, and the store is as sound as before.
#[tokio::test]
async fn a_snapshot_before_a_record_without_changes_is_sound() {
    let place = Place::new();
    let store = place.open();
    let dogs = log(&store, "dogs").await;
    dogs.append(Append::of([event(50)])).await.unwrap();
    fill(&*dogs).await;
    let erase_first = || Amendment::EraseStream {
        stream: STREAM.into(),
        after: None,
        until: Version::FIRST,
        parts: ErasedParts::ALL,
    };
    let append = Append::of([record(100, STREAM)]).amendment(erase_first());
    dogs.append(append).await.unwrap();
    let last = Version::new(EVENTS + 1).unwrap();
    let snapshot = StoredSnapshot::new(STREAM, last, "Dog", "{}");
    dogs.put_snapshot(snapshot).await.unwrap();

    let mut deleted = record(101, STREAM);
    deleted.topic = "retold.deleted".into();
    let mut reopened = record(102, STREAM);
    reopened.topic = "retold.reopened".into();
    let elsewhere = Amendment::EraseEvent {
        event: id(50),
        stream: None,
        parts: ErasedParts::ALL,
    };
    for append in [
        Append::of([deleted]),
        Append::of([reopened]),
        Append::of([record(103, STREAM)]).amendment(elsewhere),
        // Nothing is left to erase.
        Append::of([record(104, STREAM)]).amendment(erase_first()),
    ] {
        dogs.append(append).await.unwrap();
        assert!(dogs.snapshot(STREAM, None).await.unwrap().is_some());
        check_is_sound(&store).await;
    }
}

/// Whichever topic the record of a replacement has, the log is sound without the former topic.
#[tokio::test]
async fn any_record_may_be_that_of_a_replacement() {
    for topic in [
        "retold.erased",
        "retold.amended",
        "retold.deleted",
        "retold.reopened",
    ] {
        let place = Place::new();
        let store = place.open();
        let dogs = log(&store, "dogs").await;
        dogs.append(Append::of([event(1).stream(STREAM)]))
            .await
            .unwrap();
        let first = dogs.event(id(1)).await.unwrap().unwrap();
        let mut replacement = Replacement::of(&first, "{}").unwrap();
        replacement.topic = "Dog.Renamed".into();
        let mut record = record(2, STREAM);
        record.topic = topic.into();
        let replace = Amendment::ReplaceEvent {
            event: id(1),
            stream: Some(STREAM.into()),
            replacement,
        };
        dogs.append(Append::of([record]).amendment(replace))
            .await
            .unwrap();
        check_is_sound(&store).await;
    }
}

/// Goal: a state from before an amendment is never stored as a snapshot, whichever process has it.
/// Method: a store puts it after another has amended the stream, or recorded an amendment there.
#[tokio::test]
async fn a_snapshot_from_before_the_record_of_another_process_is_not_stored() {
    let place = Place::new();
    let (one, other) = (place.open(), place.open());
    let (dogs, others) = (log(&one, "dogs").await, log(&other, "dogs").await);
    fill(&*dogs).await;
    let snapshot = |version| {
        let version = Version::new(version).unwrap();
        StoredSnapshot::new(STREAM, version, "Dog", "{}")
    };
    let stored = async || {
        let found = dogs.snapshot(STREAM, None).await.unwrap();
        found.map(|it| it.version.get())
    };
    let mut reopened = record(101, STREAM);
    reopened.topic = "retold.reopened".into();
    let amendments = [
        Append::of([record(100, STREAM)]).amendment(erase(1)),
        Append::of([reopened]),
    ];
    for (append, record) in amendments.into_iter().zip(EVENTS + 1..) {
        dogs.put_snapshot(snapshot(record - 1)).await.unwrap();
        assert_eq!(stored().await, Some(record - 1));
        let count = dogs.head().await.unwrap().append_count;
        others.append(append).await.unwrap();
        assert_eq!(dogs.head().await.unwrap().append_count, count + 1);
        dogs.drop_snapshots(STREAM).await.unwrap();
        for early in [1, record - 1] {
            dogs.put_snapshot(snapshot(early)).await.unwrap();
            assert_eq!(stored().await, None, "{early}");
        }
        dogs.put_snapshot(snapshot(record)).await.unwrap();
        assert_eq!(stored().await, Some(record));
    }
    check_is_sound(&one).await;
    for (changed, noted) in [
        ("DELETE FROM last_record", "none"),
        ("INSERT INTO last_record VALUES (1, 3)", "3"),
    ] {
        let conn = Connection::open(place.path()).unwrap();
        conn.execute_batch(changed).unwrap();
        let found = one.verify().await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        let what = format!("the table last_record has {noted}");
        assert!(found[0].what().contains(&what), "{found:?}");
    }
}

/// A log that another program has opened for amendments stays open until someone looks at it.
#[tokio::test]
async fn an_amendment_does_not_hide_that_the_log_was_open() {
    let place = Place::new();
    let store = place.open();
    let dogs = log(&store, "dogs").await;
    fill(&*dogs).await;
    let other = Connection::open(place.path()).unwrap();
    other
        .execute_batch("INSERT INTO amending SELECT 1, max(seq) FROM event")
        .unwrap();
    let append = Append::of([record(100, STREAM)]).amendment(erase(1));
    dogs.append(append).await.unwrap();
    let found = store.verify().await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].what().contains("open for amendments"), "{found:?}");
}

#[tokio::test]
async fn a_read_only_store_does_not_amend() {
    let place = Place::new();
    fill(&*log(&place.open(), "dogs").await).await;
    let store = SqliteStore::open_read_only(place.path()).unwrap();
    let dogs = store.open_read_only("dogs").await.unwrap();
    let append = Append::of([record(100, STREAM)]).amendment(erase(1));
    let error = dogs.append(append).await.unwrap_err();
    assert!(matches!(error, RecordError::Invalid(_)), "{error}");
}

/// An inline projection that refuses the events of an append refuses its amendments, too.
#[tokio::test]
async fn amendments_are_made_with_the_views() {
    let place = Place::new();
    let inline = SqliteInlineProjections::new().with(tricks(1), tables());
    let store = SqliteStore::open_with_projections(place.path(), &patient(), inline).unwrap();
    let dogs = log(&store, "dogs").await;
    fill(&*dogs).await;
    let before = content(&*dogs).await;
    let with = |tricks: &[&str], number| {
        let events = TrickAdded::append(tricks.iter().copied());
        events.event(record(number, STREAM)).amendment(erase(1))
    };
    let refused = dogs.append(with(&["sit", "bite"], 100)).await;
    assert!(
        matches!(refused, Err(RecordError::Invalid(_))),
        "{refused:?}"
    );
    assert_eq!(content(&*dogs).await, before);
    dogs.append(with(&["sit"], 100)).await.unwrap();
    assert!(content(&*dogs).await.events[0].is_erased());
    assert_eq!(read(&store.views()), ["sit"]);
    // A conflict of an amendment leaves the view as it was.
    let refused = dogs.append(with(&["fetch"], 101)).await;
    assert!(
        matches!(refused, Err(RecordError::Conflict(_))),
        "{refused:?}"
    );
    assert_eq!(read(&store.views()), ["sit"]);
    dogs.append(TrickAdded::append(["roll"])).await.unwrap();
    assert_eq!(read(&store.views()), ["sit", "roll"]);
    check_is_sound(&store).await;
}
