//! The schema and its version: how a file says that it is a Retold store, and how a new one is made.
//!
//! `application_id` says whose file it is (SQLite's `magic.txt` way), `user_version` which version of
//! [`schema.sql`](self) it has. Both are set in the transaction that creates the tables, so that a
//! file is a store as a whole or not at all.

use std::path::Path;

use retold_core::recording::error::RecordError;
use retold_core::recording::fault::Corrupt;
use rusqlite::{Connection, Error, OptionalExtension};

use super::error::before_commit;

/// "Rtld": whose file this is, in the header that SQLite keeps for it.
const APPLICATION_ID: i32 = 0x5274_6c64;
/// Version of the tables that this crate reads and writes.
const VERSION: i32 = 3;

const SCHEMA: &str = include_str!("schema.sql");

/// What a file is, by its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A store of this version.
    Store,
    /// Nothing yet: an empty database.
    Empty,
}

/// Asks a file what it is. Writes nothing.
///
/// # Errors
///
/// `Invalid` for a database of another program or of a newer version, `Corrupt`, `Unavailable`.
pub(crate) fn recognise(conn: &Connection, path: &Path) -> Result<Kind, RecordError> {
    let found = identity(conn).map_err(|error| unreadable(path, error))?;
    let path = path.display();
    match found {
        (APPLICATION_ID, VERSION, _) => Ok(Kind::Store),
        (APPLICATION_ID, newer, _) if newer > VERSION => Err(RecordError::invalid(format!(
            "{path} was made by a newer version of Retold (its schema is {newer}, this version knows {VERSION}); update this program"
        ))),
        (APPLICATION_ID, 1, _) => Err(RecordError::invalid(format!(
            "{path} was made by an older version of Retold, whose events have no checksums (its schema is 1, this version reads {VERSION}); read it with that version, and append its events to a new store"
        ))),
        (APPLICATION_ID, older, _) => Err(RecordError::invalid(format!(
            "{path} was made by an older version of Retold (its schema is {older}, this version knows {VERSION} only); give the path of a new file, or use the version that made it"
        ))),
        (0, 0, 0) => Ok(Kind::Empty),
        _ => Err(RecordError::invalid(format!(
            "{path} is a SQLite database of another program; give the path of a Retold store or of a file that does not exist yet"
        ))),
    }
}

/// Makes a store of an empty file, unless somebody else did so meanwhile.
///
/// # Errors
///
/// As [`recognise`]; the file is then as it was.
pub(crate) fn create(conn: &Connection, path: &Path) -> Result<(), RecordError> {
    let failed = |error| before_commit(&format!("creating {}", path.display()), error);
    conn.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let made = recognise(conn, path).and_then(|kind| match kind {
        Kind::Store => Ok(()),
        Kind::Empty => conn
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

/// What of the schema is missing or was changed since the store was made: without a trigger events are
/// not guarded, without an index reads are slow. What others have added is theirs.
pub(crate) fn differences(conn: &Connection) -> rusqlite::Result<Vec<Corrupt>> {
    let fresh = Connection::open_in_memory()?;
    fresh.execute_batch(SCHEMA)?;
    let mut found = Vec::new();
    let mut there = conn.prepare("SELECT sql FROM sqlite_schema WHERE type = ?1 AND name = ?2")?;
    // What has no SQL is made by SQLite for something that has.
    let mut expected =
        fresh.prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    let mut rows = expected.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
        let sql: String = row.get(2)?;
        let there: Option<Option<String>> = there
            .query_row([&kind, &name], |row| row.get(0))
            .optional()?;
        let what = match there {
            None => "it is not there any more",
            Some(there) if there.as_deref() != Some(&*sql) => "it was changed",
            Some(_) => continue,
        };
        found.push(Corrupt::new(format!("the {kind} {name}"), what));
    }
    Ok(found)
}

/// Application id, version, number of tables and the like: by one statement, for somebody else may
/// make a store of the file meanwhile.
fn identity(conn: &Connection) -> rusqlite::Result<(i32, i32, i64)> {
    conn.query_row(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
         FROM pragma_application_id, pragma_user_version",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )
}

/// Of an error of the first look at a file.
pub(crate) fn unreadable(path: &Path, error: Error) -> RecordError {
    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) {
        return RecordError::invalid(format!(
            "{} is not a SQLite database; give the path of a Retold store or of a file that does not exist yet",
            path.display()
        ));
    }
    before_commit(&path.display().to_string(), error)
}

/// Checks that SQLite answers a statement by steps in indexes, in their order: it scans and sorts
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

    /// Goal: a file that becomes a store while it is looked at is one or the other. Method: it is
    /// made between the parts of the look, if there are parts.
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
                create(&other, &there).unwrap();
            }
            Authorization::Allow
        }))
        .unwrap();
        let found = recognise(&conn, &path);
        assert!(found.is_ok(), "{found:?}");
    }

    /// A hash of the schema: a promise to files already written. A change is a new [`VERSION`], with
    /// a conversion and a test that opens a file of the old one.
    #[test]
    fn the_schema_of_version_3_is_stable() {
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
        assert_eq!((VERSION, hash), (3, 0xc348_fbf7_eedc_a58b), "{hash:#x}");
    }
}
