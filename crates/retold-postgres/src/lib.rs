//! PostgreSQL as a store for Retold: durable logs in a database that many processes share.
//!
//! ```no_run
//! use retold_core::recording::store::Store;
//! use retold_postgres::PostgresStore;
//!
//! # async fn example() -> Result<(), retold_core::recording::error::RecordError> {
//! let store = PostgresStore::open("postgres://retold@localhost/dogs").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! The whole contract of [`Recorder`](retold_core::recording::recorder::Recorder), also between many
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
//! # What it does not do yet
//!
//! Connections are not encrypted: `sslmode=require` and stronger is refused. Views of projections are
//! kept elsewhere, in SQLite or memory.
//!
//! # Order of the modules
//!
//! From the connection upward; each uses only those of groups above its own.

mod access;
mod options;
mod passwords;
mod server_check;
pub mod telemetry;

mod encrypted;
mod encryption;
mod error;
mod names;
mod roles;
mod runtime;

mod url;

mod place;
mod queue;

mod log;
mod reach;

mod connection;

mod group;
mod herald;
mod pool;
mod schema;

mod answer;
mod leases;
mod listener;
mod page;
mod snapshots;
mod stretches;

mod shared;

mod writer;

mod recorder;

mod store;

pub use self::options::{
    ANSWER_WAIT_MAX, CONNECT_WAIT_MAX, CONNECTION_WAIT_MAX, CONNECTIONS_MAX, GROUP_LENGTH_MAX,
    GROUP_SIZE_MAX, KEEPALIVE_IDLE, LISTEN_CHECK_INTERVAL, LOCK_WAIT_MAX, PLACE_SIZE,
    POLL_INTERVAL, POLL_INTERVAL_WITHOUT_HINTS, PostgresOptions, QUEUE_PLACES_MAX, QUEUE_WAIT_MAX,
    RECONNECT_PAUSE, SCHEMA_DEFAULT, SCHEMA_NAME_SIZE_MAX, WRITERS_MAX,
};
pub use self::roles::{reader_role, roles_sql, writer_role};
pub use self::schema::{SCHEMA_VERSION, schema_sql};
pub use self::store::PostgresStore;
