//! Views as tables of PostgreSQL: the places for them, and the view stores that pipelines drive.

use std::fmt;
use std::sync::Arc;

use retold_core::projection::{
    Applied, Handling, Projection, ProjectionError, ProjectionOutline, SKIPPED_PAGE_MAX,
    SkippedEvent, StoredView, Supersede, Switched, ViewPage, ViewStore,
};
use retold_core::recording::limits::check_page_limit;
use retold_core::recording::{BoxFuture, Checkpoint, Invalid, LogId, Position, RecordError};
use tokio_postgres::Client;

use super::{Halt, Home, Postgres, PostgresTables, PostgresView, VIEW_NAMES};
use crate::error::Refusal;
use crate::limits::{VIEW_CONNECTIONS_MAX, VIEW_WAIT_MAX};
use crate::options::PostgresOptions;
use crate::server::connection::connect;
use crate::server::place::ServerPlace;
use crate::server::pool::{Pool, Pooled};
use crate::server::runtime::{StoreRuntime, within};
use crate::server::work::Purpose;
use crate::sql_text::quote;

/// A place for views: a schema of a PostgreSQL database. A clone is the same place.
///
/// Each view is one table or several, which readers find under their plain names, with any client
/// of the database. They change in one transaction with the checkpoint, which is kept in the table
/// `retold_projection` of the same schema. Names without a schema in a handler's SQL are looked up
/// in this one, then in `public`.
///
/// ```no_run
/// # use retold_core::application::Logged;
/// # use retold_core::domain::Event;
/// # use retold_core::recording::Recorder;
/// # use retold_core::projection::{BoxError, Projection, ProjectionPipeline};
/// # use retold_postgres::{Postgres, PostgresTables, PostgresViews, PostgresTransaction};
/// # use std::sync::Arc;
/// # async fn example<DogEvent: Event>(
/// #     recorder: Arc<dyn Recorder>,
/// # ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// async fn dog<DogEvent>(
///     view: &PostgresTransaction<'_>,
///     logged: &Logged<DogEvent>,
/// ) -> Result<(), BoxError> {
///     let sql = format!("INSERT INTO {} VALUES ($1) ON CONFLICT DO NOTHING", view.table("dogs"));
///     let insert = view.prepare_cached(&sql).await?;
///     view.execute(&insert, &[&logged.stream()]).await?;
///     Ok(())
/// }
///
/// let views = PostgresViews::open("postgres://localhost/dogs", "public")?;
/// let dogs = Projection::<Postgres>::new("dogs", 1, "school").on_async(dog::<DogEvent>);
/// let tables = PostgresTables::new(["dogs"], |names| {
///     format!("CREATE TABLE {} (stream text PRIMARY KEY)", names.table("dogs"))
/// });
/// let mut pipeline = ProjectionPipeline::new(recorder, views.keep(dogs, tables)?);
/// pipeline.catch_up().await?;
///
/// let count = views.reader().await?.query_one("SELECT count(*) FROM dogs", &[]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresViews {
    pool: Arc<Pool>,
    home: Home,
    runtime: Arc<StoreRuntime>,
    purpose: Purpose,
}

/// Resets the planner settings of the store's own connections: the statements of handlers and
/// readers are not ours.
const FREE_PLANS: &str = "-c enable_seqscan=on -c enable_hashjoin=on -c enable_mergejoin=on \
    -c enable_bitmapscan=on -c plan_cache_mode=auto";

impl PostgresViews {
    /// Returns a place in the database at `url`, in this schema, which is created with the first
    /// view if it is missing. A schema in the URL is that of a store and is ignored here. For views
    /// next to an open store, see [`PostgresStore::views`](crate::PostgresStore::views).
    ///
    /// Does not contact the server yet.
    ///
    /// # Errors
    ///
    /// `Invalid` for a URL that cannot be parsed, or a schema whose name needs quotes in SQL.
    pub fn open(url: &str, schema: &str) -> Result<Self, RecordError> {
        VIEW_NAMES.check("the schema", schema)?;
        let place = ServerPlace::new(url, &PostgresOptions::new())?;
        Ok(Self::at(
            &place,
            Home::given(schema),
            StoreRuntime::share()?,
            Purpose::Write,
        ))
    }

    pub(crate) fn at(
        place: &ServerPlace,
        home: Home,
        runtime: Arc<StoreRuntime>,
        purpose: Purpose,
    ) -> Self {
        Self::planned(place, home, runtime, purpose, FREE_PLANS)
    }

    /// Returns a place whose connections append as well, and plan as those of the store do.
    pub(crate) fn beside_appends(
        place: &ServerPlace,
        home: Home,
        runtime: Arc<StoreRuntime>,
    ) -> Self {
        Self::planned(place, home, runtime, Purpose::Write, "")
    }

    fn planned(
        place: &ServerPlace,
        home: Home,
        runtime: Arc<StoreRuntime>,
        purpose: Purpose,
        plans: &str,
    ) -> Self {
        let mut place = place.clone();
        place.reads_by_default = true;
        for server in &mut place.servers {
            let settings = format!(
                "{} -c default_transaction_read_only=on -c search_path={},public {plans}",
                server.get_options().unwrap_or_default(),
                escaped(&quote(&home.schema)),
            );
            server.options(settings);
        }
        Self {
            pool: Pool::new(place, runtime.clone(), VIEW_CONNECTIONS_MAX),
            home,
            runtime,
            purpose,
        }
    }

