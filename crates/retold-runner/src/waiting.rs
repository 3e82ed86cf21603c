//! Waiting for followers: read-your-writes, and waiting for everything that an event caused.
//!
//! The follower's task in this process notifies waiters when it has recorded something; when
//! another process does the work, the log is polled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use retold_core::application::{Application, Error, Result as RetoldResult};
use retold_core::domain::Timestamp;
use retold_core::following::{FollowerOperator, FollowerRecord, Phase};
use retold_core::projection::{ProjectionError, ProjectionState};
use retold_core::recording::{Checkpoint, Invalid, LogId, LogRead, Origin, PageEnd, Position};
use retold_core::system::OpenSystem;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::follower_cell::FollowerCell;
use crate::limits::{
    CAUSED_EVENTS_MAX, CAUSED_PAGE_EVENTS, LEFT_PAGE_EVENTS, WAIT_LOOK_INTERVAL,
    WAIT_LOOK_INTERVAL_HERE,
};

/// Why a wait failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The time is up.
    #[error("not processed in time: {}", unfinished(behind, searching.as_ref()))]
    Timeout {
        /// The followers that are behind, with their positions.
        behind: Vec<Behind>,
        /// The progress of the search for caused events, if the time ran out during it. Only
        /// `wait_for_all_caused` searches.
        searching: Option<Searching>,
    },
    /// A follower cannot continue: it is paused or has failed. Waiting longer does not help; an
    /// operator must act.
    #[error(
        "the follower {follower:?} of {application:?} is {phase:?} and does not continue: {reason}"
    )]
    Halted {
        /// The name of its application.
        application: Arc<str>,
        /// Its name.
        follower: Arc<str>,
        /// Its phase.
        phase: Phase,
        /// The reason.
        reason: String,
    },
    /// The logs could not be read; or there is no such application or follower, or the follower
    /// does not follow that log.
    #[error(transparent)]
    Retold(#[from] Error),
}

/// Why waiting for a view failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewWaitError {
    /// The time is up.
    #[error(
        "the view {view:?} does not show position {position} yet; it is recorded at {}{}",
        Position::number(*checkpoint),
        doing(*state, holder.as_ref())
    )]
    Timeout {
        /// The name of the view's projection.
        view: String,
        /// The position that was waited for.
        position: Position,
        /// The view's recorded checkpoint, as far as this process knows.
        checkpoint: Option<Position>,
        /// The state of the projection in this process.
        state: ProjectionState,
        /// The node of the cluster that holds the view, and since when, as of this node's last look
        /// at the leases; `None` if each process keeps its own view.
        holder: Option<Holder>,
    },
    /// The runner keeps no view with this name.
    #[error("there is no view {view:?}; add it to the infrastructure")]
    Unknown {
        /// The name.
        view: String,
    },
    /// The projection stopped.
    #[error(transparent)]
    Stopped(#[from] ProjectionError),
}

fn doing(state: ProjectionState, holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!("; {holder}"),
        None => format!(" ({state:?})"),
    }
}

/// A follower that has not processed the position that was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Behind {
    /// The name of its application.
    pub application: Arc<str>,
    /// Its name.
    pub follower: Arc<str>,
    /// Number of its pipeline, if it has several.
    pub pipeline: Option<u32>,
    /// The name of the application whose log is waited for.
    pub upstream: Arc<str>,
    /// The position to reach.
    pub position: Position,
    /// The follower's recorded checkpoint, as far as this process knows: if another process does
    /// the work, as of the last read of the log.
    pub checkpoint: Option<Position>,
    /// Its phase in this process.
    pub phase: Phase,
    /// The node of the cluster that holds it, and since when, as of this node's last look at the
    /// leases; `None` for a runner that is not a cluster.
    pub holder: Option<Holder>,
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the follower {:?} of {:?}",
            self.follower, self.application
        )?;
        if let Some(pipeline) = self.pipeline {
            write!(f, ", pipeline {pipeline},")?;
        }
        write!(
            f,
            " is recorded at {} of {:?} and not yet at {}",
            Position::number(self.checkpoint),
            self.upstream,
            self.position,
        )?;
        match &self.holder {
            Some(holder) => write!(f, "; {holder}"),
            None => write!(f, " ({:?})", self.phase),
        }
    }
}

