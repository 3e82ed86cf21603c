//! Views that the runner keeps: in memory and in tables, waited for, without gaps.

use std::time::Duration;

use retold::projection::{MemoryView, Projection};
use retold::runner::{MultiThread, ViewWaitError};

use crate::patience::PATIENCE;
use crate::place::{Place, in_places};
use crate::shop::{Placed, assert_retold, memory, one_way, place, reservations};

fn counting() -> Projection<MemoryView<u64>> {
    Projection::new("placed", 1, "orders").on::<Placed>(|placed: &mut u64, _| {
        *placed += 1;
        Ok(())
    })
}

#[tokio::test]
async fn a_view_in_memory_shows_what_was_waited_for() {
    let view = MemoryView::<u64>::new();
    let infrastructure = memory().view(view.keep(counting()).unwrap());
    let runner = MultiThread::start(&one_way(reservations()), &infrastructure)
        .await
        .unwrap();
    let orders = runner.application("orders").unwrap();
    for id in 1..=20 {
        let position = place(&orders, &id.to_string(), "tea").await;
        runner
            .wait_for_view("placed", position, PATIENCE)
            .await
            .unwrap();
        view.read(|placed| assert_eq!(*placed, id));
    }
    let beyond = orders.head().await.unwrap().position().unwrap().next();
    let waited = runner.wait_for_view("placed", beyond, Duration::ZERO).await;
    assert!(
        matches!(waited, Err(ViewWaitError::Timeout { .. })),
        "{waited:?}"
    );
    let waited = runner.wait_for_view("unknown", beyond, PATIENCE).await;
    assert!(
        waited
            .unwrap_err()
            .to_string()
            .contains("no view \"unknown\"")
    );
    assert!(runner.stop().await.is_clean());
    assert_retold([&runner]).await;
}

/// After a restart, a view in a database resumes from its checkpoint.
async fn a_view_in_a_database_resumes_after_a_restart(home: Place) {
    for round in 1..=2_i64 {
        let view = home.view();
        let infrastructure = home.open().await.view(view.view_store());
        let runner = MultiThread::start(&one_way(reservations()), &infrastructure)
            .await
            .unwrap();
        let orders = runner.application("orders").unwrap();
        let mut position = None;
        for id in 0..10 {
            position = Some(place(&orders, &format!("{round}-{id}"), "tea").await);
        }
        let position = position.unwrap();
        runner
            .wait_for_view("placed", position, PATIENCE)
            .await
            .unwrap();
        assert_eq!(view.count().await, round * 10);
        assert!(runner.stop().await.is_clean());
        assert_retold([&runner]).await;
    }
}

in_places!(
    [sqlite, postgres],
    (a_view_in_a_database_resumes_after_a_restart,)
);
