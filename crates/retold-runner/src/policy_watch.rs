//! Checks made while a follower's policy runs: whether it has run for too long, and whether an
//! operator has acted on the follower meanwhile.

use std::time::Duration;

use retold_core::following::{FollowerOperator, StatusCell};
use retold_core::health::Running;
use tokio::time::{sleep, timeout};

use crate::limits::POLICY_LOOK_INTERVAL;
use crate::panics::caught;

/// Why a task stops waiting for a policy.
#[derive(Debug)]
pub(crate) enum Over {
    /// It reached its time limit.
    Late(Box<Running>),
    /// It reached its time limit, and spent the last part, of this length, waiting for the store.
    StoreSilent(Box<Running>, Duration),
    /// The follower has changed since the policy was called: its decisions cannot be recorded.
    Changed,
}

/// Waits until the running policy should no longer be waited for; forever if none runs.
pub(crate) async fn policy_over(status: &StatusCell, operator: &FollowerOperator) -> Over {
    loop {
        sleep(POLICY_LOOK_INTERVAL).await;
        let Some(running) = status.running() else {
            continue;
        };
        if running.elapsed >= running.time_max {
            // A policy that keeps reading is late; a policy that waits for a response is not at
            // fault.
            let silent = running.reads_for;
            let silent = silent.filter(|silent| *silent >= running.time_max / 2);
            return match silent {
                Some(silent) => Over::StoreSilent(Box::new(running), silent),
                None => Over::Late(Box::new(running)),
            };
        }
        let record = timeout(POLICY_LOOK_INTERVAL, caught(operator.record())).await;
        if let Ok(Ok(Ok(record))) = record
            && record.version != running.version
        {
            return Over::Changed;
        }
    }
}
