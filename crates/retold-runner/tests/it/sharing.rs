//! Two runners of one system on one store, each with an opening of its own.

use retold::runner::MultiThread;
use retold::system::Phase;

use crate::patience::{PATIENCE, until};
use crate::place::{Place, in_places};
use crate::shop::{assert_retold, count, one_way, place, reservations, reserved, settled, shop};

/// Orders of a busy time.
const ORDERS: u64 = 2_000;

/// Goal: both see everything processed, once, in the order of the log, whoever did it.
async fn two_runners_answer_each_event_once(home: Place) {
    let mut runners = Vec::new();
    for _ in 0..2 {
        let runner = MultiThread::start(&shop(), &home.open().await).await;
        runners.push(runner.unwrap());
    }
    let places = runners.iter().enumerate().map(|(index, runner)| {
        let orders = runner.application("orders").unwrap();
        tokio::spawn(async move {
            for order in 0..60 {
                place(&orders, &format!("{index}-{order}"), "tea").await;
            }
        })
    });
    for placing in places.collect::<Vec<_>>() {
        placing.await.unwrap();
    }
    for runner in &runners {
        settled(runner).await;
        let (orders, stock) = (
            runner.application("orders").unwrap(),
            runner.application("stock").unwrap(),
        );
        assert_eq!(count(&stock, "Reserved").await, 120);
        assert_eq!(count(&orders, "Confirmed").await, 120);
        assert_eq!(count(&orders, "retold.scheduled").await, 120);
    }
    for runner in &runners {
        assert!(runner.stop().await.is_clean());
    }
    assert_retold(&runners).await;
}

/// Goal: two runners that are both busy do not spend their time on overtaking each other.
async fn two_busy_runners_seldom_meet(home: Place) {
    let system = one_way(reservations());
    let mut runners = Vec::new();
    for _ in 0..2 {
        runners.push(
            MultiThread::start(&system, &home.open().await)
                .await
                .unwrap(),
        );
    }
    let orders = runners[0].application("orders").unwrap();
    for order in 0..ORDERS {
        place(&orders, &order.to_string(), "tea").await;
    }
    settled(&runners[0]).await;
    let mut overtaken = 0;
    for runner in &runners {
        overtaken += runner.status().await[0].overtaken;
    }
    assert!(overtaken < ORDERS / 10, "{overtaken} of {ORDERS}");
    assert_retold(&runners).await;
}

/// Goal: of two runners one works and the other keeps still, and takes over when the first stops.
async fn the_one_that_keeps_still_takes_over(home: Place) {
    let system = one_way(reservations());
    let mut runners = Vec::new();
    for _ in 0..2 {
        runners.push(
            MultiThread::start(&system, &home.open().await)
                .await
                .unwrap(),
        );
    }
    let orders = runners[0].application("orders").unwrap();
    let phases = async || {
        let mut phases = Vec::new();
        for runner in &runners {
            phases.push(runner.status().await[0].phase);
        }
        phases
    };
    let mut placed = 0;
    while !phases().await.contains(&Phase::Standby) {
        let position = place(&orders, &placed.to_string(), "tea").await;
        placed += 1;
        runners[0]
            .wait_for("orders", position, PATIENCE)
            .await
            .unwrap();
        assert!(placed < 10_000, "neither keeps still");
    }
    let phases = phases().await;
    let standby = phases.iter().position(|it| *it == Phase::Standby).unwrap();
    assert!(runners[1 - standby].stop().await.is_clean());

    let position = place(&orders, "last", "tea").await;
    let runner = &runners[standby];
    runner.wait_for("orders", position, PATIENCE).await.unwrap();
    let stock = runner.application("stock").unwrap();
    assert_eq!(reserved(&stock).await.len(), placed + 1);
    until("it is told that this one works", async || {
        runner.status().await[0].phase == Phase::CaughtUp
    })
    .await;
    assert_retold(&runners).await;
}

in_places!(
    [sqlite, postgres],
    (
        two_runners_answer_each_event_once,
        two_busy_runners_seldom_meet,
        the_one_that_keeps_still_takes_over,
    )
);
