//! The memory store: logs that live as long as the process, for tests and experiments.
//!
//! It fulfills the whole contract except rule 13 (nothing survives the process), and it is the
//! model with which the conformance suite compares every other store: see [`MemoryLog`].

mod event_index;
mod memory_log;

mod memory_recorder;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use self::memory_recorder::{MemoryAccess, MemoryRecorder, SharedLog};
use super::error::RecordError;
use super::identity::LogId;
use super::limits::{Limits, PAGE_NAMES_MAX, check_name, check_page_limit};
use super::recorder::{BoxFuture, Recorder};
use super::store::{Lease, LogEntry, Store, check_lease};
use crate::domain::{Clock, SystemClock, Timestamp};

pub use self::memory_log::MemoryLog;

/// A store whose logs are in memory.
///
/// A clone is another handle to the same logs and leases. These exist as long as any handle or any
/// of its recorders; those of a [named](Self::named) store exist until the process ends.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    state: Arc<Mutex<StoreState>>,
    clock: Arc<dyn Clock>,
    limits: Limits,
}

#[derive(Debug, Default)]
struct StoreState {
    /// Logs that exist.
    logs: BTreeMap<Arc<str>, Arc<SharedLog>>,
    /// Logs that do not exist yet but are open for reading. Weak, so that asking for unknown names
    /// does not fill the memory.
    unborn: HashMap<Arc<str>, Weak<SharedLog>>,
    leases: BTreeMap<Arc<str>, Lease>,
}

impl MemoryStore {
    /// Creates an empty store, separate from all others.
    pub fn new() -> Self {
        Self::of(Arc::default())
    }

    /// Returns the store with this name. A process has one store for each name, created empty on
    /// first use.
    ///
    /// It exists until the process ends, so that opening `memory:NAME` again finds the events. A
    /// program that needs many short-lived stores uses [`new`](Self::new).
    pub fn named(name: &str) -> Self {
        static STORES: LazyLock<Mutex<HashMap<String, Arc<Mutex<StoreState>>>>> =
            LazyLock::new(Mutex::default);
        let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
        Self::of(stores.entry(name.to_owned()).or_default().clone())
    }

    fn of(state: Arc<Mutex<StoreState>>) -> Self {
        Self {
            state,
            clock: Arc::new(SystemClock),
            limits: Limits::DEFAULT,
        }
    }

