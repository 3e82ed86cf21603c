//! Connections to the file: opening, setup, and the errors when these fail.
//!
//! One connection writes and a pool of others reads. All connections of a store are opened here, so
//! that all see the same file in the same way.
//!
//! Connections that read map the file into memory while it does not change: this way, reading a
//! stream of 10 events in a log of a million takes 35 us of CPU, and 60 us without mapping. The
//! price is that a disk failure under the mapping, or a program that truncates the file while it is
//! open, ends the process instead of causing an error. A store truncates its file when it is
//! purged, but only while no reader has a lock; a file that is read without locks is not mapped.
//! The connection that writes does not map the file, so recorded data does not depend on the
//! mapping.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use retold_core::recording::RecordError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags};

use super::presence::{FileBefore, FilePresence};
use super::schema::{self, FileKind};
use crate::error::{before_commit, is_busy, is_caused_by_busy};
use crate::limits::{
    BUSY_WAIT_MAX, READER_CACHE_KIB, READER_MAP_SIZE, VIEWS_BUSY_WAIT_MAX,
    WAL_PAGES_BEFORE_CHECKPOINT, WAL_SIZE_KEPT_MAX, WRITER_CACHE_KIB,
};
use crate::options::{SqliteDurability, SqliteOptions, check_file_mode};

/// Prepared statements that a connection caches. This crate has fewer than half of these; the rest
/// is for the handlers of projections.
const STATEMENTS_KEPT: usize = 128;
/// Held while a missing file is created.
static MAKING: Mutex<()> = Mutex::new(());
/// Pause between two attempts to get a lock that another process holds.
pub(crate) const BUSY_PAUSE: Duration = Duration::from_micros(500);

/// The path of a file and how its connections are opened.
#[derive(Clone, Debug)]
pub(crate) struct FilePlace {
    path: PathBuf,
    access: Access,
    presence: Arc<FilePresence>,
}

/// What connections may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
    /// Read a file that has no writer, without locks: on read-only media or in a folder without
    /// write permission, SQLite cannot create the files by which it coordinates with writers. Each
    /// read checks, before and after, that no process has written.
    Immutable,
}

impl FilePlace {
    /// Creates a place for writing; the file may be missing.
    pub(crate) fn writable(path: &Path) -> Result<Self, RecordError> {
        check_path(path)?;
        let path = absolute(path)?;
        Ok(Self::at(path, Access::ReadWrite))
    }

    /// Creates a place for reading.
    pub(crate) fn read_only(path: &Path) -> Result<Self, RecordError> {
        check_path(path)?;
        let path = absolute(path)?;
        // The file is checked without opening it: closing a handle of the file would release every
        // lock that other connections of this process hold on it.
        if let Err(error) = fs::metadata(&path) {
            return Err(RecordError::unavailable(path.display().to_string(), error));
        }
        Ok(Self::at(path, Access::ReadOnly))
    }

    fn at(path: PathBuf, access: Access) -> Self {
        let presence = Arc::new(FilePresence::new(path.clone()));
        Self {
            path,
            access,
            presence,
        }
    }

    /// Checks that the file is still the one that was opened.
    pub(crate) fn presence(&self) -> &Arc<FilePresence> {
        &self.presence
    }

    /// Whether the file is read without locks.
    pub(crate) fn is_immutable(&self) -> bool {
        self.access == Access::Immutable
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the write-ahead log, next to the file; if the path is a link, next to its
    /// target.
    pub(crate) fn wal_path(&self) -> PathBuf {
        self.sibling("-wal")
    }

    /// The path of the file that records the number of appends.
    pub(crate) fn watermark_path(&self) -> PathBuf {
        self.sibling("-watermark")
    }

    fn sibling(&self, end: &str) -> PathBuf {
        let linked = self.path.is_symlink().then(|| fs::canonicalize(&self.path));
        let path = linked.and_then(Result::ok);
        let mut name = path.as_ref().unwrap_or(&self.path).as_os_str().to_owned();
        name.push(end);
        name.into()
    }

    /// Opens the connection that writes, and creates a store in an empty or missing file.
    ///
    /// # Errors
    ///
    /// `Invalid` for a file that is not a store of this version; `Unavailable`, `Corrupt`.
    pub(crate) fn open_writer(&self, options: &SqliteOptions) -> Result<Connection, RecordError> {
        let before = self.make_file(options.file_mode)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let conn = self.connect(flags, &self.path, options.busy_wait_max)?;
        let kind = schema::recognise(&conn, &self.path)?;
        if conn
            .is_readonly("main")
            .map_err(|error| self.failed(error))?
        {
            return Err(RecordError::unavailable(
                self.path.display().to_string(),
                io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "the file is read-only; make it writable, or open the store for reading only",
                ),
            ));
        }
        set_up_writer(&conn, options).map_err(|error| self.failed(error))?;
        if kind != FileKind::Store {
            schema::make(&conn, &self.path, kind)?;
        }
        self.learn_files(&conn, before)?;
        self.sync_what_a_crash_left()?;
        // From here on the writer waits while the file is busy, not SQLite.
        conn.busy_timeout(Duration::ZERO)
            .map_err(|error| self.failed(error))?;
        Ok(conn)
    }

