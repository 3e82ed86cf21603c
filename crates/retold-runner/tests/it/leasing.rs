//! A store in memory whose leases behave as a test requires: it grants them to every node, or to
//! none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retold::recording::{BoxFuture, Lease, MemoryStore, RecordError, Store, StoreLayer};

/// How the store treats leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Leasing {
    #[default]
    Sound,
    /// Every caller gets the lease, and sees no other holder.
    Everybody,
    /// No call about leases succeeds.
    Unavailable,
    /// The lease of a unit is never granted; everything else works.
    NoUnits,
    /// Calls about leases get no response.
    Silent,
}

pub(crate) struct LeasingStore {
    inner: Arc<dyn Store>,
    leasing: Mutex<Leasing>,
    /// The holders to which each lease was granted.
    given: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

impl Default for LeasingStore {
    fn default() -> Self {
        Self::over(MemoryStore::new())
    }
}

impl LeasingStore {
    /// Wraps a store that others may share.
    pub(crate) fn over(inner: MemoryStore) -> Self {
        Self {
            inner: Arc::new(inner),
            leasing: Mutex::default(),
            given: Mutex::default(),
        }
    }

    pub(crate) fn set(&self, leasing: Leasing) {
        *self.leasing.lock().unwrap() = leasing;
    }

    /// Returns the number of holders to which each unit's lease was granted.
    pub(crate) fn holders_of_units(&self) -> Vec<usize> {
        let given = self.given.lock().unwrap();
        let units = given.iter().filter(|(lease, _)| lease.contains("/unit/"));
        units.map(|(_, holders)| holders.len()).collect()
    }

    /// Returns the result of a call, or the failure that is configured.
    async fn answer<T>(
        &self,
        sound: BoxFuture<'_, Result<T, RecordError>>,
        everybody: impl FnOnce() -> T,
    ) -> Result<T, RecordError> {
        let leasing = *self.leasing.lock().unwrap();
        match leasing {
            Leasing::Sound | Leasing::NoUnits => sound.await,
            Leasing::Everybody => Ok(everybody()),
            Leasing::Unavailable => Err(refused()),
            Leasing::Silent => std::future::pending().await,
        }
    }
}

fn refused() -> RecordError {
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    RecordError::unavailable("asking for a lease", refused)
}

impl StoreLayer for LeasingStore {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn acquire_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time_to_live: Duration,
    ) -> BoxFuture<'a, Result<Lease, RecordError>> {
        Box::pin(async move {
            let is_withheld = *self.leasing.lock().unwrap() == Leasing::NoUnits;
            if is_withheld && name.contains("/unit/") {
                return Err(refused());
            }
            let sound = self.inner.acquire_lease(name, holder, time_to_live);
            let everybody = || {
                let mut given = self.given.lock().unwrap();
                given.entry(name.into()).or_default().insert(holder.into());
                let now: retold::domain::Timestamp = std::time::SystemTime::now().into();
                Lease {
                    name: name.into(),
                    holder: holder.into(),
                    term: 1,
                    since: now,
                    renewed_at: now,
                    ends_at: now.saturating_add(time_to_live),
                }
            };
            self.answer(sound, everybody).await
        })
    }

    fn release_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
    ) -> BoxFuture<'a, Result<(), RecordError>> {
        let sound = self.inner.release_lease(name, holder);
        Box::pin(self.answer(sound, || ()))
    }

    fn leases<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>, RecordError>> {
        let sound = self.inner.leases(prefix, after, limit);
        Box::pin(self.answer(sound, Vec::new))
    }
}
