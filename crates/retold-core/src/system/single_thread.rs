//! The runner that does everything in one thread, in one order.
//!
//! After a command returns, everything that it caused, transitively, has happened: the same commands
//! give the same logs. There is one queue of events and the followers that are to answer them. A commit
//! adds its events in the order of their positions, each for the followers of that log in the order of
//! their declaration; one upstream event is one append. No thread and no task is started: whoever awaits
//! a command does the work.

mod queue;

use std::fmt;
use std::sync::Arc;

use tokio::sync::Mutex;

use self::queue::{Item, Queue};
use super::definition::System;
use super::follower_event::StartingMark;
use super::limits::STEPS_MAX_DEFAULT;
use super::open_system::{Infrastructure, OpenSystem, Opening};
use super::operating::FollowerOperator;
use super::pipeline::{Pipeline, Step};
use super::projection::{ProjectionHandle, ProjectionPipeline};
use super::status::{FollowerStatus, Phase, StatusCell};
use super::timers::Timers;
use crate::application::{Application, Conductor, Error, Result};
use crate::recording::recorder::BoxFuture;
use crate::recording::stored_event::StoredEvent;

/// Runs a system in one thread. A clone is the same runner.
///
/// ```
/// use std::sync::Arc;
/// use retold::prelude::*;
/// use retold::recording::memory::MemoryStore;
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
}

struct SingleThreadConductor {
    open: OpenSystem,
    statuses: Vec<StatusCell>,
    projections: Vec<ProjectionHandle>,
    work: Mutex<Work>,
}

/// What is to be done. Whoever has the lock does it.
struct Work {
    open: OpenSystem,
    followers: Vec<Worker>,
    /// For each log, which followers follow it, and which of their upstreams it is.
    readers: Vec<Vec<(usize, usize)>>,
    projections: Vec<ProjectionPipeline>,
    timers: Vec<Timers>,
    /// Whether the timers of an application may have changed since they were read.
    is_timer_old: Vec<bool>,
    queue: Queue,
    steps_max: u64,
}

/// A follower and what it needs beside its pipeline.
struct Worker {
    pipeline: Pipeline,
    /// Index of its application.
    application: usize,
    /// For each log that it follows, which application's it is.
    upstreams: Vec<usize>,
    /// Whether it must find its own way from what the logs say: it was paused, failed, or was overtaken
    /// by another process.
    is_astray: bool,
}

