//! What faults leave: a server that is killed under load, backends that are terminated at any moment.
//! Writers send again what they do not know, and in the end every append is there once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use retold_core::recording::append::{Append, Appended};
use retold_core::recording::error::RecordError;
use retold_core::recording::identity::{EventId, LogId};
use retold_core::recording::new_event::NewEvent;
use retold_core::recording::recorder::{LogRead, PageEnd, Recorder};
use retold_core::recording::store::Store;
use retold_postgres::PostgresStore;
use tokio_postgres::NoTls;
use uuid::Uuid;
use xtask::postgres_server::PostgresServer;

use crate::database::{Database, block_on};

/// Writers at the same time.
const WRITERS: u128 = 4;
/// Longest that a writer tries one append while the server comes and goes.
const PATIENCE: Duration = Duration::from_secs(60);

fn append_of(writer: u128, number: u128) -> Append {
    let id = |index: u128| EventId::new(Uuid::from_u128(writer * 1_000_000 + number * 10 + index));
    let stream = format!("dog/{writer}");
    let event = |index| NewEvent::new(id(index), "Dog.TrickAdded", "{}").tag("t");
    Append::of([event(1).stream(stream), event(2)])
}

/// Writes until told to stop; sends each append again until it is settled. Returns how many are there.
async fn write(
    log: Arc<dyn Recorder>,
    writer: u128,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> u128 {
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        let append = append_of(writer, number);
        let begun = Instant::now();
        let mut was_unknown = false;
        loop {
            match log.append(append.clone()).await {
                Ok(Appended::Recorded(_)) => break,
                Ok(Appended::Repeated(_)) => {
                    assert!(was_unknown, "only what was unknown can be there already");
                    break;
                }
                Err(RecordError::OutcomeUnknown(_)) => was_unknown = true,
                Err(RecordError::Unavailable(_)) => {}
                other => panic!("{other:?}"),
            }
            assert!(begun.elapsed() < PATIENCE, "the store does not come back");
            tokio::task::yield_now().await;
        }
        number += 1;
        done.fetch_add(1, Ordering::SeqCst);
    }
    number
}

/// Waits until writers have done so many appends more.
async fn progress(done: &AtomicU64, more: u64) {
    let target = done.load(Ordering::SeqCst) + more;
    while done.load(Ordering::SeqCst) < target {
        tokio::task::yield_now().await;
    }
}

/// Every append of every writer is there once, as a whole, in one order.
async fn check_all(log: &dyn Recorder, counts: &[u128]) {
    let (mut events, mut read) = (Vec::new(), LogRead::new());
    loop {
        let page = log.read_log(read.clone()).await.unwrap();
        read = read.after(page.read_to_position());
        events.extend(page.events);
        if page.end == PageEnd::Complete {
            break;
        }
    }
    for (expected, event) in (1..).zip(&events) {
        assert_eq!(event.position().get(), expected);
    }
    for (writer, count) in (1..).zip(counts) {
        let found = events.iter().map(|event| event.id().uuid().as_u128());
        let found: Vec<u128> = found.filter(|id| id / 1_000_000 == writer).collect();
        let expected: Vec<u128> = (0..*count)
            .flat_map(|number| [1, 2].map(|index| writer * 1_000_000 + number * 10 + index))
            .collect();
        assert_eq!(found, expected, "writer {writer}");
    }
    let head = log.head().await.unwrap();
    assert_eq!(u128::from(head.append_count), counts.iter().sum::<u128>());
    assert_eq!(head.mark, events.last().map(|event| event.mark()));
}

