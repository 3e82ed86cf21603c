//! The store: one SQLite file that contains logs.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use retold_core::domain::Timestamp;
use retold_core::recording::limits::{FINDINGS_MAX, PAGE_NAMES_MAX, check_name, check_page_limit};
use retold_core::recording::{
    BoxFuture, Corrupt, Lease, LogEntry, LogId, OwnProcess, Purged, RecordError, Recorder, Store,
    ViewEntry, check_lease,
};
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use crate::birth::bear;
use crate::error::before_commit;
use crate::file::connection::FilePlace;
use crate::file::head::uuid;
use crate::file::wal::Wal;
use crate::file::{schema, wal};
use crate::options::SqliteOptions;
use crate::projection::guard_commits;
use crate::projection::inline::{
    CATCH_UP_PAGE_EVENTS, CatchUp, SqliteInlineProjections, catch_up_by_page,
};
use crate::reading::readers::{Reader, Readers};
use crate::reading::verify;
use crate::recorder::{SqliteRecorder, fetch_keys};
use crate::shared::Shared;
use crate::transaction::Transaction;
use crate::views::SqliteViews;
use crate::writing::alarm::Alarm;
use crate::writing::committer::Committer;
use crate::writing::keeper::Keeper;
use crate::writing::watcher::{Logs, Source, Watcher};
use crate::writing::watermark::{Watermark, find_missing, keep_missing};
use crate::writing::writer::Writer;
use crate::{leases, projection};

/// A store in one SQLite file. A clone is another handle to the same open store.
///
/// A file may be opened several times, in one process and in many, because the conditions of
/// appends are checked while no other connection can write. It is faster to open it only once in a
/// process: only appends through the same open store share a disk sync.
///
/// A child process that is created by `fork` must open the store itself: calls on an inherited
/// store fail with a clear error, and do not affect the store of the parent.
///
/// The store needs no runtime. Appends are committed, and reads run, on the thread that polls them;
/// see "Threads" in the [crate] docs.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

