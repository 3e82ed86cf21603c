//! Misuse of a system that happens in practice: dropping a command midway, endless cycles,
//! decisions larger than a log accepts, decisions on state that another process has changed.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use retold::prelude::*;
use retold::system::{
    Context, Deadline, Follower, OnFailure, OpenSystem, Opening, Phase, Pipeline, Runner,
    SingleThread, Step, System,
};

use super::shop::{
    Order, Overdue, Placed, Stock, StockEvent, assert_retold, memory, place, reserve,
};

/// Number of reactions after which these tests assume an endless cycle.
const STEPS_MAX: u64 = 50;

fn shop_with(reservations: Follower) -> System {
    System::new("shop")
        .application("orders", |app| app.aggregate::<Order>().event::<Overdue>())
        .application("stock", |app| {
            app.aggregate::<Stock>()
                .follower(reservations.follows("orders"))
        })
        .build()
        .unwrap()
}

fn reservations() -> Follower {
    Follower::new("reservations")
}

async fn open(system: &System, memory: &retold::system::Infrastructure) -> OpenSystem {
    OpenSystem::open(system, memory, Opening::Write)
        .await
        .unwrap()
}

async fn reserved(app: &Application) -> Vec<String> {
    let events = app.events::<StockEvent>().read().collect().await.unwrap();
    let order = |event: StockEvent| match event {
        StockEvent::Reserved { order } | StockEvent::SoldOut { order } => order,
    };
    events.into_iter().map(|it| order(it.event)).collect()
}

async fn catch_up(pipeline: &mut Pipeline) {
    while pipeline.step().await.unwrap() == Step::Moved {}
    pipeline.flush_idle().await.unwrap();
    while pipeline.step().await.unwrap() == Step::Moved {}
    pipeline.flush_idle().await.unwrap();
}

