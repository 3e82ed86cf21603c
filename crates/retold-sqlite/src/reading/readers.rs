//! The connections that read: a bounded pool, each connection with its cache of topics.
//!
//! A read takes a connection, opens a transaction, so that it sees one state, and returns the
//! connection. It runs on the caller's thread: a short read takes less time than a transfer to
//! another thread.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use retold_core::recording::{OwnProcess, RecordError};
use rusqlite::Connection;

use crate::error::{Refusal, before_commit};
use crate::file::connection::FilePlace;
use crate::file::topics::Topics;
use crate::limits::READERS_MAX;

/// A connection that reads.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) conn: Connection,
    pub(crate) topics: Topics,
}

impl Reader {
    pub(crate) fn new(conn: Connection) -> Self {
        Self {
            conn,
            topics: Topics::default(),
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
        let begun = self.topics.begin(&self.conn);
        let begun = begun.map_err(|error| before_commit("beginning to read", error));
        let found = begun.and_then(|()| read(self));
        let ended = run(&self.conn, "COMMIT");
        let found = found?;
        ended.map_err(|error| before_commit("ending a read", error))?;
        Ok(found)
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

    fn give_back(&self, reader: Reader) {
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
