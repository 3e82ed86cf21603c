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
//! The store fulfills the whole contract of [`Recorder`](retold_core::recording::Recorder),
//! including between several processes on one file, and after `kill -9` at any moment. By default
//! an append is acknowledged when it is on disk; [`SqliteDurability`] describes the weaker option.
//! Triggers protect the recorded data: SQL that would change or delete an event is refused, except
//! an amendment, together with a new event that records it.
//!
//! # Views
//!
//! [`SqliteViews`] stores the views of projections as tables, in a separate file or in that of the
//! store ([`SqliteStore::views`]). The views of [`SqliteInlineProjections`] change in the
//! transaction of the append itself.
//!
//! # Threads
//!
//! One of the tasks that append commits everything that is queued, including the appends of the
//! other tasks. That task blocks its thread for the duration of a disk sync; the others wait
//! without blocking theirs. A read runs on the caller's thread, because most reads are faster than
//! a transfer to another thread. Large pages are not: in a runtime that must respond within a
//! millisecond, do not read ten thousand events at a time.
//!
//! # Order of the modules
//!
//! The modules are declared in dependency order, from the file upward, in groups; each uses only
//! modules of the groups above its own.

pub mod limits;

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

pub use self::options::{SqliteDurability, SqliteOptions};
pub use self::projection::inline::SqliteInlineProjections;
pub use self::projection::{Sqlite, SqliteTables, SqliteTransaction};
pub use self::store::SqliteStore;
pub use self::views::SqliteViews;
/// The driver, whose types appear in handlers and readers of views.
pub use rusqlite;
