//! The runner that does everything in one thread, in a fixed order.
//!
//! When a command returns, everything that it caused, directly or indirectly, has happened. The
//! same commands result in the same logs. There is one queue of events and of the followers that
//! must process them. A commit adds its events in the order of their positions, each for the
//! followers of that log in the order of their declaration; one upstream event is one append. No
//! thread and no task is started: the caller that awaits a command does the work.

mod queue;
mod worker;

mod work;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use self::work::Work;
use self::worker::Statuses;
use super::definition::System;
use super::delivery::OutboxStatus;
use super::goal::Goal;
use super::lag::Lag;
use super::open_system::{Infrastructure, OpenSystem, Opening, may_pass};
use super::presence::RunnerPresence;
use super::runner::Runner;
use super::stop_report::StopReport;
use super::timers_status::{TimersCell, TimersStatus};
use super::waiting::WaitError;
use crate::application::{Conductor, Error, Result};
use crate::following::FollowerStatus;
use crate::following::limits::STEPS_MAX_DEFAULT;
use crate::health::{Finding, Health};
use crate::projection::ProjectionHandle;
use crate::recording::{BoxFuture, Patience};

/// Runs a system in one thread. A clone is the same runner.
///
/// A command waits for the policies that it triggers, without a time limit: a policy that does not
/// return, or blocks its thread, keeps the command from returning. [`status`](Runner::status) shows
/// the event that it is processing.
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
    statuses: Statuses,
    timers: Vec<TimersCell>,
    projections: Vec<ProjectionHandle>,
    work: Mutex<Work>,
    /// Set before the work of a stop begins.
    is_stopping: AtomicBool,
}

impl SingleThread {
    /// Opens the logs of the system and processes all unprocessed events in them. Waits for a store
    /// that is busy or absent, at most [`Infrastructure::open_wait_max`].
    ///
    /// # Errors
    ///
    /// As for [`OpenSystem::open`]; [`Error::Invalid`] if the infrastructure has a
    /// [`Delivery`](super::delivery::Delivery). A follower that cannot continue is not an error
    /// here: see [`status`](Runner::status).
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
        let presence = RunnerPresence::new(&open, infrastructure);
        let runner = Self::over(&open, steps_max, presence);
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

    fn over(open: &OpenSystem, steps_max: u64, presence: RunnerPresence) -> Self {
        let work = Work::new(open, steps_max, presence);
        let conductor = Arc::new(SingleThreadConductor {
            statuses: work.statuses(),
            timers: work.timer_cells(),
            projections: work.projections(),
            work: Mutex::new(work),
            is_stopping: AtomicBool::new(false),
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

    /// Fires the timers that are due by the applications' clocks, and processes all events in the
    /// logs. Call it after moving a clock, after an act of an operator, or after other processes
    /// have written.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`] of the logs; failures of a single follower are in
    /// its status. [`Error::Invalid`] if the runner was stopped.
    pub async fn catch_up(&self) -> Result<()> {
        let mut work = self.conductor.work.lock().await;
        if work.is_stopped {
            let name = self.open.system().name();
            return Err(Error::invalid(format!(
                "the runner of the system {name:?} was stopped; start another one"
            )));
        }
        work.catch_up().await
    }

    async fn reach(&self, goal: &Goal) -> Result<(), WaitError> {
        let mut work = self.conductor.work.lock().await;
        if !work.is_stopped {
            work.catch_up().await?;
        }
        work.reach(goal).await
    }

    async fn examine(&self) -> Health {
        let conductor = &self.conductor;
        let mut health = Health::default();
        if conductor.is_stopping.load(Ordering::SeqCst) {
            health.not_ready = Some("the runner is stopping or was stopped".into());
            return health;
        }
        for application in self.open.applications() {
            if let Err(error) = application.head().await {
                let finding = Finding::unreadable_log(application.name(), &error);
                health.not_ready.get_or_insert(finding.to_string());
                health.findings.push(finding);
            }
        }
        let statuses = conductor.statuses.read();
        let followers = statuses.iter().flat_map(FollowerStatus::findings);
        health.findings.extend(followers);
        let timers = conductor.timers.iter();
        let timers = timers.filter_map(|cell| cell.read().finding());
        health.findings.extend(timers);
        for handle in &conductor.projections {
            health.findings.extend(handle.finding().await);
        }
        health.findings.extend(self.open.outbox_findings());
        // The partitions of a split follower report the same findings for what is recorded of all.
        health.findings.dedup();
        health
    }
}

impl Runner for SingleThread {
    /// Returns the system with its logs. A command of its applications returns when everything that
    /// it caused has happened. Events that are appended through a recorder are processed with the
    /// next command, or by [`catch_up`](SingleThread::catch_up).
    fn open_system(&self) -> &OpenSystem {
        &self.open
    }

    fn projections(&self) -> &[ProjectionHandle] {
        &self.conductor.projections
    }

    fn status(&self) -> BoxFuture<'_, Vec<FollowerStatus>> {
        Box::pin(async {
            let mut statuses = self.conductor.statuses.read();
            self.open.update_heads(&mut statuses).await;
            statuses
        })
    }

    fn timers(&self) -> Vec<TimersStatus> {
        self.conductor.timers.iter().map(TimersCell::read).collect()
    }

    /// Returns none, because [`start`](SingleThread::start) refuses deliveries.
    fn outboxes(&self) -> Vec<OutboxStatus> {
        Vec::new()
    }

    /// Returns everything that needs attention, as of the last command. The runner is always live.
    fn health(&self) -> BoxFuture<'_, Health> {
        Box::pin(self.examine())
    }

    fn lag(&self) -> BoxFuture<'_, Lag> {
        Box::pin(async {
            let statuses = self.status().await;
            Lag::of(&statuses, std::time::SystemTime::now().into())
        })
    }

    /// [Catches up](SingleThread::catch_up), and checks whether the goal is reached; if not, for
    /// example because another program has written in the meantime or a store does not respond, it
    /// does both again after a pause, until the timeout. Catching up itself has no time limit: a
    /// policy that does not return keeps this from returning too. A policy must not call it.
    fn wait(&self, goal: Goal, timeout: Duration) -> BoxFuture<'_, Result<(), WaitError>> {
        Box::pin(async move {
            let mut patience = Patience::new(format!("waiting for {goal:?}"), timeout);
            loop {
                match self.reach(&goal).await {
                    Err(behind @ WaitError::Timeout { .. }) if patience.pause(&behind).await => {}
                    reached => return reached,
                }
            }
        })
    }

    /// Stops the runner after it has processed all events in the logs. It records how far the
    /// followers have read even in logs in which they processed no event recently, so that the next
    /// start reads less.
    fn stop(&self) -> BoxFuture<'_, StopReport> {
        Box::pin(async {
            self.conductor.is_stopping.store(true, Ordering::SeqCst);
            let mut work = self.conductor.work.lock().await;
            match work.is_stopped {
                true => StopReport::default(),
                false => work.stop().await,
            }
        })
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
            if !work.is_stopped {
                work.before_command(self.log).await;
            }
        })
    }

    fn after_commit(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut work = self.conductor.work.lock().await;
            if work.is_stopped {
                return;
            }
            if let Err(error) = work.process_commit(self.log).await {
                tracing::warn!(%error, "the effects of a command wait for the next command");
            }
        })
    }
}

impl fmt::Debug for SingleThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleThread")
            .field("system", self.open.system())
            .finish_non_exhaustive()
    }
}
