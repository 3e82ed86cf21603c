//! Systems whose recorded events are amended: followers, views and retelling.

use std::sync::Mutex;

use retold::application::AmendmentRecord;
use retold::prelude::*;
use retold::recording::{ErasedParts, LogRead, Query, StoredEvent};
use retold::retelling::{Facts, retell, retell_whole};
use retold::system::{
    Context, Deadline, Follower, Infrastructure, OnFailure, OpenSystem, Opening, Runner,
    SingleThread, System, Timers,
};

use super::shop::{
    Order, Overdue, Placed, Stock, StockEvent, memory, place, reserve, shop, shop_of,
};

async fn open(infrastructure: &Infrastructure) -> OpenSystem {
    let shop = shop();
    let opened = OpenSystem::open(&shop, infrastructure, Opening::Write);
    opened.await.unwrap()
}

/// Retells in both forms without a difference; returns the facts of both.
async fn retells(system: &System, infrastructure: &Infrastructure) -> (Facts, Facts) {
    let opened = OpenSystem::open(system, infrastructure, Opening::ReadOnly);
    let opened = opened.await.unwrap();
    let mut facts = Facts::default();
    for report in retell(&opened).await.unwrap() {
        assert!(report.difference.is_none(), "{report}");
        facts.erased += report.facts.erased;
        facts.replaced += report.facts.replaced;
    }
    let whole = retell_whole(&opened).await.unwrap();
    assert!(whole.difference.is_none(), "{whole}");
    (facts, whole.facts)
}

async fn placed(orders: &Application, order: &str) -> StoredEvent {
    let query = Query::stream(format!("Order/{order}"));
    let page = orders.recorder().read_log(LogRead::of(query)).await;
    page.unwrap().events.remove(0)
}

async fn run_orders(infrastructure: &Infrastructure, orders: &[&str]) {
    let runner = SingleThread::start(&shop(), infrastructure).await.unwrap();
    let app = runner.application("orders").unwrap();
    for order in orders {
        place(&app, order, "tea").await.unwrap();
    }
    assert!(runner.stop().await.is_clean());
}

/// Goal: a deletion does not stop followers that have not processed the stream yet. Method: orders
/// are placed while no follower runs, and one of them is deleted.
#[tokio::test]
async fn followers_pass_over_a_deleted_stream() {
    let (memory, _) = memory();
    let opened = open(&memory).await;
    let orders = &opened.applications()[0];
    for order in ["1", "2", "3"] {
        place(orders, order, "tea").await.unwrap();
    }
    orders
        .delete::<Order>("2", "eve", "request 17")
        .await
        .unwrap();
    run_orders(&memory, &["4"]).await;

    for (order, confirmed) in [("1", 1), ("3", 1), ("4", 1)] {
        let state = orders.get::<Order>(order).await.unwrap().state;
        assert_eq!(state.confirmed, confirmed, "{order}");
    }
    assert!(matches!(
        orders.get::<Order>("2").await,
        Err(retold::Error::Deleted { .. })
    ));
    let stock = opened.applications()[1].get::<Stock>("tea").await.unwrap();
    assert_eq!(stock.state.reserved, 3);
    let (facts, whole) = retells(&shop(), &memory).await;
    assert!(facts.erased > 0 && whole.erased > 0, "{facts:?} {whole:?}");
}

/// Goal: effects on a stream that was deleted in the meantime do not stop a follower whose policy
/// asks whether the aggregate exists. Method: an order is deleted after the stock was reserved and
/// before the answer is processed.
#[tokio::test]
async fn an_answer_to_a_deleted_order_is_dropped() {
    let (memory, _) = memory();
    let opened = open(&memory).await;
    let (orders, stock) = (&opened.applications()[0], &opened.applications()[1]);
    place(orders, "1", "tea").await.unwrap();
    let reserved = |_: &Stock| StockEvent::Reserved { order: "1".into() };
    stock.execute_or_create("tea", reserved).await.unwrap();
    orders
        .delete::<Order>("1", "eve", "request 17")
        .await
        .unwrap();
    run_orders(&memory, &["2"]).await;
    assert_eq!(orders.get::<Order>("2").await.unwrap().state.confirmed, 1);
    assert_eq!(orders.find::<Order>("1").await.unwrap(), None);
    retells(&shop(), &memory).await;
}