/// Goal: what was acknowledged outlives the server, and what was unknown is settled by sending it
/// again. Method: writers without a pause, while the server is stopped without notice and started.
#[test]
fn a_server_that_is_killed_under_load_loses_nothing() {
    block_on(async {
        let server = PostgresServer::start().unwrap_or_else(|error| panic!("{error}"));
        let store = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let log = store
            .open("dogs", LogId::new(Uuid::from_u128(1)))
            .await
            .unwrap();
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let writers =
            (1..=WRITERS).map(|writer| write(log.clone(), writer, stop.clone(), done.clone()));
        let writers: Vec<_> = writers.map(|writer| tokio::spawn(writer)).collect();
        for _ in 0..3 {
            progress(&done, 40).await;
            tokio::task::block_in_place(|| server.crash_and_restart()).unwrap();
        }
        progress(&done, 40).await;
        stop.store(true, Ordering::SeqCst);
        let mut counts = Vec::new();
        for writer in writers {
            counts.push(writer.await.unwrap());
        }
        check_all(&*log, &counts).await;
    });
}

/// Goal: the same for backends that are terminated one by one, also between a commit and its answer.
#[test]
fn backends_that_are_terminated_lose_nothing() {
    block_on(async {
        let database = Database::create().await;
        let mut logs = Vec::new();
        for _ in 0..2 {
            let store = database.open().await;
            logs.push(
                store
                    .open("dogs", LogId::new(Uuid::from_u128(1)))
                    .await
                    .unwrap(),
            );
        }
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let writers = (1..=WRITERS).zip(logs.iter().cycle());
        let writers =
            writers.map(|(writer, log)| write(log.clone(), writer, stop.clone(), done.clone()));
        let writers: Vec<_> = writers.map(|writer| tokio::spawn(writer)).collect();
        let (client, connection) = tokio_postgres::connect(&database.url(), NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        for _ in 0..30 {
            progress(&done, 5).await;
            client.query(terminate, &[]).await.unwrap();
        }
        progress(&done, 20).await;
        stop.store(true, Ordering::SeqCst);
        let mut counts = Vec::new();
        for writer in writers {
            counts.push(writer.await.unwrap());
        }
        check_all(&*logs[0], &counts).await;
    });
}

/// Goal: a lock that somebody else holds makes appends unavailable, not unknown, and ends with it.
#[test]
fn a_lock_held_by_somebody_else_is_waited_for() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let log = store
            .open("dogs", LogId::new(Uuid::from_u128(1)))
            .await
            .unwrap();
        let other = store
            .open("cats", LogId::new(Uuid::from_u128(2)))
            .await
            .unwrap();
        let mut client = database.client().await;
        let transaction = client.transaction().await.unwrap();
        let lock = "SELECT 1 FROM retold.log WHERE name = 'dogs' FOR UPDATE";
        transaction.execute(lock, &[]).await.unwrap();
        let waiting = tokio::spawn({
            let log = log.clone();
            async move { log.append(append_of(1, 1)).await }
        });
        other.append(append_of(1, 1)).await.unwrap();
        assert_eq!(log.read_log(LogRead::new()).await.unwrap().events.len(), 0);
        assert!(!waiting.is_finished(), "the lock is held");
        transaction.rollback().await.unwrap();
        waiting.await.unwrap().unwrap();

        let transaction = client.transaction().await.unwrap();
        transaction.execute(lock, &[]).await.unwrap();
        let refused = log.append(append_of(1, 2)).await;
        assert!(
            matches!(refused, Err(RecordError::Unavailable(_))),
            "{refused:?}"
        );
        drop(transaction);
        log.append(append_of(1, 2)).await.unwrap();
    });
}

/// Goal: a server that only reads (a standby, or one that was made so) refuses appends for certain.
#[test]
fn a_server_that_only_reads_is_unavailable_for_appends() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        store
            .open("dogs", LogId::new(Uuid::from_u128(1)))
            .await
            .unwrap();
        let client = database.client().await;
        let name = database.name();
        let only_reads = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
        client.batch_execute(&only_reads).await.unwrap();
        let store = PostgresStore::open(&database.url()).await.unwrap();
        let log = store
            .open("dogs", LogId::new(Uuid::from_u128(1)))
            .await
            .unwrap();
        let refused = log.append(append_of(1, 1)).await;
        assert!(
            matches!(refused, Err(RecordError::Unavailable(_))),
            "{refused:?}"
        );
        assert!(
            log.read_log(LogRead::new())
                .await
                .unwrap()
                .events
                .is_empty()
        );
    });
}
