//! Timers.

use std::sync::Arc;
use std::time::Duration;

use retold::domain::ManualClock;
use retold::runner::{MultiThread, MultiThreadOptions};
use retold::system::{Deadline, Runner};

use crate::patience::until;
use crate::place::{Place, in_places};
use crate::shop::{Overdue, assert_retold, count, memory, place, settled, shop};

/// Goal: with two runners on one store each timer fires once, when the clock reaches its time and
/// not before.
async fn a_timer_fires_once_with_two_runners(home: Place) {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    // A clock that is moved by hand is noticed by polling.
    let options = MultiThreadOptions::new().poll_interval(Duration::from_millis(5));
    let (shop, mut runners) = (shop(), Vec::new());
    for _ in 0..2 {
        let infrastructure = home.open().await.clock(clock.clone());
        let runner = MultiThread::start_with(&shop, &infrastructure, options.clone());
        runners.push(runner.await.unwrap());
    }
    let orders = runners[0].application("orders").unwrap();
    for id in 0..20 {
        place(&orders, &id.to_string(), "nothing").await;
    }
    settled(&runners[0]).await;
    until("the timers are known", async || {
        runners.iter().all(|it| it.timers()[0].pending == 20)
    })
    .await;
    assert_eq!(count(&orders, "Overdue").await, 0);

    clock.advance(Duration::from_secs(61));
    until("all have fired", async || {
        runners.iter().all(|it| it.timers()[0].pending == 0)
    })
    .await;
    assert_eq!(count(&orders, "Overdue").await, 20);
    assert_eq!(count(&orders, "retold.fired").await, 20);
    for runner in &runners {
        assert!(runner.stop().await.is_clean());
    }
    assert_retold(&runners).await;
}

#[tokio::test]
async fn a_timer_fires_when_it_is_due_by_the_machines_clock() {
    let runner = MultiThread::start(&shop(), &memory()).await.unwrap();
    let orders = runner.application("orders").unwrap();
    let due = orders.now().saturating_add(Duration::from_millis(30));
    let overdue = Overdue { order: "1".into() };
    let deadline = Deadline::new("soon", due, overdue);
    orders.schedule(deadline).await.unwrap();
    until("it has fired", async || {
        count(&orders, "Overdue").await == 1
    })
    .await;
    assert!(orders.now() >= due);
    assert_retold([&runner]).await;
}

in_places!([sqlite, postgres], (a_timer_fires_once_with_two_runners,));
