//! The schema and its version: how a file is identified as a Retold store, and how a new one is
//! created and one of the previous version is converted.
//!
//! `application_id` identifies the program (as in SQLite's `magic.txt`), `user_version` the version
//! of [`schema.sql`](self). Both are set in the transaction that creates the tables, so that a file
//! is a store entirely or not at all.

use std::path::Path;
use std::sync::OnceLock;

use retold_core::recording::{
    AMENDED_TOPIC, Corrupt, DELETED_TOPIC, ERASED_TOPIC, REOPENED_TOPIC, RecordError,
};
use rusqlite::{Connection, Error};

use crate::error::{before_commit, damaged};

/// "Rtld": identifies the program in a header field that SQLite provides for it.
const APPLICATION_ID: i32 = 0x5274_6c64;
/// Version of the tables that this crate reads and writes.
const VERSION: i32 = 4;
/// The previous version, which is converted when a file is opened for writing, and read as it is.
const PREVIOUS_VERSION: i32 = 3;
/// The parts that a file of [`PREVIOUS_VERSION`] has in another form or not at all.
const CHANGED_PARTS: [&str; 8] = [
    "amending",
    "last_record",
    "amending_begins_at_the_head",
    "amending_never_changes",
    "amending_is_recorded",
    "event_never_changes",
    "event_tag_is_never_deleted",
    "tag_is_never_deleted",
];

const SCHEMA: &str = include_str!("schema.sql");
/// What [`PREVIOUS_VERSION`] has instead of [`CHANGED_PARTS`].
const PREVIOUS_PARTS: &str = include_str!("version_3.sql");
/// Fills the table of the last records, which [`PREVIOUS_VERSION`] does not have.
const FILL_LAST_RECORD: &str = "INSERT INTO last_record
    SELECT event.stream, max(event.version) FROM topic JOIN event ON event.topic = topic.key
    WHERE topic.name IN (?1, ?2, ?3, ?4) AND event.stream IS NOT NULL GROUP BY event.stream";

/// What a file is, according to its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A store of this version.
    Store,
    /// A store of the previous version.
    PreviousStore,
    /// An empty database.
    Empty,
}

/// Determines what a file is. Writes nothing.
///
/// # Errors
///
/// `Invalid` for a database of another program or of a newer version, `Corrupt`, `Unavailable`.
pub(crate) fn recognise(conn: &Connection, path: &Path) -> Result<FileKind, RecordError> {
    let found = identity(conn).map_err(|error| unreadable(path, error))?;
    let path = path.display();
    match found {
        (APPLICATION_ID, VERSION, _) => Ok(FileKind::Store),
        (APPLICATION_ID, PREVIOUS_VERSION, _) => Ok(FileKind::PreviousStore),
        (APPLICATION_ID, newer, _) if newer > VERSION => Err(RecordError::invalid(format!(
            "{path} was made by a newer version of Retold (its schema is {newer}, this version \
             knows {VERSION}); update this program"
        ))),
        (APPLICATION_ID, 1, _) => Err(RecordError::invalid(format!(
            "{path} was made by an older version of Retold, whose events have no checksums (its \
             schema is 1, this version reads {PREVIOUS_VERSION} and {VERSION}); read it with that \
             version, and append its events to a new store"
        ))),
        (APPLICATION_ID, older, _) => Err(RecordError::invalid(format!(
            "{path} was made by an older version of Retold (its schema is {older}, this version \
             reads {PREVIOUS_VERSION} and {VERSION}); use the version that made it, or give the \
             path of a new file"
        ))),
        (0, 0, 0) => Ok(FileKind::Empty),
        _ => Err(RecordError::invalid(format!(
            "{path} is a SQLite database of another program; give the path of a Retold store or of \
             a file that does not exist yet"
        ))),
    }
}

/// Makes a file a store of this version: creates the tables in an empty file, and converts a store
/// of the previous version. Does nothing if another process did so in the meantime; `found` is what
/// the file was before that.
///
/// # Errors
///
/// As [`recognise`]; the file is then unchanged.
pub(crate) fn make(conn: &Connection, path: &Path, found: FileKind) -> Result<(), RecordError> {
    let doing = match found {
        FileKind::PreviousStore => "converting",
        FileKind::Store | FileKind::Empty => "creating",
    };
    let failed = |error| before_commit(&format!("{doing} {}", path.display()), error);
    conn.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let made = recognise(conn, path).and_then(|kind| match kind {
        FileKind::Store => Ok(()),
        FileKind::PreviousStore => {
            // A table that is missing is refused before anything is converted.
            let differences = check_tables(conn, path)?;
            convert(conn, &differences).map_err(failed)
        }
        FileKind::Empty => conn
            .execute_batch(SCHEMA)
            .and_then(|()| conn.pragma_update(None, "application_id", APPLICATION_ID))
            .and_then(|()| conn.pragma_update(None, "user_version", VERSION))
            .map_err(failed),
    });
    let made = made.and_then(|()| conn.execute_batch("COMMIT").map_err(failed));
    if made.is_err() && !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK").map_err(failed)?;
    }
    made
}

