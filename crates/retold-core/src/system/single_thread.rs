//! The runner that does everything in one thread, in one order.
//!
//! After a command returns, everything that it caused, transitively, has happened: the same commands
//! give the same logs. There is one queue of events and the followers that are to answer them. A commit
//! adds its events in the order of their positions, each for the followers of that log in the order of
//! their declaration; one upstream event is one append. No thread and no task is started: whoever awaits
//! a command does the work.

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
    Follower, FollowerOperator, FollowerStatus, Phase, Pipeline, StartingMark, StatusCell, Step,
    Timers,
};
use crate::health::{Finding, FindingKind, Health, Trouble};
use crate::projection::{ProjectionHandle, ProjectionPipeline};
use crate::recording::{BoxFuture, Patience, StoredEvent};

/// Runs a system in one thread. A clone is the same runner.
///
/// A command waits for the policies that it asks, without a time limit: one that does not return, or blocks
/// its thread, keeps the command from returning. [`status`](SingleThread::status) says which event it is at.
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
    /// The system with applications whose commands are conducted: the only ones that are given out.
    open: OpenSystem,
}

struct SingleThreadConductor {
    /// The system with applications whose commands cause nothing by themselves.
    open: OpenSystem,
    statuses: Statuses,
    timer_findings: TimerFindings,
    projections: Vec<ProjectionHandle>,
    work: Mutex<Work>,
}

/// Those of each follower's pipelines, which become others when it is split anew.
type Statuses = Arc<SyncMutex<Vec<Vec<StatusCell>>>>;

/// What is wrong with the timers of each application, if anything is.
type TimerFindings = Arc<SyncMutex<Vec<Option<Finding>>>>;

/// What is to be done. Whoever has the lock does it.
struct Work {
    open: OpenSystem,
    followers: Vec<Worker>,
    /// For each log, which followers follow it, and which of their upstreams it is.
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

/// A follower and what it needs beside its pipelines.
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
    /// For each log that it follows, which application's it is.
    upstreams: Vec<usize>,
    /// Whether it must find its own way from what the logs say: it was paused, failed, or was overtaken
    /// by another process.
    is_astray: bool,
}

impl SingleThread {
    /// Opens the logs of the system and processes what is in them and not processed yet. Waits for a store
    /// that is busy or absent, as long as [`Infrastructure::open_wait_max`] says.
    ///
    /// # Errors
    ///
    /// As for [`OpenSystem::open`]; [`Error::Invalid`] if the infrastructure has a
    /// [`Delivery`](super::delivery::Delivery). A follower that cannot go on is no error here: see
    /// [`status`](Self::status).
    pub async fn start(system: &System, infrastructure: &Infrastructure) -> Result<Self> {
        Self::start_with(system, infrastructure, STEPS_MAX_DEFAULT).await
    }

    /// As [`start`](Self::start), with a limit of reactions to one command: followers that go on beyond
    /// it are taken for an endless cycle, and the rest waits for the next command.
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
                "the outbox {:?} is not drained by a runner in one thread, whose commands would wait for the outside; drain it with `Outbox`, or take another runner",
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

    /// The application of this name. A command of it returns when everything that it caused has
    /// happened.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is none, with the names that there are.
    pub fn application(&self, name: &str) -> Result<Application> {
        self.open.application(name).cloned()
    }

    /// The system with its logs. Its applications are those that [`application`](Self::application) gives:
    /// a command returns when everything that it caused has happened. What is appended by way of a
    /// recorder is processed with the next command, or by [`catch_up`](Self::catch_up).
    pub fn open_system(&self) -> &OpenSystem {
        &self.open
    }

    /// Fires the timers that are due by the applications' clocks, and processes everything that is in
    /// the logs: after a clock was moved, or others have written.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`] of the logs; what a single follower meets is in its
    /// status.
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

