//! The store: opens logs by name, and manages leases.

use std::sync::Arc;
use std::time::Duration;

use super::error::RecordError;
use super::fault::{Corrupt, Invalid};
use super::identity::{Checkpoint, LogId};
use super::limits::{LEASE_CLOCK_BACK_MAX, check_name};
use super::recorder::{BoxFuture, Recorder};
use crate::domain::Timestamp;

/// A database that contains logs.
pub trait Store: Send + Sync {
    /// Opens a log for reading and writing; a log that does not exist is created with the id
    /// `birth`. If two callers create the log at the same time, the id of one of them is used, and
    /// both see it.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad name or a store that was opened only for reading; `Unavailable`,
    /// `Corrupt`.
    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>>;

    /// Opens a log for reading. This does not create a log that does not exist: it reads as empty,
    /// and its events become visible once another caller has created the log and recorded them.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad name; `Unavailable`, `Corrupt`.
    fn open_read_only<'a>(
        &'a self,
        log: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>>;

    /// Returns the logs of the store whose names come after the name `after`, in byte order; at
    /// most `limit`, and at most [`PAGE_NAMES_MAX`](super::limits::PAGE_NAMES_MAX). An empty page
    /// is the end.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0; `Unavailable`, `Corrupt`.
    fn logs<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>, RecordError>>;

    /// Takes or renews a lease until `time_to_live` from now, by the store's clock, unless another
    /// holder has it. Returns the resulting lease, with its current holder.
    ///
    /// Once the lease has ended, any process may take it. The last holder can still renew it until
    /// another has taken it, and then keeps its term. A lease whose renewal is ahead of the store's
    /// clock by more than [`LEASE_CLOCK_BACK_MAX`] is ignored: the clock was set back, and the
    /// lease would last longer than intended. Any process may then take it, and its holder may
    /// renew it. See [`Lease::is_held_at`].
    ///
    /// Use a lease to assign work, never for correctness: its holder may be suspended and continue
    /// after the lease has ended.
    ///
    /// # Errors
    ///
    /// `Invalid` for bad names or a store that was opened only for reading; `Unavailable`.
    fn acquire_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time_to_live: Duration,
    ) -> BoxFuture<'a, Result<Lease, RecordError>>;

    /// Releases a lease: it ends now, if this holder has it and it has not ended yet. Otherwise
    /// does nothing.
    ///
    /// # Errors
    ///
    /// As for [`acquire_lease`](Self::acquire_lease).
    fn release_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
    ) -> BoxFuture<'a, Result<(), RecordError>>;

    /// Returns the leases whose names begin with `prefix` and come after the name `after`, in byte
    /// order, including those that have ended and have not been taken again; at most `limit`.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0; `Unavailable`, `Corrupt`.
    fn leases<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>, RecordError>>;

    /// Returns the time of the store's clock, by which leases end. Takes no lease and writes
    /// nothing, so it also works in a store that was opened only for reading.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    fn now(&self) -> BoxFuture<'_, Result<Timestamp, RecordError>>;

    /// Returns the views of the store's logs that projections keep in the store, by name and
    /// version: the tables in the schema of a PostgreSQL store, or in the file of a SQLite store.
    /// Views that are kept elsewhere, or in memory, are not included.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn views(&self) -> BoxFuture<'_, Result<Vec<ViewEntry>, RecordError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Removes what erased and replaced events and dropped snapshots left behind in the files of
    /// the store: in SQLite, free space of the file and the write-ahead log; in PostgreSQL, the old
    /// versions of rows. Backups, replicas and copies of the store are out of its reach.
    ///
    /// Reads and appends are still possible while it runs, but may take longer.
    ///
    /// # Errors
    ///
    /// `Invalid` from a store that was opened only for reading; `Unavailable`. Repeat it then; it
    /// removes the rest.
    fn purge(&self) -> BoxFuture<'_, Result<Purged, RecordError>> {
        Box::pin(std::future::ready(Ok(Purged::default())))
    }

    /// Checks what no read of a log covers: that the database is intact, and that data that it
    /// stores more than once is consistent. Returns what is wrong, at most
    /// [`FINDINGS_MAX`](super::limits::FINDINGS_MAX) findings; none if everything is intact or if
    /// there is nothing to check besides what [`verify_log`](super::verify::verify_log) reads.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the database cannot be read. Corrupt data is a finding, not an error.
    fn verify(&self) -> BoxFuture<'_, Result<Vec<Corrupt>, RecordError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// The result of [`Store::purge`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    /// What could not be removed and why, each as a sentence; empty if nothing of the erased data
    /// is left in the files of the store.
    pub remains: Vec<String>,
}

impl Purged {
    /// For stores: adds something that could not be removed.
    #[must_use]
    pub fn remains(mut self, what: impl Into<String>) -> Self {
        self.remains.push(what.into());
        self
    }

    /// Returns whether nothing of the erased data is left in the files of the store.
    pub fn is_complete(&self) -> bool {
        self.remains.is_empty()
    }
}

/// A log of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: LogId,
}

/// One version of a view, as recorded next to its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a store must set every field")]
pub struct ViewEntry {
    /// The name of its projection.
    pub name: Arc<str>,
    /// The version of its projection.
    pub version: u32,
    /// The name of the log from which it is built.
    pub upstream: Arc<str>,
    /// The id that the log had when this version began.
    pub log: LogId,
    /// The last event that was processed or skipped; none before the first.
    pub checkpoint: Option<Checkpoint>,
    /// Whether readers see this version.
    pub is_seen: bool,
    /// The number of events that were skipped as poison.
    pub skipped: u64,
}

/// A lease: assigns some work to one process for a limited time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The name of the leased work.
    pub name: Arc<str>,
    /// The current holder.
    pub holder: Arc<str>,
    /// How many times the lease got a new holder, counted from 1 for the first. A term never
    /// decreases.
    pub term: u64,
    /// When this holder took it, by the store's clock.
    pub since: Timestamp,
    /// When it was last taken or renewed, by the store's clock.
    pub renewed_at: Timestamp,
    /// When it ends, by the store's clock.
    pub ends_at: Timestamp,
}

impl Lease {
    /// Returns whether it is held when the store's clock shows `now`: it has not ended, and its
    /// last renewal is not ahead of the clock by more than [`LEASE_CLOCK_BACK_MAX`]. Every store
    /// uses this rule.
    pub fn is_held_at(&self, now: Timestamp) -> bool {
        now < self.ends_at && self.renewed_at <= now.saturating_add(LEASE_CLOCK_BACK_MAX)
    }

    /// For stores: returns the lease as it is after `holder` takes or renews it when the store's
    /// clock shows `now`; none if another holder has it. `there` is the lease that is stored.
    pub fn taken(
        there: Option<&Self>,
        name: &str,
        holder: &str,
        time_to_live: Duration,
        now: Timestamp,
    ) -> Option<Self> {
        let (term, since) = match there {
            None => (1, now),
            Some(lease) if *lease.holder == *holder => (lease.term, lease.since),
            Some(lease) if lease.is_held_at(now) => return None,
            Some(lease) => (lease.term + 1, now),
        };
        Some(Self {
            name: name.into(),
            holder: holder.into(),
            term,
            since,
            renewed_at: now,
            ends_at: now.saturating_add(time_to_live),
        })
    }
}

/// Checks the names of a lease. Every store calls this first.
///
/// # Errors
///
/// [`Invalid`] with the reason.
pub fn check_lease(name: &str, holder: &str) -> Result<(), Invalid> {
    check_name("lease name", name)?;
    check_name("lease holder", holder)
}
