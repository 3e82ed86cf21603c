//! Bounded waits for conditions.

use std::time::Duration;

use retold::system::{FollowerStatus, Phase, Runner};

/// How long a test waits for an event that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two checks of a condition that sends no notification.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Awaits a future that must end.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("did not happen in time: {what}"),
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let holds = async {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        while !condition().await {
            looks.tick().await;
        }
    };
    in_time(what, holds).await;
}

pub(crate) async fn status_of(runner: &dyn Runner, follower: &str) -> FollowerStatus {
    let statuses = runner.status().await;
    let mut statuses = statuses.into_iter();
    statuses.find(|it| &*it.follower == follower).unwrap()
}

/// Waits until a follower is in this phase.
pub(crate) async fn until_phase(runner: &dyn Runner, follower: &str, phase: Phase) {
    let what = format!("{follower} is {phase:?}");
    until(&what, async || {
        status_of(runner, follower).await.phase == phase
    })
    .await;
}
