//! Snapshots in the file: stored, read, dropped. They are hints, separate from the history.

use retold_core::domain::Timestamp;
use retold_core::recording::limits::{FINDINGS_MAX, SNAPSHOTS_PER_STREAM_MAX};
use retold_core::recording::{Corrupt, Encoding, LogId, RecordError, StoredSnapshot, Version};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::before_commit;
use crate::file::head::uuid;
use crate::file::log::Born;
use crate::file::seq::LogKey;

/// Returns whether the record of an amendment of a stream has a higher version than this: a state
/// of this version may have content of events that were amended.
fn is_outdated(
    conn: &Connection,
    log: LogKey,
    stream: &str,
    version: Version,
) -> rusqlite::Result<bool> {
    let version = i64::try_from(version.get()).unwrap_or(i64::MAX);
    let found = conn
        .prepare_cached(OUTDATED)?
        .query_row(params![log.0, stream, version], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

const OUTDATED: &str = "SELECT 1 FROM stream
    JOIN last_record ON last_record.stream = stream.key AND last_record.version > ?3
    WHERE stream.log = ?1 AND stream.name = ?2";

/// Stores a snapshot, replacing one of the same version; drops the lowest if there are too many.
/// Stores nothing if the stream was amended since.
pub(crate) fn put(
    conn: &Connection,
    born: Born,
    snapshot: &StoredSnapshot,
) -> rusqlite::Result<()> {
    let log = born.key;
    if is_outdated(conn, log, &snapshot.stream, snapshot.version)? {
        return Ok(());
    }
    conn.prepare_cached(
        "INSERT OR REPLACE INTO snapshot
             (log, stream, version, state_type, revision, time, encoding, payload, checksum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        log.0,
        &*snapshot.stream,
        snapshot.version.get().to_be_bytes(),
        &*snapshot.state_type,
        snapshot.revision,
        snapshot.time.as_micros(),
        snapshot.encoding.as_str(),
        &snapshot.payload[..],
        snapshot.checksum(born.id).cast_signed(),
    ])?;
    let kept_max = i64::try_from(SNAPSHOTS_PER_STREAM_MAX).unwrap_or(i64::MAX);
    conn.prepare_cached(
        "DELETE FROM snapshot WHERE log = ?1 AND stream = ?2 AND version <
             (SELECT min(version) FROM (SELECT version FROM snapshot
              WHERE log = ?1 AND stream = ?2 ORDER BY version DESC LIMIT ?3))",
    )?
    .execute(params![log.0, &*snapshot.stream, kept_max])?;
    Ok(())
}

/// Returns the snapshot of the highest version, up to and including `until` if given.
pub(crate) fn newest(
    conn: &Connection,
    born: Born,
    stream: &str,
    until: Option<Version>,
) -> Result<Option<StoredSnapshot>, RecordError> {
    let log = born.key;
    let until = until.map_or(u64::MAX, Version::get).to_be_bytes();
    let found = conn
        .prepare_cached(
            "SELECT version, state_type, revision, time, encoding, payload, checksum FROM snapshot
             WHERE log = ?1 AND stream = ?2 AND version <= ?3 ORDER BY version DESC LIMIT 1",
        )
        .and_then(|mut select| {
            select
                .query_row(params![log.0, stream, until], |row| {
                    Ok((
                        u64::from_be_bytes(row.get(0)?),
                        row.get::<_, String>(1)?,
                        row.get(2)?,
                        row.get(3)?,
                        row.get::<_, String>(4)?,
                        row.get::<_, Vec<u8>>(5)?,
                        row.get::<_, i64>(6)?,
                    ))
                })
                .optional()
        })
        .map_err(|error| before_commit("reading a snapshot", error))?;
    let Some((version, state_type, revision, time, encoding, payload, checksum)) = found else {
        return Ok(None);
    };
    let corrupt = |what: &str| Corrupt::new(format!("snapshot of {stream}"), what);
    let version = Version::new(version).ok_or_else(|| corrupt("its version is 0"))?;
    let mut snapshot = StoredSnapshot::new(stream, version, state_type, payload);
    snapshot.revision = revision;
    snapshot.time = Timestamp::from_micros(time);
    snapshot.encoding = Encoding::parse(encoding).map_err(|error| corrupt(&error.to_string()))?;
    Ok(snapshot
        .is_intact(born.id, checksum.cast_unsigned())
        .then_some(snapshot))
}

/// Reports the snapshots whose content is not what was stored. A snapshot before the record of an
/// amendment is none of these: the record may be of another stream's amendment, or of none.
pub(crate) fn verify(conn: &Connection, found: &mut Vec<Corrupt>) -> rusqlite::Result<()> {
    let mut select = conn.prepare(
        "SELECT log.key, log.id, stream, version FROM snapshot JOIN log ON log.key = snapshot.log
         ORDER BY snapshot.key",
    )?;
    let mut rows = select.query([])?;
    while found.len() < FINDINGS_MAX
        && let Some(row) = rows.next()?
    {
        let born = Born {
            key: LogKey(row.get(0)?),
            id: LogId::new(uuid(row, 1)?),
        };
        let stream: String = row.get(2)?;
        let version = Version::new(u64::from_be_bytes(row.get(3)?));
        match newest(conn, born, &stream, version) {
            Ok(Some(snapshot)) if Some(snapshot.version) == version => {}
            Err(RecordError::Corrupt(corrupt)) => found.push(corrupt),
            _ => found.push(Corrupt::new(
                format!("snapshot of {stream}"),
                "it is not what was put: its checksum differs",
            )),
        }
    }
    Ok(())
}

/// Drops all snapshots of a stream.
pub(crate) fn drop_all(conn: &Connection, log: LogKey, stream: &str) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM snapshot WHERE log = ?1 AND stream = ?2")?
        .execute(params![log.0, stream])
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use uuid::Uuid;

    use super::*;
    use crate::file::connection::FilePlace;
    use crate::file::schema::check_plan;
    use crate::options::SqliteOptions;

    #[test]
    fn later_amendments_are_found_by_index() {
        check_plan(OUTDATED);
    }

    /// Goal: a late snapshot of a long stream does not hold the writer up. Method: count the steps
    /// of SQLite's machine, after an amendment of another stream.
    #[test]
    fn a_late_snapshot_of_a_long_stream_reads_none_of_its_events() {
        let folder = tempfile::tempdir().unwrap();
        let place = FilePlace::writable(&folder.path().join("dogs.db")).unwrap();
        let mut conn = place.open_writer(&SqliteOptions::new()).unwrap();
        let events = "INSERT INTO stream VALUES (1, 1, 'dog/1'), (2, 1, 'dog/2');
            INSERT INTO topic VALUES (1, 1, 'Dog.Barked'), (2, 1, 'retold.erased');
            INSERT INTO event
                WITH RECURSIVE number (it) AS
                    (SELECT 1 UNION ALL SELECT it + 1 FROM number WHERE it < 2000)
                SELECT (1 << 40) + it, randomblob(16), it, 0, 1, 1 + it / 2000, it, 1 + it / 2000,
                    1, 0, 0, 'json', '', x'', x'', 0, 0, x'' FROM number;
            INSERT INTO last_record VALUES (2, 2000);";
        conn.execute_batch(events).unwrap();
        let born = Born {
            key: LogKey(1),
            id: LogId::new(Uuid::nil()),
        };
        let late = StoredSnapshot::new("dog/1", Version::FIRST, "Dog", "{}");
        put(&conn, born, &late).unwrap();
        let steps = Arc::new(AtomicU64::new(0));
        let counted = steps.clone();
        let count = move || counted.fetch_add(1, Ordering::Relaxed) == u64::MAX;
        conn.progress_handler(1, Some(count)).unwrap();
        put(&conn, born, &late).unwrap();
        let steps = steps.load(Ordering::Relaxed);
        assert!(steps < 1_000, "{steps}");
        let found = newest(&conn, born, "dog/1", None).unwrap();
        assert!(found.is_some());
    }
}
