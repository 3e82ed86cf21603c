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
//! # Views
//!
//! Projections may keep their views in the same database: [`PostgresStore::views`],
//! [`PostgresStore::open_with_projections`]. Handlers are asynchronous and are given the driver's own
//! transaction; see [`ViewTransaction`].
//!
//! # What it does not do yet
//!
//! Connections are not encrypted: `sslmode=require` and stronger is refused.
//!
//! # Order of the modules
//!
//! From the connection upward; each uses only those of groups above its own.

mod options;
pub mod telemetry;

mod error;
mod kept_statements;
mod names;
mod runtime;

mod place;
mod queue;

mod connection;
mod log;

mod group;
mod herald;
mod pool;
mod schema;
mod work;

mod answer;
mod leases;
mod listener;
mod page;
mod projection;
mod snapshots;
mod stretches;

mod views;

mod inline;

mod shared;

mod writer;

mod recorder;

mod store;

pub use self::inline::InlineProjections;
pub use self::options::{
    ANSWER_WAIT_MAX, CONNECTION_WAIT_MAX, CONNECTIONS_MAX, GROUP_LENGTH_MAX, GROUP_SIZE_MAX,
    KEEPALIVE_IDLE, KEPT_STATEMENTS_MAX, LOCK_WAIT_MAX, PLACE_SIZE, POLL_INTERVAL,
    POLL_INTERVAL_WITHOUT_HINTS, PostgresOptions, QUEUE_PLACES_MAX, QUEUE_WAIT_MAX,
    RECONNECT_PAUSE, SCHEMA_DEFAULT, SCHEMA_NAME_SIZE_MAX, SWITCH_LOCK_WAIT_MAX,
    VIEW_CONNECTIONS_MAX, VIEW_WAIT_MAX, VIEWS_SCHEMA_DEFAULT, WRITERS_MAX,
};
pub use self::projection::{Postgres, PostgresTables, VersionNames, ViewTransaction};
pub use self::schema::{SCHEMA_VERSION, schema_sql};
pub use self::store::PostgresStore;
pub use self::views::PostgresViews;
/// The driver, whose types handlers and readers of views meet.
pub use tokio_postgres;
