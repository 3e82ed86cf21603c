//! Tables, columns, indexes and schema versions that another program drops or changes: the store is
//! corrupt, which no retry repairs, and each error and finding names the missing part.

use std::time::Duration;

use retold_core::recording::{
    Amendment, Append, Checkpoint, Corrupt, ErasedParts, EventId, FollowerKey, LogId, LogRead,
    Position, ProcessedRange, Query, RangeRead, RecordError, Recorder, Store, StoredSnapshot,
    StreamRead, Version,
};
use retold_sqlite::SqliteStore;
use rusqlite::Connection;
use uuid::Uuid;

use crate::place::{Place, event, log, record};

const TABLES: [&str; 13] = [
    "log",
    "stream",
    "topic",
    "tag",
    "event",
    "event_tag",
    "follower",
    "stretch",
    "eventless_append",
    "snapshot",
    "lease",
    "amending",
    "last_record",
];

fn upstream() -> LogId {
    LogId::new(Uuid::from_u128(77))
}

/// An append that uses every feature of appends.
fn full_append(number: u64) -> Append {
    let checkpoint = |number: u64| Checkpoint {
        position: Position::new(number).unwrap(),
        event_id: EventId::new(Uuid::from_u128(number.into())),
    };
    let after = number.checked_sub(1).and_then(Position::new);
    let range = ProcessedRange::new(FollowerKey::new("f"), upstream(), after, checkpoint(number));
    Append::of([event(number.into()).stream("dog/1").tag("good")]).processed_range(range)
}

/// Performs every operation of a store; returns the errors, each with its operation.
async fn use_all(store: &SqliteStore, dogs: &dyn Recorder) -> Vec<(&'static str, RecordError)> {
    let mut errors = Vec::new();
    let mut note = |what, done: Result<(), RecordError>| {
        errors.extend(done.err().map(|error| (what, error)));
    };
    let key = FollowerKey::new("f");
    let by_tag = LogRead::of(Query::tag("good"));
    let by_topic = LogRead::of(Query::topic("Dog.Registered"));
    note("append", dogs.append(full_append(2)).await.map(drop));
    note("read", dogs.read_log(LogRead::new()).await.map(drop));
    note("tag", dogs.read_log(by_tag).await.map(drop));
    note("topic", dogs.read_log(by_topic).await.map(drop));
    let stream = dogs.read_stream(StreamRead::new("dog/1"));
    note("stream", stream.await.map(drop));
    note(
        "event",
        dogs.event(EventId::new(Uuid::from_u128(1))).await.map(drop),
    );
    note("head", dogs.head().await.map(drop));
    note("streams", dogs.streams("", None, 10).await.map(drop));
    let ranges = dogs.processed_ranges(RangeRead::new());
    note("processed ranges", ranges.await.map(drop));
    note(
        "checkpoint",
        dogs.checkpoint(&key, upstream()).await.map(drop),
    );
    let snapshot = StoredSnapshot::new("dog/1", Version::FIRST, "Dog", "{}");
    note("put snapshot", dogs.put_snapshot(snapshot).await.map(drop));
    note("snapshot", dogs.snapshot("dog/1", None).await.map(drop));
    let erase = Append::of([record(100, "dog/1")]).amendment(Amendment::EraseStream {
        stream: "dog/1".into(),
        after: None,
        until: Version::FIRST,
        parts: ErasedParts::ALL,
    });
    note("erase", dogs.append(erase).await.map(drop));
    let lease = store.acquire_lease("unit", "node", Duration::from_secs(60));
    note("lease", lease.await.map(drop));
    note("leases", store.leases("", None, 10).await.map(drop));
    note("logs", store.logs(None, 10).await.map(drop));
    errors
}

#[track_caller]
fn check_all_are_corrupt(errors: &[(&str, RecordError)], changed: &str) {
    for (what, error) in errors {
        assert!(
            matches!(error, RecordError::Corrupt(_)),
            "{changed}: {what}: {error:?}"
        );
    }
}

async fn findings(store: &SqliteStore) -> Vec<String> {
    let found = store.verify().await.unwrap();
    found.iter().map(Corrupt::to_string).collect()
}

