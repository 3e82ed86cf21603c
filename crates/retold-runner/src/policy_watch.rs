//! What a follower's task looks at while a policy runs: whether it has run for too long, and whether an
//! operator has acted on the follower meanwhile.

use std::time::Duration;

use retold_core::following::{FollowerOperator, StatusCell};
use retold_core::health::Running;
use tokio::time::{sleep, timeout};

use crate::limits::POLICY_LOOK_INTERVAL;
use crate::panics::caught;

/// Why a policy is not waited for any longer.
#[derive(Debug)]
pub(crate) enum Over {
    /// It has had its time.
    Late(Box<Running>),
    /// It has had its time and spent the last part of it, of this length, waiting for the store.
    StoreSilent(Box<Running>, Duration),
    /// The follower is not as it was when the policy was asked: nothing that it decides can be recorded.
    Changed,
}

/// Waits until a policy that runs is not to be waited for any longer; for ever, if none is.
pub(crate) async fn policy_over(status: &StatusCell, operator: &FollowerOperator) -> Over {
    loop {
        sleep(POLICY_LOOK_INTERVAL).await;
        let Some(running) = status.running() else {
            continue;
        };
        if running.elapsed >= running.time_max {
            // One that reads again and again is late; one that waits for an answer is not at fault.
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
