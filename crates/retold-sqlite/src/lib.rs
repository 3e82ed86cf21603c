//! SQLite as a store for Retold: durable logs in one file.
//!
//! ```no_run
//! use retold_core::recording::Store;
//! use retold_sqlite::SqliteStore;
//!
//! let store = SqliteStore::open("dogs.db")?;
//! # Ok::<(), retold_core::recording::RecordError>(())
//! ```
//!
//! # Guarantees
//!
//! The store implements the whole contract of [`Recorder`](retold_core::recording::Recorder), also
//! between several processes on one file, and after `kill -9` at any moment. By default an append
//! is acknowledged when it is on disk; [`Durability`] describes the weaker choice. Triggers guard
//! the recorded data: an SQL tool that tries to change or delete an event is refused.
//!
//! # Views
//!
//! [`SqliteViews`] stores the views of projections as tables, in a separate file or in the
//! store's ([`SqliteStore::views`]); those of [`InlineProjections`] change in the transaction of
//! the append itself.
//!
//! # Threads
//!
//! An append is committed by one of the tasks that append, together with everything that other
//! tasks have queued: that task blocks its thread for the duration of a sync, the others wait
//! without a thread. A read runs on the caller's thread. Both take far less time than a transfer to
//! another thread, except for large pages: in a runtime that must respond within a millisecond, do
//! not read ten thousand events at a time.
//!
//! # Order of the modules
//!
//! From the file upward; each uses only modules of the groups above its own.

mod options;
pub mod telemetry;

mod error;

mod file;

mod reading;

mod birth;
mod leases;

mod transaction;

mod projection;

mod writing;

mod shared;

mod recorder;
mod views;

mod store;

pub use self::options::{
    BUSY_WAIT_MAX, Durability, FILE_MODE, GROUP_LENGTH_MAX, GROUP_SIZE_MAX, POLL_INTERVAL,
    POLL_INTERVAL_IDLE, POLL_QUICK_FOR, QUEUE_LENGTH_MAX, QUEUE_SIZE_MAX, QUEUE_WAIT_MAX,
    READERS_MAX, SqliteOptions, VIEWS_BUSY_WAIT_MAX, WAL_EMPTYING_WAIT_MAX, WAL_SIZE_MAX,
};
pub use self::projection::inline::InlineProjections;
pub use self::projection::{Sqlite, SqliteTables, ViewTransaction};
pub use self::store::SqliteStore;
pub use self::views::SqliteViews;
/// The driver, whose types appear in handlers and readers of views.
pub use rusqlite;