/// Converts a store of the previous version in an open transaction. Its data stays as it is: the
/// triggers begin to permit amendments. A trigger that another program has changed or dropped is
/// left as it is, so that it is still found.
fn convert(conn: &Connection, differences: &[Difference]) -> rusqlite::Result<()> {
    let was_changed = |name: &&str| differences.iter().any(|it| it.name == *name);
    conn.execute_batch("DROP TABLE IF EXISTS erasing")?;
    let fresh = Connection::open_in_memory()?;
    fresh.execute_batch(SCHEMA)?;
    for name in CHANGED_PARTS.into_iter().filter(|name| !was_changed(name)) {
        conn.execute_batch(&format!("DROP TRIGGER IF EXISTS {name}"))?;
        let select = "SELECT sql FROM sqlite_schema WHERE name = ?1";
        let sql: String = fresh.query_row(select, [name], |row| row.get(0))?;
        conn.execute_batch(&sql)?;
    }
    let records = [ERASED_TOPIC, AMENDED_TOPIC, DELETED_TOPIC, REOPENED_TOPIC];
    conn.execute(FILL_LAST_RECORD, records)?;
    conn.pragma_update(None, "user_version", VERSION)
}

/// A table, index or trigger: its kind, its name, and the SQL that created it, with whitespace
/// reduced to single spaces.
type SchemaObject = (String, String, String);

/// The parts of a schema that were created by SQL; SQLite creates the others for these.
fn parts(conn: &Connection) -> rusqlite::Result<Vec<SchemaObject>> {
    let mut select =
        conn.prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    let rows = select.query_map([], |row| {
        let sql: String = row.get(2)?;
        let words: Vec<&str> = sql.split_whitespace().collect();
        Ok((row.get(0)?, row.get(1)?, words.join(" ")))
    })?;
    rows.collect()
}

/// The parts that a store of this version has, or one of the previous version.
fn expected_parts(is_previous: bool) -> rusqlite::Result<&'static [SchemaObject]> {
    static EXPECTED: [OnceLock<Vec<SchemaObject>>; 2] = [const { OnceLock::new() }; 2];
    let kept = &EXPECTED[usize::from(is_previous)];
    if let Some(expected) = kept.get() {
        return Ok(expected);
    }
    let fresh = Connection::open_in_memory()?;
    fresh.execute_batch(SCHEMA)?;
    if is_previous {
        for name in CHANGED_PARTS {
            fresh.execute_batch(&format!("DROP TRIGGER IF EXISTS {name}"))?;
        }
        fresh.execute_batch("DROP TABLE amending; DROP TABLE last_record")?;
        fresh.execute_batch(PREVIOUS_PARTS)?;
    }
    let expected = parts(&fresh)?;
    Ok(kept.get_or_init(|| expected))
}

/// A part of the schema that is missing or was changed since the store was created.
pub(crate) struct Difference {
    kind: &'static str,
    name: &'static str,
    is_missing: bool,
}

impl From<&Difference> for Corrupt {
    fn from(it: &Difference) -> Self {
        let what = match it.is_missing {
            true => {
                "it no longer exists: another program has dropped it; restore the file from a \
                     backup"
            }
            false => "it was changed by another program; restore the file from a backup",
        };
        Corrupt::new(format!("the {} {}", it.kind, it.name), what)
    }
}

/// Returns how the schema of a file differs from that of a new store: without a trigger events are
/// not guarded, without an index reads are slow or fail. Additions by other programs are ignored.
pub(crate) fn differences(conn: &Connection) -> rusqlite::Result<Vec<Difference>> {
    let there = parts(conn)?;
    let expected = expected_parts(version(conn)? == PREVIOUS_VERSION)?;
    let differences = expected.iter().filter_map(|(kind, name, sql)| {
        let mut there = there.iter();
        let found = there.find(|it| it.0 == *kind && it.1 == *name);
        let is_missing = match found {
            None => true,
            Some((_, _, there)) if there != sql => false,
            Some(_) => return None,
        };
        Some(Difference {
            kind,
            name,
            is_missing,
        })
    });
    Ok(differences.collect())
}

