//! A follower of a single thread with its pipelines, one for each partition.

use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use crate::application::Error;
use crate::following::limits::PARTITIONS_MAX;
use crate::following::{Follower, FollowerStatus, Phase, Pipeline, StatusCell, Step};
use crate::recording::Position;
use crate::system::follower_path::FollowerPath;
use crate::system::open_system::OpenSystem;
use crate::system::stop_report::StopReport;
use crate::system::waiting::{Behind, WaitError};

/// The statuses of each follower's pipelines, which are replaced when the follower is split.
#[derive(Clone, Default)]
pub(super) struct Statuses(Arc<SyncMutex<Vec<Vec<StatusCell>>>>);

impl Statuses {
    pub(super) fn read(&self) -> Vec<FollowerStatus> {
        let statuses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        statuses.iter().flatten().map(StatusCell::read).collect()
    }

    /// Sets the cells of the follower at this index, which is new if it is the next one.
    fn replace(&self, follower: usize, cells: Vec<StatusCell>) {
        let mut statuses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match statuses.get_mut(follower) {
            Some(known) => *known = cells,
            None => statuses.push(cells),
        }
    }
}

/// Number of retries of a follower that is overtaken by others, or whose append has an unknown
/// outcome, before the command that it works for returns.
const FINDING_ATTEMPTS_MAX: u32 = 100;

/// A follower, its pipelines and their context.
pub(super) struct Worker {
    open: OpenSystem,
    follower: Arc<Follower>,
    /// One for each of its partitions.
    pub(super) pipelines: Vec<Pipeline>,
    statuses: Statuses,
    /// Its own index.
    index: usize,
    /// Index of its application.
    pub(super) application: usize,
    /// For each log that it follows, the index of the log's application.
    pub(super) upstreams: Vec<usize>,
    /// Whether it must resynchronize with the logs: it was paused, it failed, or another process
    /// overtook it.
    pub(super) is_astray: bool,
}

impl Worker {
    /// Creates the worker of the follower at this index, of the application at this index.
    pub(super) fn new(
        open: &OpenSystem,
        application: usize,
        follower: &Arc<Follower>,
        statuses: &Statuses,
        index: usize,
    ) -> Self {
        let upstreams = follower.upstreams();
        let mut worker = Self {
            application,
            upstreams: upstreams
                .filter_map(|name| open.system().index_of(name))
                .collect(),
            open: open.clone(),
            follower: Arc::clone(follower),
            pipelines: Vec::new(),
            statuses: statuses.clone(),
            index,
            is_astray: true,
        };
        worker.begin(follower.pipeline_count());
        worker
    }

    /// Returns its path.
    fn path(&self) -> FollowerPath {
        let application = self.open.applications()[self.application].name();
        FollowerPath::new(application, self.follower.name())
    }

    /// Creates this number of pipelines, which must be synchronized with the logs.
    fn begin(&mut self, partitions: u32) {
        let pipelines = self
            .open
            .pipelines_of(self.application, &self.follower, partitions);
        self.pipelines = pipelines.into_iter().map(Pipeline::one_by_one).collect();
        self.is_astray = true;
        let cells = self.pipelines.iter().map(Pipeline::status).collect();
        self.statuses.replace(self.index, cells);
    }

    pub(super) fn report_well(&self) {
        if !self.is_astray {
            let pipelines = self.pipelines.iter();
            pipelines.for_each(|it| it.report_phase(Phase::CaughtUp));
        }
    }

    /// Returns the number of effects that its pipelines have recorded.
    pub(super) fn effects_recorded(&self) -> u64 {
        self.pipelines.iter().map(|it| it.counts().effects).sum()
    }

    /// Returns whether this is the worker of the follower with this path.
    pub(super) fn is_of(&self, path: &FollowerPath) -> bool {
        self.path() == *path
    }

    /// Records how far it has read. If that fails, it is out of sync.
    async fn flush(&mut self) {
        if std::mem::replace(&mut self.is_astray, true) {
            return;
        }
        for pipeline in &mut self.pipelines {
            if pipeline.flush_idle().await.is_err() || !pipeline.is_ready() {
                return;
            }
        }
        self.is_astray = false;
    }

