//! Retelling: recorded decisions are made again and compared, follower by follower and as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use retold::prelude::*;
use retold::recording::{Append, EventId, FollowerKey, LogRead, NewEvent, Origin, ProcessedRange};
use retold::retelling::{FollowerRetelling, retell, retell_whole};
use retold::system::{
    Context, Follower, FollowerPath, Infrastructure, OnFailure, OpenSystem, Opening, Runner,
    SingleThread, System,
};

use super::shop::{Order, Placed, Stock, StockEvent, memory, place, reserve, shop};

/// Retells the logs of the system in both forms, and returns the number of equal effects.
pub(crate) async fn retells(system: &System, infrastructure: &Infrastructure) -> u64 {
    let open = OpenSystem::open(system, infrastructure, Opening::ReadOnly)
        .await
        .unwrap();
    let mut effects = 0;
    for report in retell(&open).await.unwrap() {
        assert!(report.difference.is_none(), "{report}");
        effects += report.effects;
    }
    let whole = retell_whole(&open).await.unwrap();
    assert!(whole.difference.is_none(), "{whole}");
    assert_eq!(whole.effects, effects);
    effects
}

/// Returns the first difference, in both forms.
async fn difference(system: &System, infrastructure: &Infrastructure) -> String {
    let open = OpenSystem::open(system, infrastructure, Opening::ReadOnly)
        .await
        .unwrap();
    let mut reports = retell(&open).await.unwrap().into_iter();
    let found = reports
        .find_map(|report| report.difference)
        .expect("they differ");
    let whole = retell_whole(&open).await.unwrap();
    let (_, in_whole) = whole.difference.expect("they differ as a whole too");
    assert_eq!(found.what, in_whole.what, "{found}\n{in_whole}");
    found.to_string()
}

async fn run_shop(infrastructure: &Infrastructure, orders: u32) {
    let runner = SingleThread::start(&shop(), infrastructure).await.unwrap();
    let app = runner.application("orders").unwrap();
    for order in 1..=orders {
        place(
            &app,
            &order.to_string(),
            ["tea", "coffee"][order as usize % 2],
        )
        .await
        .unwrap();
    }
    assert!(runner.stop().await.is_clean());
}

#[tokio::test]
async fn a_system_on_memory_is_retold() {
    let (memory, clock) = memory();
    run_shop(&memory, 10).await;
    clock.advance(std::time::Duration::from_secs(61));
    run_shop(&memory, 3).await;
    assert!(retells(&shop(), &memory).await > 30);
}

#[tokio::test]
async fn a_system_on_sqlite_is_retold() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let store = retold::open_store(&url("shop.db")).await.unwrap();
    let other = retold::open_store(&url("stock.db")).await.unwrap();
    let infrastructure = Infrastructure::new(store).application_in("stock", other);
    run_shop(&infrastructure, 10).await;
    assert!(retells(&shop(), &infrastructure).await > 30);
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_system_on_postgres_is_retold() {
    let database = || xtask::postgres_server::database();
    let store = retold::open_store(&database()).await.unwrap();
    let other = retold::open_store(&database()).await.unwrap();
    let infrastructure = Infrastructure::new(store).application_in("stock", other);
    run_shop(&infrastructure, 10).await;
    assert!(retells(&shop(), &infrastructure).await > 30);
}

#[tokio::test]
async fn a_retelling_reports_its_progress() {
    let (memory, _) = memory();
    run_shop(&memory, 10).await;
    let open = OpenSystem::open(&shop(), &memory, Opening::ReadOnly)
        .await
        .unwrap();
    for retelling in FollowerRetelling::all(&open).await.unwrap() {
        let count = retelling.position_count().await.unwrap();
        let progress = retelling.progress();
        assert_eq!(progress.covered(), 0);
        let report = retelling.run().await.unwrap();
        assert!(count > 0, "{report}");
        assert_eq!((progress.covered(), report.covered), (count, count));
    }
}

