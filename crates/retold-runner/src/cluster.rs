//! The runner that spreads a system over processes and machines.
//!
//! Every process that runs the system is a node with a name. Leases, in the stores of the
//! applications' logs, record which nodes are alive and which node holds which unit: a follower,
//! the timers of an application, a view, an outbox. They only place work: the recorded processed
//! ranges ensure that each event is processed once, whichever node believes that it holds a lease.

mod options;
mod unit;

mod joining;

mod note;

mod placement;
mod roster;

mod status;
mod worker;

mod membership;
mod overview;

use std::fmt;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use retold_core::application::Error;
use retold_core::following::{FollowerStatus, Phase};
use retold_core::health::{Finding, FindingKind, Health, Trouble};
use retold_core::projection::ProjectionHandle;
use retold_core::recording::{BoxFuture, Patience, RecordError, Store};
use retold_core::system::{
    Behind, Goal, Holder, Infrastructure, Lag, OpenSystem, Opening, OutboxStatus, Runner,
    StopReport, System, TimersStatus, WaitError,
};
use tokio::sync::{Mutex, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep_until};

pub use self::joining::JoinError;
pub use self::options::ClusterOptions;
pub use self::overview::{ClusterOverview, UnitOverview};
pub use self::status::{ClusterStatus, NodeStatus, UnitStatus};
pub use self::unit::Unit;

use self::joining::{check_node, check_units, shares};
use self::membership::{Membership, MembershipCell, NoSlot, Surroundings};
pub(crate) use self::roster::in_time;
use self::roster::{NodeLife, Roster};
use self::unit::unit_of_view;
pub(crate) use self::unit::{LeaseNames, unit_of};
pub(crate) use self::worker::Worker;
use crate::job::Job;
use crate::limits::HEALTH_LOOK_TIMES_TO_LIVE;
use crate::log_news::watch_logs;
use crate::running_system::{Keeping, RunningSystem};
use crate::stopping::{NamedTask, after, end_tasks, locked, take_report};
use crate::watchdog::Watchdog;

/// One node of a system that runs on any number of processes and machines.
///
/// Every process opens the stores and joins under its own name. The units of the system (each
/// follower, the timers of each application, each view and each outbox) are spread evenly over the
/// living nodes, and move when nodes join or leave: a node that [stops](Runner::stop) hands its
/// units over immediately; the units of a node that dies or hangs are taken over when its leases
/// end. Views in memory are kept by each node for its own readers.
///
/// The recorded result is one that a single thread could have recorded, even if nodes and leases
/// fail. Except for placement, a cluster works like [`MultiThread`](crate::MultiThread). Every node
/// can execute commands and wait for their effects.
///
/// If applications are in different stores, the units of each store are spread separately, by
/// leases in that store. Stores are distinguished by identity: share one `Arc` among the
/// applications that are in one store.
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// # use retold::prelude::*;
/// use retold::recording::MemoryStore;
/// use retold::runner::{Cluster, ClusterOptions};
/// use retold::system::{Context, Follower, Goal, Infrastructure, Runner, System};
/// #
/// # #[derive(Event, Serialize, Deserialize)]
/// # struct Ordered { item: String }
/// # #[derive(Aggregate, Clone, Default)]
/// # #[aggregate(event = Ordered)]
/// # struct Order;
/// # impl Apply<Ordered> for Order {
/// #     fn apply(&mut self, _: &Ordered) {}
/// # }
/// # #[derive(Event, Serialize, Deserialize)]
/// # struct Reserved;
/// # #[derive(Aggregate, Clone, Default)]
/// # #[aggregate(event = Reserved, key = String)]
/// # struct Stock { reserved: u32 }
/// # impl Apply<Reserved> for Stock {
/// #     fn apply(&mut self, _: &Reserved) {
/// #         self.reserved += 1;
/// #     }
/// # }
/// # async fn reserve(ordered: &Ordered, context: &mut Context) -> retold::Result<()> {
/// #     context.execute_or_create(ordered.item.as_str(), |_: &Stock| Reserved).await?;
/// #     Ok(())
/// # }
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
/// // Two nodes in one process; more often each is a process, and the store is a database.
/// let store = Infrastructure::new(Arc::new(MemoryStore::new()));
/// let one = Cluster::join(&shop, &store, "one", ClusterOptions::new()).await?;
/// let two = Cluster::join(&shop, &store, "two", ClusterOptions::new()).await?;
///
/// let orders = two.application("orders")?;
/// orders.create::<Order>(Ordered { item: "tea".into() }).await?;
/// let position = orders.head().await?.position().expect("something is recorded");
/// two.wait(Goal::caused_by("orders", position), Duration::from_secs(5)).await?;
/// let tea = two.application("stock")?.get::<Stock>("tea").await?;
/// assert_eq!(tea.state.reserved, 1);
///
/// println!("{}", one.cluster_status().await);
/// assert!(one.stop().await.is_clean());
/// assert!(two.stop().await.is_clean());
/// # Ok(())
/// # }
/// ```
pub struct Cluster {
    running: RunningSystem,
    life: NodeLife,
    names: LeaseNames,
    options: ClusterOptions,
    units: Vec<Unit>,
    /// Stores with leases, and the last known state of each.
    stores: Vec<(Arc<dyn Store>, Arc<MembershipCell>)>,
    stop_sender: watch::Sender<bool>,
    memberships: Mutex<Vec<JoinHandle<StopReport>>>,
    /// What is known of a stop, also if the call that began it was dropped.
    report: StdMutex<StopReport>,
    /// Views that each node keeps for itself, with their names.
    own_views: Mutex<Vec<NamedTask>>,
    aborts: Vec<AbortHandle>,
    _watchdog: Watchdog,
}

