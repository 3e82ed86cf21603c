//! Purging: after it, the bytes of erased and replaced data are in no file of the tables. Every
//! file of the server's databases is searched, after a checkpoint.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use retold_core::recording::{
    AMENDED_TOPIC, Amendment, Append, ERASED_TOPIC, ErasedParts, EventId, LogRead, NewEvent,
    RecordError, Recorder, Replacement, Store, StoredSnapshot, Version,
};
use retold_postgres::{PostgresStore, roles_sql};
use tokio_postgres::Client;
use uuid::Uuid;
use xtask::postgres_server::PostgresServer;

use crate::database::{Database, block_on, connect, until};
use crate::writers::dogs;

/// Texts that are erased or replaced, each in another place.
const SECRETS: [&str; 6] = [
    "short-secret",
    "long-secret",
    "metadata-secret",
    "tag-secret",
    "snapshot-secret",
    "replaced-secret",
];

fn id(number: u128) -> EventId {
    EventId::new(Uuid::from_u128(number))
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files_below(&path, found),
            false => found.push(path),
        }
    }
}

/// Returns which secrets are in the files of the server's databases.
async fn find(server: &PostgresServer, admin: &Client) -> Vec<&'static str> {
    // The second waits until files that were dropped before the first are removed.
    for _ in 0..2 {
        admin.batch_execute("CHECKPOINT").await.unwrap();
    }
    let mut files = Vec::new();
    files_below(&server.folder().join("data/base"), &mut files);
    let mut found = SECRETS.to_vec();
    let contents: Vec<Vec<u8>> = files
        .iter()
        .filter_map(|path| fs::read(path).ok())
        .collect();
    found.retain(|secret| {
        let secret = secret.as_bytes();
        let is_in = |bytes: &Vec<u8>| bytes.windows(secret.len()).any(|it| it == secret);
        contents.iter().any(is_in)
    });
    found
}

/// Records events with all secrets among others, so that pages have both.
async fn fill(log: &dyn Recorder) {
    for number in 1..=200_u128 {
        let stream = format!("dog/{}", number % 4);
        let payload = match number % 4 {
            0 => format!("{{\"name\":\"short-secret {number}\"}}"),
            1 => format!("[{:?}]", "long-secret".repeat(3_000)),
            2 => "{\"name\":\"replaced-secret\"}".to_owned(),
            _ => format!("{{\"kept\":{number}}}"),
        };
        let mut event = NewEvent::new(id(number), "Named", payload).stream(stream);
        if number % 4 < 2 {
            event = event
                .tag(format!("tag-secret-{number}"))
                .metadata("{\"user\":\"metadata-secret\"}");
        }
        log.append(Append::of([event.tag("kept")])).await.unwrap();
    }
    let snapshot = format!("[{:?}]", "snapshot-secret".repeat(30));
    let snapshot = StoredSnapshot::new("dog/0", Version::FIRST, "Dog", snapshot);
    log.put_snapshot(snapshot).await.unwrap();
}

/// Erases and replaces them.
async fn amend(log: &dyn Recorder) {
    for number in 0..2 {
        let stream = format!("dog/{number}");
        let record = NewEvent::new(id(900 + number), ERASED_TOPIC, "{}");
        let erase = Amendment::EraseStream {
            stream: stream.as_str().into(),
            after: None,
            until: Version::new(50).unwrap(),
            parts: ErasedParts::ALL,
        };
        let append = Append::of([record.stream(stream)]).amendment(erase);
        log.append(append).await.unwrap();
    }
    let record = NewEvent::new(id(902), AMENDED_TOPIC, "{}").stream("dog/2");
    let mut append = Append::of([record]);
    for event in log.read_log(LogRead::new()).await.unwrap().events {
        if event.stream() == Some("dog/2") {
            append = append.amendment(Amendment::ReplaceEvent {
                event: event.id(),
                stream: Some("dog/2".into()),
                replacement: Replacement::of(&event, "{}").unwrap(),
            });
        }
    }
    log.append(append).await.unwrap();
}

