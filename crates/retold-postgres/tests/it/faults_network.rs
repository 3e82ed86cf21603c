//! Faults of the network: nothing is lost or recorded twice, every wait ends, and the store resumes
//! by itself when the network does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use retold_core::recording::{Appended, LogRead, RecordError, Recorder, Store};
use retold_postgres::PostgresStore;
use retold_postgres::limits::{
    ANSWER_WAIT_MAX, CONNECT_WAIT_MAX, CONNECTION_WAIT_MAX, QUEUE_WAIT_MAX,
};

use crate::database::{Database, block_on, port, until};
use crate::proxy::Proxy;
use crate::writers::{Writers, append_of, dogs, seed};

/// Longest that a call can take when nothing responds: each wait once, and connecting has two
/// requests.
const CALL_WAIT_MAX: Duration = Duration::from_secs(
    QUEUE_WAIT_MAX.as_secs()
        + CONNECTION_WAIT_MAX.as_secs()
        + 2 * CONNECT_WAIT_MAX.as_secs()
        + 2 * ANSWER_WAIT_MAX.as_secs(),
);
/// Extra time for a busy machine.
const SLACK: Duration = Duration::from_secs(10);

fn check_bounded(begun: Instant, what: &str) {
    let took = begun.elapsed();
    assert!(took < CALL_WAIT_MAX + SLACK, "{what} took {took:?}");
}