/// A policy controlled by a variable, to simulate another program.
static KIND: AtomicU32 = AtomicU32::new(0);

async fn changing(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    let order = format!("{}{}", placed.item, KIND.load(Ordering::SeqCst));
    let reserved = |_: &Stock| StockEvent::Reserved { order };
    context
        .execute_or_create(placed.item.as_str(), reserved)
        .await?;
    Ok(())
}

fn stock(follower: Follower) -> System {
    System::new("stock")
        .application("orders", |app| app.aggregate::<Order>())
        .application("stock", |app| app.aggregate::<Stock>().follower(follower))
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_changed_policy_is_shown_with_both_sides_and_its_policy_version_is_respected() {
    let (memory, _) = memory();
    let follower = || Follower::new("changing").follows("orders").on(changing);
    let runner = SingleThread::start(&stock(follower()), &memory)
        .await
        .unwrap();
    let orders = runner.application("orders").unwrap();
    for order in ["1", "2"] {
        place(&orders, order, "tea").await.unwrap();
    }
    assert_eq!(retells(&stock(follower()), &memory).await, 2);

    KIND.store(1, Ordering::SeqCst);
    let shown = difference(&stock(follower()), &memory).await;
    for part in [
        "the values differ",
        "processing Placed at 1 ",
        "of \"orders\"",
        "decided on the log up to position 1",
        "\"Stock/tea\" without events",
        "recorded: at position 2",
        r#"payload  {"order":"tea0"}"#,
        r#"payload  {"order":"tea1"}"#,
    ] {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }

    // A new policy version is not compared with the old one's records, and continues from there.
    let new = || stock(follower().policy_version(2));
    assert_eq!(retells(&new(), &memory).await, 0);
    let runner = SingleThread::start(&new(), &memory).await.unwrap();
    place(&runner.application("orders").unwrap(), "3", "tea")
        .await
        .unwrap();
    assert_eq!(retells(&new(), &memory).await, 1);
}

static PANICS: AtomicU32 = AtomicU32::new(0);

async fn panicking(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    assert!(
        PANICS.load(Ordering::SeqCst) == 0,
        "no stock of {}",
        placed.item
    );
    reserve(placed, context).await
}

/// A retelling asks policies as a follower does, so it reports the text of a panic too.
#[tokio::test]
async fn a_policy_that_panics_in_a_retelling_is_shown_with_its_text() {
    let (memory, _) = memory();
    let system = stock(Follower::new("panicking").follows("orders").on(panicking));
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    place(&runner.application("orders").unwrap(), "1", "tea")
        .await
        .unwrap();
    assert_eq!(retells(&system, &memory).await, 1);

    PANICS.store(1, Ordering::SeqCst);
    let shown = difference(&system, &memory).await;
    let expected = "the policy failed: the policy panicked: no stock of tea";
    assert!(shown.contains(expected), "{shown}");
}

static FAULT: AtomicU32 = AtomicU32::new(1);

async fn failing(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    if placed.item == "bad" && FAULT.load(Ordering::SeqCst) > 0 {
        return Err(retold::Error::Refused("it cannot be had".into()));
    }
    let order = context.next_id().to_string();
    let reserved = |_: &Stock| StockEvent::Reserved { order };
    context
        .execute_or_create(placed.item.as_str(), reserved)
        .await?;
    Ok(())
}

#[tokio::test]
async fn parked_resumed_and_reset_followers_are_retold() {
    let (memory, _) = memory();
    let follower = Follower::new("failing").follows("orders").on(failing);
    let system = stock(follower.on_failure(OnFailure::Park));
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    for (order, item) in [("1", "tea"), ("2", "bad"), ("2", "tea"), ("3", "tea")] {
        place(&orders, order, item).await.unwrap();
    }
    FAULT.store(0, Ordering::SeqCst);
    runner
        .operator(&FollowerPath::new("stock", "failing"))
        .unwrap()
        .resume()
        .await
        .unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(retells(&system, &memory).await, 4);
    let operator = runner
        .operator(&FollowerPath::new("stock", "failing"))
        .unwrap();
    operator.reset(&[]).await.unwrap();
    runner.catch_up().await.unwrap();
    place(&orders, "4", "tea").await.unwrap();
    assert_eq!(retells(&system, &memory).await, 9);
}

#[tokio::test]
async fn many_upstream_events_in_one_append_are_retold() {
    let (memory, _) = memory();
    let open = OpenSystem::open(&stock_of_batches(), &memory, Opening::Write)
        .await
        .unwrap();
    let orders = open.application("orders").unwrap();
    for order in 1..=30 {
        place(orders, &order.to_string(), ["tea", "milk"][order % 2])
            .await
            .unwrap();
    }
    let (_, mut pipeline) = open.pipelines().pop().unwrap();
    while pipeline.step().await.unwrap() == retold::system::Step::Moved {}
    pipeline.flush_idle().await.unwrap();
    assert_eq!(retells(&stock_of_batches(), &memory).await, 30);
}

fn stock_of_batches() -> System {
    let follower = Follower::new("reservations")
        .follows("orders")
        .on(super::shop::reserve);
    stock(follower.batch(7))
}

/// Goal: each way in which a log can be wrong is found. Method: a follower's appends are made by
/// hand.
#[tokio::test]
async fn logs_that_no_follower_writes_are_found() {
    let follower = || {
        Follower::new("changing")
            .follows("orders")
            .on(super::shop::reserve)
    };
    let check = async |wrong: Wrong, part: &str| {
        let (memory, _) = memory();
        let runner = SingleThread::start(&stock(follower()), &memory)
            .await
            .unwrap();
        let orders = runner.application("orders").unwrap();
        place(&orders, "1", "tea").await.unwrap();
        drop(runner);
        let open = OpenSystem::open(&stock(follower()), &memory, Opening::Write)
            .await
            .unwrap();
        let orders = open.application("orders").unwrap();
        place(orders, "2", "tea").await.unwrap();
        place(orders, "3", "tea").await.unwrap();
        write_wrong(&open, wrong).await;
        let shown = difference(&stock(follower()), &memory).await;
        assert!(
            shown.contains(part),
            "{wrong:?}: {part:?} is not in:\n{shown}"
        );
    };
    check(Wrong::NoEffect, "more was decided now than is recorded").await;
    check(Wrong::OtherId, "the ids differ").await;
    check(
        Wrong::NoRange,
        "effects are recorded without their processed range",
    )
    .await;
    check(Wrong::TwoEffects, "less was decided now than is recorded").await;
}

#[derive(Clone, Copy, Debug)]
enum Wrong {
    NoEffect,
    OtherId,
    NoRange,
    TwoEffects,
}

/// Records for the second order something that the follower `changing` would not record.
async fn write_wrong(open: &OpenSystem, wrong: Wrong) {
    let (orders, stock) = (
        open.application("orders").unwrap(),
        open.application("stock").unwrap(),
    );
    let log = orders.log_id().await.unwrap().unwrap();
    let key = FollowerKey::new("changing@1");
    let page = orders.recorder().read_log(LogRead::new()).await.unwrap();
    let event = page
        .events
        .iter()
        .find(|it| it.stream() == Some("Order/2"))
        .unwrap();
    let before = stock
        .recorder()
        .checkpoint(&key, log)
        .await
        .unwrap()
        .unwrap();
    let origin = Origin::Effect {
        follower: key.clone(),
        policy_version: 1,
        upstream: log,
        position: event.position(),
        event_id: event.id(),
    };
    let effect = |id| {
        NewEvent::new(
            EventId::new(Uuid::from_u128(id)),
            "StockEvent.Reserved",
            r#"{"order":"2"}"#,
        )
        .stream("Stock/tea")
        .time(event.time())
        .origin(origin.clone())
    };
    let range = ProcessedRange::new(key, log, Some(before.position), event.checkpoint());
    let append = match wrong {
        Wrong::NoEffect => Append::new().processed_range(range),
        Wrong::OtherId => Append::of([effect(1)]).processed_range(range),
        Wrong::NoRange => Append::of([effect(1)]),
        Wrong::TwoEffects => {
            // The first as it must be, by the policy itself, and one more.
            let recorded = retold_as_decided(open, event.id()).await;
            Append::of([recorded, effect(2)]).processed_range(range)
        }
    };
    stock.recorder().append(append).await.unwrap();
}

/// Returns what the follower would record for this event: decided on a copy of the logs.
async fn retold_as_decided(open: &OpenSystem, cause: EventId) -> NewEvent {
    let copy = retold::recording::MemoryStore::new();
    let mut infrastructure = Infrastructure::new(Arc::new(copy));
    for app in open.applications() {
        infrastructure = infrastructure.log_id(app.name(), app.log_id().await.unwrap().unwrap());
    }
    let copied = OpenSystem::open(open.system(), &infrastructure, Opening::Write)
        .await
        .unwrap();
    let orders = open.application("orders").unwrap();
    let page = orders.recorder().read_log(LogRead::new()).await.unwrap();
    for event in &page.events {
        let mut new = NewEvent::new(
            event.id(),
            event.topic().to_owned(),
            event.payload_bytes().unwrap(),
        )
        .time(event.time())
        .metadata(event.metadata_bytes().to_vec());
        new.stream = event.stream().map(Arc::from);
        new.tags = event.tags().map(Arc::from).collect();
        let copied = copied.application("orders").unwrap();
        copied.recorder().append(Append::of([new])).await.unwrap();
    }
    let (_, mut pipeline) = copied.pipelines().pop().unwrap();
    while pipeline.step().await.unwrap() == retold::system::Step::Moved {}
    let stock = copied.application("stock").unwrap();
    let page = stock.recorder().read_log(LogRead::new()).await.unwrap();
    let effect = page
        .events
        .iter()
        .find(|it| matches!(it.origin(), Ok(Origin::Effect { event_id, .. }) if event_id == cause));
    let effect = effect.unwrap();
    let mut new = NewEvent::new(
        effect.id(),
        effect.topic().to_owned(),
        effect.payload_bytes().unwrap(),
    )
    .time(effect.time())
    .origin(effect.origin().unwrap())
    .metadata(effect.metadata_bytes().to_vec());
    new.stream = effect.stream().map(Arc::from);
    new
}

/// Goal: logs can be retold while followers are at work. Method: between two calls of the retelling
/// a pipeline makes a step, and more orders are placed.
#[test]
fn logs_are_retold_while_followers_work() {
    use retold::simulation::{Faults, seeds};
    use retold::system::Step;

    let system = stock_of_batches();
    seeds(60, |simulation| {
        let store = retold::recording::MemoryStore::new();
        let store = simulation.store(Arc::new(store));
        let infrastructure = Infrastructure::new(store)
            .clock(simulation.clock())
            .ids(simulation.ids());
        simulation.faults(Faults::none());
        let at_work = (system.clone(), infrastructure.clone());
        simulation.actor("follower", move || {
            let (system, infrastructure) = at_work.clone();
            async move {
                let open = OpenSystem::open(&system, &infrastructure, Opening::Write).await;
                let open = open.unwrap();
                let orders = open.application("orders").unwrap();
                let (_, mut pipeline) = open.pipelines().pop().unwrap();
                for order in 0..40 {
                    let item = ["tea", "milk"][order % 2];
                    place(orders, &order.to_string(), item).await.unwrap();
                    while pipeline.step().await.unwrap() == Step::Moved {}
                    pipeline.flush_idle().await.unwrap();
                }
            }
        });
        let retelling = (system.clone(), infrastructure.clone());
        simulation.actor("retelling", move || {
            let (system, infrastructure) = retelling.clone();
            async move {
                for _ in 0..5 {
                    let open = OpenSystem::open(&system, &infrastructure, Opening::ReadOnly);
                    let open = open.await.unwrap();
                    for report in retell(&open).await.unwrap() {
                        assert!(report.difference.is_none(), "{report}");
                    }
                    let whole = retell_whole(&open).await.unwrap();
                    assert!(whole.difference.is_none(), "{whole}");
                }
            }
        });
        simulation.run()?;
        Ok(())
    });
}

mod before {
    use retold::prelude::*;

    #[derive(Event, Serialize, Deserialize)]
    #[event(topic = "done")]
    pub(super) struct Done {
        pub(super) count: u32,
    }
}

mod after {
    use retold::prelude::*;

    #[derive(Event, Serialize, Deserialize)]
    #[event(topic = "finished", formerly("done"), revision = 2)]
    pub(super) struct Done {
        pub(super) count: u32,
    }
}

#[derive(Event, Serialize, Deserialize)]
struct Begun {}

#[derive(Event, Serialize, Deserialize)]
struct Seen {
    cause: String,
}

async fn finish_before(_: &Begun, context: &mut Context) -> retold::Result<()> {
    context.record(before::Done { count: 1 })?;
    Ok(())
}

async fn finish_after(_: &Begun, context: &mut Context) -> retold::Result<()> {
    context.record(after::Done { count: 1 })?;
    Ok(())
}

/// Records everything that can be seen of the cause.
async fn see(context: &mut Context) -> retold::Result<()> {
    let cause = context.cause();
    let cause = format!(
        "{} {} {} {} {:?} {:?}",
        cause.topic(),
        cause.revision(),
        cause.encoding_text(),
        cause.recorded_at(),
        cause.place(),
        cause.payload(),
    );
    context.record(Seen { cause })?;
    Ok(())
}

async fn see_before(_: &before::Done, context: &mut Context) -> retold::Result<()> {
    see(context).await
}

async fn see_after(_: &after::Done, context: &mut Context) -> retold::Result<()> {
    see(context).await
}

fn chain(finish: Follower, see: Follower) -> System {
    System::new("chain")
        .application("a", |app| app.event::<Begun>())
        .application("b", |app| app.follower(finish.follows("a")))
        .application("c", |app| app.event::<Seen>().follower(see.follows("b")))
        .build()
        .unwrap()
}

/// A policy sees its cause as it was recorded, in both forms of retelling, also after the event's
/// type was renamed and has another revision.
#[tokio::test]
async fn a_cause_is_seen_as_it_was_recorded() {
    let memory = Infrastructure::new(Arc::new(retold::recording::MemoryStore::new()));
    let old = chain(
        Follower::new("finishing").on(finish_before),
        Follower::new("seeing").on(see_before),
    );
    let runner = SingleThread::start(&old, &memory).await.unwrap();
    let begun = runner.application("a").unwrap();
    begun.decide((), |()| [Begun {}, Begun {}]).await.unwrap();
    assert!(runner.stop().await.is_clean());
    assert!(retells(&old, &memory).await > 0);

    let new = chain(
        Follower::new("finishing").on(finish_after),
        Follower::new("seeing").on(see_after),
    );
    assert!(retells(&new, &memory).await > 0);
    let runner = SingleThread::start(&new, &memory).await.unwrap();
    let begun = runner.application("a").unwrap();
    begun.decide((), |()| Begun {}).await.unwrap();
    let seen = runner.application("c").unwrap().events::<Seen>();
    let seen = seen.read().collect().await.unwrap();
    let topics: Vec<_> = seen
        .iter()
        .map(|it| {
            it.event
                .cause
                .split(' ')
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(topics, ["done 1", "done 1", "finished 2"]);
    assert!(runner.stop().await.is_clean());
    assert!(retells(&new, &memory).await > 0);
}
