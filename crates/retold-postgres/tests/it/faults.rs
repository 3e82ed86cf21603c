//! Faults of the server: it is killed under load, backends are terminated at any moment, locks are
//! held, and it is read-only.

use retold_core::recording::{Appended, LogId, LogRead, RecordError, Store};
use retold_postgres::PostgresStore;
use uuid::Uuid;
use xtask::postgres_server::PostgresServer;

use crate::database::{Database, block_on, connect, until, wait_for_standbys};
use crate::writers::{Writers, append_of, dogs};

/// Goal: acknowledged appends survive a crash of the server, and unknown ones are settled by
/// sending them again. Method: writers without a pause, while the server is killed and restarted.
#[test]
fn a_server_that_is_killed_under_load_loses_nothing() {
    block_on(async {
        let server = PostgresServer::start().unwrap_or_else(|error| panic!("{error}"));
        let store = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let log = dogs(&store).await;
        let writers = Writers::start(std::slice::from_ref(&log));
        for _ in 0..3 {
            writers.progress(40).await;
            tokio::task::block_in_place(|| server.crash_and_restart()).unwrap();
        }
        writers.progress(40).await;
        writers.finish(&*log).await;
    });
}

/// Goal: the same for backends that are terminated one by one, at any moment.
#[test]
fn backends_that_are_terminated_lose_nothing() {
    block_on(async {
        let database = Database::create().await;
        let logs = [
            dogs(&database.open().await).await,
            dogs(&database.open().await).await,
        ];
        let writers = Writers::start(&logs);
        let client = database.client().await;
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        for _ in 0..30 {
            writers.progress(5).await;
            client.query(terminate, &[]).await.unwrap();
        }
        writers.progress(20).await;
        writers.finish(&*logs[0]).await;
    });
}

/// Goal: while a synchronous standby is away no append is acknowledged, every wait ends, and when
/// the standby is back all appends are settled. A statement timeout, which a role may have, does
/// not cancel that wait: the server reports a cancelled one as success.
#[test]
fn appends_are_unknown_while_the_standby_is_away() {
    block_on(async {
        let server = PostgresServer::start().unwrap_or_else(|error| panic!("{error}"));
        let admin = connect(&server.url("postgres")).await;
        let impatient = "ALTER ROLE retold SET statement_timeout = '2s'";
        admin.batch_execute(impatient).await.unwrap();
        let store = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let log = dogs(&store).await;
        wait_for_standbys(&admin, "absent").await;
        let unknown = log.append(append_of(1, 1)).await;
        assert!(
            matches!(unknown, Err(RecordError::OutcomeUnknown(_))),
            "{unknown:?}"
        );
        let held = log.append(append_of(1, 2)).await;
        assert!(matches!(held, Err(RecordError::Unavailable(_))), "{held:?}");
        let nothing = log.read_log(LogRead::new()).await.unwrap();
        assert!(nothing.events.is_empty(), "it is not on the standby");
        wait_for_standbys(&admin, "").await;
        log.append(append_of(1, 1)).await.unwrap();
        log.append(append_of(1, 2)).await.unwrap();
        assert_eq!(log.read_log(LogRead::new()).await.unwrap().events.len(), 4);
    });
}

/// Goal: if a backend is terminated while it commits, the outcome is unknown, and sending the
/// append again settles it. Method: a commit that waits for a standby which does not exist has
/// written its record, and is terminated at that point.
#[test]
fn a_commit_that_is_terminated_is_settled_by_sending_again() {
    block_on(async {
        let server = PostgresServer::start().unwrap_or_else(|error| panic!("{error}"));
        let store = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let log = dogs(&store).await;
        log.append(append_of(1, 1)).await.unwrap();
        let admin = connect(&server.url("postgres")).await;
        let wait_for = async |standbys: &str| {
            let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{standbys}'");
            admin.batch_execute(&set).await.unwrap();
            let reload = "SELECT pg_reload_conf()";
            admin.batch_execute(reload).await.unwrap();
            let set = "SELECT current_setting('synchronous_standby_names')";
            until(async || admin.query_one(set, &[]).await.unwrap().get::<_, &str>(0) == standbys)
                .await;
        };
        wait_for("absent").await;
        // The backend of the store reloads its settings before a statement, so they apply to this
        // one.
        let appending = tokio::spawn({
            let log = log.clone();
            async move { log.append(append_of(1, 2)).await }
        });
        let waits =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        until(async || !admin.query(waits, &[]).await.unwrap().is_empty()).await;
        let unknown = appending.await.unwrap();
        assert!(
            matches!(unknown, Err(RecordError::OutcomeUnknown(_))),
            "{unknown:?}"
        );
        wait_for_standbys(&admin, "").await;
        let again = log.append(append_of(1, 2)).await;
        assert!(matches!(again, Ok(Appended::Repeated(_))), "{again:?}");
        assert_eq!(log.read_log(LogRead::new()).await.unwrap().events.len(), 4);
    });
}

/// Goal: a lock that another transaction holds makes appends unavailable, not unknown, and appends
/// work again when it is released.
#[test]
fn a_lock_of_another_transaction_is_waited_for() {
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

/// Goal: a read-only server (a standby, or one that was made read-only) refuses appends, and
/// certainly writes nothing.
#[test]
fn a_read_only_server_is_unavailable_for_appends() {
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
