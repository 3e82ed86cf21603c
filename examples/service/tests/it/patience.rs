//! Bounded waits for conditions.

use std::time::Duration;

/// So long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks at a condition that nobody tells of.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

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
