//! The lag of followers: the heads of the logs compared with the followers' progress.

use std::time::Duration;

use super::open_system::OpenSystem;
use crate::application::Application;
use crate::domain::Timestamp;
use crate::following::{FollowerStatus, Phase};
use crate::recording::{Checkpoint, LogRead};

/// How far the followers of a system are behind. The two values may be of different followers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// The largest number of events that one follower has not processed yet, including events that
    /// do not concern it.
    pub events: u64,
    /// The longest time that an event has been waiting to be processed: from when it was recorded,
    /// by the store's clock, until now, by this machine's clock.
    pub time: Duration,
}

impl Lag {
    /// Returns the lag that these statuses show at this time. Paused, retired and failed followers
    /// do not count: they need an operator, and commands put off because of them would be put off
    /// until the operator acts.
    pub fn of(statuses: &[FollowerStatus], now: Timestamp) -> Self {
        let statuses = statuses.iter();
        let working = statuses
            .filter(|it| !matches!(it.phase, Phase::Paused | Phase::Retired | Phase::Failed));
        working.fold(Self::default(), |lag, status| Self {
            events: lag.events.max(status.lag_events()),
            time: lag.time.max(status.lag(now)),
        })
    }
}

impl OpenSystem {
    /// For runners: updates the statuses of followers of this system with the current ends of the
    /// logs. For a log that cannot be read, the end that a follower last read is used.
    pub async fn update_heads(&self, statuses: &mut [FollowerStatus]) {
        let mut heads: Vec<Option<Checkpoint>> = Vec::with_capacity(self.applications().len());
        for application in self.applications() {
            let head = application.head().await;
            heads.push(head.ok().and_then(|head| head.checkpoint));
        }
        for status in statuses {
            // A pipeline beyond the number of partitions has none, and nothing to process.
            let has_no_partition = status.partitions > 0 && status.pipeline >= status.partitions;
            for upstream in &mut status.upstreams {
                let Some(log) = self.system().index_of(&upstream.upstream) else {
                    continue;
                };
                let later =
                    |it: &Checkpoint| upstream.head.is_none_or(|old| old.position < it.position);
                if let Some(head) = heads[log].filter(later) {
                    upstream.head = Some(head);
                }
                if has_no_partition {
                    upstream.checkpoint = upstream.head;
                    upstream.reached = upstream.head;
                }
                upstream.waiting_since = match upstream.lag_events() {
                    0 => None,
                    _ => {
                        let next =
                            next_recorded_at(&self.applications()[log], upstream.reached).await;
                        next.or(upstream.waiting_since)
                    }
                };
            }
        }
    }
}

/// Returns when the event after this checkpoint was recorded.
async fn next_recorded_at(
    application: &Application,
    after: Option<Checkpoint>,
) -> Option<Timestamp> {
    let read = LogRead::new().after_checkpoint(after).limit(1);
    let page = application.recorder().read_log(read).await.ok()?;
    page.events.first().map(|event| event.recorded_at())
}
