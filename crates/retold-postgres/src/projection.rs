//! Views in PostgreSQL: the interface for projections, where the rows are, and how far they are.
//!
//! A view is one table or several, in the schema of the store or in one for views. The tables of
//! version 2 are named `NAME__v2`, so that a new version is built next to the old one; readers use
//! an SQL view of the plain name, which points to the other version from the transaction on that
//! drops the old tables. Rows and checkpoint change in one transaction. The state of a view is in
//! `retold_projection` and `retold_projection_skipped`, in the same schema.

mod tables;

mod ledger;

mod failure;

mod upkeep;

pub(crate) mod views;

pub(crate) mod inline;

pub(crate) use failure::Halt;
pub(crate) use tables::VIEW_NAMES;
pub use tables::{Postgres, PostgresTables, PostgresTransaction};
pub(crate) use upkeep::{Home, PostgresView, all};
