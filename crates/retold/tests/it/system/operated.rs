//! Operators at work under every fault: they pause, resume, skip and reset a follower whose policy
//! fails until something it reads is fixed.

use std::collections::{BTreeMap, BTreeSet};

use retold::recording::{LogRead, Origin};
use retold::retelling::SystemSimulation;
use retold::simulation::{Simulation, seeds};
use retold::system::{
    Context, Follower, FollowerEvent, FollowerOperator, OnFailure, OpenSystem, System,
};

use super::shop::{Order, Placed, Stock, StockEvent};
use super::simulated::{CLERKS, ORDERS, place_orders};

const FOLLOWER: &str = "reservations";

/// Fails for every second order, until the stock is open.
pub(super) async fn reserve_if_open(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    let order = context.cause().stream().unwrap_or_default().to_owned();
    let is_open = context.find::<Stock>("opening").await?.is_some();
    if !is_open && !order.ends_with('2') {
        return Err(retold::Error::Refused("the stock is not open".into()));
    }
    let reserved = |_: &Stock| StockEvent::Reserved { order };
    context
        .execute_or_create(placed.item.as_str(), reserved)
        .await?;
    Ok(())
}

fn system(on_failure: OnFailure, batch: usize) -> System {
    let reservations = Follower::new(FOLLOWER)
        .follows("orders")
        .on(reserve_if_open);
    System::new("shop")
        .application("orders", |app| app.aggregate::<Order>())
        .application("stock", |app| {
            app.aggregate::<Stock>()
                .follower(reservations.on_failure(on_failure).batch(batch))
        })
        .build()
        .unwrap()
}

/// Opens the stock and resumes the follower, after which every event is processed.
pub(super) async fn repair(shop: &OpenSystem) {
    let stock = shop.application("stock").unwrap();
    let opening = StockEvent::SoldOut {
        order: "opening".into(),
    };
    let open = || {
        stock
            .execute_or_create("opening", |_: &Stock| opening.clone())
            .command_id("opening")
    };
    while open().await.is_err() {}
    let operator = FollowerOperator::new(stock, FOLLOWER);
    while operator.resume().await.is_err() {}
}

/// The operator's action before the fault is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Nothing,
    Pause,
    Reset,
    Skip,
}

async fn operate(act: Act, shop: OpenSystem) {
    let stock = shop.application("stock").unwrap();
    let operator = FollowerOperator::new(stock, FOLLOWER);
    match act {
        Act::Nothing => {}
        Act::Pause => while operator.pause("a look").await.is_err() {},
        Act::Reset => while operator.reset(&[]).await.is_err() {},
        Act::Skip => {
            // One attempt: an event that is not parked yet cannot be skipped.
            if let Ok(parked) = operator.parked().await
                && let Some(first) = parked.first()
            {
                let skipped = operator.skip(first.log, first.event.position, "given up");
                drop(skipped.await);
            }
        }
    }
    if act == Act::Pause {
        while operator.resume().await.is_err() {}
        while operator.pause("another look").await.is_err() {}
    }
    repair(&shop).await;
}

/// Each generation processed each event at most once, and the last one every event; nothing was
/// processed while paused.
async fn check(act: Act, shop: OpenSystem) -> retold::Result<Result<(), String>> {
    let stock = shop.application("stock")?;
    let operator = FollowerOperator::new(stock, FOLLOWER);
    let record = operator.record().await?;
    if !record.parked.is_empty() {
        return Ok(Err(format!("left parked: {:?}", record.parked)));
    }
    let mut answered: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let mut is_paused = false;
    let mut skipped = 0;
    for event in stock.recorder().read_log(LogRead::new()).await?.events {
        if event.stream() == Some(&*record.stream()) {
            match stock.mapper().decode(&event)? {
                FollowerEvent::Paused { .. } => is_paused = true,
                FollowerEvent::Continued => is_paused = false,
                FollowerEvent::Skipped { .. } => skipped += 1,
                FollowerEvent::Parked(_) | FollowerEvent::Resumed { .. } if is_paused => {
                    return Ok(Err(format!("{event:?} is recorded while paused")));
                }
                _ => {}
            }
        }
        let Origin::Effect {
            follower, position, ..
        } = event.origin()?
        else {
            continue;
        };
        if is_paused {
            return Ok(Err(format!("{event:?} is recorded while paused")));
        }
        let of_generation = answered.entry(follower.to_string()).or_default();
        if !of_generation.insert(position.get()) {
            return Ok(Err(format!("{follower} processed {position} twice")));
        }
    }
    let all = ORDERS as usize * CLERKS.len();
    let last = answered
        .get(record.key(0).as_str())
        .map_or(0, BTreeSet::len);
    match last + skipped == all && (skipped == 0 || act == Act::Skip) {
        true => Ok(Ok(())),
        false => Ok(Err(format!(
            "{last} processed and {skipped} skipped of {all}"
        ))),
    }
}

fn run(system: &System, act: Act, simulation: &mut Simulation) -> Result<(), String> {
    let mut shop = SystemSimulation::new(simulation, system)?;
    for clerk in CLERKS {
        shop.commands(clerk, move |shop| place_orders(clerk, shop));
    }
    shop.commands("operator", move |shop| operate(act, shop));
    shop.run()?;
    shop.outside(move |shop| check(act, shop))?
}

/// The number of seeds for each action and way of failing.
const SEEDS: u64 = 60;

fn run_all(act: Act) {
    for (on_failure, batch) in [
        (OnFailure::Park, 1),
        (OnFailure::Park, 5),
        (OnFailure::Stop, 5),
    ] {
        let system = system(on_failure, batch);
        seeds(SEEDS, |simulation| run(&system, act, simulation));
    }
}

#[test]
fn parked_events_are_processed_once_the_fault_is_fixed() {
    run_all(Act::Nothing);
}

#[test]
fn a_paused_follower_records_nothing() {
    run_all(Act::Pause);
}

#[test]
fn a_follower_is_reset_while_events_are_parked() {
    run_all(Act::Reset);
}

#[test]
fn a_parked_event_is_skipped_or_processed() {
    run_all(Act::Skip);
}
