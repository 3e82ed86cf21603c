//! Stretches in the file: the last one of a follower, the next one recorded or merged, the history.

use retold_core::recording::error::RecordError;
use retold_core::recording::identity::{EventId, LogId, Mark, Position};
use retold_core::recording::recorder::StretchRead;
use retold_core::recording::stretch::{FollowerKey, RecordedStretch, Stretch};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::before_commit;
use super::head::uuid;
use super::seq::{self, LogKey, Seq};

const COLUMNS: &str = "stretch.seq, name, upstream, after, to_position, to_event_id, edition, head";

/// The newest stretch of a follower, as far as merging needs it.
struct Last {
    seq: Seq,
    to: Mark,
    edition: u32,
    head: Option<Position>,
    with_events: bool,
}

/// End of the last stretch of a follower over an upstream.
pub(crate) fn checkpoint(
    conn: &Connection,
    log: LogKey,
    follower: &FollowerKey,
    upstream: LogId,
) -> rusqlite::Result<Option<Mark>> {
    let Some(key) = follower_key(conn, log, follower, upstream)? else {
        return Ok(None);
    };
    Ok(last(conn, key)?.map(|last| last.to))
}

/// Records a stretch: joined to its neighbour if edition and head are the same and neither append
/// had events, else by itself.
pub(crate) fn record(
    conn: &Connection,
    log: LogKey,
    stretch: &Stretch,
    head: Option<Position>,
    with_events: bool,
) -> rusqlite::Result<()> {
    let key = match follower_key(conn, log, &stretch.follower, stretch.upstream)? {
        Some(key) => key,
        None => conn
            .prepare_cached("INSERT INTO follower (log, name, upstream) VALUES (?1, ?2, ?3)")?
            .insert(params![
                log.0,
                stretch.follower.as_str(),
                stretch.upstream.uuid().as_bytes()
            ])?,
    };
    let to = stretch.to.position.get().cast_signed();
    let to_id = stretch.to.event_id.uuid();
    if let Some(last) = last(conn, key)?
        && !last.with_events
        && !with_events
        && last.head == head
        && last.edition == stretch.edition
    {
        conn.prepare_cached(
            "UPDATE stretch SET to_position = ?2, to_event_id = ?3 WHERE seq = ?1",
        )?
        .execute(params![last.seq, to, to_id.as_bytes()])?;
        return Ok(());
    }
    let newest: Option<Seq> = conn
        .prepare_cached("SELECT max(seq) FROM stretch WHERE seq > ?1 AND seq <= ?2")?
        .query_row([log.start(), log.last()], |row| row.get(0))?;
    conn.prepare_cached("INSERT INTO stretch VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            newest.unwrap_or(log.start()) + 1,
            key,
            stretch.after.map(|after| after.get().cast_signed()),
            to,
            to_id.as_bytes(),
            stretch.edition,
            head.map(|head| head.get().cast_signed()),
            with_events,
        ])?;
    Ok(())
}

/// Takes note that this append of a log had no events.
pub(crate) fn count_eventless(
    conn: &Connection,
    log: LogKey,
    append_number: u64,
) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO eventless_append VALUES (?1, ?2)")?
        .execute([log.0, append_number.cast_signed()])?;
    Ok(())
}

/// A page of the history.
pub(crate) fn read(
    conn: &Connection,
    log: LogKey,
    read: &StretchRead,
    limit: usize,
) -> Result<Vec<RecordedStretch>, RecordError> {
    let failed = |error| before_commit("reading stretches", error);
    let first = log.seq(read.after).saturating_add(1);
    if read.follower.is_none() && read.upstream.is_none() {
        let sql = format!(
            "SELECT {COLUMNS} FROM stretch JOIN follower ON follower.key = stretch.follower
             WHERE stretch.seq >= ?1 AND stretch.seq <= ?2 ORDER BY stretch.seq LIMIT ?3"
        );
        return collect(conn, &sql, [first, log.last(), signed(limit)]).map_err(failed);
    }
    // Of each follower and upstream that is meant as many as the page may have; then the first.
    let sql = format!(
        "SELECT {COLUMNS} FROM stretch JOIN follower ON follower.key = stretch.follower
         WHERE stretch.follower = ?4 AND stretch.seq >= ?1 AND stretch.seq <= ?2
         ORDER BY stretch.seq LIMIT ?3"
    );
    let mut page = Vec::new();
    for key in keys_meant(conn, log, read).map_err(failed)? {
        let of_one = collect(conn, &sql, [first, log.last(), signed(limit), key]);
        page.extend(of_one.map_err(failed)?);
    }
    page.sort_unstable_by_key(|stretch| stretch.ordinal);
    page.truncate(limit);
    Ok(page)
}

fn signed(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn keys_meant(conn: &Connection, log: LogKey, read: &StretchRead) -> rusqlite::Result<Vec<i64>> {
    let mut select = conn.prepare_cached(
        "SELECT key FROM follower
         WHERE log = ?1 AND (?2 IS NULL OR name = ?2) AND (?3 IS NULL OR upstream = ?3)",
    )?;
    let follower = read.follower.as_ref().map(FollowerKey::as_str);
    let upstream = read.upstream.map(|upstream| upstream.uuid().into_bytes());
    let keys = select.query_map(params![log.0, follower, upstream], |row| row.get(0))?;
    keys.collect()
}

fn collect(
    conn: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<Vec<RecordedStretch>> {
    let mut select = conn.prepare_cached(sql)?;
    let mut rows = select.query(parameters)?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        page.push(recorded(row)?);
    }
    Ok(page)
}

/// A row with [`COLUMNS`].
fn recorded(row: &Row<'_>) -> rusqlite::Result<RecordedStretch> {
    let follower = FollowerKey::new(row.get::<_, String>(1)?);
    let upstream = LogId::new(uuid(row, 2)?);
    let after = optional_position(row, 3)?;
    let to = mark(row, 4)?;
    let stretch = Stretch::new(follower, upstream, after, to).edition(row.get(6)?);
    let ordinal = seq::number(row.get(0)?);
    Ok(RecordedStretch::new(
        ordinal,
        stretch,
        optional_position(row, 7)?,
    ))
}

fn follower_key(
    conn: &Connection,
    log: LogKey,
    follower: &FollowerKey,
    upstream: LogId,
) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT key FROM follower WHERE log = ?1 AND name = ?2 AND upstream = ?3")?
        .query_row(
            params![log.0, follower.as_str(), upstream.uuid().as_bytes()],
            |row| row.get(0),
        )
        .optional()
}

fn last(conn: &Connection, follower: i64) -> rusqlite::Result<Option<Last>> {
    conn.prepare_cached(
        "SELECT seq, to_position, to_event_id, edition, head, with_events FROM stretch
         WHERE follower = ?1 ORDER BY seq DESC LIMIT 1",
    )?
    .query_row([follower], |row| {
        Ok(Last {
            seq: row.get(0)?,
            to: mark(row, 1)?,
            edition: row.get(3)?,
            head: optional_position(row, 4)?,
            with_events: row.get(5)?,
        })
    })
    .optional()
}

/// A mark in two columns.
fn mark(row: &Row<'_>, column: usize) -> rusqlite::Result<Mark> {
    let number: i64 = row.get(column)?;
    let position = Position::new(number.cast_unsigned())
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))?;
    let event_id = EventId::new(uuid(row, column + 1)?);
    Ok(Mark { position, event_id })
}

fn optional_position(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Position>> {
    let number: Option<i64> = row.get(column)?;
    Ok(number.and_then(|number| Position::new(number.cast_unsigned())))
}
