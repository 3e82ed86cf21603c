//! The connections that read: a bounded pool, each connection with its cache of topics.
//!
//! A read takes a connection, opens a transaction, so that it sees one state, and returns the
//! connection. It runs on the caller's thread: a short read takes less time than a transfer to
//! another thread.
//!
//! A mapped file is read in half the time. But SQLite drops the map of a connection when it finds
//! the file changed, and making it again takes as long as reading many events. So connections map
//! the file only once that many events were read since the last change.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use retold_core::recording::{OwnProcess, RecordError};
use rusqlite::Connection;

use crate::error::{Refusal, before_commit};
use crate::file::connection::{FilePlace, data_version};
use crate::file::topics::Topics;
use crate::limits::{EVENTS_READ_BEFORE_MAP, READERS_MAX};

/// A connection that reads.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) conn: Connection,
    pub(crate) topics: Topics,
    /// How many events were read since it was taken from the pool.
    pub(crate) events_read: u64,
    /// SQLite's counter of others' changes, as the last read found it.
    data_version: Option<i64>,
    /// A read since it was taken from the pool found the file changed.
    found_change: bool,
    is_mapped: bool,
}

impl Reader {
    /// Creates a reader with a connection that does not map the file.
    pub(crate) fn new(conn: Connection) -> Self {
        Self {
            conn,
            topics: Topics::default(),
            events_read: 0,
            data_version: None,
            found_change: false,
            is_mapped: false,
        }
    }

    /// Reads within one transaction, so that everything is of one state.
    ///
    /// # Errors
    ///
    /// Those of `read`, and `Unavailable` or `Corrupt` if the transaction fails.
    pub(crate) fn in_one_state<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        let run = |conn: &Connection, sql| -> rusqlite::Result<()> {
            conn.prepare_cached(sql)?.execute([]).map(drop)
        };
        run(&self.conn, "BEGIN").map_err(|error| before_commit("beginning to read", error))?;
        let begun = self.begin();
        let begun = begun.map_err(|error| before_commit("beginning to read", error));
        let found = begun.and_then(|()| read(self));
        let ended = run(&self.conn, "COMMIT");
        let found = found?;
        ended.map_err(|error| before_commit("ending a read", error))?;
        Ok(found)
    }

    /// Called at the beginning of a read: determines whether the file has changed.
    fn begin(&mut self) -> rusqlite::Result<()> {
        let data_version = data_version(&self.conn)?;
        if self.data_version != Some(data_version) {
            self.topics.begin(&self.conn)?;
            self.data_version = Some(data_version);
            self.found_change = true;
        }
        Ok(())
    }
}

/// The pool.
#[derive(Debug)]
pub(crate) struct Readers {
    process: Arc<OwnProcess>,
    place: FilePlace,
    busy_wait_max: Duration,
    state: Mutex<PoolState>,
    returned: Condvar,
    /// How many events were read since a read found the file changed.
    events_read: AtomicU64,
}

#[derive(Debug, Default)]
struct PoolState {
    idle: Vec<Reader>,
    open_count: usize,
    /// For a store that only reads: keeps the opened write-ahead log from being removed when
    /// another process closes the file last.
    _anchor: Option<Connection>,
}

impl Readers {
    /// Creates a pool that opens connections on demand. A store that only reads passes the
    /// connection with which it was opened.
    pub(crate) fn new(
        process: Arc<OwnProcess>,
        place: FilePlace,
        busy_wait_max: Duration,
        anchor: Option<Connection>,
    ) -> Self {
        let state = PoolState {
            idle: Vec::new(),
            open_count: 0,
            _anchor: anchor,
        };
        Self {
            process,
            place,
            busy_wait_max,
            state: Mutex::new(state),
            returned: Condvar::new(),
            events_read: AtomicU64::new(0),
        }
    }

    /// Leaks its connections: they stay open.
    pub(crate) fn forget(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::forget(std::mem::take(state));
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads with a connection of the pool, and checks that the file is the one that was opened:
    /// from time to time, and before and after each read of a file that is read without locks.
    ///
    /// # Errors
    ///
    /// Those of `read`; `Unavailable` if the file is another, or was written to although it is read
    /// without locks, which makes the result worthless; `Corrupt`.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&mut Reader) -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        self.process.check()?;
        let presence = self.place.presence();
        if !self.place.is_immutable() {
            presence.check_now_and_then()?;
            return read(&mut *self.take()?);
        }
        presence.check()?;
        let found = self.take().and_then(|mut reader| read(&mut reader));
        presence.check()?;
        found
    }

