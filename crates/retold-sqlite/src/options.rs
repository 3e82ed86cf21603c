//! The options of a SQLite store.

use std::time::Duration;

use retold_core::recording::Invalid;

use crate::limits::{BUSY_WAIT_MAX, FILE_MODE, WAL_SIZE_MAX};

/// Refuses permissions that no file of a store can have.
pub(crate) fn check_file_mode(mode: u32) -> Result<(), Invalid> {
    if mode & 0o600 == 0o600 && mode & !0o666 == 0 {
        return Ok(());
    }
    Err(Invalid::new(format!(
        "the file mode {mode:o} is not one for a store: its owner must read and write it, and \
         it must not be executable; 600, 640, 644, 660 and 666 are possible"
    )))
}

/// When an append is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SqliteDurability {
    /// After its bytes are on disk (`synchronous=FULL`): an acknowledged event survives a power
    /// cut.
    #[default]
    Full,
    /// After its bytes are passed to the operating system (`synchronous=NORMAL`): an acknowledged
    /// event survives any end of the process. A power cut may lose the last acknowledged events,
    /// but never an earlier one while a later one survives, and never part of an append.
    Normal,
}

/// Options for opening a store. By default an append is acknowledged when it is on disk, and waits
/// up to [`BUSY_WAIT_MAX`] for other processes that write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    pub(crate) durability: SqliteDurability,
    pub(crate) busy_wait_max: Duration,
    pub(crate) file_size_max: Option<u64>,
    pub(crate) wal_size_max: u64,
    pub(crate) file_mode: u32,
}

impl SqliteOptions {
    /// Returns the default options.
    pub fn new() -> Self {
        Self {
            durability: SqliteDurability::Full,
            busy_wait_max: BUSY_WAIT_MAX,
            file_size_max: None,
            wal_size_max: WAL_SIZE_MAX,
            file_mode: FILE_MODE,
        }
    }

    /// Sets the permissions of the file if it is created, as in `chmod`; [`FILE_MODE`] by default.
    /// The umask of the process is applied as usual, and SQLite gives its own files (`-wal`,
    /// `-shm`) the same permissions. An existing file keeps its permissions. This has no effect on
    /// systems other than Unix.
    ///
    /// The owner must be able to read and write, and the file must not be executable: other modes
    /// are `Invalid` when the store is opened.
    #[must_use]
    pub fn file_mode(mut self, mode: u32) -> Self {
        self.file_mode = mode;
        self
    }

    /// Sets when an append is acknowledged.
    #[must_use]
    pub fn durability(mut self, durability: SqliteDurability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the maximum time to wait for another process that writes; [`BUSY_WAIT_MAX`] by default.
    #[must_use]
    pub fn busy_wait_max(mut self, busy_wait_max: Duration) -> Self {
        self.busy_wait_max = busy_wait_max;
        self
    }

    /// Sets the size in bytes beyond which emptying the write-ahead log is forced; [`WAL_SIZE_MAX`]
    /// by default.
    #[must_use]
    pub fn wal_size_max(mut self, bytes: u64) -> Self {
        self.wal_size_max = bytes;
        self
    }

    /// Sets the maximum size to which appends may grow the file, in bytes, rounded down to whole
    /// pages; by default only the disk limits it. An append that needs more fails with
    /// `Unavailable`.
    #[must_use]
    pub fn file_size_max(mut self, bytes: u64) -> Self {
        self.file_size_max = Some(bytes);
        self
    }
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self::new()
    }
}
