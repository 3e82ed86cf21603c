//! The ends of a log, of a stream, and of a follower's processed ranges. Each is one step in an
//! index.

use retold_core::recording::{Checkpoint, DELETED_TOPIC, EventId, Head};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::seq::{self, LogKey, Seq};
use crate::error::damaged;

/// Returns the end of a log, without the count of its topics.
pub(crate) fn read(conn: &Connection, log: LogKey) -> rusqlite::Result<Head> {
    let last = conn
        .prepare_cached(
            "SELECT seq, id, append_number FROM event WHERE seq > ?1 AND seq <= ?2
             ORDER BY seq DESC LIMIT 1",
        )?
        .query_row(params![log.start(), log.last()], |row| {
            Ok((checkpoint(row)?, unsigned(row.get(2)?)))
        })
        .optional()?;
    let eventless = conn
        .prepare_cached("SELECT append_number FROM eventless_append WHERE log = ?1")?
        .query_row([log.0], |row| row.get(0))
        .optional()?
        .map_or(0, unsigned);
    let (checkpoint, append_number) = last.unzip();
    Ok(Head {
        checkpoint: checkpoint.flatten(),
        append_count: append_number.unwrap_or(0).max(eventless),
        topic_count: 0,
    })
}

/// Returns the checkpoint of a log's event at a position, if it exists; `seq` is in the log's rows.
pub(crate) fn checkpoint_at(conn: &Connection, seq: Seq) -> rusqlite::Result<Option<Checkpoint>> {
    let found = conn
        .prepare_cached("SELECT seq, id FROM event WHERE seq = ?1")?
        .query_row([seq], checkpoint)
        .optional()?;
    Ok(found.flatten())
}

/// Returns the version of a stream's last event, or 0 if it has none.
pub(crate) fn stream_version(conn: &Connection, stream: i64) -> rusqlite::Result<u64> {
    conn.prepare_cached(
        "SELECT version FROM event INDEXED BY event_stream WHERE stream = ?1
         ORDER BY version DESC LIMIT 1",
    )?
    .query_row([stream], |row| row.get(0))
    .optional()
    .map(|version| version.map_or(0, unsigned))
}

/// The last event of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamEnd {
    pub(crate) version: u64,
    pub(crate) id: EventId,
    /// Whether it is the record of the stream's deletion.
    pub(crate) is_deleted: bool,
}

/// Returns a stream's last event, for an append to it, and checks that the event agrees with the
/// index that names it.
///
/// # Errors
///
/// Also if it does not agree.
pub(crate) fn checked_stream_end(conn: &Connection, stream: i64) -> rusqlite::Result<StreamEnd> {
    let found: Option<(i64, Seq)> = conn
        .prepare_cached(
            "SELECT version, seq FROM event INDEXED BY event_stream WHERE stream = ?1
             ORDER BY version DESC LIMIT 1",
        )?
        .query_row([stream], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((version, seq)) = found else {
        // A stream exists only if it has an event.
        return Err(damaged(
            "the index of streams does not have the events of a stream",
        ));
    };
    let there = conn
        .prepare_cached(
            "SELECT stream, version, id,
                 EXISTS (SELECT 1 FROM topic WHERE key = event.topic AND name = ?2)
             FROM event NOT INDEXED WHERE seq = ?1",
        )?
        .query_row(params![seq, DELETED_TOPIC], |row| {
            let place = (row.get(0)?, row.get(1)?);
            Ok((place, EventId::new(uuid(row, 2)?), row.get(3)?))
        })
        .optional()?;
    match there {
        Some((place, id, is_deleted)) if place == (Some(stream), Some(version)) => Ok(StreamEnd {
            version: unsigned(version),
            id,
            is_deleted,
        }),
        _ => Err(damaged(format!(
            "the index of streams names another event than it leads to, at position {}",
            seq::number(seq)
        ))),
    }
}

/// Position and id, in the first two columns.
pub(crate) fn checkpoint(row: &Row<'_>) -> rusqlite::Result<Option<Checkpoint>> {
    let position = seq::position(row.get(0)?);
    let event_id = EventId::new(uuid(row, 1)?);
    Ok(position.map(|position| Checkpoint { position, event_id }))
}

/// A column that contains a uuid.
pub(crate) fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    row.get(column).map(Uuid::from_bytes)
}

/// A stored number that is never negative.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
