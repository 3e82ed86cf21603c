//! The runner that does everything in one thread, in a fixed order.
//!
//! When a command returns, everything that it caused, directly or indirectly, has happened. The
//! same commands result in the same logs. There is one queue of events and of the followers that
//! must process them. A commit adds its events in the order of their positions, each for the
//! followers of that log in the order of their declaration; one upstream event is one append. No
//! thread and no task is started: the caller that awaits a command does the work.

mod queue;

use std::fmt;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use tokio::sync::Mutex;

use self::queue::{Item, Queue};
use super::definition::System;
use super::open_system::{Infrastructure, OpenSystem, Opening, may_pass};
use super::presence::Presence;
use crate::application::{Application, Conductor, Error, Result};
use crate::following::limits::{PARTITIONS_MAX, STEPS_MAX_DEFAULT};
use crate::following::{
    Follower, FollowerOperator, FollowerStatus, Phase, Pipeline, StartingCheckpoint, StatusCell,
    Step, Timers,
};
use crate::health::{Finding, FindingKind, Health, Trouble};
use crate::projection::{ProjectionHandle, ProjectionPipeline};
use crate::recording::{BoxFuture, Patience, StoredEvent};

/// Runs a system in one thread. A clone is the same runner.
///
/// A command waits for the policies that it triggers, without a time limit: a policy that does not
/// return, or blocks its thread, keeps the command from returning. [`status`](SingleThread::status)
/// shows the event that it is processing.
///
/// ```
/// use std::sync::Arc;
/// use retold::prelude::*;
/// use retold::recording::MemoryStore;
/// use retold::system::{Context, Follower, Infrastructure, SingleThread, System};
///
/// #[derive(Event, Serialize, Deserialize)]
/// struct Ordered { item: String }
///
/// #[derive(Aggregate, Clone, Default)]
/// #[aggregate(event = Ordered)]
/// struct Order;
///
/// impl Apply<Ordered> for Order {
///     fn apply(&mut self, _: &Ordered) {}
/// }
///
/// #[derive(Event, Serialize, Deserialize)]
/// struct Reserved;
///
/// #[derive(Aggregate, Clone, Default)]
/// #[aggregate(event = Reserved, key = String)]
/// struct Stock { reserved: u32 }
///
/// impl Apply<Reserved> for Stock {
///     fn apply(&mut self, _: &Reserved) {
///         self.reserved += 1;
///     }
/// }
///
/// async fn reserve(ordered: &Ordered, context: &mut Context) -> retold::Result<()> {
///     context.execute_or_create(ordered.item.as_str(), |_: &Stock| Reserved).await?;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> retold::Result<()> {
/// let shop = System::new("shop")
///     .application("orders", |app| app.aggregate::<Order>())
///     .application("stock", |app| {
///         app.aggregate::<Stock>()
///             .follower(Follower::new("reservations").follows("orders").on(reserve))
///     })
///     .build()?;
/// let memory = Infrastructure::new(Arc::new(MemoryStore::new()));
/// let runner = SingleThread::start(&shop, &memory).await?;
///
/// runner.application("orders")?.create::<Order>(Ordered { item: "tea".into() }).await?;
/// let tea = runner.application("stock")?.get::<Stock>("tea").await?;
/// assert_eq!(tea.state.reserved, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SingleThread {
    conductor: Arc<SingleThreadConductor>,
    /// The system with applications whose commands are conducted; only these are given to callers.
    open: OpenSystem,
}

struct SingleThreadConductor {
    /// The system with applications whose commands trigger nothing by themselves.
    open: OpenSystem,
    statuses: Statuses,
    timer_findings: TimerFindings,
    projections: Vec<ProjectionHandle>,
    work: Mutex<Work>,
}

/// The statuses of each follower's pipelines, which are replaced when the follower is split.
type Statuses = Arc<SyncMutex<Vec<Vec<StatusCell>>>>;

/// The finding of each application's timers, if there is one.
type TimerFindings = Arc<SyncMutex<Vec<Option<Finding>>>>;

/// The pending work. The holder of the lock does it.
struct Work {
    open: OpenSystem,
    followers: Vec<Worker>,
    /// For each log, the followers that follow it, each with the index of this upstream.
    readers: Vec<Vec<(usize, usize)>>,
    projections: Vec<ProjectionPipeline>,
    timers: Vec<Timers>,
    timer_findings: TimerFindings,
    /// Whether the timers of an application may have changed since they were read.
    is_timer_old: Vec<bool>,
    queue: Queue,
    steps_max: u64,
    presence: Presence,
}

