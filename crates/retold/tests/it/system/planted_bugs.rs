//! Bugs, planted one by one: each is found by a simulation within a named number of seeds.
//!
//! Goal: the checks of the simulation are sufficient. Method: a shop runs as in `simulated`, but on
//! a store that changes the appends and reads of its followers as a library with that bug would, or
//! with a policy that breaks the rules for policies.

mod broken_store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use retold::mapping::Envelope;
use retold::prelude::*;
use retold::recording::{Append, Checkpoint, Condition, ExpectedVersion, MemoryStore, Origin};
use retold::retelling::SystemSimulation;
use retold::simulation::{Simulation, first_failure};
use retold::system::{
    Context, Follower, FollowerEvent, FollowerOperator, OpenSystem, StartingCheckpoint, System,
};

use self::broken_store::{BrokenStore, Bug};
use super::partitions_simulated::repartition;
use super::shop::{Order, Placed, Stock, StockEvent, reserve, shop, shop_in_batches, shop_of};
use super::simulated::run_shop;

/// Seeds within which a bug must be found; without bugs, many more find nothing.
const SEEDS_MAX: u64 = 400;

fn run(system: &System, bug: Bug, simulation: &mut Simulation) -> Result<(), String> {
    let memory = MemoryStore::new().with_clock(simulation.clock());
    let store = simulation.store(Arc::new(memory));
    let broken = Arc::new(BrokenStore::new(store, bug));
    run_shop(SystemSimulation::over(simulation, system, broken)?)
}

/// Checks that the bug is found, and that its seed finds it again.
#[track_caller]
fn is_found(system: &System, bug: Bug) {
    let run = |simulation: &mut Simulation| run(system, bug, simulation);
    let Some(failure) = first_failure(1, SEEDS_MAX, run) else {
        panic!("{bug:?} is not found within {SEEDS_MAX} seeds");
    };
    let again = first_failure(failure.seed(), 1, run).expect("the seed repeats the failure");
    assert_eq!(again.reason(), failure.reason(), "{bug:?}");
    assert!(failure.to_string().contains("RETOLD_SEED="));
}

macro_rules! planted {
    ($($name:ident: $bug:expr;)*) => {$(
        #[test]
        fn $name() {
            is_found(&shop(), $bug);
        }
    )*};
}

planted! {
    a_checkpoint_in_a_second_append_is_found: Bug::CheckpointAfter;
    a_checkpoint_before_the_effects_is_found: Bug::CheckpointBefore;
    a_lost_origin_is_found: Bug::OriginLost;
    a_read_that_is_no_condition_is_found: Bug::ReadsUnconditional;
    a_retry_without_reading_is_found: Bug::RetryWithoutReading;
    a_skip_after_an_error_is_found: Bug::SkipAfterError;
    an_unknown_outcome_taken_for_success_is_found: Bug::UnknownIsSuccess;
    a_reader_that_skips_is_found: Bug::ReaderSkips;
}

#[test]
fn an_effect_that_is_dropped_is_found() {
    is_found(&shop_in_batches(5), Bug::EffectDropped);
}

#[test]
fn a_partition_that_skips_is_found() {
    let follower = Follower::new("reservations").follows("orders").on(reserve);
    is_found(&shop_of(follower.partitioned(2), 1), Bug::PartitionSkips);
}

/// Runs a shop with a follower that is split in two, next to an actor that splits it again.
fn run_beside<F>(
    bug: Bug,
    simulation: &mut Simulation,
    operator: impl Fn(OpenSystem) -> F + Send + Sync + 'static,
) -> Result<(), String>
where
    F: Future<Output = ()> + Send + 'static,
{
    let follower = Follower::new("reservations").follows("orders").on(reserve);
    let memory = MemoryStore::new().with_clock(simulation.clock());
    let store = simulation.store(Arc::new(memory));
    let broken = Arc::new(BrokenStore::new(store, bug));
    let system = shop_of(follower.partitioned(2), 1);
    let mut shop = SystemSimulation::over(simulation, &system, broken)?;
    shop.commands("operator", operator);
    run_shop(shop)
}

/// Ignores other consequences of such a bug.
fn only_uneven(run: Result<(), String>) -> Result<(), String> {
    run.or_else(|reason| match reason.contains("was split where") {
        true => Err(reason),
        false => Ok(()),
    })
}

#[test]
fn a_follower_that_is_split_while_it_works_is_found() {
    let run = |simulation: &mut Simulation| {
        run_beside(Bug::FenceDropped, simulation, |shop| {
            repartition(&[3, 1, 2], shop)
        })
    };
    assert!(first_failure(1, SEEDS_MAX, run).is_some());
}

