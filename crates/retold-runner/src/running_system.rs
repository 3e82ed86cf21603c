//! The running system: a system with its opened logs, its jobs, and their state in this process. It
//! serves all requests of a program to a runner, whichever process runs the jobs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use retold_core::application::{Application, Error, Result};
use retold_core::following::{FollowerOperator, FollowerStatus};
use retold_core::health::{Finding, Health};
use retold_core::projection::ProjectionHandle;
use retold_core::recording::{Invalid, Position};
use retold_core::system::{OpenSystem, OutboxCell, OutboxStatus};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::follower_cell::FollowerCell;
use crate::job::Job;
use crate::lag::{Lag, LagCell, statuses, take_in_acts};
use crate::limits::HEALTH_READ_MAX;
use crate::timers_task::{TimersCell, TimersStatus};
use crate::turns::Turns;
use crate::waiting::{Caused, Goal, ViewWaitError, WaitError, goals, wait_for_goals};
use crate::watchdog::Watchdog;

/// A running system.
pub(crate) struct RunningSystem {
    pub(crate) open: OpenSystem,
    cells: Vec<Arc<FollowerCell>>,
    timers: Vec<Arc<TimersCell>>,
    projections: Vec<ProjectionHandle>,
    outboxes: Vec<OutboxCell>,
    lag: LagCell,
}

impl RunningSystem {
    /// Returns the running system of this system, and its jobs: its followers, the timers of each
    /// application, its views and its outboxes, each in the order of declaration.
    pub(crate) fn new(open: OpenSystem) -> (Self, Vec<Job>) {
        let mut running = Self {
            cells: Vec::new(),
            timers: Vec::new(),
            projections: Vec::new(),
            outboxes: Vec::new(),
            lag: LagCell::default(),
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
            let cell = Arc::new(TimersCell::default());
            cell.write(|status| status.application = application.name().to_owned());
            running.timers.push(Arc::clone(&cell));
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

    pub(crate) fn application(&self, name: &str) -> Result<Application> {
        self.open.application(name).cloned()
    }

    /// Watches policies, deliveries and handlers of views until the returned watchdog is dropped.
    pub(crate) fn watchdog(&self) -> Watchdog {
        let (cells, outboxes) = (self.cells.clone(), self.outboxes.clone());
        Watchdog::watch(cells, outboxes, self.projections.clone())
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

    pub(crate) fn projection(&self, view: &str) -> Result<&ProjectionHandle, ViewWaitError> {
        let mut named = self.projections.iter();
        let handle = named.find(|it| *it.outline().name == *view);
        handle.ok_or_else(|| ViewWaitError::Unknown { view: view.into() })
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
        self.timers.iter().map(|cell| cell.read()).collect()
    }

    pub(crate) async fn lag(&self) -> Lag {
        self.lag.read(&self.open, &self.cells).await
    }

    pub(crate) fn operator(&self, application: &str, follower: &str) -> Result<FollowerOperator> {
        self.cell(application, follower)?;
        let application = self.open.application(application)?;
        Ok(FollowerOperator::new(application, follower))
    }

    fn cell(&self, application: &str, follower: &str) -> Result<&Arc<FollowerCell>> {
        let index = self.open.system().expect_index_of(application)?;
        let mut cells = self.cells.iter();
        let is_meant =
            |it: &&Arc<FollowerCell>| it.application_index == index && &*it.follower == follower;
        let cell = cells.find(is_meant);
        cell.ok_or_else(|| {
            let known = self.cells.iter().filter(|it| it.application_index == index);
            let known: Vec<_> = known.map(|it| &it.follower).collect();
            invalid(format!(
                "the application {application:?} has no follower {follower:?}; it has {known:?}"
            ))
        })
    }

    pub(crate) async fn wait_for(
        &self,
        application: &str,
        position: Position,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let log = self.open.system().expect_index_of(application);
        let log = log.map_err(Error::from)?;
        let goals = goals(&self.cells, log, position);
        wait_for_goals(&self.open, &goals, Instant::now() + timeout).await
    }

    pub(crate) async fn wait_for_follower(
        &self,
        application: &str,
        follower: &str,
        upstream: &str,
        position: Position,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let first = self.cell(application, follower)?;
        let log = self.open.system().expect_index_of(upstream);
        let log = log.map_err(Error::from)?;
        let upstream = first.upstream_of(log).ok_or_else(|| {
            invalid(format!(
                "the follower {follower:?} of {application:?} does not follow {upstream:?}"
            ))
        })?;
        let all = self.cells.iter().filter(|it| {
            it.application_index == first.application_index && it.follower == first.follower
        });
        let goals = all.map(|cell| Goal::new(cell, upstream, position));
        let goals: Vec<_> = goals.collect();
        wait_for_goals(&self.open, &goals, Instant::now() + timeout).await
    }

    pub(crate) async fn wait_for_all_caused(
        &self,
        application: &str,
        position: Position,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let deadline = Instant::now() + timeout;
        let log = self.open.system().expect_index_of(application);
        let log = log.map_err(Error::from)?;
        let caused = Caused::by(&self.open, &self.cells, log, position);
        caused.wait(deadline).await
    }
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

fn invalid(reason: String) -> Error {
    Invalid::new(reason).into()
}
