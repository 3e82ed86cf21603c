//! The statuses of followers in any process, and the lag that they show.

use std::sync::Arc;

use retold_core::application::Result;
use retold_core::following::{FollowerOperator, FollowerRecord, FollowerStatus, Phase};
use retold_core::recording::{Checkpoint, LogId, LogRead, Position, StoredEvent};
use retold_core::system::{Lag, OpenSystem};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::follower_cell::FollowerCell;
use crate::limits::{LAG_AGE_MAX, LEFT_PAGE_EVENTS};

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
        let lag = Lag::of(&statuses(open, cells).await, now);
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
        statuses.push(status);
    }
    open.update_heads(&mut statuses).await;
    statuses
}

/// Updates a status with the acts of operators and what the follower has parked, whichever process
/// recorded them.
pub(crate) async fn take_in_acts(
    status: &mut FollowerStatus,
    open: &OpenSystem,
    cell: &FollowerCell,
) -> Result<(FollowerOperator, FollowerRecord)> {
    let application = &open.applications()[cell.application_index];
    let operator = FollowerOperator::new(application, Arc::clone(&cell.follower));
    let record = operator.record().await?;
    take_in(status, &record);
    Ok((operator, record))
}

/// Updates a status from the record of its follower.
pub(crate) fn take_in(status: &mut FollowerStatus, record: &FollowerRecord) {
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
