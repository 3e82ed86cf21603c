//! The limits and defaults of a store in PostgreSQL.

use std::time::Duration;

/// Maximum size of the name of a schema, in bytes: PostgreSQL truncates longer names.
pub const SCHEMA_NAME_SIZE_MAX: usize = 63;

/// Default maximum number of connections of a store, in addition to one that listens for hints and
/// one that sends them. By default a server allows 100 connections in total.
pub const CONNECTIONS_MAX: usize = 16;

/// Maximum number of connections that append at the same time, each to a different log. The limit
/// leaves connections free for reads.
pub const WRITERS_MAX: usize = 8;

/// Maximum time to wait for a connection. After that, the call fails with `Unavailable`.
pub const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(10);

/// Maximum time to wait for a server to accept a connection, including encryption and password,
/// unless the URL sets another (`connect_timeout`). It applies to each of several servers, so that
/// a silent server does not prevent the use of the next one.
pub const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);

/// Maximum size of a message that a server may send before it has accepted the login, in bytes.
/// Real error messages are far smaller.
pub const MESSAGE_BEFORE_LOGIN_SIZE_MAX: usize = 64 * 1024;

/// Maximum total number of bytes that a server may send before it has accepted the login.
pub const GREETING_SIZE_MAX: usize = 1024 * 1024;

/// Maximum time to wait for a response of the server. A connection that stays silent for longer is
/// closed; the request that was sent on it may still be executed.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// Idle time of a connection after which the operating system probes whether the peer is still
/// alive.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// Maximum time for which a group of appends waits for another process that appends to the same
/// log. It is shorter than [`ANSWER_WAIT_MAX`], so that the server times out first: it is then
/// certain that nothing was written.
pub const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);

/// Maximum time for which an append waits for a place in the queue. After that, it fails with
/// `Unavailable`.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Number of places in the queue of a log. An append takes one for every [`PLACE_SIZE`] bytes of
/// its size, and at least one; so at most 8192 appends or 256 MiB wait.
pub const QUEUE_PLACES_MAX: u32 = 8192;

/// Number of bytes for each place in the queue.
pub const PLACE_SIZE: usize = 32 * 1024;

/// Maximum number of appends in one transaction. It bounds how long the first one waits for the
/// others.
pub const GROUP_LENGTH_MAX: usize = 512;

/// Bytes counted for each event, tag, condition, name in a query and processed range in addition to
/// its texts and payload, when the size of an append is computed: roughly the size of its numbers.
/// It limits a group to some tens of thousands of them, however small they are, so that it is
/// written well within [`ANSWER_WAIT_MAX`].
pub(crate) const ROW_SIZE: usize = 256;

/// Maximum total size of the appends of one transaction, in bytes; a larger append gets its own
/// transaction. Everything that is sent counts, including conditions.
pub const GROUP_SIZE_MAX: usize = 8 * 1024 * 1024;

/// A group waits for the callers of the previous group to append again, unless one caller is alone:
/// for this part of the time that the previous group took, and no longer than [`GATHER_WAIT_MAX`].
pub(crate) const GATHER_SHARE: u32 = 2;

/// Maximum time to wait for the callers of the previous group. If a sync takes milliseconds, a
/// command that loads before it appends is back within this time.
pub(crate) const GATHER_WAIT_MAX: Duration = Duration::from_millis(4);

/// Maximum number of comparisons of queries in conditions with events of earlier appends of the
/// group; an append that would exceed it begins a new group. This number takes a few milliseconds.
pub(crate) const GROUP_COMPARISONS_MAX: usize = 200_000;

/// Interval at which waiting readers poll the log while they also receive hints, because a hint may
/// be lost.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Interval at which waiting readers poll the log while no connection for hints is open.
pub const POLL_INTERVAL_WITHOUT_HINTS: Duration = Duration::from_millis(50);

/// Maximum time for which a read waits for a standby that has not yet replayed a position that the
/// reader has read from another server. After that, the read fails with `Unavailable`.
pub const STANDBY_WAIT_MAX: Duration = Duration::from_secs(2);

/// Interval at which such a read is retried, each time on a new connection, which may reach a
/// server that has replayed more.
pub(crate) const STANDBY_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Interval at which the listening connection, which is silent otherwise, is checked.
pub const LISTEN_CHECK_INTERVAL: Duration = Duration::from_secs(15);

/// Maximum number of times that a group of appends is sent. It is sent again if recorded events
/// were amended after it was compared with them, or if the schema was replaced; nothing of it was
/// written then. After that, its appends fail with `Unavailable`.
pub(crate) const SENDINGS_MAX: u32 = 32;

/// Maximum total size of the tables that a purge rewrites, in bytes. While a table is rewritten,
/// which takes a second or a few, appends and reads wait. Larger tables are only vacuumed.
pub const PURGE_REWRITE_SIZE_MAX: i64 = 256 * 1024 * 1024;

/// Maximum time for which a purge waits to lock a table that it rewrites. It is short, because
/// appends and reads wait behind it, and a transaction that reads the table may be long.
pub const PURGE_LOCK_WAIT_MAX: Duration = Duration::from_secs(1);

/// Maximum time for each statement of a purge. Vacuuming a large table may take hours.
pub const PURGE_WAIT_MAX: Duration = Duration::from_secs(12 * 60 * 60);

/// Pause between two rounds of hints to other processes; each round is a statement to the server.
/// The first one after a pause is sent at once.
pub(crate) const HINT_PAUSE: Duration = Duration::from_millis(2);

/// Pause before the connection that listens for hints, or sends them, is reopened.
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// The schema where views were kept before they moved to the schema of their store: views that
/// still exist there are not silently built a second time.
pub(crate) const VIEWS_SCHEMA_FORMER: &str = "public";

/// Maximum number of connections for views: the number of projections that can apply events at the
/// same time.
pub const VIEW_CONNECTIONS_MAX: usize = 8;

/// Maximum time for one transaction on views, including the handlers of a page. After that, its
/// connection is closed, and the step fails with `Unavailable`.
pub const VIEW_WAIT_MAX: Duration = Duration::from_secs(60);

/// Maximum time to wait for readers of a view to end their transactions before another version
/// replaces it. It is short, because new readers must wait too; after that, the switch is retried.
pub const SWITCH_LOCK_WAIT_MAX: Duration = Duration::from_secs(1);

/// Maximum number of statements of handlers that a connection keeps prepared. When one more is
/// prepared, all others are dropped.
pub const KEPT_STATEMENTS_MAX: usize = 256;

/// Maximum number of events by which an inline projection may be behind its log and still process
/// them within the append; if it is further behind, it catches up first.
pub(crate) const INLINE_LAG_MAX: u64 = 2_000;

/// Events processed in one transaction while an inline projection catches up: enough that the
/// commits cost little.
pub(crate) const INLINE_PAGE_EVENTS: usize = 1_000;

/// How often an append waits for the inline projections of its log to catch up before it fails with
/// `Unavailable`: each time others have appended more than [`INLINE_LAG_MAX`] events without them.
pub(crate) const INLINE_ATTEMPTS_MAX: u32 = 8;
