//! The store: opens logs by name, and keeps leases.

use std::sync::Arc;
use std::time::Duration;

use super::error::RecordError;
use super::fault::{Corrupt, Invalid};
use super::identity::{LogId, Mark};
use super::limits::{LEASE_CLOCK_BACK_MAX, check_name};
use super::recorder::{BoxFuture, Recorder};
use crate::domain::Timestamp;

/// A database with logs in it.
pub trait Store: Send + Sync {
    /// Opens a log for reading and writing; one that does not exist is born with the id `birth`. Of
    /// two openers that find none, one gives the id and both see it.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad name or a store that was opened for reading only; `Unavailable`,
    /// `Corrupt`.
    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>>;

    /// Opens a log for reading. One that does not exist is not born by this: it reads as empty, and
    /// shows its events once somebody else has recorded them.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad name; `Unavailable`, `Corrupt`.
    fn open_read_only<'a>(
        &'a self,
        log: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>>;

    /// The logs of the store, in the order of the bytes of their names, after the name `after`; at
    /// most `limit`, at most [`PAGE_NAMES_MAX`](super::limits::PAGE_NAMES_MAX). An empty page is the
    /// end.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0; `Unavailable`, `Corrupt`.
    fn logs<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>, RecordError>>;

    /// Takes a lease, or renews it, if nobody else holds it: until `time_to_live` from now, by the
    /// store's clock. Returns the lease as it is then, whoever holds it.
    ///
    /// From the instant it ends on, anyone may take it. The last holder renews it as long as nobody
    /// did, and its term stays. A lease that was renewed later than the store's clock shows now, by more
    /// than [`LEASE_CLOCK_BACK_MAX`], is not believed: the clock was
    /// put back since, and the lease would last longer than it was meant to. Anyone may take it, and its
    /// holder may renew it. See [`Lease::is_held_at`].
    ///
    /// A lease places work; it never carries correctness: its holder may sleep past its end.
    ///
    /// # Errors
    ///
    /// `Invalid` for bad names or a store that was opened for reading only; `Unavailable`.
    fn acquire_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time_to_live: Duration,
    ) -> BoxFuture<'a, Result<Lease, RecordError>>;

    /// Gives a lease back, if this holder has it: it ends now, unless it ended before. Else does
    /// nothing.
    ///
    /// # Errors
    ///
    /// As for [`acquire_lease`](Self::acquire_lease).
    fn release_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
    ) -> BoxFuture<'a, Result<(), RecordError>>;

    /// The leases whose names begin with `prefix`, also those that ended and nobody took since, in
    /// the order of the bytes of their names, after the name `after`; at most `limit`.
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

    /// What the store's clock shows, by which leases end. Takes no lease and writes nothing, so a store
    /// that was opened for reading only tells it too.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    fn now(&self) -> BoxFuture<'_, Result<Timestamp, RecordError>>;

    /// What is kept in the store of views that projections build of its logs, by name and version: the
    /// tables of PostgreSQL in the store's schema, or of SQLite in its file. Those that are kept elsewhere,
    /// or in memory, are not known here.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn views(&self) -> BoxFuture<'_, Result<Vec<ViewEntry>, RecordError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Checks what no read of a log shows: that the database is whole, and that what it keeps of a
    /// log in several places agrees. Gives what is wrong, at most
    /// [`FINDINGS_MAX`](super::limits::FINDINGS_MAX); nothing, if all is well or there is nothing
    /// beside what [`verify_log`](super::verify::verify_log) reads.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the database cannot be read. Corrupt data is no error here but a finding.
    fn verify(&self) -> BoxFuture<'_, Result<Vec<Corrupt>, RecordError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
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

/// A version of a view, as it is kept beside its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a store must say all of it")]
pub struct ViewEntry {
    /// Name of its projection.
    pub name: Arc<str>,
    /// Version of its projection.
    pub version: u32,
    /// Name of the log that it shows.
    pub upstream: Arc<str>,
    /// Id of that log when the version began.
    pub log: LogId,
    /// The last event that is taken in or passed over; none before the first.
    pub checkpoint: Option<Mark>,
    /// Whether readers see this version.
    pub is_seen: bool,
    /// How many events were passed over as poison.
    pub skipped: u64,
}

/// Who does some work for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is leased.
    pub name: Arc<str>,
    /// Who has it.
    pub holder: Arc<str>,
    /// How often it went from one holder to another, counted from 1 for the first holder. Nobody
    /// holds a lease in a term lower than one that was seen.
    pub term: u64,
    /// When this holder took it, by the store's clock.
    pub since: Timestamp,
    /// When it was taken or renewed last, by the store's clock.
    pub renewed_at: Timestamp,
    /// When it ends, by the store's clock.
    pub ends_at: Timestamp,
}

impl Lease {
    /// Whether somebody holds it when the store's clock shows `now`: it has not ended, and was not renewed
    /// at a time that the clock has not reached yet. Every store judges by this.
    pub fn is_held_at(&self, now: Timestamp) -> bool {
        now < self.ends_at && self.renewed_at <= now.saturating_add(LEASE_CLOCK_BACK_MAX)
    }

    /// The lease as it is when `holder` has taken or renewed it while the store's clock shows `now`; none
    /// if somebody else holds it. `there` is the lease as the store has it.
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
/// [`Invalid`] that says what is wrong.
pub fn check_lease(name: &str, holder: &str) -> Result<(), Invalid> {
    check_name("lease name", name)?;
    check_name("lease holder", holder)
}
