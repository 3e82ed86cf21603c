//! The data stored besides the rows of views: checkpoints, versions, and skipped events.

use std::sync::Arc;

use retold_core::domain::Timestamp;
use retold_core::projection::{SkippedEvent, ViewVersion};
use retold_core::recording::{Checkpoint, EventId, LogId, Position, ViewEntry};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::file::head::{unsigned, uuid};

/// Existing files depend on these tables: they only ever gain columns. `state` is `seen` for the
/// version that readers see and `building` for one under construction; `tables` are its plain
/// names, separated by commas. Positions are those of the upstream; from 2^63 on they are stored
/// less 2^64. Times are microseconds since 1970.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS retold_projection (
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        upstream TEXT NOT NULL,
        upstream_id BLOB NOT NULL,
        position INTEGER,
        event_id BLOB,
        state TEXT NOT NULL,
        tables TEXT NOT NULL,
        PRIMARY KEY (name, version)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS retold_projection_skipped (
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        position INTEGER NOT NULL,
        event_id BLOB NOT NULL,
        topic TEXT NOT NULL,
        error TEXT NOT NULL,
        skipped_at INTEGER NOT NULL,
        PRIMARY KEY (name, version, position)
    ) STRICT, WITHOUT ROWID;
";

const SELECT: &str =
    "SELECT version, upstream_id, position, event_id, state, tables FROM retold_projection";

/// Creates the tables, unless they exist.
pub(super) fn create(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(SCHEMA)
}

/// Whether the tables exist: if not, no version of any projection has begun.
pub(super) fn exists(conn: &Connection) -> rusqlite::Result<bool> {
    let found = conn
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = 'retold_projection'")?
        .query_row([], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

/// Whether the file has this table.
pub(super) fn has_table(conn: &Connection, name: &str) -> rusqlite::Result<bool> {
    let found = conn
        .prepare_cached(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE",
        )?
        .query_row([name], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

/// Returns all versions of a projection, the oldest first.
pub(super) fn versions(conn: &Connection, name: &str) -> rusqlite::Result<Vec<ViewVersion>> {
    if !exists(conn)? {
        return Ok(Vec::new());
    }
    let mut select = conn.prepare_cached(&format!("{SELECT} WHERE name = ?1 ORDER BY version"))?;
    select.query_map([name], version_of)?.collect()
}

/// Returns all versions of all projections, by name and version.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<ViewEntry>> {
    if !exists(conn)? {
        return Ok(Vec::new());
    }
    let mut select = conn.prepare_cached(
        "SELECT version, upstream_id, position, event_id, state, tables, name, upstream,
            (SELECT count(*) FROM retold_projection_skipped s
             WHERE s.name = p.name AND s.version = p.version)
         FROM retold_projection p ORDER BY name, version",
    )?;
    let entries = select.query_map([], |row| {
        let stored = version_of(row)?;
        Ok(ViewEntry {
            name: row.get::<_, String>(6)?.into(),
            version: stored.version,
            upstream: row.get::<_, String>(7)?.into(),
            log: stored.upstream,
            checkpoint: stored.checkpoint,
            is_seen: stored.is_seen,
            skipped: unsigned(row.get(8)?),
        })
    })?;
    entries.collect()
}

/// Returns one version of a projection, or `None` if it has not begun or was dropped.
pub(super) fn version(
    conn: &Connection,
    name: &str,
    version: u32,
) -> rusqlite::Result<Option<ViewVersion>> {
    conn.prepare_cached(&format!("{SELECT} WHERE name = ?1 AND version = ?2"))?
        .query_row(params![name, version], version_of)
        .optional()
}

fn version_of(row: &Row<'_>) -> rusqlite::Result<ViewVersion> {
    let position: Option<i64> = row.get(2)?;
    let position = position.and_then(|it| Position::new(it.cast_unsigned()));
    let checkpoint = match position {
        Some(position) => Some(Checkpoint {
            position,
            event_id: EventId::new(uuid(row, 3)?),
        }),
        None => None,
    };
    let tables: String = row.get(5)?;
    Ok(ViewVersion {
        version: row.get(0)?,
        upstream: LogId::new(uuid(row, 1)?),
        checkpoint,
        is_seen: row.get_ref(4)?.as_str()? == "seen",
        tables: tables.split(',').map(str::to_owned).collect(),
    })
}

/// Stores a version that begins, in place of its former state if it has one.
pub(super) fn store(
    conn: &Connection,
    name: &str,
    upstream: &str,
    stored: &ViewVersion,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO retold_projection VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        name,
        stored.version,
        upstream,
        stored.upstream.uuid().as_bytes(),
        stored
            .checkpoint
            .map(|checkpoint| checkpoint.position.get().cast_signed()),
        stored
            .checkpoint
            .map(|checkpoint| checkpoint.event_id.uuid().into_bytes()),
        if stored.is_seen { "seen" } else { "building" },
        stored.tables.join(","),
    ])
    .map(drop)
}

/// Advances the checkpoint.
pub(super) fn advance(
    conn: &Connection,
    name: &str,
    version: u32,
    to: Checkpoint,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE retold_projection SET position = ?3, event_id = ?4
         WHERE name = ?1 AND version = ?2",
    )?
    .execute(params![
        name,
        version,
        to.position.get().cast_signed(),
        to.event_id.uuid().as_bytes(),
    ])
    .map(drop)
}