impl Cluster {
    /// Opens the logs of the system and joins under this name. The node gets units soon; this
    /// method does not wait for them. Must be called within a tokio runtime whose timer is enabled.
    ///
    /// It waits for a busy or absent store, for each log and for each store's leases up to
    /// [`Infrastructure::open_wait_max`]. Once the node has joined, no failure ends it: it retries
    /// until it [stops](Runner::stop) or is dropped.
    ///
    /// # Errors
    ///
    /// [`JoinError::NameTaken`] while a living node has the name. [`JoinError::Full`] if there are
    /// [`NODES_MAX`](crate::limits::NODES_MAX) living nodes. [`JoinError::Failed`] as for
    /// [`OpenSystem::open`], for an invalid option, for a name that is not valid in a lease, or if
    /// leases cannot be requested. After an error the node holds no lease, or its lease ends by
    /// itself.
    pub async fn join(
        system: &System,
        infrastructure: &Infrastructure,
        node: &str,
        options: ClusterOptions,
    ) -> Result<Self, JoinError> {
        check_node(node)?;
        options.check().map_err(Error::from)?;
        let open = OpenSystem::open(system, infrastructure, Opening::Write).await?;
        let (running, jobs) = RunningSystem::new(open, Keeping::Anywhere);
        let names = LeaseNames::of_system(system.name());
        let (placed, own): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .map(|job| (unit_of(&job), job))
            .partition(|(_, job)| !job.is_of_each_process());
        let units: Vec<_> = placed.iter().map(|(unit, _)| unit.clone()).collect();
        check_units(&names, &units)?;
        let (stop_sender, leaving) = watch::channel(false);
        let (news, aborts) = watch_logs(&running.open, &options.work);
        let around = Surroundings {
            life: NodeLife::begin(node),
            names: names.clone(),
            options: options.clone(),
            news,
            leaving,
        };
        let mut cluster = Self {
            _watchdog: running.watchdog(),
            running,
            life: around.life.clone(),
            names,
            options,
            units,
            stores: Vec::new(),
            stop_sender,
            memberships: Mutex::default(),
            report: StdMutex::default(),
            own_views: Mutex::default(),
            aborts,
        };
        let memberships = cluster.enlist(infrastructure, &around, placed).await?;
        cluster.start(memberships, &around, own.into_iter().map(|(_, job)| job));
        Ok(cluster)
    }

