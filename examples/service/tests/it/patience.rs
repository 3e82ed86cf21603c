//! Bounded waits for conditions.

use std::time::Duration;

/// Time limit for everything that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Interval between checks of a condition that sends no notification.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Awaits a future that must complete.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("timed out: {what}"),
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
