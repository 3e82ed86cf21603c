//! Catching up and following live.

use std::time::Duration;

use retold::recording::Position;
use retold::runner::MultiThread;
use retold::system::{Phase, SingleThread, Start};

use crate::patience::{PATIENCE, status_of, until_phase};
use crate::place::{Place, in_places};
use crate::shop::{
    Order, assert_retold, count, memory, one_way, place, reservations, reserved, settled, shop,
};

#[tokio::test]
async fn followers_catch_up_at_start_and_continue_live() {
    let memory = memory();
    let before = SingleThread::start(&one_way(reservations()), &memory)
        .await
        .unwrap();
    place(&before.application("orders").unwrap(), "0", "tea").await;
    before.stop().await.unwrap();
    // Orders that no follower has processed yet.
    let open = MultiThread::start(&one_way(reservations()), &memory)
        .await
        .unwrap();
    open.stop().await;
    let orders = open.application("orders").unwrap();
    for id in 1..700 {
        place(&orders, &id.to_string(), "tea").await;
    }

    let runner = MultiThread::start(&one_way(reservations()), &memory)
        .await
        .unwrap();
    settled(&runner).await;
    let stock = runner.application("stock").unwrap();
    let expected: Vec<_> = (0..700).map(|id| id.to_string()).collect();
    assert_eq!(reserved(&stock).await, expected);

    let orders = runner.application("orders").unwrap();
    let position = place(&orders, "live", "coffee").await;
    runner.wait_for("orders", position, PATIENCE).await.unwrap();
    assert_eq!(reserved(&stock).await.len(), 701);
    assert!(runner.stop().await.is_clean());
    assert_retold([&runner]).await;
}

/// Goal: cycles come to rest, with each event processed once, in a durable store and by several
/// threads.
async fn a_system_with_cycles_comes_to_rest(home: Place) {
    let infrastructure = home.open().await;
    let runner = MultiThread::start(&shop(), &infrastructure).await.unwrap();
    let orders = runner.application("orders").unwrap();
    let clients = (0..4).map(|client| {
        let orders = orders.clone();
        tokio::spawn(async move {
            for order in 0..25 {
                place(&orders, &format!("{client}-{order}"), "tea").await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    settled(&runner).await;
    let stock = runner.application("stock").unwrap();
    assert_eq!(count(&stock, "Reserved").await, 100);
    for topic in ["Confirmed", "retold.scheduled", "retold.cancelled"] {
        assert_eq!(count(&orders, topic).await, 100, "{topic}");
    }
    let first = orders.get::<Order>("0-0").await.unwrap();
    assert_eq!(first.state.confirmed, 1);
    assert!(runner.stop().await.is_clean());
    assert_retold([&runner]).await;
}

/// Goal: a batch that is not full is recorded as soon as there is nothing left to read.
#[tokio::test]
async fn a_partial_batch_is_recorded_without_waiting() {
    let system = one_way(reservations().batch(100));
    let runner = MultiThread::start(&system, &memory()).await.unwrap();
    let orders = runner.application("orders").unwrap();
    for id in ["1", "2", "3"] {
        let position = place(&orders, id, "tea").await;
        runner.wait_for("orders", position, PATIENCE).await.unwrap();
    }
    let stock = runner.application("stock").unwrap();
    assert_eq!(reserved(&stock).await, ["1", "2", "3"]);
    assert_retold([&runner]).await;
}

#[tokio::test]
async fn the_status_shows_phase_lag_and_positions() {
    let system = one_way(reservations().start(Start::Now));
    let runner = MultiThread::start(&system, &memory()).await.unwrap();
    until_phase(&runner, "reservations", Phase::CaughtUp).await;
    let operator = runner.operator("stock", "reservations").unwrap();
    operator.pause("to see the lag").await.unwrap();
    until_phase(&runner, "reservations", Phase::Paused).await;
    let orders = runner.application("orders").unwrap();
    for id in ["1", "2", "3"] {
        place(&orders, id, "tea").await;
    }
    let status = status_of(&runner, "reservations").await;
    assert_eq!(status.lag_events(), 3);
    assert_eq!(status.upstreams[0].head.unwrap().position.get(), 3);
    let later = orders.now().saturating_add(Duration::from_secs(60));
    assert!(status.lag(later) >= Duration::from_secs(60));
    // A paused follower is not catching up, so it does not count.
    assert!(!runner.is_overloaded(2).await);

    operator.resume().await.unwrap();
    let position = Position::new(3).unwrap();
    runner.wait_for("orders", position, PATIENCE).await.unwrap();
    let status = status_of(&runner, "reservations").await;
    assert_eq!((status.lag_events(), status.processed), (0, 3));
    assert_retold([&runner]).await;
}

#[tokio::test]
async fn unknown_names_are_refused() {
    let runner = MultiThread::start(&shop(), &memory()).await.unwrap();
    let reported = |error: &dyn std::fmt::Display| error.to_string();
    let error = runner.application("shelf").unwrap_err();
    assert!(
        reported(&error).contains("it has [\"orders\", \"stock\"]"),
        "{error}"
    );
    let error = runner.operator("stock", "answers").unwrap_err();
    assert!(
        reported(&error).contains("it has [\"reservations\"]"),
        "{error}"
    );
    let first = Position::FIRST;
    let error = runner
        .wait_for_follower("stock", "reservations", "stock", first, PATIENCE)
        .await
        .unwrap_err();
    assert!(
        reported(&error).contains("does not follow \"stock\""),
        "{error}"
    );
    assert_retold([&runner]).await;
}

in_places!([sqlite, postgres], (a_system_with_cycles_comes_to_rest,));
