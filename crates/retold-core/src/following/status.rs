//! How followers are getting on, for people and for health checks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::follower_event::Parked;
use crate::domain::Timestamp;
use crate::health::{Finding, FindingKind, Trouble};
use crate::health::{Running, RunningCell};
use crate::recording::{Mark, Position};

/// What a follower is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// It has not begun.
    #[default]
    Starting,
    /// It is reading and answering.
    Running,
    /// It has answered everything there was, and waits for more.
    CaughtUp,
    /// It has answered what it may before it is split anew; see
    /// [`FollowerOperator::repartition`](super::operating::FollowerOperator::repartition).
    Draining,
    /// Another process does its work; this one looks now and then, and takes over when the other stops.
    Standby,
    /// Its store failed; it will try again.
    Retrying,
    /// It holds before an event that this program does not know, and does nothing before another program
    /// has answered it: see [`UpstreamStatus::held`].
    Holding,
    /// It is recorded as paused: by an operator, or because a policy failed.
    Paused,
    /// It is recorded as retired: an operator ended it for good.
    Retired,
    /// It cannot go on: a log has diverged or is corrupt. It needs somebody to look.
    Failed,
    /// It was ended with its runner.
    Stopped,
}

/// How a follower is getting on.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FollowerStatus {
    /// Name of its application.
    pub application: Arc<str>,
    /// Its name.
    pub follower: Arc<str>,
    /// Which of the follower's pipelines in this program it is about, from 0.
    pub pipeline: u32,
    /// How many pipelines the program has for the follower.
    pub pipelines: u32,
    /// Into how many partitions the follower is recorded to be split, when it was looked at last; 0
    /// before. Each pipeline does the work of those whose number leaves its own when divided by the
    /// number of pipelines; it tells of the one that it does at present.
    pub partitions: u32,
    /// What it is doing.
    pub phase: Phase,
    /// How far it is in each log that it follows.
    pub upstreams: Vec<UpstreamStatus>,
    /// Upstream events that it has answered since it began in this process.
    pub processed: u64,
    /// The same per second, over the last seconds.
    pub rate: f64,
    /// How often it found, when it was to record, that its work was done already: by another process, or
    /// by an attempt of its own whose outcome was unknown.
    pub overtaken: u64,
    /// Why it is recorded as paused, if it is.
    pub paused: Option<String>,
    /// Why it is recorded as retired, if it is: while this program runs it, which should declare it no more.
    pub retired: Option<String>,
    /// How many events it has parked.
    pub parked: usize,
    /// The first of those whose policy failed, with the reason.
    pub first_parked: Option<Parked>,
    /// Failures in a row of its store.
    pub failures: u32,
    /// The last error, with the time it happened, by the machine's clock.
    pub last_error: Option<(Timestamp, String)>,
    /// The failure by which it stopped and that was told, until it goes on.
    told_failure: Option<String>,
    /// The policy that is answering an event at this moment.
    pub running: Option<Running>,
}

/// How far a follower is in one log.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// Name of the application that is followed.
    pub upstream: Arc<str>,
    /// The end of the last stretch that is recorded; none before the first.
    pub checkpoint: Option<Mark>,
    /// How far it has answered, recorded or not yet.
    pub reached: Option<Mark>,
    /// The log's end when it was read last.
    pub head: Option<Mark>,
    /// When the next event to be answered was recorded; none if there is none.
    pub waiting_since: Option<Timestamp>,
    /// The event that the follower holds before, because this program does not know it.
    pub held: Option<HeldEvent>,
}

/// An event that a program does not know: another program, most likely a newer one, recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldEvent {
    /// Which event.
    pub event: Mark,
    /// Its topic.
    pub topic: Arc<str>,
    /// What the program does not know, and what to do.
    pub reason: Arc<str>,
}

impl UpstreamStatus {
    /// How many events of the log are not answered yet, those that do not concern the follower among
    /// them.
    pub fn lag_events(&self) -> u64 {
        let number = |mark: Option<Mark>| Position::number(mark.map(|mark| mark.position));
        number(self.head).saturating_sub(number(self.reached))
    }

    /// How long the next event to be answered has been waiting, by the clocks of the stores.
    pub fn lag(&self, now: Timestamp) -> Duration {
        self.waiting_since.map_or(Duration::ZERO, |since| {
            let micros = now.as_micros().saturating_sub(since.as_micros());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        })
    }
}

