//! A job: one follower, the timers of one application, one view or one outbox, run by a task for a
//! while.
//!
//! A runner in one process runs each job from its start to its end; in a cluster, jobs come and
//! leave. A job keeps the state that must survive between two runs: the pipeline, including the
//! appends it sent whose outcome is unknown, and the cell that its status is written to.

use std::sync::Arc;

use retold_core::application::Application;
use retold_core::domain::Timestamp;
use retold_core::following::{Phase, Pipeline};
use retold_core::health::{Finding, Trouble};
use retold_core::projection::{ProjectionHandle, ProjectionPipeline, ProjectionState};
use retold_core::system::{OutboxCell, OutboxPipeline, TimersCell};
use tokio::sync::{Mutex, watch};

use crate::follower_cell::FollowerCell;
use crate::follower_task::FollowerTask;
use crate::log_news::News;
use crate::options::MultiThreadOptions;
use crate::outbox_task::OutboxTask;
use crate::timers_task::TimersTask;
use crate::views_task::ViewsTask;

/// Work to run. Clones share the same work; a task that runs it holds its lock until it ends or is
/// dropped.
#[derive(Clone)]
pub(crate) enum Job {
    Follower {
        pipeline: Arc<Mutex<Pipeline>>,
        cell: Arc<FollowerCell>,
    },
    Timers {
        application: Application,
        /// Index of the application.
        index: usize,
        cell: TimersCell,
    },
    View {
        pipeline: Arc<Mutex<ProjectionPipeline>>,
        handle: ProjectionHandle,
    },
    Outbox {
        pipeline: Arc<Mutex<OutboxPipeline>>,
        /// Index of the application.
        index: usize,
        cell: OutboxCell,
    },
}

impl Job {
    /// Returns its name for messages.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::Follower { cell, .. } => cell.title(),
            Self::Timers { application, .. } => format!("{}, timers", application.name()),
            Self::View { handle, .. } => format!("{}, view", handle.outline().label()),
            Self::Outbox { cell, .. } => {
                let status = cell.read();
                format!("{}, outbox {}", status.application, status.outbox)
            }
        }
    }

    /// Returns whether each process of a cluster runs its own copy: it keeps a view that only the
    /// process sees.
    pub(crate) fn is_of_each_process(&self) -> bool {
        matches!(self, Self::View { handle, .. } if handle.is_of_this_process())
    }

    /// Returns the last failure in this process and when it happened.
    pub(crate) fn last_error(&self) -> Option<(Timestamp, String)> {
        match self {
            Self::Follower { cell, .. } => cell.status.read().last_error,
            Self::Timers { cell, .. } => {
                let status = cell.read();
                let (at, error) = status.last_error()?;
                Some((at, error.to_owned()))
            }
            Self::View { handle, .. } => {
                let failed = handle.last_error();
                let failed = failed.map(|(at, error)| (at, error.to_string()));
                failed.into_iter().chain(handle.last_late()).max()
            }
            Self::Outbox { cell, .. } => cell.read().last_error,
        }
    }

    /// Returns the problem with it in this process, if there is one. Problems recorded for all
    /// processes are left out.
    pub(crate) fn finding(&self) -> Option<Finding> {
        match self {
            Self::Follower { cell, .. } => {
                let findings = cell.status.read().findings().into_iter();
                let is_of_here = |it: &Finding| {
                    !matches!(
                        it.trouble,
                        Trouble::Parked | Trouble::Paused | Trouble::Retired
                    )
                };
                findings.filter(is_of_here).max_by_key(|it| it.trouble)
            }
            Self::Timers { cell, .. } => cell.read().finding(),
            Self::View { handle, .. } => handle.finding_here(),
            Self::Outbox { cell, .. } => {
                let findings = cell.read().findings().into_iter();
                findings.max_by_key(|it| it.trouble)
            }
        }
    }

    /// Returns whether it is holding before an event that this program does not know.
    pub(crate) fn is_holding(&self) -> bool {
        match self {
            Self::Follower { cell, .. } => cell.status.read().phase == Phase::Holding,
            Self::Timers { .. } | Self::Outbox { .. } => false,
            Self::View { handle, .. } => handle.state() == ProjectionState::Holding,
        }
    }

    /// Runs the job until it is stopped; a follower is then in the phase `after`. Returns the
    /// reason if something could not be recorded. May be dropped at any moment.
    pub(crate) async fn run(
        self,
        news: Vec<News>,
        stop: watch::Receiver<bool>,
        options: MultiThreadOptions,
        after: Phase,
    ) -> Option<String> {
        match self {
            Self::Follower { pipeline, cell } => {
                let mut pipeline = pipeline.lock_owned().await;
                // Other processes may have worked since it last ran here.
                pipeline.invalidate();
                cell.set_elsewhere(false);
                let task = FollowerTask::new(pipeline, cell, &news, stop, options);
                task.run(after).await
            }
            Self::Timers {
                application,
                index,
                cell,
            } => {
                let news = news[index].clone();
                let task = TimersTask::new(&application, news, stop, options, cell);
                task.run().await
            }
            Self::View { pipeline, .. } => {
                let mut pipeline = pipeline.lock_owned().await;
                pipeline.resume();
                ViewsTask::new(pipeline, stop, options).run().await
            }
            Self::Outbox {
                pipeline, index, ..
            } => {
                let mut pipeline = pipeline.lock_owned().await;
                // Other processes may have delivered since it last ran here.
                pipeline.invalidate();
                let task = OutboxTask::new(pipeline, news[index].clone(), stop, options);
                task.run(after).await
            }
        }
    }

    /// Marks the job as run by another process, if by any. Call it while the job is not
    /// running here.
    pub(crate) async fn report_elsewhere(&self) {
        match self {
            Self::Follower { pipeline, cell } => {
                cell.set_elsewhere(true);
                pipeline.lock().await.report_phase(Phase::Standby);
            }
            Self::Timers { cell, .. } => cell.report_elsewhere(),
            Self::View { pipeline, .. } => pipeline.lock().await.stand_by(),
            Self::Outbox { pipeline, .. } => {
                let mut pipeline = pipeline.lock().await;
                pipeline.invalidate();
                pipeline.report_phase(Phase::Standby);
            }
        }
    }
}