    /// Opens a connection that reads, and does not map the file.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub(crate) fn open_reader(&self, busy_wait_max: Duration) -> Result<Connection, RecordError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let conn = match self.access {
            Access::Immutable => {
                let uri = immutable_uri(&self.path);
                self.connect(flags | OpenFlags::SQLITE_OPEN_URI, &uri, busy_wait_max)?
            }
            _ => self.connect(flags, &self.path, busy_wait_max)?,
        };
        conn.pragma_update(None, "cache_size", -i64::from(READER_CACHE_KIB))
            .map_err(|error| self.failed(error))?;
        // Another file may have been at this path when the connection was opened.
        self.presence.check()?;
        Ok(conn)
    }

    /// Makes a connection that reads map the file, or not. A file that is read without locks is
    /// never mapped: nothing prevents a writer from truncating it.
    pub(crate) fn map(&self, conn: &Connection, is_mapped: bool) -> rusqlite::Result<()> {
        let size = match is_mapped && !self.is_immutable() {
            true => i64::try_from(READER_MAP_SIZE).unwrap_or(i64::MAX),
            false => 0,
        };
        conn.pragma_update(None, "mmap_size", size)
    }

    /// Opens a connection that maintains views; the file may be missing and may have any tables. A
    /// commit need not reach the disk: view and checkpoint are lost together and rebuilt.
    ///
    /// # Errors
    ///
    /// `Invalid` for a file that is no database; `Unavailable`, `Corrupt`.
    pub(crate) fn open_views(&self, file_mode: u32) -> Result<Connection, RecordError> {
        let before = self.make_file(file_mode)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        // Opening the file may wait longer than processing a page of events.
        let conn = self.connect(flags, &self.path, BUSY_WAIT_MAX)?;
        use_write_ahead_log(&conn, BUSY_WAIT_MAX)
            .and_then(|()| check_cells(&conn))
            // What handlers delete may be what was erased from the log.
            .and_then(|()| conn.pragma_update(None, "secure_delete", "FAST"))
            .and_then(|()| conn.pragma_update(None, "synchronous", "NORMAL"))
            .and_then(|()| conn.busy_timeout(VIEWS_BUSY_WAIT_MAX))
            .map_err(|error| self.failed(error))?;
        self.learn_files(&conn, before)?;
        Ok(conn)
    }

    /// Creates the file with the configured rights if it is missing: SQLite would make it readable
    /// for everyone. Returns the file that is there afterwards.
    fn make_file(&self, mode: u32) -> Result<FileBefore, RecordError> {
        check_file_mode(mode)?;
        // Closing a handle of a file releases every lock that this process holds on it; while this
        // lock is held, no other opening can have found the new file.
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.path.exists() {
            let mut make = File::options();
            make.write(true).create(true).truncate(false);
            #[cfg(unix)]
            {
                use std::os::unix::fs::OpenOptionsExt;
                make.mode(mode);
            }
            make.open(&self.path).map_err(|error| {
                let path = self.path.display();
                let what = format!("making {path} (may this process write in its folder?)");
                RecordError::unavailable(what, error)
            })?;
            // The write-ahead log of a file that was removed, if there is one.
            let _ = fs::remove_file(self.watermark_path());
        }
        Ok(self.presence.before_opening())
    }

    /// Records which files a connection has open.
    fn learn_files(&self, conn: &Connection, before: FileBefore) -> Result<(), RecordError> {
        // The first read in this mode opens the write-ahead log.
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
            .map_err(|error| self.failed(error))?;
        self.presence
            .learn(before, self.wal_path(), self.is_immutable())
    }

    /// Opens the first connection of a read-only store, and determines how the file can be read.
    ///
    /// # Errors
    ///
    /// `Invalid` for a file that is not a store of this version; `Unavailable`, `Corrupt`.
    pub(crate) fn open_first_reader(
        &mut self,
        busy_wait_max: Duration,
    ) -> Result<Connection, RecordError> {
        let first = self.open_recognised(busy_wait_max);
        let wal = self.wal_path();
        // A process that holds a lock on the file may write to it, with or without a write-ahead
        // log.
        let is_refused =
            matches!(&first, Err(error @ RecordError::Unavailable(_)) if !is_caused_by_busy(error));
        if is_refused && !wal.exists() {
            self.access = Access::Immutable;
            return self.open_recognised(busy_wait_max);
        }
        let first = first?;
        self.sync_what_a_crash_left()?;
        Ok(first)
    }

    fn open_recognised(&self, busy_wait_max: Duration) -> Result<Connection, RecordError> {
        let before = self.presence.before_opening();
        let conn = self.open_reader(busy_wait_max)?;
        match schema::recognise(&conn, &self.path)? {
            FileKind::Store | FileKind::PreviousStore => {
                self.learn_files(&conn, before)?;
                Ok(conn)
            }
            FileKind::Empty => Err(RecordError::invalid(format!(
                "{} is empty; there is no store to read",
                self.path.display()
            ))),
        }
    }

    fn connect(
        &self,
        flags: OpenFlags,
        path: &Path,
        busy_wait_max: Duration,
    ) -> Result<Connection, RecordError> {
        // Not while the file is being created, see `make_file`.
        drop(MAKING.lock().unwrap_or_else(PoisonError::into_inner));
        // A connection is used by one thread at a time, so SQLite need not lock it.
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(|error| self.failed(error))?;
        conn.busy_timeout(busy_wait_max)
            .map_err(|error| self.failed(error))?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        // Without this, SQLite reparses a prepared statement whenever a value is bound on which its
        // plan might depend (sqlite3_bind_*, "QPSG"), which costs more than most lookups. No
        // statement here has a second plan.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
            .map_err(|error| self.failed(error))?;
        Ok(conn)
    }

    /// A process that was killed may have left a committed transaction that is visible but not yet
    /// on disk. Nothing may be seen before it is durable, so this syncs it.
    fn sync_what_a_crash_left(&self) -> Result<(), RecordError> {
        let wal = self.wal_path();
        match File::open(&wal).and_then(|wal| wal.sync_data()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RecordError::unavailable(
                format!("syncing {}", wal.display()),
                error,
            )),
            _ => Ok(()),
        }
    }

    fn failed(&self, error: Error) -> RecordError {
        let path = self.path.display();
        let what = match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen) => format!(
                "opening {path} (does its folder exist, and may this process read and write there?)"
            ),
            Some(ErrorCode::ReadOnly) => format!(
                "opening {path} (the file or its folder is read-only; open the store for reading \
                 only, or make both writable)"
            ),
            _ => return schema::unreadable(&self.path, error),
        };
        before_commit(&what, error)
    }
}

