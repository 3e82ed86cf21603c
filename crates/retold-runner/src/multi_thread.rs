//! The runner that gives every follower its own task.

use std::fmt;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use retold_core::application::Error;
use retold_core::following::{FollowerStatus, Phase};
use retold_core::health::{Finding, FindingKind, Health, Trouble};
use retold_core::projection::ProjectionHandle;
use retold_core::recording::BoxFuture;
use retold_core::system::{
    Goal, Infrastructure, Lag, OpenSystem, Opening, OutboxStatus, Runner, StopReport, System,
    TimersStatus, WaitError, holder,
};
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;

use crate::cluster::{LeaseNames, unit_of};
use crate::job::Job;
use crate::log_news::watch_logs;
use crate::options::MultiThreadOptions;
use crate::outbox_lease::OutboxLease;
use crate::presence::Presence;
use crate::running_system::{Keeping, RunningSystem};
use crate::stopping::{NamedTask, after, end_tasks, take_report};
use crate::watchdog::Watchdog;

/// Runs a system on tokio, with a task for each follower.
///
/// Each follower resumes from its recorded checkpoint, is woken when a log that it follows grows,
/// and retries when its store fails. If one fails, the others continue, and its
/// [`status`](Runner::status) gives the reason. The recorded result is one that a single thread
/// could have recorded.
///
/// Commands do not wait for followers. To read the effects of a command, [wait](Runner::wait) for
/// them first.
///
/// Several processes may run one system on one store; the effects of each event are still recorded
/// once. Of the processes that run a follower, one works; the others check now and then and take
/// over when it stops. An outbox has a lease in the store of its application: one process drains
/// it, and another takes over when that process stops, or when its lease ends after the process was
/// killed ([`outbox_time_to_live`](MultiThreadOptions::outbox_time_to_live)).
///
/// [`stop`](Runner::stop) ends it in an orderly way. Dropping it aborts the tasks wherever they
/// are; this loses nothing either, but some events are processed again at the next start.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use retold::prelude::*;
/// use retold::recording::MemoryStore;
/// use retold::runner::MultiThread;
/// use retold::system::{Context, Follower, Goal, Infrastructure, Runner, System};
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
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shop = System::new("shop")
///     .application("orders", |app| app.aggregate::<Order>())
///     .application("stock", |app| {
///         app.aggregate::<Stock>()
///             .follower(Follower::new("reservations").follows("orders").on(reserve))
///     })
///     .build()?;
/// let memory = Infrastructure::new(Arc::new(MemoryStore::new()));
/// let runner = MultiThread::start(&shop, &memory).await?;
///
/// let orders = runner.application("orders")?;
/// orders.create::<Order>(Ordered { item: "tea".into() }).await?;
/// let position = orders.head().await?.position().expect("something is recorded");
/// runner.wait(Goal::caused_by("orders", position), Duration::from_secs(5)).await?;
///
/// let tea = runner.application("stock")?.get::<Stock>("tea").await?;
/// assert_eq!(tea.state.reserved, 1);
/// assert!(runner.stop().await.is_clean());
/// # Ok(())
/// # }
/// ```
pub struct MultiThread {
    running: RunningSystem,
    stop_sender: watch::Sender<bool>,
    options: MultiThreadOptions,
    /// Tasks that end by themselves when stopped, with their names.
    tasks: Mutex<Vec<NamedTask>>,
    /// What is known of a stop, also if the call that began it was dropped.
    report: StdMutex<StopReport>,
    aborts: Vec<AbortHandle>,
    _watchdog: Watchdog,
}

impl MultiThread {
    /// Opens the logs of the system and starts its followers and timers. They resume from their
    /// recorded checkpoints; this method does not wait for them to catch up. Must be called within
    /// a tokio runtime whose timer is enabled. Waits for a busy or absent store, for each log up to
    /// [`Infrastructure::open_wait_max`].
    ///
    /// # Errors
    ///
    /// As for [`OpenSystem::open`]. A follower that cannot continue is not an error here: see
    /// [`status`](Runner::status).
    pub async fn start(system: &System, infrastructure: &Infrastructure) -> Result<Self, Error> {
        Self::start_with(system, infrastructure, MultiThreadOptions::new()).await
    }