impl SqliteStore {
    /// Opens the store at `path`, and creates it if the file does not exist or is empty.
    ///
    /// # Errors
    ///
    /// `Invalid` if `path` is a directory, a file that is not a Retold store, or a store of a newer
    /// version; `Corrupt` if the file is damaged or another program has dropped one of its tables;
    /// `Unavailable` if its directory does not exist, if it cannot be read and written, or if
    /// another process has exclusive access. The file is then unchanged.
    ///
    /// If the file is removed, renamed or replaced while it is open, the store notices: appends and
    /// reads are `Unavailable` from then on (an append during which it happened is
    /// `OutcomeUnknown`), until the store is opened again.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RecordError> {
        Self::open_with(path, &SqliteOptions::new())
    }

    /// Opens the store at `path` with options.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: &SqliteOptions) -> Result<Self, RecordError> {
        Self::open_with_projections(path, options, SqliteInlineProjections::new())
    }

    /// Opens the store at `path` with projections that take part in the transaction of every append
    /// to their logs, so that readers of their views see everything that is recorded. Each
    /// projection catches up with its log when the log is opened.
    ///
    /// ```
    /// # use retold_sqlite::{Sqlite, SqliteInlineProjections, SqliteOptions, SqliteStore};
    /// # use retold_sqlite::SqliteTables;
    /// # use retold_core::projection::Projection;
    /// # use retold_core::domain::Event;
    /// # fn example<DogEvent: Event>() -> Result<(), retold_core::recording::RecordError> {
    /// let dogs = Projection::<Sqlite>::new("dogs", 1, "school").on::<DogEvent>(|view, logged| {
    ///     let sql = format!("INSERT OR IGNORE INTO {} VALUES (?1)", view.table("dogs"));
    ///     view.prepare_cached(&sql)?.execute([logged.stream()])?;
    ///     Ok(())
    /// });
    /// let tables = SqliteTables::new(["dogs"], |view| {
    ///     let table = view.table("dogs");
    ///     let sql = format!("CREATE TABLE {table} (stream TEXT PRIMARY KEY) STRICT");
    ///     Ok(view.execute_batch(&sql)?)
    /// });
    /// let inline = SqliteInlineProjections::new().with(dogs, tables);
    /// let store = SqliteStore::open_with_projections("dogs.db", &SqliteOptions::new(), inline)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); `Invalid` also for a projection or table that is not declared
    /// correctly.
    pub fn open_with_projections(
        path: impl AsRef<Path>,
        options: &SqliteOptions,
        inline: SqliteInlineProjections,
    ) -> Result<Self, RecordError> {
        inline.check()?;
        let place = FilePlace::writable(path.as_ref())?;
        // Before SQLite has written to it.
        let damage = wal::find_damage(&place.wal_path());
        let mut conn = place.open_writer(options)?;
        let differences = schema::check_tables(&conn, place.path())?;
        let watermark = place.watermark_path();
        let found = find_problems(&conn, &place, &differences)?;
        keep_missing(&conn, &watermark, options.file_mode);
        guard_commits(&mut conn).map_err(|error| before_commit("opening the store", error))?;
        let alarm = Arc::new(Alarm::default());
        let busy_wait_max = options.busy_wait_max;
        let presence = place.presence().clone();
        let writer = Writer::new(conn, presence, alarm.clone(), busy_wait_max);
        let writer = writer.with_inline(inline);
        let writer = Arc::new(writer);
        let process = Arc::new(OwnProcess::current());
        let readers = Readers::new(Arc::clone(&process), place.clone(), busy_wait_max, None);
        let wal = Wal::new(&place, options.wal_size_max);
        let logs = Arc::new(Logs::default());
        let watermark = Watermark::new(watermark, options.file_mode, logs.clone());
        let found = announce(&place, damage, found);
        Self::with(
            process,
            place,
            Some((writer, wal, watermark)),
            readers,
            (alarm, logs),
            found,
        )
    }

    /// Opens the store at `path` for reading. This writes at most the two files next to it (`-wal`,
    /// `-shm`) by which SQLite coordinates with writers, and only if the process has permission.
    ///
    /// If this process may not write in the directory and no other process has the file open, the
    /// file is read as it is. If another process then begins to write, reads are `Unavailable` with
    /// an error that explains it, until the store is opened again.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); `Invalid` also for an empty file, `Unavailable` for a missing
    /// one.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, RecordError> {
        let mut place = FilePlace::read_only(path.as_ref())?;
        let busy_wait_max = SqliteOptions::new().busy_wait_max;
        let damage = wal::find_damage(&place.wal_path());
        let first = place.open_first_reader(busy_wait_max)?;
        let found = find_problems(&first, &place, &differences(&first)?)?;
        let found = announce(&place, damage, found);
        let process = Arc::new(OwnProcess::current());
        let readers = Readers::new(
            Arc::clone(&process),
            place.clone(),
            busy_wait_max,
            Some(first),
        );
        Self::with(process, place, None, readers, Default::default(), found)
    }

    fn with(
        process: Arc<OwnProcess>,
        place: FilePlace,
        writing: Option<(Arc<Writer>, Wal, Watermark)>,
        readers: Readers,
        (alarm, logs): (Arc<Alarm>, Arc<Logs>),
        found_at_opening: Vec<Corrupt>,
    ) -> Result<Self, RecordError> {
        let writer = writing.as_ref().map(|(writer, _, _)| writer.clone());
        let source = match &writer {
            Some(writer) => Source::Writer(writer.clone()),
            None => Source::Reader(place.clone(), None),
        };
        let watcher = Watcher::new(logs.clone(), source, place.presence().clone());
        let not_started = |error| RecordError::unavailable("starting a thread", error);
        let keeper = Keeper::start(Arc::clone(&process), alarm.clone(), writing, watcher)
            .map_err(not_started)?;
        let committer = writer
            .as_ref()
            .map(|writer| Committer::start(Arc::clone(&process), writer.clone()))
            .transpose()
            .map_err(not_started)?;
        Ok(Self {
            shared: Arc::new(Shared {
                process,
                place,
                writer,
                readers,
                alarm,
                logs,
                found_at_opening,
                _committer: committer,
                _keeper: keeper,
            }),
        })
    }

    /// Returns a place for views in the store's own file. The store's writer commits view updates
    /// together with appends, so neither waits for the other.
    pub fn views(&self) -> SqliteViews {
        SqliteViews::in_store(self.shared.clone())
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        self.shared.place.path()
    }

    async fn open_log(&self, name: &str, birth: LogId) -> Result<Arc<dyn Recorder>, RecordError> {
        check_name("log name", name)?;
        let writer = self.shared.writer()?;
        let (log, is_born) = self.shared.open(name)?;
        if !is_born {
            let name = log.name.clone();
            let born = writer.work(0, move |transaction| {
                bear(transaction.conn, transaction.now, &name, birth)
            });
            log.learn_birth(born.await?);
        }
        let shared = self.shared.clone();
        let reader = SqliteRecorder::read_only(shared, log.clone());
        let reader: Arc<dyn Recorder> = Arc::new(reader);
        for projection in writer.inline().of(name) {
            loop {
                fetch_keys(&projection, (writer, &reader), CATCH_UP_PAGE_EVENTS).await?;
                let (projection, log) = (projection.clone(), log.clone());
                let work = move |transaction: &mut Transaction<'_>| {
                    catch_up_by_page(transaction, &projection, &log)
                };
                if writer.work(0, work).await? == CatchUp::Done {
                    break;
                }
            }
        }
        Ok(Arc::new(SqliteRecorder::writable(
            self.shared.clone(),
            log,
            writer.clone(),
        )))
    }

    fn open_log_read_only(&self, name: &str) -> Result<Arc<dyn Recorder>, RecordError> {
        check_name("log name", name)?;
        let (log, _) = self.shared.open(name)?;
        Ok(Arc::new(SqliteRecorder::read_only(
            self.shared.clone(),
            log,
        )))
    }

    fn read_logs(&self, after: Option<&str>, limit: usize) -> Result<Vec<LogEntry>, RecordError> {
        let limit = check_page_limit(limit, PAGE_NAMES_MAX)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = |reader: &mut Reader| {
            let mut select = reader.conn.prepare_cached(
                "SELECT name, id FROM log WHERE ?1 IS NULL OR name > ?1 ORDER BY name LIMIT ?2",
            )?;
            let entries = select.query_map(params![after, limit], |row| {
                Ok(LogEntry {
                    name: row.get::<_, String>(0)?.into(),
                    id: LogId::new(uuid(row, 1)?),
                })
            })?;
            entries.collect::<rusqlite::Result<Vec<_>>>()
        };
        self.shared.readers.read(|reader| {
            read(reader).map_err(|error| before_commit("reading the names of logs", error))
        })
    }
}