/// The holder of a cluster's follower or view, according to its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The name of the node; `None` while it moves between nodes.
    pub node: Option<Arc<str>>,
    /// Since when that node has held it, by the store's clock.
    pub since: Option<Timestamp>,
    /// How often it has moved from one holder to another; 0 before the first.
    pub term: u64,
    /// Its last failure on any node: when it was reported, by the store's clock, and the node with
    /// its message.
    pub last_error: Option<(Timestamp, String)>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let term = self.term;
        match (&self.node, self.since) {
            (Some(node), Some(since)) => {
                write!(
                    f,
                    "the node {node:?} has had its lease since {since} (term {term})"
                )?;
            }
            (Some(node), None) => write!(f, "the node {node:?} has its lease (term {term})")?,
            (None, _) => write!(f, "no node has its lease (term {term})")?,
        }
        match &self.last_error {
            Some((at, error)) => write!(f, "; last error at {at}, on {error}"),
            None => Ok(()),
        }
    }
}

/// A log that was being searched for effects.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Searching {
    /// The name of the application that owns the log.
    pub application: Arc<str>,
    /// The position up to which the log was searched.
    pub read_to: Option<Position>,
    /// The position up to which it must be searched; `None` if the end of the log was not known
    /// yet.
    pub until: Option<Position>,
}

impl fmt::Display for Searching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, read_to) = (&self.application, Position::number(self.read_to));
        write!(f, "the search for caused events is at {read_to} of ")?;
        match self.until {
            Some(until) => write!(f, "the {until} events in the log {name:?}"),
            None => write!(f, "the log {name:?}, whose end is not known yet"),
        }
    }
}

fn unfinished(behind: &[Behind], searching: Option<&Searching>) -> String {
    let behind = behind.iter().map(Behind::to_string);
    let lines: Vec<_> = behind.chain(searching.map(Searching::to_string)).collect();
    lines.join("; ")
}

/// The target of a wait: a follower, one of its logs, and a position.
pub(crate) struct Goal<'a> {
    pub(crate) cell: &'a FollowerCell,
    /// Index among the logs that the follower follows.
    pub(crate) upstream: usize,
    pub(crate) position: Position,
    /// The follower's recorded checkpoint when the log was last read.
    recorded: Mutex<Option<Position>>,
}

impl<'a> Goal<'a> {
    pub(crate) fn new(cell: &'a FollowerCell, upstream: usize, position: Position) -> Self {
        Self {
            cell,
            upstream,
            position,
            recorded: Mutex::default(),
        }
    }

    fn checkpoint(&self) -> Option<Position> {
        let status = self.cell.status.read();
        let upstream = status.upstreams.get(self.upstream)?;
        upstream.checkpoint.map(|checkpoint| checkpoint.position)
    }

    fn is_reached(&self) -> bool {
        // With several partitions, the status describes only one of them.
        self.cell.has_one_partition() && self.checkpoint() >= Some(self.position)
    }

    fn behind(&self) -> Behind {
        let recorded = *self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let status = self.cell.status.read();
        Behind {
            application: Arc::clone(&self.cell.application),
            follower: Arc::clone(&self.cell.follower),
            pipeline: self.cell.pipeline(),
            upstream: Arc::clone(&status.upstreams[self.upstream].upstream),
            position: self.position,
            checkpoint: self.checkpoint().max(recorded),
            phase: status.phase,
            holder: None,
        }
    }

    /// Returns how often the log is polled.
    fn look_interval(&self) -> Duration {
        match self.cell.is_elsewhere() || !self.cell.has_one_partition() {
            true => WAIT_LOOK_INTERVAL,
            false => WAIT_LOOK_INTERVAL_HERE,
        }
    }

