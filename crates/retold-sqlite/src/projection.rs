//! Views in SQLite: what a projection changes, where its rows are, and its checkpoint.
//!
//! A view is one table or several. The tables of version 2 are named `NAME__v2`, so that a new
//! version is built next to the old one. Readers use an SQL view with the plain name, which is
//! redefined for another version in the transaction that drops the old tables. Rows and checkpoint
//! change in one transaction. Everything besides the rows is stored in `retold_projection` and
//! `retold_projection_skipped`.

mod tables;

mod ledger;

mod upkeep;

pub(crate) mod inline;

pub(crate) use ledger::{all, forget_reasons};
pub use tables::{Sqlite, SqliteTables, SqliteTransaction};
pub(crate) use upkeep::{Halt, SqliteView, guard_commits};
