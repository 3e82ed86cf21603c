//! A store whose calls, and those of its recorders, wait for the scheduler when an actor makes
//! them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::call::{Call, CallOutcome};
use super::parking::Parking;
use super::simulated_recorder::SimulatedRecorder;
use crate::domain::Timestamp;
use crate::recording::{BoxFuture, Corrupt, Lease, LogEntry, LogId, RecordError, Recorder, Store};

/// A store of a [`Simulation`](super::Simulation), which wraps a store without faults.
///
/// Every call that an actor makes, to the store or to a recorder that it opened, waits for its
/// turn, and a fault may then occur. Calls that are made while no actor is running are carried out
/// immediately, so that a test can prepare and check the store without a schedule. Clones share the
/// store.
#[derive(Clone)]
pub struct SimulatedStore {
    parking: Arc<Parking>,
    number: u32,
    inner: Arc<dyn Store>,
}

impl SimulatedStore {
    pub(crate) fn new(parking: &Arc<Parking>, inner: Arc<dyn Store>) -> Self {
        Self {
            parking: Arc::clone(parking),
            number: parking.next_store(),
            inner,
        }
    }

    /// Returns the wrapped store.
    pub fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn call<T, F>(
        &self,
        name: &'static str,
        outcome: fn(&T) -> CallOutcome,
        deed: impl FnOnce(Self) -> F,
    ) -> BoxFuture<'static, Result<T, RecordError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RecordError>> + Send + 'static,
    {
        let deed = Box::pin(deed(self.clone()));
        self.parking.call(None, Call::Other(name), deed, outcome)
    }

    fn simulated(&self, inner: Arc<dyn Recorder>) -> Arc<dyn Recorder> {
        Arc::new(SimulatedRecorder {
            log: self.parking.log(self.number, &inner),
            parking: Arc::clone(&self.parking),
            inner,
        })
    }
}

fn term(lease: &Lease) -> CallOutcome {
    CallOutcome::Answered(lease.term)
}

impl Store for SimulatedStore {
    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        let log = log.to_owned();
        self.call("open", CallOutcome::done, move |store| async move {
            Ok(store.simulated(store.inner.open(&log, birth).await?))
        })
    }

    fn open_read_only<'a>(
        &'a self,
        log: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        let log = log.to_owned();
        self.call("open_read_only", CallOutcome::done, move |store| async move {
            Ok(store.simulated(store.inner.open_read_only(&log).await?))
        })
    }

    fn logs<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>, RecordError>> {
        let after = after.map(str::to_owned);
        self.call(
            "logs",
            |found| CallOutcome::counted(found),
            move |store| async move { store.inner.logs(after.as_deref(), limit).await },
        )
    }

    fn acquire_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time_to_live: Duration,
    ) -> BoxFuture<'a, Result<Lease, RecordError>> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.call("acquire_lease", term, move |store| async move {
            let inner = &store.inner;
            inner.acquire_lease(&name, &holder, time_to_live).await
        })
    }

    fn release_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
    ) -> BoxFuture<'a, Result<(), RecordError>> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.call(
            "release_lease",
            CallOutcome::done,
            move |store| async move { store.inner.release_lease(&name, &holder).await },
        )
    }

    fn leases<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>, RecordError>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.call(
            "leases",
            |found| CallOutcome::counted(found),
            move |store| async move {
                let inner = &store.inner;
                inner.leases(&prefix, after.as_deref(), limit).await
            },
        )
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, RecordError>> {
        self.call("now", CallOutcome::done, move |store| async move {
            store.inner.now().await
        })
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<Corrupt>, RecordError>> {
        self.call(
            "verify",
            |found| CallOutcome::counted(found),
            |store| async move { store.inner.verify().await },
        )
    }
}

impl fmt::Debug for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedStore")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