    /// Sets the clock for times of recording and for leases, in this handle and its clones.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the limits of recorders that this handle and its clones open.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Returns a separate store with the same logs and leases: later changes to one do not affect
    /// the other. A test can use it to try alternatives, or to see what a crash would leave, if
    /// every state of the store were durable.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.state();
        let fork = |(name, log): (&Arc<str>, &Arc<SharedLog>)| (name.clone(), Arc::new(log.fork()));
        let forked = StoreState {
            logs: state.logs.iter().map(fork).collect(),
            unborn: HashMap::new(),
            leases: state.leases.clone(),
        };
        Self {
            state: Arc::new(Mutex::new(forked)),
            clock: self.clock.clone(),
            limits: self.limits,
        }
    }

    /// Replaces the logs and leases with those of another store while recorders are open, as
    /// restoring an older copy of a file or database does. A test can use it to see how a program
    /// reacts.
    ///
    /// A recorder whose log no longer exists, or is another log of the same name, fails with
    /// [`RecordError::Replaced`] from then on; the log must be opened again.
    pub fn restore(&self, copy: &Self) {
        let copy = copy.fork();
        let copy = copy.state();
        let mut state = self.state();
        for (name, shared) in std::mem::take(&mut state.logs) {
            let log = copy.logs.get(&name);
            shared.restore(log.map(|log| &**log));
            match log {
                Some(_) => drop(state.logs.insert(name, shared)),
                None => drop(state.unborn.insert(name, Arc::downgrade(&shared))),
            }
        }
        for (name, log) in &copy.logs {
            if !state.logs.contains_key(name) {
                let shared = state.await_birth(name);
                shared.restore(Some(log));
                state.unborn.remove(name);
                state.logs.insert(Arc::clone(name), shared);
            }
        }
        state.leases = copy.leases.clone();
    }

    fn state(&self) -> MutexGuard<'_, StoreState> {
        // No code that holds the lock leaves the store half changed, even if it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recorder(&self, shared: Arc<SharedLog>, access: MemoryAccess) -> Arc<dyn Recorder> {
        let met = shared.id().map_or_else(OnceLock::new, OnceLock::from);
        Arc::new(MemoryRecorder {
            shared,
            clock: self.clock.clone(),
            limits: self.limits,
            access,
            met,
        })
    }

    fn open_now(&self, name: &str, birth: LogId) -> Result<Arc<dyn Recorder>, RecordError> {
        check_name("log name", name)?;
        let mut state = self.state();
        let shared = match state.logs.get(name) {
            Some(shared) => shared.clone(),
            None => state.bear(name, birth),
        };
        Ok(self.recorder(shared, MemoryAccess::ReadWrite))
    }

    fn open_read_only_now(&self, name: &str) -> Result<Arc<dyn Recorder>, RecordError> {
        check_name("log name", name)?;
        let mut state = self.state();
        let shared = match state.logs.get(name) {
            Some(shared) => shared.clone(),
            None => state.await_birth(name),
        };
        Ok(self.recorder(shared, MemoryAccess::ReadOnly))
    }

    fn acquire_lease_now(
        &self,
        name: &str,
        holder: &str,
        time_to_live: Duration,
    ) -> Result<Lease, RecordError> {
        check_lease(name, holder)?;
        let mut state = self.state();
        let there = state.leases.get(name);
        match Lease::taken(there, name, holder, time_to_live, self.clock.now()) {
            Some(lease) => {
                state.leases.insert(name.into(), lease.clone());
                Ok(lease)
            }
            None => Ok(there.expect("another holder has it").clone()),
        }
    }

    fn release_lease_now(&self, name: &str, holder: &str) -> Result<(), RecordError> {
        check_lease(name, holder)?;
        let now = self.clock.now();
        if let Some(lease) = self.state().leases.get_mut(name)
            && *lease.holder == *holder
        {
            lease.ends_at = lease.ends_at.min(now);
        }
        Ok(())
    }

    fn leases_now(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Lease>, RecordError> {
        let limit = check_page_limit(limit, PAGE_NAMES_MAX)?;
        let state = self.state();
        let leases = from_name(&state.leases, prefix, after);
        let named = leases.take_while(|lease| lease.name.starts_with(prefix));
        Ok(named.take(limit).cloned().collect())
    }

    fn logs_now(&self, after: Option<&str>, limit: usize) -> Result<Vec<LogEntry>, RecordError> {
        let limit = check_page_limit(limit, PAGE_NAMES_MAX)?;
        let state = self.state();
        let entries = from_name(&state.logs, "", after).filter_map(|shared| {
            let (name, id) = (shared.name.clone(), shared.id()?);
            Some(LogEntry { name, id })
        });
        Ok(entries.take(limit).collect())
    }
}

impl StoreState {
    /// Creates a log with an id, and connects its waiting readers to it.
    fn bear(&mut self, name: &str, birth: LogId) -> Arc<SharedLog> {
        let awaited = self.unborn.remove(name).and_then(|log| log.upgrade());
        let shared = awaited.unwrap_or_else(|| Arc::new(SharedLog::unborn(name)));
        shared.bear(birth);
        self.logs.insert(shared.name.clone(), shared.clone());
        shared
    }

    fn await_birth(&mut self, name: &str) -> Arc<SharedLog> {
        if let Some(shared) = self.unborn.get(name).and_then(Weak::upgrade) {
            return shared;
        }
        self.unborn.retain(|_, log| log.strong_count() > 0);
        let shared = Arc::new(SharedLog::unborn(name));
        self.unborn
            .insert(shared.name.clone(), Arc::downgrade(&shared));
        shared
    }
}

