//! The runner that spreads a system over processes and machines.
//!
//! Every process that runs the system is a node with a name. Leases, in the stores of the
//! applications' logs, record which nodes are alive and which node holds which unit: a follower,
//! the timers of an application, a view, an outbox. They only place work: the recorded processed
//! ranges ensure that each event is processed once, whichever node believes that it holds a lease.

mod options;
mod unit;

mod note;

mod placement;
mod roster;

mod status;
mod worker;

mod membership;
mod overview;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use retold_core::application::{Application, Error, Result};
use retold_core::domain::Timestamp;
use retold_core::following::{FollowerOperator, FollowerStatus, Phase};
use retold_core::health::{Finding, FindingKind, Health, Trouble};
use retold_core::projection::ProjectionHandle;
use retold_core::recording::limits::check_name;
use retold_core::recording::{Invalid, Patience, Position, RecordError, Store};
use retold_core::system::{Infrastructure, OpenSystem, Opening, OutboxStatus, System};
use tokio::sync::{Mutex, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

pub use self::options::ClusterOptions;
pub use self::overview::{ClusterOverview, UnitOverview};
pub use self::status::{ClusterStatus, NodeStatus, UnitStatus};
pub use self::unit::Unit;

use self::membership::{Membership, MembershipCell, NoSlot, Surroundings};
pub(crate) use self::roster::in_time;
use self::roster::{NodeLife, Roster};
use self::unit::unit_of_view;
pub(crate) use self::unit::{LeaseNames, unit_of};
pub(crate) use self::worker::Worker;
use crate::job::Job;
use crate::lag::Lag;
use crate::limits::{HEALTH_LOOK_TIMES_TO_LIVE, NODE_NAME_MAX, NODES_MAX, WAIT_LOOK_INTERVAL};
use crate::log_news::watch_logs;
use crate::running_system::RunningSystem;
use crate::stop_report::StopReport;
use crate::timers_task::TimersStatus;
use crate::waiting::{Holder, ViewWaitError, WaitError};
use crate::watchdog::Watchdog;

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A living node of the system has the name. If that node is permanently down, its lease ends
    /// by itself.
    #[error(
        "a living node of the system {system:?} has the name {node:?}, \
         until {lease_ends_at} at least; give each node a different name, \
         or make joining wait with `name_wait_max`"
    )]
    NameTaken {
        /// The name of the system.
        system: Arc<str>,
        /// The name of the node.
        node: Arc<str>,
        /// When the other node's lease ends unless it is renewed, by the store's clock.
        lease_ends_at: Timestamp,
    },
    /// The cluster has the maximum number of living nodes.
    #[error("the system {system:?} has {NODES_MAX} nodes, which is the maximum")]
    Full {
        /// The name of the system.
        system: Arc<str>,
    },
    /// A log could not be opened, a lease could not be requested, or a name or an option is not
    /// valid.
    #[error(transparent)]
    Retold(#[from] Error),
}

/// One node of a system that runs on any number of processes and machines.
///
/// Every process opens the stores and joins under its own name. The units of the system (each
/// follower, the timers of each application, each view and each outbox) are spread evenly over the
/// living nodes, and move when nodes join or leave: a node that [leaves](Self::leave) hands its
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
/// use retold::system::{Context, Follower, Infrastructure, System};
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
/// two.wait_for_all_caused("orders", position, Duration::from_secs(5)).await?;
/// let tea = two.application("stock")?.get::<Stock>("tea").await?;
/// assert_eq!(tea.state.reserved, 1);
///
/// println!("{}", one.status().await);
/// assert!(one.leave().await.is_clean());
/// assert!(two.leave().await.is_clean());
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
    leave: watch::Sender<bool>,
    memberships: Mutex<Vec<JoinHandle<StopReport>>>,
    /// Views that each node keeps for itself, with their names.
    own_views: Mutex<Vec<(String, JoinHandle<Option<String>>)>>,
    aborts: Vec<AbortHandle>,
    _watchdog: Watchdog,
}

/// The part of the work that belongs to one store.
struct Share {
    store: Arc<dyn Store>,
    jobs: Vec<(Unit, Job)>,
}

