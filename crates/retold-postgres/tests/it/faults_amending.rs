//! Faults while events are amended: an append with amendments is recorded with all of them or not
//! at all, and sending it again settles it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fastrand::Rng;
use retold_core::recording::{
    AMENDED_TOPIC, Amendment, Append, Appended, Conflict, ErasedParts, EventId, LogRead, NewEvent,
    PageEnd, RecordError, Recorder, Replacement, Store, StreamRead, Version, verify_log,
};
use retold_postgres::PostgresStore;
use uuid::Uuid;
use xtask::postgres_server::PostgresServer;

use crate::database::{Database, block_on, connect, port, until, wait_for_standbys};
use crate::proxy::Proxy;
use crate::writers::{Writers, append_of, dogs, seed};

fn id(number: u128) -> EventId {
    EventId::new(Uuid::from_u128(7_000_000_000 + number))
}

/// Sends an append until it is settled; whether it was recorded by an earlier call.
async fn settle(log: &dyn Recorder, append: &Append) -> bool {
    loop {
        match log.append(append.clone()).await {
            Ok(Appended::Recorded(_)) => return false,
            Ok(_) => return true,
            Err(RecordError::OutcomeUnknown(_) | RecordError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
}

async fn event(log: &dyn Recorder, number: u128) -> retold_core::recording::StoredEvent {
    loop {
        match log.event(id(number)).await {
            Ok(event) => return event.unwrap(),
            Err(RecordError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Amends the events of a stream of its own, one after the other, each in several ways, until it is
/// stopped. Returns the number of rounds.
async fn amend(log: Arc<dyn Recorder>, amender: u128, stop: Arc<AtomicBool>) -> u128 {
    let stream = format!("cat/{amender}");
    let mut round = 0;
    while !stop.load(Ordering::SeqCst) {
        let number = amender * 1_000_000 + round * 10;
        let new = NewEvent::new(id(number), "Purred", "{\"as\":\"new\"}");
        let new = new.stream(stream.as_str()).tag("loud");
        settle(&*log, &Append::of([new])).await;
        let record = |index| {
            let record = NewEvent::new(id(number + index), AMENDED_TOPIC, "{}");
            Append::of([record.stream(stream.as_str())])
        };
        let stored = event(&*log, number).await;
        let mut replacement = Replacement::of(&stored, "{\"as\":\"replaced\"}").unwrap();
        replacement.tags = ["quiet".into()].into();
        let replaced = record(1).amendment(Amendment::ReplaceEvent {
            event: id(number),
            stream: Some(stream.as_str().into()),
            replacement,
        });
        settle(&*log, &replaced).await;
        assert_eq!(
            event(&*log, number).await.payload(),
            Some(&b"{\"as\":\"replaced\"}"[..])
        );
        let version = stored.version().unwrap();
        let erased = record(2).amendment(Amendment::EraseStream {
            stream: stream.as_str().into(),
            after: Version::new(version.get() - 1),
            until: version,
            parts: match round % 2 {
                0 => ErasedParts::PAYLOAD,
                _ => ErasedParts::ALL,
            },
        });
        settle(&*log, &erased).await;
        assert!(event(&*log, number).await.is_erased());
        round += 1;
    }
    round
}

/// Amenders that run with writers, until they are stopped.
struct Amenders {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<u128>>,
}

impl Amenders {
    fn start(logs: &[Arc<dyn Recorder>]) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let tasks = (1..=2).zip(logs.iter().cycle());
        let tasks =
            tasks.map(|(amender, log)| tokio::spawn(amend(log.clone(), amender, stop.clone())));
        Self {
            tasks: tasks.collect(),
            stop,
        }
    }

    /// Stops them, and checks that each event is erased once, with each record once.
    async fn finish(self, store: &PostgresStore, log: &dyn Recorder) {
        self.stop.store(true, Ordering::SeqCst);
        for (amender, task) in (1..).zip(self.tasks) {
            let rounds: u128 = task.await.unwrap();
            assert!(rounds > 0, "amender {amender} did nothing");
            let mut read = StreamRead::new(format!("cat/{amender}"));
            let mut found = Vec::new();
            loop {
                let page = log.read_stream(read.clone()).await.unwrap();
                read = read.after(page.events.last().and_then(|it| it.version()));
                found.extend(page.events);
                if page.end == PageEnd::Complete {
                    break;
                }
            }
            let ids: Vec<_> = found.iter().map(|it| it.id()).collect();
            let expected = (0..rounds).flat_map(|round| {
                (0..3).map(move |index| id(amender * 1_000_000 + round * 10 + index))
            });
            assert_eq!(ids, expected.collect::<Vec<_>>());
            for event in &found {
                assert_eq!(event.is_erased(), event.topic() == "Purred", "{event:?}");
            }
        }
        let report = verify_log(log, &mut |_| {}).await.unwrap();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(store.verify().await.unwrap(), []);
    }
}

/// Goal: connections that are cut anywhere, in the middle of a message of either side, and backends
/// that are terminated at any moment, leave every amendment made once or not at all. Method:
/// amenders and writers, through a network that cuts connections after a number of bytes.
#[test]
fn connections_that_are_cut_leave_amendments_whole() {
    block_on(async {
        let mut random = Rng::with_seed(seed());
        let database = Database::create().await;
        let proxy = Proxy::before(port()).await;
        let url = proxy.url(database.name());
        let mut logs = Vec::new();
        for _ in 0..2 {
            logs.push(dogs(&PostgresStore::open(&url).await.unwrap()).await);
        }
        let amenders = Amenders::start(&logs);
        let writers = Writers::start(&logs);
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let client = database.client().await;
        for round in 0..8 {
            proxy.cut((round % 2 == 0).then(|| random.fork()));
            client.query(terminate, &[]).await.unwrap();
            writers.progress(20).await;
        }
        proxy.cut(None);
        client.query(terminate, &[]).await.unwrap();
        writers.progress(20).await;
        let store = database.open().await;
        let log = dogs(&store).await;
        amenders.finish(&store, &*log).await;
        writers.stop().await;
    });
}

/// Goal: the same for a server that is killed under load.
#[test]
fn a_server_that_is_killed_leaves_amendments_whole() {
    block_on(async {
        let server = PostgresServer::start().unwrap_or_else(|error| panic!("{error}"));
        let store = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let log = dogs(&store).await;
        let amenders = Amenders::start(std::slice::from_ref(&log));
        let writers = Writers::start(std::slice::from_ref(&log));
        for _ in 0..3 {
            writers.progress(40).await;
            tokio::task::block_in_place(|| server.crash_and_restart()).unwrap();
        }
        writers.progress(40).await;
        writers.stop().await;
        until(async || log.read_log(LogRead::new()).await.is_ok()).await;
        amenders.finish(&store, &*log).await;
    });
}

/// Goal: an amendment whose commit is cut off is unknown, is seen by readers as a whole, and is
/// settled by sending it again, which amends nothing again. Method: a commit that waits for a
/// standby which does not exist is terminated.
#[test]
fn an_unknown_amendment_is_settled_by_sending_it_again() {
    block_on(async {
        let server = PostgresServer::start().unwrap_or_else(|error| panic!("{error}"));
        let store = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let log = dogs(&store).await;
        log.append(append_of(1, 1)).await.unwrap();
        let admin = connect(&server.url("postgres")).await;
        for (number, parts) in [(1, ErasedParts::PAYLOAD), (2, ErasedParts::ALL)] {
            let record = NewEvent::new(id(number), AMENDED_TOPIC, "{}").stream("dog/1");
            let append = Append::of([record]).amendment(Amendment::EraseStream {
                stream: "dog/1".into(),
                after: None,
                until: Version::FIRST,
                parts,
            });
            wait_for_standbys(&admin, "absent").await;
            let appending = tokio::spawn({
                let (log, append) = (log.clone(), append.clone());
                async move { log.append(append).await }
            });
            let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE wait_event = 'SyncRep'";
            until(async || !admin.query(terminate, &[]).await.unwrap().is_empty()).await;
            let unknown = appending.await.unwrap();
            assert!(
                matches!(unknown, Err(RecordError::OutcomeUnknown(_))),
                "{unknown:?}"
            );
            wait_for_standbys(&admin, "").await;
            assert!(settle(&*log, &append).await, "it was recorded");
            let event = log.read_stream(StreamRead::new("dog/1")).await.unwrap();
            assert!(event.events[0].is_erased());
            assert_eq!(event.events.len(), number as usize + 1);
        }
        let record = NewEvent::new(id(3), AMENDED_TOPIC, "{}").stream("dog/1");
        let again = Append::of([record]).amendment(Amendment::EraseEvent {
            event: log.read_log(LogRead::new()).await.unwrap().events[0].id(),
            stream: Some("dog/1".into()),
            parts: ErasedParts::ALL,
        });
        let conflict = log.append(again).await;
        assert!(
            matches!(
                conflict,
                Err(RecordError::Conflict(Conflict::Amendment { .. }))
            ),
            "{conflict:?}"
        );
        let report = verify_log(&*log, &mut |_| {}).await.unwrap();
        assert!(report.is_sound(), "{report:?}");
    });
}

/// Goal: a standby shows an amendment as a whole, and makes none itself.
#[test]
fn a_standby_shows_amendments_and_makes_none() {
    block_on(async {
        let server = PostgresServer::start().unwrap_or_else(|error| panic!("{error}"));
        let primary = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let log = dogs(&primary).await;
        log.append(append_of(1, 1)).await.unwrap();
        let standby = tokio::task::block_in_place(|| server.standby()).unwrap();
        let store = PostgresStore::open(&standby.url("postgres")).await.unwrap();
        let copy = dogs(&store).await;
        let erase = |number, parts| {
            let record = NewEvent::new(id(number), AMENDED_TOPIC, "{}").stream("dog/1");
            Append::of([record]).amendment(Amendment::EraseStream {
                stream: "dog/1".into(),
                after: None,
                until: Version::FIRST,
                parts,
            })
        };
        for parts in [ErasedParts::PAYLOAD, ErasedParts::ALL] {
            let refused = copy.append(erase(1, parts)).await;
            let Err(RecordError::Unavailable(refused)) = refused else {
                panic!("{refused:?}");
            };
            assert!(refused.to_string().contains("read-write"), "{refused}");
        }
        assert!(matches!(
            store.purge().await,
            Err(RecordError::Unavailable(_))
        ));
        log.append(erase(1, ErasedParts::ALL)).await.unwrap();
        let expected = log.read_log(LogRead::new()).await.unwrap();
        until(async || copy.head().await.unwrap().append_count == 2).await;
        assert_eq!(copy.read_log(LogRead::new()).await.unwrap(), expected);
        let streams = copy.streams("", None, 10).await.unwrap();
        assert!(!streams[0].is_deleted);
    });
}
