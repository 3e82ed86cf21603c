//! The store: one schema of a PostgreSQL database that contains logs.

use std::sync::Arc;
use std::time::Duration;

use retold_core::domain::Timestamp;
use retold_core::recording::limits::{PAGE_NAMES_MAX, check_name, check_page_limit};
use retold_core::recording::{
    BoxFuture, Corrupt, Invalid, Lease, LogEntry, LogId, Patience, Purged, RecordError, Recorder,
    Store, ViewEntry, check_lease,
};
use tokio::sync::Semaphore;

use crate::access::Access;
use crate::error::{Refusal, of_statement};
use crate::limits::WRITERS_MAX;
use crate::log::{Log, Logs};
use crate::names::bound;
use crate::news::listener::Listener;
use crate::news::notifier::Notifier;
use crate::opening::may_pass;
use crate::options::PostgresOptions;
use crate::projection::inline::{Inline, PostgresInlineProjections};
use crate::projection::views::PostgresViews;
use crate::projection::{Home, VIEW_NAMES};
use crate::reading::verify;
use crate::recorder::PostgresRecorder;
use crate::server::place::ServerPlace;
use crate::server::pool::Pool;
use crate::server::runtime::{StoreRuntime, within};
use crate::server::work::Purpose;
use crate::shared::Shared;
use crate::{leases, projection, purging, schema};

const BEAR: &str =
    "INSERT INTO \"retold\".log (name, id) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
const LOGS: &str = "SELECT name, id FROM \"retold\".log WHERE $1::text IS NULL OR name > $1
    ORDER BY name LIMIT $2";

/// A store in a PostgreSQL database. Clones share the connections.
///
/// A schema can be opened several times, in one process and in many. A child process that is
/// created by `fork` must open the store itself: calls on an inherited store fail with a clear
/// error.
///
/// The connections and the tasks that append run on a runtime with a single thread, which all open
/// stores of the process share and which ends with the last of them. The store, its recorders and
/// its views can therefore be used in any tokio runtime, even after the end of the one in which
/// they were opened, and outside a runtime.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Shared>,
    access: Access,
}

impl PostgresStore {
    /// Opens the store at `url`, as in `postgres://user:password@host:5432/database?schema=retold`,
    /// and creates its schema if it is missing.
    ///
    /// # Errors
    ///
    /// `Invalid` for a URL that cannot be parsed, a schema of another version, a server that is too
    /// old, a connection pool in front of it, or a role that is not allowed to create the schema or
    /// write to it; `Unavailable` if the server refuses the user, or if no server can be reached
    /// within [`PostgresOptions::open_wait_max`]. In these cases nothing was written.
    pub async fn open(url: &str) -> Result<Self, RecordError> {
        Self::open_with(url, &PostgresOptions::new()).await
    }