/// A follower, its pipelines and their context.
struct Worker {
    open: OpenSystem,
    follower: Arc<Follower>,
    /// One for each of its partitions.
    pipelines: Vec<Pipeline>,
    statuses: Statuses,
    /// Its own index.
    index: usize,
    /// Index of its application.
    application: usize,
    /// For each log that it follows, the index of the log's application.
    upstreams: Vec<usize>,
    /// Whether it must resynchronize with the logs: it was paused, it failed, or another process
    /// overtook it.
    is_astray: bool,
}

impl SingleThread {
    /// Opens the logs of the system and processes all unprocessed events in them. Waits for a store
    /// that is busy or absent, at most [`Infrastructure::open_wait_max`].
    ///
    /// # Errors
    ///
    /// As for [`OpenSystem::open`]; [`Error::Invalid`] if the infrastructure has a
    /// [`Delivery`](super::delivery::Delivery). A follower that cannot continue is not an error
    /// here: see [`status`](Self::status).
    pub async fn start(system: &System, infrastructure: &Infrastructure) -> Result<Self> {
        Self::start_with(system, infrastructure, STEPS_MAX_DEFAULT).await
    }

    /// As [`start`](Self::start), with a limit on the number of events that followers process as a
    /// result of one command. If they exceed it, the runner assumes an endless cycle, and the
    /// remaining events wait for the next command.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub async fn start_with(
        system: &System,
        infrastructure: &Infrastructure,
        steps_max: u64,
    ) -> Result<Self> {
        let open = OpenSystem::open(system, infrastructure, Opening::Write).await?;
        if let Some((_, outbox)) = open.outboxes().first() {
            return Err(Error::invalid(format!(
                "the outbox {:?} cannot be drained by a runner in one thread, whose commands would \
                 wait for the external system; drain it with `Outbox`, or use another runner",
                outbox.delivery().outbox()
            )));
        }
        let presence = Presence::new(&open, infrastructure);
        let runner = Self::over(open, steps_max, presence);
        let what = format!("starting the system {:?}", system.name());
        let mut patience = Patience::new(what, infrastructure.open_wait());
        let mut work = runner.conductor.work.lock().await;
        work.begin().await;
        loop {
            match work.start().await {
                Err(error) if may_pass(&error) && patience.pause(&error).await => {}
                started => {
                    started?;
                    break;
                }
            }
        }
        work.keep_presence().await;
        drop(work);
        Ok(runner)
    }

    fn over(open: OpenSystem, steps_max: u64, presence: Presence) -> Self {
        let statuses = Statuses::default();
        let mut followers = Vec::new();
        for (application, member) in open.system().members().iter().enumerate() {
            for follower in member.followers() {
                let upstreams = follower.upstreams();
                let mut worker = Worker {
                    application,
                    upstreams: upstreams
                        .filter_map(|name| open.system().index_of(name))
                        .collect(),
                    open: open.clone(),
                    follower: Arc::clone(follower),
                    pipelines: Vec::new(),
                    statuses: Arc::clone(&statuses),
                    index: followers.len(),
                    is_astray: true,
                };
                worker.begin(follower.pipeline_count());
                followers.push(worker);
            }
        }
        let logs = open.applications().len();
        let mut readers = vec![Vec::new(); logs];
        for (follower, worker) in followers.iter().enumerate() {
            for (upstream, log) in worker.upstreams.iter().enumerate() {
                readers[*log].push((follower, upstream));
            }
        }
        let timers = open.applications().iter().cloned().map(Timers::new);
        let timer_findings: TimerFindings = Arc::new(SyncMutex::new(vec![None; logs]));
        let projections: Vec<_> = open.projections().into_iter().map(|(_, it)| it).collect();
        let handles = projections.iter().map(ProjectionPipeline::handle).collect();
        let work = Work {
            projections,
            timers: timers.collect(),
            timer_findings: Arc::clone(&timer_findings),
            is_timer_old: vec![true; logs],
            queue: Queue::new(logs),
            open: open.clone(),
            followers,
            readers,
            steps_max,
            presence,
        };
        let conductor = Arc::new(SingleThreadConductor {
            open: open.clone(),
            statuses,
            timer_findings,
            projections: handles,
            work: Mutex::new(work),
        });
        let applications = open.applications().iter().enumerate();
        let conducted = applications.map(|(log, application)| {
            let conductor = Arc::clone(&conductor);
            application.conducted(Arc::new(Conducted { conductor, log }))
        });
        Self {
            open: open.with_applications(conducted.collect()),
            conductor,
        }
    }

    /// Returns the application of this name. Its commands return when everything that they caused
    /// has happened.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is none; the message lists the applications.
    pub fn application(&self, name: &str) -> Result<Application> {
        self.open.application(name).cloned()
    }

    /// Returns the system with its logs. Its applications are those that
    /// [`application`](Self::application) returns: a command returns when everything that it caused
    /// has happened. Events that are appended through a recorder are processed with the next
    /// command, or by [`catch_up`](Self::catch_up).
    pub fn open_system(&self) -> &OpenSystem {
        &self.open
    }

    /// Fires the timers that are due by the applications' clocks, and processes all events in the
    /// logs. Call it after moving a clock, or after other processes have written.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`] of the logs; failures of a single follower are in
    /// its status.
    pub async fn catch_up(&self) -> Result<()> {
        let mut work = self.conductor.work.lock().await;
        work.is_timer_old.fill(true);
        for worker in &mut work.followers {
            // An operator may have acted on it, or another process may have been faster.
            worker.is_astray = true;
        }
        work.keep_presence().await;
        work.process().await?;
        work.fire_due().await
    }

    /// Stops the runner. Processes all events in the logs, and records how far the followers have
    /// read, even in logs in which they processed no event recently, so that the next start reads
    /// less. Nothing is lost if this is not called.
    ///
    /// # Errors
    ///
    /// As for [`catch_up`](Self::catch_up).
    pub async fn stop(self) -> Result<()> {
        let mut work = self.conductor.work.lock().await;
        work.presence.end().await;
        work.process().await?;
        for worker in &mut work.followers {
            for pipeline in &mut worker.pipelines {
                if !worker.is_astray {
                    pipeline.rest().await?;
                }
                pipeline.report_phase(Phase::Stopped);
            }
        }
        Ok(())
    }

    /// Returns the status of each follower, in the order of declaration. A split follower has a
    /// status for each partition.
    pub fn status(&self) -> Vec<FollowerStatus> {
        let statuses = &self.conductor.statuses;
        let statuses = statuses.lock().unwrap_or_else(PoisonError::into_inner);
        statuses.iter().flatten().map(StatusCell::read).collect()
    }

    /// Returns the health of the runner: everything that needs attention, as of the last command.
    /// It is always live, and ready if the logs can be read.
    pub async fn health(&self) -> Health {
        let conductor = &self.conductor;
        let mut health = Health::default();
        for application in conductor.open.applications() {
            if let Err(error) = application.head().await {
                let finding = Finding::unreadable_log(application.name(), &error);
                health.not_ready.get_or_insert(finding.to_string());
                health.findings.push(finding);
            }
        }
        let statuses = self.status();
        let followers = statuses.iter().flat_map(FollowerStatus::findings);
        health.findings.extend(followers);
        let timers = conductor.timer_findings.lock();
        let timers = timers.unwrap_or_else(PoisonError::into_inner).clone();
        health.findings.extend(timers.into_iter().flatten());
        for handle in &conductor.projections {
            health.findings.extend(handle.finding().await);
        }
        health.findings.extend(conductor.open.outbox_findings());
        // The partitions of a split follower report the same findings for what is recorded of all.
        health.findings.dedup();
        health
    }

    /// Returns handles of the views, in the order in which the views were given. When a command
    /// returns, the views have processed everything that it caused.
    pub fn projections(&self) -> &[ProjectionHandle] {
        &self.conductor.projections
    }

    /// Returns the operator of the follower of this name. After an operation, call
    /// [`catch_up`](Self::catch_up).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no such application.
    pub fn operator(&self, application: &str, follower: &str) -> Result<FollowerOperator> {
        let application = self.conductor.open.application(application)?;
        Ok(FollowerOperator::new(application, follower))
    }

    /// Restarts a follower from the first event of each log; see [`FollowerOperator::reset`].
    ///
    /// # Errors
    ///
    /// As for [`FollowerOperator::reset`] and [`catch_up`](Self::catch_up).
    pub async fn reset(
        &self,
        application: &str,
        follower: &str,
        starts: &[StartingCheckpoint],
    ) -> Result<()> {
        self.operator(application, follower)?.reset(starts).await?;
        self.catch_up().await
    }
}