/// Gives the caller a point at which to drop the future.
async fn yield_once() {
    let mut is_yielded = false;
    poll_fn(|context| match std::mem::replace(&mut is_yielded, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

async fn reserve_slowly(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    yield_once().await;
    reserve(placed, context).await
}

/// Goal: effects of a command are not left out when its caller drops it midway.
#[tokio::test]
async fn a_command_that_is_dropped_midway_leaves_nothing_out() {
    let (memory, _) = memory();
    let shop = shop_with(reservations().on(reserve_slowly));
    let runner = SingleThread::start(&shop, &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    for order in ["1", "2", "3"] {
        tokio::select! {
            biased;
            placed = place(&orders, order, "tea") => panic!("it was not slow: {placed:?}"),
            () = async {} => {}
        }
    }
    place(&orders, "4", "tea").await.unwrap();

    let stock = runner.application("stock").unwrap();
    assert_eq!(reserved(&stock).await, ["1", "2", "3", "4"]);
    assert_retold(runner.open_system()).await;
}

async fn echo(event: &StockEvent, context: &mut Context) -> retold::Result<()> {
    let event = event.clone();
    context.execute_or_create("echo", |_: &Stock| event).await?;
    Ok(())
}

/// Goal: a follower that processes its own effects is stopped, however it was started.
#[tokio::test]
async fn an_endless_cycle_ends_with_each_command() {
    let (memory, _) = memory();
    let system = System::new("echoes")
        .application("stock", |app| {
            let echoes = Follower::new("echoes").follows("stock").on(echo);
            app.aggregate::<Stock>().follower(echoes)
        })
        .build()
        .unwrap();
    let runner = SingleThread::start_with(&system, &memory, STEPS_MAX);
    let runner = runner.await.unwrap();
    let stock = runner.application("stock").unwrap();
    let call = || StockEvent::SoldOut {
        order: "hello".into(),
    };
    stock
        .execute_or_create("call", |_: &Stock| call())
        .await
        .unwrap();
    let first = reserved(&stock).await.len();
    assert!(first > 1);
    // Here it reads the logs.
    runner.catch_up().await.unwrap();
    let second = reserved(&stock).await.len();
    assert!(second > first);
    stock
        .execute_or_create("call", |_: &Stock| call())
        .await
        .unwrap();
    let again = SingleThread::start_with(&system, &memory, STEPS_MAX);
    assert!(again.await.is_ok());
    assert!(reserved(&stock).await.len() > second);
    assert_retold(runner.open_system()).await;
}

/// Sets the next deadline at the same time as the last.
async fn never_wait(overdue: &Overdue, context: &mut Context) -> retold::Result<()> {
    let next = Deadline::new("next", context.time(), overdue.clone());
    context.schedule(next)
}

#[tokio::test]
async fn timers_that_set_themselves_off_end_with_each_command() {
    let (memory, clock) = memory();
    let system = System::new("alarms")
        .application("orders", |app| {
            let alarms = Follower::new("alarms").follows("orders").on(never_wait);
            app.event::<Overdue>().follower(alarms)
        })
        .build()
        .unwrap();
    let runner = SingleThread::start_with(&system, &memory, STEPS_MAX);
    let runner = runner.await.unwrap();
    let orders = runner.application("orders").unwrap();
    let due = orders.now().saturating_add(Duration::from_secs(1));
    let overdue = Overdue { order: "1".into() };
    orders
        .schedule(Deadline::new("first", due, overdue))
        .await
        .unwrap();
    clock.advance(Duration::from_secs(2));
    runner.catch_up().await.unwrap();
    let fired = orders
        .events::<Overdue>()
        .read()
        .collect()
        .await
        .unwrap()
        .len();
    assert!(fired > 1);
    // A clock that is set back fires nothing that is not due, and loses nothing.
    clock.set(orders.now().saturating_sub(Duration::from_secs(10)));
    runner.catch_up().await.unwrap();
    let at_rest = orders
        .events::<Overdue>()
        .read()
        .collect()
        .await
        .unwrap()
        .len();
    assert_eq!(at_rest, fired);
    assert_retold(runner.open_system()).await;
}

/// Decides more for one item than a log accepts in one append.
async fn reserve_many(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    let order = context.cause().stream().unwrap_or_default().to_owned();
    let count = match placed.item.as_str() {
        "many" => retold::recording::limits::Limits::default().append_events + 1,
        _ => 1,
    };
    let events = vec![StockEvent::Reserved { order }; count];
    context
        .execute_or_create(placed.item.as_str(), |_: &Stock| events)
        .await?;
    Ok(())
}

/// Goal: effects that no log accepts are a failure of the policy for the one event that causes
/// them.
#[tokio::test]
async fn effects_that_do_not_fit_are_a_failure_of_the_policy() {
    for (on_failure, batch) in [
        (OnFailure::Park, 1),
        (OnFailure::Park, 50),
        (OnFailure::Stop, 50),
    ] {
        let (memory, _) = memory();
        let follower = reservations()
            .on(reserve_many)
            .on_failure(on_failure)
            .batch(batch);
        let shop = shop_with(follower);
        let open = open(&shop, &memory).await;
        let (orders, stock) = (
            open.application("orders").unwrap(),
            open.application("stock").unwrap(),
        );
        for order in 1..=20 {
            let item = if order == 10 { "many" } else { "tea" };
            place(orders, &order.to_string(), item).await.unwrap();
        }
        let (_, mut pipeline) = open.pipelines().pop().unwrap();
        catch_up(&mut pipeline).await;
        let last = if on_failure == OnFailure::Stop { 9 } else { 20 };
        let expected: Vec<_> = (1..=last)
            .filter(|it| *it != 10)
            .map(|it| format!("Order/{it}"))
            .collect();
        assert_eq!(reserved(stock).await, expected, "{on_failure:?} {batch}");
        let record = pipeline.record();
        match record.parked.values().next() {
            Some(parked) => assert!(parked.failure.as_ref().unwrap().contains("10001 events")),
            None => assert!(record.paused.as_ref().unwrap().contains("10001 events")),
        }
        // Retried, it fails as before.
        let operator = retold::system::FollowerOperator::new(stock, "reservations");
        operator.resume().await.unwrap();
        catch_up(&mut pipeline).await;
        assert_eq!(reserved(stock).await, expected, "{on_failure:?} {batch}");
        assert_retold(&open).await;
    }
}

/// Reads as many aggregates as the item says.
async fn read_many(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    for number in 0..placed.item.parse().unwrap_or(0) {
        let shelf = format!("{}-{number}", context.cause().position());
        context.find::<Stock>(shelf.as_str()).await?;
    }
    reserve(placed, context).await
}

/// Goal: reads that fit into an append of their own are not refused because of earlier decisions.
#[tokio::test]
async fn reads_that_fit_by_themselves_are_recorded_by_themselves() {
    let (memory, _) = memory();
    let most = retold::recording::limits::Limits::default().append_conditions;
    let shop = shop_with(reservations().on(read_many).batch(50));
    let open = open(&shop, &memory).await;
    let orders = open.application("orders").unwrap();
    // Each also has a processed range, the stock and the follower itself.
    for (order, reads) in [400, most - 10, 1, most - 10, 400].into_iter().enumerate() {
        place(orders, &order.to_string(), &reads.to_string())
            .await
            .unwrap();
    }
    let (_, mut pipeline) = open.pipelines().pop().unwrap();
    catch_up(&mut pipeline).await;
    assert_eq!(pipeline.record().paused, None);
    let stock = open.application("stock").unwrap();
    assert_eq!(reserved(stock).await, ["0", "1", "2", "3", "4"]);
    assert_retold(&open).await;
}

/// Refuses an order if too little was sold over the counter.
async fn need_one(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    let stock = context.find::<Stock>(placed.item.as_str()).await?;
    if stock.is_none_or(|it| it.reserved < 2) {
        return Err(retold::Error::Refused("too early".into()));
    }
    reserve(placed, context).await
}

/// Goal: no event is parked and no follower stopped because of a state that is still in the cache
/// but out of date with the log.
#[tokio::test]
async fn a_policy_does_not_fail_for_an_old_state() {
    for on_failure in [OnFailure::Park, OnFailure::Stop] {
        let (memory, _) = memory();
        let shop = shop_with(reservations().on(need_one).on_failure(on_failure));
        let (here, there) = (open(&shop, &memory).await, open(&shop, &memory).await);
        for process in [&here, &there] {
            let event = StockEvent::Reserved {
                order: "counter".into(),
            };
            let stock = process.application("stock").unwrap();
            stock
                .execute_or_create("tea", |_: &Stock| event.clone())
                .await
                .unwrap();
        }
        place(here.application("orders").unwrap(), "1", "tea")
            .await
            .unwrap();
        // This process knows only the stock that it recorded itself.
        let (_, mut pipeline) = here.pipelines().pop().unwrap();
        catch_up(&mut pipeline).await;
        let stock = here.application("stock").unwrap();
        assert_eq!(reserved(stock).await, ["counter", "counter", "1"]);
        assert!(pipeline.record().parked.is_empty());
        assert_eq!(pipeline.record().paused, None);
        assert_retold(&here).await;
    }
}

/// Decides on the aggregate from the cache, and then reads it from the log.
async fn look_twice(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    let order = context.cause().stream().unwrap_or_default().to_owned();
    let tea = Id::<Stock>::from(placed.item.as_str());
    let reserved = |_: &Stock| StockEvent::Reserved { order };
    context.execute_or_create(&tea, reserved).await?;
    let (one, two) = (context.get(&tea).await?, context.view(tea).await?);
    assert_eq!(one, two);
    Ok(())
}

/// Goal: an outdated state in the cache is a conflict and not a corrupt log, also if the policy
/// reads the same aggregate in two ways.
#[tokio::test]
async fn an_old_state_is_no_corruption() {
    let (memory, _) = memory();
    let shop = shop_with(reservations().on(look_twice).batch(10));
    let (here, there) = (open(&shop, &memory).await, open(&shop, &memory).await);
    for process in [&here, &there] {
        let event = StockEvent::Reserved {
            order: "counter".into(),
        };
        let stock = process.application("stock").unwrap();
        stock
            .execute_or_create("tea", |_: &Stock| event.clone())
            .await
            .unwrap();
    }
    for order in ["1", "2"] {
        place(here.application("orders").unwrap(), order, "tea")
            .await
            .unwrap();
    }
    let (_, mut pipeline) = here.pipelines().pop().unwrap();
    catch_up(&mut pipeline).await;
    let stock = here.application("stock").unwrap();
    assert_eq!(
        reserved(stock).await,
        ["counter", "counter", "Order/1", "Order/2"]
    );
    assert_eq!(pipeline.status().read().phase, Phase::CaughtUp);
    assert_retold(&here).await;
    drop(Arc::new(there));
}
