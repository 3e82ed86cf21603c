//! Failures: of policies, of stores, and operators' responses to them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use retold::prelude::*;
use retold::recording::{LogId, MemoryStore};
use retold::runner::{MultiThread, MultiThreadOptions};
use retold::system::{FollowerPath, Goal, Infrastructure, Phase, Runner};

use crate::faulty::{Faults, FaultyStore};
use crate::patience::{PATIENCE, status_of, until_phase};
use crate::shop::{assert_retold, one_way, place, reservations, reserved};

/// Goal: for every failure of the store's appends, and if it panics, each event is processed once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_of_the_store_are_retried() {
    let store = Arc::new(FaultyStore::<Faults>::default());
    let faults = Arc::clone(&store.behaviour);
    let infrastructure = Infrastructure::new(store);
    let quick = Duration::from_millis(1);
    let options = MultiThreadOptions::new().back_off(quick, quick * 4);
    let system = one_way(reservations().batch(7));
    let runner = MultiThread::start_with(&system, &infrastructure, options);
    let runner = runner.await.unwrap();
    let orders = runner.application("orders").unwrap();
    let mut expected = Vec::new();
    for (index, kind) in [
        &faults.unavailable,
        &faults.unknown,
        &faults.unknown_lost,
        &faults.panics,
    ]
    .into_iter()
    .cycle()
    .take(20)
    .enumerate()
    {
        // More than a pipeline sends by itself.
        kind.store(1 + 12 * (index as u32 % 2), Ordering::SeqCst);
        for order in 0..10 {
            let id = format!("{index}-{order}");
            place(&orders, &id, "tea").await;
            expected.push(id);
        }
    }
    let last = orders.head().await.unwrap().position().unwrap();
    runner
        .wait(Goal::processed("orders", last), PATIENCE)
        .await
        .unwrap();
    let stock = runner.application("stock").unwrap();
    assert_eq!(reserved(&stock).await, expected);
    let status = status_of(&runner, "reservations").await;
    assert!(status.last_error.is_some(), "failures are reported");
    let stopped = runner.stop().await;
    assert!(faults.left() > 0 || stopped.is_clean(), "{stopped:?}");
    assert_retold([&runner]).await;
}

/// Goal: a follower whose upstream was replaced fails, and continues when an operator resets it to
/// a position.
#[tokio::test]
async fn a_replaced_log_fails_its_followers_until_they_are_reset() {
    let stock_store = Arc::new(MemoryStore::new());
    let infrastructure = |id: u128| {
        Infrastructure::new(Arc::new(MemoryStore::new()))
            .application_in("stock", stock_store.clone())
            .log_id("orders", LogId::new(Uuid::from_u128(id)))
    };
    let system = one_way(reservations());
    let runner = MultiThread::start(&system, &infrastructure(1))
        .await
        .unwrap();
    let orders = runner.application("orders").unwrap();
    let position = place(&orders, "1", "tea").await;
    runner
        .wait(Goal::processed("orders", position), PATIENCE)
        .await
        .unwrap();
    assert!(runner.stop().await.is_clean());

    let runner = MultiThread::start(&system, &infrastructure(2))
        .await
        .unwrap();
    until_phase(&runner, "reservations", Phase::Failed).await;
    let orders = runner.application("orders").unwrap();
    let position = place(&orders, "2", "tea").await;
    let error = runner
        .wait(Goal::processed("orders", position), PATIENCE)
        .await;
    assert!(error.unwrap_err().to_string().contains("has been replaced"));

    let start = retold::system::StartingCheckpoint::new(
        "orders",
        orders.log_id().await.unwrap().unwrap(),
        None,
    );
    let operator = runner.operator(&FollowerPath::new("stock", "reservations"));
    operator.unwrap().reset(&[start]).await.unwrap();
    until_phase(&runner, "reservations", Phase::CaughtUp).await;
    runner
        .wait(Goal::processed("orders", position), PATIENCE)
        .await
        .unwrap();
    let stock = runner.application("stock").unwrap();
    assert_eq!(reserved(&stock).await, ["1", "2"]);
    assert_retold([&runner]).await;
}
