//! One thread: when a command returns, everything it caused has happened, in one order.

use std::time::Duration;

use retold::prelude::*;
use retold::system::{Context, Follower, Goal, Phase, Runner, SingleThread, System, WaitError};

use super::shop::{
    Confirmed, Order, Placed, Stock, StockEvent, assert_retold, lines, memory, place, shop,
};

#[tokio::test]
async fn a_command_returns_when_everything_it_caused_has_happened() {
    let (memory, _) = memory();
    let runner = SingleThread::start(&shop(), &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    for order in 1..=4 {
        place(&orders, &order.to_string(), "tea").await.unwrap();
        let state = orders.get::<Order>(order.to_string()).await.unwrap().state;
        let expected = if order <= 3 { (1, 0) } else { (0, 1) };
        assert_eq!((state.confirmed, state.declined), expected, "order {order}");
    }
    assert_retold(runner.open_system()).await;
}

/// Goal: a wait for an event that another program has yet to record ends when it is recorded, and
/// one that is recorded too late ends at the timeout.
#[tokio::test]
async fn a_wait_ends_when_another_program_has_written() {
    let (memory, _) = memory();
    let runner = SingleThread::start(&shop(), &memory).await.unwrap();
    let other = SingleThread::start(&shop(), &memory).await.unwrap();
    place(&runner.application("orders").unwrap(), "1", "tea")
        .await
        .unwrap();
    let orders = other.application("orders").unwrap();
    let head = orders.head().await.unwrap().position().unwrap();
    let next = || Goal::processed("orders", head.next());
    let early = runner.wait(next(), Duration::ZERO).await.unwrap_err();
    assert!(matches!(early, WaitError::Timeout { .. }), "{early}");
    let write = async {
        tokio::task::yield_now().await;
        place(&orders, "2", "tea").await.unwrap();
    };
    let (waited, ()) = tokio::join!(runner.wait(next(), Duration::from_secs(60)), write);
    waited.unwrap();
}

/// However a program obtains an application, the effects of its commands happen before they return.
#[tokio::test]
async fn an_application_of_the_open_system_is_the_runner_s() {
    let (memory, _) = memory();
    let runner = SingleThread::start(&shop(), &memory).await.unwrap();
    let open = runner.open_system();
    let ways = [
        runner.application("orders").unwrap(),
        open.application("orders").unwrap().clone(),
        open.applications()[0].clone(),
        open.clone()
            .application("orders")
            .unwrap()
            .with(Metadata::new().with("user", "ann")),
    ];
    // The stock is enough for three.
    for (order, orders) in ways.iter().enumerate() {
        let order = order.to_string();
        place(orders, &order, "tea").await.unwrap();
        let state = orders.get::<Order>(order).await.unwrap().state;
        assert_eq!(state.confirmed + state.declined, 1);
    }
    let placed = Placed {
        item: "coffee".into(),
    };
    let id = Id::<Order>::from("by decision");
    let decided = |(): &()| placed.clone().to(&id);
    ways[1].decide((), decided).await.unwrap();
    assert_eq!(ways[1].get(&id).await.unwrap().state.confirmed, 1);
    assert_retold(open).await;
}

/// The same commands result in the same logs, down to the ids.
#[tokio::test]
async fn the_same_commands_give_the_same_logs() {
    let mut logs = Vec::new();
    for _ in 0..2 {
        let (memory, _) = memory();
        let runner = SingleThread::start(&shop(), &memory).await.unwrap();
        let orders = runner.application("orders").unwrap();
        for order in 1..=5 {
            place(&orders, &order.to_string(), "tea").await.unwrap();
        }
        let stock = runner.application("stock").unwrap();
        let mut events = orders.log().stored().read().collect().await.unwrap();
        events.extend(stock.log().stored().read().collect().await.unwrap());
        logs.push(events);
        assert_retold(runner.open_system()).await;
    }
    assert!(!logs[0].is_empty());
    assert_eq!(logs[0], logs[1]);
}

#[tokio::test]
async fn effects_come_in_the_order_of_declaration() {
    let (memory, _) = memory();
    let runner = SingleThread::start(&shop(), &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    place(&orders, "1", "tea").await.unwrap();
    let lines = lines(&orders).await;
    let topics: Vec<_> = lines
        .iter()
        .map(|line| line.split(' ').nth(2).unwrap())
        .collect();
    assert_eq!(
        topics,
        [
            "retold.started",
            "retold.started",
            "Placed",
            "retold.scheduled",
            "Confirmed",
            "retold.cancelled"
        ],
        "{lines:#?}"
    );
    assert_retold(runner.open_system()).await;
}

/// Events recorded while no runner was running are processed at the start, once.
#[tokio::test]
async fn a_start_catches_up_and_a_second_finds_nothing_to_do() {
    let (memory, _) = memory();
    let alone = Application::builder("orders")
        .store(memory.store_of("orders").clone())
        .open()
        .await
        .unwrap();
    for order in 1..=3 {
        place(&alone, &order.to_string(), "tea").await.unwrap();
    }
    let runner = SingleThread::start(&shop(), &memory).await.unwrap();
    for order in 1..=3 {
        let state = alone.get::<Order>(order.to_string()).await.unwrap().state;
        assert_eq!(state.confirmed, 1);
    }
    let before = lines(&alone).await;
    assert!(runner.stop().await.is_clean());
    let runner = SingleThread::start(&shop(), &memory).await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(lines(&alone).await, before);
    assert_retold(runner.open_system()).await;
}

/// A runner that was stopped does nothing more, also for its clones and for commands.
#[tokio::test]
async fn a_stopped_runner_processes_nothing() {
    let (memory, _) = memory();
    let runner = SingleThread::start(&shop(), &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    place(&orders, "1", "tea").await.unwrap();
    let clone = runner.clone();
    assert!(runner.stop().await.is_clean());
    let recorded = lines(&orders).await.len();
    place(&orders, "2", "tea").await.unwrap();
    assert_eq!(lines(&orders).await.len(), recorded + 1);
    let error = clone.catch_up().await.unwrap_err();
    assert!(error.to_string().contains("was stopped"), "{error}");
    let head = orders.head().await.unwrap().position().unwrap();
    let waited = clone.wait(Goal::caused_by("orders", head), Duration::ZERO);
    assert!(matches!(
        waited.await,
        Err(WaitError::Halted {
            phase: Phase::Stopped,
            ..
        })
    ));
    assert!(clone.stop().await.is_clean());

    // Another runner processes it.
    let runner = SingleThread::start(&shop(), &memory).await.unwrap();
    let order = orders.get::<Order>("2").await.unwrap().state;
    assert_eq!(order.confirmed, 1);
    assert_retold(runner.open_system()).await;
}

#[tokio::test]
async fn the_diagram_of_a_system_names_its_followers() {
    let shop = shop();
    assert_eq!(
        shop.to_mermaid(),
        "flowchart LR\n  orders\n  stock\n  stock -->|answers| orders\n  \
         orders -->|deadlines| orders\n  orders -->|reservations| stock\n"
    );
    assert_eq!(
        shop.to_graphviz(),
        "digraph \"shop\" {\n  rankdir=LR;\n  \"orders\";\n  \"stock\";\n  \
         \"stock\" -> \"orders\" [label=\"answers\"];\n  \
         \"orders\" -> \"orders\" [label=\"deadlines\"];\n  \
         \"orders\" -> \"stock\" [label=\"reservations\"];\n}\n"
    );
}

/// Orders follow themselves: an order is confirmed if its state has the item of its event.
async fn confirm(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    let order = context
        .aggregate::<Order>()
        .expect("the event is of an order");
    if context.get(&order).await?.item == placed.item {
        context.execute(&order, |_: &Order| Confirmed).await?;
    }
    Ok(())
}

async fn reserve_confirmed(_: &Confirmed, context: &mut Context) -> retold::Result<()> {
    let event = StockEvent::Reserved {
        order: String::new(),
    };
    context.execute_or_create("all", |_: &Stock| event).await?;
    Ok(())
}

/// A follower that meets a conflict while it records its progress decides again; its followers must
/// receive the result.
#[tokio::test]
async fn decisions_after_a_conflict_are_processed_too() {
    let (memory, _) = memory();
    let system = System::new("shop")
        .application("orders", |app| {
            let follower = Follower::new("confirming").follows("orders").on(confirm);
            app.aggregate::<Order>().follower(follower)
        })
        .application("stock", |app| {
            let follower = Follower::new("reserving").follows("orders");
            app.aggregate::<Stock>()
                .follower(follower.on(reserve_confirmed))
        })
        .build()
        .unwrap();
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    for item in ["tea", "milk", "rum"] {
        place(&orders, "1", item).await.unwrap();
    }
    let order = orders.get::<Order>("1").await.unwrap().state;
    let stock = runner.application("stock").unwrap();
    let reserved = stock.get::<Stock>("all").await.unwrap().state.reserved;
    assert_eq!((order.confirmed, reserved), (3, 3));
    assert_retold(runner.open_system()).await;
}
