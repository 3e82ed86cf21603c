//! Waiting for followers: read-your-writes, and everything that an event caused.
//!
//! Whoever waits is told by the follower's task in this process when it has recorded something; when
//! another process does the work, the log is asked at an interval.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use retold_core::application::{Application, Error, Result as RetoldResult};
use retold_core::recording::error::Invalid;
use retold_core::recording::identity::{LogId, Mark, Position};
use retold_core::recording::origin::Origin;
use retold_core::recording::recorder::{LogRead, PageEnd};
use retold_core::system::projection::{ProjectionError, ProjectionState};
use retold_core::system::{FollowerOperator, FollowerRecord, OpenSystem, Phase};
use tokio::time::{Instant, sleep_until};

use crate::limits::{
    CAUSED_EVENTS_MAX, CAUSED_PAGE_EVENTS, LEFT_PAGE_EVENTS, WAIT_LOOK_INTERVAL,
    WAIT_LOOK_INTERVAL_HERE,
};
use crate::station::Station;

/// Why what was waited for did not come to pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The time is up.
    #[error("not processed in time: {}", listed(behind))]
    Timeout {
        /// Who is behind, and where.
        behind: Vec<Behind>,
    },
    /// A follower does not go on: it is paused, or has failed. Waiting longer does not help; somebody
    /// has to look.
    #[error(
        "the follower {follower:?} of {application:?} does not go on, it is {phase:?}: {reason}"
    )]
    Halted {
        /// Name of its application.
        application: Arc<str>,
        /// Its name.
        follower: Arc<str>,
        /// What it is.
        phase: Phase,
        /// Why.
        reason: String,
    },
    /// The logs could not be asked; or there is no such application or follower, or it does not follow
    /// that log.
    #[error(transparent)]
    Retold(#[from] Error),
}

/// Why a view does not show what was waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewWaitError {
    /// The time is up.
    #[error("the view {view:?} does not show position {position} yet; it is {state:?}")]
    Timeout {
        /// Name of the view's projection.
        view: String,
        /// What was waited for.
        position: Position,
        /// What the projection was doing.
        state: ProjectionState,
    },
    /// The runner keeps no view of this name.
    #[error("there is no view {view:?}; give it to the infrastructure")]
    Unknown {
        /// The name.
        view: String,
    },
    /// The projection stopped.
    #[error(transparent)]
    Stopped(#[from] ProjectionError),
}

/// A follower that has not processed what was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Behind {
    /// Name of its application.
    pub application: Arc<str>,
    /// Its name.
    pub follower: Arc<str>,
    /// Name of the application whose log is to be processed.
    pub upstream: Arc<str>,
    /// Up to this position.
    pub position: Position,
    /// How far it is recorded to be, as far as is known here.
    pub checkpoint: Option<Position>,
    /// What it was doing.
    pub phase: Phase,
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the follower {:?} of {:?} is at {} of {:?} and not yet at {} ({:?})",
            self.follower,
            self.application,
            Position::number(self.checkpoint),
            self.upstream,
            self.position,
            self.phase,
        )
    }
}

fn listed(behind: &[Behind]) -> String {
    let lines: Vec<_> = behind.iter().map(Behind::to_string).collect();
    lines.join("; ")
}

/// What is waited for: a follower, and how far in which of its logs.
pub(crate) struct Goal<'a> {
    pub(crate) station: &'a Station,
    /// Index among the logs that the follower follows.
    pub(crate) upstream: usize,
    pub(crate) position: Position,
}

