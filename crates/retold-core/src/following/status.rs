//! The status of followers, for people and for health checks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::follower_event::Parked;
use crate::domain::Timestamp;
use crate::health::{Finding, FindingKind, Trouble};
use crate::health::{Running, RunningCell};
use crate::recording::{Checkpoint, Position};

/// The activity of a follower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// It has not begun.
    #[default]
    Starting,
    /// It is reading and processing.
    Running,
    /// It has processed all events, and waits for more.
    CaughtUp,
    /// It has processed all events up to the position of the requested split; see
    /// [`FollowerOperator::repartition`](super::operating::FollowerOperator::repartition).
    Draining,
    /// Another process does its work. This one checks from time to time, and takes over when the
    /// other stops.
    Standby,
    /// Its store failed; it will retry.
    Retrying,
    /// It holds before an event that this program does not know, until another program has
    /// processed the event: see [`UpstreamStatus::held`].
    Holding,
    /// It is recorded as paused: by an operator, or because a policy failed.
    Paused,
    /// It is recorded as retired: an operator ended it permanently.
    Retired,
    /// It cannot continue: a log has diverged or is corrupt. An operator must look at it.
    Failed,
    /// It was stopped with its runner.
    Stopped,
}

/// The status of a follower.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FollowerStatus {
    /// Name of its application.
    pub application: Arc<str>,
    /// Its name.
    pub follower: Arc<str>,
    /// The pipeline that this status describes, counted from 0 among the follower's pipelines in
    /// this program.
    pub pipeline: u32,
    /// How many pipelines the program has for the follower.
    pub pipelines: u32,
    /// The recorded number of partitions of the follower when it was last read; 0 before. Each
    /// pipeline runs the partitions whose number modulo the number of pipelines is its own number,
    /// and reports on the one that it runs at present.
    pub partitions: u32,
    /// Its activity.
    pub phase: Phase,
    /// Its progress in each log that it follows.
    pub upstreams: Vec<UpstreamStatus>,
    /// Upstream events that it has processed since it began in this process.
    pub processed: u64,
    /// Upstream events processed per second, measured over an interval of at least one second.
    pub rate: f64,
    /// How many times it found, when it was about to record, that its work was already recorded: by
    /// another process, or by an attempt of its own whose outcome was unknown.
    pub overtaken: u64,
    /// Why it is recorded as paused, if it is.
    pub paused: Option<String>,
    /// Why it is recorded as retired, if it is. This program still runs it, and should no longer
    /// declare it.
    pub retired: Option<String>,
    /// How many events it has parked.
    pub parked: usize,
    /// The first parked event whose policy failed, with the reason.
    pub first_parked: Option<Parked>,
    /// Consecutive failures of its store.
    pub failures: u32,
    /// The last error, with its time by the machine's clock.
    pub last_error: Option<(Timestamp, String)>,
    /// The failure that stopped it and that was logged, until it makes progress.
    reported_failure: Option<String>,
    /// The policy that is processing an event now.
    pub running: Option<Running>,
}

/// The progress of a follower in one log.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// Name of the application that is followed.
    pub upstream: Arc<str>,
    /// The end of the last recorded processed range; none before the first.
    pub checkpoint: Option<Checkpoint>,
    /// The last processed event, recorded or not yet.
    pub reached: Option<Checkpoint>,
    /// The log's end when it was last read.
    pub head: Option<Checkpoint>,
    /// When the next event to process was recorded; none if there is none.
    pub waiting_since: Option<Timestamp>,
    /// The event that the follower holds before, because this program does not know it.
    pub held: Option<HeldEvent>,
}

/// An event that a program does not know, because another program, most likely a newer one,
/// recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldEvent {
    /// The event.
    pub event: Checkpoint,
    /// Its topic.
    pub topic: Arc<str>,
    /// What the program does not know, and how to resolve it.
    pub reason: Arc<str>,
}

