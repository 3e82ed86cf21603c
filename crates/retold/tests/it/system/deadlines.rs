//! Timers: set, cancelled, fired exactly once, also after a restart.

use std::time::Duration;

use retold::prelude::*;
use retold::system::{Deadline, Runner, SingleThread};

use super::shop::{Overdue, assert_retold, lines, memory, place, shop};

fn overdue(order: &str) -> Overdue {
    Overdue {
        order: order.into(),
    }
}

async fn fired(app: &Application) -> Vec<String> {
    let events = app.events::<Overdue>().read().collect().await.unwrap();
    events.into_iter().map(|it| it.event.order).collect()
}

#[tokio::test]
async fn timers_fire_by_due_time_and_once() {
    let (memory, clock) = memory();
    let runner = SingleThread::start(&shop(), &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    let start = orders.now();
    for (key, seconds) in [("c", 30), ("a", 10), ("b", 10), ("d", 40)] {
        let due = start.saturating_add(Duration::from_secs(seconds));
        orders
            .schedule(Deadline::new(key, due, overdue(key)))
            .await
            .unwrap();
    }
    assert!(orders.cancel("d").await.unwrap());
    assert!(!orders.cancel("d").await.unwrap());
    assert!(!orders.cancel("unknown").await.unwrap());

    clock.advance(Duration::from_secs(20));
    runner.catch_up().await.unwrap();
    assert_eq!(fired(&orders).await, ["a", "b"]);

    // Another runner, as after a restart, and two at the same time.
    let other = SingleThread::start(&shop(), &memory).await.unwrap();
    clock.advance(Duration::from_secs(60));
    let (one, two) = tokio::join!(runner.catch_up(), other.catch_up());
    one.unwrap();
    two.unwrap();
    assert_eq!(fired(&orders).await, ["a", "b", "c"]);

    let event = orders
        .events::<Overdue>()
        .read()
        .collect()
        .await
        .unwrap()
        .pop()
        .unwrap();
    assert_eq!(event.time(), start.saturating_add(Duration::from_secs(30)));
    assert_retold(runner.open_system()).await;
}

#[tokio::test]
async fn a_timer_that_is_set_again_is_replaced() {
    let (memory, clock) = memory();
    let runner = SingleThread::start(&shop(), &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    let start = orders.now();
    for (seconds, order) in [(10, "first"), (20, "second")] {
        let due = start.saturating_add(Duration::from_secs(seconds));
        orders
            .schedule(Deadline::new("key", due, overdue(order)))
            .await
            .unwrap();
    }
    clock.advance(Duration::from_secs(15));
    runner.catch_up().await.unwrap();
    assert!(fired(&orders).await.is_empty());
    clock.advance(Duration::from_secs(15));
    // A command first fires the timers that are due.
    place(&orders, "1", "tea").await.unwrap();
    let topics = lines(&orders).await;
    let at = |topic: &str| topics.iter().position(|line| line.contains(topic)).unwrap();
    assert!(at("Overdue") < at("Placed"), "{topics:#?}");
    assert_eq!(fired(&orders).await, ["second"]);
    assert_retold(runner.open_system()).await;
}

#[tokio::test]
async fn a_policy_sets_and_cancels_timers() {
    let (memory, clock) = memory();
    let runner = SingleThread::start(&shop(), &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    for order in 1..=4 {
        place(&orders, &order.to_string(), "tea").await.unwrap();
    }
    clock.advance(Duration::from_secs(61));
    runner.catch_up().await.unwrap();
    // The fourth was declined, so nothing cancelled its deadline.
    assert_eq!(fired(&orders).await, ["4"]);
    assert_retold(runner.open_system()).await;
}

#[tokio::test]
async fn a_bad_key_is_refused() {
    let (memory, _) = memory();
    let runner = SingleThread::start(&shop(), &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    let long = "k".repeat(201);
    let error = orders
        .schedule(Deadline::new(long, orders.now(), overdue("1")))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("201 bytes"), "{error}");
    let error = orders.cancel("").await.unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
    assert_retold(runner.open_system()).await;
}
