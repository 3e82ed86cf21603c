//! A system with its logs opened. Every runner is built on one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::definition::{Member, System};
use super::delivery::{Delivery, OutboxPipeline};
use crate::application::{Application, Error, Result};
use crate::domain::{Clock, IdSource};
use crate::following::{Follower, FollowerRecord, Lane, Pipeline};
use crate::health::{Finding, FindingKind, Trouble};
use crate::projection::{ProjectionOutline, ProjectionPipeline, ViewStore};
#[cfg(feature = "protection")]
use crate::protection::Protection;
use crate::recording::{Invalid, LogId, MemoryStore, OPEN_WAIT_MAX, Patience, Recorder, Store};

/// What a system needs to run: the stores of its logs, the sources of its commands' times and ids,
/// its views, and the outboxes that its runner drains.
///
/// ```
/// # use retold::recording::MemoryStore;
/// # use std::sync::Arc;
/// use retold::system::Infrastructure;
///
/// let infrastructure = Infrastructure::memory()
///     .application_in("stock", Arc::new(MemoryStore::new()));
/// ```
#[derive(Clone)]
pub struct Infrastructure {
    store: Arc<dyn Store>,
    stores: BTreeMap<String, Arc<dyn Store>>,
    log_ids: BTreeMap<String, LogId>,
    clock: Option<Arc<dyn Clock>>,
    ids: Option<Arc<dyn IdSource>>,
    views: Vec<Arc<dyn ViewStore>>,
    deliveries: Vec<Delivery>,
    open_wait_max: Duration,
    #[cfg(feature = "protection")]
    protection: Option<Protection>,
}

impl Infrastructure {
    /// Keeps all logs in a new store in memory, which is gone when the last clone of it and the
    /// last application are dropped: for tests, examples and first steps.
    pub fn memory() -> Self {
        Self::new(Arc::new(MemoryStore::new()))
    }

    /// Keeps all logs in this store, except those given another store by
    /// [`application_in`](Self::application_in).
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            stores: BTreeMap::new(),
            log_ids: BTreeMap::new(),
            clock: None,
            ids: None,
            views: Vec::new(),
            deliveries: Vec::new(),
            open_wait_max: OPEN_WAIT_MAX,
            #[cfg(feature = "protection")]
            protection: None,
        }
    }

    /// Compresses and encrypts what is recorded in the logs of all applications. Followers, timers,
    /// projections, outboxes and retellings of the system read them.
    #[cfg(feature = "protection")]
    #[must_use]
    pub fn protection(mut self, protection: Protection) -> Self {
        self.protection = Some(protection);
        self
    }

    /// Limits how long a runner or a node of a cluster waits at its start for a store that is busy
    /// or absent; [`OPEN_WAIT_MAX`] by default. Until then it retries after growing pauses; after
    /// that it fails with the store's last error. With zero it fails at the first error: use this
    /// in a simulation, where no time passes.
    #[must_use]
    pub fn open_wait_max(mut self, wait: Duration) -> Self {
        self.open_wait_max = wait;
        self
    }

    /// Returns the limit set by [`open_wait_max`](Self::open_wait_max).
    pub fn open_wait(&self) -> Duration {
        self.open_wait_max
    }

    /// Keeps the log of this application in another store.
    #[must_use]
    pub fn application_in(mut self, application: impl Into<String>, store: Arc<dyn Store>) -> Self {
        self.stores.insert(application.into(), store);
        self
    }

    /// Sets the id that the log of this application gets if opening creates it.
    #[must_use]
    pub fn log_id(mut self, application: impl Into<String>, id: LogId) -> Self {
        self.log_ids.insert(application.into(), id);
        self
    }

    /// Uses this clock for the time of commands; the machine's by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Uses this source for the ids that commands create; UUIDs of version 7 by default.
    #[must_use]
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = Some(ids);
        self
    }

    /// Adds this view of the log that its projection names.
    #[must_use]
    pub fn view(mut self, view_store: Arc<dyn ViewStore>) -> Self {
        self.views.push(view_store);
        self
    }

    /// Adds this outbox. `MultiThread` drains it. In a `Cluster`, one of the nodes that were given
    /// it drains it at a time. [`SingleThread`](super::single_thread::SingleThread) rejects it.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.deliveries.push(delivery);
        self
    }

    /// Opens one application of a system, and retries while its store is busy or absent.
    pub(crate) async fn open(&self, member: &Member, opening: Opening) -> Result<Application> {
        let what = format!("opening the application {:?}", member.name());
        let mut patience = Patience::new(what, self.open_wait_max);
        loop {
            match self.try_open(member, opening).await {
                Err(error) if may_pass(&error) && patience.pause(&error).await => {}
                done => return done,
            }
        }
    }

    async fn try_open(&self, member: &Member, opening: Opening) -> Result<Application> {
        let store = Arc::clone(self.store_of(member.name()));
        let mut builder = member.builder().store(store);
        if let Some(clock) = &self.clock {
            builder = builder.clock(Arc::clone(clock));
        }
        if let Some(ids) = &self.ids {
            builder = builder.ids(Arc::clone(ids));
        }
        if let Some(id) = self.log_ids.get(member.name()) {
            builder = builder.log_id(*id);
        }
        #[cfg(feature = "protection")]
        if let Some(protection) = &self.protection {
            builder = builder.protection(protection.clone());
        }
        if opening == Opening::ReadOnly {
            builder = builder.read_only();
        }
        builder.open().await
    }

    /// Returns the store of this application's log.
    pub fn store_of(&self, application: &str) -> &Arc<dyn Store> {
        self.stores.get(application).unwrap_or(&self.store)
    }
}

