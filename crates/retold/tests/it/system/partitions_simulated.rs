//! Followers that are split, and split again, under every fault; and bugs in that, planted one by
//! one.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use retold::recording::{LogRead, Origin};
use retold::retelling::SystemSimulation;
use retold::simulation::{Simulation, first_failure, seeds};
use retold::system::{Follower, FollowerOperator, OnFailure, OpenSystem, System};

use super::operated::{repair, reserve_if_open};
use super::shop::{Order, Placed, Stock, reserve, shop_of};
use super::simulated::{CLERKS, ORDERS, place_orders, run_shop};

const FOLLOWER: &str = "reservations";

fn reservations() -> Follower {
    Follower::new(FOLLOWER).follows("orders").on(reserve)
}

#[test]
fn a_split_shop_is_right_under_every_fault() {
    for (partitions, batch) in [(2, 1), (3, 5)] {
        let shop = shop_of(reservations().partitioned(partitions), batch);
        seeds(50, |simulation| {
            run_shop(SystemSimulation::new(simulation, &shop)?)
        });
    }
}

/// Requests other partitions, one number after the other, while the others work.
pub(super) async fn repartition(numbers: &'static [u32], shop: OpenSystem) {
    let stock = shop.application("stock").unwrap();
    let operator = FollowerOperator::new(stock, FOLLOWER);
    for number in numbers {
        // Refused until the follower has started.
        while operator.repartition(*number, None).await.is_err() {}
    }
}

/// A shop with a follower that is split again, by programs with other numbers of pipelines.
fn run_split_anew(system: &System, simulation: &mut Simulation) -> Result<(), String> {
    let mut shop = SystemSimulation::new(simulation, system)?;
    shop.commands("operator", |shop| repartition(&[4, 1, 3], shop));
    run_shop(shop)
}

#[test]
fn a_shop_is_split_again_under_every_fault() {
    for (partitions, batch) in [(1, 1), (2, 5), (3, 1)] {
        let shop = shop_of(reservations().partitioned(partitions), batch);
        seeds(50, |simulation| run_split_anew(&shop, simulation));
    }
}

/// The same with keys that are in several streams, one of them in most.
#[test]
fn a_shop_that_is_split_by_its_keys_is_split_again_under_every_fault() {
    let by_clerk = reservations()
        .partitioned(2)
        .partition_by("clerk", |event| event.stream()?.split(['/', '-']).nth(1));
    let shop = shop_of(by_clerk, 3);
    seeds(50, |simulation| run_split_anew(&shop, simulation));
}

/// A shop whose follower parks every order or stops at it, until the stock is open.
fn parking(on_failure: OnFailure) -> System {
    let reservations = Follower::new(FOLLOWER)
        .follows("orders")
        .on(reserve_if_open)
        .on_failure(on_failure)
        .partitioned(3);
    System::new("shop")
        .application("orders", |app| app.aggregate::<Order>())
        .application("stock", |app| {
            app.aggregate::<Stock>().follower(reservations)
        })
        .build()
        .unwrap()
}

/// Each order was processed once, by any partition of any generation.
async fn check_answers(shop: OpenSystem) -> retold::Result<Result<(), String>> {
    let stock = shop.application("stock")?;
    let record = FollowerOperator::new(stock, FOLLOWER).record().await?;
    if !record.parked.is_empty() || record.partitioning.is_some() || record.partitions != 2 {
        return Ok(Err(format!("{record:?}")));
    }
    let mut answered = BTreeSet::new();
    for event in stock.recorder().read_log(LogRead::new()).await?.events {
        if let Origin::Effect { position, .. } = event.origin()?
            && !answered.insert(position)
        {
            return Ok(Err(format!("{position} was processed twice")));
        }
    }
    match answered.len() == ORDERS as usize * CLERKS.len() {
        true => Ok(Ok(())),
        false => Ok(Err(format!("{} were processed", answered.len()))),
    }
}

#[test]
fn a_parked_event_is_processed_once_although_the_follower_is_split_again() {
    for on_failure in [OnFailure::Park, OnFailure::Stop] {
        let system = parking(on_failure);
        seeds(60, |simulation| {
            let mut shop = SystemSimulation::new(simulation, &system)?;
            for clerk in CLERKS {
                shop.commands(clerk, move |shop| place_orders(clerk, shop));
            }
            shop.commands("operator", |shop| repartition(&[5, 2], shop));
            shop.commands("mechanic", |shop| async move { repair(&shop).await });
            shop.run()?;
            shop.outside(check_answers)?
        });
    }
}

/// A shop whose applications are declared to have for each item the same events in the same order.
fn confluent(reservations: Follower) -> System {
    System::new("shop")
        .application("orders", |app| {
            app.aggregate::<Order>().confluent_by_tag("item:")
        })
        .application("stock", |app| {
            app.aggregate::<Stock>()
                .follower(reservations)
                .confluent(|event| event.stream()?.strip_prefix("Stock/").map(str::to_owned))
        })
        .build()
        .unwrap()
}

/// Clerks order tea and coffee, while the follower is split again.
fn run_confluent(system: &System, simulation: &mut Simulation) -> Result<(), String> {
    let mut shop = SystemSimulation::new(simulation, system)?;
    for clerk in CLERKS {
        shop.commands(clerk, move |shop| place_orders(clerk, shop));
        shop.commands(format!("{clerk} drinks coffee"), move |shop| async move {
            let orders = shop.application("orders").unwrap();
            for order in 1..=ORDERS {
                let id = format!("{clerk}-{order}-coffee");
                let placed = || Placed {
                    item: "coffee".into(),
                };
                let place = || {
                    orders
                        .execute_or_create(id.as_str(), |_: &Order| placed())
                        .command_id(id.as_str())
                };
                while place().await.is_err() {}
            }
        });
    }
    shop.commands("operator", |shop| repartition(&[4, 1, 3], shop));
    shop.run()
}

/// Goal: events that belong together by the declared key are in one partition, and the declaration
/// holds, also while the follower is split again.
#[test]
fn a_shop_that_is_split_by_the_key_of_its_claim_is_confluent() {
    let shop = confluent(reservations().partitioned(2).partition_by_tag("item:"));
    seeds(40, |simulation| run_confluent(&shop, simulation));
}

/// Goal: a declaration that the partitions violate is found.
#[test]
fn a_claim_that_partitions_break_is_found() {
    let shop = confluent(reservations().partitioned(2));
    let failure = first_failure(1, SEEDS_MAX, |it| run_confluent(&shop, it)).unwrap();
    assert!(
        failure.reason().contains("claims to be confluent"),
        "{failure}"
    );
}

/// Seeds within which a bug must be found.
const SEEDS_MAX: u64 = 400;

/// Returns something else every time, like a hash that is seeded differently in each process.
static TIMES: AtomicU64 = AtomicU64::new(0);

#[test]
fn a_rule_that_differs_between_processes_is_found() {
    let follower = reservations()
        .partitioned(2)
        .partition_by("unsteady", |event| {
            match TIMES.fetch_add(1, Ordering::SeqCst) % 7 {
                0..4 => event.stream(),
                _ => Some(event.topic()),
            }
        });
    let shop = shop_of(follower, 1);
    let run = |simulation: &mut Simulation| run_shop(SystemSimulation::new(simulation, &shop)?);
    assert!(first_failure(1, SEEDS_MAX, run).is_some());
}