impl FollowerStatus {
    /// How many events of all its logs are not answered yet.
    pub fn lag_events(&self) -> u64 {
        self.upstreams.iter().map(UpstreamStatus::lag_events).sum()
    }

    /// How long the longest waiting of the next events to be answered has been waiting, by the clocks of
    /// the stores.
    pub fn lag(&self, now: Timestamp) -> Duration {
        let lags = self.upstreams.iter().map(|it| it.lag(now));
        lags.max().unwrap_or_default()
    }

    /// Whether there is nothing to say about it; see [`findings`](Self::findings).
    pub fn is_well(&self) -> bool {
        self.findings().is_empty()
    }

    /// Everything that somebody has to look at.
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
            let error = error.map_or("it is not known why", |(_, error)| error);
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

    /// The policy that runs, if it has run for so long that somebody should look at it.
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

/// A status that one writes and many read.
#[derive(Clone, Debug, Default)]
pub struct StatusCell {
    cell: Arc<Mutex<Observed>>,
    pub(crate) running: RunningCell,
    /// How often what the follower does, or where it is, was told.
    told: watch::Sender<u64>,
}

/// Waits for changes of a status.
#[derive(Debug)]
pub struct StatusChanges {
    told: watch::Receiver<u64>,
}

impl StatusChanges {
    /// Waits until something was told since the last call, or since these changes were asked for. How
    /// many events were answered is not told by itself. May be dropped at any time.
    pub async fn next(&mut self) {
        if self.told.changed().await.is_err() {
            // Whoever wrote the status is gone: it changes no more.
            std::future::pending::<()>().await;
        }
    }
}

#[derive(Debug, Default)]
struct Observed {
    status: FollowerStatus,
    /// Since when `processed` is counted for the rate, and from which count.
    since: Option<(Instant, u64)>,
}

/// After this long the rate is that of a new interval.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

impl StatusCell {
    /// The status as it is now.
    pub fn read(&self) -> FollowerStatus {
        let observed = self.cell.lock().unwrap_or_else(PoisonError::into_inner);
        let mut status = observed.status.clone();
        drop(observed);
        status.running = self.running();
        status
    }

    /// The policy that is answering an event at this moment.
    pub fn running(&self) -> Option<Running> {
        self.running.read()
    }

    /// For runners: notes as the last error that a policy is late, which is no failure yet.
    pub fn tell_late(&self, late: &Running) {
        let now = std::time::SystemTime::now().into();
        self.write(|status| status.last_error = Some((now, late.to_string())));
    }

    pub(crate) fn write(&self, change: impl FnOnce(&mut FollowerStatus)) {
        let mut observed = self.cell.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut observed.status);
        drop(observed);
        self.told.send_modify(|told| *told += 1);
    }

    /// What is told from now on.
    pub fn changes(&self) -> StatusChanges {
        StatusChanges {
            told: self.told.subscribe(),
        }
    }

    /// Counts upstream events that were answered.
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

    /// Notes that the follower holds, since now, and why.
    pub(crate) fn holds(&self, reason: &str) {
        let now = std::time::SystemTime::now().into();
        self.write(|status| status.last_error = Some((now, reason.to_owned())));
    }

    /// Notes an error that happened now. That a follower fails is told at the level of errors once, however
    /// often it tries again, until it has gone on or something else is wrong.
    pub(crate) fn failed(&self, phase: Phase, error: &dyn std::fmt::Display) {
        let now = std::time::SystemTime::now().into();
        let error = error.to_string();
        let mut is_told = true;
        self.write(|status| {
            if phase == Phase::Failed {
                let told = status.told_failure.replace(error.clone());
                is_told = told.as_ref() == Some(&error);
            }
            status.phase = phase;
            status.failures += 1;
            status.last_error = Some((now, error.clone()));
        });
        if !is_told {
            let status = self.read();
            let (application, follower) = (&*status.application, &*status.follower);
            tracing::error!(application, follower, error, "a follower has stopped");
        }
    }

    /// Notes that a step was made.
    pub(crate) fn stepped(&self, phase: Phase) {
        self.write(|status| {
            status.phase = phase;
            status.failures = 0;
            status.told_failure = None;
        });
    }
}
