//! Processed ranges in the file: the last one of a follower, recording or merging the next one, the
//! history.

use retold_core::recording::{
    Checkpoint, EventId, FollowerKey, LogId, Position, ProcessedRange, RangeRead, RecordError,
    RecordedRange, checksum,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::{before_commit, damaged};
use crate::file::head::uuid;
use crate::file::log::Born;
use crate::file::seq;
use crate::file::seq::{LogKey, Seq};

const COLUMNS: &str = "stretch.seq, name, upstream, after, to_position, to_event_id, edition, \
    head, with_events, checksum";

/// A row of a processed range.
struct RangeRow {
    seq: Seq,
    range: ProcessedRange,
    head: Option<Position>,
    with_events: bool,
}

impl RangeRow {
    fn checksum(&self, log: LogId) -> i64 {
        let ProcessedRange {
            follower,
            upstream,
            after,
            to,
            policy_version,
            ..
        } = &self.range;
        let number = |position: Option<Position>| Position::number(position).to_le_bytes();
        let checksum = checksum::of_pieces([
            &log.uuid().as_bytes()[..],
            &seq::number(self.seq).to_le_bytes(),
            follower.as_str().as_bytes(),
            upstream.uuid().as_bytes(),
            &number(*after),
            &number(Some(to.position)),
            to.event_id.uuid().as_bytes(),
            &policy_version.to_le_bytes(),
            &number(self.head),
            &[u8::from(self.with_events)],
        ]);
        checksum.cast_signed()
    }
}

/// Returns the end of the last processed range of a follower over an upstream.
pub(crate) fn checkpoint(
    conn: &Connection,
    born: Born,
    follower: &FollowerKey,
    upstream: LogId,
) -> rusqlite::Result<Option<Checkpoint>> {
    let Some(key) = follower_key(conn, born.key, follower, upstream)? else {
        return Ok(None);
    };
    Ok(last(conn, born, key)?.map(|last| last.range.to))
}

/// Records a processed range: merged with the previous one if policy version and head are the same
/// and neither append had events, otherwise as a new row.
pub(crate) fn record(
    conn: &Connection,
    born: Born,
    range: &ProcessedRange,
    head: Option<Position>,
    with_events: bool,
) -> rusqlite::Result<()> {
    let log = born.key;
    let key = match follower_key(conn, log, &range.follower, range.upstream)? {
        Some(key) => key,
        None => conn
            .prepare_cached("INSERT INTO follower (log, name, upstream) VALUES (?1, ?2, ?3)")?
            .insert(params![
                log.0,
                range.follower.as_str(),
                range.upstream.uuid().as_bytes()
            ])?,
    };
    let to = range.to.position.get().cast_signed();
    let to_id = range.to.event_id.uuid();
    if let Some(mut last) = last(conn, born, key)?
        && !last.with_events
        && !with_events
        && last.head == head
        && last.range.policy_version == range.policy_version
    {
        last.range.to = range.to;
        conn.prepare_cached(
            "UPDATE stretch SET to_position = ?2, to_event_id = ?3, checksum = ?4 WHERE seq = ?1",
        )?
        .execute(params![
            last.seq,
            to,
            to_id.as_bytes(),
            last.checksum(born.id)
        ])?;
        return Ok(());
    }
    let newest: Option<Seq> = conn
        .prepare_cached("SELECT max(seq) FROM stretch WHERE seq > ?1 AND seq <= ?2")?
        .query_row([log.start(), log.last()], |row| row.get(0))?;
    let kept = RangeRow {
        seq: newest.unwrap_or(log.start()) + 1,
        range: range.clone(),
        head,
        with_events,
    };
    conn.prepare_cached("INSERT INTO stretch VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
        .execute(params![
            kept.seq,
            key,
            range.after.map(|after| after.get().cast_signed()),
            to,
            to_id.as_bytes(),
            range.policy_version,
            head.map(|head| head.get().cast_signed()),
            with_events,
            kept.checksum(born.id),
        ])?;
    Ok(())
}

/// Records that this append of a log had no events.
pub(crate) fn count_eventless(
    conn: &Connection,
    log: LogKey,
    append_number: u64,
) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO eventless_append VALUES (?1, ?2)")?
        .execute([log.0, append_number.cast_signed()])?;
    Ok(())
}

/// Returns a page of the history.
pub(crate) fn read(
    conn: &Connection,
    born: Born,
    read: &RangeRead,
    limit: usize,
) -> Result<Vec<RecordedRange>, RecordError> {
    let log = born.key;
    let failed = |error| before_commit("reading processed ranges", error);
    let first = log.seq(read.after).saturating_add(1);
    if read.follower.is_none() && read.upstream.is_none() {
        let sql = format!(
            "SELECT {COLUMNS} FROM stretch JOIN follower ON follower.key = stretch.follower
             WHERE stretch.seq >= ?1 AND stretch.seq <= ?2 ORDER BY stretch.seq LIMIT ?3"
        );
        return collect(conn, born.id, &sql, [first, log.last(), signed(limit)]).map_err(failed);
    }
    // Reads a full page for each selected follower and upstream, then keeps the first rows.
    let sql = format!(
        "SELECT {COLUMNS} FROM stretch JOIN follower ON follower.key = stretch.follower
         WHERE stretch.follower = ?4 AND stretch.seq >= ?1 AND stretch.seq <= ?2
         ORDER BY stretch.seq LIMIT ?3"
    );
    let mut page = Vec::new();
    for key in keys_meant(conn, log, read).map_err(failed)? {
        let of_one = collect(conn, born.id, &sql, [first, log.last(), signed(limit), key]);
        page.extend(of_one.map_err(failed)?);
    }
    page.sort_unstable_by_key(|range| range.ordinal);
    page.truncate(limit);
    Ok(page)
}

fn signed(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn keys_meant(conn: &Connection, log: LogKey, read: &RangeRead) -> rusqlite::Result<Vec<i64>> {
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
    log: LogId,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<Vec<RecordedRange>> {
    let mut select = conn.prepare_cached(sql)?;
    let mut rows = select.query(parameters)?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let kept = kept(row, log)?;
        page.push(RecordedRange::new(
            seq::number(kept.seq),
            kept.range,
            kept.head,
        ));
    }
    Ok(page)
}

/// A row with [`COLUMNS`].
fn kept(row: &Row<'_>, log: LogId) -> rusqlite::Result<RangeRow> {
    let follower = FollowerKey::new(row.get::<_, String>(1)?);
    let upstream = LogId::new(uuid(row, 2)?);
    let after = optional_position(row, 3)?;
    let to = checkpoint_columns(row, 4)?;
    let kept = RangeRow {
        seq: row.get(0)?,
        range: ProcessedRange::new(follower, upstream, after, to).policy_version(row.get(6)?),
        head: optional_position(row, 7)?,
        with_events: row.get(8)?,
    };
    if kept.checksum(log) != row.get::<_, i64>(9)? {
        return Err(damaged(format!(
            "the processed range {} is not what was recorded: its checksum differs",
            seq::number(kept.seq)
        )));
    }
    Ok(kept)
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

fn last(conn: &Connection, born: Born, follower: i64) -> rusqlite::Result<Option<RangeRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM stretch JOIN follower ON follower.key = stretch.follower
         WHERE stretch.follower = ?1 ORDER BY stretch.seq DESC LIMIT 1"
    );
    conn.prepare_cached(&sql)?
        .query_row([follower], |row| kept(row, born.id))
        .optional()
}

/// A checkpoint in two columns.
fn checkpoint_columns(row: &Row<'_>, column: usize) -> rusqlite::Result<Checkpoint> {
    let number: i64 = row.get(column)?;
    let position = Position::new(number.cast_unsigned())
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))?;
    let event_id = EventId::new(uuid(row, column + 1)?);
    Ok(Checkpoint { position, event_id })
}

fn optional_position(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Position>> {
    let number: Option<i64> = row.get(column)?;
    Ok(number.and_then(|number| Position::new(number.cast_unsigned())))
}
