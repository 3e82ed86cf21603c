//! How a SQLite store is opened, and its limits and defaults, each with its reason.

use std::time::Duration;

use retold_core::recording::Invalid;

/// Longest wait for another process that writes to the file. Then the append is `Unavailable`.
pub const BUSY_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for another process that writes to a file of views. It holds the thread of a task,
/// so it is short; then the step is `Unavailable`, and whoever drives the projection waits.
pub const VIEWS_BUSY_WAIT_MAX: Duration = Duration::from_secs(1);
/// Longest wait of an append for a place in the queue. Then it is `Unavailable`.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Most appends that wait to be committed; more wait for a place.
pub const QUEUE_LENGTH_MAX: usize = 10_000;
/// Appends that wait to be committed have at most this size together, in bytes, unless it is one.
pub const QUEUE_SIZE_MAX: usize = 256 * 1024 * 1024;
/// Most appends in one transaction. Bounds how long the first one waits for the others.
pub const GROUP_LENGTH_MAX: usize = 512;
/// Appends of one transaction have at most this size together, in bytes, unless it is one.
pub const GROUP_SIZE_MAX: usize = 8 * 1024 * 1024;
/// Most connections that read at the same time; further reads wait their turn.
pub const READERS_MAX: usize = 8;
/// How often the file is asked whether another process wrote, while somebody waits for that and a
/// log has grown lately, whoever wrote. One look serves all who wait, for whichever log.
pub const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// As long as this after a log has grown it is asked that often; then each wait is twice the one
/// before.
pub const POLL_QUICK_FOR: Duration = Duration::from_millis(200);
/// The longest of these waits: after a pause, what another process records is noticed this much
/// later at worst. What the same process records is noticed at once.
pub const POLL_INTERVAL_IDLE: Duration = Duration::from_millis(400);
/// Pages in the write-ahead log after which a commit copies them into the file (4 KiB each).
///
/// SQLite's own default is 1000. More copies a page that is written often less often, and makes the
/// copying, which the unlucky commit waits for, longer.
pub(crate) const WAL_PAGES_BEFORE_CHECKPOINT: u32 = 4000;
/// The write-ahead log is cut to this size, in bytes, when it starts anew.
pub(crate) const WAL_SIZE_KEPT_MAX: u64 = 64 * 1024 * 1024;
/// Beyond this size, in bytes, the write-ahead log is emptied by force: no append is begun until
/// the reads that still need it are done, for [`WAL_EMPTYING_WAIT_MAX`] at most. Without that,
/// reads that overlap each other without a pause could keep it growing for ever.
pub const WAL_SIZE_MAX: u64 = 256 * 1024 * 1024;
/// Longest wait for reads that need the write-ahead log, when it is emptied by force.
pub const WAL_EMPTYING_WAIT_MAX: Duration = Duration::from_secs(1);
/// Pause after an attempt to empty it, so that a read that takes minutes, by another program
/// perhaps, does not stop appends again and again.
pub(crate) const WAL_EMPTYING_PAUSE: Duration = Duration::from_secs(30);
/// How often its size is looked at, while there are appends.
pub(crate) const WAL_LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Page cache of the writing connection, in KiB.
pub(crate) const WRITER_CACHE_KIB: u32 = 64 * 1024;
/// Page cache of each reading connection, in KiB; most of what they read is mapped.
pub(crate) const READER_CACHE_KIB: u32 = 2 * 1024;
/// So much of the file is mapped into memory by each reading connection, in bytes. Pages are shared
/// by all and belong to the operating system.
pub(crate) const READER_MAP_SIZE: u64 = 64 * 1024 * 1024 * 1024;

/// Rights to a file that is made, on Unix: its owner reads and writes it, others do nothing.
pub const FILE_MODE: u32 = 0o600;

/// Refuses rights that no file of a store can have.
pub(crate) fn check_file_mode(mode: u32) -> Result<(), Invalid> {
    if mode & 0o600 == 0o600 && mode & !0o666 == 0 {
        return Ok(());
    }
    Err(Invalid::new(format!(
        "the file mode {mode:o} is not one for a store: its owner must read and write it, and \
         nobody can execute it; 600, 640, 644, 660 and 666 are possible"
    )))
}

/// When an append is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// After its bytes are on the disk (`synchronous=FULL`): an acknowledged event survives a power
    /// cut.
    #[default]
    Full,
    /// After its bytes are with the operating system (`synchronous=NORMAL`): an acknowledged event
    /// survives the end of the process, however sudden. A power cut may lose the last acknowledged
    /// events, never an earlier one while a later one stays, and never half an append.
    Normal,
}

/// How to open a store. By default: durable, waits up to [`BUSY_WAIT_MAX`] for other writers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    pub(crate) durability: Durability,
    pub(crate) busy_wait_max: Duration,
    pub(crate) file_size_max: Option<u64>,
    pub(crate) wal_size_max: u64,
    pub(crate) file_mode: u32,
}

impl SqliteOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            durability: Durability::Full,
            busy_wait_max: BUSY_WAIT_MAX,
            file_size_max: None,
            wal_size_max: WAL_SIZE_MAX,
            file_mode: FILE_MODE,
        }
    }

    /// Rights to the file where it is made, as `chmod` counts them; [`FILE_MODE`] unless given. The
    /// umask of the process takes from them as usual, and SQLite gives its own files beside it
    /// (`-wal`, `-shm`) the same rights. A file that is there keeps what it has. Means nothing
    /// where the system is not a Unix.
    ///
    /// The owner must be able to read and write, and nothing of it is executed: other modes are
    /// `Invalid` when the store is opened.
    #[must_use]
    pub fn file_mode(mut self, mode: u32) -> Self {
        self.file_mode = mode;
        self
    }

    /// When an append is acknowledged.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Longest wait for another process that writes.
    #[must_use]
    pub fn busy_wait_max(mut self, busy_wait_max: Duration) -> Self {
        self.busy_wait_max = busy_wait_max;
        self
    }

    /// The size beyond which the write-ahead log is emptied by force, in bytes; [`WAL_SIZE_MAX`]
    /// unless given.
    #[must_use]
    pub fn wal_size_max(mut self, bytes: u64) -> Self {
        self.wal_size_max = bytes;
        self
    }

    /// Largest size of the file that appends of this opening may bring about, in bytes, rounded
    /// down to whole pages; without it, as much as the disk has. An append beyond is `Unavailable`.
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
