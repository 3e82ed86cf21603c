//! Views of projections in a SQLite file: a separate file, or that of a store.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use retold_core::projection::{
    Applied, Handling, Projection, ProjectionError, ProjectionOutline, SKIPPED_PAGE_MAX,
    SkippedEvent, StoredView, Supersede, Switched, ViewPage, ViewStore,
};
use retold_core::recording::limits::check_page_limit;
use retold_core::recording::{
    BoxFuture, Checkpoint, Invalid, LogId, Position, RecordError, StoredEvent,
};
use rusqlite::{Connection, OpenFlags};

use crate::error::{before_commit, of_commit};
use crate::file::connection::FilePlace;
use crate::limits::{FILE_MODE, VIEWS_BUSY_WAIT_MAX};
use crate::projection::{Halt, Sqlite, SqliteTables, SqliteView, guard_commits};
use crate::reading::readers::Reader;
use crate::shared::Shared;
use crate::transaction::Transaction;

/// A place for views in one SQLite file. Clones refer to the same place.
///
/// Each view is one or more tables, which any SQLite driver can read under their plain names; see
/// [`reader`](Self::reader). They change in the same transaction as the checkpoint, which is stored
/// in the table `retold_projection` of the same file.
///
/// ```
/// # use retold_core::domain::Event;
/// # use retold_core::recording::Recorder;
/// # use retold_core::projection::{Projection, ProjectionPipeline};
/// # use retold_sqlite::{Sqlite, SqliteTables, SqliteViews};
/// # use std::sync::Arc;
/// # async fn example<DogEvent: Event>(
/// #     recorder: Arc<dyn Recorder>,
/// # ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let views = SqliteViews::open("views.db")?;
/// let dogs = Projection::<Sqlite>::new("dogs", 1, "school").on::<DogEvent>(|view, logged| {
///     let sql = format!("INSERT OR IGNORE INTO {} VALUES (?1)", view.table("dogs"));
///     view.prepare_cached(&sql)?.execute([logged.stream()])?;
///     Ok(())
/// });
/// let tables = SqliteTables::new(["dogs"], |view| {
///     let sql = format!("CREATE TABLE {} (stream TEXT PRIMARY KEY) STRICT", view.table("dogs"));
///     Ok(view.execute_batch(&sql)?)
/// });
/// let mut pipeline = ProjectionPipeline::new(recorder, views.keep(dogs, tables)?);
/// pipeline.catch_up().await?;
///
/// let count: i64 = views.reader()?.query_row("SELECT count(*) FROM dogs", [], |row| row.get(0))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteViews {
    home: Home,
}

/// The file that contains the views.
#[derive(Clone)]
enum Home {
    /// A separate file, with its own connection.
    Own(Arc<OwnFile>),
    /// The file of a store: its writer performs the writes.
    Store(Arc<Shared>),
}

struct OwnFile {
    place: FilePlace,
    conn: Mutex<Connection>,
}

impl SqliteViews {
    /// Opens the file at `path`, and creates it if it does not exist. The file may have other
    /// tables too. For views in the file of a store that is open in this process,
    /// [`SqliteStore::views`](crate::SqliteStore::views) is faster.
    ///
    /// # Errors
    ///
    /// `Invalid` if `path` is a directory or a file that is not a database; `Unavailable` if its
    /// directory does not exist, or the file cannot be read and written; `Corrupt`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RecordError> {
        Self::open_with_mode(path, FILE_MODE)
    }

    /// Opens the file at `path`, and creates it with these permissions if it does not exist, as
    /// with [`SqliteOptions::file_mode`](crate::SqliteOptions::file_mode). Use it for views that
    /// other users read; [`open`](Self::open) uses [`FILE_MODE`].
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); `Invalid` also for a mode that
    /// [`SqliteOptions::file_mode`](crate::SqliteOptions::file_mode) does not allow.
    pub fn open_with_mode(path: impl AsRef<Path>, mode: u32) -> Result<Self, RecordError> {
        let place = FilePlace::writable(path.as_ref())?;
        let mut conn = place.open_views(mode)?;
        guard_commits(&mut conn)
            .map_err(|error| before_commit("opening a file of views", error))?;
        let conn = Mutex::new(conn);
        Ok(Self {
            home: Home::Own(Arc::new(OwnFile { place, conn })),
        })
    }

    pub(crate) fn in_store(shared: Arc<Shared>) -> Self {
        Self {
            home: Home::Store(shared),
        }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        self.place().path()
    }

    /// Returns the view store of this projection's version of its view, for a pipeline.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for a projection or a table that is not declared correctly.
    pub fn keep(
        &self,
        projection: Projection<Sqlite>,
        tables: SqliteTables,
    ) -> Result<Arc<dyn ViewStore>, Invalid> {
        let view = Arc::new(SqliteView::new(projection, tables));
        view.check()?;
        Ok(Arc::new(SqliteViewStore {
            view,
            home: self.home.clone(),
        }))
    }

    /// Opens a new connection that reads the file, for readers of the views.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub fn reader(&self) -> Result<Connection, RecordError> {
        let presence = self.place().presence();
        presence.check()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(self.path(), flags).and_then(|conn| {
            conn.busy_timeout(VIEWS_BUSY_WAIT_MAX)?;
            Ok(conn)
        });
        let opened =
            opened.map_err(|error| before_commit(&self.path().display().to_string(), error))?;
        presence.check()?;
        Ok(opened)
    }

    fn place(&self) -> &FilePlace {
        match &self.home {
            Home::Own(own) => &own.place,
            Home::Store(shared) => &shared.place,
        }
    }
}