/// What a library would do that does not wait for all partitions.
async fn split_at_once(shop: OpenSystem) {
    let stock = shop.application("stock").expect("it is part of the shop");
    let log = shop.application("orders").expect("it is part of the shop");
    let operator = FollowerOperator::new(stock, "reservations");
    loop {
        let (Ok(record), Ok(Some(log))) = (operator.record().await, log.log_id().await) else {
            continue;
        };
        if record.generation > 1 {
            return;
        }
        let mut farthest = None;
        for partition in 0..record.partitions {
            if let Ok(Some(checkpoint)) = operator.checkpoint_of(&record, partition, log).await {
                farthest = farthest.max(Some((checkpoint.position, checkpoint.event_id)));
            }
        }
        let Some((position, event_id)) = farthest else {
            continue;
        };
        let after = Some(Checkpoint { position, event_id });
        let split = FollowerEvent::Partitioned {
            generation: 2,
            partitions: 3,
            by: "stream".into(),
            starts: vec![StartingCheckpoint::new("orders", log, after)],
        };
        let envelope = Envelope {
            stream: Some(record.stream()),
            origin: Origin::Library,
            ..Envelope::new(stock.next_event_id(), stock.now())
        };
        let (new, _) = stock.mapper().encode(&split, envelope).expect("it is JSON");
        let seen = ExpectedVersion::seen(record.version);
        let append = Append::of([new]).condition(Condition::stream_at(record.stream(), seen));
        drop(stock.settle(append).await);
    }
}

#[test]
fn a_follower_that_is_split_before_all_partitions_arrive_is_found() {
    let run = |simulation: &mut Simulation| run_beside(Bug::None, simulation, split_at_once);
    assert!(first_failure(1, SEEDS_MAX, |it| only_uneven(run(it))).is_some());
}

/// A sound store is reported as sound: without a bug the same seeds find nothing.
#[test]
fn a_sound_store_is_found_sound() {
    for batch in [1, 5] {
        let shop = shop_in_batches(batch);
        let run = |simulation: &mut Simulation| run(&shop, Bug::None, simulation);
        if let Some(failure) = first_failure(1, 50, run) {
            panic!("{failure}");
        }
    }
}

/// A shop with another policy for orders.
macro_rules! with_policy {
    ($name:ident, $policy:expr) => {
        #[test]
        fn $name() {
            let follower = Follower::new("reservations").follows("orders").on($policy);
            let shop = shop_of(follower, 1);
            // The policy's state outside the logs differs from run to run, so no seed repeats it.
            let run = |simulation: &mut Simulation| run(&shop, Bug::None, simulation);
            assert!(first_failure(1, SEEDS_MAX, run).is_some());
        }
    };
}

/// Increases from run to run, as a clock does.
static WALL_CLOCK: AtomicU64 = AtomicU64::new(0);

async fn reads_the_wall_clock(_: &Placed, context: &mut Context) -> retold::Result<()> {
    let now = WALL_CLOCK.fetch_add(1, Ordering::SeqCst);
    let order = context
        .aggregate::<Order>()
        .expect("the event is of an order")
        .to_string();
    let is_night = now % 1_000 >= 990;
    let reserved = |_: &Stock| match is_night {
        true => StockEvent::SoldOut { order },
        false => StockEvent::Reserved { order },
    };
    context.execute_or_create("tea", reserved).await?;
    Ok(())
}

with_policy!(a_wall_clock_in_a_policy_is_found, reads_the_wall_clock);

/// Refuses permanently once sold out: kept outside the application, by item.
static SOLD_OUT: AtomicU64 = AtomicU64::new(0);

async fn caches_a_refusal(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    let order = context
        .aggregate::<Order>()
        .expect("the event is of an order")
        .to_string();
    if SOLD_OUT.load(Ordering::SeqCst) > 0 {
        let sold_out = |_: &Stock| StockEvent::SoldOut { order };
        context.execute_or_create("tea", sold_out).await?;
        return Ok(());
    }
    reserve(placed, context).await?;
    let tea = context.get::<Stock>("tea").await?;
    if tea.reserved >= super::shop::STOCK {
        SOLD_OUT.store(1, Ordering::SeqCst);
    }
    Ok(())
}

with_policy!(a_cached_refusal_is_found, caches_a_refusal);

async fn takes_a_fresh_id(_: &Placed, context: &mut Context) -> retold::Result<()> {
    let order = context
        .aggregate::<Order>()
        .expect("the event is of an order");
    let order = format!("{order}/{}", Uuid::now_v7());
    context
        .execute_or_create("tea", |_: &Stock| StockEvent::Reserved { order })
        .await?;
    Ok(())
}

with_policy!(a_fresh_id_in_a_policy_is_found, takes_a_fresh_id);
