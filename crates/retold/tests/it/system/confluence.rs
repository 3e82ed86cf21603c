//! Runs of one system, compared by key: with their times, which are inputs, and without.

use std::sync::Arc;
use std::time::Duration;

use retold::domain::{ManualClock, Timestamp};
use retold::recording::MemoryStore;
use retold::retelling::{Times, compare, compare_runs};
use retold::system::{Follower, Infrastructure, Runner, SingleThread, System};

use super::shop::{Order, Stock, place, reserve};

/// Orders are confluent by item; the stock, which has no tags, is not declared confluent.
fn system() -> System {
    let follower = Follower::new("reservations").follows("orders").on(reserve);
    System::new("shop")
        .application("orders", |app| {
            app.aggregate::<Order>().confluent_by_tag("item:")
        })
        .application("stock", |app| app.aggregate::<Stock>().follower(follower))
        .build()
        .unwrap()
}

/// Places orders of these items, one per minute from this time on.
async fn run(start: &str, orders: &[(&str, &str)]) -> SingleThread {
    let start: Timestamp = start.parse().unwrap();
    let clock = Arc::new(ManualClock::new(start));
    let memory = Infrastructure::new(Arc::new(MemoryStore::new())).clock(clock.clone());
    let runner = SingleThread::start(&system(), &memory).await.unwrap();
    let app = runner.application("orders").unwrap();
    for (order, item) in orders {
        place(&app, order, item).await.unwrap();
        clock.advance(Duration::from_secs(60));
    }
    runner
}

const MORNING: &str = "2026-03-01T08:00:00Z";
const EVENING: &str = "2026-03-01T20:00:00Z";

/// Goal: runs at other times of day, with the items in another order, are equal except for times.
#[tokio::test]
async fn times_are_inputs_and_can_be_ignored() {
    let one = run(MORNING, &[("1", "tea"), ("2", "tea"), ("3", "coffee")]).await;
    let two = run(EVENING, &[("3", "coffee"), ("1", "tea"), ("2", "tea")]).await;
    let (one, two) = (one.open_system(), two.open_system());

    let report = compare_runs(one, two, Times::PassedOver).await.unwrap();
    assert_eq!(report.difference, None);
    let [orders] = &*report.compared else {
        panic!("others were compared: {report:?}");
    };
    assert_eq!(
        (&*orders.application, orders.keys, orders.events),
        ("orders", 2, 3)
    );

    let with_times = compare_runs(one, two, Times::Compared).await.unwrap();
    let difference = with_times.difference.unwrap();
    assert_eq!(difference.key, "coffee");
    assert!(difference.recorded.unwrap().contains("2026-03-01T08:02"));
    assert!(difference.other.unwrap().contains("2026-03-01T20:00"));
    assert!(compare(one, two).await.unwrap().is_some());
    assert_eq!(compare(one, one).await.unwrap(), None);
}

/// Goal: differences are also found without times, and both sides are shown, even if one side has
/// nothing.
#[tokio::test]
async fn the_first_difference_of_a_key_is_shown() {
    let one = run(MORNING, &[("1", "tea"), ("2", "tea")]).await;
    let cases: [(&[_], &str, Option<&str>, Option<&str>); 3] = [
        (
            &[("2", "tea"), ("1", "tea")],
            "tea",
            Some("Order/1 "),
            Some("Order/2 "),
        ),
        (&[("1", "tea")], "tea", Some("Order/2 "), None),
        (
            &[("1", "tea"), ("2", "tea"), ("3", "milk")],
            "milk",
            None,
            Some("Order/3 "),
        ),
    ];
    for (orders, key, recorded, other) in cases {
        let two = run(EVENING, orders).await;
        let (one, two) = (one.open_system(), two.open_system());
        let report = compare_runs(one, two, Times::PassedOver).await.unwrap();
        let difference = report.difference.unwrap();
        assert_eq!(difference.application, "orders");
        assert_eq!(difference.key, key);
        for (shown, expected) in [(difference.recorded, recorded), (difference.other, other)] {
            let is_shown = shown
                .as_deref()
                .map(|it| it.starts_with(expected.unwrap_or("-")));
            assert_eq!(is_shown, expected.map(|_| true), "{shown:?}");
        }
    }
}
