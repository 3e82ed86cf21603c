//! Views of a system's logs, kept by its runner.

use std::collections::BTreeMap;

use retold::projection::{MemoryView, Projection};
use retold::system::{Runner, SingleThread};

use super::shop::{OrderEvent, assert_retold, memory, place, shop};

/// The number of orders by outcome.
type Counts = BTreeMap<&'static str, u32>;

fn counting(version: u32) -> Projection<MemoryView<Counts>> {
    Projection::new("counts", version, "orders").on::<OrderEvent>(|counts: &mut Counts, logged| {
        let name = match &logged.event {
            OrderEvent::Placed(_) => "placed",
            OrderEvent::Confirmed(_) => "confirmed",
            OrderEvent::Declined(_) => "declined",
        };
        *counts.entry(name).or_default() += 1;
        Ok(())
    })
}

#[tokio::test]
async fn a_view_has_everything_that_a_command_caused_when_it_returns() {
    let (memory, _) = memory();
    let view = MemoryView::<Counts>::new();
    let infrastructure = memory.clone().view(view.keep(counting(1)).unwrap());
    let runner = SingleThread::start(&shop(), &infrastructure).await.unwrap();
    let orders = runner.application("orders").unwrap();
    for order in 1..=4 {
        place(&orders, &order.to_string(), "tea").await.unwrap();
        view.read(|counts| assert_eq!(counts["placed"], order));
    }
    let expected = Counts::from([("placed", 4), ("confirmed", 3), ("declined", 1)]);
    view.read(|counts| assert_eq!(*counts, expected));
    let head = orders.head().await.unwrap().position().unwrap();
    runner.projections()[0].wait_for(head).await.unwrap();
    assert_retold(runner.open_system()).await;
}

#[tokio::test]
async fn a_view_of_an_unknown_application_is_refused() {
    let (memory, _) = memory();
    let view = MemoryView::<Counts>::new();
    let projection =
        Projection::new("counts", 1, "nowhere").on::<OrderEvent>(|_: &mut Counts, _| Ok(()));
    let infrastructure = memory.view(view.keep(projection).unwrap());
    let error = SingleThread::start(&shop(), &infrastructure)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no application \"nowhere\""),
        "{error}"
    );
}