    /// Opens the store at `url` with options.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub async fn open_with(url: &str, options: &PostgresOptions) -> Result<Self, RecordError> {
        Self::open_with_projections(url, options, PostgresInlineProjections::new()).await
    }

    /// Opens the store at `url` with projections that take part in the transaction of every append
    /// to their logs: readers of their views see everything that is recorded. Each projection
    /// catches up with its log when that log is opened.
    ///
    /// ```no_run
    /// # use retold_core::application::Logged;
    /// # use retold_core::domain::Event;
    /// # use retold_core::projection::{BoxError, Projection};
    /// # use retold_postgres::{
    /// #     PostgresInlineProjections, Postgres, PostgresOptions, PostgresStore, PostgresTables,
    /// #     PostgresTransaction,
    /// # };
    /// # async fn example<DogEvent: Event>() -> Result<(), retold_core::recording::RecordError> {
    /// async fn dog<DogEvent>(
    ///     view: &PostgresTransaction<'_>,
    ///     logged: &Logged<DogEvent>,
    /// ) -> Result<(), BoxError> {
    ///     let dogs = view.table("dogs");
    ///     let sql = format!("INSERT INTO {dogs} VALUES ($1) ON CONFLICT DO NOTHING");
    ///     let insert = view.prepare_cached(&sql).await?;
    ///     view.execute(&insert, &[&logged.stream()]).await?;
    ///     Ok(())
    /// }
    ///
    /// let dogs = Projection::<Postgres>::new("dogs", 1, "school").on_async(dog::<DogEvent>);
    /// let tables = PostgresTables::new(["dogs"], |names| {
    ///     format!("CREATE TABLE {} (stream text PRIMARY KEY)", names.table("dogs"))
    /// });
    /// let inline = PostgresInlineProjections::new().with(dogs, tables);
    /// let options = PostgresOptions::new();
    /// let url = "postgres://localhost/dogs";
    /// let store = PostgresStore::open_with_projections(url, &options, inline).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); `Invalid` also for a projection or table that is not declared
    /// correctly.
    pub async fn open_with_projections(
        url: &str,
        options: &PostgresOptions,
        inline: PostgresInlineProjections,
    ) -> Result<Self, RecordError> {
        inline.check()?;
        let store = Self::with(url, options, Access::ReadWrite, inline)?;
        let make = async {
            let mut patience = Patience::new("opening the store", options.open_wait_max);
            loop {
                let made = async {
                    let mut connection = store.shared.pool.take().await?;
                    schema::make(&mut connection, &store.shared.pool.place).await
                };
                match made.await {
                    Err(error) if may_pass(&error) && patience.pause(&error).await => {}
                    done => return done,
                }
            }
        };
        within(&store.shared.runtime, make).await?;
        Ok(store)
    }

    /// Opens the store at `url` for reading: nothing is created or written. Opening does not wait
    /// for a server that cannot be reached.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); `Unavailable` also if the schema does not exist.
    pub async fn open_read_only(url: &str) -> Result<Self, RecordError> {
        let (options, none) = (PostgresOptions::new(), PostgresInlineProjections::new());
        let store = Self::with(url, &options, Access::ReadOnly, none)?;
        let place = &store.shared.pool.place;
        let look = async {
            let mut connection = store.shared.pool.take().await?;
            schema::check(&mut connection, place, Access::ReadOnly).await
        };
        if !within(&store.shared.runtime, look).await? {
            return Err(RecordError::unavailable(
                format!("looking for the schema {:?}", place.schema),
                Refusal::NoSchema,
            ));
        }
        Ok(store)
    }

    /// Returns a place for views in the schema of the store, with its own connections. Two stores
    /// therefore never share the tables of a view.
    pub fn views(&self) -> PostgresViews {
        self.views_at(Home::of_store(&self.shared.pool.place.schema))
    }

    /// Returns a place for views in the given schema of the store's database, which is created with
    /// the first view if it does not exist. Use a different schema for each store.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for a name that needs quotes in SQL.
    pub fn views_in(&self, schema: &str) -> Result<PostgresViews, Invalid> {
        VIEW_NAMES.check("the schema", schema)?;
        Ok(self.views_at(Home::given(schema)))
    }

    fn views_at(&self, home: Home) -> PostgresViews {
        let purpose = match self.access {
            Access::ReadWrite => Purpose::Write,
            Access::ReadOnly => Purpose::Read,
        };
        let (place, runtime) = (&self.shared.pool.place, &self.shared.runtime);
        PostgresViews::at(place, home, runtime.clone(), purpose)
    }

    fn with(
        url: &str,
        options: &PostgresOptions,
        access: Access,
        inline: PostgresInlineProjections,
    ) -> Result<Self, RecordError> {
        let place = ServerPlace::new(url, options)?;
        let runtime = StoreRuntime::share()?;
        let inline = Inline::new(inline, &place, &runtime);
        let logs = Arc::<Logs>::default();
        let connections_max = place.connections_max;
        Ok(Self {
            shared: Arc::new(Shared {
                notifier: Notifier::new(place.clone(), runtime.clone()),
                listener: Listener::new(place.clone(), logs.clone(), runtime.clone()),
                pool: Pool::new(place, runtime.clone(), connections_max),
                runtime,
                logs,
                inline,
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
        let log = self.shared.open(name).await?;
        if log.born().is_none() {
            let mut connection = self.shared.pool.take().await?;
            let born = connection
                .rows("creating a log", BEAR, &[&name, &birth.uuid()])
                .await;
            born?;
            drop(connection);
            if self.shared.find_birth(&log).await?.is_none() {
                return Err(RecordError::unavailable("creating a log", Refusal::NotBorn));
            }
            // Readers that have waited since before the log was created look again.
            log.nudge();
        }
        if let Some(inline) = self.shared.inline_of(name) {
            let reader = self.recorder(log.clone(), Access::ReadOnly);
            inline.catch_up(&reader).await?;
        }
        Ok(self.recorder(log, Access::ReadWrite))
    }

    async fn open_log_read_only(&self, name: &str) -> Result<Arc<dyn Recorder>, RecordError> {
        check_name("log name", name)?;
        let log = self.shared.open(name).await?;
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

    fn views(&self) -> BoxFuture<'_, Result<Vec<ViewEntry>, RecordError>> {
        within(&self.shared.runtime, async move {
            let mut connection = self.shared.pool.take().await?;
            let schema = &self.shared.pool.place.schema;
            let entries = projection::all(&mut connection, schema).await;
            entries.map_err(|error| of_statement("reading the states of views", error))
        })
    }

    fn purge(&self) -> BoxFuture<'_, Result<Purged, RecordError>> {
        within(&self.shared.runtime, async move {
            self.check_writable()?;
            let mut connection = self.shared.pool.take().await?;
            purging::purge(&mut connection, &self.shared.pool.place.schema).await
        })
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<Corrupt>, RecordError>> {
        within(&self.shared.runtime, verify::verify(&self.shared.pool))
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, RecordError>> {
        within(&self.shared.runtime, async move {
            leases::now(self.shared.pool.take().await?).await
        })
    }
}