/// Checks that a store which is opened for writing has all its tables, and returns the differences
/// of its schema.
///
/// # Errors
///
/// `Corrupt` if a table is missing.
pub(crate) fn check_tables(conn: &Connection, path: &Path) -> Result<Vec<Difference>, RecordError> {
    let differences = differences(conn).map_err(|error| unreadable(path, error))?;
    let missing = differences
        .iter()
        .filter(|it| it.kind == "table" && it.is_missing);
    let missing: Vec<&str> = missing.map(|it| it.name).collect();
    if missing.is_empty() {
        return Ok(differences);
    }
    let what = format!(
        "another program has dropped tables of the store: {}; restore the file from a backup, or \
         open it for reading only and copy the remaining data",
        missing.join(", ")
    );
    Err(Corrupt::new(path.display().to_string(), what).into())
}

/// Whether the file has the tables for amendments; one of the previous version has not.
pub(crate) fn has_amendments(conn: &Connection) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'amending')")?
        .query_row([], |row| row.get(0))
}

fn version(conn: &Connection) -> rusqlite::Result<i32> {
    conn.prepare_cached("PRAGMA user_version")?
        .query_row([], |row| row.get(0))
}

/// Checks in a transaction that writes that the file still has the schema version with which it was
/// opened: a program of another version may have converted it since.
///
/// # Errors
///
/// Also if the version has changed.
pub(crate) fn check_version(conn: &Connection) -> rusqlite::Result<()> {
    check_is_version(version(conn)?)
}

/// Checks in a transaction that reads that the file has a schema version that can be read.
///
/// # Errors
///
/// Also if it has not.
pub(crate) fn check_readable_version(conn: &Connection) -> rusqlite::Result<()> {
    match version(conn)? {
        PREVIOUS_VERSION => Ok(()),
        found => check_is_version(found),
    }
}

fn check_is_version(found: i32) -> rusqlite::Result<()> {
    if found == VERSION {
        return Ok(());
    }
    Err(damaged(format!(
        "the version of its schema was changed from {VERSION} to {found} while it was open; open \
         it with the program that converted it, or restore the file from a backup"
    )))
}

/// Application id, version, number of tables and so on, read by one statement because another
/// process may create a store in the file at the same time.
fn identity(conn: &Connection) -> rusqlite::Result<(i32, i32, i64)> {
    conn.query_row(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
         FROM pragma_application_id, pragma_user_version",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )
}

/// Converts an error of the first read of a file.
pub(crate) fn unreadable(path: &Path, error: Error) -> RecordError {
    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) {
        return RecordError::invalid(format!(
            "{} is not a SQLite database; give the path of a Retold store or of a file that does \
             not exist yet",
            path.display()
        ));
    }
    before_commit(&path.display().to_string(), error)
}

/// Checks that SQLite executes a statement by steps in indexes, in their order: it scans and sorts
/// nothing.
#[cfg(test)]
#[track_caller]
pub(crate) fn check_plan(sql: &str) {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let count = explain.parameter_count();
    let unbound = rusqlite::params_from_iter(vec![rusqlite::types::Null; count]);
    let steps = explain.query_map(unbound, |row| row.get::<_, String>("detail"));
    let steps: Vec<_> = steps.unwrap().collect::<Result<_, _>>().unwrap();
    assert!(!steps.is_empty(), "{sql}");
    for step in &steps {
        assert!(step.starts_with("SEARCH"), "{step}: {sql}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a file that becomes a store while it is recognized counts as an empty file or as a
    /// store. Method: the store is created between two steps of the recognition, if it has several.
    #[test]
    fn a_file_is_recognised_as_one_state() {
        use rusqlite::hooks::Authorization;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dogs.db");
        let other = Connection::open(&path).unwrap();
        other
            .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
            .unwrap();
        let mut conn = Connection::open(&path).unwrap();
        let (mut statements, there) = (0, path.clone());
        conn.authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| {
            statements += i32::from(matches!(
                context.action,
                rusqlite::hooks::AuthAction::Pragma { .. }
            ));
            if statements == 2 {
                make(&other, &there, FileKind::Empty).unwrap();
            }
            Authorization::Allow
        }))
        .unwrap();
        let found = recognise(&conn, &path);
        assert!(found.is_ok(), "{found:?}");
    }

    /// A hash of the schema, which existing files depend on. A change requires a new [`VERSION`],
    /// with a conversion and a test that opens a file of the old version.
    #[test]
    fn the_schema_of_version_4_is_stable() {
        let statements: Vec<_> = SCHEMA
            .lines()
            .map(|line| line.split("--").next().unwrap_or(line).trim())
            .filter(|line| !line.is_empty())
            .collect();
        let hash = statements
            .join(" ")
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
        assert_eq!((VERSION, hash), (4, 0x708b_486c_c432_3fbc), "{hash:#x}");
    }
}
