//! The tables of a view, and the transaction in which handlers change them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use retold_core::projection::{Awaited, VersionNames, ViewKind, ViewNameRule};
use retold_core::recording::Invalid;
use tokio_postgres::{Error, Statement, Transaction};

use crate::server::work::Work;

/// The names of tables and of the schema for views: PostgreSQL truncates names after 63 bytes, and
/// up to 13 are added.
pub(crate) const VIEW_NAMES: ViewNameRule = ViewNameRule {
    size_max: 48,
    reserved: "pg_",
};

/// The kind of views that are tables of PostgreSQL: handlers of a `Projection<Postgres>` change
/// rows through a [`PostgresTransaction`].
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_enums, reason = "it has no values")]
pub enum Postgres {}

impl ViewKind for Postgres {
    type Target<'a> = PostgresTransaction<'a>;
    type Handler = Awaited<Self>;
}

/// The open transaction in which a handler changes the tables of its projection's version.
///
/// It is the driver's own transaction, with every statement that it supports; the checkpoint is
/// committed together with the handler's changes. Names without a schema are looked up in the
/// schema for views, then in `public`. A handler that continues after a failed statement needs a
/// savepoint of its own (`SAVEPOINT`, `ROLLBACK TO`); if a handler ends the transaction itself, its
/// event is refused.
pub struct PostgresTransaction<'a> {
    work: &'a Work<'a>,
    names: VersionNames,
}

impl<'a> PostgresTransaction<'a> {
    pub(super) fn new(work: &'a Work<'a>, names: VersionNames) -> Self {
        Self { work, names }
    }

    /// Returns the name in this version for a plain name that readers use; see
    /// [`VersionNames::table`].
    pub fn table(&self, name: &str) -> String {
        self.names.table(name)
    }

    /// Returns the version of the projection.
    pub fn version(&self) -> u32 {
        self.names.version()
    }

    /// Returns the prepared statement of this text, prepared once for a connection: for the next
    /// event, the server does not parse the text again, and one round trip is saved. At most
    /// [`KEPT_STATEMENTS_MAX`](crate::limits::KEPT_STATEMENTS_MAX) are kept, so pass values as
    /// parameters.
    ///
    /// # Errors
    ///
    /// The server's error; the transaction has then failed.
    pub async fn prepare_cached(&self, sql: &str) -> Result<Statement, Error> {
        let transaction = &self.work.transaction;
        self.work.statements.prepared(transaction, sql).await
    }
}

impl<'a> Deref for PostgresTransaction<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.work.transaction
    }
}

impl fmt::Debug for PostgresTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTransaction")
            .field("version", &self.names.version())
            .finish_non_exhaustive()
    }
}

type CreateTables = dyn Fn(&VersionNames) -> String + Send + Sync;

/// The tables of a view, and how those of a version are created.
#[derive(Clone)]
pub struct PostgresTables {
    names: Vec<Arc<str>>,
    create: Arc<CreateTables>,
}

impl PostgresTables {
    /// Returns tables of these plain names, under which readers find them. `create` returns the SQL
    /// that creates the empty tables of a version, each under the name that
    /// [`VersionNames::table`] returns, and their indexes. Objects that it creates without naming a
    /// schema are created in the schema for views.
    ///
    /// ```
    /// # use retold_postgres::PostgresTables;
    /// let tables = PostgresTables::new(["dogs"], |names| {
    ///     format!(
    ///         "CREATE TABLE {dogs} (id text PRIMARY KEY, name text NOT NULL);
    ///          CREATE INDEX {by_name} ON {dogs} (name);",
    ///         dogs = names.table("dogs"),
    ///         by_name = names.table("dogs_by_name"),
    ///     )
    /// });
    /// ```
    pub fn new<N: Into<Arc<str>>>(
        names: impl IntoIterator<Item = N>,
        create: impl Fn(&VersionNames) -> String + Send + Sync + 'static,
    ) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
            create: Arc::new(create),
        }
    }

    /// The plain names.
    pub(super) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    pub(super) fn create(&self, names: &VersionNames) -> String {
        (self.create)(names)
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        VIEW_NAMES.check_tables(&self.names)
    }
}

impl fmt::Debug for PostgresTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresTables").field(&self.names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_not_truncated() {
        let tables = |name: &str| PostgresTables::new([name], |_| String::new()).check();
        let longest = "d".repeat(VIEW_NAMES.size_max);
        assert!(tables(&longest).is_ok());
        let longest = VersionNames::new(u32::MAX).table(&longest);
        assert!(longest.len() <= 63, "PostgreSQL would truncate it");
        for name in ["PG_x", "retold_dogs", "hünde"] {
            assert!(tables(name).is_err(), "{name}");
        }
    }
}