/// Returns the values from the name `first` on, but only those after the name `after`.
fn from_name<'a, T>(
    values: &'a BTreeMap<Arc<str>, T>,
    first: &str,
    after: Option<&str>,
) -> impl Iterator<Item = &'a T> + use<'a, T> {
    let from = match after {
        Some(after) if after >= first => Bound::Excluded(after),
        _ => Bound::Included(first),
    };
    let values = values.range::<str, _>((from, Bound::Unbounded));
    values.map(|(_, value)| value)
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move { self.open_now(log, birth) })
    }

    fn open_read_only<'a>(
        &'a self,
        log: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move { self.open_read_only_now(log) })
    }

    fn logs<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>, RecordError>> {
        Box::pin(async move { self.logs_now(after, limit) })
    }

    fn acquire_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time_to_live: Duration,
    ) -> BoxFuture<'a, Result<Lease, RecordError>> {
        Box::pin(async move { self.acquire_lease_now(name, holder, time_to_live) })
    }

    fn release_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
    ) -> BoxFuture<'a, Result<(), RecordError>> {
        Box::pin(async move { self.release_lease_now(name, holder) })
    }

    fn leases<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>, RecordError>> {
        Box::pin(async move { self.leases_now(prefix, after, limit) })
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, RecordError>> {
        Box::pin(async move { Ok(self.clock.now()) })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::ManualClock;
    use crate::recording::append::{Append, Appended};
    use crate::recording::identity::EventId;
    use crate::recording::limits::LEASE_CLOCK_BACK_MAX;
    use crate::recording::new_event::NewEvent;
    use crate::recording::recorder::LogRead;

    fn event(id: u128) -> NewEvent {
        NewEvent::new(EventId::new(Uuid::from_u128(id)), "Dog.Registered", "{}")
    }

    fn log_id(id: u128) -> LogId {
        LogId::new(Uuid::from_u128(id))
    }

    #[tokio::test]
    async fn a_named_store_exists_once_per_process() {
        let name = "a_named_store_exists_once_per_process";
        let recorder = MemoryStore::named(name).open("dogs", log_id(1)).await;
        let append = Append::of([event(1)]);
        recorder.unwrap().append(append).await.unwrap();

        let again = MemoryStore::named(name).open("dogs", log_id(2)).await;
        let again = again.unwrap();
        assert_eq!(again.log_id().await.unwrap(), Some(log_id(1)));
        let page = again.read_log(LogRead::new()).await.unwrap();
        assert_eq!(page.events.len(), 1);
        let other = MemoryStore::named("another").logs(None, 1).await.unwrap();
        assert!(other.is_empty());
    }

    #[tokio::test]
    async fn unknown_log_names_do_not_fill_the_memory() {
        let store = MemoryStore::new();
        for number in 0..100 {
            let name = format!("log-{number}");
            drop(store.open_read_only(&name).await.unwrap());
        }
        assert!(store.state().unborn.len() <= 1);
    }

    #[tokio::test]
    async fn the_clock_sets_times_of_recording_and_ends_of_leases() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(5)));
        let store = MemoryStore::new().with_clock(clock.clone());
        let recorder = store.open("dogs", log_id(1)).await.unwrap();
        let appended = recorder.append(Append::of([event(1)])).await.unwrap();
        assert!(matches!(appended, Appended::Recorded(_)));
        let page = recorder.read_log(LogRead::new()).await.unwrap();
        assert_eq!(page.events[0].recorded_at(), Timestamp::from_micros(5));

        let minute = Duration::from_secs(60);
        let lease = store.acquire_lease("work", "a", minute).await.unwrap();
        assert_eq!(lease.ends_at, Timestamp::from_micros(60_000_005));
        clock.advance(minute - Duration::from_micros(1));
        let held = store.acquire_lease("work", "b", minute).await.unwrap();
        assert_eq!((&*held.holder, held.term), ("a", 1));
        clock.advance(Duration::from_micros(1));
        let taken = store.acquire_lease("work", "b", minute).await.unwrap();
        assert_eq!((&*taken.holder, taken.term), ("b", 2));
    }

    /// A clock that is set back, by a virtual machine that is resumed or a wrong time server, must
    /// not extend a dead holder's lease by that amount.
    #[tokio::test]
    async fn a_lease_renewed_in_the_future_is_ignored() {
        let hour = Duration::from_secs(3_600);
        let at = |time: Duration| Timestamp::from_micros(0).saturating_add(time);
        let clock = Arc::new(ManualClock::new(at(2 * hour)));
        let store = MemoryStore::new().with_clock(clock.clone());
        let minute = Duration::from_secs(60);
        let taken = store.acquire_lease("work", "a", minute).await.unwrap();
        assert_eq!(
            (taken.since, taken.renewed_at),
            (at(2 * hour), at(2 * hour))
        );

        // A mere correction of the clock takes no lease from its holder.
        clock.set(at(2 * hour - LEASE_CLOCK_BACK_MAX));
        let held = store.acquire_lease("work", "b", minute).await.unwrap();
        assert_eq!(held, taken);
        clock.set(at(hour));
        // After its holder renews it, it is valid again.
        let renewed = store.acquire_lease("work", "a", minute).await.unwrap();
        assert_eq!((renewed.term, renewed.since), (1, taken.since));
        assert_eq!(renewed.ends_at, at(hour + minute));
        assert_eq!(
            store.acquire_lease("work", "b", minute).await.unwrap(),
            renewed
        );
        clock.set(at(Duration::ZERO));
        assert!(!renewed.is_held_at(clock.now()));
        let lost = store.acquire_lease("work", "b", minute).await.unwrap();
        assert_eq!((&*lost.holder, lost.term), ("b", 2));
        assert_eq!(lost.ends_at, at(minute));
    }
}
