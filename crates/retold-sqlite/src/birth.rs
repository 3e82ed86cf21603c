//! The creation of a log: its key in the file and its id, assigned once.

use std::sync::Arc;

use retold_core::domain::Timestamp;
use retold_core::recording::{LogId, RecordError};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Refusal;
use crate::file::head::uuid;
use crate::file::log::Born;
use crate::file::seq::{LOGS_MAX, LogKey};

/// Returns the key and id of a log, or `None` if it does not exist.
pub(crate) fn birth_of(conn: &Connection, name: &str) -> rusqlite::Result<Option<Born>> {
    conn.prepare_cached("SELECT key, id FROM log WHERE name = ?1")?
        .query_row([name], |row| {
            Ok(Born {
                key: LogKey(row.get(0)?),
                id: LogId::new(uuid(row, 1)?),
            })
        })
        .optional()
}

/// Checks that a log is still where it was found: a file that was restored may have another log
/// there.
///
/// # Errors
///
/// [`RecordError::Replaced`].
pub(crate) fn check_birth(
    conn: &Connection,
    name: &Arc<str>,
    met: Born,
) -> rusqlite::Result<Result<(), RecordError>> {
    let mut select = conn.prepare_cached("SELECT name, id FROM log WHERE key = ?1")?;
    let mut rows = select.query([met.key.0])?;
    if let Some(row) = rows.next()?
        && row.get_ref(0)?.as_str()? == &**name
        && uuid(row, 1)? == met.id.uuid()
    {
        return Ok(Ok(()));
    }
    let found = birth_of(conn, name)?;
    Ok(Err(RecordError::Replaced {
        log: Arc::clone(name),
        expected: met.id,
        found: found.map(|born| born.id),
    }))
}

/// Creates a log in an open transaction, unless it exists already.
pub(crate) fn bear(
    conn: &Connection,
    now: Timestamp,
    name: &str,
    birth: LogId,
) -> rusqlite::Result<Result<Born, RecordError>> {
    if let Some(born) = birth_of(conn, name)? {
        return Ok(Ok(born));
    }
    let last: Option<i64> = conn
        .prepare_cached("SELECT max(key) FROM log")?
        .query_row([], |row| row.get(0))?;
    let key = last.unwrap_or(0) + 1;
    if key > LOGS_MAX {
        let error = RecordError::unavailable("creating a log", Refusal::StoreFull);
        return Ok(Err(error));
    }
    conn.prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![key, name, birth.uuid().as_bytes(), now.as_micros()])?;
    Ok(Ok(Born {
        key: LogKey(key),
        id: birth,
    }))
}
