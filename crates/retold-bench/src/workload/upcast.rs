//! Loading an aggregate whose events have older shapes: the cost of three conversions for each.

use std::time::{Duration, Instant};

use retold::domain::{PastEvent, Upcast};
use retold::prelude::*;
use retold::recording::{Append, EventId, NewEvent};
use tokio::runtime::Runtime;

use super::application::{EVENTS_LOADED, open};
use crate::contender::{Contender, Result, RunFn};
use crate::sample::{Run, Stopwatch};
use crate::subject::Subject;

/// Revision 1.
#[derive(Deserialize)]
struct ListedV1 {
    product: String,
    quantity: u32,
}

/// Revision 2: the quantity has a unit.
#[derive(Deserialize)]
struct ListedV2 {
    product: String,
    amount: (u32, Packaging),
}

#[derive(Deserialize)]
enum Packaging {
    Piece,
    Box(u32),
}

/// Revision 3: the quantity is in pieces again, and wide.
#[derive(Deserialize)]
struct ListedV3 {
    product: String,
    pieces: u64,
}

/// The events of a list. The aggregate of `load-aggregate-100` has the same work to do.
#[derive(Event, Serialize, Deserialize)]
enum ListEvent {
    #[event(revision = 4, from(1 = ListedV1, 2 = ListedV2, 3 = ListedV3))]
    Listed {
        product: String,
        pieces: u64,
        note: Option<String>,
    },
}

impl Upcast<ListedV2> for ListedV1 {
    fn upcast(self, _: &PastEvent<'_>) -> Result<ListedV2> {
        Ok(ListedV2 {
            product: self.product,
            amount: (self.quantity, Packaging::Piece),
        })
    }
}

impl Upcast<ListedV3> for ListedV2 {
    fn upcast(self, _: &PastEvent<'_>) -> Result<ListedV3> {
        let (count, unit) = self.amount;
        let pieces = match unit {
            Packaging::Piece => 1,
            Packaging::Box(pieces) => pieces,
        };
        Ok(ListedV3 {
            product: self.product,
            pieces: u64::from(count) * u64::from(pieces),
        })
    }
}

impl Upcast<ListEvent> for ListedV3 {
    fn upcast(self, _: &PastEvent<'_>) -> Result<ListEvent> {
        Ok(ListEvent::Listed {
            product: self.product,
            pieces: self.pieces,
            note: None,
        })
    }
}

/// The state.
#[derive(Aggregate, Clone, Default)]
#[aggregate(event = ListEvent)]
struct ShoppingList {
    line_count: u32,
    pieces: u64,
}

impl Apply<ListEvent> for ShoppingList {
    fn apply(&mut self, event: &ListEvent) {
        let ListEvent::Listed { pieces, .. } = event;
        self.line_count += 1;
        self.pieces += pieces;
    }
}

/// An application without a cache, with a list whose events all have revision 1.
async fn with_list(subject: &Subject, name: &str) -> Result<(Application, Id<ShoppingList>)> {
    let shop = open(subject, name, 0).await?;
    let list = Id::<ShoppingList>::new(Uuid::now_v7());
    let events = (0..EVENTS_LOADED).map(|number| {
        let quantity = 1 + number % 4;
        let payload = format!(r#"{{"product":"espresso cup, white","quantity":{quantity}}}"#);
        let id = EventId::new(Uuid::now_v7());
        NewEvent::new(id, "ListEvent.Listed", payload).stream(list.stream().to_owned())
    });
    shop.recorder().append(Append::of(events)).await?;
    Ok((shop, list))
}

/// Loads an aggregate of [`EVENTS_LOADED`] events from its stream, each through three conversions.
pub(super) fn load_older<'a>(subject: &'a Subject, runtime: &'a Runtime) -> Contender<'a> {
    let name = "load-upcast-100";
    Contender::new(name, subject.label, "loads", move || {
        let (shop, list) = runtime.block_on(with_list(subject, name))?;
        Ok(Box::new(move |budget: Duration| {
            let shop = shop.clone();
            let load = runtime.spawn(async move {
                let mut run = Run::new();
                let watch = Stopwatch::start(budget);
                while run.operation_count() == 0 || watch.has_time() {
                    let start = Instant::now();
                    let loaded = shop.get(list).await?;
                    run.add(start.elapsed(), 1);
                    if loaded.state.line_count != EVENTS_LOADED {
                        let count = loaded.state.line_count;
                        return Err(format!("the list has {count} lines").into());
                    }
                }
                Result::Ok(run.took(watch.elapsed()))
            });
            runtime.block_on(load)?
        }) as RunFn<'a>)
    })
}
