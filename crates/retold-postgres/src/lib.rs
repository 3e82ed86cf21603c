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
//! # Guarantees
//!
//! The store fulfills the whole contract of [`Recorder`](retold_core::recording::Recorder),
//! including between many processes on one database. An append is acknowledged when the server has
//! it on disk (and the standbys that the server waits for have it too), regardless of the server's
//! defaults. Triggers protect recorded events: SQL that would change or delete an event is refused,
//! except by an amendment.
//!
//! # How appends work
//!
//! Appends to a log that arrive while another is being committed are sent to the server together,
//! in one statement, one transaction and one round trip, and each gets its own result. A function
//! in the schema checks and writes them while it holds the lock on the log's row. Positions
//! therefore have no gaps and are in commit order, and appends to different logs do not wait for
//! each other. A page of events is read with one statement.
//!
//! # URLs, servers and encryption
//!
//! A URL is `postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?NAME=VALUE&…`; the parameters
//! are those of libpq that the driver supports, and `schema`, `connections_max`, `passfile`,
//! `sslmode`, `sslrootcert`, `sslcert`, `sslkey`. Unknown parameters are refused. If the URL names
//! several servers, the store uses the first that is usable; with `target_session_attrs=read-write`
//! that is the primary. Servers before version 14 are refused. A password that the URL does not
//! contain comes from `PGPASSWORD`, or from the file named by `passfile` or `PGPASSFILE`, or from
//! `~/.pgpass`; other variables of libpq are ignored.
//!
//! | `sslmode` | encrypted | the server's certificate |
//! |---|---|---|
//! | `disable` | never | |
//! | `prefer` (the default) | if the server supports it | any |
//! | `require` | always | any; with `sslrootcert`, as for `verify-ca` |
//! | `verify-ca` | always | signed by a certificate in `sslrootcert`, which must be given |
//! | `verify-full` | always | signed by a certificate in `sslrootcert`, or by a root of the system if that is `system` or missing; issued for the host of the URL |
//!
//! This is the behavior that libpq documents, with these exceptions: files in `~/.postgresql` are
//! ignored; a handshake that fails under `prefer` is not retried without encryption; `sslrootcert`
//! is refused where it would not be used; host names are compared with the certificate's subject
//! alternative names, never with its common name; revocation lists, passwords of keys and
//! `channel_binding=require` are not supported. A self-signed certificate can be given as its own
//! root. Certificate and key files are read when a store is opened.
//!
//! # Roles
//!
//! The role that creates the schema owns it. For a trial this can be the role of the program; in
//! production, no program should log in as the owner. [`roles_sql`] returns SQL that creates three
//! more roles; `retold schema postgres` prints it too. The **reader** selects from all tables and
//! receives hints. The **writer** can also create logs, take leases, store snapshots, and call the
//! function that appends. That function runs with its owner's privileges: the writer's own SQL can
//! neither insert, change nor delete an event. The **amender** can also amend recorded events
//! through a function that records every amendment. PUBLIC has no privileges. Triggers refuse any
//! other change of history to every role, including the owner and superusers, even if
//! `session_replication_role` is `replica`; to change history on purpose, drop the triggers.
//!
//! # Amendments
//!
//! An append with amendments is sent by itself, not in a group with others. If it only erases
//! payloads, it is one statement; otherwise the events are read first, and read again if they are
//! amended meanwhile. [`Store::purge`](retold_core::recording::Store::purge) vacuums the tables,
//! and rewrites them if they have up to [`limits::PURGE_REWRITE_SIZE_MAX`] bytes together.
//!
//! # Versions of the schema
//!
//! A schema of the version before is converted when a store is opened for writing as the owner, or
//! by the SQL of [`conversion_sql`].
//!
//! # Faults
//!
//! | fault | result |
//! |---|---|
//! | during an append, the server is killed, or the connection breaks or is silent for [`limits::ANSWER_WAIT_MAX`] | `OutcomeUnknown`: send the same append again |
//! | the same while reading, or before an append was sent | `Unavailable` |
//! | no connection is free, the disk is full, a lock is held, the server is read-only, privileges are missing | `Unavailable`, with advice; nothing was written |
//! | when opening: a schema of another version, a server that is too old, missing privileges, a connection pool in between | `Invalid`, with advice |
//!
//! Every wait is bounded, and the store recovers by itself when the fault is over. With a
//! synchronous standby, a commit waits for the standby, and an acknowledged append is on both
//! servers. An append whose wait is cancelled (`pg_cancel_backend`, the end of the backend or the
//! server) is `OutcomeUnknown`: readers see its events, but the standby may not have them. If it is
//! sent again, it waits again.
//!
//! PgBouncer is refused in all of its modes: it does not forward the startup settings of a
//! connection, and in the modes in which a transaction may get another connection, prepared
//! statements and LISTEN do not work. The store has its own pool. It can read from a standby, where
//! it polls instead of listening for hints.
//!
//! # Views
//!
//! Projections can keep their views in the same database: [`PostgresStore::views`],
//! [`PostgresStore::open_with_projections`]. Handlers are asynchronous and receive the driver's own
//! transaction; see [`PostgresTransaction`].
//!
//! # Order of the modules
//!
//! The modules are declared in dependency order, in groups; each uses only modules of the groups
//! above its own.

mod access;
pub mod limits;
mod options;
pub mod telemetry;

mod sql_text;

mod error;
mod names;
mod query_items;
mod range_checksum;

mod queue;

mod log;
mod opening;

mod server;

mod birth;
mod schema;

mod news;

mod leases;
mod purging;
mod reading;

mod projection;

mod shared;

mod writing;

mod recorder;

mod store;

pub use self::options::{PostgresOptions, SCHEMA_DEFAULT};
pub use self::projection::inline::PostgresInlineProjections;
pub use self::projection::views::PostgresViews;
pub use self::projection::{Postgres, PostgresTables, PostgresTransaction};
pub use self::schema::{SCHEMA_VERSION, conversion_sql, schema_sql};
pub use self::server::roles::{amender_role, reader_role, roles_sql, writer_role};
pub use self::store::PostgresStore;
/// The driver, whose types appear in handlers and in readers of views.
pub use tokio_postgres;
