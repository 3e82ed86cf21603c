//! Failures, and the actions of operators: stop, park, resume, skip, pause, reset.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use retold::prelude::*;
use retold::system::{
    Context, Follower, FollowerOperator, FollowerPath, OnFailure, Phase, Runner, SingleThread,
    System,
};

use super::shop::{Placed, Stock, StockEvent, assert_retold, memory, place};

/// The items that are unavailable, changed from outside: a policy with a fault. Each test has its
/// own.
macro_rules! faulty_policy {
    ($faults:ident, $policy:ident) => {
        static $faults: AtomicU32 = AtomicU32::new(0);

        async fn $policy(placed: &Placed, context: &mut Context) -> retold::Result<()> {
            if placed.item == "bad" && $faults.load(Ordering::SeqCst) > 0 {
                return Err(retold::Error::Refused("the item cannot be had".into()));
            }
            if placed.item == "panic" && $faults.load(Ordering::SeqCst) > 0 {
                panic!("out of order");
            }
            let order = context.cause().stream().unwrap_or_default().to_owned();
            let reserved = |_: &Stock| StockEvent::Reserved { order };
            context
                .execute_or_create(placed.item.as_str(), reserved)
                .await?;
            Ok(())
        }
    };
}

fn system(follower: Follower) -> System {
    System::new("shop")
        .application("orders", |app| app.aggregate::<super::shop::Order>())
        .application("stock", |app| app.aggregate::<Stock>().follower(follower))
        .build()
        .unwrap()
}

async fn reserved(app: &Application) -> Vec<String> {
    let events = app.events::<StockEvent>().read().collect().await.unwrap();
    let order = |event: StockEvent| match event {
        StockEvent::Reserved { order } | StockEvent::SoldOut { order } => order,
    };
    events.into_iter().map(|it| order(it.event)).collect()
}

faulty_policy!(STOP, stops);

#[tokio::test]
async fn a_policy_that_fails_stops_its_follower_until_it_is_resumed() {
    let (memory, _) = memory();
    STOP.store(1, Ordering::SeqCst);
    let system = system(Follower::new("reservations").follows("orders").on(stops));
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    let (orders, stock) = (
        runner.application("orders").unwrap(),
        runner.application("stock").unwrap(),
    );
    place(&orders, "1", "tea").await.unwrap();
    // The command itself is recorded, and succeeds.
    place(&orders, "2", "bad").await.unwrap();
    place(&orders, "3", "tea").await.unwrap();
    assert_eq!(reserved(&stock).await, ["Order/1"]);
    let status = runner.status().await.pop().unwrap();
    assert_eq!(status.phase, Phase::Paused);
    assert!(status.last_error.unwrap().1.contains("cannot be had"));
    let operator = runner
        .operator(&FollowerPath::new("stock", "reservations"))
        .unwrap();
    let reason = operator.record().await.unwrap().paused.unwrap();
    assert!(reason.contains("the event at 2 of \"orders\""), "{reason}");

    // Neither a new process nor a resume helps before the fault is fixed.
    let again = SingleThread::start(&system, &memory).await.unwrap();
    assert_eq!(again.status().await.pop().unwrap().phase, Phase::Paused);
    operator.resume().await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(runner.status().await.pop().unwrap().phase, Phase::Paused);

    STOP.store(0, Ordering::SeqCst);
    operator.resume().await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(reserved(&stock).await, ["Order/1", "Order/2", "Order/3"]);
    assert_eq!(runner.status().await.pop().unwrap().phase, Phase::CaughtUp);
    assert_retold(runner.open_system()).await;
}

faulty_policy!(PARK, parks);

#[tokio::test]
async fn an_event_is_parked_with_the_later_ones_of_its_stream() {
    let (memory, _) = memory();
    PARK.store(1, Ordering::SeqCst);
    let follower = Follower::new("reservations").follows("orders").on(parks);
    let system = system(follower.on_failure(OnFailure::Park));
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    let (orders, stock) = (
        runner.application("orders").unwrap(),
        runner.application("stock").unwrap(),
    );
    place(&orders, "1", "bad").await.unwrap();
    place(&orders, "2", "tea").await.unwrap();
    place(&orders, "1", "tea").await.unwrap();
    place(&orders, "3", "panic").await.unwrap();
    assert_eq!(reserved(&stock).await, ["Order/2"]);

    let operator = runner
        .operator(&FollowerPath::new("stock", "reservations"))
        .unwrap();
    let parked = operator.parked().await.unwrap();
    let failures: Vec<_> = parked.iter().map(|it| it.failure.as_deref()).collect();
    assert_eq!(
        failures,
        [
            Some("refused: the item cannot be had"),
            None,
            Some("the policy panicked: out of order")
        ]
    );
    assert_eq!(runner.status().await.pop().unwrap().parked, 3);

    // Resumed while the fault persists, it stays parked.
    operator.resume().await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(operator.parked().await.unwrap().len(), 3);

    operator
        .skip(parked[2].log, parked[2].event.position, "given up")
        .await
        .unwrap();
    let error = operator
        .skip(parked[2].log, parked[2].event.position, "again")
        .await;
    assert!(error.unwrap_err().to_string().contains("has not parked"));
    PARK.store(0, Ordering::SeqCst);
    operator.resume().await.unwrap();
    runner.catch_up().await.unwrap();
    assert!(operator.parked().await.unwrap().is_empty());
    assert_eq!(reserved(&stock).await, ["Order/2", "Order/1", "Order/1"]);
    // Once: another start processes nothing again.
    let again = SingleThread::start(&system, &memory).await.unwrap();
    again.catch_up().await.unwrap();
    assert_eq!(reserved(&stock).await.len(), 3);
    assert_retold(runner.open_system()).await;
}