/// Goal: when a network silently stops forwarding, every wait is bounded, and pending appends are
/// unknown until they are sent again. Method: appends and reads while it becomes silent; afterwards
/// it has either dropped all connections, or delivers the bytes that it held back.
#[test]
fn a_silent_network_is_given_up_and_retried() {
    block_on(async {
        let forgets = tokio::spawn(silence(Heal::Forgets));
        let resumes = tokio::spawn(silence(Heal::Resumes));
        forgets.await.unwrap();
        resumes.await.unwrap();
    });
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Heal {
    Forgets,
    Resumes,
}

async fn silence(heal: Heal) {
    let database = Database::create().await;
    let proxy = Proxy::before(port()).await;
    let store = PostgresStore::open(&proxy.url(database.name()))
        .await
        .unwrap();
    let log = dogs(&store).await;
    log.append(append_of(1, 1)).await.unwrap();
    // Another handle reads, so that this one sends only the append; several of its connections are
    // idle.
    let reader = PostgresStore::open(&proxy.url(database.name()))
        .await
        .unwrap();
    let reader = dogs(&reader).await;
    let reads = (0..4).map(|_| reader.read_log(LogRead::new()));
    futures_util::future::join_all(reads).await;

    let there = reader.head().await.unwrap().append_count;
    let waiting = {
        let log = reader.clone();
        tokio::spawn(async move {
            loop {
                match log.changed_since(there).await {
                    Ok(count) => return count,
                    Err(RecordError::Unavailable(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    };
    proxy.silence();
    let begun = Instant::now();
    let appending = log.append(append_of(1, 2));
    let reading = reader.read_log(LogRead::new());
    let (appended, read) = tokio::join!(appending, reading);
    check_bounded(begun, "a call on a silent network");
    assert!(
        matches!(appended, Err(RecordError::OutcomeUnknown(_))),
        "{appended:?}"
    );
    assert!(matches!(read, Err(RecordError::Unavailable(_))), "{read:?}");
    // When no connection looks alive, nothing is sent.
    let begun = Instant::now();
    let appended = log.append(append_of(1, 3)).await;
    check_bounded(begun, "connecting on a silent network");
    assert!(
        matches!(appended, Err(RecordError::Unavailable(_))),
        "{appended:?}"
    );

    match heal {
        Heal::Forgets => proxy.heal_and_forget(),
        Heal::Resumes => proxy.heal(),
    }
    let begun = Instant::now();
    let settled = settle(&*log, 2).await;
    if heal == Heal::Resumes {
        // The bytes that were held back arrived, or the connection was given up before; both are
        // reported.
        assert!(matches!(
            settled,
            Appended::Recorded(_) | Appended::Repeated(_)
        ));
    }
    settle(&*log, 3).await;
    check_bounded(begun, "coming back");
    assert!(waiting.await.unwrap() > there);
    let events = reader.read_log(LogRead::new()).await.unwrap().events;
    assert_eq!(events.len(), 6);
}

/// Sends an append until it is settled.
async fn settle(log: &dyn Recorder, number: u128) -> Appended {
    let begun = Instant::now();
    loop {
        match log.append(append_of(1, number)).await {
            Ok(appended) => return appended,
            Err(RecordError::OutcomeUnknown(_) | RecordError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
        check_bounded(begun, "settling");
    }
}

/// Goal: connections that are cut anywhere, in the middle of a message of either side, lose
/// nothing. Method: writers and a tailing reader through a network that cuts each connection after
/// a number of bytes, decided by a seed.
#[test]
fn connections_cut_in_the_middle_of_a_message_lose_nothing() {
    block_on(async {
        let mut random = Rng::with_seed(seed());
        let database = Database::create().await;
        let proxy = Proxy::before(port()).await;
        let url = proxy.url(database.name());
        let mut logs = Vec::new();
        for _ in 0..2 {
            logs.push(dogs(&PostgresStore::open(&url).await.unwrap()).await);
        }
        let reading = {
            let store = PostgresStore::open(&url).await.unwrap();
            let log = store.open_read_only("dogs").await.unwrap();
            tokio::spawn(async move { tail(log, 300).await })
        };
        let writers = Writers::start(&logs);
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let client = database.client().await;
        for round in 0..6 {
            proxy.cut((round % 2 == 0).then(|| random.fork()));
            // The remaining connections are closed, so that new ones are opened.
            client.query(terminate, &[]).await.unwrap();
            writers.progress(30).await;
        }
        proxy.cut(None);
        client.query(terminate, &[]).await.unwrap();
        writers.progress(30).await;
        writers.finish(&*dogs(&database.open().await).await).await;
        reading.await.unwrap();
    });
}

/// Reads forward through all faults until the expected number of events was seen, each once and in
/// order.
async fn tail(log: Arc<dyn Recorder>, count: u64) {
    let (mut read, mut seen) = (LogRead::new(), 0);
    while seen < count {
        match log.read_log(read.clone()).await {
            Ok(page) => {
                for event in &page.events {
                    seen += 1;
                    assert_eq!(event.position().get(), seen);
                }
                read = read.after(page.read_to_position());
            }
            Err(RecordError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
}

/// Goal: a slow network makes a store slow and has no other effect.
#[test]
fn a_slow_network_is_waited_for() {
    block_on(async {
        let database = Database::create().await;
        let proxy = Proxy::before(port()).await;
        let store = PostgresStore::open(&proxy.url(database.name()))
            .await
            .unwrap();
        let log = dogs(&store).await;
        proxy.slow_down();
        let writers = Writers::start(std::slice::from_ref(&log));
        let reading = tokio::spawn(tail(log.clone(), 30));
        writers.progress(20).await;
        reading.await.unwrap();
        writers.finish(&*log).await;
    });
}

/// Goal: a server that is too old is refused with its version, for writing and for reading.
#[test]
fn a_server_that_is_too_old_is_refused() {
    block_on(async {
        let database = Database::create().await;
        drop(database.open().await);
        let client = database.client().await;
        let row = client
            .query_one("SHOW server_version_num", &[])
            .await
            .unwrap();
        let real = &row.get::<_, &str>(0)[..2];
        let says = |major: &str| [b"server_version\0".as_slice(), major.as_bytes()].concat();
        let proxy = Proxy::rewriting(port(), &says(real), &says("13")).await;
        let url = proxy.url(database.name());
        let writing = PostgresStore::open(&url).await.map(drop);
        let reading = PostgresStore::open_read_only(&url).await.map(drop);
        for refused in [writing, reading] {
            let Err(RecordError::Invalid(refused)) = refused else {
                panic!("{refused:?}");
            };
            let said = refused.to_string();
            assert!(
                said.contains("PostgreSQL 13") && said.contains("14 at least"),
                "{said}"
            );
        }
    });
}

/// Goal: hints arrive again after their connection was lost.
#[test]
fn hints_arrive_again_after_their_connection_is_lost() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let log = dogs(&store).await;
        let listening = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        let client = database.client().await;
        let other = dogs(&database.open().await).await;
        for number in 1..4 {
            let there = log.head().await.unwrap().append_count;
            let log = log.clone();
            let waiting = tokio::spawn(async move { log.changed_since(there).await });
            until(async || !client.query(listening, &[]).await.unwrap().is_empty()).await;
            other.append(append_of(1, number)).await.unwrap();
            assert_eq!(waiting.await.unwrap().unwrap(), there + 1);
        }
    });
}

/// Goal: with several servers, one that accepts connections and stays silent does not keep a store
/// from the next, neither when it is opened nor when its connections were lost.
#[test]
fn a_silent_server_does_not_keep_a_store_from_the_next() {
    block_on(async {
        let database = Database::create().await;
        let proxy = Proxy::before(port()).await;
        let name = database.name();
        let two = format!(
            "postgres://retold@127.0.0.1:{},127.0.0.1:{}/{name}?sslmode=disable&connect_timeout=1",
            proxy.port(),
            port()
        );
        drop(PostgresStore::open(&two).await.unwrap());
        proxy.silence();
        let log = dogs(&PostgresStore::open(&two).await.unwrap()).await;
        log.append(append_of(1, 1)).await.unwrap();
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        database.client().await.query(others, &[]).await.unwrap();
        settle(&*log, 2).await;
        assert_eq!(log.head().await.unwrap().append_count, 2);
    });
}