    /// Takes a slot in each store.
    async fn enlist(
        &mut self,
        infrastructure: &Infrastructure,
        around: &Surroundings,
        placed: Vec<(Unit, Job)>,
    ) -> Result<Vec<Membership>, JoinError> {
        for (_, job) in &placed {
            job.report_elsewhere().await;
        }
        let name_deadline = after(self.options.name_wait_max);
        let mut memberships = Vec::new();
        for share in shares(infrastructure, placed) {
            let cell = Arc::new(MembershipCell::default());
            self.stores
                .push((Arc::clone(&share.store), Arc::clone(&cell)));
            let mut membership = Membership::new(share.store, around.clone(), share.jobs, cell);
            let what = format!("joining the system {:?}", self.running.open.system().name());
            let mut patience = Patience::new(what, infrastructure.open_wait());
            let enlisted = loop {
                match membership.enlist().await {
                    Err(NoSlot::Namesake(_)) if Instant::now() < name_deadline => {
                        let rest = Instant::now() + self.options.rest();
                        sleep_until(name_deadline.min(rest)).await;
                    }
                    Err(NoSlot::Failed(
                        error @ (RecordError::Unavailable(_) | RecordError::OutcomeUnknown(_)),
                    )) if patience.pause(&error).await => {}
                    enlisted => break enlisted,
                }
            };
            memberships.push(membership);
            if let Err(no_slot) = enlisted {
                for membership in memberships {
                    membership.leave().await;
                }
                return Err(self.join_error(no_slot));
            }
        }
        Ok(memberships)
    }

    fn join_error(&self, no_slot: NoSlot) -> JoinError {
        let system = self.running.open.system().name().into();
        match no_slot {
            NoSlot::Namesake(lease) => JoinError::NameTaken {
                system,
                node: Arc::clone(&self.life.name),
                lease_ends_at: lease.ends_at,
            },
            NoSlot::Full => JoinError::Full { system },
            NoSlot::Failed(error) => JoinError::Failed(error.into()),
        }
    }

    fn start(
        &mut self,
        memberships: Vec<Membership>,
        around: &Surroundings,
        own: impl Iterator<Item = Job>,
    ) {
        for membership in memberships {
            let task = tokio::spawn(membership.run());
            self.aborts.push(task.abort_handle());
            self.memberships.get_mut().push(task);
        }
        for job in own {
            let title = job.title();
            let (news, leaving) = (around.news.clone(), around.leaving.clone());
            let work = job.run(news, leaving, self.options.work.clone(), Phase::Stopped);
            let task = tokio::spawn(work);
            self.aborts.push(task.abort_handle());
            self.own_views.get_mut().push((title, task));
        }
    }

    /// Returns the name of this node.
    pub fn node(&self) -> &str {
        &self.life.name
    }

    /// Returns the status of the whole cluster: the living nodes, the holder of each unit, and each
    /// follower's recorded checkpoint. Parts that cannot be read are missing, and
    /// [`failures`](ClusterStatus::failures) gives the reason.
    pub async fn cluster_status(&self) -> ClusterStatus {
        let mut rosters = Vec::new();
        let mut failures = Vec::new();
        for (store, cell) in &self.stores {
            let view = cell.read();
            failures.extend(view.failure);
            let Some(clock) = view.clock else { continue };
            let call_max = self.options.renew_interval();
            match Roster::read(&**store, &self.names, clock, call_max).await {
                Ok(roster) => rosters.push(roster),
                Err(error) => failures.push(error.to_string()),
            }
        }
        failures.dedup();
        let units = self.units.iter().map(|unit| {
            let lease = self.names.unit(unit);
            let has = |roster: &&Roster| roster.units.contains_key(&lease);
            let none = Roster::default();
            let roster = rosters.iter().find(has).unwrap_or(&none);
            UnitStatus::of(unit.clone(), &self.names, roster)
        });
        let units: Vec<_> = units.collect();
        ClusterStatus {
            system: self.running.open.system().name().into(),
            node: Arc::clone(&self.life.name),
            nodes: status::nodes(&rosters, &units),
            now: rosters.first().map(|roster| roster.now),
            units,
            followers: self.running.status().await,
            findings: self.findings().await,
            failures,
        }
    }