/// Work before and after the commands of one application.
struct Conducted {
    conductor: Arc<SingleThreadConductor>,
    log: usize,
}

impl Conductor for Conducted {
    fn before_command(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut work = self.conductor.work.lock().await;
            work.keep_presence().await;
            if let Err(error) = work.fire_due().await {
                tracing::warn!(%error, "timers that are due could not be fired");
            }
            // Set already now, in case the command is dropped before it completes.
            work.is_timer_old[self.log] = true;
        })
    }

    fn after_commit(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut work = self.conductor.work.lock().await;
            if let Err(error) = work.process_commit(self.log).await {
                tracing::warn!(%error, "the effects of a command wait for the next command");
            }
        })
    }
}

impl Work {
    /// Shows other processes that the followers, timers and views are run here, if due.
    async fn keep_presence(&mut self) {
        if let Some(first) = self.open.applications().first() {
            self.presence.keep(first.now()).await;
        }
    }

    /// Determines where the followers are; events that they have not processed are queued from
    /// there.
    async fn begin(&mut self) {
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
                pipelines.iter().map(|it| it.reached_checkpoint(*upstream))
            });
            let least =
                reached.min_by_key(|checkpoint| checkpoint.map(|checkpoint| checkpoint.position));
            if let Some(Some(least)) = least {
                self.queue.begin(log, least);
            }
        }
    }

    /// Stores the finding of an application's timers, if there is one.
    fn report_timers(&self, index: usize, attempt: &Result<()>) {
        let name = self.open.applications()[index].name();
        let finding = match attempt {
            Err(error) if error.is_retriable() => {
                let reason = error.to_string();
                let retrying = Trouble::Retrying;
                Some(Finding::new(FindingKind::Timers, name, retrying, reason))
            }
            Err(error) => {
                let (failed, reason) = (Trouble::Failed, error.to_string());
                let finding = Finding::new(FindingKind::Timers, name, failed, reason);
                self.timers[index].finding().or(Some(finding))
            }
            Ok(()) => self.timers[index].finding(),
        };
        let findings = self.timer_findings.lock();
        findings.unwrap_or_else(PoisonError::into_inner)[index] = finding;
    }

    /// Processes the events that exist when the runner starts.
    async fn start(&mut self) -> Result<()> {
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
                    self.report_timers(index, &read);
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
            let fired = self.timers[index].fire_next(now).await.map(drop);
            self.report_timers(index, &fired);
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
    async fn process_commit(&mut self, log: usize) -> Result<()> {
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
                self.answer(item).await?;
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
        let is_to_answer = |event: &StoredEvent, (follower, upstream): (usize, usize)| {
            let mut pipelines = followers[follower].pipelines.iter();
            pipelines.any(|it| {
                it.answers(upstream, event) && Some(event.position()) > it.reached(upstream)
            })
        };
        let recorder = self.open.applications()[log].recorder();
        let queue = &mut self.queue;
        let filled = queue.fill(log, &**recorder, readers, is_to_answer).await;
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
            worker.pipelines.iter_mut().for_each(Pipeline::look_again);
        }
    }

    async fn answer(&mut self, item: Item) -> Result<()> {
        let worker = &mut self.followers[item.follower];
        if worker.is_astray {
            return Ok(());
        }
        let before = worker.effects_recorded();
        let mut pipelines = worker.pipelines.iter_mut();
        // The partition of the event.
        let Some(pipeline) = pipelines.find(|it| it.answers(item.upstream, &item.event)) else {
            return Ok(());
        };
        // If this is dropped midway, the event that was taken from the queue is read from the log
        // again.
        worker.is_astray = true;
        let answered = pipeline.answer(item.upstream, &item.event).await;
        if answered.is_err() || !pipeline.is_prepared() || pipeline.is_holding() {
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
                if !pipeline.is_rest_due() {
                    continue;
                }
                worker.is_astray = true;
                let rested = pipeline.rest().await;
                worker.is_astray = rested.is_err() || !pipeline.is_prepared();
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

impl Worker {
    /// Creates this number of pipelines, which must be synchronized with the logs.
    fn begin(&mut self, partitions: u32) {
        let pipelines = self
            .open
            .pipelines_of(self.application, &self.follower, partitions);
        self.pipelines = pipelines.into_iter().map(Pipeline::one_by_one).collect();
        self.is_astray = true;
        let cells = self.pipelines.iter().map(Pipeline::status).collect();
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        match statuses.get_mut(self.index) {
            Some(known) => *known = cells,
            None => statuses.push(cells),
        }
    }

    fn report_well(&self) {
        if !self.is_astray {
            let pipelines = self.pipelines.iter();
            pipelines.for_each(|it| it.report_phase(Phase::CaughtUp));
        }
    }

    /// Returns the number of effects that its pipelines have recorded.
    fn effects_recorded(&self) -> u64 {
        self.pipelines.iter().map(Pipeline::effects_recorded).sum()
    }

    fn appends(&self) -> u64 {
        self.pipelines.iter().map(|it| it.counts().appends).sum()
    }

    /// Processes the logs until nothing is left. Otherwise the follower stays out of sync until the
    /// next time, at the latest after `steps_max` steps, because it may follow itself in an endless
    /// cycle.
    async fn find_way(&mut self, steps_max: u64) {
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
    let answers_max = pipeline.counts().answered + steps_max;
    while conflicts < FINDING_ATTEMPTS_MAX {
        if pipeline.counts().answered > answers_max {
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
                if pipeline.rest().await.is_err() {
                    return false;
                }
                if pipeline.is_prepared() {
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

/// Number of retries of a follower that is overtaken by others, or whose append has an unknown
/// outcome, before the command that it works for returns.
const FINDING_ATTEMPTS_MAX: u32 = 100;

impl fmt::Debug for SingleThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleThread")
            .field("system", self.conductor.open.system())
            .finish_non_exhaustive()
    }
}