/// A replaced input is a fact: what was decided on its old content is accepted.
#[tokio::test]
async fn replaced_inputs_are_facts_of_a_retelling() {
    let (memory, _) = memory();
    run_orders(&memory, &["1", "2"]).await;
    let opened = open(&memory).await;
    let orders = &opened.applications()[0];
    let order = placed(orders, "1").await;
    let amender = orders.amender("eve", "a typing error").unwrap();
    let coffee = Placed {
        item: "coffee".into(),
    };
    amender.replace_by(order.id(), &coffee).await.unwrap();
    let (facts, whole) = retells(&shop(), &memory).await;
    assert_eq!((facts.replaced, whole.replaced), (1, 1));
    amender
        .erase_event(order.id(), ErasedParts::ALL)
        .await
        .unwrap();
    let (facts, whole) = retells(&shop(), &memory).await;
    assert!(facts.erased > 0 && whole.erased > 0, "{facts:?} {whole:?}");
}

async fn reserve_nothing(_: &Placed, _: &mut Context) -> retold::Result<()> {
    Ok(())
}

/// A difference that no amendment explains is still found.
#[tokio::test]
async fn a_difference_besides_replaced_events_is_shown() {
    let (memory, _) = memory();
    run_orders(&memory, &["1", "2"]).await;
    let opened = open(&memory).await;
    let orders = &opened.applications()[0];
    let order = placed(orders, "1").await;
    let amender = orders.amender("eve", "a typing error").unwrap();
    let coffee = Placed {
        item: "coffee".into(),
    };
    amender.replace_by(order.id(), &coffee).await.unwrap();
    let other = Follower::new("reservations").follows("orders");
    let other = shop_of(other.on(reserve_nothing), 1);
    let opened = OpenSystem::open(&other, &memory, Opening::ReadOnly);
    let opened = opened.await.unwrap();
    let reports = retell(&opened).await.unwrap();
    let differing = reports.iter().find_map(|it| it.difference.as_ref());
    let differing = differing.expect("the second order was decided otherwise");
    let (_, cause, _) = differing.cause.as_ref().expect("it has a cause");
    assert_eq!(cause.event_id, placed(orders, "2").await.id());
    let same = Follower::new("reservations").follows("orders").on(reserve);
    retells(&shop_of(same, 1), &memory).await;
}

/// Policies can handle the records of amendments like events of the program.
#[tokio::test]
async fn policies_see_what_was_deleted() {
    static SEEN: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
    async fn note(record: &AmendmentRecord, context: &mut Context) -> retold::Result<()> {
        let stream = context.aggregate::<Order>().unwrap().stream();
        let mut seen = SEEN.lock().unwrap();
        seen.push((stream, record.by().to_owned()));
        Ok(())
    }
    let (memory, _) = memory();
    let noting = Follower::new("reservations").follows("orders").on(note);
    let system = shop_of(noting, 1);
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    place(&orders, "1", "tea").await.unwrap();
    orders
        .delete::<Order>("1", "eve", "request 17")
        .await
        .unwrap();
    place(&orders, "2", "tea").await.unwrap();
    assert!(runner.stop().await.is_clean());
    let seen = SEEN.lock().unwrap().clone();
    assert_eq!(seen, [("Order/1".to_owned(), "eve".to_owned())]);
}

