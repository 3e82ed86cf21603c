//! The works: a system with its logs opened, its jobs, and what is known of them in this process. All
//! that a program asks a runner is asked here, whoever does the jobs.

use std::sync::Arc;
use std::time::Duration;

use retold_core::application::{Application, Error, Result};
use retold_core::recording::error::Invalid;
use retold_core::recording::identity::Position;
use retold_core::system::projection::ProjectionHandle;
use retold_core::system::{FollowerOperator, FollowerStatus, OpenSystem};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::job::Job;
use crate::lag::{Lag, LagCell, statuses};
use crate::limits::HEALTH_READ_MAX;
use crate::station::Station;
use crate::timers_task::{TimersCell, TimersStatus};
use crate::waiting::{Caused, Goal, ViewWaitError, WaitError, goals, wait_for_goals};

/// A system at work.
pub(crate) struct Works {
    pub(crate) open: OpenSystem,
    stations: Vec<Arc<Station>>,
    timers: Vec<Arc<TimersCell>>,
    projections: Vec<ProjectionHandle>,
    lag: LagCell,
}

impl Works {
    /// The works of this system, and its jobs: its followers, the timers of each application, its
    /// views, each in the order of declaration.
    pub(crate) fn new(open: OpenSystem) -> (Self, Vec<Job>) {
        let mut works = Self {
            stations: Vec::new(),
            timers: Vec::new(),
            projections: Vec::new(),
            lag: LagCell::default(),
            open,
        };
        let mut jobs = Vec::new();
        for (application, pipeline) in works.open.pipelines() {
            let upstreams = pipeline.follower().upstreams();
            let upstreams = upstreams.filter_map(|name| works.open.system().index_of(name));
            let station = Arc::new(Station::new(&pipeline, application, upstreams.collect()));
            works.stations.push(Arc::clone(&station));
            let pipeline = Arc::new(Mutex::new(pipeline));
            jobs.push(Job::Follower { pipeline, station });
        }
        for (index, application) in works.open.applications().iter().enumerate() {
            let cell = Arc::new(TimersCell::default());
            cell.write(|status| status.application = application.name().to_owned());
            works.timers.push(Arc::clone(&cell));
            let application = application.clone();
            jobs.push(Job::Timers {
                application,
                index,
                cell,
            });
        }
        for (_, pipeline) in works.open.projections() {
            let handle = pipeline.handle();
            works.projections.push(handle.clone());
            let pipeline = Arc::new(Mutex::new(pipeline));
            jobs.push(Job::View { pipeline, handle });
        }
        (works, jobs)
    }

    pub(crate) fn application(&self, name: &str) -> Result<Application> {
        self.open.application(name).cloned()
    }

    pub(crate) async fn status(&self) -> Vec<FollowerStatus> {
        statuses(&self.open, &self.stations).await
    }

    pub(crate) fn projections(&self) -> &[ProjectionHandle] {
        &self.projections
    }

    pub(crate) fn projection(&self, view: &str) -> Result<&ProjectionHandle, ViewWaitError> {
        let mut named = self.projections.iter();
        let handle = named.find(|it| *it.outline().name == *view);
        handle.ok_or_else(|| ViewWaitError::Unknown { view: view.into() })
    }

    /// Why a log cannot be read now; none if all can.
    pub(crate) async fn unreadable(&self) -> Option<String> {
        let deadline = Instant::now() + HEALTH_READ_MAX;
        for application in self.open.applications() {
            let name = application.name();
            match timeout_at(deadline, application.head()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Some(format!("the log {name:?} cannot be read: {error}")),
                Err(_) => {
                    return Some(format!(
                        "the log {name:?} was not read in {HEALTH_READ_MAX:?}"
                    ));
                }
            }
        }
        None
    }

    pub(crate) fn timers(&self) -> Vec<TimersStatus> {
        self.timers.iter().map(|cell| cell.read()).collect()
    }

    pub(crate) async fn lag(&self) -> Lag {
        self.lag.read(&self.open, &self.stations).await
    }

    pub(crate) fn operator(&self, application: &str, follower: &str) -> Result<FollowerOperator> {
        self.station(application, follower)?;
        let application = self.open.application(application)?;
        Ok(FollowerOperator::new(application, follower))
    }

    fn station(&self, application: &str, follower: &str) -> Result<&Arc<Station>> {
        let index = self.open.system().expect_index_of(application)?;
        let mut stations = self.stations.iter();
        let is_meant =
            |it: &&Arc<Station>| it.application_index == index && &*it.follower == follower;
        let station = stations.find(is_meant);
        station.ok_or_else(|| {
            let known = self
                .stations
                .iter()
                .filter(|it| it.application_index == index);
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
        let goals = goals(&self.stations, log, position);
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
        let first = self.station(application, follower)?;
        let log = self.open.system().expect_index_of(upstream);
        let log = log.map_err(Error::from)?;
        let upstream = first.upstream_of(log).ok_or_else(|| {
            invalid(format!(
                "the follower {follower:?} of {application:?} does not follow {upstream:?}"
            ))
        })?;
        let all = self.stations.iter().filter(|it| {
            it.application_index == first.application_index && it.follower == first.follower
        });
        let goals = all.map(|station| Goal {
            station,
            upstream,
            position,
        });
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
        let caused = Caused::by(&self.open, &self.stations, log, position).await?;
        caused.wait(deadline).await
    }
}

fn invalid(reason: String) -> Error {
    Invalid::new(reason).into()
}