/// Records that readers see the version.
pub(super) fn show(conn: &Connection, name: &str, version: u32) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE retold_projection SET state = 'seen' WHERE name = ?1 AND version = ?2",
    )?
    .execute(params![name, version])
    .map(drop)
}

/// Deletes a version and its skipped events.
pub(super) fn forget(conn: &Connection, name: &str, version: u32) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM retold_projection WHERE name = ?1 AND version = ?2",
        "DELETE FROM retold_projection_skipped WHERE name = ?1 AND version = ?2",
    ] {
        conn.prepare_cached(sql)?.execute(params![name, version])?;
    }
    Ok(())
}

/// Returns how many events a version has skipped.
pub(super) fn count_skipped(conn: &Connection, name: &str, version: u32) -> rusqlite::Result<u64> {
    conn.prepare_cached(
        "SELECT count(*) FROM retold_projection_skipped WHERE name = ?1 AND version = ?2",
    )?
    .query_row(params![name, version], |row| row.get(0))
    .map(unsigned)
}

/// Records a skipped event.
pub(super) fn skip(
    conn: &Connection,
    name: &str,
    version: u32,
    skipped: &SkippedEvent,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO retold_projection_skipped VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        name,
        version,
        skipped.checkpoint.position.get().cast_signed(),
        skipped.checkpoint.event_id.uuid().as_bytes(),
        &*skipped.topic,
        &*skipped.error,
        skipped.at.as_micros(),
    ])
    .map(drop)
}

/// Removes the reasons why views skipped events of a log that are amended now: a reason may quote
/// what such an event contained.
pub(crate) fn forget_reasons(
    conn: &Connection,
    upstream: LogId,
    is_amended: impl Fn(Position) -> bool,
) -> rusqlite::Result<()> {
    if !exists(conn)? {
        return Ok(());
    }
    let mut select = conn.prepare_cached(
        "SELECT p.name, p.version, s.position FROM retold_projection p
         JOIN retold_projection_skipped s ON s.name = p.name AND s.version = p.version
         WHERE p.upstream_id = ?1",
    )?;
    let skipped = select.query_map([upstream.uuid().as_bytes()], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let skipped: Vec<(String, i64, i64)> = skipped.collect::<Result<_, _>>()?;
    let mut forget = conn.prepare_cached(
        "UPDATE retold_projection_skipped SET error = ?4
         WHERE name = ?1 AND version = ?2 AND position = ?3",
    )?;
    for (name, version, position) in skipped {
        if Position::new(position.cast_unsigned()).is_some_and(&is_amended) {
            forget.execute(params![name, version, position, REASON_OF_AMENDED])?;
        }
    }
    Ok(())
}

/// The reason that is stored for a skipped event that was amended later.
const REASON_OF_AMENDED: &str = "the event was erased or replaced later, and the reason with it";

/// Returns the skipped events after a position.
pub(super) fn skipped(
    conn: &Connection,
    name: &str,
    version: u32,
    after: Option<Position>,
    limit: usize,
) -> rusqlite::Result<Vec<SkippedEvent>> {
    let mut select = conn.prepare_cached(
        "SELECT position, event_id, topic, error, skipped_at FROM retold_projection_skipped
         WHERE name = ?1 AND version = ?2 AND position > ?3 ORDER BY position LIMIT ?4",
    )?;
    let after = Position::number(after).cast_signed();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = select.query(params![name, version, after, limit])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let position: i64 = row.get(0)?;
        if let Some(position) = Position::new(position.cast_unsigned()) {
            let checkpoint = Checkpoint {
                position,
                event_id: EventId::new(uuid(row, 1)?),
            };
            let (topic, error): (Arc<str>, Arc<str>) = (row.get(2)?, row.get(3)?);
            let at = Timestamp::from_micros(row.get(4)?);
            page.push(SkippedEvent::from_parts(checkpoint, topic, error, at));
        }
    }
    Ok(page)
}
