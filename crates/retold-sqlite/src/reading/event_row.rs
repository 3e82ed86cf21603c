//! Events as rows of the file: the columns that are read, and the check of an event against its
//! checksums.

use retold_core::domain::Timestamp;
use retold_core::recording::checksum::{self, Checksum};
use retold_core::recording::{
    AppendPlace, Corrupt, EventId, LogId, RecordError, StoredEvent, StoredEventParts, Version,
};
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, Row, Statement};

use crate::error::before_commit;
use crate::file::head::{unsigned, uuid};
use crate::file::log::Born;
use crate::file::seq;
use crate::file::seq::{LogKey, Seq};
use crate::file::topics::Topics;

macro_rules! select_events {
    ($stream:literal, $from:expr) => {
        concat!(
            "SELECT seq, id, place_index, place_count, ",
            $stream,
            ", version, topic, revision, time, \
             recorded_at, encoding, origin, tags, metadata, payload, append_number, \
             payload_checksum, checksum FROM event ",
            $from
        )
    };
}

/// Events of any stream, with its name: a separate statement for the name would cost as much as the
/// event.
macro_rules! select_events_with_stream {
    ($rest:literal) => {
        select_events!(
            "stream.name",
            concat!(
                "NOT INDEXED LEFT JOIN stream ON stream.key = event.stream ",
                $rest
            )
        )
    };
}

pub(super) use {select_events, select_events_with_stream};

/// The event at a place.
pub(super) const BY_SEQ: &str = select_events_with_stream!("WHERE seq = ?1");

pub(super) fn place_of(seq: Seq) -> String {
    format!("event at {} of log {}", seq::number(seq), LogKey::of(seq).0)
}

/// Returns the event at a place that an index names; `by_seq` is [`BY_SEQ`].
pub(super) fn event_at(
    conn: &Connection,
    topics: &mut Topics,
    by_seq: &mut Statement<'_>,
    born: Born,
    seq: Seq,
) -> Result<StoredEvent, RecordError> {
    let failed = |error| before_commit(&place_of(seq), error);
    let mut rows = by_seq.query([seq]).map_err(failed)?;
    match rows.next().map_err(failed)? {
        Some(row) => stored_event(conn, topics, born.id, row),
        None => Err(missing(seq)),
    }
}

/// An event, and what only its row has: the number of its append.
#[derive(Debug)]
pub(crate) struct EventRow {
    pub(crate) event: StoredEvent,
    pub(crate) append_number: i64,
}

/// Returns, for the writer, the row of the event at a place that an index names.
pub(crate) fn row_at(
    conn: &Connection,
    topics: &mut Topics,
    born: Born,
    seq: Seq,
) -> Result<EventRow, RecordError> {
    let failed = |error| before_commit(&place_of(seq), error);
    let mut by_seq = conn.prepare_cached(BY_SEQ).map_err(failed)?;
    let mut rows = by_seq.query([seq]).map_err(failed)?;
    match rows.next().map_err(failed)? {
        Some(row) => event_row(conn, topics, born.id, row),
        None => Err(missing(seq)),
    }
}

fn missing(seq: Seq) -> RecordError {
    Corrupt::new(place_of(seq), "an index names it, but it is missing").into()
}

/// Returns the event of a row, after checking it against its checksums.
pub(super) fn stored_event(
    conn: &Connection,
    topics: &mut Topics,
    log: LogId,
    row: &Row<'_>,
) -> Result<StoredEvent, RecordError> {
    event_row(conn, topics, log, row).map(|row| row.event)
}

fn event_row(
    conn: &Connection,
    topics: &mut Topics,
    log: LogId,
    row: &Row<'_>,
) -> Result<EventRow, RecordError> {
    let seq: Seq = row
        .get(0)
        .map_err(|error| before_commit("reading events", error))?;
    let failed = |error| before_commit(&place_of(seq), error);
    let mismatch =
        |error: FromSqlError| RecordError::from(Corrupt::new(place_of(seq), error.to_string()));
    let column = |index| row.get_ref(index).map_err(failed);
    let version: Option<i64> = row.get(5).map_err(failed)?;
    let version = version.and_then(|version| Version::new(unsigned(version)));
    let stream = column(4)?.as_str_or_null().map_err(mismatch)?;
    if stream.is_some() != version.is_some() {
        return Err(Corrupt::new(place_of(seq), "its stream is missing").into());
    }
    let topic = row.get(6).map_err(failed)?;
    let topic = topics.name(conn, topic).map_err(failed)?;
    let parts = StoredEventParts {
        position: seq::position(seq)
            .ok_or_else(|| Corrupt::new(place_of(seq), "positions count from 1"))?,
        id: EventId::new(uuid(row, 1).map_err(failed)?),
        stream: stream.zip(version),
        place: AppendPlace {
            index: row.get(2).map_err(failed)?,
            count: row.get(3).map_err(failed)?,
        },
        topic,
        revision: row.get(7).map_err(failed)?,
        tags: column(12)?.as_blob().map_err(mismatch)?,
        time: Timestamp::from_micros(row.get(8).map_err(failed)?),
        recorded_at: Timestamp::from_micros(row.get(9).map_err(failed)?),
        origin: column(11)?.as_str().map_err(mismatch)?,
        metadata: column(13)?.as_blob().map_err(mismatch)?,
        encoding: column(10)?.as_str().map_err(mismatch)?,
        payload: column(14)?.as_blob_or_null().map_err(mismatch)?,
    };
    let event = StoredEvent::from_parts(&parts)?;
    let checksum = Checksum {
        payload: row.get::<_, i64>(16).map_err(failed)?.cast_unsigned(),
        event: row.get::<_, i64>(17).map_err(failed)?.cast_unsigned(),
    };
    let append_number = row.get(15).map_err(failed)?;
    checksum::check(log, &event, append_number, checksum)?;
    Ok(EventRow {
        event,
        append_number,
    })
}
