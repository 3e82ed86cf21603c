//! The running system: a system with its opened logs, its jobs, and their state in this process. It
//! serves all requests of a program to a runner, whichever process runs the jobs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use retold_core::application::Application;
use retold_core::following::FollowerStatus;
use retold_core::health::{Finding, Health};
use retold_core::projection::{ProjectionError, ProjectionHandle, ProjectionState};
use retold_core::recording::Position;
use retold_core::system::{
    Behind, Goal, Lag, OpenSystem, OutboxCell, OutboxStatus, TimersCell, TimersStatus, WaitError,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use crate::follower_cell::FollowerCell;
use crate::job::Job;
use crate::lag::{LagCell, statuses, take_in_acts};
use crate::limits::{HEALTH_READ_MAX, WAIT_LOOK_INTERVAL};
use crate::stopping::after;
use crate::turns::Turns;
use crate::waiting::{FollowerGoal, goals, wait_for_caused, wait_for_goals};
use crate::watchdog::Watchdog;

/// Where the views are kept that other processes can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// By this process.
    Here,
    /// By any node of a cluster.
    Anywhere,
}

/// A running system.
pub(crate) struct RunningSystem {
    pub(crate) open: OpenSystem,
    cells: Vec<Arc<FollowerCell>>,
    timers: Vec<TimersCell>,
    projections: Vec<ProjectionHandle>,
    outboxes: Vec<OutboxCell>,
    lag: LagCell,
    keeping: Keeping,
}

impl RunningSystem {
    /// Returns the running system of this system, and its jobs: its followers, the timers of each
    /// application, its views and its outboxes, each in the order of declaration.
    pub(crate) fn new(open: OpenSystem, keeping: Keeping) -> (Self, Vec<Job>) {
        let mut running = Self {
            cells: Vec::new(),
            timers: Vec::new(),
            projections: Vec::new(),
            outboxes: Vec::new(),
            lag: LagCell::default(),
            keeping,
            open,
        };
        let mut jobs = Vec::new();
        let turns: Vec<Arc<Turns>> = running
            .open
            .applications()
            .iter()
            .map(|_| Arc::default())
            .collect();
        for (application, pipeline) in running.open.pipelines() {
            let upstreams = pipeline.follower().upstreams();
            let upstreams = upstreams.filter_map(|name| running.open.system().index_of(name));
            let turns = &turns[application];
            let cell = FollowerCell::new(&pipeline, application, upstreams.collect(), turns);
            let cell = Arc::new(cell);
            running.cells.push(Arc::clone(&cell));
            let pipeline = Arc::new(Mutex::new(pipeline));
            jobs.push(Job::Follower { pipeline, cell });
        }
        for (index, application) in running.open.applications().iter().enumerate() {
            let cell = TimersCell::new(application.name());
            running.timers.push(cell.clone());
            let application = application.clone();
            jobs.push(Job::Timers {
                application,
                index,
                cell,
            });
        }
        for (_, pipeline) in running.open.projections() {
            let handle = pipeline.handle();
            running.projections.push(handle.clone());
            let pipeline = Arc::new(Mutex::new(pipeline));
            jobs.push(Job::View { pipeline, handle });
        }
        for (index, pipeline) in running.open.outboxes() {
            let cell = pipeline.status();
            running.outboxes.push(cell.clone());
            let pipeline = Arc::new(Mutex::new(pipeline));
            jobs.push(Job::Outbox {
                pipeline,
                index,
                cell,
            });
        }
        (running, jobs)
    }

    /// Watches policies, deliveries and handlers of views until the returned watchdog is dropped.
    pub(crate) fn watchdog(&self) -> Watchdog {
        let (cells, outboxes) = (self.cells.clone(), self.outboxes.clone());
        Watchdog::watch(cells, outboxes, self.projections.clone())
    }

    /// Reports that the followers are stopped, also those whose tasks were aborted.
    pub(crate) fn report_stopped(&self) {
        for cell in &self.cells {
            cell.status.report_stopped();
        }
    }

    pub(crate) fn outboxes(&self) -> Vec<OutboxStatus> {
        self.outboxes.iter().map(OutboxCell::read).collect()
    }

    pub(crate) async fn status(&self) -> Vec<FollowerStatus> {
        statuses(&self.open, &self.cells).await
    }

    pub(crate) fn projections(&self) -> &[ProjectionHandle] {
        &self.projections
    }