impl UpstreamStatus {
    /// Returns how many events of the log are not processed yet, including those that the follower
    /// ignores.
    pub fn lag_events(&self) -> u64 {
        let number = |checkpoint: Option<Checkpoint>| {
            Position::number(checkpoint.map(|checkpoint| checkpoint.position))
        };
        number(self.head).saturating_sub(number(self.reached))
    }

    /// Returns how long the next event to process has been waiting, by the clocks of the stores.
    pub fn lag(&self, now: Timestamp) -> Duration {
        self.waiting_since.map_or(Duration::ZERO, |since| {
            let micros = now.as_micros().saturating_sub(since.as_micros());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        })
    }
}

impl FollowerStatus {
    /// Returns how many events of the logs that it follows are not processed yet, in total.
    pub fn lag_events(&self) -> u64 {
        self.upstreams.iter().map(UpstreamStatus::lag_events).sum()
    }

    /// Returns the largest [lag](UpstreamStatus::lag) in time among the logs that it follows.
    pub fn lag(&self, now: Timestamp) -> Duration {
        let lags = self.upstreams.iter().map(|it| it.lag(now));
        lags.max().unwrap_or_default()
    }

    /// Returns whether there are no [`findings`](Self::findings).
    pub fn is_well(&self) -> bool {
        self.findings().is_empty()
    }

    /// Returns everything that needs an operator's attention.
    pub fn findings(&self) -> Vec<Finding> {
        let name = format!("{}/{}", self.application, self.follower);
        let finding =
            |trouble, reason| Finding::new(FindingKind::Follower, name.clone(), trouble, reason);
        let mut findings = Vec::new();
        if let Some(reason) = &self.retired {
            let reason = format!("{reason}; remove it from the program");
            findings.push(finding(Trouble::Retired, reason));
        }
        if let Some(reason) = &self.paused {
            findings.push(finding(Trouble::Paused, reason.clone()));
        }
        let stuck = match self.phase {
            Phase::Failed => Some(Trouble::Failed),
            Phase::Retrying => Some(Trouble::Retrying),
            _ => None,
        };
        let held = self.upstreams.iter().filter_map(|it| it.held.as_ref());
        findings.extend(held.map(|held| finding(Trouble::Holding, held.reason.to_string())));
        if let Some(trouble) = stuck {
            let error = self.last_error.as_ref();
            let error = error.map_or("the reason is unknown", |(_, error)| error);
            findings.push(finding(trouble, error.to_owned()));
        }
        if self.parked > 0 {
            findings.push(finding(Trouble::Parked, self.parked_reason()));
        }
        if let Some(late) = self.late_policy() {
            findings.push(finding(Trouble::Late, late.to_string()));
        }
        findings
    }

    /// Returns the running policy, if it has run long enough to need attention.
    pub fn late_policy(&self) -> Option<&Running> {
        self.running.as_ref().filter(|it| it.is_late())
    }

    fn parked_reason(&self) -> String {
        let events = match self.parked {
            1 => "1 event".to_owned(),
            count => format!("{count} events"),
        };
        let Some(first) = &self.first_parked else {
            return events;
        };
        let (position, upstream) = (first.event.position, &first.upstream);
        let failure = first
            .failure
            .as_deref()
            .unwrap_or("an earlier event is parked");
        format!("{events}, the first at position {position} of {upstream:?}: {failure}")
    }
}

/// A status with one writer and many readers.
#[derive(Clone, Debug, Default)]
pub struct StatusCell {
    cell: Arc<Mutex<Observed>>,
    pub(crate) running: RunningCell,
    /// How many changes of the status were reported.
    reported: watch::Sender<u64>,
}

/// Waits for changes of a status.
#[derive(Debug)]
pub struct StatusChanges {
    reported: watch::Receiver<u64>,
}

