//! A shop: orders are placed, stock is reserved for them, and the orders follow both the stock and
//! themselves. There are therefore two cycles.

use std::sync::Arc;
use std::time::Duration;

use retold::prelude::*;
use retold::recording::{LogRead, MemoryStore, PageEnd, Position, StoredEvent};
use retold::retelling::{retell, retell_whole};
use retold::system::{Context, Deadline, Follower, Goal, Infrastructure, Runner, System};

use crate::patience::PATIENCE;

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct Placed {
    pub(crate) item: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct Confirmed;

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct Overdue {
    pub(crate) order: String,
}

/// No follower has a policy for it.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct Viewed;

#[derive(Event, Clone, Debug, PartialEq)]
#[event(join)]
pub(crate) enum OrderEvent {
    Placed(Placed),
    Confirmed(Confirmed),
    Viewed(Viewed),
}

#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = OrderEvent, key = String)]
pub(crate) struct Order {
    pub(crate) confirmed: u32,
}

impl Apply<OrderEvent> for Order {
    fn apply(&mut self, event: &OrderEvent) {
        if let OrderEvent::Confirmed(_) = event {
            self.confirmed += 1;
        }
    }
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct Reserved {
    pub(crate) order: String,
}

#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = Reserved, key = String)]
pub(crate) struct Stock {
    pub(crate) reserved: u32,
}

impl Apply<Reserved> for Stock {
    fn apply(&mut self, _: &Reserved) {
        self.reserved += 1;
    }
}

/// The stock follows orders; an item named `nothing` has no stock.
pub(crate) async fn reserve(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    if placed.item == "nothing" {
        return Ok(());
    }
    let order = context.aggregate::<Order>().unwrap().key().clone();
    let reserved = |_: &Stock| Reserved {
        order: order.clone(),
    };
    context
        .execute_or_create(placed.item.as_str(), reserved)
        .await?;
    Ok(())
}

/// Orders follow the stock.
pub(crate) async fn confirm(reserved: &Reserved, context: &mut Context) -> retold::Result<()> {
    context
        .execute(reserved.order.as_str(), |_: &Order| Confirmed)
        .await?;
    Ok(())
}

/// Orders follow themselves: each gets a deadline, which is cancelled when it is confirmed.
async fn set_deadline(_: &Placed, context: &mut Context) -> retold::Result<()> {
    let order = context.aggregate::<Order>().unwrap().to_string();
    let due = context.time().saturating_add(Duration::from_secs(60));
    let overdue = Overdue {
        order: order.clone(),
    };
    context.schedule(Deadline::new(order, due, overdue))
}

async fn end_deadline(_: &Confirmed, context: &mut Context) -> retold::Result<()> {
    let order = context.aggregate::<Order>().unwrap();
    context.cancel(order.key()).await?;
    Ok(())
}

/// Returns the whole shop.
pub(crate) fn shop() -> System {
    System::new("shop")
        .application("orders", |app| {
            app.aggregate::<Order>()
                .event::<Overdue>()
                .follower(confirmations())
                .follower(deadlines())
        })
        .application("stock", |app| {
            app.aggregate::<Stock>().follower(reservations())
        })
        .build()
        .unwrap()
}

/// Returns a shop in which only the stock follows.
pub(crate) fn one_way(reservations: Follower) -> System {
    System::new("shop")
        .application("orders", |app| app.aggregate::<Order>())
        .application("stock", |app| {
            app.aggregate::<Stock>().follower(reservations)
        })
        .build()
        .unwrap()
}

pub(crate) fn reservations() -> Follower {
    Follower::new("reservations").follows("orders").on(reserve)
}

pub(crate) fn confirmations() -> Follower {
    Follower::new("confirmations").follows("stock").on(confirm)
}

pub(crate) fn deadlines() -> Follower {
    Follower::new("deadlines")
        .follows("orders")
        .on(set_deadline)
        .on(end_deadline)
}

pub(crate) fn memory() -> Infrastructure {
    Infrastructure::new(Arc::new(MemoryStore::new()))
}

/// Places an order. Returns its position.
pub(crate) async fn place(orders: &Application, id: &str, item: &str) -> Position {
    let item = item.to_owned();
    let placed = |_: &Order| Placed { item: item.clone() };
    let recorded = orders.execute_or_create(id, placed).await.unwrap();
    recorded.position().unwrap()
}

/// Returns all events of a log.
pub(crate) async fn events(app: &Application) -> Vec<StoredEvent> {
    let mut events = Vec::new();
    let mut after = None;
    loop {
        let read = LogRead::new().after(after);
        let page = app.recorder().read_log(read).await.unwrap();
        after = page.read_to_position();
        events.extend(page.events);
        if page.end == PageEnd::Complete {
            return events;
        }
    }
}

/// Returns how many events of this topic a log has.
pub(crate) async fn count(app: &Application, topic: &str) -> usize {
    let events = events(app).await;
    events.iter().filter(|it| it.topic() == topic).count()
}

/// Returns the orders for which stock is reserved, in the order of recording.
pub(crate) async fn reserved(app: &Application) -> Vec<String> {
    let events = app.events::<Reserved>().read().collect().await.unwrap();
    events.into_iter().map(|it| it.event.order).collect()
}

/// Waits until everything in the log of the orders and all its effects are processed.
pub(crate) async fn settled(runner: &dyn Runner) {
    let orders = runner.application("orders").unwrap();
    let head = orders.head().await.unwrap().position().unwrap();
    let caused = runner.wait(Goal::caused_by("orders", head), PATIENCE);
    caused.await.unwrap();
}

/// Stops the runners, of which there may be several on one store, and retells their records,
/// follower by follower and as a whole.
pub(crate) async fn assert_retold<'r, R: Runner + ?Sized + 'r>(
    runners: impl IntoIterator<Item = &'r R>,
) {
    let mut open = None;
    for runner in runners {
        runner.stop().await;
        open = Some(runner.open_system());
    }
    let open = open.unwrap();
    for report in retell(open).await.unwrap() {
        assert!(report.difference.is_none(), "{report}");
    }
    let whole = retell_whole(open).await.unwrap();
    assert!(whole.difference.is_none(), "{whole}");
}
