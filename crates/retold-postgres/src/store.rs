//! The store: one schema of a PostgreSQL database with logs in it.

use std::sync::Arc;
use std::time::Duration;

use retold_core::domain::clock::Timestamp;
use retold_core::recording::error::RecordError;
use retold_core::recording::identity::LogId;
use retold_core::recording::limits::{PAGE_NAMES_MAX, check_name, check_page_limit};
use retold_core::recording::recorder::{BoxFuture, Recorder};
use retold_core::recording::store::{Lease, LogEntry, Store, check_lease};
use tokio::sync::Semaphore;

use super::error::{Refusal, of_statement};
use super::herald::Herald;
use super::leases;
use super::listener::Listener;
use super::log::{Log, Logs};
use super::names::bound;
use super::options::{PostgresOptions, WRITERS_MAX};
use super::place::Place;
use super::pool::Pool;
use super::recorder::{Access, PostgresRecorder};
use super::runtime::{choose, within};
use super::schema;
use super::shared::Shared;

const BEAR: &str =
    "INSERT INTO \"retold\".log (name, id) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
const LOGS: &str = "SELECT name, id FROM \"retold\".log WHERE $1::text IS NULL OR name > $1
    ORDER BY name LIMIT $2";

/// A store in a PostgreSQL database. A clone is another handle to the same opening.
///
/// Several openings of one schema are correct, in one process and in many.
///
/// Opened within a multi-threaded runtime of tokio, its connections and the tasks that append belong to
/// that runtime and end with it. Opened anywhere else, they belong to one thread of the store's own. Its
/// methods and its recorders may be used in any runtime, or in none.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Shared>,
    access: Access,
}

impl PostgresStore {
    /// Opens the store at `url`, as in `postgres://user:password@host:5432/database?schema=retold`, and
    /// makes its schema if it is missing.
    ///
    /// # Errors
    ///
    /// `Invalid` for a URL that is not understood, a schema of another
    /// version, a server that is too old, or a role that may not make the schema; `Unavailable` if the
    /// server cannot be reached. Nothing was written then.
    pub async fn open(url: &str) -> Result<Self, RecordError> {
        Self::open_with(url, &PostgresOptions::new()).await
    }

    /// Opens the store at `url` in another way than by default.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_with(url: &str, options: &PostgresOptions) -> Result<Self, RecordError> {
        let store = Self::with(url, options, Access::ReadWrite)?;
        let make = async {
            let mut connection = store.shared.pool.take().await?;
            schema::make(&mut connection, &store.shared.pool.place).await
        };
        within(&store.shared.runtime, make).await?;
        Ok(store)
    }

    /// Opens the store at `url` for reading: nothing is made, nothing is written.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); `Unavailable` also if the schema is not there.
    pub async fn open_read_only(url: &str) -> Result<Self, RecordError> {
        let store = Self::with(url, &PostgresOptions::new(), Access::ReadOnly)?;
        let place = &store.shared.pool.place;
        let look = async {
            let mut connection = store.shared.pool.take().await?;
            schema::check_version(&mut connection, place).await
        };
        if !within(&store.shared.runtime, look).await? {
            return Err(RecordError::unavailable(
                format!("looking for the schema {:?}", place.schema),
                Refusal::NoSchema,
            ));
        }
        Ok(store)
    }

    fn with(url: &str, options: &PostgresOptions, access: Access) -> Result<Self, RecordError> {
        let place = Place::new(url, options)?;
        let runtime = choose()?;
        let logs = Arc::<Logs>::default();
        let connections_max = options.connections_max;
        Ok(Self {
            shared: Arc::new(Shared {
                herald: Herald::new(place.clone(), runtime.clone()),
                listener: Listener::new(place.clone(), logs.clone(), runtime.clone()),
                pool: Pool::new(place, connections_max),
                runtime,
                logs,
                writers: Semaphore::new(WRITERS_MAX.min(connections_max - 1)),
            }),
            access,
        })
    }

    fn check_writable(&self) -> Result<(), RecordError> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(RecordError::invalid(
                "the store was opened for reading only",
            )),
        }
    }

    fn recorder(&self, log: Arc<Log>, access: Access) -> Arc<dyn Recorder> {
        Arc::new(PostgresRecorder {
            shared: self.shared.clone(),
            log,
            access,
        })
    }

    async fn open_log(&self, name: &str, birth: LogId) -> Result<Arc<dyn Recorder>, RecordError> {
        check_name("log name", name)?;
        self.check_writable()?;
        let log = self.shared.logs.share(name);
        if self.shared.find_birth(&log).await?.is_none() {
            let mut connection = self.shared.pool.take().await?;
            let born = connection
                .rows("bearing a log", BEAR, &[&name, &birth.uuid()])
                .await;
            born?;
            drop(connection);
            if self.shared.find_birth(&log).await?.is_none() {
                return Err(RecordError::unavailable("bearing a log", Refusal::NotBorn));
            }
            // Who waits since before the birth looks again.
            log.nudge();
        }
        Ok(self.recorder(log, Access::ReadWrite))
    }

    async fn open_log_read_only(&self, name: &str) -> Result<Arc<dyn Recorder>, RecordError> {
        check_name("log name", name)?;
        let log = self.shared.logs.share(name);
        self.shared.find_birth(&log).await?;
        Ok(self.recorder(log, Access::ReadOnly))
    }

    async fn read_logs(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<LogEntry>, RecordError> {
        const WHAT: &str = "reading the names of logs";
        let limit = check_page_limit(limit, PAGE_NAMES_MAX)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut connection = self.shared.pool.take().await?;
        let rows = connection
            .rows(WHAT, LOGS, &[&after.map(bound), &limit])
            .await;
        let rows = rows?;
        let entries = rows.iter().map(|row| {
            Ok(LogEntry {
                name: row.try_get::<_, &str>(0)?.into(),
                id: LogId::new(row.try_get(1)?),
            })
        });
        let entries: Result<_, _> = entries.collect();
        entries.map_err(|error| of_statement(WHAT, error))
    }
}

impl Store for PostgresStore {
    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        within(&self.shared.runtime, self.open_log(log, birth))
    }

    fn open_read_only<'a>(
        &'a self,
        log: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        within(&self.shared.runtime, self.open_log_read_only(log))
    }

    fn logs<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>, RecordError>> {
        within(&self.shared.runtime, self.read_logs(after, limit))
    }

    fn acquire_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time_to_live: Duration,
    ) -> BoxFuture<'a, Result<Lease, RecordError>> {
        within(&self.shared.runtime, async move {
            check_lease(name, holder)?;
            self.check_writable()?;
            let connection = self.shared.pool.take().await?;
            leases::acquire(connection, name, holder, time_to_live).await
        })
    }

    fn release_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
    ) -> BoxFuture<'a, Result<(), RecordError>> {
        within(&self.shared.runtime, async move {
            check_lease(name, holder)?;
            self.check_writable()?;
            leases::release(self.shared.pool.take().await?, name, holder).await
        })
    }

    fn leases<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>, RecordError>> {
        within(&self.shared.runtime, async move {
            let limit = check_page_limit(limit, PAGE_NAMES_MAX)?;
            leases::read(self.shared.pool.take().await?, prefix, after, limit).await
        })
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, RecordError>> {
        within(&self.shared.runtime, async move {
            leases::now(self.shared.pool.take().await?).await
        })
    }
}
