//! The options of a SQLite store, and its limits and defaults, each with its reason.

use std::time::Duration;

use retold_core::recording::Invalid;

/// Maximum time to wait for another process that writes to the file. After that, the append fails
/// with `Unavailable`.
pub const BUSY_WAIT_MAX: Duration = Duration::from_secs(10);
/// Maximum time to wait for another process that writes to a file of views. It is short, because it
/// blocks the thread of a task; after that, the step fails with `Unavailable`, and the driver of
/// the projection retries it.
pub const VIEWS_BUSY_WAIT_MAX: Duration = Duration::from_secs(1);
/// Maximum time for which an append waits for a place in the queue. After that, it fails with
/// `Unavailable`.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Maximum number of appends in the queue; further ones wait for a place.
pub const QUEUE_LENGTH_MAX: usize = 10_000;
/// Maximum total size of the appends in the queue, in bytes; a single append may exceed it.
pub const QUEUE_SIZE_MAX: usize = 256 * 1024 * 1024;
/// Maximum number of appends in one transaction. It bounds how long the first one waits for the
/// others.
pub const GROUP_LENGTH_MAX: usize = 512;
/// Maximum total size of the appends of one transaction, in bytes; a single append may exceed it.
pub const GROUP_SIZE_MAX: usize = 8 * 1024 * 1024;
/// Maximum number of connections that read at the same time; further reads wait.
pub const READERS_MAX: usize = 8;
/// Interval at which the file is checked for writes by another process, while a caller waits for
/// changes and a log has grown recently. One check serves the waiting callers of all logs.
pub const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long the checks keep the interval [`POLL_INTERVAL`] after a log has grown; then each
/// interval is twice the previous one.
pub const POLL_QUICK_FOR: Duration = Duration::from_millis(200);
/// Maximum interval between these checks, and so the maximum delay with which appends of another
/// process are noticed. Appends of the same process are noticed at once.
pub const POLL_INTERVAL_IDLE: Duration = Duration::from_millis(400);
/// Pages in the write-ahead log after which a commit copies them into the file (4 KiB each).
///
/// SQLite's default is 1000. A higher number copies frequently written pages less often, and makes
/// the copying, for which one commit waits, longer.
pub(crate) const WAL_PAGES_BEFORE_CHECKPOINT: u32 = 4000;
/// The write-ahead log is truncated to this size, in bytes, when it restarts.
pub(crate) const WAL_SIZE_KEPT_MAX: u64 = 64 * 1024 * 1024;
/// Size in bytes beyond which emptying the write-ahead log is forced: no append begins until the
/// reads that still need the log are done, for at most [`WAL_EMPTYING_WAIT_MAX`]. Without this,
/// reads that always overlap could make it grow forever.
pub const WAL_SIZE_MAX: u64 = 256 * 1024 * 1024;
/// Maximum time to wait for reads that need the write-ahead log, when emptying it is forced.
pub const WAL_EMPTYING_WAIT_MAX: Duration = Duration::from_secs(1);
/// Pause after an attempt to empty it, so that a read that takes minutes, perhaps by another
/// program, does not stop appends repeatedly.
pub(crate) const WAL_EMPTYING_PAUSE: Duration = Duration::from_secs(30);
/// How often its size is checked while there are appends.
pub(crate) const WAL_LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Page cache of the writing connection, in KiB.
pub(crate) const WRITER_CACHE_KIB: u32 = 64 * 1024;
/// Page cache of each reading connection, in KiB; most pages that they read are mapped.
pub(crate) const READER_CACHE_KIB: u32 = 2 * 1024;
/// How much of the file each reading connection maps into memory, in bytes. The pages are shared by
/// all and belong to the operating system.
pub(crate) const READER_MAP_SIZE: u64 = 64 * 1024 * 1024 * 1024;

/// Permissions of a new file, on Unix: its owner can read and write it, others have no access.
pub const FILE_MODE: u32 = 0o600;

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
