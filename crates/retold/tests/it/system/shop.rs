//! A shop: the system of these tests. Orders are placed, stock is reserved for them, and the orders
//! follow the stock in turn.

use std::sync::Arc;
use std::time::Duration;

use retold::domain::{ManualClock, SequentialIds};
use retold::prelude::*;
use retold::recording::{LogRead, MemoryStore, StoredEvent};
use retold::retelling::{retell, retell_whole};
use retold::system::{Context, Deadline, Follower, Infrastructure, OpenSystem, System};

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(tag = "item:{item}")]
pub(crate) struct Placed {
    pub(crate) item: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct Confirmed;

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct Declined;

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct Overdue {
    pub(crate) order: String,
}

#[derive(Event, Clone, Debug, PartialEq)]
#[event(join)]
pub(crate) enum OrderEvent {
    Placed(Placed),
    Confirmed(Confirmed),
    Declined(Declined),
}

#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = OrderEvent, key = String)]
pub(crate) struct Order {
    pub(crate) item: String,
    pub(crate) confirmed: u32,
    pub(crate) declined: u32,
}

impl Apply<OrderEvent> for Order {
    fn apply(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Placed(placed) => self.item.clone_from(&placed.item),
            OrderEvent::Confirmed(_) => self.confirmed += 1,
            OrderEvent::Declined(_) => self.declined += 1,
        }
    }
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) enum StockEvent {
    Reserved { order: String },
    SoldOut { order: String },
}

#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = StockEvent, key = String)]
pub(crate) struct Stock {
    pub(crate) reserved: u32,
}

/// The stock of each item.
pub(crate) const STOCK: u32 = 3;

impl Apply<StockEvent> for Stock {
    fn apply(&mut self, event: &StockEvent) {
        if let StockEvent::Reserved { .. } = event {
            self.reserved += 1;
        }
    }
}

impl Stock {
    fn reserve(&self, order: &str) -> StockEvent {
        let order = order.to_owned();
        match self.reserved < STOCK {
            true => StockEvent::Reserved { order },
            false => StockEvent::SoldOut { order },
        }
    }
}

/// The stock follows orders: an order is reserved, as long as there is stock.
pub(crate) async fn reserve(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    let order = context
        .aggregate::<Order>()
        .expect("orders are placed by orders");
    let order = order.key().clone();
    context
        .execute_or_create(placed.item.as_str(), |stock: &Stock| stock.reserve(&order))
        .await?;
    Ok(())
}

/// Orders follow the stock. A sale over the counter is not an order.
pub(crate) async fn answer(event: &StockEvent, context: &mut Context) -> retold::Result<()> {
    let (StockEvent::Reserved { order } | StockEvent::SoldOut { order }) = event;
    if context.find::<Order>(order.as_str()).await?.is_none() {
        return Ok(());
    }
    match event {
        StockEvent::Reserved { order } => {
            context
                .execute(order.as_str(), |_: &Order| Confirmed)
                .await?
        }
        StockEvent::SoldOut { order } => {
            context
                .execute(order.as_str(), |_: &Order| Declined)
                .await?
        }
    };
    Ok(())
}

/// Orders follow themselves: each gets a deadline, which an answer cancels.
pub(crate) async fn set_deadline(_: &Placed, context: &mut Context) -> retold::Result<()> {
    let order = context
        .aggregate::<Order>()
        .expect("the event is of an order");
    let due = context.time().saturating_add(Duration::from_secs(60));
    let overdue = Overdue {
        order: order.to_string(),
    };
    context.schedule(Deadline::new(order.to_string(), due, overdue))
}

pub(crate) async fn end_deadline(_: &Confirmed, context: &mut Context) -> retold::Result<()> {
    let order = context
        .aggregate::<Order>()
        .expect("the event is of an order");
    context.cancel(order.key()).await?;
    Ok(())
}

pub(crate) fn shop() -> System {
    shop_in_batches(1)
}

/// The shop, whose followers process up to `batch` events in one append.
pub(crate) fn shop_in_batches(batch: usize) -> System {
    shop_of(
        Follower::new("reservations").follows("orders").on(reserve),
        batch,
    )
}

/// The shop with another follower in place of the one that reserves.
pub(crate) fn shop_of(reservations: Follower, batch: usize) -> System {
    let answers = Follower::new("answers").follows("stock").on(answer);
    let deadlines = Follower::new("deadlines").follows("orders");
    let deadlines = deadlines.on(set_deadline).on(end_deadline);
    System::new("shop")
        .application("orders", |app| {
            app.aggregate::<Order>()
                .event::<Overdue>()
                .follower(answers.batch(batch))
                .follower(deadlines.batch(batch))
        })
        .application("stock", |app| {
            app.aggregate::<Stock>().follower(reservations.batch(batch))
        })
        .build()
        .expect("the shop is well defined")
}

/// In memory, with a clock that stands still and ids that count up.
pub(crate) fn memory() -> (Infrastructure, Arc<ManualClock>) {
    let start = "2026-01-01T00:00:00Z".parse().expect("a time");
    let clock = Arc::new(ManualClock::new(start));
    let store = MemoryStore::new().with_clock(clock.clone());
    let infrastructure = Infrastructure::new(Arc::new(store))
        .clock(clock.clone())
        .ids(Arc::new(SequentialIds::new(7)));
    (infrastructure, clock)
}

pub(crate) async fn place(orders: &Application, id: &str, item: &str) -> retold::Result<()> {
    let item = item.to_owned();
    orders
        .execute_or_create(id, |_: &Order| Placed { item: item.clone() })
        .await?;
    Ok(())
}

/// Returns the log as lines: stream, version, topic and payload.
pub(crate) async fn lines(app: &Application) -> Vec<String> {
    let page = app
        .recorder()
        .read_log(LogRead::new())
        .await
        .expect("it is read");
    page.events.iter().map(line).collect()
}

fn line(event: &StoredEvent) -> String {
    format!(
        "{} {} {} {}",
        event.stream().unwrap_or("-"),
        event.version().map_or(0, |version| version.get()),
        event.topic(),
        String::from_utf8_lossy(event.payload().unwrap_or_default()),
    )
}

/// Checks that retelling the system, follower by follower and as a whole, matches the records.
pub(crate) async fn assert_retold(open: &OpenSystem) {
    for report in retell(open).await.expect("its logs are read") {
        assert!(report.difference.is_none(), "{report}");
    }
    let whole = retell_whole(open).await.expect("its logs are read");
    assert!(whole.difference.is_none(), "{whole}");
}
