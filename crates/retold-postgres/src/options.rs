//! How a PostgreSQL store is opened, and its limits and defaults, each with its reason.

use std::time::Duration;

use retold_core::recording::OPEN_WAIT_MAX;

/// The schema that holds the tables, unless another is given.
pub const SCHEMA_DEFAULT: &str = "retold";
/// Longest name of a schema, in bytes: PostgreSQL cuts longer names.
pub const SCHEMA_NAME_SIZE_MAX: usize = 63;
/// Most connections of an opening, beside one that listens and one that tells others of news. A
/// server allows 100 by default, to all its clients together.
pub const CONNECTIONS_MAX: usize = 16;
/// Most connections that append at the same time, each to another log, so that reads always find one.
pub const WRITERS_MAX: usize = 8;
/// Longest wait for a connection. Then the call is `Unavailable`.
pub const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a server to let a connection in, encryption and password included, unless the URL
/// says another (`connect_timeout`). Of several servers each has it, so that one that is silent does not
/// keep us from the next.
pub const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);
/// Largest message that a server may send before it has let a connection in, in bytes. The largest of its
/// errors are far smaller.
pub const MESSAGE_BEFORE_LOGIN_SIZE_MAX: usize = 64 * 1024;

/// Most bytes that a server may send before it has let a connection in.
pub const GREETING_SIZE_MAX: usize = 1024 * 1024;

/// Longest wait for an answer of the server. A connection that stays silent for longer is given up:
/// what was sent by it may still happen.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a connection is quiet before the system asks whether the other side is still there.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Longest wait of a group for another process that appends to the same log, shorter than
/// [`ANSWER_WAIT_MAX`] so that the server gives up first, which is certain to have written nothing.
pub const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest wait of an append for a place in the queue. Then it is `Unavailable`.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Places in the queue of a log. An append takes one for every [`PLACE_SIZE`] it has, one at least; so
/// no more than 8192 appends or 256 MiB wait.
pub const QUEUE_PLACES_MAX: u32 = 8192;
/// What one place in the queue holds, in bytes.
pub const PLACE_SIZE: usize = 32 * 1024;
/// Most appends in one transaction. Bounds how long the first one waits for the others.
pub const GROUP_LENGTH_MAX: usize = 512;
/// What each event, tag, condition, name of a query and stretch counts beside its texts and bytes, where
/// the size of an append is asked for: about what its numbers take. So a group has some tens of
/// thousands of them at most, however small they are, and is written well within [`ANSWER_WAIT_MAX`].
pub(crate) const ROW_SIZE: usize = 256;
/// Appends of one transaction have at most this size together, in bytes, unless it is one. All that is
/// sent counts, conditions too.
pub const GROUP_SIZE_MAX: usize = 8 * 1024 * 1024;
/// A group waits for those who were just answered, unless it was one alone: this part of
/// the time that the last group took, and no longer than [`GATHER_WAIT_MAX`].
pub(crate) const GATHER_SHARE: u32 = 2;
/// Longest wait for those who were just answered: where a sync takes milliseconds, a command that loads
/// before it appends comes back within it.
pub(crate) const GATHER_WAIT_MAX: Duration = Duration::from_millis(4);
/// Most comparisons of a condition's query with an event of an earlier append of its group; an append
/// that would bring more begins a group. Takes some milliseconds.
pub(crate) const GROUP_COMPARISONS_MAX: usize = 200_000;
/// How often those who wait for news look at the log by themselves while hints arrive: a hint may be
/// lost.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often they look while there is no connection that hints arrive on.
pub const POLL_INTERVAL_WITHOUT_HINTS: Duration = Duration::from_millis(50);
/// Longest wait of a read for a standby that has not replayed yet what the reader has read from another
/// server. Then it is `Unavailable`.
pub const STANDBY_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often such a read is tried meanwhile, each time by a new connection, which may reach a server that
/// is further.
pub(crate) const STANDBY_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often the connection that listens, and says nothing by itself, is asked whether it is still there.
pub const LISTEN_CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// Pause between two rounds of hints to other processes, of which each is a statement of its own to the
/// server. The first one after a pause is sent at once.
pub(crate) const HINT_PAUSE: Duration = Duration::from_millis(2);
/// Pause before the connection that listens, or tells, is opened again.
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Where views were before they were kept in the schema of their store: those that are still there are not
/// built a second time in silence.
pub(crate) const VIEWS_SCHEMA_FORMER: &str = "public";
/// Most connections of a place for views: as many projections are at work at a time.
pub const VIEW_CONNECTIONS_MAX: usize = 8;
/// Longest time for one transaction on views, the handlers of a page included. Then its connection is
/// given up, and the step is `Unavailable`.
pub const VIEW_WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest wait for readers of a view to end their transactions, when another version is to take its
/// place. Who begins to read meanwhile waits too, so it is short; then it is tried again.
pub const SWITCH_LOCK_WAIT_MAX: Duration = Duration::from_secs(1);
/// Most statements of handlers that a connection keeps prepared; one more, and it begins anew.
pub const KEPT_STATEMENTS_MAX: usize = 256;
/// Most events of an append's log that an inline projection may be behind by and take within the append;
/// for more it catches up first.
pub(crate) const INLINE_LAG_MAX: u64 = 2_000;
/// Events taken in one transaction while an inline projection catches up: long enough that the commits
/// cost little.
pub(crate) const INLINE_PAGE_EVENTS: usize = 1_000;
/// How often an append lets the inline projections of its log catch up, before it is `Unavailable`: each
/// time others have appended more without them than [`INLINE_LAG_MAX`].
pub(crate) const INLINE_ATTEMPTS_MAX: u32 = 8;

/// How to open a store. By default: the schema [`SCHEMA_DEFAULT`], [`CONNECTIONS_MAX`] connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    pub(crate) schema: Option<String>,
    pub(crate) connections_max: Option<usize>,
    pub(crate) open_wait_max: Duration,
}

impl PostgresOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            schema: None,
            connections_max: None,
            open_wait_max: OPEN_WAIT_MAX,
        }
    }

    /// How long opening the store for writing waits for a server that cannot be reached, starts, or has no
    /// room for a connection; [`OPEN_WAIT_MAX`] unless told. It does not wait where a server refuses the
    /// user or the database: time does not mend that.
    #[must_use]
    pub fn open_wait_max(mut self, wait: Duration) -> Self {
        self.open_wait_max = wait;
        self
    }

    /// The schema that holds the tables, in place of the one that the URL names.
    #[must_use]
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = Some(name.into());
        self
    }

    /// Most connections, 2 at least, in place of those that the URL says: one may append while another
    /// reads.
    #[must_use]
    pub fn connections_max(mut self, count: usize) -> Self {
        self.connections_max = Some(count.max(2));
        self
    }
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self::new()
    }
}
