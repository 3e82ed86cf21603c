//! Snapshots in the file: put, got, dropped. Hints, beside the history.

use retold_core::domain::clock::Timestamp;
use retold_core::recording::encoding::Encoding;
use retold_core::recording::error::{Corrupt, RecordError};
use retold_core::recording::identity::Version;
use retold_core::recording::limits::SNAPSHOTS_PER_STREAM_MAX;
use retold_core::recording::snapshot::StoredSnapshot;
use rusqlite::{Connection, OptionalExtension, params};

use super::error::before_commit;
use super::seq::LogKey;

/// Keeps a snapshot in place of one of the same version; drops the lowest of too many.
pub(crate) fn put(
    conn: &Connection,
    log: LogKey,
    snapshot: &StoredSnapshot,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO snapshot
             (log, stream, version, state_type, revision, time, encoding, payload)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
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

/// The snapshot of the highest version, up to and with `until` if given.
pub(crate) fn newest(
    conn: &Connection,
    log: LogKey,
    stream: &str,
    until: Option<Version>,
) -> Result<Option<StoredSnapshot>, RecordError> {
    let until = until.map_or(u64::MAX, Version::get).to_be_bytes();
    let found = conn
        .prepare_cached(
            "SELECT version, state_type, revision, time, encoding, payload FROM snapshot
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
                    ))
                })
                .optional()
        })
        .map_err(|error| before_commit("reading a snapshot", error))?;
    let Some((version, state_type, revision, time, encoding, payload)) = found else {
        return Ok(None);
    };
    let corrupt = |what: &str| Corrupt::new(format!("snapshot of {stream}"), what);
    let version = Version::new(version).ok_or_else(|| corrupt("its version is 0"))?;
    let mut snapshot = StoredSnapshot::new(stream, version, state_type, payload);
    snapshot.revision = revision;
    snapshot.time = Timestamp::from_micros(time);
    snapshot.encoding = Encoding::parse(encoding).map_err(|error| corrupt(&error.to_string()))?;
    Ok(Some(snapshot))
}

/// Drops all snapshots of a stream.
pub(crate) fn drop_all(conn: &Connection, log: LogKey, stream: &str) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM snapshot WHERE log = ?1 AND stream = ?2")?
        .execute(params![log.0, stream])
        .map(drop)
}