/// Opens a store with an event while another program changes its file with this SQL.
async fn changed_by(sql: &str) -> (Place, SqliteStore, Vec<(&'static str, RecordError)>) {
    let place = Place::new();
    let store = place.open();
    let dogs = log(&store, "dogs").await;
    dogs.append(full_append(1)).await.unwrap();
    assert!(
        use_all(&place.open(), &*log(&place.open(), "cats").await)
            .await
            .is_empty()
    );
    let other = Connection::open(place.path()).unwrap();
    other.busy_timeout(Duration::from_secs(60)).unwrap();
    other.execute_batch(sql).expect(sql);
    let errors = use_all(&store, &*dogs).await;
    check_all_are_corrupt(&errors, sql);
    (place, store, errors)
}

#[tokio::test]
async fn a_table_that_is_dropped_is_corrupt() {
    for table in TABLES {
        let (place, store, errors) = changed_by(&format!("DROP TABLE {table}")).await;
        assert!(!errors.is_empty(), "{table}");
        let says_which = |error: &RecordError| error.to_string().contains(table);
        assert!(
            errors.iter().all(|(_, error)| says_which(error)),
            "{table}: {errors:?}"
        );
        let missing = format!("the table {table}: it no longer exists");
        let found = findings(&store).await;
        assert!(found.iter().any(|it| it.contains(&missing)), "{found:?}");
        drop(store);

        let error = SqliteStore::open(place.path()).expect_err("a table is missing");
        assert!(
            matches!(error, RecordError::Corrupt(_)),
            "{table}: {error:?}"
        );
        assert!(says_which(&error), "{error}");
        // It can still be read, to save the remaining data.
        let reading = SqliteStore::open_read_only(place.path()).unwrap();
        let found = findings(&reading).await;
        assert!(found.iter().any(|it| it.contains(&missing)), "{found:?}");
    }
}

#[tokio::test]
async fn a_column_that_is_renamed_is_corrupt() {
    for (table, column) in [
        ("log", "born_at"),
        ("event", "origin"),
        ("event_tag", "seq"),
        ("stretch", "head"),
        ("snapshot", "state_type"),
        ("lease", "term"),
    ] {
        let sql = format!("ALTER TABLE {table} RENAME COLUMN {column} TO other");
        let (place, store, errors) = changed_by(&sql).await;
        // The statements that name it; only the creation of a log does not name its columns.
        assert!(!errors.is_empty() || column == "born_at", "{sql}");
        let changed = format!("the table {table}: it was changed");
        drop(store);
        // It opens and reports its findings.
        let found = findings(&place.open()).await;
        assert!(found.iter().any(|it| it.contains(&changed)), "{found:?}");
    }
}

/// Without an index an operation is slow, or refused if it depends on the index.
#[tokio::test]
async fn an_index_or_trigger_that_is_dropped_is_found_when_the_file_is_opened() {
    for (kind, name) in [
        ("index", "event_id"),
        ("index", "event_stream"),
        ("index", "event_topic"),
        ("index", "stretch_follower"),
        ("trigger", "event_never_changes"),
        ("trigger", "log_is_never_deleted"),
    ] {
        let (place, store, errors) = changed_by(&format!("DROP {kind} {name}")).await;
        if name == "event_stream" {
            assert!(!errors.is_empty());
        }
        let missing = format!("the {kind} {name}: it no longer exists");
        let found = findings(&store).await;
        assert!(found.iter().any(|it| it.contains(&missing)), "{found:?}");
        drop(store);
        // The next opening keeps the finding, even if the part is recreated afterwards.
        let store = place.open();
        assert!(
            findings(&store)
                .await
                .iter()
                .any(|it| it.contains(&missing))
        );
    }
}

/// Goal: a program does not write with its statements into a file that another version of Retold
/// has converted while it was open.
#[tokio::test]
async fn a_version_of_the_schema_that_changes_under_a_store_is_corrupt() {
    let (place, store, errors) = changed_by("PRAGMA user_version = 5").await;
    let append = errors.iter().find(|(what, _)| *what == "append");
    let (_, error) = append.expect("nothing is written");
    let text = error.to_string();
    assert!(
        text.contains("changed from 4 to 5 while it was open"),
        "{text}"
    );
    let conn = Connection::open(place.path()).unwrap();
    let count: i64 = conn
        .query_row("SELECT count(*) FROM event", [], |row| row.get(0))
        .unwrap();
    // One event of one log, and two and an erasure of the other, from before the change.
    assert_eq!(count, 3);
    drop(store);
    let error = SqliteStore::open(place.path()).expect_err("another version");
    assert!(matches!(error, RecordError::Invalid(_)), "{error}");

    // If a table was converted too, reads are refused as well.
    let sql = "ALTER TABLE event ADD COLUMN other INTEGER; PRAGMA user_version = 5";
    let (_, _, errors) = changed_by(sql).await;
    assert!(errors.iter().any(|(what, _)| *what == "read"), "{errors:?}");
}
