//! Methods for followers of an application: states from the cache, the same types over other
//! recorders, and a conductor around commands.

use std::sync::{Arc, Mutex};

use super::cache::{Cache, Folded};
use super::conductor::Conductor;
use super::error::Result;
use super::handle::{Application, Core, OpenPurpose};
use super::lanes::Lanes;
use super::past::{Own, Past};
use super::publish::Bus;
use super::reports::Reports;
use super::turns::Turns;
use crate::domain::Aggregate;
use crate::recording::{Recorder, Version};

impl Application {
    /// Returns the state of a stream from the cache, possibly outdated. Reads it if the cache has
    /// none, and reads the later events if it is known to be outdated. For callers whose append
    /// checks whether it was the newest.
    pub(crate) async fn state_to_be_judged<A: Aggregate>(
        &self,
        stream: &Arc<str>,
    ) -> Result<Folded<A>> {
        self.see_forgotten().await?;
        match self.core.cache.get_if_current(stream) {
            Some(folded) => Ok(folded),
            None => self.newest_state(stream).await,
        }
    }

    /// Returns the newest state of a stream, also if it is deleted.
    pub(crate) async fn newest_state<A: Aggregate>(&self, stream: &Arc<str>) -> Result<Folded<A>> {
        Ok(self.load_with_head(stream).await?.0)
    }

    /// Caches a state whose events were just recorded, and takes a snapshot if they made one due.
    pub(crate) async fn keep_state<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        before: Option<Version>,
        folded: &Folded<A>,
    ) {
        self.core.cache.put(stream, folded);
        self.take_snapshot_if_due(stream, before, folded).await;
    }

    /// Notes that the stream has events that the cached state has not seen. They are read when the
    /// state is needed next.
    pub(crate) fn outdate_state(&self, stream: &str) {
        self.core.cache.outdate(stream);
    }

    /// Returns the same application, with its types and its clock, over a log as it was, with its
    /// own cache and read-only.
    pub(crate) fn over(&self, past: Arc<dyn Recorder>, cache_size: usize) -> Self {
        let forgets = self.core.cache.shared_forgets();
        self.reading(past, Cache::counting(cache_size, forgets), None)
    }

    /// Returns the same application over its log as it was, followed by events that are not
    /// recorded, read-only. States are read from this application's cache onward, and the cache
    /// gets only states without the unrecorded events.
    pub(crate) fn over_own<P: Past + 'static>(&self, past: Arc<P>) -> Self {
        let own = Own::new(
            Arc::clone(&self.core.cache),
            Arc::clone(&past) as Arc<dyn Past>,
        );
        let forgets = self.core.cache.shared_forgets();
        self.reading(past, Cache::counting(0, forgets), Some(own))
    }

    fn reading(&self, recorder: Arc<dyn Recorder>, cache: Cache, own: Option<Own>) -> Self {
        Self {
            core: Arc::new(Core {
                recorder,
                own,
                clock: Arc::clone(&self.core.clock),
                ids: Arc::clone(&self.core.ids),
                retries: self.core.retries,
                cache: Arc::new(cache),
                lanes: Lanes::default(),
                turns: Turns::default(),
                bus: Bus::default(),
                mapper: self.core.mapper.clone(),
                #[cfg(feature = "protection")]
                protection: self.core.protection.clone(),
                registry: Arc::clone(&self.core.registry),
                reports: Reports::default(),
                topics: Arc::clone(&self.core.topics),
                typed_watches: Arc::clone(&self.core.typed_watches),
                store: None,
                access: OpenPurpose::ReadOnly,
                unfit_for_snapshots: Mutex::default(),
                declared: Arc::clone(&self.core.declared),
            }),
            metadata: None,
            conductor: None,
        }
    }

    /// The status reports of components that the application's programs drive themselves.
    pub(crate) fn reports(&self) -> &Reports {
        &self.core.reports
    }

    /// Returns a handle whose commands are conducted.
    pub(crate) fn conducted(&self, conductor: Arc<dyn Conductor>) -> Self {
        Self {
            conductor: Some(conductor),
            ..self.clone()
        }
    }

    /// Calls the conductor, if there is one, before a command.
    pub(super) async fn before_command(&self) {
        if let Some(conductor) = &self.conductor {
            conductor.before_command().await;
        }
    }

    /// Calls the conductor, if there is one, after an append.
    pub(super) async fn after_commit(&self) {
        if let Some(conductor) = &self.conductor {
            conductor.after_commit().await;
        }
    }
}
