//! Catching up and following live.

use std::time::Duration;

use retold::recording::Position;
use retold::runner::MultiThread;
use retold::system::{FollowerPath, Goal, Phase, Runner, Start};

use crate::patience::{PATIENCE, status_of, until_phase};
use crate::shop::{assert_retold, memory, one_way, place, reservations, reserved};

/// Goal: a batch that is not full is recorded as soon as there is nothing left to read.
#[tokio::test]
async fn a_partial_batch_is_recorded_without_waiting() {
    let system = one_way(reservations().batch(100));
    let runner = MultiThread::start(&system, &memory()).await.unwrap();
    let orders = runner.application("orders").unwrap();
    for id in ["1", "2", "3"] {
        let position = place(&orders, id, "tea").await;
        runner
            .wait(Goal::processed("orders", position), PATIENCE)
            .await
            .unwrap();
    }
    let stock = runner.application("stock").unwrap();
    assert_eq!(reserved(&stock).await, ["1", "2", "3"]);
    assert_retold([&runner]).await;
}

#[tokio::test]
async fn the_status_shows_phase_lag_and_positions() {
    let system = one_way(reservations().start(Start::Now));
    let runner = MultiThread::start(&system, &memory()).await.unwrap();
    until_phase(&runner, "reservations", Phase::CaughtUp).await;
    let operator = runner
        .operator(&FollowerPath::new("stock", "reservations"))
        .unwrap();
    operator.pause("to see the lag").await.unwrap();
    until_phase(&runner, "reservations", Phase::Paused).await;
    let orders = runner.application("orders").unwrap();
    for id in ["1", "2", "3"] {
        place(&orders, id, "tea").await;
    }
    let status = status_of(&runner, "reservations").await;
    assert_eq!(status.lag_events(), 3);
    assert_eq!(status.upstreams[0].head.unwrap().position.get(), 3);
    let later = orders.now().saturating_add(Duration::from_secs(60));
    assert!(status.lag(later) >= Duration::from_secs(60));
    // A paused follower is not catching up, so it does not count.
    assert!(runner.lag().await.events <= 2);

    operator.resume().await.unwrap();
    let position = Position::new(3).unwrap();
    runner
        .wait(Goal::processed("orders", position), PATIENCE)
        .await
        .unwrap();
    let status = status_of(&runner, "reservations").await;
    assert_eq!((status.lag_events(), status.processed), (0, 3));
    assert_retold([&runner]).await;
}
