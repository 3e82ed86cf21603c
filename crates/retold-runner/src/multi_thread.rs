//! The runner that gives every follower its own task.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use retold_core::application::{Application, Result};
use retold_core::following::{FollowerOperator, FollowerStatus, Phase, StartingCheckpoint};
use retold_core::health::{Finding, FindingKind, Health, Trouble};
use retold_core::projection::ProjectionHandle;
use retold_core::recording::Position;
use retold_core::system::{Infrastructure, OpenSystem, Opening, OutboxStatus, System, holder};
use tokio::sync::{Mutex, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout_at};

use crate::cluster::{LeaseNames, unit_of};
use crate::job::Job;
use crate::lag::Lag;
use crate::log_news::watch_logs;
use crate::options::MultiThreadOptions;
use crate::outbox_lease::OutboxLease;
use crate::presence::Presence;
use crate::running_system::RunningSystem;
use crate::stop_report::StopReport;
use crate::timers_task::TimersStatus;
use crate::waiting::{ViewWaitError, WaitError};
use crate::watchdog::Watchdog;

/// Runs a system on tokio, with a task for each follower.
///
/// Each follower resumes from its recorded checkpoint, is woken when a log that it follows grows,
/// and retries when its store fails. If one fails, the others continue, and its
/// [`status`](Self::status) gives the reason. The recorded result is one that a single thread could
/// have recorded.
///
/// Commands do not wait for followers. To read the effects of a command, wait for them first:
/// [`wait_for`](Self::wait_for), [`wait_for_all_caused`](Self::wait_for_all_caused).
///
/// Several processes may run one system on one store; the effects of each event are still recorded
/// once. Of the processes that run a follower, one works; the others check now and then and take
/// over when it stops. An outbox has a lease in the store of its application: one process drains
/// it, and another takes over when that process stops, or when its lease ends after the process was
/// killed ([`outbox_time_to_live`](MultiThreadOptions::outbox_time_to_live)).
///
/// [`stop`](Self::stop) ends it in an orderly way. Dropping it aborts the tasks wherever they are;
/// this loses nothing either, but some events are processed again at the next start.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use retold::prelude::*;
/// use retold::recording::MemoryStore;
/// use retold::runner::MultiThread;
/// use retold::system::{Context, Follower, Infrastructure, System};
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
/// runner.wait_for_all_caused("orders", position, Duration::from_secs(5)).await?;
///
/// let tea = runner.application("stock")?.get::<Stock>("tea").await?;
/// assert_eq!(tea.state.reserved, 1);
/// assert!(runner.stop().await.is_clean());
/// # Ok(())
/// # }
/// ```
pub struct MultiThread {
    running: RunningSystem,
    stop: watch::Sender<bool>,
    options: MultiThreadOptions,
    /// Tasks that end by themselves when stopped, with their names.
    tasks: Mutex<Vec<(String, JoinHandle<Option<String>>)>>,
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
    /// [`status`](Self::status).
    pub async fn start(system: &System, infrastructure: &Infrastructure) -> Result<Self> {
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
    ) -> Result<Self> {
        options.check()?;
        let open = OpenSystem::open(system, infrastructure, Opening::Write).await?;
        let (running, jobs) = RunningSystem::new(open);
        let (stop, stopped) = watch::channel(false);
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
            stop,
            options,
            tasks: Mutex::new(tasks),
            aborts,
        })
    }

    /// Returns the application with this name, for commands and reads.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](retold_core::application::Error::Invalid) if there is none; the error
    /// lists the existing names.
    pub fn application(&self, name: &str) -> Result<Application> {
        self.running.application(name)
    }

    /// Returns the system with its logs.
    pub fn open_system(&self) -> &OpenSystem {
        &self.running.open
    }

    /// Returns the status of each follower, in the order of declaration, relative to the current
    /// ends of the logs. For a log that cannot be read, the end that was last read is used.
    pub async fn status(&self) -> Vec<FollowerStatus> {
        self.running.status().await
    }

    /// Returns whether this process works, whether it can take requests, and every problem in it
    /// that needs attention: for the probes of an orchestrator and for alarms.
    ///
    /// The process works unless one of its tasks ended by itself. It can take requests if the logs
    /// can be read and it is not stopping. A log has
    /// [`HEALTH_READ_MAX`](crate::limits::HEALTH_READ_MAX) to respond.
    pub async fn health(&self) -> Health {
        let mut health = Health::default();
        if *self.stop.borrow() {
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

    /// Returns handles of the views, in the infrastructure's order: for their status, and for
    /// waiting until they include an event.
    pub fn projections(&self) -> &[ProjectionHandle] {
        self.running.projections()
    }

    /// Waits until readers of the view with this name see the event at this position of its log.
    ///
    /// # Errors
    ///
    /// [`ViewWaitError`]; on a timeout it includes the current state of the view.
    pub async fn wait_for_view(
        &self,
        view: &str,
        position: Position,
        wait_max: Duration,
    ) -> Result<(), ViewWaitError> {
        let handle = self.running.projection(view)?;
        match timeout_at(Instant::now() + wait_max, handle.wait_for(position)).await {
            Ok(waited) => Ok(waited?),
            Err(_) => Err(ViewWaitError::Timeout {
                view: view.into(),
                position,
                checkpoint: handle.checkpoint(),
                state: handle.state(),
                holder: None,
            }),
        }
    }

    /// Returns the status of each application's timers, in the order of declaration.
    pub fn timers(&self) -> Vec<TimersStatus> {
        self.running.timers()
    }

    /// Returns the status of the outboxes, in the infrastructure's order.
    pub fn outboxes(&self) -> Vec<OutboxStatus> {
        self.running.outboxes()
    }

    /// Returns how far the followers are behind: the largest lag in events and the largest lag in
    /// time. Paused, retired and failed followers do not count, because they are not catching up.
    /// The result is cached for [`LAG_AGE_MAX`](crate::limits::LAG_AGE_MAX), so a service can call
    /// this for every request.
    pub async fn lag(&self) -> Lag {
        self.running.lag().await
    }

    /// Returns whether a follower is behind by more than this many events, in which case a service
    /// should ask its clients to come back later. Cached like [`lag`](Self::lag).
    pub async fn is_overloaded(&self, events_max: u64) -> bool {
        self.lag().await.events > events_max
    }

    /// Returns the operator's handle of the follower with this name. The follower notices the
    /// operator's acts by itself, soon.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](retold_core::application::Error::Invalid) if there is no such application
    /// or follower.
    pub fn operator(&self, application: &str, follower: &str) -> Result<FollowerOperator> {
        self.running.operator(application, follower)
    }

    /// Resumes a follower if it is paused, and retries its parked events.
    ///
    /// # Errors
    ///
    /// As for [`operator`](Self::operator) and [`FollowerOperator::resume`].
    pub async fn resume_parked(&self, application: &str, follower: &str) -> Result<()> {
        self.operator(application, follower)?.resume().await?;
        Ok(())
    }

    /// Resets a follower; see [`FollowerOperator::reset`].
    ///
    /// # Errors
    ///
    /// As for [`operator`](Self::operator) and [`FollowerOperator::reset`].
    pub async fn reset(
        &self,
        application: &str,
        follower: &str,
        starts: &[StartingCheckpoint],
    ) -> Result<()> {
        self.operator(application, follower)?.reset(starts).await
    }

    /// Waits until all followers of an application's log have processed it up to and including this
    /// position, and recorded that. A parked event counts as processed.
    ///
    /// # Errors
    ///
    /// [`WaitError::Timeout`] lists the followers that are behind. [`WaitError::Halted`] is
    /// returned immediately if one of them is paused or has failed. [`WaitError::Retold`] if a log
    /// cannot be read, or there is no such application or follower.
    pub async fn wait_for(
        &self,
        application: &str,
        position: Position,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let running = &self.running;
        running.wait_for(application, position, timeout).await
    }

    /// Waits until one follower has processed the log of `upstream` up to and including this
    /// position, and recorded that.
    ///
    /// # Errors
    ///
    /// As for [`wait_for`](Self::wait_for).
    pub async fn wait_for_follower(
        &self,
        application: &str,
        follower: &str,
        upstream: &str,
        position: Position,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let running = &self.running;
        let waited = running.wait_for_follower(application, follower, upstream, position, timeout);
        waited.await
    }

    /// Waits until everything is processed that was caused by the events of an application's log up
    /// to and including this position, through all downstream followers and around all cycles.
    /// Effects of timers that come due later are not waited for.
    ///
    /// It may wait for more than that: for everything that the downstream logs contained when the
    /// search for effects reached them.
    ///
    /// # Errors
    ///
    /// As for [`wait_for`](Self::wait_for).
    pub async fn wait_for_all_caused(
        &self,
        application: &str,
        position: Position,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let running = &self.running;
        running
            .wait_for_all_caused(application, position, timeout)
            .await
    }

    /// Stops the runner: each follower finishes its current page and records its checkpoint. Tasks
    /// that do not end in time are aborted and listed in the report. A second call finds nothing to
    /// do.
    ///
    /// Applications remain usable, but nothing follows them any more.
    pub async fn stop(&self) -> StopReport {
        self.stop.send_replace(true);
        let deadline = Instant::now() + self.options.stop_wait_max;
        let mut report = StopReport::default();
        for (name, mut task) in self.tasks.lock().await.drain(..) {
            match timeout_at(deadline, &mut task).await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(reason))) => report.unrecorded.push((name, reason)),
                Ok(Err(error)) => report.unrecorded.push((name, error.to_string())),
                Err(_) => {
                    task.abort();
                    report.unfinished.push(name);
                }
            }
        }
        self.aborts.iter().for_each(AbortHandle::abort);
        report
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
