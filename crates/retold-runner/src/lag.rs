//! The lag of followers: the heads of the logs compared with the followers' progress.

use std::sync::Arc;
use std::time::Duration;

use retold_core::application::{Application, Result};
use retold_core::domain::Timestamp;
use retold_core::following::{FollowerOperator, FollowerRecord, FollowerStatus, Phase};
use retold_core::recording::{Checkpoint, LogId, LogRead, Position, StoredEvent};
use retold_core::system::OpenSystem;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::follower_cell::FollowerCell;
use crate::limits::{LAG_AGE_MAX, LEFT_PAGE_EVENTS};

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

/// The last computed lag, and when it was computed.
#[derive(Debug, Default)]
pub(crate) struct LagCell(Mutex<Option<(Instant, Lag)>>);

impl LagCell {
    /// Returns the lag, recomputed if the known one is too old. Concurrent callers wait for the
    /// same result, so the logs are read once.
    pub(crate) async fn read(&self, open: &OpenSystem, cells: &[Arc<FollowerCell>]) -> Lag {
        let mut known = self.0.lock().await;
        if let Some((at, lag)) = *known
            && at.elapsed() < LAG_AGE_MAX
        {
            return lag;
        }
        let now = std::time::SystemTime::now().into();
        let statuses = statuses(open, cells).await;
        // A paused or failed follower needs an operator; commands put off because of it would be
        // put off until the operator acts.
        let statuses = statuses.iter();
        let working = statuses
            .filter(|it| !matches!(it.phase, Phase::Paused | Phase::Retired | Phase::Failed));
        let lag = working.fold(Lag::default(), |lag, status| Lag {
            events: lag.events.max(status.lag_events()),
            time: lag.time.max(status.lag(now)),
        });
        *known = Some((Instant::now(), lag));
        lag
    }
}

/// Returns the statuses of all followers, with the current ends of the logs. For a log that cannot
/// be read, the end that a follower last read is used.
pub(crate) async fn statuses(
    open: &OpenSystem,
    cells: &[Arc<FollowerCell>],
) -> Vec<FollowerStatus> {
    let mut heads: Vec<Option<Checkpoint>> = Vec::with_capacity(open.applications().len());
    for application in open.applications() {
        let head = application.head().await;
        heads.push(head.ok().and_then(|head| head.checkpoint));
    }
    let mut statuses = Vec::with_capacity(cells.len());
    for cell in cells {
        let mut status = cell.status.read();
        if cell.is_elsewhere() {
            // Progress in another process is known only from the log. If the log cannot be read,
            // the status stays outdated.
            let recorded = take_in_recorded(&mut status, open, cell).await;
            if let Err(error) = recorded {
                tracing::debug!(follower = cell.title(), %error, "its record cannot be read");
            }
        }
        let has_no_partition =
            status.partitions > 0 && cell.partitions_of(status.partitions).next().is_none();
        for (upstream, log) in status.upstreams.iter_mut().zip(&cell.upstreams) {
            let later =
                |it: &Checkpoint| upstream.head.is_none_or(|old| old.position < it.position);
            if let Some(head) = heads[*log].filter(later) {
                upstream.head = Some(head);
            }
            if has_no_partition {
                // There is nothing for it to process.
                upstream.checkpoint = upstream.head;
                upstream.reached = upstream.head;
            }
            upstream.waiting_since = match upstream.lag_events() {
                0 => None,
                _ => {
                    let reached = upstream.reached;
                    let next = next_recorded_at(&open.applications()[*log], reached).await;
                    next.or(upstream.waiting_since)
                }
            };
        }
        statuses.push(status);
    }
    statuses
}

/// Updates a status from the record: whether the follower is paused, and what it has parked,
/// whichever process recorded it.
pub(crate) async fn take_in_acts(
    status: &mut FollowerStatus,
    open: &OpenSystem,
    cell: &FollowerCell,
) -> Result<(FollowerOperator, FollowerRecord)> {
    let application = &open.applications()[cell.application_index];
    let operator = FollowerOperator::new(application, Arc::clone(&cell.follower));
    let record = operator.record().await?;
    if record.retired.is_some() {
        status.phase = Phase::Retired;
    } else if record.paused.is_some() {
        status.phase = Phase::Paused;
    }
    status.retired.clone_from(&record.retired);
    status.paused.clone_from(&record.paused);
    status.parked = record.parked.len();
    status.first_parked = record.first_failed().cloned();
    status.partitions = record.partitions;
    Ok((operator, record))
}

/// Updates a status with everything recorded about a follower, whichever process recorded it.
async fn take_in_recorded(
    status: &mut FollowerStatus,
    open: &OpenSystem,
    cell: &FollowerCell,
) -> Result<()> {
    let (operator, record) = take_in_acts(status, open, cell).await?;
    for (upstream, log) in status.upstreams.iter_mut().zip(&cell.upstreams) {
        let application = &open.applications()[*log];
        let Some(log) = application.log_id().await? else {
            continue;
        };
        let own = cell.partitions_of(record.partitions);
        let Some((partition, checkpoint)) = last_of(&operator, &record, own, log).await? else {
            continue;
        };
        upstream.checkpoint = checkpoint;
        upstream.reached = checkpoint;
        // A follower records late that it passed over events not meant for it.
        let left = LogRead::of(cell.query.clone())
            .after_checkpoint(checkpoint)
            .limit(LEFT_PAGE_EVENTS);
        let page = application.recorder().read_log(left).await?;
        let is_left = |event: &StoredEvent| cell.is_of(event, partition, record.partitions);
        if !page.events.iter().any(is_left) {
            upstream.reached = page.read_to.or(checkpoint);
        }
    }
    Ok(())
}

/// Returns the partition that is furthest behind, and its position; `None` if there are no
/// partitions.
async fn last_of(
    operator: &FollowerOperator,
    record: &FollowerRecord,
    partitions: impl Iterator<Item = u32>,
    log: LogId,
) -> Result<Option<(u32, Option<Checkpoint>)>> {
    let mut last: Option<(u32, Option<Checkpoint>)> = None;
    for partition in partitions {
        let place = operator.checkpoint_of(record, partition, log).await?;
        let number = |checkpoint: Option<Checkpoint>| {
            Position::number(checkpoint.map(|checkpoint| checkpoint.position))
        };
        if last.is_none_or(|(_, least)| number(place) < number(least)) {
            last = Some((partition, place));
        }
    }
    Ok(last)
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