impl Cluster {
    /// Opens the logs of the system and joins under this name. The node gets units soon; this
    /// method does not wait for them. Must be called within a tokio runtime whose timer is enabled.
    ///
    /// It waits for a busy or absent store, for each log and for each store's leases up to
    /// [`Infrastructure::open_wait_max`]. Once the node has joined, no failure ends it: it retries
    /// until it [leaves](Self::leave) or is dropped.
    ///
    /// # Errors
    ///
    /// [`JoinError::NameTaken`] while a living node has the name. [`JoinError::Full`] if there are
    /// [`NODES_MAX`] living nodes. [`JoinError::Retold`] as for [`OpenSystem::open`], for an
    /// invalid option, for a name that is not valid in a lease, or if leases cannot be requested.
    /// After an error the node holds no lease, or its lease ends by itself.
    pub async fn join(
        system: &System,
        infrastructure: &Infrastructure,
        node: &str,
        options: ClusterOptions,
    ) -> Result<Self, JoinError> {
        check_node(node)?;
        options.check().map_err(Error::from)?;
        let open = OpenSystem::open(system, infrastructure, Opening::Write).await?;
        let (running, jobs) = RunningSystem::new(open);
        let names = LeaseNames::of_system(system.name());
        let (placed, own): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .map(|job| (unit_of(&job), job))
            .partition(|(_, job)| !job.is_of_each_process());
        let units: Vec<_> = placed.iter().map(|(unit, _)| unit.clone()).collect();
        check_units(&names, &units)?;
        let (leave, leaving) = watch::channel(false);
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
            leave,
            memberships: Mutex::default(),
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
        let name_deadline = Instant::now() + self.options.name_wait_max;
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
            NoSlot::Failed(error) => JoinError::Retold(error.into()),
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

    /// Returns the application with this name, for commands and reads.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is none; the error lists the existing names.
    pub fn application(&self, name: &str) -> Result<Application> {
        self.running.application(name)
    }

    /// Returns the system with its logs.
    pub fn open_system(&self) -> &OpenSystem {
        &self.running.open
    }

    /// Returns the status of the whole cluster: the living nodes, the holder of each unit, and each
    /// follower's recorded checkpoint. Parts that cannot be read are missing, and
    /// [`failures`](ClusterStatus::failures) gives the reason.
    pub async fn status(&self) -> ClusterStatus {
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
            followers: self.followers().await,
            findings: self.findings().await,
            failures,
        }
    }

