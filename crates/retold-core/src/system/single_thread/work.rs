//! The work of a single thread: the queue of events, and everything that processes them.

use std::sync::Arc;

use super::queue::{Item, Queue};
use super::worker::{Statuses, Worker};
use crate::application::Result;
use crate::following::{Pipeline, Timers};
use crate::projection::{ProjectionHandle, ProjectionPipeline, ProjectionState};
use crate::recording::{Position, StoredEvent};
use crate::system::caused_search::CausedSearch;
use crate::system::goal::Goal;
use crate::system::open_system::OpenSystem;
use crate::system::presence::RunnerPresence;
use crate::system::stop_report::StopReport;
use crate::system::timers_status::TimersCell;
use crate::system::waiting::{Behind, WaitError};

/// The pending work. The holder of the lock does it.
pub(super) struct Work {
    open: OpenSystem,
    followers: Vec<Worker>,
    statuses: Statuses,
    /// For each log, the followers that follow it, each with the index of this upstream.
    readers: Vec<Vec<(usize, usize)>>,
    projections: Vec<ProjectionPipeline>,
    timers: Vec<Timers>,
    timer_cells: Vec<TimersCell>,
    /// Whether the timers of an application may have changed since they were read.
    is_timer_old: Vec<bool>,
    queue: Queue,
    steps_max: u64,
    presence: RunnerPresence,
    /// Whether the runner was stopped, after which nothing is processed any more.
    pub(super) is_stopped: bool,
}

impl Work {
    pub(super) fn new(open: &OpenSystem, steps_max: u64, presence: RunnerPresence) -> Self {
        let mut followers = Vec::new();
        let statuses = Statuses::default();
        for (application, member) in open.system().members().iter().enumerate() {
            for follower in member.followers() {
                let index = followers.len();
                followers.push(Worker::new(open, application, follower, &statuses, index));
            }
        }
        let logs = open.applications().len();
        let mut readers = vec![Vec::new(); logs];
        for (follower, worker) in followers.iter().enumerate() {
            for (upstream, log) in worker.upstreams.iter().enumerate() {
                readers[*log].push((follower, upstream));
            }
        }
        let applications = open.applications().iter();
        let cells = applications.clone().map(|it| TimersCell::new(it.name()));
        Self {
            projections: open.projections().into_iter().map(|(_, it)| it).collect(),
            timer_cells: cells.collect(),
            timers: applications.cloned().map(Timers::new).collect(),
            is_timer_old: vec![true; logs],
            queue: Queue::new(logs),
            open: open.clone(),
            followers,
            statuses,
            readers,
            steps_max,
            presence,
            is_stopped: false,
        }
    }

    pub(super) fn statuses(&self) -> Statuses {
        self.statuses.clone()
    }

    pub(super) fn timer_cells(&self) -> Vec<TimersCell> {
        self.timer_cells.clone()
    }

    /// Returns handles of the views.
    pub(super) fn projections(&self) -> Vec<ProjectionHandle> {
        let pipelines = self.projections.iter();
        pipelines.map(ProjectionPipeline::handle).collect()
    }

    /// Works before a command of the application at this index.
    pub(super) async fn before_command(&mut self, log: usize) {
        self.keep_presence().await;
        if let Err(error) = self.fire_due().await {
            tracing::warn!(%error, "timers that are due could not be fired");
        }
        // Set already now, in case the command is dropped before it completes.
        self.is_timer_old[log] = true;
    }

    /// Processes everything that is new in the logs, and fires the timers that are due.
    pub(super) async fn catch_up(&mut self) -> Result<()> {
        self.is_timer_old.fill(true);
        for worker in &mut self.followers {
            // An operator may have acted on it, or another process may have been faster.
            worker.is_astray = true;
        }
        self.keep_presence().await;
        self.process().await?;
        self.fire_due().await
    }