fn set_up_writer(conn: &Connection, options: &SqliteOptions) -> rusqlite::Result<()> {
    use_write_ahead_log(conn, options.busy_wait_max)?;
    check_cells(conn)?;
    // What is deleted from a page is overwritten with zeros, because the page is written anyway.
    // Whole pages that become free are left as they are until a purge: writing them would double
    // what is written for a large snapshot that replaces another.
    conn.pragma_update(None, "secure_delete", "FAST")?;
    let synchronous = match options.durability {
        SqliteDurability::Full => "FULL",
        SqliteDurability::Normal => "NORMAL",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_BEFORE_CHECKPOINT)?;
    let kept = i64::try_from(WAL_SIZE_KEPT_MAX).unwrap_or(i64::MAX);
    conn.pragma_update(None, "journal_size_limit", kept)?;
    conn.pragma_update(None, "cache_size", -i64::from(WRITER_CACHE_KIB))?;
    if let Some(bytes) = options.file_size_max {
        let page_size: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page_size;
        conn.pragma_update(None, "max_page_count", pages.max(1))?;
    }
    Ok(())
}

/// Makes SQLite report damage to the tree of a table or index as an error more often, instead of
/// returning a wrong result. SQLite then checks the cells of each page that it loads into its
/// cache. A page of a mapped file is not cached, and would be checked at each access: a query by
/// topic took three times as long. Therefore connections that read do not do this. The data that
/// they read has checksums, and a verification checks the trees.
fn check_cells(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "cell_size_check", true)
}