faulty_policy!(BATCH, in_batches);

/// Goal: the events before and after one whose policy fails are processed once each, although one
/// append covers many.
#[tokio::test]
async fn a_failure_in_a_batch_leaves_nothing_out() {
    let (memory, _) = memory();
    BATCH.store(1, Ordering::SeqCst);
    let follower = Follower::new("reservations")
        .follows("orders")
        .on(in_batches);
    let system = system(follower.on_failure(OnFailure::Park).batch(50));
    let open = retold::system::OpenSystem::open(&system, &memory, retold::system::Opening::Write);
    let open = open.await.unwrap();
    let (orders, stock) = (
        open.application("orders").unwrap(),
        open.application("stock").unwrap(),
    );
    for order in 1..=20 {
        let item = if order == 10 { "bad" } else { "tea" };
        place(orders, &order.to_string(), item).await.unwrap();
    }
    let (_, mut pipeline) = open.pipelines().pop().unwrap();
    while pipeline.step().await.unwrap() == retold::system::Step::Moved {}
    pipeline.flush_idle().await.unwrap();
    let expected: Vec<_> = (1..=20)
        .filter(|it| *it != 10)
        .map(|it| format!("Order/{it}"))
        .collect();
    assert_eq!(reserved(stock).await, expected);
    assert_retold(&open).await;
}

faulty_policy!(PAUSE, pausable);

#[tokio::test]
async fn an_operator_pauses_and_resets_a_follower() {
    let (memory, _) = memory();
    let system = system(Follower::new("reservations").follows("orders").on(pausable));
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    let (orders, stock) = (
        runner.application("orders").unwrap(),
        runner.application("stock").unwrap(),
    );
    place(&orders, "1", "tea").await.unwrap();
    let operator = runner
        .operator(&FollowerPath::new("stock", "reservations"))
        .unwrap();
    operator.pause("for a look").await.unwrap();
    operator.pause("twice").await.unwrap();
    // The follower notices this without a notification: its next append would not be recorded.
    place(&orders, "2", "tea").await.unwrap();
    assert_eq!(reserved(&stock).await, ["Order/1"]);
    operator.resume().await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(reserved(&stock).await, ["Order/1", "Order/2"]);

    operator.reset(&[]).await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(
        reserved(&stock).await,
        ["Order/1", "Order/2", "Order/1", "Order/2"]
    );
    let record = operator.record().await.unwrap();
    assert_eq!(record.generation, 2);
    let ids: std::collections::BTreeSet<_> = stock
        .events::<StockEvent>()
        .read()
        .collect()
        .await
        .unwrap()
        .into_iter()
        .map(|it| it.id())
        .collect();
    assert_eq!(ids.len(), 4);

    let unknown = FollowerOperator::new(&stock, "unknown");
    let error = unknown.pause("why not").await.unwrap_err();
    assert!(
        error.to_string().contains("no follower \"unknown\""),
        "{error}"
    );
    assert_retold(runner.open_system()).await;
}

/// A log that was replaced is never followed further, neither from the start nor from the middle.
#[tokio::test]
async fn a_replaced_log_is_noticed() {
    let (memory, _) = memory();
    let system = system(Follower::new("reservations").follows("orders").on(pausable));
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    place(&runner.application("orders").unwrap(), "1", "tea")
        .await
        .unwrap();
    let others = memory
        .clone()
        .application_in("orders", Arc::new(retold::recording::MemoryStore::new()));
    let other = SingleThread::start(&system, &others).await.unwrap();
    let status = other.status().await.pop().unwrap();
    assert_eq!(status.phase, Phase::Failed);
    assert!(status.last_error.unwrap().1.contains("has been replaced"));
    assert_retold(runner.open_system()).await;
}
