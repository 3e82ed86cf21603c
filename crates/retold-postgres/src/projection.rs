//! Views in PostgreSQL: what a projection changes, where its rows are, and how far it is.
//!
//! A view is one table or several, in the schema of the store or in one for views. Those of version 2 are named `NAME__v2`, so
//! that a new version is built beside the old one; readers use an SQL view of the plain name, which leads
//! to another version from the transaction on that drops the old tables. Rows and checkpoint change in
//! one transaction. What is kept beside the rows is in `retold_projection` and
//! `retold_projection_skipped`, in the same schema.

mod tables;

mod ledger;

mod failure;

mod upkeep;

pub(crate) mod views;

pub(crate) mod inline;

pub(crate) use failure::Halt;
pub(crate) use tables::check_word;
pub use tables::{Postgres, PostgresTables, VersionNames, ViewTransaction};
pub(crate) use upkeep::{Declared, Home, all};
