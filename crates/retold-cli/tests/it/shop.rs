//! A system for the tests: orders, the stock that is reserved for them, and letters about them.
//!
//! `reservations` parks orders of poison, and `thanks` pauses at them. Both retry orders of `late`.

use retold::prelude::*;
use retold::recording::{Position, RecordError};
use retold::runner::{Cluster, ClusterOptions};
use retold::system::{
    Context, Follower, FollowerOperator, Infrastructure, OnFailure, Runner, SingleThread, System,
};
use serde::{Deserialize, Serialize};

use crate::store::Place;

#[derive(Event, Serialize, Deserialize)]
enum OrderEvent {
    Ordered { item: String },
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = OrderEvent, key = String)]
struct Order;

impl Apply<OrderEvent> for Order {
    fn apply(&mut self, _: &OrderEvent) {}
}

#[derive(Event, Serialize, Deserialize)]
struct Reserved;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Reserved, key = String)]
struct Stock;

impl Apply<Reserved> for Stock {
    fn apply(&mut self, _: &Reserved) {}
}

#[derive(Event, Serialize, Deserialize)]
struct Thanked;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Thanked, key = String)]
struct Letter;

impl Apply<Thanked> for Letter {
    fn apply(&mut self, _: &Thanked) {}
}

fn check_item(item: &str) -> retold::Result<()> {
    match item {
        "poison" => Err(retold::Error::Refused("it is\tpoison".into())),
        "late" => {
            let timeout = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(RecordError::unavailable("asking the supplier", timeout).into())
        }
        _ => Ok(()),
    }
}

async fn reserve(ordered: &OrderEvent, context: &mut Context) -> retold::Result<()> {
    let OrderEvent::Ordered { item } = ordered;
    check_item(item)?;
    context
        .execute_or_create(item.as_str(), |_: &Stock| Reserved)
        .await?;
    Ok(())
}

async fn thank(ordered: &OrderEvent, context: &mut Context) -> retold::Result<()> {
    let OrderEvent::Ordered { item } = ordered;
    check_item(item)?;
    context
        .execute_or_create("all", |_: &Letter| Thanked)
        .await?;
    Ok(())
}

fn system() -> System {
    System::new("shop")
        .application("orders", |app| app.aggregate::<Order>().retired("Unheard"))
        .application("stock", |app| {
            let reservations = Follower::new("reservations").follows("orders");
            app.aggregate::<Stock>()
                .follower(reservations.on(reserve).on_failure(OnFailure::Park))
        })
        .application("letters", |app| {
            let thanks = Follower::new("thanks").follows("orders");
            app.aggregate::<Letter>().follower(thanks.on(thank))
        })
        .build()
        .unwrap()
}

/// Creates a store with five orders, the third, fourth and fifth by one customer who begins with
/// poison: `reservations` has parked the third and holds back the two that follow; `thanks` is
/// paused before it.
pub(crate) fn with_poison() -> Place {
    let place = Place::new();
    let store = place.open();
    place.block_on(async {
        let runner = SingleThread::start(&system(), &Infrastructure::new(store)).await?;
        let orders = runner.application("orders")?;
        for (customer, item) in [
            ("ann", "tea"),
            ("ann", "cups"),
            ("bob", "poison"),
            ("bob", "tea"),
            ("bob", "cups"),
        ] {
            order(&orders, customer, item).await?;
        }
        // A runner that is only dropped would seem to run until its leases expire.
        assert!(runner.stop().await.is_clean());
        Ok::<_, retold::Error>(())
    });
    place
}

/// Starts a node that runs the system on this store.
pub(crate) fn node(place: &Place, name: &str) -> Cluster {
    let infrastructure = Infrastructure::new(place.open());
    let system = system();
    place.block_on(async {
        let node = Cluster::join(&system, &infrastructure, name, ClusterOptions::new());
        Ok::<_, retold::Error>(node.await.unwrap())
    })
}

async fn order(orders: &Application, customer: &str, item: &str) -> retold::Result<()> {
    let item = item.to_owned();
    orders
        .execute_or_create(customer, |_: &Order| OrderEvent::Ordered {
            item: item.clone(),
        })
        .await?;
    Ok(())
}

/// Starts the system, which processes all events and keeps running.
pub(crate) fn process(place: &Place) -> SingleThread {
    let store = place.open();
    place.block_on(SingleThread::start(&system(), &Infrastructure::new(store)))
}

/// Orders tea for Ann, through this runner.
pub(crate) fn order_tea(place: &Place, runner: &SingleThread) {
    let orders = runner.application("orders").unwrap();
    place.block_on(order(&orders, "ann", "tea"));
}

/// Orders an item for Ann that the followers cannot process for now, through this node.
pub(crate) fn order_late(place: &Place, node: &Cluster) {
    place.block_on(async {
        let orders = node.application("orders")?;
        order(&orders, "ann", "late").await
    });
}

/// Returns the follower as a program sees it.
pub(crate) fn follower(place: &Place, log: &str, name: &str) -> FollowerOperator {
    let store = place.open();
    place.block_on(async {
        let app = Application::builder(log).store(store).read_only().open();
        app.await.map(|app| FollowerOperator::new(&app, name))
    })
}

/// Returns the positions of the parked events of the follower.
pub(crate) fn parked(place: &Place, log: &str, name: &str) -> Vec<u64> {
    let follower = follower(place, log, name);
    let parked = place.block_on(async { follower.parked().await });
    let positions = parked.iter().map(|it| it.event.position);
    positions.map(Position::get).collect()
}

/// Returns the number of events in a log.
pub(crate) fn event_count(place: &Place, log: &str) -> u64 {
    let store = place.open();
    let recorder = place.log(&*store, log);
    let head = place.block_on(async { recorder.head().await });
    Position::number(head.position())
}
