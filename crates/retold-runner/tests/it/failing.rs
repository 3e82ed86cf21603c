//! Failures: of policies, of stores, and operators' responses to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use retold::prelude::*;
use retold::recording::{LogId, MemoryStore};
use retold::runner::{MultiThread, MultiThreadOptions, WaitError};
use retold::system::{Context, Follower, Infrastructure, OnFailure, Phase, System};

use crate::faulty::{Faults, FaultyStore};
use crate::patience::{PATIENCE, in_time, status_of, until, until_phase};
use crate::shop::{
    Order, Placed, Stock, assert_retold, memory, one_way, place, reservations, reserve, reserved,
    shop,
};

/// A policy that fails for bad items while a switch is on. Each test has its own.
macro_rules! faulty_policy {
    ($fault:ident, $policy:ident) => {
        static $fault: AtomicBool = AtomicBool::new(true);

        async fn $policy(placed: &Placed, context: &mut Context) -> retold::Result<()> {
            if placed.item == "bad" && $fault.load(Ordering::SeqCst) {
                return Err(retold::Error::Refused("it cannot be had".into()));
            }
            reserve(placed, context).await
        }
    };
}

faulty_policy!(STOP, stops);

#[tokio::test]
async fn a_follower_that_fails_does_not_stop_the_others() {
    let system = System::new("shop")
        .application("orders", |app| app.aggregate::<Order>())
        .application("stock", |app| {
            app.aggregate::<Stock>()
                .follower(Follower::new("fragile").follows("orders").on(stops))
        })
        .application("copy", |app| {
            app.aggregate::<Stock>().follower(reservations())
        })
        .build()
        .unwrap();
    let runner = MultiThread::start(&system, &memory()).await.unwrap();
    let orders = runner.application("orders").unwrap();
    place(&orders, "1", "tea").await;
    place(&orders, "2", "bad").await;
    let last = place(&orders, "3", "tea").await;

    runner
        .wait_for_follower("copy", "reservations", "orders", last, PATIENCE)
        .await
        .unwrap();
    // Reported immediately, and not when the time is up.
    let error = in_time(
        "an error",
        runner.wait_for("orders", last, Duration::MAX / 4),
    )
    .await;
    let WaitError::Halted {
        follower, reason, ..
    } = error.unwrap_err()
    else {
        panic!("another error");
    };
    assert_eq!(&*follower, "fragile");
    assert!(reason.contains("cannot be had"), "{reason}");
    assert_eq!(status_of(&runner, "fragile").await.phase, Phase::Paused);

    STOP.store(false, Ordering::SeqCst);
    let operator = runner.operator("stock", "fragile").unwrap();
    operator.resume().await.unwrap();
    runner.wait_for("orders", last, PATIENCE).await.unwrap();
    let stock = runner.application("stock").unwrap();
    assert_eq!(reserved(&stock).await, ["1", "2", "3"]);
    assert_retold([&runner]).await;
}

faulty_policy!(PARK, parks);

#[tokio::test]
async fn parked_events_are_resumed() {
    let follower = Follower::new("reservations").follows("orders").on(parks);
    let system = one_way(follower.on_failure(OnFailure::Park).batch(10));
    let runner = MultiThread::start(&system, &memory()).await.unwrap();
    let orders = runner.application("orders").unwrap();
    place(&orders, "1", "tea").await;
    place(&orders, "2", "bad").await;
    let last = place(&orders, "3", "tea").await;
    runner.wait_for("orders", last, PATIENCE).await.unwrap();
    let stock = runner.application("stock").unwrap();
    assert_eq!(reserved(&stock).await, ["1", "3"]);
    until("it is parked", async || {
        status_of(&runner, "reservations").await.parked == 1
    })
    .await;

    PARK.store(false, Ordering::SeqCst);
    runner.resume_parked("stock", "reservations").await.unwrap();
    until("it is resumed", async || {
        reserved(&stock).await == ["1", "3", "2"]
    })
    .await;
    until("nothing is parked", async || {
        status_of(&runner, "reservations").await.is_well()
    })
    .await;
    assert_retold([&runner]).await;
}

#[tokio::test]
async fn an_operator_pauses_and_resumes_a_working_follower() {
    let runner = MultiThread::start(&shop(), &memory()).await.unwrap();
    until_phase(&runner, "reservations", Phase::CaughtUp).await;
    let operator = runner.operator("stock", "reservations").unwrap();
    operator.pause("for the inventory").await.unwrap();
    let orders = runner.application("orders").unwrap();
    let position = place(&orders, "1", "tea").await;
    until_phase(&runner, "reservations", Phase::Paused).await;
    let stock = runner.application("stock").unwrap();
    assert!(reserved(&stock).await.is_empty());
    let error = runner.wait_for("orders", position, PATIENCE).await;
    assert!(error.unwrap_err().to_string().contains("for the inventory"));

    operator.resume().await.unwrap();
    runner.wait_for("orders", position, PATIENCE).await.unwrap();
    assert_eq!(reserved(&stock).await, ["1"]);
    assert_retold([&runner]).await;
}

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
    runner.wait_for("orders", last, PATIENCE).await.unwrap();
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
    runner.wait_for("orders", position, PATIENCE).await.unwrap();
    assert!(runner.stop().await.is_clean());

    let runner = MultiThread::start(&system, &infrastructure(2))
        .await
        .unwrap();
    until_phase(&runner, "reservations", Phase::Failed).await;
    let orders = runner.application("orders").unwrap();
    let position = place(&orders, "2", "tea").await;
    let error = runner.wait_for("orders", position, PATIENCE).await;
    assert!(error.unwrap_err().to_string().contains("has been replaced"));

    let start = retold::system::StartingCheckpoint::new(
        "orders",
        orders.log_id().await.unwrap().unwrap(),
        None,
    );
    runner
        .reset("stock", "reservations", &[start])
        .await
        .unwrap();
    until_phase(&runner, "reservations", Phase::CaughtUp).await;
    runner.wait_for("orders", position, PATIENCE).await.unwrap();
    let stock = runner.application("stock").unwrap();
    assert_eq!(reserved(&stock).await, ["1", "2"]);
    assert_retold([&runner]).await;
}