    /// Waits until the goal is reached; returns false if the deadline came first, even during a
    /// call to the store.
    async fn wait(&self, open: &OpenSystem, deadline: Instant) -> Result<bool, WaitError> {
        match timeout_at(deadline, self.reached(open)).await {
            Ok(reached) => reached.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    async fn reached(&self, open: &OpenSystem) -> Result<(), WaitError> {
        let cell = self.cell;
        let _hurry = cell.hurry();
        let mut changes = cell.status.changes();
        let mut look = match cell.is_elsewhere() {
            // This process knows only an old state.
            true => Instant::now(),
            false => Instant::now() + self.look_interval(),
        };
        loop {
            if self.is_reached() {
                return Ok(());
            }
            let phase = cell.status.read().phase;
            let is_halted = matches!(
                phase,
                Phase::Paused | Phase::Retired | Phase::Failed | Phase::Stopped
            );
            if is_halted || look <= Instant::now() {
                if self.is_recorded(open, is_halted.then_some(phase)).await? {
                    return Ok(());
                }
                look = Instant::now() + self.look_interval();
            }
            tokio::select! {
                () = changes.next() => {}
                () = sleep_until(look) => {}
            }
        }
    }

    /// Returns whether no events for a partition remain, given this number of partitions. Another
    /// process cannot be hurried, and it records late that it passed over such events.
    async fn is_passed(
        &self,
        upstream: &Application,
        checkpoint: Option<Checkpoint>,
        (partition, partitions): (u32, u32),
    ) -> Result<bool, WaitError> {
        let mut after = checkpoint;
        loop {
            let left = LogRead::of(self.cell.query.clone())
                .after_checkpoint(after)
                .until(self.position)
                .limit(LEFT_PAGE_EVENTS);
            let page = upstream.recorder().read_log(left).await;
            let page = page.map_err(Error::from)?;
            let mut events = page.events.iter();
            if events.any(|event| self.cell.is_of(event, partition, partitions)) {
                return Ok(false);
            }
            after = page.read_to;
            let is_there = page.read_to_position() >= Some(self.position);
            if page.end == PageEnd::Complete || is_there {
                return Ok(is_there);
            }
            // A store that responds immediately would keep the deadline from being checked.
            yield_now().await;
        }
    }

    /// Returns whether each partition that this pipeline owns is recorded at the position.
    async fn are_partitions_there(
        &self,
        operator: &FollowerOperator,
        record: &FollowerRecord,
        upstream: &Application,
    ) -> Result<bool, WaitError> {
        let Some(log) = upstream.log_id().await? else {
            return Ok(false);
        };
        for partition in self.cell.partitions_of(record.partitions) {
            let checkpoint = operator.checkpoint_of(record, partition, log).await?;
            let recorded = checkpoint.map(|checkpoint| checkpoint.position);
            if recorded >= Some(self.position) {
                continue;
            }
            *self.recorded.lock().unwrap_or_else(PoisonError::into_inner) = recorded;
            let of = (partition, record.partitions);
            let is_there =
                self.cell.is_elsewhere() && self.is_passed(upstream, checkpoint, of).await?;
            if !is_there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads from the log whether the goal is reached.
    async fn is_recorded(
        &self,
        open: &OpenSystem,
        halted: Option<Phase>,
    ) -> Result<bool, WaitError> {
        let cell = self.cell;
        let application = &open.applications()[cell.application_index];
        let upstream = &open.applications()[cell.upstreams[self.upstream]];
        let operator = FollowerOperator::new(application, Arc::clone(&cell.follower));
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
            application: Arc::clone(&cell.application),
            follower: Arc::clone(&cell.follower),
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
            // It has not noticed yet that it was resumed.
            None | Some(Phase::Paused | Phase::Retired) => Ok(false),
            Some(Phase::Stopped) => Err(halt(Phase::Stopped, "its runner was stopped".into())),
            Some(phase) => {
                let failure = cell.status.read().last_error;
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
        false => Err(WaitError::Timeout {
            behind,
            searching: None,
        }),
    }
}

/// The search for everything that an event caused.
///
/// Method: when all followers of a log have processed it up to the last event of interest, the
/// effects are in their own logs. A log that is reached for the first time is of interest up to its
/// end, because effects caused before the search began are somewhere in it; beyond that, only
/// effects of events of interest are. A cycle therefore ends when its effects end, even if other
/// events are recorded meanwhile.
///
/// Each log is read forward once. An effect may be read before its cause, because the cause is in
/// another log; it is then kept until that log is read that far.
pub(crate) struct Caused<'a> {
    open: &'a OpenSystem,
    cells: &'a [Arc<FollowerCell>],
    /// The start of the search.
    first: (usize, Position),
    /// The parts of interest, by the index of their applications.
    concerned: BTreeMap<usize, Concerned>,
    /// Logs whose followers must be waited for.
    queue: VecDeque<usize>,
    logs: BTreeMap<LogId, usize>,
    /// The applications that effects of the first one can reach.
    downstream: BTreeSet<usize>,
    /// Effects that were read, but whose causes are not decided yet, so it is unknown whether they
    /// are of interest.
    undecided: BTreeSet<Place>,
    /// The same effects, by their causes.
    awaiting: BTreeMap<Place, Vec<Place>>,
    searching: Searching,
}

/// An event: the index of its application, and its position.
type Place = (usize, Position);

/// The part of a log that is of interest.
struct Concerned {
    /// All events up to this position.
    until: Position,
    /// And these events.
    beyond: BTreeSet<Position>,
    /// The position up to which the log was read.
    read_to: Position,
}

impl Concerned {
    fn has(&self, position: Position) -> bool {
        position <= self.until || self.beyond.contains(&position)
    }

    fn last(&self) -> Position {
        self.beyond.last().copied().unwrap_or(self.until)
    }
}

/// Whether an event is an effect of an event of interest.
enum Verdict {
    Concerned,
    Other,
    /// Known once this cause is decided.
    Undecided(Place),
}

impl<'a> Caused<'a> {
    pub(crate) fn by(
        open: &'a OpenSystem,
        cells: &'a [Arc<FollowerCell>],
        application: usize,
        position: Position,
    ) -> Self {
        Self {
            open,
            cells,
            first: (application, position),
            concerned: BTreeMap::new(),
            queue: VecDeque::new(),
            logs: BTreeMap::new(),
            downstream: downstream(cells, application),
            undecided: BTreeSet::new(),
            awaiting: BTreeMap::new(),
            searching: Searching {
                application: open.applications()[application].name().into(),
                read_to: None,
                until: None,
            },
        }
    }

    /// Waits until everything is processed.
    pub(crate) async fn wait(mut self, deadline: Instant) -> Result<(), WaitError> {
        match timeout_at(deadline, self.follow(deadline)).await {
            Ok(waited) => waited,
            Err(_) => Err(WaitError::Timeout {
                behind: Vec::new(),
                searching: Some(self.searching),
            }),
        }
    }

    async fn follow(&mut self, deadline: Instant) -> Result<(), WaitError> {
        for (index, application) in self.open.applications().iter().enumerate() {
            if let Some(log) = application.log_id().await? {
                self.logs.insert(log, index);
            }
        }
        let (first, position) = self.first;
        self.begin(first, position);
        while let Some(log) = self.queue.pop_front() {
            let goals = goals(self.cells, log, self.concerned[&log].last());
            wait_for_goals(self.open, &goals, deadline).await?;
            let downstream = goals.iter().map(|it| it.cell.application_index);
            for application in downstream.collect::<BTreeSet<_>>() {
                self.extend(application).await?;
            }
        }
        Ok(())
    }

    /// Starts with a log: all of it up to this position is of interest.
    fn begin(&mut self, application: usize, until: Position) {
        let concerned = Concerned {
            until,
            beyond: BTreeSet::new(),
            read_to: until,
        };
        self.concerned.insert(application, concerned);
        self.queue.push_back(application);
        let later = self.awaiting.split_off(&(application, until.next()));
        let mut before = std::mem::replace(&mut self.awaiting, later);
        let effects = before.split_off(&(application, Position::FIRST));
        self.awaiting.extend(before);
        effects
            .into_values()
            .flatten()
            .for_each(|effect| self.concern(effect));
    }

    /// Determines the part of a log that is now of interest.
    async fn extend(&mut self, application: usize) -> RetoldResult<()> {
        let known = self.concerned.get(&application);
        let open = self.open;
        let log = &open.applications()[application];
        self.searching = Searching {
            application: log.name().into(),
            read_to: known.map(|known| known.read_to),
            until: None,
        };
        let Some(head) = log.head().await?.position() else {
            return Ok(());
        };
        self.searching.until = Some(head);
        match self.concerned.contains_key(&application) {
            true => self.read_on(application, head).await,
            false => {
                self.begin(application, head);
                Ok(())
            }
        }
    }

    /// Finds effects of events of interest in the part of a log that was not read yet.
    async fn read_on(&mut self, application: usize, until: Position) -> RetoldResult<()> {
        let recorder = self.open.applications()[application].recorder();
        let mut read = LogRead::new()
            .after(self.read_to(application))
            .until(until)
            .limit(CAUSED_PAGE_EVENTS);
        while let Some(after) = self.read_to(application).filter(|after| *after < until) {
            let page = recorder.read_log(read.clone()).await?;
            for event in &page.events {
                let place = (application, event.position());
                match self.verdict(&event.origin()?) {
                    Verdict::Concerned => self.concern(place),
                    Verdict::Other => self.dismiss(place),
                    Verdict::Undecided(cause) => {
                        self.undecided.insert(place);
                        self.awaiting.entry(cause).or_default().push(place);
                    }
                }
                self.move_to(application, event.position());
            }
            let read_to = page.read_to_position().unwrap_or(after);
            self.move_to(application, read_to);
            self.searching.read_to = Some(read_to);
            let beyond = self.concerned.values().map(|it| it.beyond.len());
            if beyond.sum::<usize>() + self.undecided.len() > CAUSED_EVENTS_MAX {
                return Err(Invalid::new(format!(
                    "the search for caused events must remember more than {CAUSED_EVENTS_MAX} \
                     events; the followers may cause events in an endless cycle"
                ))
                .into());
            }
            if page.end == PageEnd::Complete {
                break;
            }
            read = read.after_checkpoint(page.read_to);
            // A store that responds immediately would keep the deadline from being checked.
            yield_now().await;
        }
        Ok(())
    }

    fn read_to(&self, application: usize) -> Option<Position> {
        Some(self.concerned.get(&application)?.read_to)
    }

    fn move_to(&mut self, application: usize, position: Position) {
        if let Some(concerned) = self.concerned.get_mut(&application) {
            concerned.read_to = concerned.read_to.max(position);
        }
    }

    /// Checkpoints an event as of interest, together with its effects that were read before.
    fn concern(&mut self, event: Place) {
        for (application, position) in self.decide(event) {
            let Some(concerned) = self.concerned.get_mut(&application) else {
                continue;
            };
            concerned.beyond.insert(position);
            if !self.queue.contains(&application) {
                self.queue.push_back(application);
            }
        }
    }

    /// Checkpoints an event as not of interest, together with the events that it caused.
    fn dismiss(&mut self, event: Place) {
        self.decide(event);
    }

    /// Removes an event and its effects that were read before from the undecided ones, and returns
    /// them.
    fn decide(&mut self, event: Place) -> Vec<Place> {
        let mut decided = vec![event];
        let mut next = 0;
        while let Some(event) = decided.get(next).copied() {
            self.undecided.remove(&event);
            decided.extend(self.awaiting.remove(&event).unwrap_or_default());
            next += 1;
        }
        decided
    }

    fn verdict(&self, origin: &Origin) -> Verdict {
        let Origin::Effect {
            upstream, position, ..
        } = origin
        else {
            return Verdict::Other;
        };
        let Some(upstream) = self.logs.get(upstream) else {
            return Verdict::Other;
        };
        let cause = (*upstream, *position);
        match self.concerned.get(upstream) {
            Some(concerned) if concerned.has(*position) => Verdict::Concerned,
            Some(_) if self.undecided.contains(&cause) => Verdict::Undecided(cause),
            Some(concerned) if *position <= concerned.read_to => Verdict::Other,
            _ if self.downstream.contains(upstream) => Verdict::Undecided(cause),
            // That cause will not be read.
            _ => Verdict::Other,
        }
    }
}

/// Returns the applications whose followers follow this one, directly or through others.
fn downstream(cells: &[Arc<FollowerCell>], application: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut upstreams = vec![application];
    while let Some(upstream) = upstreams.pop() {
        let followers = cells.iter();
        let followers = followers.filter(|cell| cell.upstream_of(upstream).is_some());
        let new = followers.map(|cell| cell.application_index);
        upstreams.extend(new.filter(|application| found.insert(*application)));
    }
    found
}

/// Returns a goal for every follower of a log: to process it up to a position.
pub(crate) fn goals(cells: &[Arc<FollowerCell>], log: usize, position: Position) -> Vec<Goal<'_>> {
    let goals = cells.iter().filter_map(|cell| {
        let upstream = cell.upstream_of(log)?;
        Some(Goal::new(cell, upstream, position))
    });
    goals.collect()
}
