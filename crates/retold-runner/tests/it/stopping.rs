//! The end of a runner.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use retold::runner::{MultiThread, MultiThreadOptions};
use retold::system::{Infrastructure, Phase};

use crate::faulty::{Faults, FaultyStore};
use crate::patience::{PATIENCE, status_of, until, until_phase};
use crate::shop::{assert_retold, memory, one_way, place, reservations, reserved, settled};

/// Goal: a stop records the checkpoint of processed events.
#[tokio::test]
async fn a_stop_records_the_checkpoints_of_followers() {
    let never = Duration::from_secs(3_600);
    let options = MultiThreadOptions::new().flush_delay(never);
    let system = one_way(reservations());
    let memory = memory();
    let runner = MultiThread::start_with(&system, &memory, options);
    let runner = runner.await.unwrap();
    let orders = runner.application("orders").unwrap();
    until_phase(&runner, "reservations", Phase::CaughtUp).await;
    place(&orders, "1", "nothing").await;
    until("it is processed", async || {
        status_of(&runner, "reservations").await.processed == 1
    })
    .await;
    let operator = runner.operator("stock", "reservations").unwrap();
    let log = orders.log_id().await.unwrap().unwrap();
    let record = operator.record().await.unwrap();
    let checkpoint = async || operator.checkpoint(&record, log).await.unwrap();
    assert_eq!(checkpoint().await, None);

    assert!(runner.stop().await.is_clean());
    assert_eq!(checkpoint().await.unwrap().position.get(), 1);
    assert_eq!(
        status_of(&runner, "reservations").await.phase,
        Phase::Stopped
    );
    // Nothing follows any more, and a wait reports that.
    let position = place(&orders, "2", "tea").await;
    let error = runner.wait_for("orders", position, PATIENCE).await;
    assert!(error.unwrap_err().to_string().contains("was stopped"));
    assert!(runner.stop().await.is_clean(), "a second stop does nothing");
    assert_retold([&runner]).await;
}

/// Goal: a store that never responds does not block a stop forever, and the report names the
/// follower.
#[tokio::test]
async fn a_stop_ends_in_time() {
    let store = Arc::new(FaultyStore::<Faults>::default());
    store.behaviour.hang.store(1, Ordering::SeqCst);
    let faults = Arc::clone(&store.behaviour);
    let infrastructure = Infrastructure::new(store);
    let options = MultiThreadOptions::new().stop_wait_max(Duration::from_millis(50));
    let system = one_way(reservations());
    let runner = MultiThread::start_with(&system, &infrastructure, options);
    let runner = runner.await.unwrap();
    place(&runner.application("orders").unwrap(), "1", "tea").await;
    until("it hangs", async || faults.hang.load(Ordering::SeqCst) == 0).await;
    for id in ["2", "3", "4"] {
        place(&runner.application("orders").unwrap(), id, "tea").await;
    }
    until("the lag is reported", async || {
        runner.lag().await.events == 4
    })
    .await;
    assert!(runner.is_overloaded(3).await);
    assert!(!runner.is_overloaded(4).await);
    let report = runner.stop().await;
    assert_eq!(report.unfinished, ["stock/reservations"]);
    assert_retold([&runner]).await;
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