    /// Takes a connection until the result is dropped. Waits while all are in use; a read never
    /// waits for anything else while it holds one, so they are returned.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn take(&self) -> Result<PooledReader<'_>, RecordError> {
        let mut reader = self.take_any()?;
        let is_mapped = self.events_read.load(Ordering::Relaxed) >= EVENTS_READ_BEFORE_MAP;
        if reader.is_mapped != is_mapped {
            let mapped = self.place.map(&reader.conn, is_mapped);
            mapped.map_err(|error| before_commit("beginning to read", error))?;
            reader.is_mapped = is_mapped;
        }
        Ok(reader)
    }

    fn take_any(&self) -> Result<PooledReader<'_>, RecordError> {
        let deadline = Instant::now() + self.busy_wait_max;
        let mut state = self.state();
        loop {
            if let Some(reader) = state.idle.pop() {
                return Ok(PooledReader::new(self, reader));
            }
            if state.open_count < READERS_MAX {
                state.open_count += 1;
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(RecordError::unavailable("reading", Refusal::NoReader));
            }
            let waited = self.returned.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        match self.place.open_reader(self.busy_wait_max) {
            Ok(conn) => Ok(PooledReader::new(self, Reader::new(conn))),
            Err(error) => {
                self.close_one();
                Err(error)
            }
        }
    }

    fn give_back(&self, mut reader: Reader) {
        let events_read = std::mem::take(&mut reader.events_read);
        if std::mem::take(&mut reader.found_change) {
            self.events_read.store(events_read, Ordering::Relaxed);
        } else {
            self.events_read.fetch_add(events_read, Ordering::Relaxed);
        }
        if reader.conn.is_autocommit() {
            self.state().idle.push(reader);
            self.returned.notify_one();
        } else {
            // A transaction that could not be ended would show an old state forever.
            drop(reader);
            self.close_one();
        }
    }

    fn close_one(&self) {
        self.state().open_count -= 1;
        self.returned.notify_one();
    }
}

/// A connection taken from the pool, returned on drop.
#[derive(Debug)]
pub(crate) struct PooledReader<'a> {
    readers: &'a Readers,
    reader: Option<Reader>,
}

impl<'a> PooledReader<'a> {
    fn new(readers: &'a Readers, reader: Reader) -> Self {
        Self {
            readers,
            reader: Some(reader),
        }
    }
}

impl Deref for PooledReader<'_> {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        self.reader.as_ref().expect("taken back only when dropped")
    }
}

impl DerefMut for PooledReader<'_> {
    fn deref_mut(&mut self) -> &mut Reader {
        self.reader.as_mut().expect("taken back only when dropped")
    }
}

impl Drop for PooledReader<'_> {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.readers.give_back(reader);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::SqliteOptions;

    /// Goal: a file that changes is not mapped for a few events. Method: read many events without a
    /// change, then a few after one, by two connections.
    #[test]
    fn a_file_is_mapped_once_many_events_are_read_without_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let place = FilePlace::writable(&folder.path().join("dogs.db")).unwrap();
        let writer = place.open_writer(&SqliteOptions::new()).unwrap();
        let process = Arc::new(OwnProcess::current());
        let readers = Readers::new(process, place, Duration::ZERO, None);
        let read = |events: u64| {
            let read = |reader: &mut Reader| {
                reader.in_one_state(|reader| {
                    reader.events_read += events;
                    let size = reader
                        .conn
                        .pragma_query_value(None, "mmap_size", |row| row.get::<_, i64>(0));
                    Ok(size.unwrap() > 0)
                })
            };
            readers.read(read).unwrap()
        };
        assert!(!read(EVENTS_READ_BEFORE_MAP - 1));
        assert!(!read(1));
        let found = [read(1), read(1)];
        assert_eq!(found, [true, true]);
        writer
            .execute_batch("CREATE TABLE other (it INTEGER)")
            .unwrap();
        let found = [read(1), read(1), read(EVENTS_READ_BEFORE_MAP)];
        assert_eq!(
            found,
            [true, false, false],
            "the first read finds the change"
        );
        assert!(read(1));
    }
}
