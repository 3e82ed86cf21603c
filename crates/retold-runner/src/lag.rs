//! How far followers are behind: heads of the logs against what is answered.

use std::sync::Arc;
use std::time::Duration;

use retold_core::application::{Application, Result};
use retold_core::domain::Timestamp;
use retold_core::following::{FollowerOperator, FollowerRecord, FollowerStatus, Phase};
use retold_core::recording::{LogId, LogRead, Mark, Position, StoredEvent};
use retold_core::system::OpenSystem;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::limits::{LAG_AGE_MAX, LEFT_PAGE_EVENTS};
use crate::station::Station;

/// How far the followers of a system are behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// Most events that one follower has not answered yet, those that do not concern it among them.
    pub events: u64,
    /// How long the longest waiting event has been waiting, by the clocks of the stores and of this
    /// machine.
    pub time: Duration,
}

/// The last lag that was found out, and when.
#[derive(Debug, Default)]
pub(crate) struct LagCell(Mutex<Option<(Instant, Lag)>>);

impl LagCell {
    /// The lag, found out anew if what is known is too old. Those who ask meanwhile wait for the answer,
    /// so that the logs are asked once.
    pub(crate) async fn read(&self, open: &OpenSystem, stations: &[Arc<Station>]) -> Lag {
        let mut known = self.0.lock().await;
        if let Some((at, lag)) = *known
            && at.elapsed() < LAG_AGE_MAX
        {
            return lag;
        }
        let now = std::time::SystemTime::now().into();
        let statuses = statuses(open, stations).await;
        // A follower that is paused or has failed is somebody's to look after; commands that are put
        // off for it would be so for as long.
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

/// The statuses of all followers, with the ends of the logs as they are now. Of a log that cannot be
/// read, as it was when a follower read it last.
pub(crate) async fn statuses(open: &OpenSystem, stations: &[Arc<Station>]) -> Vec<FollowerStatus> {
    let mut heads: Vec<Option<Mark>> = Vec::with_capacity(open.applications().len());
    for application in open.applications() {
        let head = application.head().await;
        heads.push(head.ok().and_then(|head| head.mark));
    }
    let mut statuses = Vec::with_capacity(stations.len());
    for station in stations {
        let mut status = station.status.read();
        if station.is_elsewhere() {
            // What another process does is known from the log alone. Where that cannot be read, the
            // status is as old as it is.
            let recorded = take_in_recorded(&mut status, open, station).await;
            if let Err(error) = recorded {
                tracing::debug!(follower = station.title(), %error, "its record cannot be read");
            }
        }
        let has_no_partition =
            status.partitions > 0 && station.partitions_of(status.partitions).next().is_none();
        for (upstream, log) in status.upstreams.iter_mut().zip(&station.upstreams) {
            let later = |it: &Mark| upstream.head.is_none_or(|old| old.position < it.position);
            if let Some(head) = heads[*log].filter(later) {
                upstream.head = Some(head);
            }
            if has_no_partition {
                // There is nothing for it to do.
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

/// Takes into a status whether a follower is recorded as paused, and what it has parked, whoever
/// recorded it.
pub(crate) async fn take_in_acts(
    status: &mut FollowerStatus,
    open: &OpenSystem,
    station: &Station,
) -> Result<(FollowerOperator, FollowerRecord)> {
    let application = &open.applications()[station.application_index];
    let operator = FollowerOperator::new(application, Arc::clone(&station.follower));
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

/// Takes into a status what is recorded of a follower, whoever recorded it.
async fn take_in_recorded(
    status: &mut FollowerStatus,
    open: &OpenSystem,
    station: &Station,
) -> Result<()> {
    let (operator, record) = take_in_acts(status, open, station).await?;
    for (upstream, log) in status.upstreams.iter_mut().zip(&station.upstreams) {
        let application = &open.applications()[*log];
        let Some(log) = application.log_id().await? else {
            continue;
        };
        let own = station.partitions_of(record.partitions);
        let Some((partition, checkpoint)) = last_of(&operator, &record, own, log).await? else {
            continue;
        };
        upstream.checkpoint = checkpoint;
        upstream.reached = checkpoint;
        // That it passed over what is not for it is recorded late.
        let left = LogRead::of(station.query.clone())
            .after_mark(checkpoint)
            .limit(LEFT_PAGE_EVENTS);
        let page = application.recorder().read_log(left).await?;
        let is_left = |event: &StoredEvent| station.is_of(event, partition, record.partitions);
        if !page.events.iter().any(is_left) {
            upstream.reached = page.read_to.or(checkpoint);
        }
    }
    Ok(())
}

/// The one of these partitions that is last, and where it is; none if there are none.
async fn last_of(
    operator: &FollowerOperator,
    record: &FollowerRecord,
    partitions: impl Iterator<Item = u32>,
    log: LogId,
) -> Result<Option<(u32, Option<Mark>)>> {
    let mut last: Option<(u32, Option<Mark>)> = None;
    for partition in partitions {
        let place = operator.checkpoint_of(record, partition, log).await?;
        let number = |mark: Option<Mark>| Position::number(mark.map(|mark| mark.position));
        if last.is_none_or(|(_, least)| number(place) < number(least)) {
            last = Some((partition, place));
        }
    }
    Ok(last)
}

/// When the event after this mark was recorded.
async fn next_recorded_at(application: &Application, after: Option<Mark>) -> Option<Timestamp> {
    let read = LogRead::new().after_mark(after).limit(1);
    let page = application.recorder().read_log(read).await.ok()?;
    page.events.first().map(|event| event.recorded_at())
}
