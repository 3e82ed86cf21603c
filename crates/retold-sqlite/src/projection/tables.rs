//! The tables of a view, and the transaction in which handlers change them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use retold_core::projection::{AtOnce, BoxError, ViewKind};
use retold_core::recording::Invalid;
use rusqlite::Connection;

/// Longest name of a table of a view, in bytes; short enough that the suffixed name stays readable.
const TABLE_NAME_SIZE_MAX: usize = 64;
/// Most tables of one projection; for more, use several projections.
const TABLES_MAX: usize = 64;

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
    version: u32,
}

impl<'a> SqliteTransaction<'a> {
    pub(super) fn new(conn: &'a Connection, version: u32) -> Self {
        Self { conn, version }
    }

    /// Returns the name in this version for the plain name that readers use: `dogs__v2` for `dogs`.
    /// Use it for tables, and also for their indexes and triggers, whose names must not collide
    /// with those of another version.
    pub fn table(&self, name: &str) -> String {
        versioned(name, self.version)
    }

    /// The version of the projection.
    pub fn version(&self) -> u32 {
        self.version
    }
}

pub(super) fn versioned(name: &str, version: u32) -> String {
    format!("{name}__v{version}")
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
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

type Create = dyn Fn(&SqliteTransaction<'_>) -> Result<(), BoxError> + Send + Sync;

/// The tables of a view, and how those of a version are created.
#[derive(Clone)]
pub struct SqliteTables {
    names: Vec<Arc<str>>,
    create: Arc<Create>,
}

impl SqliteTables {
    /// Declares tables with these plain names, under which readers find them. `create` creates the
    /// empty tables of a version, with names from [`SqliteTransaction::table`], and their indexes.
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
        if self.names.is_empty() || self.names.len() > TABLES_MAX {
            return Err(Invalid::new(format!(
                "a view has 1 to {TABLES_MAX} tables, not {}",
                self.names.len()
            )));
        }
        self.names
            .iter()
            .try_for_each(|name| check_table_name(name))
    }
}

/// Names are inserted into SQL unquoted, so they must be words that need no quotes.
fn check_table_name(name: &str) -> Result<(), Invalid> {
    let is_word = name
        .bytes()
        .all(|it| it.is_ascii_alphanumeric() || it == b'_');
    let begins_well = name.bytes().next().is_some_and(|it| !it.is_ascii_digit());
    let lower = name.to_ascii_lowercase();
    let is_free = !lower.starts_with("retold") && !lower.starts_with("sqlite");
    if is_word && begins_well && is_free && name.len() <= TABLE_NAME_SIZE_MAX {
        return Ok(());
    }
    Err(Invalid::new(format!(
        "a view cannot have the table {name:?}; a name has 1 to {TABLE_NAME_SIZE_MAX} ASCII \
         letters, digits and underscores, no digit first, and begins with neither `retold` nor \
         `sqlite`"
    )))
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
    fn names_of_tables_need_no_quotes() {
        let tables = |name: &str| SqliteTables::new([name], |_| Ok(())).check();
        for name in ["dogs", "Dogs_2", "_d"] {
            assert!(tables(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "2dogs",
            "dogs; DROP TABLE event",
            "retold_dogs",
            "SQLITE_x",
            "hünde",
        ] {
            assert!(tables(name).is_err(), "{name}");
        }
        let long = "d".repeat(TABLE_NAME_SIZE_MAX + 1);
        assert!(tables(&long).is_err());
        let none: [&str; 0] = [];
        assert!(SqliteTables::new(none, |_| Ok(())).check().is_err());
    }
}