impl Goal<'_> {
    fn checkpoint(&self) -> Option<Position> {
        let status = self.station.status.read();
        let upstream = status.upstreams.get(self.upstream)?;
        upstream.checkpoint.map(|mark| mark.position)
    }

    fn is_reached(&self) -> bool {
        // One that has several partitions tells of one of them.
        self.station.has_one_partition() && self.checkpoint() >= Some(self.position)
    }

    fn behind(&self) -> Behind {
        let status = self.station.status.read();
        Behind {
            application: Arc::clone(&self.station.application),
            follower: Arc::clone(&self.station.follower),
            upstream: Arc::clone(&status.upstreams[self.upstream].upstream),
            position: self.position,
            checkpoint: self.checkpoint(),
            phase: status.phase,
        }
    }

    /// How often the log is asked.
    fn look_interval(&self) -> Duration {
        match self.station.is_elsewhere() || !self.station.has_one_partition() {
            true => WAIT_LOOK_INTERVAL,
            false => WAIT_LOOK_INTERVAL_HERE,
        }
    }

    /// Waits until it is reached; false if the deadline came first.
    async fn wait(&self, open: &OpenSystem, deadline: Instant) -> Result<bool, WaitError> {
        let station = self.station;
        let _hurry = station.hurry();
        let mut changes = station.status.changes();
        let mut look = Instant::now() + self.look_interval();
        loop {
            if self.is_reached() {
                return Ok(true);
            }
            let phase = station.status.read().phase;
            let is_halted = matches!(
                phase,
                Phase::Paused | Phase::Retired | Phase::Failed | Phase::Stopped
            );
            if is_halted || look <= Instant::now() {
                if self.is_recorded(open, is_halted.then_some(phase)).await? {
                    return Ok(true);
                }
                look = Instant::now() + self.look_interval();
            }
            if deadline <= Instant::now() {
                return Ok(false);
            }
            tokio::select! {
                () = changes.next() => {}
                () = sleep_until(look.min(deadline)) => {}
            }
        }
    }

    /// Whether nothing for a partition of so many is left on the way. Another process cannot be hurried, and
    /// that it passed such events over is recorded late.
    async fn is_passed(
        &self,
        upstream: &Application,
        checkpoint: Option<Mark>,
        (partition, partitions): (u32, u32),
    ) -> Result<bool, WaitError> {
        let mut after = checkpoint;
        loop {
            let left = LogRead::of(self.station.query.clone())
                .after_mark(after)
                .until(self.position)
                .limit(LEFT_PAGE_EVENTS);
            let page = upstream.recorder().read_log(left).await;
            let page = page.map_err(Error::from)?;
            let mut events = page.events.iter();
            if events.any(|event| self.station.is_of(event, partition, partitions)) {
                return Ok(false);
            }
            after = page.read_to;
            let is_there = page.read_to_position() >= Some(self.position);
            if page.end == PageEnd::Complete || is_there {
                return Ok(is_there);
            }
        }
    }

    /// Whether each partition that is this pipeline's work is recorded to be there.
    async fn are_partitions_there(
        &self,
        operator: &FollowerOperator,
        record: &FollowerRecord,
        upstream: &Application,
    ) -> Result<bool, WaitError> {
        let Some(log) = upstream.log_id().await? else {
            return Ok(false);
        };
        for partition in self.station.partitions_of(record.partitions) {
            let checkpoint = operator.checkpoint_of(record, partition, log).await?;
            if checkpoint.map(|mark| mark.position) >= Some(self.position) {
                continue;
            }
            let of = (partition, record.partitions);
            let is_there =
                self.station.is_elsewhere() && self.is_passed(upstream, checkpoint, of).await?;
            if !is_there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks the log whether it is reached.
    async fn is_recorded(
        &self,
        open: &OpenSystem,
        halted: Option<Phase>,
    ) -> Result<bool, WaitError> {
        let station = self.station;
        let application = &open.applications()[station.application_index];
        let upstream = &open.applications()[station.upstreams[self.upstream]];
        let operator = FollowerOperator::new(application, Arc::clone(&station.follower));
        let record = operator.record().await?;
        let has_started = record.version.is_some();
        if has_started
            && self
                .are_partitions_there(&operator, &record, upstream)
                .await?
        {
            return Ok(true);
        }
        let halt = |phase, reason| WaitError::Halted {
            application: Arc::clone(&station.application),
            follower: Arc::clone(&station.follower),
            phase,
            reason,
        };
        if let Some(reason) = record.retired.clone() {
            return Err(halt(Phase::Retired, reason));
        }
        if let Some(reason) = record.paused.clone() {
            return Err(halt(Phase::Paused, reason));
        }
        match halted {
            // It has not noticed yet that it was let continue.
            None | Some(Phase::Paused | Phase::Retired) => Ok(false),
            Some(Phase::Stopped) => Err(halt(Phase::Stopped, "its runner was stopped".into())),
            Some(phase) => {
                let failure = station.status.read().last_error;
                Err(halt(
                    phase,
                    failure.map(|(_, text)| text).unwrap_or_default(),
                ))
            }
        }
    }
}

/// Waits until all goals are reached.
pub(crate) async fn wait_for_goals(
    open: &OpenSystem,
    goals: &[Goal<'_>],
    deadline: Instant,
) -> Result<(), WaitError> {
    let reached = try_join_all(goals.iter().map(|goal| goal.wait(open, deadline))).await?;
    let late = goals.iter().zip(reached).filter(|(_, reached)| !reached);
    let behind: Vec<_> = late.map(|(goal, _)| goal.behind()).collect();
    match behind.is_empty() {
        true => Ok(()),
        false => Err(WaitError::Timeout { behind }),
    }
}

/// The search for everything that an event caused.
///
/// Method: when all followers of a log have processed it up to where it is concerned, what that caused
/// is in their logs. A log that is met for the first time is concerned up to its end, for what was
/// caused before the search began is somewhere in it; beyond that only effects of what is concerned
/// are. So a cycle comes to an end when its effects do, whatever else is recorded meanwhile.
pub(crate) struct Caused<'a> {
    open: &'a OpenSystem,
    stations: &'a [Arc<Station>],
    /// By the index of their applications.
    concerned: BTreeMap<usize, Concerned>,
    /// Logs whose followers are to be waited for.
    queue: VecDeque<usize>,
    logs: BTreeMap<LogId, usize>,
}

/// What of a log is concerned.
struct Concerned {
    /// All up to here.
    until: Position,
    /// And these.
    beyond: BTreeSet<Position>,
}

impl Concerned {
    fn has(&self, position: Position) -> bool {
        position <= self.until || self.beyond.contains(&position)
    }

    fn last(&self) -> Position {
        self.beyond.last().copied().unwrap_or(self.until)
    }
}

impl<'a> Caused<'a> {
    pub(crate) async fn by(
        open: &'a OpenSystem,
        stations: &'a [Arc<Station>],
        application: usize,
        position: Position,
    ) -> RetoldResult<Self> {
        let mut logs = BTreeMap::new();
        for (index, application) in open.applications().iter().enumerate() {
            if let Some(log) = application.log_id().await? {
                logs.insert(log, index);
            }
        }
        let mut caused = Self {
            open,
            stations,
            concerned: BTreeMap::new(),
            queue: VecDeque::new(),
            logs,
        };
        caused.begin(application, position);
        Ok(caused)
    }

    fn begin(&mut self, application: usize, until: Position) {
        let beyond = BTreeSet::new();
        let concerned = Concerned { until, beyond };
        self.concerned.insert(application, concerned);
        self.queue.push_back(application);
    }

    /// Waits until everything is processed.
    pub(crate) async fn wait(mut self, deadline: Instant) -> Result<(), WaitError> {
        while let Some(log) = self.queue.pop_front() {
            let goals = goals(self.stations, log, self.concerned[&log].last());
            wait_for_goals(self.open, &goals, deadline).await?;
            let downstream = goals.iter().map(|it| it.station.application_index);
            for application in downstream.collect::<BTreeSet<_>>() {
                self.extend(application).await?;
            }
        }
        Ok(())
    }

    /// Finds out how far a log is concerned now.
    async fn extend(&mut self, application: usize) -> RetoldResult<()> {
        let head = self.open.applications()[application].head().await?;
        let Some(head) = head.position() else {
            return Ok(());
        };
        let Some(known) = self.concerned.get(&application) else {
            self.begin(application, head);
            return Ok(());
        };
        let count = known.beyond.len();
        self.read_on(application, known.until, head).await?;
        let is_more = self.concerned[&application].beyond.len() > count;
        if is_more && !self.queue.contains(&application) {
            self.queue.push_back(application);
        }
        Ok(())
    }

    /// Finds the effects of what is concerned in a piece of a log.
    async fn read_on(
        &mut self,
        application: usize,
        after: Position,
        until: Position,
    ) -> RetoldResult<()> {
        let recorder = self.open.applications()[application].recorder();
        let mut read = LogRead::new()
            .after(after)
            .until(until)
            .limit(CAUSED_PAGE_EVENTS);
        while read.after < Some(until) {
            let page = recorder.read_log(read.clone()).await?;
            for event in &page.events {
                if self.is_concerned(&event.origin()?)
                    && let Some(concerned) = self.concerned.get_mut(&application)
                {
                    concerned.beyond.insert(event.position());
                }
            }
            if page.end == PageEnd::Complete {
                break;
            }
            read = read.after_mark(page.read_to);
        }
        let counts = self.concerned.values().map(|it| it.beyond.len());
        match counts.sum::<usize>() <= CAUSED_EVENTS_MAX {
            true => Ok(()),
            false => Err(Invalid::new(format!(
                "an event has caused more than {CAUSED_EVENTS_MAX} others while that was waited for; its followers go round in an endless cycle, perhaps"
            ))
            .into()),
        }
    }

    fn is_concerned(&self, origin: &Origin) -> bool {
        let Origin::Effect {
            upstream, position, ..
        } = origin
        else {
            return false;
        };
        let log = self.logs.get(upstream);
        let concerned = log.and_then(|log| self.concerned.get(log));
        concerned.is_some_and(|it| it.has(*position))
    }
}

/// All followers of a log, and that they have processed it up to a position.
pub(crate) fn goals(stations: &[Arc<Station>], log: usize, position: Position) -> Vec<Goal<'_>> {
    let goals = stations.iter().filter_map(|station| {
        let upstream = station.upstream_of(log)?;
        Some(Goal {
            station,
            upstream,
            position,
        })
    });
    goals.collect()
}
