//! PostgreSQL as a store for Retold: durable logs in a database that many processes share.
//!
//! ```no_run
//! use retold_core::recording::Store;
//! use retold_postgres::PostgresStore;
//!
//! # async fn example() -> Result<(), retold_core::recording::RecordError> {
//! let store = PostgresStore::open("postgres://retold@localhost/dogs").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! The whole contract of [`Recorder`](retold_core::recording::Recorder), also between many
//! processes on one database. An append is acknowledged when the server has it on disk (and on the
//! standbys that the server waits for), whatever the server's default is for others. What is recorded is
//! guarded by triggers: SQL that would change or delete an event is refused.
//!
//! # Where work is done
//!
//! Appends of one log that come while another is being committed go to the server together: one
//! statement, one transaction, one round trip, a verdict for each. A function in the schema judges and
//! writes them while it holds the log's row; so positions have no gaps and are in the order of commit,
//! and logs do not wait for each other. A page of events is one statement.
//!
//! # Servers, and whom they let in
//!
//! A URL is `postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?NAME=VALUE&…`; the parameters are
//! those of libpq that the driver knows, and `schema`, `connections_max`, `passfile`, `sslmode`,
//! `sslrootcert`, `sslcert`, `sslkey`. What is unknown is refused. Of several servers the first is taken
//! that can be used: with `target_session_attrs=read-write` that is the primary, whichever it is. Servers
//! before version 14 are refused. A password that the URL does not give comes from `PGPASSWORD`, or from
//! the file of `passfile`, `PGPASSFILE` or `~/.pgpass`; other variables of libpq are not looked at.
//!
//! | `sslmode` | encrypted | the server's certificate |
//! |---|---|---|
//! | `disable` | never | |
//! | `prefer` (the default) | if the server does | anybody's |
//! | `require` | always | anybody's; with `sslrootcert` as `verify-ca` |
//! | `verify-ca` | always | signed by one of `sslrootcert`, which must be given |
//! | `verify-full` | always | signed by one of `sslrootcert`, or of the system's where it is `system` or missing, and of the host of the URL |
//!
//! This is what libpq documents, but: files in `~/.postgresql` are not looked at; a handshake that fails
//! under `prefer` is not tried again without encryption; `sslrootcert` where nothing would look at it is
//! refused; names are those of the certificate's subject alternative names, never its common name; there
//! are no lists of revoked certificates, no passwords of keys, and no `channel_binding=require`. A
//! certificate that signed itself may be given as its own root. Files are read when a store is opened.
//!
//! # Roles
//!
//! The role that makes the schema owns it: programs in trials, nobody who logs in otherwise.
//! [`roles_sql`], or `retold schema postgres`, makes two more. The **reader** selects from all tables and
//! hears of news. The **writer** also bears logs, takes leases, keeps snapshots, and calls the function
//! that appends, which works with its owner's rights: SQL of a writer can neither insert, change nor
//! delete an event. PUBLIC has no rights. Triggers refuse changes of history to everybody, the owner and
//! superusers too, also under `session_replication_role = replica`; who means it has to drop them.
//!
//! # Faults
//!
//! | what happens | what a caller is told |
//! |---|---|
//! | the server is killed, a connection is cut, or silent for [`ANSWER_WAIT_MAX`], while appending | `OutcomeUnknown`: send the same append again |
//! | the same while reading, or before an append was sent | `Unavailable` |
//! | no connection is left, the disk is full, a lock is held, the server only reads, rights are missing | `Unavailable`, with what to do; nothing was written |
//! | a schema of another version, an older server, no rights, a pool between, on opening | `Invalid`, with what to do |
//!
//! Every wait has an end, and the store goes on by itself when the fault is over. With a synchronous
//! standby a commit waits for it, and what was acknowledged is on both. An append whose wait is cancelled
//! (`pg_cancel_backend`, the end of the backend or the server) is `OutcomeUnknown`: readers see its events,
//! and the standby may not have them. Sent again it waits again.
//!
//! PgBouncer is refused in all of its modes: it does not hand on the settings that each connection begins
//! with, and one that gives each transaction another connection would mix up prepared statements and
//! LISTEN. The store has its own pool. A standby may be read from; news is polled for there.
//!
//! # Views
//!
//! Projections may keep their views in the same database: [`PostgresStore::views`],
//! [`PostgresStore::open_with_projections`]. Handlers are asynchronous and are given the driver's own
//! transaction; see [`ViewTransaction`].
//!
//! # Order of the modules
//!
//! From the connection upward; each uses only those of groups above its own.

mod access;
mod options;
pub mod telemetry;

mod sql_text;

mod error;
mod names;
mod queue;
mod stretch_checksum;

mod log;
mod opening;

mod server;

mod birth;
mod schema;

mod news;

mod leases;
mod reading;

mod projection;

mod shared;

mod writing;

mod recorder;

mod store;

pub use self::options::{
    ANSWER_WAIT_MAX, CONNECT_WAIT_MAX, CONNECTION_WAIT_MAX, CONNECTIONS_MAX, GREETING_SIZE_MAX,
    GROUP_LENGTH_MAX, GROUP_SIZE_MAX, KEEPALIVE_IDLE, KEPT_STATEMENTS_MAX, LISTEN_CHECK_INTERVAL,
    LOCK_WAIT_MAX, MESSAGE_BEFORE_LOGIN_SIZE_MAX, PLACE_SIZE, POLL_INTERVAL,
    POLL_INTERVAL_WITHOUT_HINTS, PostgresOptions, QUEUE_PLACES_MAX, QUEUE_WAIT_MAX,
    RECONNECT_PAUSE, SCHEMA_DEFAULT, SCHEMA_NAME_SIZE_MAX, STANDBY_WAIT_MAX, SWITCH_LOCK_WAIT_MAX,
    VIEW_CONNECTIONS_MAX, VIEW_WAIT_MAX, WRITERS_MAX,
};
pub use self::projection::inline::InlineProjections;
pub use self::projection::views::PostgresViews;
pub use self::projection::{Postgres, PostgresTables, VersionNames, ViewTransaction};
pub use self::schema::{SCHEMA_VERSION, schema_sql};
pub use self::server::roles::{reader_role, roles_sql, writer_role};
pub use self::store::PostgresStore;
/// The driver, whose types handlers and readers of views meet.
pub use tokio_postgres;