    /// Records how far the followers are in logs of which they answered nothing lately. Good for the
    /// next start, which reads less; nothing is lost without it.
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
                pipeline.tell_phase(Phase::Stopped);
            }
        }
        Ok(())
    }

    /// How each follower is getting on, in the order of declaration; of one that is split, each partition.
    pub fn status(&self) -> Vec<FollowerStatus> {
        let statuses = &self.conductor.statuses;
        let statuses = statuses.lock().unwrap_or_else(PoisonError::into_inner);
        statuses.iter().flatten().map(StatusCell::read).collect()
    }

    /// How the runner is getting on: everything that somebody has to look at, as it was after the last
    /// command. It is always live, and ready if the logs can be read.
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
        // Of one that is split each partition says the same of what is recorded of all.
        health.findings.dedup();
        health
    }

    /// Handles of the views, in the order in which they were given. A command returns when they have
    /// taken in everything that it caused.
    pub fn projections(&self) -> &[ProjectionHandle] {
        &self.conductor.projections
    }

    /// The follower of this name as its operator sees it. After an act call
    /// [`catch_up`](Self::catch_up).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no such application.
    pub fn operator(&self, application: &str, follower: &str) -> Result<FollowerOperator> {
        let application = self.conductor.open.application(application)?;
        Ok(FollowerOperator::new(application, follower))
    }

    /// Lets a follower begin anew from the first event of each log; see
    /// [`FollowerOperator::reset`].
    ///
    /// # Errors
    ///
    /// As for [`FollowerOperator::reset`] and [`catch_up`](Self::catch_up).
    pub async fn reset(
        &self,
        application: &str,
        follower: &str,
        starts: &[StartingMark],
    ) -> Result<()> {
        self.operator(application, follower)?.reset(starts).await?;
        self.catch_up().await
    }
}

/// What is done around the commands of one application.
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
            // Already now, in case that nobody awaits the command to its end.
            work.is_timer_old[self.log] = true;
        })
    }

    fn after_commit(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut work = self.conductor.work.lock().await;
            if let Err(error) = work.process_commit(self.log).await {
                tracing::warn!(%error, "what a command caused waits for the next one");
            }
        })
    }
}

impl Work {
    /// Shows others that the followers, timers and views are run here, if it is time for that.
    async fn keep_presence(&mut self) {
        if let Some(first) = self.open.applications().first() {
            self.presence.keep(first.now()).await;
        }
    }