/// Changing the journal mode briefly needs exclusive access, for which SQLite does not wait.
fn use_write_ahead_log(conn: &Connection, busy_wait_max: Duration) -> rusqlite::Result<()> {
    let deadline = Instant::now() + busy_wait_max;
    loop {
        let set = conn
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match set {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                std::thread::sleep(BUSY_PAUSE);
            }
            other => return other.map(drop),
        }
    }
}

/// Checks the path before any database is opened.
fn check_path(path: &Path) -> Result<(), RecordError> {
    if path.is_dir() {
        return Err(RecordError::invalid(format!(
            "{} is a folder; a SQLite store is a file",
            path.display()
        )));
    }
    if path.file_name().is_none() {
        return Err(RecordError::invalid(format!(
            "{:?} names no file for a SQLite store",
            path.display().to_string()
        )));
    }
    Ok(())
}

/// Connections are also opened later, when the working directory may have changed.
fn absolute(path: &Path) -> Result<PathBuf, RecordError> {
    let absolute = std::path::absolute(path)
        .map_err(|error| RecordError::unavailable(path.display().to_string(), error))?;
    if let Some(folder) = absolute.parent()
        && let Err(error) = fs::metadata(folder)
    {
        let what = format!(
            "the folder {} of the store (a store makes its file but no folder; make the folder \
             first, or correct the path)",
            folder.display()
        );
        return Err(RecordError::unavailable(what, error));
    }
    Ok(absolute)
}

/// Returns a URI for SQLite; `%`, `?` and `#` in the path would end it.
fn immutable_uri(path: &Path) -> PathBuf {
    let escaped = path
        .to_string_lossy()
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    format!("file:{escaped}?immutable=1").into()
}

/// SQLite's counter of changes by others, as this connection sees it.
pub(crate) fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FILE_MODE;

    /// SQLite follows a link to the file and creates its own files next to the target.
    #[cfg(unix)]
    #[test]
    fn the_write_ahead_log_is_next_to_the_file_and_not_the_link() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(folder.path().join("dogs.db"), &link).unwrap();
        let place = FilePlace::writable(&link).unwrap();
        let _conn = place.open_writer(&SqliteOptions::new()).unwrap();
        assert!(place.wal_path().exists());
    }

    /// A purge by a process that cannot see this reader makes the file shorter. Reading a mapped
    /// page that is gone would end the process.
    #[test]
    fn a_file_that_is_read_without_locks_is_not_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dogs.db");
        let writable = FilePlace::writable(&path).unwrap();
        drop(writable.open_writer(&SqliteOptions::new()).unwrap());
        for (access, is_mapped) in [(Access::Immutable, false), (Access::ReadOnly, true)] {
            let place = FilePlace::at(path.clone(), access);
            let conn = place.open_reader(Duration::ZERO).unwrap();
            place.map(&conn, true).unwrap();
            let size: i64 = conn
                .pragma_query_value(None, "mmap_size", |row| row.get(0))
                .unwrap();
            assert_eq!(size > 0, is_mapped, "{access:?}: {size}");
        }
    }

    #[test]
    fn what_is_deleted_from_pages_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name| FilePlace::writable(&folder.path().join(name)).unwrap();
        let writer = place("dogs.db").open_writer(&SqliteOptions::new());
        let views = place("views.db").open_views(FILE_MODE);
        for conn in [writer.unwrap(), views.unwrap()] {
            let level = conn.pragma_query_value(None, "secure_delete", |row| row.get(0));
            // FAST, as in the docs of the pragma.
            assert_eq!(level, Ok(2));
        }
    }

    /// Goal: a file is read without locks only if there can be none, never because another
    /// connection holds them. Method: another connection holds the file, in a journal mode that
    /// leaves no write-ahead log.
    #[test]
    fn a_file_in_use_is_not_read_without_locks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dogs.db");
        let writable = FilePlace::writable(&path).unwrap();
        drop(writable.open_writer(&SqliteOptions::new()).unwrap());
        let other = Connection::open(&path).unwrap();
        other
            .execute_batch("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE")
            .unwrap();
        let mut place = FilePlace::read_only(&path).unwrap();
        let opened = place.open_first_reader(Duration::ZERO);
        assert!(
            matches!(opened, Err(RecordError::Unavailable(_))),
            "{opened:?}"
        );
    }
}
