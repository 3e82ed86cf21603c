//! Policies: what they see, what becomes a condition, and what their effects carry.

use retold::prelude::*;
use retold::recording::Origin;
use retold::system::{Context, Follower, OpenSystem, Opening, Runner, SingleThread, Step, System};

use super::shop::{Order, Placed, Stock, StockEvent, assert_retold, memory, place, shop};

#[tokio::test]
async fn effects_carry_time_origin_and_correlation_of_their_cause() {
    let (memory, _) = memory();
    let runner = SingleThread::start(&shop(), &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    let asked = orders.with(
        Metadata::new()
            .with("user", "ann")
            .with_correlation_id("c-1"),
    );
    place(&asked, "1", "tea").await.unwrap();
    let cause = orders
        .events::<Placed>()
        .read()
        .first()
        .await
        .unwrap()
        .unwrap();
    let stock = runner.application("stock").unwrap();
    let effect = stock
        .events::<StockEvent>()
        .read()
        .first()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(effect.time(), cause.time());
    let metadata = effect.metadata().unwrap();
    assert_eq!(metadata.correlation_id(), Some("c-1"));
    assert_eq!(
        metadata.causation_id(),
        Some(cause.id().to_string().as_str())
    );
    let Origin::Effect {
        follower,
        policy_version,
        upstream,
        position,
        event_id,
    } = effect.stored.origin().unwrap()
    else {
        panic!("it is an effect: {effect:?}");
    };
    assert_eq!((follower.as_str(), policy_version), ("reservations@1", 1));
    assert_eq!(Some(upstream), orders.log_id().await.unwrap());
    assert_eq!((position, event_id), (cause.position(), cause.id()));
    assert_retold(runner.open_system()).await;
}

/// The number of reservations of an item, over all orders: read by query.
#[derive(Clone, Default)]
struct Total(u32);

impl Apply<StockEvent> for Total {
    fn apply(&mut self, event: &StockEvent) {
        if let StockEvent::Reserved { .. } = event {
            self.0 += 1;
        }
    }
}

/// Reserves two in total, of any item; decides by a query that includes the decisions of the same
/// batch. The query selects them by a tag that the decision adds.
async fn reserve_two(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    let stock = Id::<Stock>::from(placed.item.as_str());
    let order = context.cause().stream().unwrap_or_default().to_owned();
    context
        .decide(
            (fold_of::<Total, StockEvent>().tag("counted"), stock.clone()),
            |(total, stock)| {
                let event = match total.0 < 2 {
                    true => StockEvent::Reserved { order },
                    false => StockEvent::SoldOut { order },
                };
                assert!(stock.reserved <= 2);
                event
                    .to(&Id::<Stock>::from(placed.item.as_str()))
                    .tag("counted")
            },
        )
        .await?;
    let seen = context.get(&stock).await?;
    assert_eq!(seen.reserved > 0, context.view(stock).await?.reserved > 0);
    Ok(())
}

#[tokio::test]
async fn queries_see_the_effects_of_the_same_batch() {
    for batch in [1, 100] {
        let (memory, _) = memory();
        let follower = Follower::new("two").follows("orders").on(reserve_two);
        let system = System::new("shop")
            .application("orders", |app| app.aggregate::<Order>())
            .application("stock", |app| {
                app.aggregate::<Stock>().follower(follower.batch(batch))
            })
            .build()
            .unwrap();
        let open = OpenSystem::open(&system, &memory, Opening::Write)
            .await
            .unwrap();
        let orders = open.application("orders").unwrap();
        for order in 1..=5 {
            place(orders, &order.to_string(), "tea").await.unwrap();
        }
        let (_, mut pipeline) = open.pipelines().pop().unwrap();
        while pipeline.step().await.unwrap() == Step::Moved {}
        pipeline.flush_idle().await.unwrap();
        let stock = open.application("stock").unwrap();
        let events = stock.events::<StockEvent>().read().collect().await.unwrap();
        let is_reserved: Vec<_> = events
            .iter()
            .map(|it| matches!(it.event, StockEvent::Reserved { .. }))
            .collect();
        assert_eq!(
            is_reserved,
            [true, true, false, false, false],
            "batch of {batch}"
        );
        // One append, or five.
        let appends = events
            .iter()
            .filter(|it| it.stored.place().index == 0)
            .count();
        assert_eq!(appends, if batch == 1 { 5 } else { 1 });
        assert_retold(&open).await;
    }
}

/// Goal: data that a policy read and did not write is a condition too. Method: two pipelines of one
/// follower and a command race; after the pipeline has decided, another caller writes to what it
/// read.
#[tokio::test]
async fn data_that_a_policy_only_reads_is_a_condition() {
    async fn look(placed: &Placed, context: &mut Context) -> retold::Result<()> {
        let seen = context.find::<Stock>(placed.item.as_str()).await?;
        let order = format!("saw {}", seen.map_or(0, |stock| stock.reserved));
        context
            .execute_or_create("notes", |_: &Stock| StockEvent::SoldOut { order })
            .await?;
        Ok(())
    }
    let (memory, _) = memory();
    let system = System::new("shop")
        .application("orders", |app| app.aggregate::<Order>())
        .application("stock", |app| {
            let follower = Follower::new("look").follows("orders").on(look);
            app.aggregate::<Stock>().follower(follower.batch(10))
        })
        .build()
        .unwrap();
    let open = OpenSystem::open(&system, &memory, Opening::Write)
        .await
        .unwrap();
    let (orders, stock) = (
        open.application("orders").unwrap(),
        open.application("stock").unwrap(),
    );
    place(orders, "1", "tea").await.unwrap();
    let (_, mut pipeline) = open.pipelines().pop().unwrap();
    assert_eq!(pipeline.step().await.unwrap(), Step::Moved);
    assert!(pipeline.is_unflushed());
    let other = StockEvent::Reserved { order: "x".into() };
    stock
        .execute_or_create("tea", |_: &Stock| other.clone())
        .await
        .unwrap();
    pipeline.flush_idle().await.unwrap();
    while pipeline.step().await.unwrap() == Step::Moved {}
    pipeline.flush_idle().await.unwrap();
    let last = stock
        .events::<StockEvent>()
        .read()
        .backward()
        .first()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        last.event,
        StockEvent::SoldOut {
            order: "saw 1".into()
        }
    );
    assert_eq!(stock.head().await.unwrap().position().unwrap().get(), 3);
    assert_retold(&open).await;
}