    /// Records how far it has read in the log at this index among its upstreams, unless that
    /// includes this position already. Adds its pipelines that are behind.
    ///
    /// # Errors
    ///
    /// [`WaitError::Halted`] if it is behind and cannot continue.
    pub(super) async fn reach(
        &mut self,
        upstream: usize,
        position: Position,
        behind: &mut Vec<Behind>,
    ) -> Result<(), WaitError> {
        let is_there = |status: &FollowerStatus| {
            let checkpoint = status.upstreams.get(upstream).and_then(|it| it.checkpoint);
            checkpoint.map(|checkpoint| checkpoint.position) >= Some(position)
        };
        let mut pipelines = self.pipelines.iter();
        if pipelines.all(|it| is_there(&it.status().read())) {
            return Ok(());
        }
        self.flush().await;
        for pipeline in &self.pipelines {
            let status = pipeline.status().read();
            if is_there(&status) {
                continue;
            }
            if let Some(halted) = WaitError::halted(&status) {
                return Err(halted);
            }
            let of_log = &status.upstreams[upstream];
            behind.push(Behind::Follower {
                follower: self.path(),
                pipeline: (status.pipelines > 1).then_some(status.pipeline),
                upstream: Arc::clone(&of_log.upstream),
                position,
                checkpoint: of_log.checkpoint.map(|checkpoint| checkpoint.position),
                phase: status.phase,
                holder: None,
            });
        }
        Ok(())
    }

    /// Records how far it has read, and reports that it is stopped.
    pub(super) async fn stop(&mut self, report: &mut StopReport) {
        let path = self.path();
        for pipeline in &mut self.pipelines {
            if !self.is_astray
                && let Err(error) = pipeline.flush_idle().await
            {
                let unrecorded = (path.to_string(), error.to_string());
                report.unrecorded.push(unrecorded);
            }
            let status = pipeline.status().read();
            if self.is_astray && status.phase == Phase::Retrying {
                let (_, error) = status.last_error.unwrap_or_default();
                report.unrecorded.push((path.to_string(), error));
            }
            pipeline.report_phase(Phase::Stopped);
        }
    }

    fn appends(&self) -> u64 {
        self.pipelines.iter().map(|it| it.counts().appends).sum()
    }

    /// Processes the logs until nothing is left. Otherwise the follower stays out of sync until the
    /// next time, at the latest after `steps_max` steps, because it may follow itself in an endless
    /// cycle.
    pub(super) async fn find_way(&mut self, steps_max: u64) {
        self.is_astray = true;
        // One pass for the pending work of its partitions, and another for each partition that
        // changes the state that the others depend on, when the follower is split.
        for _ in 0..=2 * PARTITIONS_MAX {
            let before = self.appends();
            for pipeline in &mut self.pipelines {
                if !find_way(pipeline, steps_max).await {
                    return;
                }
            }
            let Some(first) = self.pipelines.first().map(Pipeline::record) else {
                return;
            };
            let mut records = self.pipelines.iter().map(Pipeline::record);
            let is_agreed = records.all(|it| it.version == first.version);
            if is_agreed && first.partitioning.is_some() {
                if self.appends() == before {
                    // Another process is running one of the partitions.
                    return;
                }
                continue;
            }
            let partitions = first.partitions;
            if is_agreed && partitions as usize == self.pipelines.len() {
                self.is_astray = false;
                return;
            }
            if is_agreed {
                self.begin(partitions);
            }
        }
    }
}

/// Processes the logs with one pipeline until nothing is left. Returns false if the pipeline cannot
/// continue now, or would exceed `steps_max` steps.
async fn find_way(pipeline: &mut Pipeline, steps_max: u64) -> bool {
    let mut conflicts = 0;
    let processed_max = pipeline.counts().processed + steps_max;
    while conflicts < FINDING_ATTEMPTS_MAX {
        if pipeline.counts().processed > processed_max {
            tracing::error!(
                steps_max,
                "a follower does not come to an end; the rest waits for the next command"
            );
            return false;
        }
        match pipeline.step().await {
            Ok(Step::Moved) => {}
            Ok(Step::Paused | Step::Holding) => return false,
            Ok(Step::Idle) => {
                if pipeline.flush_idle().await.is_err() {
                    return false;
                }
                if pipeline.is_ready() {
                    return true;
                }
                conflicts += 1;
            }
            Err(Error::OutcomeUnknown { .. }) => conflicts += 1,
            Err(_) => return false,
        }
    }
    false
}