    /// Like [`start`](Self::start), with the given options.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub async fn start_with(
        system: &System,
        infrastructure: &Infrastructure,
        options: MultiThreadOptions,
    ) -> Result<Self, Error> {
        options.check()?;
        let open = OpenSystem::open(system, infrastructure, Opening::Write).await?;
        let (running, jobs) = RunningSystem::new(open, Keeping::Here);
        let (stop_sender, stopped) = watch::channel(false);
        let holder = holder();
        let names = LeaseNames::of_system(system.name());
        let (news, mut aborts) = watch_logs(&running.open, &options);
        let mut tasks = Vec::new();
        let presence = Presence::new(Arc::clone(&holder), &running.open, infrastructure);
        let presence = tokio::spawn(presence.keep(stopped.clone()));
        aborts.push(presence.abort_handle());
        tasks.push(("presence".to_owned(), presence));
        for job in jobs {
            let title = job.title();
            let (news, stopped) = (news.clone(), stopped.clone());
            let task = match &job {
                Job::Outbox { pipeline, .. } => {
                    let unit = unit_of(&job);
                    let lease = OutboxLease {
                        store: Arc::clone(infrastructure.store_of(unit.application())),
                        name: names.unit(&unit),
                        holder: Arc::clone(&holder),
                        pipeline: Arc::clone(pipeline),
                        job,
                        news,
                        options: options.clone(),
                    };
                    tokio::spawn(lease.keep(stopped))
                }
                _ => tokio::spawn(job.run(news, stopped, options.clone(), Phase::Stopped)),
            };
            aborts.push(task.abort_handle());
            tasks.push((title, task));
        }
        Ok(Self {
            _watchdog: running.watchdog(),
            running,
            stop_sender,
            options,
            tasks: Mutex::new(tasks),
            report: StdMutex::default(),
            aborts,
        })
    }

    async fn examine(&self) -> Health {
        let mut health = Health::default();
        if *self.stop_sender.borrow() {
            health.not_ready = Some("the runner is stopping".into());
            return health;
        }
        let tasks = self.tasks.lock().await;
        for (name, _) in tasks.iter().filter(|(_, task)| task.is_finished()) {
            let reason = "its task has ended by itself";
            health.not_live.get_or_insert(format!("{name}: {reason}"));
            let kind = FindingKind::Process;
            let finding = Finding::new(kind, name.as_str(), Trouble::Failed, reason);
            health.findings.push(finding);
        }
        drop(tasks);
        self.running.examine(&mut health).await;
        health
    }

    async fn end(&self) -> StopReport {
        self.stop_sender.send_replace(true);
        let deadline = after(self.options.stop_wait_max);
        end_tasks(&mut *self.tasks.lock().await, deadline, &self.report).await;
        self.aborts.iter().for_each(AbortHandle::abort);
        self.running.report_stopped();
        take_report(&self.report)
    }
}

impl Runner for MultiThread {
    fn open_system(&self) -> &OpenSystem {
        &self.running.open
    }

    fn projections(&self) -> &[ProjectionHandle] {
        self.running.projections()
    }

    fn status(&self) -> BoxFuture<'_, Vec<FollowerStatus>> {
        Box::pin(self.running.status())
    }

    fn timers(&self) -> Vec<TimersStatus> {
        self.running.timers()
    }

    fn outboxes(&self) -> Vec<OutboxStatus> {
        self.running.outboxes()
    }

    /// Returns the health of this process. It works unless one of its tasks ended by itself. It can
    /// take requests if the logs can be read and it is not stopping. A log has
    /// [`HEALTH_READ_MAX`](crate::limits::HEALTH_READ_MAX) to respond.
    fn health(&self) -> BoxFuture<'_, Health> {
        Box::pin(self.examine())
    }

    /// Returns the lag, at most [`LAG_AGE_MAX`](crate::limits::LAG_AGE_MAX) old.
    fn lag(&self) -> BoxFuture<'_, Lag> {
        Box::pin(self.running.lag())
    }

    fn wait(&self, goal: Goal, timeout: Duration) -> BoxFuture<'_, Result<(), WaitError>> {
        Box::pin(async move { self.running.wait(&goal, timeout).await })
    }

    /// Stops the runner: each follower finishes its current page and records its checkpoint. Tasks
    /// that do not end within [`stop_wait_max`](MultiThreadOptions::stop_wait_max) are aborted and
    /// listed in the report.
    fn stop(&self) -> BoxFuture<'_, StopReport> {
        Box::pin(self.end())
    }
}

impl Drop for MultiThread {
    fn drop(&mut self) {
        self.aborts.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for MultiThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiThread")
            .field("system", self.running.open.system())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
