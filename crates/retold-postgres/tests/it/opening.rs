//! Opening a store: what is created, what is refused, and which server is reached.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retold_core::recording::{Append, EventId, LogId, LogRead, NewEvent, RecordError, Store};
use retold_postgres::{PostgresOptions, PostgresStore, roles_sql, schema_sql};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::database::{Database, block_on, port};

fn log_id(number: u128) -> LogId {
    LogId::new(Uuid::from_u128(number))
}

fn event(number: u128) -> NewEvent {
    NewEvent::new(
        EventId::new(Uuid::from_u128(number)),
        "Dog.Registered",
        "{}",
    )
}

#[track_caller]
fn check_invalid<T>(opened: Result<T, RecordError>, hint: &str) {
    match opened {
        Err(RecordError::Invalid(error)) => {
            assert!(error.to_string().contains(hint), "{error}");
        }
        Err(error) => panic!("not invalid: {error}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[test]
fn schemas_of_one_database_are_stores_of_their_own() {
    block_on(async {
        let database = Database::create().await;
        let odd = PostgresOptions::new().schema("Hund \"🐕\"; DROP");
        for options in [PostgresOptions::new(), odd] {
            let opened = PostgresStore::open_with(&database.url(), &options).await;
            let store = opened.unwrap();
            assert!(store.logs(None, 10).await.unwrap().is_empty());
            store.open("dogs", log_id(1)).await.unwrap();
        }
    });
}

#[test]
fn concurrent_openings_create_one_schema() {
    block_on(async {
        let database = Database::create().await;
        let openings: Vec<_> = (0..8)
            .map(|_| {
                let url = database.url();
                tokio::spawn(async move { PostgresStore::open(&url).await.map(drop) })
            })
            .collect();
        for opening in openings {
            opening.await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_schema_of_another_version_is_refused() {
    block_on(async {
        let database = Database::create().await;
        drop(database.open().await);
        let client = database.client().await;
        for (version, reported) in [(99, "[99]"), (6, "[6]"), (1, "no checksums")] {
            let other = format!("UPDATE retold.schema_version SET version = {version}");
            client.batch_execute(&other).await.unwrap();
            check_invalid(PostgresStore::open(&database.url()).await, reported);
            check_invalid(
                PostgresStore::open_read_only(&database.url()).await,
                reported,
            );
        }
    });
}

#[test]
fn a_role_that_may_not_create_the_schema_gets_advice() {
    block_on(async {
        let database = Database::create().await;
        let client = database.client().await;
        let role =
            "DO $$ BEGIN CREATE ROLE plain LOGIN; EXCEPTION WHEN duplicate_object THEN END $$";
        client.batch_execute(role).await.unwrap();
        let url = database.url().replace("retold@", "plain@");
        let reported = "retold schema postgres --schema retold`";
        check_invalid(PostgresStore::open(&url).await, reported);
        check_invalid(
            PostgresStore::open(&url).await,
            "GRANT \"retold_writer\" TO \"plain\"",
        );

        // A role with the rights runs the SQL.
        for sql in [
            schema_sql("retold").unwrap(),
            roles_sql("retold").unwrap(),
            "GRANT retold_writer TO plain".into(),
        ] {
            client.batch_execute(&sql).await.unwrap();
        }
        let store = PostgresStore::open(&url).await.unwrap();
        let log = store.open("dogs", log_id(1)).await.unwrap();
        log.append(Append::of([event(1)])).await.unwrap();
    });
}

#[test]
fn a_read_only_store_creates_nothing() {
    block_on(async {
        let database = Database::create().await;
        let missing = PostgresStore::open_read_only(&database.url()).await;
        assert!(matches!(missing, Err(RecordError::Unavailable(_))));
        drop(database.open().await);
        let store = PostgresStore::open_read_only(&database.url())
            .await
            .unwrap();
        check_invalid(store.open("dogs", log_id(1)).await, "reading only");
        let log = store.open_read_only("dogs").await.unwrap();
        check_invalid(log.append(Append::of([event(1)])).await, "reading only");
    });
}

#[test]
fn a_missing_server_is_unavailable() {
    let absent = "postgres://retold@127.0.0.1:1/dogs?connect_timeout=1";
    for wait in [Duration::ZERO, Duration::from_millis(20)] {
        let options = PostgresOptions::new().open_wait_max(wait);
        let opened = block_on(PostgresStore::open_with(absent, &options));
        assert!(matches!(opened, Err(RecordError::Unavailable(_))));
    }
}

/// A port in front of the server that closes the first connections at once, as if the server behind
/// it were not up yet; and the number of connections that arrived.
async fn door(closed: u32) -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let door = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            if counted.fetch_add(1, Ordering::SeqCst) >= closed {
                let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port()))
                    .await
                    .unwrap();
                tokio::spawn(async move {
                    // It ends when either side does.
                    drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
                });
            }
        }
    });
    (door, count)
}

#[test]
fn opening_waits_for_a_server_that_is_not_up_yet() {
    block_on(async {
        let database = Database::create().await;
        let (door, count) = door(3).await;
        let url = database.url();
        let url = url.replace(&format!(":{}/", port()), &format!(":{door}/"));
        let store = PostgresStore::open(&url).await.unwrap();
        assert!(count.load(Ordering::SeqCst) > 3);
        store.open("dogs", log_id(1)).await.unwrap();
    });
}

#[test]
fn opening_does_not_wait_if_waiting_does_not_help() {
    block_on(async {
        let database = Database::create().await;
        for (from, to) in [("retold@", "absent@"), ("?", "_which_is_not_there?")] {
            let (door, count) = door(0).await;
            let url = database.url();
            let url = url.replace(&format!(":{}/", port()), &format!(":{door}/"));
            let url = match url.contains(from) {
                true => url.replace(from, to),
                false => format!("{url}_which_is_not_there"),
            };
            let opened = PostgresStore::open(&url).await;
            assert!(matches!(opened, Err(RecordError::Unavailable(_))), "{url}");
            assert_eq!(count.load(Ordering::SeqCst), 1, "{url}");
        }
    });
}

/// Goal: a store that is opened and used without any tokio runtime works. Method: an executor
/// without tokio.
#[test]
fn no_runtime_is_needed() {
    let database = block_on(Database::create());
    let used = futures_util::future::FutureExt::boxed(async move {
        let store = PostgresStore::open(&database.url()).await.unwrap();
        let log = store.open("dogs", log_id(1)).await.unwrap();
        log.append(Append::of([event(1)])).await.unwrap();
        assert_eq!(log.changed_since(0).await.unwrap(), 1);
        log.read_log(LogRead::new()).await.unwrap().events.len()
    });
    let waiter = std::thread::spawn(move || futures_executor(used));
    assert_eq!(waiter.join().unwrap(), 1);
}

/// Polls a future on this thread until it is done.
pub(crate) fn futures_executor<T>(
    mut future: std::pin::Pin<Box<dyn Future<Output = T> + Send + '_>>,
) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}
