//! Two runners of one system on one store, each with its own handles.

use retold::runner::MultiThread;
use retold::system::{Goal, Phase, Runner};

use crate::patience::{PATIENCE, until};
use crate::place::{Place, in_places};
use crate::shop::{assert_retold, count, one_way, place, reservations, reserved, settled, shop};

/// The number of orders in a busy period.
const ORDERS: u64 = 2_000;

/// Goal: both see everything processed, once, in the order of the log, whichever runner did it.
async fn two_runners_process_each_event_once(home: Place) {
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

/// Goal: two busy runners do not spend their time overtaking each other.
async fn two_busy_runners_rarely_overtake_each_other(home: Place) {
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

/// Goal: one of two runners works, and the other stands by and takes over when the first stops.
async fn the_standby_takes_over(home: Place) {
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
            .wait(Goal::processed("orders", position), PATIENCE)
            .await
            .unwrap();
        assert!(placed < 10_000, "neither stands by");
    }
    let phases = phases().await;
    let standby = phases.iter().position(|it| *it == Phase::Standby).unwrap();
    assert!(runners[1 - standby].stop().await.is_clean());

    let position = place(&orders, "last", "tea").await;
    let runner = &runners[standby];
    runner
        .wait(Goal::processed("orders", position), PATIENCE)
        .await
        .unwrap();
    let stock = runner.application("stock").unwrap();
    assert_eq!(reserved(&stock).await.len(), placed + 1);
    until("the status shows that this one works", async || {
        runner.status().await[0].phase == Phase::CaughtUp
    })
    .await;
    assert_retold(&runners).await;
}

in_places!(
    [sqlite, postgres],
    (
        two_runners_process_each_event_once,
        two_busy_runners_rarely_overtake_each_other,
        the_standby_takes_over,
    )
);
