//! The tables of a view, and the transaction in which handlers change them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use retold_core::projection::{AtOnce, BoxError, VersionNames, ViewKind, ViewNameRule};
use retold_core::recording::Invalid;
use rusqlite::Connection;

/// The names of tables; short enough that the suffixed name stays readable.
const TABLE_NAMES: ViewNameRule = ViewNameRule {
    size_max: 64,
    reserved: "sqlite",
};

/// The kind of views that are tables of SQLite: handlers of a `Projection<Sqlite>` change rows
/// through a [`SqliteTransaction`].
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_enums, reason = "there is no value of it")]
pub enum Sqlite {}

impl ViewKind for Sqlite {
    type Target<'a> = SqliteTransaction<'a>;
    type Handler = AtOnce<Self>;
}

/// The open transaction in which a handler changes the tables of its projection's version.
///
/// It is the driver's own connection, with all its statements; the checkpoint is committed with the
/// handler's changes. If a handler ends the transaction itself (`COMMIT`, `ROLLBACK`), its event is
/// refused.
pub struct SqliteTransaction<'a> {
    conn: &'a Connection,
    names: VersionNames,
}

impl<'a> SqliteTransaction<'a> {
    pub(super) fn new(conn: &'a Connection, names: VersionNames) -> Self {
        Self { conn, names }
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
}

impl Deref for SqliteTransaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn
    }
}

impl fmt::Debug for SqliteTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTransaction")
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

type CreateTables = dyn Fn(&SqliteTransaction<'_>) -> Result<(), BoxError> + Send + Sync;

/// The tables of a view, and how those of a version are created.
#[derive(Clone)]
pub struct SqliteTables {
    names: Vec<Arc<str>>,
    create: Arc<CreateTables>,
}

impl SqliteTables {
    /// Declares tables with these plain names, under which readers find them. `create` creates the
    /// empty tables of a version, with names from [`SqliteTransaction::table`], and their indexes.
    /// Do not store the `rowid` of a table that has no `INTEGER PRIMARY KEY`: a purge of the store
    /// may change it.
    ///
    /// ```
    /// # use retold_sqlite::SqliteTables;
    /// let tables = SqliteTables::new(["dogs"], |view| {
    ///     view.execute_batch(&format!(
    ///         "CREATE TABLE {dogs} (id TEXT PRIMARY KEY, name TEXT NOT NULL) STRICT;
    ///          CREATE INDEX {by_name} ON {dogs} (name);",
    ///         dogs = view.table("dogs"),
    ///         by_name = view.table("dogs_by_name"),
    ///     ))?;
    ///     Ok(())
    /// });
    /// ```
    pub fn new<N: Into<Arc<str>>>(
        names: impl IntoIterator<Item = N>,
        create: impl Fn(&SqliteTransaction<'_>) -> Result<(), BoxError> + Send + Sync + 'static,
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

    pub(super) fn create(&self, view: &SqliteTransaction<'_>) -> Result<(), BoxError> {
        (self.create)(view)
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        TABLE_NAMES.check_tables(&self.names)
    }
}

impl fmt::Debug for SqliteTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteTables").field(&self.names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sqlite_are_reserved() {
        let tables = |name: &str| SqliteTables::new([name], |_| Ok(())).check();
        assert!(tables(&"d".repeat(TABLE_NAMES.size_max)).is_ok());
        for name in ["SQLITE_x", "retold_dogs", "hünde"] {
            assert!(tables(name).is_err(), "{name}");
        }
    }
}