/// A log with amendments is sound for programs that read it.
#[tokio::test]
async fn a_log_with_amendments_can_be_read_by_the_program() {
    let (memory, _) = memory();
    run_orders(&memory, &["1", "2", "3"]).await;
    let opened = open(&memory).await;
    let orders = &opened.applications()[0];
    let amender = orders.amender("eve", "a typing error").unwrap();
    let coffee = Placed {
        item: "coffee".into(),
    };
    let order = placed(orders, "2").await;
    amender.replace_by(order.id(), &coffee).await.unwrap();
    orders
        .delete::<Order>("1", "eve", "request 17")
        .await
        .unwrap();
    orders
        .reopen::<Order>("1", "eve", "a mistake")
        .await
        .unwrap();
    for check in opened.check_logs().await.unwrap() {
        assert!(check.is_sound(), "{check:?}");
    }
}

async fn always_to_one(_: &Placed, context: &mut Context) -> retold::Result<()> {
    let reserved = StockEvent::Reserved { order: "1".into() };
    context.record(reserved.to(&Id::<Stock>::from("tea")))?;
    Ok(())
}

/// Goal: an event that is parked because its effect goes to a deleted stream does not stop its
/// follower when it is retried. Method: park, start again, and expect that others are processed.
#[tokio::test]
async fn a_parked_effect_on_a_deleted_stream_does_not_stop_its_follower() {
    let (memory, _) = memory();
    let follower = || {
        let follower = Follower::new("reservations").follows("orders");
        follower.on_failure(OnFailure::Park).on(always_to_one)
    };
    let system = || shop_of(follower(), 1);
    let runner = SingleThread::start(&system(), &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    let stock = runner.application("stock").unwrap();
    place(&orders, "1", "tea").await.unwrap();
    stock
        .delete::<Stock>("tea", "eve", "request 17")
        .await
        .unwrap();
    place(&orders, "2", "tea").await.unwrap();
    assert!(runner.stop().await.is_clean());

    let runner = SingleThread::start(&system(), &memory).await.unwrap();
    let stock = runner.application("stock").unwrap();
    stock
        .reopen::<Stock>("tea", "eve", "a mistake")
        .await
        .unwrap();
    place(&runner.application("orders").unwrap(), "3", "tea")
        .await
        .unwrap();
    runner.stop().await;
    let reserved = stock.get::<Stock>("tea").await.unwrap().state.reserved;
    assert!(reserved >= 1, "the third order is processed");
}

/// Goal: an amendment in the stream of a timer does not stop the timers. Method: the stream of a
/// timer that is set again is erased up to its first event, and that of another is deleted.
#[tokio::test]
async fn timers_fire_after_their_streams_are_amended() {
    let (memory, clock) = memory();
    let opened = open(&memory).await;
    let orders = opened.applications()[0].clone();
    let set = async |key: &str| {
        let due = orders
            .now()
            .saturating_add(std::time::Duration::from_secs(60));
        let overdue = Overdue { order: key.into() };
        orders
            .schedule(Deadline::new(key, due, overdue))
            .await
            .unwrap();
    };
    for key in ["a", "a", "b", "c"] {
        set(key).await;
    }
    let mut timers = Timers::new(orders.clone());
    timers.read_on().await.unwrap();
    assert_eq!(timers.pending_count(), 3);
    let amender = orders.amender("eve", "request 17").unwrap();
    let first = Some(retold::recording::Version::FIRST);
    let parts = ErasedParts::PAYLOAD;
    amender
        .erase_stream("retold.timer/a", first, parts)
        .await
        .unwrap();
    amender
        .delete_stream("retold.timer/b", parts)
        .await
        .unwrap();
    assert!(orders.cancel("c").await.unwrap());
    clock.advance(std::time::Duration::from_secs(61));
    for mut timers in [timers, Timers::new(orders.clone())] {
        timers.read_on().await.unwrap();
        let mut rounds = 0;
        while timers.fire_next(orders.now()).await.unwrap() {
            rounds += 1;
            assert!(rounds < 10, "it does not end");
        }
        assert_eq!(timers.aside(), None);
    }
    let fired = orders.events::<Overdue>().read().collect().await.unwrap();
    let fired: Vec<&str> = fired.iter().map(|it| &*it.event.order).collect();
    assert_eq!(fired, ["a"]);
}