    /// Returns the schema.
    pub fn schema(&self) -> &str {
        &self.home.schema
    }

    /// Returns the view store of this projection's version of its view, for a pipeline.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for a projection or a table that is declared wrongly.
    pub fn keep(
        &self,
        projection: Projection<Postgres>,
        tables: PostgresTables,
    ) -> Result<Arc<dyn ViewStore>, Invalid> {
        let view = PostgresView::new(Arc::new(projection), tables, self.home.clone());
        view.check()?;
        Ok(self.view_store(Arc::new(view)))
    }

    pub(crate) fn view_store(&self, view: Arc<PostgresView>) -> Arc<dyn ViewStore> {
        Arc::new(PostgresViewStore {
            view,
            views: self.clone(),
        })
    }

    pub(crate) async fn take(&self) -> Result<Pooled, RecordError> {
        self.pool.take().await
    }

    pub(crate) fn place(&self) -> &ServerPlace {
        &self.pool.place
    }

    /// Returns a new read-only connection that finds the views under their plain names. It can be
    /// used in any runtime, also after this place is dropped.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn reader(&self) -> Result<Client, RecordError> {
        let connection = within(&self.runtime, connect(&self.pool.place, &self.runtime)).await?;
        Ok(connection.client)
    }
}

/// Escapes a text for the options of a connection, where a blank ends an option.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_whitespace() || letter == '\\' {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

impl fmt::Debug for PostgresViews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresViews")
            .field("schema", &self.home.schema)
            .finish_non_exhaustive()
    }
}

/// Keeps one version of a view in a schema of PostgreSQL.
struct PostgresViewStore {
    view: Arc<PostgresView>,
    views: PostgresViews,
}

impl PostgresViewStore {
    /// Runs work on a connection, with a time limit.
    async fn work<T>(
        &self,
        work: impl AsyncFnOnce(&PostgresView, &mut Pooled) -> Result<T, Halt>,
    ) -> Result<T, ProjectionError> {
        let failed = |error| self.view.rules().error(error);
        let mut connection = self.views.take().await.map_err(failed)?;
        let working = work(&self.view, &mut connection);
        match tokio::time::timeout(VIEW_WAIT_MAX, working).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(halt)) => {
                if !matches!(halt, Halt::Refused(_)) {
                    // It may be cut, though the driver does not know that yet.
                    connection.close();
                }
                Err(halt.into_error().unwrap_or_else(failed))
            }
            Err(_) => {
                connection.close();
                let silent = RecordError::unavailable("keeping a view", Refusal::Silent);
                Err(failed(silent))
            }
        }
    }
}

impl PostgresViewStore {
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&PostgresView, &mut Pooled) -> Result<T, Halt>,
    ) -> Result<T, ProjectionError> {
        match self.views.purpose {
            Purpose::Write => self.work(work).await,
            Purpose::Read => {
                let reason = "the store was opened for reading only";
                Err(self.view.rules().error(RecordError::invalid(reason)))
            }
        }
    }
}

impl ViewStore for PostgresViewStore {
    fn outline(&self) -> &ProjectionOutline {
        self.view.outline()
    }

    fn handling(&self) -> Option<&Handling> {
        Some(self.view.handling())
    }

    fn kept(&self) -> BoxFuture<'_, Result<Option<StoredView>, ProjectionError>> {
        let work = self.work(async |view, connection| view.kept(connection).await);
        within(&self.views.runtime, work)
    }

    fn begin(
        &self,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> BoxFuture<'_, Result<StoredView, ProjectionError>> {
        let work =
            self.write(async move |view, connection| view.begin(connection, upstream, start).await);
        within(&self.views.runtime, work)
    }

    fn apply(&self, page: ViewPage) -> BoxFuture<'_, Result<Applied, ProjectionError>> {
        let work = self.write(async move |view, connection| view.apply(connection, &page).await);
        within(&self.views.runtime, work)
    }

    fn skip(
        &self,
        after: Option<Checkpoint>,
        skipped: SkippedEvent,
    ) -> BoxFuture<'_, Result<Applied, ProjectionError>> {
        let work =
            self.write(async move |view, connection| view.skip(connection, after, &skipped).await);
        within(&self.views.runtime, work)
    }

    fn switch(
        &self,
        after: Option<Checkpoint>,
        to: Option<Checkpoint>,
        supersede: Supersede,
    ) -> BoxFuture<'_, Result<Switched, ProjectionError>> {
        let work = self.write(async move |view, connection| {
            view.switch(connection, after, to, supersede).await
        });
        within(&self.views.runtime, work)
    }

    fn skipped(
        &self,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SkippedEvent>, ProjectionError>> {
        within(&self.views.runtime, async move {
            let limit = check_page_limit(limit, SKIPPED_PAGE_MAX)
                .map_err(|invalid| self.view.rules().error(invalid.into()))?;
            let read = async |view: &PostgresView, connection: &mut Pooled| {
                view.skipped(connection, after, limit).await
            };
            self.work(read).await
        })
    }

    fn discard(&self) -> BoxFuture<'_, Result<(), ProjectionError>> {
        let work = self.write(async |view, connection| view.discard(connection).await);
        within(&self.views.runtime, work)
    }
}