    /// Finds out where the followers are; what they have not processed is queued from there.
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
                pipelines.iter().map(|it| it.reached_mark(*upstream))
            });
            let least = reached.min_by_key(|mark| mark.map(|mark| mark.position));
            if let Some(Some(least)) = least {
                self.queue.begin(log, least);
            }
        }
    }

    /// Keeps what is wrong with the timers of an application, if anything is.
    fn tell_timers(&self, index: usize, attempt: &Result<()>) {
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

    /// Processes what is there when the runner starts.
    async fn start(&mut self) -> Result<()> {
        self.process().await?;
        self.fire_due().await
    }

    /// Fires what is due, one timer after the other, each with all that it causes.
    /// Those that timers set off in turn are counted as steps.
    async fn fire_due(&mut self) -> Result<()> {
        for _ in 0..self.steps_max {
            for index in 0..self.timers.len() {
                if std::mem::take(&mut self.is_timer_old[index]) {
                    let read = self.timers[index].read_on().await;
                    self.is_timer_old[index] = read.is_err();
                    self.tell_timers(index, &read);
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
            self.tell_timers(index, &fired);
            fired?;
            self.process_commit(index).await?;
        }
        tracing::error!(
            steps = self.steps_max,
            "timers go on and on; the rest waits for the next command"
        );
        Ok(())
    }

    /// Processes what is new in one log, and what that causes.
    async fn process_commit(&mut self, log: usize) -> Result<()> {
        self.is_timer_old[log] = true;
        self.find_ways().await?;
        self.fill(log).await?;
        // What was left behind by commands that nobody awaited to their end.
        self.fill_all().await?;
        self.find_ways().await?;
        self.drain().await
    }

    /// Processes everything that is in the logs, and what that causes.
    async fn process(&mut self) -> Result<()> {
        self.find_ways().await?;
        self.fill_all().await?;
        // Those that found just now that a log is not as they read it.
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
                        "followers go on and on; the rest waits for the next command"
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

    /// Brings the views up to date. One that cannot go on says so by its handle.
    async fn project(&mut self) {
        for pipeline in &mut self.projections {
            // It has told of a failure itself.
            let _ = pipeline.catch_up().await;
        }
    }

    /// Lets followers that are astray find their way.
    async fn find_ways(&mut self) -> Result<()> {
        for index in 0..self.followers.len() {
            if self.followers[index].is_astray {
                self.find_way(index).await?;
            }
        }
        Ok(())
    }

    /// Lets a follower go by what the logs say, and queues what that causes.
    async fn find_way(&mut self, follower: usize) -> Result<()> {
        let worker = &mut self.followers[follower];
        worker.find_way(self.steps_max).await;
        let log = worker.application;
        self.is_timer_old[log] = true;
        self.fill(log).await
    }

    /// Queues the effects that a follower recorded since there were `before`.
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

    /// Queues what a log has and is not queued yet.
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
                tracing::error!(%error, "the followers of a log look whether they can go on");
                self.forget(log);
                Ok(())
            }
            filled => filled,
        }
    }

    /// Forgets what is queued of a log that is not as it was read. Its followers look at what is recorded
    /// before they answer anything.
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
        // The partition that the event is in.
        let Some(pipeline) = pipelines.find(|it| it.answers(item.upstream, &item.event)) else {
            return Ok(());
        };
        // If this is dropped midway, what it took from the queue is found in the logs.
        worker.is_astray = true;
        let answered = pipeline.answer(item.upstream, &item.event).await;
        if answered.is_err() || !pipeline.is_prepared() || pipeline.is_holding() {
            return self.find_way(item.follower).await;
        }
        worker.is_astray = false;
        self.queue_effects(item.follower, before).await
    }

    /// Records what was answered without effect, once the queue is empty. Says whether anything changed
    /// that may cause more.
    async fn settle(&mut self) -> Result<bool> {
        for follower in 0..self.followers.len() {
            if self.followers[follower].is_astray {
                continue;
            }
            for partition in 0..self.followers[follower].pipelines.len() {
                let worker = &mut self.followers[follower];
                let pipeline = &mut worker.pipelines[partition];
                for (upstream, log) in worker.upstreams.iter().enumerate() {
                    if let Some(mark) = self.queue.queued(*log) {
                        pipeline.pass(upstream, mark);
                    }
                }
                if !pipeline.is_rest_due() {
                    continue;
                }
                worker.is_astray = true;
                let rested = pipeline.rest().await;
                worker.is_astray = rested.is_err() || !pipeline.is_prepared();
                if worker.is_astray {
                    // Its effects are in the queue now: the others must answer them before they pass on.
                    self.find_way(follower).await?;
                    return Ok(true);
                }
            }
            self.followers[follower].tell_well();
        }
        Ok(false)
    }
}

impl Worker {
    /// Begins with so many pipelines, which have to find their way.
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

    fn tell_well(&self) {
        if !self.is_astray {
            let pipelines = self.pipelines.iter();
            pipelines.for_each(|it| it.tell_phase(Phase::CaughtUp));
        }
    }

    /// How many effects its pipelines have recorded.
    fn effects_recorded(&self) -> u64 {
        self.pipelines.iter().map(Pipeline::effects_recorded).sum()
    }

    fn appends(&self) -> u64 {
        self.pipelines.iter().map(|it| it.counts().appends).sum()
    }

    /// Goes by what the logs say, until nothing is left; or stays astray until the next time, at the
    /// latest after so many answers, for it may follow itself in an endless cycle.
    async fn find_way(&mut self, steps_max: u64) {
        self.is_astray = true;
        // Once for what its partitions have to do, and again for each of them that changes what the
        // others know: when it is split anew.
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
                    // Another process has a part in it.
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

/// Lets a pipeline go by what the logs say, until nothing is left. False if it cannot now, or would go on
/// for more than so many answers.
async fn find_way(pipeline: &mut Pipeline, steps_max: u64) -> bool {
    let mut conflicts = 0;
    let answers_max = pipeline.counts().answered + steps_max;
    while conflicts < FINDING_ATTEMPTS_MAX {
        if pipeline.counts().answered > answers_max {
            tracing::error!(
                steps_max,
                "a follower goes on and on; the rest waits for the next command"
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

/// How often a follower that is overtaken by others, or whose append stays unknown, tries again
/// before the command that it works for returns.
const FINDING_ATTEMPTS_MAX: u32 = 100;

impl fmt::Debug for SingleThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleThread")
            .field("system", self.conductor.open.system())
            .finish_non_exhaustive()
    }
}