    /// Returns an error if the goal is not reached. Records how far the followers have read, but
    /// processes nothing.
    pub(super) async fn reach(&mut self, goal: &Goal) -> Result<(), WaitError> {
        let open = self.open.clone();
        let system = open.system();
        match goal {
            Goal::Processed {
                application,
                position,
            } => {
                let log = system.expect_index_of(application)?;
                self.reach_position(&self.readers[log].clone(), *position)
                    .await
            }
            Goal::ProcessedBy {
                follower,
                upstream,
                position,
            } => {
                let upstream = system.expect_upstream(follower, upstream)?;
                let worker = self.followers.iter().position(|it| it.is_of(follower));
                let reader = worker.map(|worker| (worker, upstream));
                self.reach_position(reader.as_slice(), *position).await
            }
            Goal::ShownBy { view, position } => self.reach_view(view, *position).await,
            Goal::CausedBy {
                application,
                position,
            } => {
                let log = system.expect_index_of(application)?;
                let mut search = CausedSearch::new(&open, log, *position);
                while let Some((log, position)) = search.next().await? {
                    self.reach_position(&self.readers[log].clone(), position)
                        .await?;
                }
                Ok(())
            }
        }
    }

    /// Returns an error if these followers have not processed a log up to this position. Each is
    /// given with the index of the log among its upstreams.
    async fn reach_position(
        &mut self,
        readers: &[(usize, usize)],
        position: Position,
    ) -> Result<(), WaitError> {
        let mut behind = Vec::new();
        for (follower, upstream) in readers {
            let worker = &mut self.followers[*follower];
            worker.reach(*upstream, position, &mut behind).await?;
        }
        match behind.is_empty() {
            true => Ok(()),
            false => Err(WaitError::Timeout {
                behind,
                searching: None,
            }),
        }
    }

    /// Returns an error if readers of a view do not see the event at this position.
    async fn reach_view(&self, view: &Arc<str>, position: Position) -> Result<(), WaitError> {
        let index = self.open.expect_view(view)?;
        let status = self.projections[index].handle().status().await?;
        let read_to = status.read_to.map(|checkpoint| checkpoint.position);
        if status.is_seen && read_to >= Some(position) {
            return Ok(());
        }
        match (status.state, status.last_error) {
            (ProjectionState::Stopped | ProjectionState::Holding, Some(error)) => Err(error.into()),
            _ => Err(WaitError::Timeout {
                behind: vec![Behind::View {
                    view: Arc::clone(view),
                    position,
                    checkpoint: status.checkpoint.map(|checkpoint| checkpoint.position),
                    state: status.state,
                    holder: None,
                }],
                searching: None,
            }),
        }
    }

    /// Processes everything in the logs, and records how far the followers have read.
    pub(super) async fn stop(&mut self) -> StopReport {
        let mut report = StopReport::default();
        if let Err(error) = self.process().await {
            report
                .unrecorded
                .push(("logs".to_owned(), error.to_string()));
        }
        for worker in &mut self.followers {
            worker.stop(&mut report).await;
        }
        self.presence.end().await;
        self.is_stopped = true;
        report
    }

    /// Shows other processes that the followers, timers and views are run here, if due.
    pub(super) async fn keep_presence(&mut self) {
        if let Some(first) = self.open.applications().first() {
            self.presence.keep(first.now()).await;
        }
    }

    /// Determines where the followers are; events that they have not processed are queued from
    /// there.
    pub(super) async fn begin(&mut self) {
        for worker in &mut self.followers {
            worker.is_astray = false;
            for pipeline in &mut worker.pipelines {
                worker.is_astray |= pipeline.prepare().await.is_err()
                    || pipeline.record().is_halted()
                    || pipeline.is_resume_due()
                    || !pipeline.has_one_partition();
            }
        }
        for (log, readers) in self.readers.iter().enumerate() {
            let reached = readers.iter().flat_map(|(follower, upstream)| {
                let pipelines = &self.followers[*follower].pipelines;
                pipelines.iter().map(|it| it.reached(*upstream))
            });
            let least =
                reached.min_by_key(|checkpoint| checkpoint.map(|checkpoint| checkpoint.position));
            if let Some(Some(least)) = least {
                self.queue.begin(log, least);
            }
        }
    }