/// Goal: nothing of what was erased or replaced is left in the files of tables, of their indexes,
/// of large values, and of statistics. Method: the files are searched before and after.
#[test]
fn nothing_is_left_in_the_files_of_the_tables() {
    block_on(async {
        let server = PostgresServer::start().unwrap_or_else(|error| panic!("{error}"));
        let admin = connect(&server.url("postgres")).await;
        let store = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let log = dogs(&store).await;
        fill(&*log).await;
        admin.batch_execute("ANALYZE").await.unwrap();
        assert_eq!(
            find(&server, &admin).await,
            SECRETS,
            "they are there before"
        );
        amend(&*log).await;
        let purged = store.purge().await.unwrap();
        assert_eq!(find(&server, &admin).await, [""; 0], "{purged:?}");
        assert_eq!(purged.remains.len(), 1, "{purged:?}");
        assert!(purged.remains[0].contains("write-ahead log"), "{purged:?}");
        let events = log.read_log(LogRead::new()).await.unwrap().events;
        assert_eq!(events.len(), 203);
        assert_eq!(store.verify().await.unwrap(), []);
        let append = Append::of([NewEvent::new(id(999), "Named", "{}")]);
        log.append(append).await.unwrap();
    });
}

/// Goal: a purge does not make others wait for a transaction that reads a table, and says what it
/// left. Method: a transaction that has read the events stays open while the store is purged, and
/// an append comes while the purge waits to lock the table.
#[test]
fn a_purge_does_not_wait_for_a_long_transaction() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let log = dogs(&store).await;
        fill(&*log).await;
        amend(&*log).await;
        let mut reader = database.client().await;
        let reading = reader.transaction().await.unwrap();
        reading.execute("TABLE retold.event", &[]).await.unwrap();
        let purge = store.purge();
        let append = async {
            let client = database.client().await;
            let waits = "SELECT count(*) > 0 FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'
                AND query LIKE 'VACUUM (FULL%'";
            until(async || client.query_one(waits, &[]).await.unwrap().get(0)).await;
            let begun = Instant::now();
            let append = Append::of([NewEvent::new(id(999), "Named", "{}")]);
            log.append(append).await.unwrap();
            begun.elapsed()
        };
        let (purged, waited) = tokio::join!(purge, append);
        let purged = purged.unwrap();
        assert!(waited < Duration::from_secs(5), "{waited:?}");
        assert!(
            purged.remains[1].contains("\"retold\".event was not rewritten"),
            "{purged:?}"
        );
        reading.rollback().await.unwrap();
        assert_eq!(store.purge().await.unwrap().remains.len(), 1);
    });
}

/// Goal: values of columns in the planner's statistics are reported. Method: someone switches them
/// on again.
#[test]
fn statistics_with_values_are_reported() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        fill(&*dogs(&store).await).await;
        let client = database.client().await;
        let count = "ALTER TABLE retold.event_tag ALTER COLUMN tag SET STATISTICS 100; ANALYZE";
        client.batch_execute(count).await.unwrap();
        let purged = store.purge().await.unwrap();
        assert!(
            purged.remains[1].contains("the columns event_tag.tag;"),
            "{purged:?}"
        );
    });
}

/// Goal: what keeps old versions of rows is reported, and a purge is refused where it could never
/// succeed.
#[test]
fn what_prevents_a_purge_is_reported() {
    block_on(async {
        let server = PostgresServer::start().unwrap_or_else(|error| panic!("{error}"));
        let mut admin = connect(&server.url("postgres")).await;
        let store = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let log = dogs(&store).await;
        fill(&*log).await;
        let reading = admin.build_transaction();
        let reading = reading.isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
        let reading = reading.start().await.unwrap();
        let count = "SELECT count(*) FROM retold.event";
        reading.query_one(count, &[]).await.unwrap();
        amend(&*log).await;
        let purged = store.purge().await.unwrap();
        assert!(
            purged.remains[1].contains("old versions of rows are still there"),
            "{purged:?}"
        );
        reading.rollback().await.unwrap();
        assert_eq!(store.purge().await.unwrap().remains.len(), 1);

        let roles = format!(
            "{}; CREATE ROLE eraser LOGIN IN ROLE retold_amender",
            roles_sql("retold").unwrap()
        );
        admin.batch_execute(&roles).await.unwrap();
        let url = server.url("postgres").replace("retold@", "eraser@");
        let purged = PostgresStore::open(&url).await.unwrap().purge().await;
        let purged = purged.unwrap();
        assert!(
            purged.remains[1].contains("As the owner, \"retold\", run: VACUUM"),
            "{purged:?}"
        );
        let url = server.url("postgres");
        let read_only = PostgresStore::open_read_only(&url).await.unwrap();
        let refused = read_only.purge().await;
        assert!(
            matches!(refused, Err(RecordError::Invalid(_))),
            "{refused:?}"
        );
    });
}