    /// Returns whether this process works, whether it can take requests, and every problem that
    /// needs attention: for the probes of an orchestrator and for alarms.
    ///
    /// The process works if it looks at its leases in time, even if the look fails. It can take
    /// requests if it has joined, its lease is renewed in every store, the logs can be read, and it
    /// is not leaving. Its findings are those of the units that this node holds, the recorded
    /// problems of all others, and the findings that other nodes show of their followers, timers,
    /// views and outboxes, as of this node's last look at the leases.
    pub async fn health(&self) -> Health {
        let mut health = Health::default();
        let is_leaving = *self.leave.borrow();
        let look_max = self.options.time_to_live * HEALTH_LOOK_TIMES_TO_LIVE;
        for (_, cell) in &self.stores {
            let view = cell.read();
            let looked = view.looked_at.map(|at| at.elapsed());
            if !is_leaving && looked.is_some_and(|looked| looked > look_max) {
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
        if is_leaving {
            // Other nodes hold its former units.
            health.findings.clear();
            health.not_ready = Some("the node is leaving".into());
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

    /// Returns the status of each follower, in the order of declaration, relative to the current
    /// ends of the logs: for followers on other nodes the recorded state, in the phase
    /// [`Standby`](Phase::Standby).
    pub async fn followers(&self) -> Vec<FollowerStatus> {
        self.running.status().await
    }

    /// Returns handles of the views, in the infrastructure's order. Their state is that of this
    /// process only; use [`has_recorded`](ProjectionHandle::has_recorded) to find out whether a
    /// view shows a position.
    pub fn projections(&self) -> &[ProjectionHandle] {
        self.running.projections()
    }

    /// Waits until readers of the view with this name see the event at this position of its log,
    /// whichever node keeps the view.
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
        let deadline = Instant::now() + wait_max;
        let mut checkpoint = None;
        let shown = async {
            if handle.is_of_this_process() {
                return handle.wait_for(position).await;
            }
            loop {
                checkpoint = handle.recorded_checkpoint().await?;
                if checkpoint >= Some(position) || handle.has_recorded(position).await? {
                    return Ok(());
                }
                sleep(WAIT_LOOK_INTERVAL).await;
            }
        };
        match timeout_at(deadline, shown).await {
            Ok(waited) => Ok(waited?),
            Err(_) => Err(ViewWaitError::Timeout {
                view: view.into(),
                position,
                checkpoint: checkpoint.max(handle.checkpoint()),
                state: handle.state(),
                holder: (!handle.is_of_this_process()).then(|| self.holder(unit_of_view(handle))),
            }),
        }
    }

    /// Returns the status of each application's timers, in the order of declaration. If another
    /// node holds the timers of an application, their status here shows none pending.
    pub fn timers(&self) -> Vec<TimersStatus> {
        self.running.timers()
    }

    /// Returns the status of the outboxes given to this node, in their order; outboxes that another
    /// node drains are in the phase [`Standby`](Phase::Standby).
    pub fn outboxes(&self) -> Vec<OutboxStatus> {
        self.running.outboxes()
    }

    /// Returns how far the followers of the whole cluster are behind: the largest lag in events and
    /// the largest lag in time. Paused, retired and failed followers do not count. For followers on
    /// other nodes only the recorded state is known, so they may seem to be behind by events that
    /// they passed over without recording that yet. The result is cached for
    /// [`LAG_AGE_MAX`](crate::limits::LAG_AGE_MAX).
    pub async fn lag(&self) -> Lag {
        self.running.lag().await
    }

    /// Returns whether a follower is behind by more than this many events, in which case a service
    /// should ask its clients to come back later. Cached like [`lag`](Self::lag).
    pub async fn is_overloaded(&self, events_max: u64) -> bool {
        self.lag().await.events > events_max
    }

    /// Returns the operator's handle of the follower with this name. The node that holds the
    /// follower notices the operator's acts by itself, soon.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no such application or follower.
    pub fn operator(&self, application: &str, follower: &str) -> Result<FollowerOperator> {
        self.running.operator(application, follower)
    }

    /// Waits until all followers of an application's log, on any node, have processed it up to and
    /// including this position, and recorded that. A parked event counts as processed.
    ///
    /// # Errors
    ///
    /// [`WaitError::Timeout`] lists the followers that are behind. [`WaitError::Halted`] is
    /// returned immediately if one of them is paused or has failed on this node.
    /// [`WaitError::Retold`] if a log cannot be read, or there is no such application or follower.
    pub async fn wait_for(
        &self,
        application: &str,
        position: Position,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let waited = self.running.wait_for(application, position, timeout).await;
        waited.map_err(|error| self.with_holders(error))
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
        waited.await.map_err(|error| self.with_holders(error))
    }

    /// Waits until everything is processed, on any node, that was caused by the events of an
    /// application's log up to and including this position. See
    /// [`MultiThread::wait_for_all_caused`](crate::MultiThread::wait_for_all_caused).
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
        let waited = running.wait_for_all_caused(application, position, timeout);
        waited.await.map_err(|error| self.with_holders(error))
    }

    /// Adds the nodes that hold the followers which are behind.
    fn with_holders(&self, error: WaitError) -> WaitError {
        match error {
            WaitError::Timeout {
                mut behind,
                searching,
            } => {
                for it in &mut behind {
                    let unit = Unit::Follower {
                        application: Arc::clone(&it.application),
                        follower: Arc::clone(&it.follower),
                        pipeline: it.pipeline,
                    };
                    it.holder = Some(self.holder(unit));
                }
                WaitError::Timeout { behind, searching }
            }
            error => error,
        }
    }

    /// Returns the holder of a unit as of this node's last look at the leases.
    fn holder(&self, unit: Unit) -> Holder {
        let lease = self.names.unit(&unit);
        let rosters = self.stores.iter().map(|(_, cell)| cell.read().roster);
        let roster = rosters.into_iter().find(|it| it.units.contains_key(&lease));
        UnitStatus::of(unit, &self.names, &roster.unwrap_or_default()).holder()
    }

    /// Leaves the cluster: each unit of this node finishes its current page, records its
    /// checkpoint, and is handed over. Units that do not end in time are dropped and listed in the
    /// report. A second call finds nothing to do.
    ///
    /// Applications remain usable, and the waiting methods work while other nodes run the
    /// followers. Dropping the node without this call loses nothing: the others take over when its
    /// leases end.
    pub async fn leave(&self) -> StopReport {
        self.leave.send_replace(true);
        let mut report = StopReport::default();
        for membership in self.memberships.lock().await.drain(..) {
            match membership.await {
                Ok(part) => {
                    report.unfinished.extend(part.unfinished);
                    report.unrecorded.extend(part.unrecorded);
                }
                Err(error) => report.unrecorded.push(("leases".into(), error.to_string())),
            }
        }
        let deadline = Instant::now() + self.options.work.stop_wait_max;
        for (name, mut task) in self.own_views.lock().await.drain(..) {
            match timeout_at(deadline, &mut task).await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(reason))) => report.unrecorded.push((name, reason)),
                Ok(Err(error)) => report.unrecorded.push((name, error.to_string())),
                Err(_) => report.unfinished.push(name),
            }
        }
        self.aborts.iter().for_each(AbortHandle::abort);
        report
    }
}

/// Groups the jobs by the stores of their applications.
fn shares(infrastructure: &Infrastructure, placed: Vec<(Unit, Job)>) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    for (unit, job) in placed {
        let store = infrastructure.store_of(unit.application());
        let is_same =
            |it: &&mut Share| std::ptr::addr_eq(Arc::as_ptr(&it.store), Arc::as_ptr(store));
        match shares.iter_mut().find(is_same) {
            Some(share) => share.jobs.push((unit, job)),
            None => shares.push(Share {
                store: Arc::clone(store),
                jobs: vec![(unit, job)],
            }),
        }
    }
    shares
}

fn check_node(node: &str) -> Result<(), Error> {
    check_name("name of a node", node)?;
    if node.len() > NODE_NAME_MAX {
        return Err(invalid(format!(
            "the name of a node has {} bytes; it may have {NODE_NAME_MAX}",
            node.len()
        )));
    }
    Ok(())
}

fn check_units(names: &LeaseNames, units: &[Unit]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for unit in units {
        check_name(
            "name of the lease of a follower, timers, a view or an outbox",
            &names.unit(unit),
        )?;
        if !seen.insert(unit) {
            return Err(invalid(format!(
                "the infrastructure has {unit} twice; give one of them another name"
            )));
        }
    }
    Ok(())
}

fn invalid(reason: String) -> Error {
    Invalid::new(reason).into()
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
