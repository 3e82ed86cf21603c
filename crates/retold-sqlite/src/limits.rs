//! The limits and defaults of a store in SQLite.

use std::time::Duration;

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

/// What each event that an append amends adds to the size of the append, in bytes: it is read,
/// checked and written again, which takes as long as recording an event of about this size.
pub(crate) const AMENDED_EVENT_SIZE: usize = 1024;

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

/// Page cache of each reading connection, in KiB; while the file does not change, most pages that
/// they read are mapped.
pub(crate) const READER_CACHE_KIB: u32 = 2 * 1024;

/// Number of events read, since the file has changed, after which connections that read map it. The
/// first read with a new map takes as much longer as about this many events read without one.
pub(crate) const EVENTS_READ_BEFORE_MAP: u64 = 100;

/// How much of the file each reading connection maps into memory, in bytes. The pages are shared by
/// all and belong to the operating system.
pub(crate) const READER_MAP_SIZE: u64 = 64 * 1024 * 1024 * 1024;

/// Permissions of a new file, on Unix: its owner can read and write it, others have no access.
pub const FILE_MODE: u32 = 0o600;
