//! Waiting for effects, and the errors of waits that fail.

use std::time::Duration;

use retold::runner::{MultiThread, MultiThreadOptions};
use retold::system::{Goal, Phase, Runner};

use crate::patience::{PATIENCE, in_time, until_phase};
use crate::shop::{
    Order, Stock, Viewed, assert_retold, memory, one_way, place, reservations, reserved, settled,
    shop,
};

/// Goal: a caller that waits sees all effects, around the cycle, every time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_effects_are_there_after_a_wait() {
    let runner = MultiThread::start(&shop(), &memory()).await.unwrap();
    let orders = runner.application("orders").unwrap();
    let stock = runner.application("stock").unwrap();
    // Another task is busy all the time, so that the logs never stop growing.
    let noise = {
        let orders = orders.clone();
        tokio::spawn(async move {
            for id in 0_u64.. {
                place(&orders, &format!("noise-{id}"), "noise").await;
                tokio::task::yield_now().await;
            }
        })
    };
    for id in 0..30 {
        let id = id.to_string();
        let position = place(&orders, &id, &id).await;
        let caused = runner.wait(Goal::caused_by("orders", position), PATIENCE);
        caused.await.unwrap();
        let order = orders.get::<Order>(id.as_str()).await.unwrap();
        assert_eq!(order.state.confirmed, 1);
        assert_eq!(
            stock
                .get::<Stock>(id.as_str())
                .await
                .unwrap()
                .state
                .reserved,
            1
        );
        let is_pending = orders.cancel(&format!("Order/{id}")).await.unwrap();
        assert!(!is_pending, "the deadline was ended by the confirmation");
    }
    noise.abort();
    assert_retold([&runner]).await;
}

/// Goal: waiting callers are not held up by the delay that saves disk syncs.
#[tokio::test]
async fn events_without_effect_are_recorded_at_once_for_waiting_callers() {
    let never = Duration::from_secs(3_600);
    let options = MultiThreadOptions::new()
        .flush_delay(never)
        .passed_flush_delay(never);
    let system = one_way(reservations());
    let memory = memory();
    let runner = MultiThread::start_with(&system, &memory, options);
    let runner = runner.await.unwrap();
    let orders = runner.application("orders").unwrap();
    place(&orders, "1", "nothing").await;
    settled(&runner).await;
    let viewed = orders.execute("1", |_: &Order| Viewed).await.unwrap();
    let position = viewed.position().unwrap();
    in_time(
        "the wait",
        runner.wait(Goal::processed("orders", position), never),
    )
    .await
    .unwrap();
    let stock = runner.application("stock").unwrap();
    assert!(reserved(&stock).await.is_empty());
    assert_retold([&runner]).await;
}

/// Goal: a busy log without events for a follower does not make it record for each event.
#[tokio::test]
async fn events_without_effect_cost_few_appends() {
    let runner = MultiThread::start(&one_way(reservations()), &memory())
        .await
        .unwrap();
    until_phase(&runner, "reservations", Phase::CaughtUp).await;
    let stock = runner.application("stock").unwrap();
    let before = stock.head().await.unwrap().append_count;
    let orders = runner.application("orders").unwrap();
    place(&orders, "1", "nothing").await;
    for _ in 0..500 {
        orders.execute("1", |_: &Order| Viewed).await.unwrap();
    }
    settled(&runner).await;
    let appends = stock.head().await.unwrap().append_count - before;
    assert!(
        appends < 50,
        "{appends} appends for 501 events without effect"
    );
    assert_retold([&runner]).await;
}