    async fn examine_node(&self) -> Health {
        let mut health = Health::default();
        let is_stopping = *self.stop_sender.borrow();
        let look_max = self.options.time_to_live * HEALTH_LOOK_TIMES_TO_LIVE;
        for (_, cell) in &self.stores {
            let view = cell.read();
            let looked = view.looked_at.map(|at| at.elapsed());
            if !is_stopping && looked.is_some_and(|looked| looked > look_max) {
                let looked = looked.unwrap_or_default();
                let reason = format!("the node did not look at its leases for {looked:?}");
                health.findings.push(self.of_node(Trouble::Failed, &reason));
                health.not_live.get_or_insert(reason);
            }
            let renewed = view.clock.map(|clock| clock.age());
            if renewed.is_none_or(|renewed| renewed >= self.options.time_to_live) {
                let reason = view
                    .failure
                    .unwrap_or_else(|| "the reason is unknown".into());
                let reason = format!("the node's lease is not renewed: {reason}");
                health
                    .findings
                    .push(self.of_node(Trouble::Retrying, &reason));
                health.not_ready.get_or_insert(reason);
            }
        }
        if is_stopping {
            // Other nodes hold its former units.
            health.findings.clear();
            health.not_ready = Some("the node is stopping".into());
            return health;
        }
        self.examine(&mut health).await;
        health
    }

    async fn findings(&self) -> Vec<Finding> {
        let mut health = Health::default();
        self.examine(&mut health).await;
        health.findings
    }

    /// Adds problems of this node, and those that other nodes show of their units.
    async fn examine(&self, health: &mut Health) {
        self.running.examine(health).await;
        let rosters = self.stores.iter().map(|(_, cell)| cell.read().roster);
        let rosters: Vec<_> = rosters.collect();
        for unit in &self.units {
            let lease = self.names.unit(unit);
            let Some(roster) = rosters.iter().find(|it| it.findings.contains_key(&lease)) else {
                continue;
            };
            let held = roster.held(&lease);
            let is_here = held.is_some_and(|lease| lease.holder == self.life.holder);
            let Some((trouble, reason)) = roster.findings.get(&lease).filter(|_| !is_here) else {
                continue;
            };
            let found = unit.finding(*trouble, reason.clone());
            let is_same = |it: &Finding| {
                (it.kind, it.trouble) == (found.kind, found.trouble) && it.name == found.name
            };
            if !health.findings.iter().any(is_same) {
                health.findings.push(found);
            }
        }
        health.findings.sort_by_key(|it| it.kind);
    }

    fn of_node(&self, trouble: Trouble, reason: &str) -> Finding {
        Finding::new(FindingKind::Process, self.node(), trouble, reason)
    }

    /// Adds the nodes that hold the followers and views which are behind.
    fn with_holders(&self, mut error: WaitError) -> WaitError {
        if let WaitError::Timeout { behind, .. } = &mut error {
            behind.iter_mut().for_each(|it| self.add_holder(it));
        }
        error
    }

    fn add_holder(&self, behind: &mut Behind) {
        match behind {
            Behind::Follower {
                follower,
                pipeline,
                holder,
                ..
            } => {
                let unit = Unit::Follower {
                    follower: follower.clone(),
                    pipeline: *pipeline,
                };
                *holder = Some(self.holder(unit));
            }
            Behind::View { view, holder, .. } => {
                let mut handles = self.running.projections().iter();
                let handle = handles.find(|it| *it.outline().name == **view);
                let shared = handle.filter(|it| !it.is_of_this_process());
                *holder = shared.map(|handle| self.holder(unit_of_view(handle)));
            }
            _ => {}
        }
    }

