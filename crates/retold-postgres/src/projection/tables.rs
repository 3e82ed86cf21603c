//! The tables of a view, and the transaction in which handlers change them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use retold_core::projection::{Awaited, ViewKind};
use retold_core::recording::Invalid;
use tokio_postgres::{Error, Statement, Transaction};

use crate::server::work::Work;

/// Longest name of a table of a view, or of the schema for views, in bytes: PostgreSQL truncates
/// names after 63, and up to 13 are added.
const WORD_SIZE_MAX: usize = 48;
/// Most tables of one projection: a view that needs more should be several projections.
const TABLES_MAX: usize = 64;

/// The kind of views that are tables of PostgreSQL: handlers of a `Projection<Postgres>` change
/// rows through a [`PostgresTransaction`].
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_enums, reason = "it has no values")]
pub enum Postgres {}

impl ViewKind for Postgres {
    type Target<'a> = PostgresTransaction<'a>;
    type Handler = Awaited<Self>;
}

/// The names of one version of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionNames {
    version: u32,
}

impl VersionNames {
    pub(super) fn new(version: u32) -> Self {
        Self { version }
    }

    /// Returns the name in this version for a plain name that readers use: `dogs__v2` for `dogs`.
    /// Use it for tables, and for their indexes and triggers too, whose names must differ from
    /// those of other versions.
    pub fn table(&self, name: &str) -> String {
        format!("{name}__v{}", self.version)
    }

    /// Returns the version of the projection.
    pub fn version(&self) -> u32 {
        self.version
    }
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
            .field("version", &self.names.version)
            .finish_non_exhaustive()
    }
}

type Create = dyn Fn(&VersionNames) -> String + Send + Sync;

/// The tables of a view, and how those of a version are created.
#[derive(Clone)]
pub struct PostgresTables {
    names: Vec<Arc<str>>,
    create: Arc<Create>,
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
        if self.names.is_empty() || self.names.len() > TABLES_MAX {
            return Err(Invalid::new(format!(
                "a view has 1 to {TABLES_MAX} tables, not {}",
                self.names.len()
            )));
        }
        self.names.iter().try_for_each(|name| {
            check_word("the table", name)?;
            match name.to_ascii_lowercase().starts_with("retold") {
                true => Err(Invalid::new(format!(
                    "a view cannot have the table {name:?}; names that begin with `retold` are \
                     reserved"
                ))),
                false => Ok(()),
            }
        })
    }
}

/// Checks a name. Names are inserted into SQL unchanged, so they must not need quotes.
pub(crate) fn check_word(what: &str, name: &str) -> Result<(), Invalid> {
    let is_word = name
        .bytes()
        .all(|it| it.is_ascii_alphanumeric() || it == b'_');
    let begins_well = name.bytes().next().is_some_and(|it| !it.is_ascii_digit());
    let is_free = !name.to_ascii_lowercase().starts_with("pg_");
    if is_word && begins_well && is_free && name.len() <= WORD_SIZE_MAX {
        return Ok(());
    }
    Err(Invalid::new(format!(
        "a view cannot have {what} {name:?}; a name has 1 to {WORD_SIZE_MAX} ASCII letters, \
         digits and underscores, no digit first, and does not begin with `pg_`"
    )))
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
    fn names_of_tables_need_no_quotes() {
        let tables = |name: &str| PostgresTables::new([name], |_| String::new()).check();
        for name in ["dogs", "Dogs_2", "_d"] {
            assert!(tables(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "2dogs",
            "dogs; DROP TABLE event",
            "retold_dogs",
            "PG_x",
            "hünde",
        ] {
            assert!(tables(name).is_err(), "{name}");
        }
        let long = "d".repeat(WORD_SIZE_MAX + 1);
        assert!(tables(&long).is_err());
        let none: [&str; 0] = [];
        assert!(
            PostgresTables::new(none, |_| String::new())
                .check()
                .is_err()
        );
        let longest = VersionNames::new(u32::MAX).table(&"d".repeat(WORD_SIZE_MAX));
        assert!(longest.len() <= 63, "PostgreSQL would truncate it");
    }
}