#[tokio::test]
async fn a_policy_may_be_a_closure() {
    let (memory, _) = memory();
    let follower = Follower::new("closure").follows("orders").on(
        async |placed: &Placed, context: &mut Context| {
            let id = context.next_id();
            let order = id.to_string();
            context
                .execute_or_create(placed.item.as_str(), |_: &Stock| StockEvent::Reserved {
                    order,
                })
                .await?;
            Ok(())
        },
    );
    let system = System::new("shop")
        .application("orders", |app| app.aggregate::<Order>())
        .application("stock", |app| app.aggregate::<Stock>().follower(follower))
        .build()
        .unwrap();
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    place(&runner.application("orders").unwrap(), "1", "tea")
        .await
        .unwrap();
    let stock = runner.application("stock").unwrap();
    assert_eq!(stock.get::<Stock>("tea").await.unwrap().state.reserved, 1);
    assert_retold(runner.open_system()).await;
}

#[test]
fn an_invalid_system_is_refused_with_a_reason() {
    let check = |builder: retold::system::SystemBuilder, part: &str| {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(part), "{part:?} is not in: {error}");
    };
    let follower = || Follower::new("f").follows("a").on(super::shop::reserve);
    check(System::new("s"), "has no application");
    check(
        System::new("s")
            .application("a", |a| a)
            .application("a", |a| a),
        "two applications of the system are named \"a\"",
    );
    check(
        System::new("s").application("b", |b| b.follower(follower())),
        "follows \"a\", which is not an application",
    );
    check(
        System::new("s").application("a", |a| a.follower(follower()).follower(follower())),
        "two followers",
    );
    check(
        System::new("s").application("a", |a| a.follower(follower().follows("a"))),
        "twice",
    );
    check(
        System::new("s").application("a", |a| a.follower(Follower::new("f").follows("a"))),
        "has no policy",
    );
    check(
        System::new("s").application("a", |a| {
            a.follower(Follower::new("f").on(super::shop::reserve))
        }),
        "follows no application",
    );
    check(
        System::new("s").application("a", |a| {
            a.follower(Follower::new("f@1").follows("a").on(super::shop::reserve))
        }),
        "has an `@`",
    );
    check(
        System::new("s").application("retold.x", |a| a),
        "reserved for the library",
    );
}