    /// Returns the holder of a unit as of this node's last look at the leases.
    fn holder(&self, unit: Unit) -> Holder {
        let lease = self.names.unit(&unit);
        let rosters = self.stores.iter().map(|(_, cell)| cell.read().roster);
        let roster = rosters.into_iter().find(|it| it.units.contains_key(&lease));
        UnitStatus::of(unit, &self.names, &roster.unwrap_or_default()).holder()
    }

    async fn leave(&self) -> StopReport {
        self.stop_sender.send_replace(true);
        let mut memberships = self.memberships.lock().await;
        while let Some(membership) = memberships.first_mut() {
            let ended = membership.await;
            drop(memberships.remove(0));
            let mut report = locked(&self.report);
            match ended {
                Ok(part) => {
                    report.unfinished.extend(part.unfinished);
                    report.unrecorded.extend(part.unrecorded);
                }
                Err(error) => report.unrecorded.push(("leases".into(), error.to_string())),
            }
        }
        drop(memberships);
        let deadline = after(self.options.work.stop_wait_max);
        end_tasks(&mut *self.own_views.lock().await, deadline, &self.report).await;
        self.aborts.iter().for_each(AbortHandle::abort);
        take_report(&self.report)
    }
}

impl Runner for Cluster {
    fn open_system(&self) -> &OpenSystem {
        &self.running.open
    }

    /// Returns handles of the views. Their state is that of this process only; use
    /// [`has_recorded`](ProjectionHandle::has_recorded) to find out whether a view shows a
    /// position.
    fn projections(&self) -> &[ProjectionHandle] {
        self.running.projections()
    }

    /// Returns the status of the followers on all nodes: for those on other nodes the recorded
    /// state, in the phase [`Standby`](Phase::Standby).
    fn status(&self) -> BoxFuture<'_, Vec<FollowerStatus>> {
        Box::pin(self.running.status())
    }

    /// Returns the status of the timers. If another node holds the timers of an application, their
    /// status here shows none pending.
    fn timers(&self) -> Vec<TimersStatus> {
        self.running.timers()
    }

    /// Returns the status of the outboxes that were given to this node; those that another node
    /// drains are in the phase [`Standby`](Phase::Standby).
    fn outboxes(&self) -> Vec<OutboxStatus> {
        self.running.outboxes()
    }

    /// Returns the health of this node. It works if it looks at its leases in time, even if the
    /// look fails. It can take requests if it has joined, its lease is renewed in every store, the
    /// logs can be read, and it is not stopping. Its findings are those of the units that this node
    /// holds, the recorded problems of all others, and the findings that other nodes show of their
    /// followers, timers, views and outboxes, as of this node's last look at the leases.
    fn health(&self) -> BoxFuture<'_, Health> {
        Box::pin(self.examine_node())
    }

    /// Returns how far the followers of the whole cluster are behind, at most
    /// [`LAG_AGE_MAX`](crate::limits::LAG_AGE_MAX) old. For followers on other nodes only the
    /// recorded state is known, so they may seem to be behind by events that they passed over
    /// without recording that yet.
    fn lag(&self) -> BoxFuture<'_, Lag> {
        Box::pin(self.running.lag())
    }

    /// Waits until the goal is reached, on whichever nodes. It also works after this node has
    /// stopped, while other nodes run the followers.
    fn wait(&self, goal: Goal, timeout: Duration) -> BoxFuture<'_, Result<(), WaitError>> {
        Box::pin(async move {
            let waited = self.running.wait(&goal, timeout).await;
            waited.map_err(|error| self.with_holders(error))
        })
    }

    /// Leaves the cluster: each unit of this node finishes its current page, records its
    /// checkpoint, and is handed over. Units that do not end in time are dropped and listed in the
    /// report. If the node is dropped without this call, the others take over when its leases end.
    fn stop(&self) -> BoxFuture<'_, StopReport> {
        Box::pin(self.leave())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.aborts.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("system", self.running.open.system())
            .field("node", &self.life.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
