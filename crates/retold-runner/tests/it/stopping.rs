//! The end of a runner.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use retold::recording::Position;
use retold::runner::{MultiThread, MultiThreadOptions};
use retold::system::{Goal, Infrastructure, Phase, Runner, WaitError};
use tokio::time::timeout;

use crate::faulty::{Faults, FaultyStore};
use crate::patience::until;
use crate::shop::{assert_retold, memory, one_way, place, reservations, reserved, settled};

/// Returns a runner whose follower waits for a store that never responds, to record the effect of
/// the event at the returned position.
async fn hanging() -> (MultiThread, Position) {
    let store = Arc::new(FaultyStore::<Faults>::default());
    store.behaviour.hang.store(1, Ordering::SeqCst);
    let faults = Arc::clone(&store.behaviour);
    let infrastructure = Infrastructure::new(store);
    let options = MultiThreadOptions::new().stop_wait_max(Duration::from_millis(50));
    let system = one_way(reservations());
    let runner = MultiThread::start_with(&system, &infrastructure, options);
    let runner = runner.await.unwrap();
    let position = place(&runner.application("orders").unwrap(), "1", "tea").await;
    until("it hangs", async || faults.hang.load(Ordering::SeqCst) == 0).await;
    (runner, position)
}

/// Goal: a store that never responds does not block a stop forever, and the report names the
/// follower.
#[tokio::test]
async fn a_stop_ends_in_time() {
    let (runner, _) = hanging().await;
    for id in ["2", "3", "4"] {
        place(&runner.application("orders").unwrap(), id, "tea").await;
    }
    until("the lag is reported", async || {
        runner.lag().await.events == 4
    })
    .await;
    assert!(runner.lag().await.events > 3);
    assert!(runner.lag().await.events <= 4);
    let report = runner.stop().await;
    assert_eq!(report.unfinished, ["stock/reservations"]);
    assert_retold([&runner]).await;
}

/// Goal: a stop whose call is dropped loses nothing: the next call waits for the same followers and
/// reports them, and then no one waits for a follower that was aborted.
#[tokio::test]
async fn a_stop_that_was_dropped_is_resumed() {
    let (runner, position) = hanging().await;
    let dropped = timeout(Duration::ZERO, runner.stop()).await;
    assert!(dropped.is_err(), "{dropped:?}");
    let report = runner.stop().await;
    assert_eq!(report.unfinished, ["stock/reservations"]);
    assert_eq!(runner.status().await[0].phase, Phase::Stopped);
    let waited = runner.wait(Goal::processed("orders", position), Duration::MAX);
    let error = waited.await.unwrap_err();
    assert!(matches!(error, WaitError::Halted { .. }), "{error}");
    assert!(runner.stop().await.is_clean(), "nothing is left to stop");
}

/// Goal: after a runner is dropped, the next one finds all remaining work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_runner_loses_nothing() {
    let memory = memory();
    let system = one_way(reservations().batch(3));
    let mut expected = Vec::new();
    for round in 0..20 {
        let runner = MultiThread::start(&system, &memory).await.unwrap();
        let orders = runner.application("orders").unwrap();
        for order in 0..10 {
            let id = format!("{round}-{order}");
            place(&orders, &id, "tea").await;
            expected.push(id);
        }
    }
    let runner = MultiThread::start(&system, &memory).await.unwrap();
    settled(&runner).await;
    let stock = runner.application("stock").unwrap();
    assert_eq!(reserved(&stock).await, expected);
    assert_retold([&runner]).await;
}
