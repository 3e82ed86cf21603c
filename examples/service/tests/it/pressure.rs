//! Tests of back-pressure: the service receives more requests than it can process.

use std::sync::Arc;
use std::time::Duration;

use retold::recording::MemoryStore;
use retold::sqlite::{SqliteOptions, SqliteStore};
use retold::system::Infrastructure;
use retold_service_example::limits::ServiceLimits;

use crate::patience::{in_time, until};
use crate::running::Running;

/// Goal: commands are refused while a follower cannot keep up, and accepted again when it can.
/// Method: the log of tickets is in a separate file, which another connection keeps locked.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commands_are_refused_while_followers_are_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tickets.db");
    let options = SqliteOptions::new().busy_wait_max(Duration::from_millis(20));
    let tickets = SqliteStore::open_with(&path, &options).unwrap();
    let infrastructure = Infrastructure::new(Arc::new(MemoryStore::new()))
        .application_in("tickets", Arc::new(tickets));
    let limits = ServiceLimits {
        lag_max: 20,
        ready_lag_max: 10,
        wait_max: Duration::from_millis(100),
        ..ServiceLimits::default()
    };
    let service = Running::start(&infrastructure, limits).await;
    let client = service.client;
    let is_ready = async || client.get("/health/ready").await.status == 200;
    until("it is ready", is_ready).await;
    client.announce("hamlet", 10_000).await.expect(201);

    let lock = rusqlite::Connection::open(&path).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut taken = Vec::new();
    let refused = in_time("a command is refused", async {
        for count in 0.. {
            let answered = client.ask(&format!("key-{count}"), "hamlet", 1).await;
            match answered.status {
                201 => taken.push(answered),
                _ => return answered,
            }
        }
        unreachable!("a command is refused eventually")
    });
    let refused = refused.await.expect(503);
    assert_eq!(refused.problem(), "behind");
    assert_eq!(refused.header("retry-after"), "1");
    // Reads are not refused.
    client.get("/shows/hamlet").await.expect(200);
    until("it is not ready", async || !is_ready().await).await;
    let last = taken.last().unwrap();
    let tickets = format!("{}/tickets", last.header("location"));
    let late = client.get_after(&tickets, &last.token()).await;
    assert_eq!(late.expect(503).problem(), "not-yet");

    lock.execute_batch("ROLLBACK").unwrap();
    until("commands are taken again", async || {
        client.ask("again", "hamlet", 1).await.status < 300
    })
    .await;
    until("it is ready again", is_ready).await;
    for booked in &taken {
        let tickets = format!("{}/tickets", booked.header("location"));
        until("tickets are issued", async || {
            client.get(&tickets).await.status == 200
        })
        .await;
        assert_eq!(client.get(&tickets).await.body["issued"], 1);
    }
    assert!(service.stop().await.is_clean());
}

/// Goal: a store that is busy for longer than its time limit is 503, and nothing is recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_busy_store_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("office.db");
    let options = SqliteOptions::new().busy_wait_max(Duration::from_millis(20));
    let store = SqliteStore::open_with(&path, &options).unwrap();
    let infrastructure = Infrastructure::new(Arc::new(store));
    let service = Running::start(&infrastructure, ServiceLimits::default()).await;
    let client = service.client;
    client.announce("hamlet", 10).await.expect(201);

    let lock = rusqlite::Connection::open(&path).unwrap();
    until("the lock is acquired", async || {
        lock.execute_batch("BEGIN IMMEDIATE").is_ok()
    })
    .await;
    let busy = client.ask("key", "hamlet", 1).await.expect(503);
    assert_eq!(busy.problem(), "unavailable");
    assert_eq!(busy.header("retry-after"), "1");
    lock.execute_batch("ROLLBACK").unwrap();
    until("it is taken", async || {
        client.ask("key", "hamlet", 1).await.status == 201
    })
    .await;
    client.ask("key", "hamlet", 1).await.expect(200);
}

#[tokio::test]
async fn a_service_at_capacity_refuses_immediately() {
    let limits = ServiceLimits {
        requests_max: 1,
        ..ServiceLimits::default()
    };
    let infrastructure = Infrastructure::new(Arc::new(MemoryStore::new()));
    let service = Running::start(&infrastructure, limits).await;
    let client = service.client;
    // Waits for an event that does not exist yet, and so occupies the only slot.
    let waiting = async move {
        client
            .get_after("/shows/hamlet/bookings", "bookings:1000")
            .await
    };
    let waiting = tokio::spawn(waiting);
    until("the place is taken", async || {
        client.get("/status").await.body["requests"] == 1
    })
    .await;
    let full = client.get("/shows/hamlet").await.expect(503);
    assert_eq!(full.problem(), "full");
    assert_eq!(full.header("retry-after"), "1");
    client.get("/health/live").await.expect(200);
    waiting.abort();
    until("the place is free", async || {
        client.get("/shows/hamlet").await.status == 404
    })
    .await;
}