impl fmt::Debug for SqliteViews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteViews")
            .field("path", &self.path())
            .field("is_in_store", &matches!(self.home, Home::Store(_)))
            .finish()
    }
}

impl OwnFile {
    fn conn(&self) -> MutexGuard<'_, Connection> {
        // A panic midway leaves a transaction, which the next one rolls back.
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(
        &self,
        view: &SqliteView,
        work: impl FnOnce(&SqliteView, &Connection) -> Result<T, Halt>,
    ) -> Result<T, ProjectionError> {
        let conn = self.conn();
        let presence = self.place.presence();
        presence
            .check()
            .map_err(|error| view.rules().error(error))?;
        let run = |sql: &str| conn.prepare_cached(sql)?.execute([]).map(drop);
        let roll_back = || match conn.is_autocommit() {
            true => Ok(()),
            false => run("ROLLBACK"),
        };
        let begun = roll_back().and_then(|()| run("BEGIN IMMEDIATE"));
        begun.map_err(|error| Halt::Sqlite(error).into_error(view))?;
        let worked = work(view, &conn).map_err(|halt| halt.into_error(view));
        let ended = match &worked {
            Ok(_) => run("COMMIT")
                .map_err(|error| view.rules().error(of_commit(error)))
                .and_then(|()| presence.check().map_err(|error| view.rules().error(error))),
            Err(_) => Ok(()),
        };
        let rolled_back = roll_back().map_err(|error| Halt::Sqlite(error).into_error(view));
        let worked = worked?;
        ended.and(rolled_back).map(|()| worked)
    }
}

/// Keeps one version of a view in a SQLite file.
struct SqliteViewStore {
    view: Arc<SqliteView>,
    home: Home,
}

impl SqliteViewStore {
    async fn write<T: Send + 'static>(
        &self,
        size: usize,
        mut work: impl FnMut(&SqliteView, &Connection) -> Result<T, Halt> + Send + 'static,
    ) -> Result<T, ProjectionError> {
        let shared = match &self.home {
            Home::Own(own) => return own.write(&self.view, work),
            Home::Store(shared) => shared,
        };
        let view = self.view.clone();
        let member = move |transaction: &mut Transaction<'_>| match work(&view, transaction.conn) {
            Ok(done) => Ok(Ok(Ok(done))),
            Err(Halt::Refused(error)) => Ok(Ok(Err(error))),
            Err(Halt::Sqlite(error)) => Err(error),
        };
        let failed = |error| self.view.rules().error(error);
        let written = shared.writer().map_err(failed)?.work(size, member);
        written.await.map_err(failed)?
    }

    fn read<T>(
        &self,
        look: impl FnOnce(&SqliteView, &Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ProjectionError> {
        let failed = |error| self.view.rules().error(error);
        let found = match &self.home {
            Home::Own(own) => {
                let presence = own.place.presence();
                presence.check_now_and_then().map_err(failed)?;
                match own.conn.try_lock() {
                    Ok(conn) => look(&self.view, &conn),
                    // A handler is running. Waiting for one that does not return would block the
                    // caller's thread too.
                    Err(TryLockError::WouldBlock) => {
                        let views = SqliteViews {
                            home: self.home.clone(),
                        };
                        look(&self.view, &views.reader().map_err(failed)?)
                    }
                    Err(TryLockError::Poisoned(conn)) => look(&self.view, &conn.into_inner()),
                }
            }
            Home::Store(shared) => {
                let read = |reader: &mut Reader| Ok(look(&self.view, &reader.conn));
                shared.readers.read(read).map_err(failed)?
            }
        };
        found.map_err(|error| Halt::Sqlite(error).into_error(&self.view))
    }
}

impl ViewStore for SqliteViewStore {
    fn outline(&self) -> &ProjectionOutline {
        self.view.outline()
    }

    fn handling(&self) -> Option<&Handling> {
        Some(self.view.handling())
    }

    fn kept(&self) -> BoxFuture<'_, Result<Option<StoredView>, ProjectionError>> {
        Box::pin(async { self.read(SqliteView::kept) })
    }

    fn begin(
        &self,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> BoxFuture<'_, Result<StoredView, ProjectionError>> {
        Box::pin(self.write(0, move |view, conn| view.begin(conn, upstream, start)))
    }

    fn apply(&self, page: ViewPage) -> BoxFuture<'_, Result<Applied, ProjectionError>> {
        let size = page.events.iter().map(StoredEvent::size).sum();
        Box::pin(self.write(size, move |view, conn| view.apply(conn, &page)))
    }

    fn skip(
        &self,
        after: Option<Checkpoint>,
        skipped: SkippedEvent,
    ) -> BoxFuture<'_, Result<Applied, ProjectionError>> {
        Box::pin(self.write(0, move |view, conn| view.skip(conn, after, &skipped)))
    }

    fn switch(
        &self,
        after: Option<Checkpoint>,
        to: Option<Checkpoint>,
        supersede: Supersede,
    ) -> BoxFuture<'_, Result<Switched, ProjectionError>> {
        Box::pin(self.write(0, move |view, conn| view.switch(conn, after, to, supersede)))
    }

    fn skipped(
        &self,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SkippedEvent>, ProjectionError>> {
        Box::pin(async move {
            let limit = check_page_limit(limit, SKIPPED_PAGE_MAX)
                .map_err(|invalid| self.view.rules().error(invalid.into()))?;
            self.read(|view, conn| view.skipped(conn, after, limit))
        })
    }

    fn discard(&self) -> BoxFuture<'_, Result<(), ProjectionError>> {
        Box::pin(self.write(0, |view, conn| view.discard(conn)))
    }
}