impl SingleThread {
    /// Opens the logs of the system and processes what is in them and not processed yet.
    ///
    /// # Errors
    ///
    /// As for [`OpenSystem::open`]. A follower that cannot go on is no error here: see
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
        let runner = Self::over(open, steps_max);
        let mut work = runner.conductor.work.lock().await;
        work.begin().await;
        work.process().await?;
        work.fire_due().await?;
        drop(work);
        Ok(runner)
    }

    fn over(open: OpenSystem, steps_max: u64) -> Self {
        let system = open.system().clone();
        let followers = open.pipelines().into_iter();
        let followers = followers.map(|(application, pipeline)| Worker {
            application,
            upstreams: pipeline
                .follower()
                .upstreams()
                .filter_map(|name| system.index_of(name))
                .collect(),
            pipeline: pipeline.one_by_one(),
            is_astray: true,
        });
        let followers: Vec<_> = followers.collect();
        let statuses = followers.iter().map(|it| it.pipeline.status()).collect();
        let logs = open.applications().len();
        let mut readers = vec![Vec::new(); logs];
        for (follower, worker) in followers.iter().enumerate() {
            for (upstream, log) in worker.upstreams.iter().enumerate() {
                readers[*log].push((follower, upstream));
            }
        }
        let timers = open.applications().iter().cloned().map(Timers::new);
        let projections: Vec<_> = open.projections().into_iter().map(|(_, it)| it).collect();
        let handles = projections.iter().map(ProjectionPipeline::handle).collect();
        let work = Work {
            projections,
            timers: timers.collect(),
            is_timer_old: vec![true; logs],
            queue: Queue::new(logs),
            open: open.clone(),
            followers,
            readers,
            steps_max,
        };
        Self {
            conductor: Arc::new(SingleThreadConductor {
                open,
                statuses,
                projections: handles,
                work: Mutex::new(work),
            }),
        }
    }

    /// The application of this name. A command of it returns when everything that it caused has
    /// happened.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is none, with the names that there are.
    pub fn application(&self, name: &str) -> Result<Application> {
        let open = &self.conductor.open;
        let log = open.system().expect_index_of(name)?;
        let conducted = Conducted {
            conductor: Arc::clone(&self.conductor),
            log,
        };
        Ok(open.applications()[log].conducted(Arc::new(conducted)))
    }

    /// The system with its logs, without what the runner adds to commands.
    pub fn open_system(&self) -> &OpenSystem {
        &self.conductor.open
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
        work.process().await?;
        for worker in &mut work.followers {
            if !worker.is_astray {
                worker.pipeline.rest().await?;
            }
            worker.pipeline.tell_phase(Phase::Stopped);
        }
        Ok(())
    }

    /// How each follower is getting on, in the order of declaration.
    pub fn status(&self) -> Vec<FollowerStatus> {
        self.conductor
            .statuses
            .iter()
            .map(StatusCell::read)
            .collect()
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
    /// Finds out where the followers are; what they have not processed is queued from there.
    async fn begin(&mut self) {
        for worker in &mut self.followers {
            worker.is_astray = worker.pipeline.prepare().await.is_err()
                || worker.pipeline.record().paused.is_some()
                || worker.pipeline.is_resume_due();
        }
        for (log, readers) in self.readers.iter().enumerate() {
            let reached = readers.iter().map(|(follower, upstream)| {
                self.followers[*follower].pipeline.reached_mark(*upstream)
            });
            let least = reached.min_by_key(|mark| mark.map(|mark| mark.position));
            if let Some(Some(least)) = least {
                self.queue.begin(log, least);
            }
        }
    }

    /// Fires what is due, one timer after the other, each with all that it causes.
    /// Those that timers set off in turn are counted as steps.
    async fn fire_due(&mut self) -> Result<()> {
        for _ in 0..self.steps_max {
            for index in 0..self.timers.len() {
                if std::mem::take(&mut self.is_timer_old[index]) {
                    let read = self.timers[index].read_on().await;
                    self.is_timer_old[index] = read.is_err();
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
            self.timers[index].fire_next(now).await?;
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
        self.drain().await
    }

    /// Processes everything that is in the logs, and what that causes.
    async fn process(&mut self) -> Result<()> {
        self.find_ways().await?;
        self.fill_all().await?;
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
            if let Err(error) = pipeline.catch_up().await {
                let projection = pipeline.outline().label();
                tracing::warn!(%projection, %error, "a view is not up to date");
            }
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
        if worker.pipeline.effects_recorded() == before {
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
            let pipeline = &followers[follower].pipeline;
            pipeline.answers(event) && Some(event.position()) > pipeline.reached(upstream)
        };
        let recorder = self.open.applications()[log].recorder();
        let queue = &mut self.queue;
        queue.fill(log, &**recorder, readers, is_to_answer).await
    }

    async fn answer(&mut self, item: Item) -> Result<()> {
        let worker = &mut self.followers[item.follower];
        if worker.is_astray {
            return Ok(());
        }
        let before = worker.pipeline.effects_recorded();
        // If this is dropped midway, what it took from the queue is found in the logs.
        worker.is_astray = true;
        let answered = worker.pipeline.answer(item.upstream, &item.event).await;
        if answered.is_err() || !worker.pipeline.is_prepared() {
            return self.find_way(item.follower).await;
        }
        worker.is_astray = false;
        self.queue_effects(item.follower, before).await
    }

    /// Records what was answered without effect, once the queue is empty. Says whether anything changed
    /// that may cause more.
    async fn settle(&mut self) -> Result<bool> {
        for follower in 0..self.followers.len() {
            let worker = &mut self.followers[follower];
            if worker.is_astray {
                continue;
            }
            for (upstream, log) in worker.upstreams.iter().enumerate() {
                if let Some(mark) = self.queue.queued(*log) {
                    worker.pipeline.pass(upstream, mark);
                }
            }
            if worker.pipeline.is_rest_due() {
                worker.is_astray = true;
                let rested = worker.pipeline.rest().await;
                worker.is_astray = rested.is_err() || !worker.pipeline.is_prepared();
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
    fn tell_well(&self) {
        if !self.is_astray {
            self.pipeline.tell_phase(Phase::CaughtUp);
        }
    }

    /// Goes by what the logs say, until nothing is left; or stays astray until the next time, at the
    /// latest after so many answers, for it may follow itself in an endless cycle.
    async fn find_way(&mut self, steps_max: u64) {
        self.is_astray = true;
        let mut conflicts = 0;
        let answers_max = self.pipeline.counts().answered + steps_max;
        loop {
            if self.pipeline.counts().answered > answers_max {
                tracing::error!(
                    steps_max,
                    "a follower goes on and on; the rest waits for the next command"
                );
                return;
            }
            match self.pipeline.step().await {
                Ok(Step::Moved) => {}
                Ok(Step::Paused) => return,
                Ok(Step::Idle) => {
                    if self.pipeline.rest().await.is_err() {
                        return;
                    }
                    if self.pipeline.is_prepared() {
                        self.is_astray = false;
                        return;
                    }
                    conflicts += 1;
                }
                Err(Error::OutcomeUnknown { .. }) if conflicts < FINDING_ATTEMPTS_MAX => {
                    conflicts += 1;
                }
                Err(_) => return,
            }
            if conflicts == FINDING_ATTEMPTS_MAX {
                return;
            }
        }
    }
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