    /// Processes the events that exist when the runner starts.
    pub(super) async fn start(&mut self) -> Result<()> {
        self.process().await?;
        self.fire_due().await
    }

    /// Fires the timers that are due, one after the other, each with everything that it causes.
    /// Timers that fire as a result of other timers count as steps.
    async fn fire_due(&mut self) -> Result<()> {
        for _ in 0..self.steps_max {
            for index in 0..self.timers.len() {
                if std::mem::take(&mut self.is_timer_old[index]) {
                    let read = self.timers[index].read_on().await;
                    self.is_timer_old[index] = read.is_err();
                    self.timer_cells[index].report(&self.timers[index], &read);
                    read?;
                }
            }
            let due = self
                .timers
                .iter()
                .enumerate()
                .filter_map(|(index, timers)| {
                    let due = timers.next_due()?;
                    let now = self.open.applications()[index].now();
                    (due <= now).then_some((due, index, now))
                });
            let Some((_, index, now)) = due.min() else {
                return Ok(());
            };
            let fired = self.timers[index].fire_next(now).await;
            if let Ok(true) = fired {
                self.timer_cells[index].count_fired();
            }
            let fired = fired.map(drop);
            self.timer_cells[index].report(&self.timers[index], &fired);
            fired?;
            self.process_commit(index).await?;
        }
        tracing::error!(
            steps = self.steps_max,
            "timers do not come to an end; the rest waits for the next command"
        );
        Ok(())
    }

    /// Processes the new events of one log, and what they cause.
    pub(super) async fn process_commit(&mut self, log: usize) -> Result<()> {
        self.is_timer_old[log] = true;
        self.find_ways().await?;
        self.fill(log).await?;
        // Events left over from commands that were dropped before they completed.
        self.fill_all().await?;
        self.find_ways().await?;
        self.drain().await
    }

    /// Processes all events in the logs, and what they cause.
    async fn process(&mut self) -> Result<()> {
        self.find_ways().await?;
        self.fill_all().await?;
        // Followers that have just found that a log has diverged.
        self.find_ways().await?;
        self.drain().await
    }

    async fn drain(&mut self) -> Result<()> {
        let mut steps = 0;
        loop {
            while let Some(item) = self.queue.next() {
                if steps == self.steps_max {
                    tracing::error!(
                        steps,
                        "followers do not come to an end; the rest waits for the next command"
                    );
                    self.queue.put_back(item);
                    return Ok(());
                }
                steps += 1;
                self.process_item(item).await?;
            }
            if self.queue.is_cut() {
                self.fill_all().await?;
            } else if !self.settle().await? {
                self.project().await;
                return Ok(());
            }
        }
    }

    /// Brings the views up to date. A view that cannot continue reports this through its handle.
    async fn project(&mut self) {
        for pipeline in &mut self.projections {
            // The pipeline has reported the failure itself.
            let _ = pipeline.catch_up().await;
        }
    }

    /// Resynchronizes the followers that are out of sync.
    async fn find_ways(&mut self) -> Result<()> {
        for index in 0..self.followers.len() {
            if self.followers[index].is_astray {
                self.find_way(index).await?;
            }
        }
        Ok(())
    }

    /// Resynchronizes a follower with the logs, and queues the resulting events.
    async fn find_way(&mut self, follower: usize) -> Result<()> {
        let worker = &mut self.followers[follower];
        worker.find_way(self.steps_max).await;
        let log = worker.application;
        self.is_timer_old[log] = true;
        self.fill(log).await
    }