fn differences(conn: &Connection) -> Result<Vec<schema::Difference>, RecordError> {
    schema::differences(conn).map_err(|error| before_commit("looking at the schema", error))
}

/// Reports differences from the store as it was created: in its schema, and in the content of its
/// logs.
fn find_problems(
    conn: &Connection,
    place: &FilePlace,
    differences: &[schema::Difference],
) -> Result<Vec<Corrupt>, RecordError> {
    let mut found: Vec<Corrupt> = differences.iter().map(Corrupt::from).collect();
    match find_missing(conn, &place.watermark_path()) {
        // A table that it needs is missing, which is among the findings.
        Err(RecordError::Corrupt(_)) if !found.is_empty() => {}
        missing => found.append(&mut missing?),
    }
    Ok(found)
}

/// Logs the problems of the files at the time of opening.
fn announce(place: &FilePlace, damage: Option<Corrupt>, missing: Vec<Corrupt>) -> Vec<Corrupt> {
    let found: Vec<Corrupt> = damage.into_iter().chain(missing).collect();
    for finding in &found {
        tracing::error!(path = %place.path().display(), "{finding}");
    }
    found
}

/// Checks the file and its write-ahead log, now and with the findings of the opening.
fn verify_files(shared: &Shared) -> Result<Vec<Corrupt>, RecordError> {
    let place = &shared.place;
    let mut found = shared.found_at_opening.clone();
    found.extend(wal::find_damage(&place.wal_path()));
    found.append(&mut shared.readers.read(|reader| {
        let differences = differences(&reader.conn)?;
        let mut found = find_problems(&reader.conn, place, &differences)?;
        found.append(&mut verify::verify(reader)?);
        Ok(found)
    })?);
    let mut kept: Vec<Corrupt> = Vec::new();
    for finding in found {
        if !kept.contains(&finding) {
            kept.push(finding);
        }
    }
    kept.truncate(FINDINGS_MAX);
    Ok(kept)
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path())
            .field("is_read_only", &self.shared.writer.is_none())
            .finish()
    }
}