impl StatusChanges {
    /// Waits until a change has been reported since the last call, or since this was created. An
    /// increase of the number of processed events alone is not reported. The future can be dropped
    /// at any time.
    pub async fn next(&mut self) {
        if self.reported.changed().await.is_err() {
            // The writer of the status is gone, so it never changes again.
            std::future::pending::<()>().await;
        }
    }
}

#[derive(Debug, Default)]
struct Observed {
    status: FollowerStatus,
    /// When counting `processed` for the rate began, and at which count.
    since: Option<(Instant, u64)>,
}

/// After this long a new interval for the rate begins.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

impl StatusCell {
    /// Returns the present status.
    pub fn read(&self) -> FollowerStatus {
        let observed = self.cell.lock().unwrap_or_else(PoisonError::into_inner);
        let mut status = observed.status.clone();
        drop(observed);
        status.running = self.running();
        status
    }

    /// Returns the policy that is processing an event now.
    pub fn running(&self) -> Option<Running> {
        self.running.read()
    }

    /// For runners: records a late policy as the last error. It is not counted as a failure.
    pub fn report_late(&self, late: &Running) {
        let now = std::time::SystemTime::now().into();
        self.write(|status| status.last_error = Some((now, late.to_string())));
    }

    /// For runners: reports that nothing runs the follower here any more, also if its task was
    /// aborted. A follower that is paused, retired, failed or run elsewhere keeps its phase.
    pub fn report_stopped(&self) {
        self.write(|status| {
            let has_ended = matches!(
                status.phase,
                Phase::Paused | Phase::Retired | Phase::Failed | Phase::Standby
            );
            if !has_ended {
                status.phase = Phase::Stopped;
            }
        });
    }

    pub(crate) fn write(&self, change: impl FnOnce(&mut FollowerStatus)) {
        let mut observed = self.cell.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut observed.status);
        drop(observed);
        self.reported.send_modify(|reported| *reported += 1);
    }

    /// Returns the changes from now on.
    pub fn changes(&self) -> StatusChanges {
        StatusChanges {
            reported: self.reported.subscribe(),
        }
    }

    /// Counts upstream events that were processed.
    pub(crate) fn processed(&self, count: u64) {
        let mut observed = self.cell.lock().unwrap_or_else(PoisonError::into_inner);
        observed.status.processed += count;
        let now = Instant::now();
        let processed = observed.status.processed;
        let (since, before) = *observed.since.get_or_insert((now, processed));
        let elapsed = now.duration_since(since);
        if elapsed >= RATE_INTERVAL {
            observed.status.rate = (processed - before) as f64 / elapsed.as_secs_f64();
            observed.since = Some((now, processed));
        }
    }

    /// Records that the follower holds, since now, and why.
    pub(crate) fn holds(&self, reason: &str) {
        let now = std::time::SystemTime::now().into();
        self.write(|status| status.last_error = Some((now, reason.to_owned())));
    }

    /// Records an error that happened now. A failed follower is logged at level error once, however
    /// many times it retries, until it makes progress or the error is a different one.
    pub(crate) fn failed(&self, phase: Phase, error: &dyn std::fmt::Display) {
        let now = std::time::SystemTime::now().into();
        let error = error.to_string();
        let mut is_reported = true;
        self.write(|status| {
            if phase == Phase::Failed {
                let reported = status.reported_failure.replace(error.clone());
                is_reported = reported.as_ref() == Some(&error);
            }
            status.phase = phase;
            status.failures += 1;
            status.last_error = Some((now, error.clone()));
        });
        if !is_reported {
            let status = self.read();
            let (application, follower) = (&*status.application, &*status.follower);
            tracing::error!(application, follower, error, "a follower has stopped");
        }
    }

    /// Records that a step succeeded.
    pub(crate) fn stepped(&self, phase: Phase) {
        self.write(|status| {
            status.phase = phase;
            status.failures = 0;
            status.reported_failure = None;
        });
    }
}
