//! Bounds: waits that must end, and the largest group.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::poll;
use retold_core::recording::{
    Append, Appended, EventId, LogId, LogRead, NewEvent, Position, RecordError, Store,
};
use retold_postgres::limits::ANSWER_WAIT_MAX;
use retold_postgres::{PostgresInlineProjections, PostgresOptions, PostgresStore};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::database::{Database, block_on, port, until};
use crate::proxy::Proxy;
use crate::tricks::{TrickAdded, log, tables, tricks};

/// Goal: a network that becomes silent does not block an append to a log with inline projections
/// forever.
#[test]
fn silence_ends_an_append_with_inline_projections() {
    block_on(async {
        let database = Database::create().await;
        let proxy = Proxy::before(port()).await;
        let inline = PostgresInlineProjections::in_schema("public").with(tricks(1), tables());
        let (url, options) = (proxy.url(database.name()), PostgresOptions::new());
        let store = PostgresStore::open_with_projections(&url, &options, inline)
            .await
            .unwrap();
        let dogs = log(&store, "dogs").await;
        dogs.append(TrickAdded::append(["sit"])).await.unwrap();
        proxy.silence();
        let longest = ANSWER_WAIT_MAX + Duration::from_secs(15);
        let appended =
            tokio::time::timeout(longest, dogs.append(TrickAdded::append(["fetch"]))).await;
        let appended = appended.expect("it returns");
        assert!(
            matches!(appended, Err(RecordError::Unavailable(_))),
            "nothing was committed: {appended:?}"
        );
    });
}

/// Goal: a store continues when the runtime that opened it, and appended with it, has ended.
#[test]
fn a_store_outlives_the_runtime_that_opened_it() {
    let database = block_on(Database::create());
    let runtime = Runtime::new().unwrap();
    let dogs = runtime.block_on(async { log(&database.open().await, "dogs").await });
    runtime
        .block_on(dogs.append(TrickAdded::append(["sit"])))
        .unwrap();
    drop(runtime);
    for expected in 2..=3 {
        let appended = block_on(dogs.append(TrickAdded::append(["fetch"])));
        let Ok(Appended::Recorded(positions)) = appended else {
            panic!("{appended:?}");
        };
        assert_eq!(positions.last().map(Position::get), Some(expected));
    }
}

/// Goal: a group of large appends of small events stays small enough to be written in time. Method:
/// they queue behind a lock; the events of a group are recorded at the same moment.
#[test]
fn a_group_is_bounded_by_its_events_too() {
    const APPENDS: usize = 12;
    const EVENTS: usize = 5_000;
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let birth = LogId::new(Uuid::now_v7());
        let log = store.open("orders", birth).await.unwrap();
        let blocker = database.client().await;
        let lock = "BEGIN; SELECT 1 FROM retold.log FOR UPDATE";
        blocker.batch_execute(lock).await.unwrap();
        let append = || {
            Append::of((0..EVENTS).map(|_| NewEvent::new(EventId::new(Uuid::now_v7()), "Went", "")))
        };
        let mut answers: Vec<_> = (0..APPENDS).map(|_| log.append(append())).collect();
        for answer in &mut answers {
            assert!(poll!(answer).is_pending(), "the row is locked");
        }
        blocker.batch_execute("COMMIT").await.unwrap();
        for answer in answers {
            answer.await.unwrap();
        }
        let count = "SELECT recorded_at, count(*) FROM retold.event GROUP BY recorded_at";
        let rows = blocker.query(count, &[]).await.unwrap();
        let groups: HashMap<i64, i64> = rows.iter().map(|it| (it.get(0), it.get(1))).collect();
        let most = *groups.values().max().unwrap();
        assert!(most <= 40_000, "{most} events in a group");
    });
}

/// Goal: the rest of a full page is not fetched. Method: if the network becomes silent when the
/// page has arrived, a connection that is still receiving the rest would hang.
#[test]
fn the_rest_of_a_full_page_is_not_fetched() {
    const EVENT_SIZE: usize = 8 * 1024 * 1024;
    block_on(async {
        let database = Database::create().await;
        let log_of_all = log(&database.open().await, "films").await;
        for _ in 0..4 {
            let append = (0..6)
                .map(|_| NewEvent::new(EventId::new(Uuid::now_v7()), "Shot", vec![7; EVENT_SIZE]));
            log_of_all.append(Append::of(append)).await.unwrap();
        }
        let proxy = Proxy::before(port()).await;
        let store = PostgresStore::open(&proxy.url(database.name()))
            .await
            .unwrap();
        let films = log(&store, "films").await;
        let page = films.read_log(LogRead::new()).await.unwrap();
        proxy.silence();
        assert_eq!(page.events.len(), 8);
        let admin = database.client().await;
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND application_name = 'retold' AND state = 'active'";
        until(async || admin.query_one(busy, &[]).await.unwrap().get::<_, i64>(0) == 0).await;
    });
}