impl Store for SqliteStore {
    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(self.open_log(log, birth))
    }

    fn open_read_only<'a>(
        &'a self,
        log: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move { self.open_log_read_only(log) })
    }

    fn logs<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>, RecordError>> {
        Box::pin(async move { self.read_logs(after, limit) })
    }

    fn acquire_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time_to_live: Duration,
    ) -> BoxFuture<'a, Result<Lease, RecordError>> {
        Box::pin(async move {
            check_lease(name, holder)?;
            let (name, holder) = (name.to_owned(), holder.to_owned());
            let acquire = move |transaction: &mut Transaction<'_>| {
                // By the present clock, not that of the time when the request was queued.
                let now = SystemTime::now().into();
                leases::acquire(transaction.conn, &name, &holder, time_to_live, now).map(Ok)
            };
            self.shared.writer()?.work(0, acquire).await
        })
    }

    fn release_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
    ) -> BoxFuture<'a, Result<(), RecordError>> {
        Box::pin(async move {
            check_lease(name, holder)?;
            let (name, holder) = (name.to_owned(), holder.to_owned());
            let release = move |transaction: &mut Transaction<'_>| {
                let now = SystemTime::now().into();
                leases::release(transaction.conn, &name, &holder, now).map(Ok)
            };
            self.shared.writer()?.work(0, release).await
        })
    }

    fn leases<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>, RecordError>> {
        Box::pin(async move {
            let limit = check_page_limit(limit, PAGE_NAMES_MAX)?;
            let readers = &self.shared.readers;
            readers.read(|reader| leases::read(&reader.conn, prefix, after, limit))
        })
    }

    fn views(&self) -> BoxFuture<'_, Result<Vec<ViewEntry>, RecordError>> {
        Box::pin(async move {
            self.shared.readers.read(|reader| {
                let entries = projection::all(&reader.conn);
                entries.map_err(|error| before_commit("reading what is kept of views", error))
            })
        })
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, RecordError>> {
        // The host's clock is the store's.
        Box::pin(std::future::ready(Ok(SystemTime::now().into())))
    }

    /// Rewrites the whole file, which takes about as long as copying it, and as much free space
    /// next to the file and in the folder for temporary files. Appends wait in the meantime; those
    /// of other processes may become `Unavailable`. The `rowid` of rows in a table of another
    /// program or of a view may change, unless the table has an `INTEGER PRIMARY KEY`.
    fn purge(&self) -> BoxFuture<'_, Result<Purged, RecordError>> {
        Box::pin(async move {
            let writer = self.shared.writer()?.clone();
            let shared = self.shared.clone();
            let purge = move || {
                let purged = writer.purge();
                drop((writer, shared));
                purged
            };
            on_a_thread("retold-purge", "purging", purge).await
        })
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<Corrupt>, RecordError>> {
        let shared = self.shared.clone();
        on_a_thread("retold-verify", "verifying", move || verify_files(&shared))
    }
}

/// Runs work on the whole file, which is too long for the thread of a task. The work begins at
/// once, and ends even if the future is dropped.
fn on_a_thread<T: Send + 'static>(
    name: &str,
    what: &'static str,
    work: impl FnOnce() -> Result<T, RecordError> + Send + 'static,
) -> BoxFuture<'static, Result<T, RecordError>> {
    let (sender, receiver) = oneshot::channel();
    let run = move || {
        // If this fails, the receiver is gone.
        drop(sender.send(work()));
    };
    let started = thread::Builder::new().name(name.into()).spawn(run);
    Box::pin(async move {
        started.map_err(|error| RecordError::unavailable("starting a thread", error))?;
        let stopped = |error| RecordError::unavailable(what, error);
        receiver.await.map_err(stopped)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use retold_core::recording::Append;
    use retold_core::recording::EventId;
    use retold_core::recording::NewEvent;
    use uuid::Uuid;

    /// Goal: a child that inherited a store cannot use it, and drops it without a trace. Method:
    /// the store is made to treat this process as such a child.
    #[tokio::test]
    async fn a_store_that_was_inherited_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dogs.db");
        let parents = SqliteStore::open(&path).unwrap();
        let store = SqliteStore::open(&path).unwrap();
        let birth = LogId::new(Uuid::from_u128(1));
        let log = Store::open(&store, "dogs", birth).await.unwrap();
        store.shared.process.pretend();
        let refused = |error: RecordError| {
            let text = error.to_string();
            assert!(matches!(error, RecordError::Invalid(_)), "{text}");
            assert!(text.contains("inherited it by `fork`"), "{text}");
        };
        let sat = NewEvent::new(EventId::new(Uuid::from_u128(2)), "Sat", "{}");
        refused(log.append(Append::of([sat])).await.unwrap_err());
        refused(log.head().await.unwrap_err());
        refused(log.changed_since(0).await.unwrap_err());
        refused(store.logs(None, 1).await.unwrap_err());
        refused(
            Store::open(&store, "dogs", birth)
                .await
                .map(drop)
                .unwrap_err(),
        );
        let held = store.acquire_lease("a", "b", Duration::ZERO).await;
        refused(held.map(drop).unwrap_err());
        drop((log, store));
        assert!(path.with_extension("db-wal").exists());
        assert_eq!(parents.logs(None, 10).await.unwrap().len(), 1);
        // A store that a child opens itself works.
        let own = SqliteStore::open(&path).unwrap();
        assert_eq!(own.logs(None, 10).await.unwrap().len(), 1);
    }
}