    /// Queues the effects that a follower has recorded since its count was `before`.
    async fn queue_effects(&mut self, follower: usize, before: u64) -> Result<()> {
        let worker = &self.followers[follower];
        if worker.effects_recorded() == before {
            return Ok(());
        }
        let log = worker.application;
        self.is_timer_old[log] = true;
        self.fill(log).await
    }

    async fn fill_all(&mut self) -> Result<()> {
        for log in 0..self.readers.len() {
            self.fill(log).await?;
        }
        Ok(())
    }

    /// Queues the events of a log that are not queued yet.
    async fn fill(&mut self, log: usize) -> Result<()> {
        let readers = &self.readers[log];
        if readers.is_empty() {
            return Ok(());
        }
        let followers = &self.followers;
        let is_to_process = |event: &StoredEvent, (follower, upstream): (usize, usize)| {
            let mut pipelines = followers[follower].pipelines.iter();
            pipelines.any(|it| {
                let reached = it.reached(upstream).map(|checkpoint| checkpoint.position);
                it.processes(upstream, event) && Some(event.position()) > reached
            })
        };
        let recorder = self.open.applications()[log].recorder();
        let queue = &mut self.queue;
        let filled = queue.fill(log, &**recorder, readers, is_to_process).await;
        match filled {
            Err(error) if error.is_diverged() => {
                tracing::error!(%error, "a log has diverged; its followers check it");
                self.forget(log);
                Ok(())
            }
            filled => filled,
        }
    }

    /// Discards the queued events of a log that has diverged from what was read. Its followers
    /// check what is recorded before they process another event.
    fn forget(&mut self, log: usize) {
        let followers = &self.followers;
        let is_of_log = |item: &Item| followers[item.follower].upstreams[item.upstream] == log;
        self.queue.forget(log, is_of_log);
        for (follower, _) in &self.readers[log] {
            let worker = &mut self.followers[*follower];
            worker.is_astray = true;
            worker.pipelines.iter_mut().for_each(Pipeline::invalidate);
        }
    }

    async fn process_item(&mut self, item: Item) -> Result<()> {
        let worker = &mut self.followers[item.follower];
        if worker.is_astray {
            return Ok(());
        }
        let before = worker.effects_recorded();
        let mut pipelines = worker.pipelines.iter_mut();
        // The partition of the event.
        let Some(pipeline) = pipelines.find(|it| it.processes(item.upstream, &item.event)) else {
            return Ok(());
        };
        // If this is dropped midway, the event that was taken from the queue is read from the log
        // again.
        worker.is_astray = true;
        let processed = pipeline.process(item.upstream, &item.event).await;
        if processed.is_err() || !pipeline.is_ready() || pipeline.is_holding() {
            return self.find_way(item.follower).await;
        }
        worker.is_astray = false;
        self.queue_effects(item.follower, before).await
    }

    /// Records the events that were processed without effect, once the queue is empty. Returns
    /// whether anything changed that may cause more.
    async fn settle(&mut self) -> Result<bool> {
        for follower in 0..self.followers.len() {
            if self.followers[follower].is_astray {
                continue;
            }
            for partition in 0..self.followers[follower].pipelines.len() {
                let worker = &mut self.followers[follower];
                let pipeline = &mut worker.pipelines[partition];
                for (upstream, log) in worker.upstreams.iter().enumerate() {
                    if let Some(checkpoint) = self.queue.queued(*log) {
                        pipeline.pass(upstream, checkpoint);
                    }
                }
                if !pipeline.is_flush_due() {
                    continue;
                }
                worker.is_astray = true;
                let rested = pipeline.flush_idle().await;
                worker.is_astray = rested.is_err() || !pipeline.is_ready();
                if worker.is_astray {
                    // Its effects are queued now: the others must process them before they pass on.
                    self.find_way(follower).await?;
                    return Ok(true);
                }
            }
            self.followers[follower].report_well();
        }
        Ok(false)
    }
}