impl fmt::Debug for Infrastructure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Infrastructure")
            .field("elsewhere", &self.stores.keys().collect::<Vec<_>>())
            .field("clock", &self.clock)
            .field("open_wait_max", &self.open_wait_max)
            .finish_non_exhaustive()
    }
}

/// Returns whether an error at startup may disappear by waiting.
pub(super) fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::OutcomeUnknown { .. })
}

/// How logs are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Opening {
    /// For reading and writing; a log that does not exist is created.
    Write,
    /// For reading: nothing is written, and a log that does not exist reads as empty.
    ReadOnly,
}

/// A system with its logs opened. A clone shares the open logs.
#[derive(Clone)]
pub struct OpenSystem {
    system: System,
    applications: Arc<[Application]>,
    views: Arc<[Arc<dyn ViewStore>]>,
    deliveries: Arc<[Delivery]>,
}

impl OpenSystem {
    /// Opens the logs of all applications of the system. Waits for a store that is busy or absent,
    /// for each log at most [`Infrastructure::open_wait_max`].
    ///
    /// # Errors
    ///
    /// As for [`ApplicationBuilder::open`](crate::application::ApplicationBuilder::open);
    /// [`Error::Invalid`] for a view or an outbox of an application that the system does not have,
    /// and for an outbox that is given twice; when opened for writing, also if one of its followers
    /// is retired or recorded as part of another system.
    pub async fn open(
        system: &System,
        infrastructure: &Infrastructure,
        opening: Opening,
    ) -> Result<Self> {
        for view in &infrastructure.views {
            system.expect_index_of(&view.outline().upstream)?;
        }
        let mut outboxes = BTreeSet::new();
        for delivery in &infrastructure.deliveries {
            let (application, outbox) = (delivery.application(), delivery.outbox());
            system.expect_index_of(application)?;
            delivery.check()?;
            if !outboxes.insert((application, outbox)) {
                return Err(Error::invalid(format!(
                    "the outbox {outbox:?} of {application:?} is given twice; rename one of them"
                )));
            }
        }
        let mut applications = Vec::with_capacity(system.members().len());
        for member in system.members() {
            let application = infrastructure.open(member, opening).await?;
            if opening == Opening::Write {
                for follower in member.followers() {
                    check_declared(&application, follower, system).await?;
                }
            }
            applications.push(application);
        }
        Ok(Self {
            system: system.clone(),
            applications: applications.into(),
            views: infrastructure.views.clone().into(),
            deliveries: infrastructure.deliveries.clone().into(),
        })
    }

    /// Returns the system.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// Returns its applications, in the order of declaration.
    pub fn applications(&self) -> &[Application] {
        &self.applications
    }

    /// Returns the application of this name.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is none; the message lists the applications.
    pub fn application(&self, name: &str) -> Result<&Application> {
        Ok(&self.applications[self.system.expect_index_of(name)?])
    }

    /// Returns the same open system with other handles of the applications, in the same order.
    pub(super) fn with_applications(&self, applications: Vec<Application>) -> Self {
        Self {
            applications: applications.into(),
            ..self.clone()
        }
    }

