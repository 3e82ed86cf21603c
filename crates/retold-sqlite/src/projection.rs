//! Views in SQLite: what a projection changes, where its rows are, and how far it is.
//!
//! A view is one table or several. Those of version 2 are named `NAME__v2`, so that a new version
//! is built beside the old one; readers use an SQL view of the plain name, which is made for
//! another version in the transaction that drops the old tables. Rows and checkpoint change in one
//! transaction. What is kept beside the rows is in `retold_projection` and
//! `retold_projection_skipped`.

mod tables;

mod ledger;

mod upkeep;

pub(crate) mod inline;

pub(crate) use ledger::all;
pub use tables::{Sqlite, SqliteTables, ViewTransaction};
pub(crate) use upkeep::{Declared, Halt, guard_commits};
