//! The shop under simulation: its logs are correct under every fault.

use retold::prelude::*;
use retold::retelling::SystemSimulation;
use retold::simulation::{Simulation, seeds};
use retold::system::{Context, Follower, OpenSystem, System};

use super::shop::{Order, OrderEvent, Overdue, Placed, STOCK, Stock, StockEvent, shop};

/// The number of orders that each clerk places.
pub(crate) const ORDERS: u32 = 3;
pub(crate) const CLERKS: [&str; 2] = ["ann", "bob"];

/// Places orders, each under an id of its own, until all are answered.
pub(crate) async fn place_orders(clerk: &'static str, shop: OpenSystem) {
    let orders = shop.application("orders").unwrap();
    for order in 1..=ORDERS {
        let placed = || Placed { item: "tea".into() };
        let id = format!("{clerk}-{order}");
        let place = || {
            orders
                .execute_or_create(id.as_str(), |_: &Order| placed())
                .command_id(id.as_str())
        };
        while place().await.is_err() {}
    }
}

/// Reserves tea by commands that conflict with the follower.
pub(crate) async fn reserve_directly(shop: OpenSystem) {
    let stock = shop.application("stock").unwrap();
    let reserve = || {
        stock
            .execute_or_create("tea", |stock: &Stock| match stock.reserved < STOCK {
                true => StockEvent::Reserved {
                    order: "over the counter".into(),
                },
                false => StockEvent::SoldOut {
                    order: "over the counter".into(),
                },
            })
            .command_id("over the counter")
    };
    while reserve().await.is_err() {}
}

/// A ball that two players throw to each other endlessly.
#[derive(Event, Serialize, Deserialize)]
struct Thrown;

async fn throw_back(_: &Thrown, context: &mut Context) -> retold::Result<()> {
    context.record(Thrown)?;
    Ok(())
}

#[test]
fn followers_in_an_endless_cycle_are_named() {
    let player = |name: &str, other: &str| Follower::new(name).follows(other).on(throw_back);
    let game = System::new("game")
        .application("left", |app| app.follower(player("l", "right")))
        .application("right", |app| app.follower(player("r", "left")))
        .build()
        .unwrap();
    let mut simulation = Simulation::new(1);
    simulation.steps(10).calm_steps(100);
    let mut game = SystemSimulation::new(&mut simulation, &game).unwrap();
    game.processes(1).commands("first", |game| async move {
        let left = game.application("left").unwrap();
        let throw = || left.decide((), |(): &()| Thrown).command_id("first");
        while throw().await.is_err() {}
    });
    let failure = game.run().unwrap_err();
    assert!(failure.contains("no progress: in 100 steps"), "{failure}");
    assert!(failure.contains("Still running: node-1/"), "{failure}");
}

/// Goal: followers with the same name in different applications are two followers. Method: each
/// records an event for each ball that is thrown, under every fault; the simulation retells both.
#[test]
fn followers_of_one_name_in_two_applications_are_simulated() {
    #[derive(Event, Serialize, Deserialize)]
    struct Caught;
    async fn catch_it(_: &Thrown, context: &mut Context) -> retold::Result<()> {
        context.record(Caught)?;
        Ok(())
    }
    let catcher = || Follower::new("catcher").follows("thrower").on(catch_it);
    let game = System::new("game")
        .application("thrower", |app| app.event::<Thrown>())
        .application("left", |app| app.event::<Caught>().follower(catcher()))
        .application("right", |app| app.event::<Caught>().follower(catcher()))
        .build()
        .unwrap();
    seeds(20, |simulation| {
        let mut game = SystemSimulation::new(simulation, &game)?;
        game.commands("thrower", |game| async move {
            let thrower = game.application("thrower").unwrap();
            for number in 0..3 {
                let throw = || thrower.decide((), |(): &()| Thrown);
                while throw().command_id(format!("{number}")).await.is_err() {}
            }
        });
        game.run()?;
        for name in ["left", "right"] {
            let caught = game.outside(|game| async move {
                let caught = game.application(name)?.events::<Caught>();
                caught.read().collect().await
            })?;
            if caught.len() != 3 {
                return Err(format!("{name} caught {}", caught.len()));
            }
        }
        Ok(())
    });
}

/// Runs a system that is a shop, and checks the rules of a shop.
pub(crate) fn run_shop(mut shop: SystemSimulation<'_>) -> Result<(), String> {
    for clerk in CLERKS {
        shop.commands(clerk, move |shop| place_orders(clerk, shop));
    }
    shop.commands("counter", reserve_directly);
    shop.run()?;
    shop.outside(check_shop)?
}

/// Each order was answered once, reservations do not exceed the stock, and a deadline passed
/// exactly for the orders that were not confirmed in time.
async fn check_shop(shop: OpenSystem) -> retold::Result<Result<(), String>> {
    let (orders, stock) = (shop.application("orders")?, shop.application("stock")?);
    let tea = stock.get::<Stock>("tea").await?;
    if tea.state.reserved != STOCK {
        return Ok(Err(format!(
            "{} were reserved of {STOCK}",
            tea.state.reserved
        )));
    }
    let answers = u64::from(ORDERS) * CLERKS.len() as u64 + 1;
    if tea.version.get() != answers {
        return Ok(Err(format!(
            "the stock answered {} times, not {answers}",
            tea.version
        )));
    }
    for clerk in CLERKS {
        for order in 1..=ORDERS {
            let order = orders.get::<Order>(format!("{clerk}-{order}")).await?;
            let Order {
                confirmed,
                declined,
                ..
            } = order.state;
            if confirmed + declined != 1 || order.version.get() != 2 {
                return Ok(Err(format!("{order:?}")));
            }
        }
    }
    let overdue = orders.events::<Overdue>().read().collect().await?;
    let declined = orders.events::<OrderEvent>().read().collect().await?;
    let declined = declined
        .iter()
        .filter(|it| matches!(it.event, OrderEvent::Declined(_)));
    match overdue.len() >= declined.count() {
        true => Ok(Ok(())),
        false => Ok(Err("a declined order is not overdue".into())),
    }
}

fn simulated(system: &System, simulation: &mut Simulation) -> Result<(), String> {
    run_shop(SystemSimulation::new(simulation, system)?)
}

#[test]
fn a_shop_is_right_under_every_fault() {
    let shop = shop();
    seeds(150, |simulation| simulated(&shop, simulation));
}

/// The same with many upstream events in one append, and with three processes.
#[test]
fn a_shop_in_batches_is_right_under_every_fault() {
    let shop = super::shop::shop_in_batches(10);
    seeds(100, |simulation| {
        let mut shop = SystemSimulation::new(simulation, &shop)?;
        shop.processes(3);
        run_shop(shop)
    });
}