    /// Returns the pipelines of all followers of the system with the index of their application: in
    /// the order of declaration, application by application and follower by follower; the pipelines
    /// of a partitioned follower in their order.
    pub fn pipelines(&self) -> Vec<(usize, Pipeline)> {
        let mut pipelines = Vec::new();
        for (index, member) in self.system.members().iter().enumerate() {
            for follower in member.followers() {
                let of_follower = self.pipelines_of(index, follower, follower.pipeline_count());
                pipelines.extend(of_follower.into_iter().map(|pipeline| (index, pipeline)));
            }
        }
        pipelines
    }

    /// Returns `partitions` pipelines for a follower of the application at this index.
    pub(super) fn pipelines_of(
        &self,
        index: usize,
        follower: &Arc<Follower>,
        count: u32,
    ) -> Vec<Pipeline> {
        let upstreams = follower
            .upstreams()
            .filter_map(|name| Some(self.applications[self.system.index_of(name)?].clone()));
        let upstreams: Vec<_> = upstreams.collect();
        let pipelines = (0..count).map(|lane| {
            let application = self.applications[index].clone();
            let pipeline = Pipeline::new(application, Arc::clone(follower), upstreams.clone());
            let pipeline = pipeline.of_system(self.system.names().clone());
            pipeline.in_lane(Lane { index: lane, count })
        });
        pipelines.collect()
    }

    /// Returns the findings of the outboxes that are open on its applications in this process.
    pub fn outbox_findings(&self) -> Vec<Finding> {
        let applications = self.applications.iter();
        let failures = applications.flat_map(|it| it.reports().failures());
        let findings = failures.map(|(name, report)| {
            let trouble = match report.is_retriable {
                true => Trouble::Retrying,
                false => Trouble::Failed,
            };
            Finding::new(FindingKind::Outbox, name, trouble, report.reason)
        });
        findings.collect()
    }

    /// Returns a pipeline for each [delivery](Infrastructure::delivery) with the index of the
    /// application whose events it delivers, in the order in which the deliveries were given.
    pub fn outboxes(&self) -> Vec<(usize, OutboxPipeline)> {
        let outboxes = self.deliveries.iter().filter_map(|delivery| {
            let index = self.system.index_of(delivery.application())?;
            let application = self.applications[index].clone();
            Some((index, OutboxPipeline::new(application, delivery.clone())))
        });
        outboxes.collect()
    }

    /// Returns the index of the view of this name, in the order in which the views were given.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if there is none.
    pub fn expect_view(&self, view: &str) -> Result<usize, Invalid> {
        let index = self.views().position(|outline| *outline.name == *view);
        index.ok_or_else(|| {
            Invalid::new(format!(
                "there is no view {view:?}; add it to the infrastructure"
            ))
        })
    }

    /// Returns the outlines of the views of logs of this system, in the order in which the views
    /// were given.
    pub(super) fn views(&self) -> impl Iterator<Item = &ProjectionOutline> {
        let outlines = self.views.iter().map(|view_store| view_store.outline());
        outlines.filter(|outline| self.system.index_of(&outline.upstream).is_some())
    }

    /// Returns a pipeline for each view with the index of the application whose log it folds, in
    /// the order in which the views were given.
    pub fn projections(&self) -> Vec<(usize, ProjectionPipeline)> {
        let views = self.views.iter().filter_map(|view_store| {
            let index = self.system.index_of(&view_store.outline().upstream)?;
            let application = &self.applications[index];
            let pipeline =
                ProjectionPipeline::new(Arc::clone(application.recorder()), Arc::clone(view_store));
            Some((index, pipeline.knowing_types_of(application)))
        });
        views.collect()
    }
}

/// Checks, by the follower's recorded events, that this program may run it.
async fn check_declared(
    application: &Application,
    follower: &Follower,
    system: &System,
) -> Result<()> {
    let mut record = FollowerRecord::new(follower.shared_name());
    let recorder: &dyn Recorder = &**application.recorder();
    record.read_on(recorder, application.mapper()).await?;
    record.check_system(application.name(), system.names())?;
    record.check_not_retired(application.name())?;
    Ok(())
}

impl fmt::Debug for OpenSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSystem")
            .field("system", &self.system)
            .field("views", &self.views.len())
            .finish_non_exhaustive()
    }
}