    /// Adds problems of logs, followers, timers, views and outboxes, and marks the process as not
    /// ready if a log cannot be read. All reads run concurrently.
    pub(crate) async fn examine(&self, health: &mut Health) {
        let deadline = Instant::now() + HEALTH_READ_MAX;
        let logs = join_all(
            self.open
                .applications()
                .iter()
                .map(|it| unreadable(it, deadline)),
        );
        let followers = join_all(self.cells.iter().map(|cell| async {
            let mut status = cell.status.read();
            if cell.is_elsewhere() {
                // A log that cannot be read is reported as a finding about the log.
                let recorded = take_in_acts(&mut status, &self.open, cell);
                let _ = timeout_at(deadline, recorded).await;
            }
            status.findings()
        }));
        let views = join_all(self.projections.iter().map(|handle| async move {
            let found = timeout_at(deadline, handle.finding()).await;
            found.ok().flatten()
        }));
        let (logs, followers, views) = tokio::join!(logs, followers, views);
        let mut findings: Vec<_> = logs.into_iter().flatten().collect();
        if let Some(log) = findings.first() {
            health.not_ready.get_or_insert(log.to_string());
        }
        findings.extend(followers.into_iter().flatten());
        // The pipelines of a follower report the same recorded problems.
        findings.dedup();
        findings.extend(self.timers.iter().filter_map(|cell| cell.read().finding()));
        findings.extend(views.into_iter().flatten());
        let outboxes = self.open.outbox_findings();
        let driven = self.outboxes.iter().flat_map(|cell| cell.read().findings());
        // An outbox whose store fails reports that itself, with more detail.
        let is_news = |it: &Finding| !outboxes.iter().any(|reported| reported.name == it.name);
        findings.extend(driven.filter(is_news));
        findings.extend(outboxes);
        health.findings.append(&mut findings);
    }

    pub(crate) fn timers(&self) -> Vec<TimersStatus> {
        self.timers.iter().map(TimersCell::read).collect()
    }

    pub(crate) async fn lag(&self) -> Lag {
        self.lag.read(&self.open, &self.cells).await
    }

    pub(crate) async fn wait(&self, goal: &Goal, timeout: Duration) -> Result<(), WaitError> {
        let deadline = after(timeout);
        let (open, system) = (&self.open, self.open.system());
        match goal {
            Goal::Processed {
                application,
                position,
            } => {
                let log = system.expect_index_of(application)?;
                let goals = goals(&self.cells, log, *position);
                wait_for_goals(open, &goals, deadline).await
            }
            Goal::ProcessedBy {
                follower,
                upstream,
                position,
            } => {
                let upstream = system.expect_upstream(follower, upstream)?;
                let pipelines = self.cells.iter().filter(|cell| cell.path() == *follower);
                let goals = pipelines.map(|cell| FollowerGoal::new(cell, upstream, *position));
                let goals: Vec<_> = goals.collect();
                wait_for_goals(open, &goals, deadline).await
            }
            Goal::ShownBy { view, position } => self.wait_for_view(view, *position, deadline).await,
            Goal::CausedBy {
                application,
                position,
            } => {
                let log = system.expect_index_of(application)?;
                wait_for_caused(open, &self.cells, (log, *position), deadline).await
            }
        }
    }

    async fn wait_for_view(
        &self,
        view: &Arc<str>,
        position: Position,
        deadline: Instant,
    ) -> Result<(), WaitError> {
        let handle = &self.projections[self.open.expect_view(view)?];
        let mut checkpoint = None;
        let shown = async {
            if self.keeping == Keeping::Here || handle.is_of_this_process() {
                return handle.wait_for(position).await;
            }
            loop {
                let recorded: Result<bool, ProjectionError> = async {
                    checkpoint = handle.recorded_checkpoint().await?;
                    Ok(checkpoint >= Some(position) || handle.has_recorded(position).await?)
                }
                .await;
                match recorded {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    // The store may respond before the time is up.
                    Err(error) if error.is_retriable() => {}
                    Err(error) => return Err(error),
                }
                if let Some(error) = stopped_here(handle) {
                    return Err(error);
                }
                sleep(WAIT_LOOK_INTERVAL).await;
            }
        };
        match timeout_at(deadline, shown).await {
            Ok(waited) => Ok(waited?),
            Err(_) => Err(WaitError::Timeout {
                behind: vec![Behind::View {
                    view: Arc::clone(view),
                    position,
                    checkpoint: checkpoint.max(handle.checkpoint()),
                    state: handle.state(),
                    holder: None,
                }],
                searching: None,
            }),
        }
    }
}

/// Returns why a view that this process holds shows nothing more, if it has stopped.
fn stopped_here(handle: &ProjectionHandle) -> Option<ProjectionError> {
    let is_stopped = matches!(
        handle.state(),
        ProjectionState::Stopped | ProjectionState::Holding
    );
    let (_, error) = handle.last_error().filter(|_| is_stopped)?;
    Some(error)
}

/// Returns a finding if this log cannot be read now.
async fn unreadable(application: &Application, deadline: Instant) -> Option<Finding> {
    let name = application.name();
    match timeout_at(deadline, application.head()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(Finding::unreadable_log(name, &error)),
        Err(_) => {
            let late = format!("no response within {HEALTH_READ_MAX:?}");
            Some(Finding::unreadable_log(name, &late))
        }
    }
}
