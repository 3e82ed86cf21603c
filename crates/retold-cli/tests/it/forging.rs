//! Changes events behind a store's back with checksums that fit: what only a program that knows Retold could do,
//! or another history that was recorded.

use retold::domain::clock::Timestamp;
use retold::recording::checksum::{Content, Numbers};
use retold::recording::encoding::Encoding;
use retold::recording::identity::{EventId, LogId};
use retold::recording::new_event::NewEvent;
use retold::recording::stored_event::Place;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

/// Replaces a text in payloads; returns in how many. The trigger that guards events must be gone.
pub(crate) fn replace_in_payloads(db: &Connection, from: &str, to: &str) -> usize {
    let mut select = db
        .prepare(
            "SELECT event.seq, log.id, event.id, event.place_index, event.place_count, stream.name,
                 event.version, topic.name, event.revision, event.time, event.recorded_at, event.encoding,
                 event.origin, event.tags, event.metadata, event.append_number, event.payload
             FROM event JOIN log ON log.key = event.seq >> 40 JOIN topic ON topic.key = event.topic
             LEFT JOIN stream ON stream.key = event.stream
             WHERE instr(CAST(event.payload AS TEXT), ?1) > 0",
        )
        .unwrap();
    let changed = select
        .query_map([from], |row| change(row, from, to))
        .unwrap();
    let changed: Vec<_> = changed.map(Result::unwrap).collect();
    for (seq, payload, sums) in &changed {
        db.execute(
            "UPDATE event SET payload = ?2, payload_checksum = ?3, checksum = ?4 WHERE seq = ?1",
            params![seq, payload, sums.0, sums.1],
        )
        .unwrap();
    }
    changed.len()
}

fn change(row: &Row<'_>, from: &str, to: &str) -> rusqlite::Result<(i64, Vec<u8>, (i64, i64))> {
    let uuid = |column| row.get(column).map(Uuid::from_bytes);
    let payload: Vec<u8> = row.get(16)?;
    let payload = String::from_utf8(payload).unwrap().replace(from, to);
    let topic: String = row.get(7)?;
    let mut event = NewEvent::new(EventId::new(uuid(2)?), topic, payload.clone())
        .revision(row.get(8)?)
        .time(Timestamp::from_micros(row.get(9)?))
        .encoding(Encoding::parse(row.get::<_, String>(11)?).unwrap())
        .metadata(row.get::<_, Vec<u8>>(14)?);
    event.stream = row.get::<_, Option<String>>(5)?.map(Into::into);
    let place = Place {
        index: row.get(3)?,
        count: row.get(4)?,
    };
    let (tags, origin): (Vec<u8>, String) = (row.get(13)?, row.get(12)?);
    let seq: i64 = row.get(0)?;
    let numbers = Numbers {
        position: seq & ((1 << 40) - 1),
        version: row.get::<_, Option<i64>>(6)?.unwrap_or(0),
        recorded_at: row.get(10)?,
        append_number: row.get(15)?,
    };
    let log = LogId::new(uuid(1)?);
    let sums = Content::of_new(log, &event, place, &tags, &origin).seal(numbers);
    let sums = (sums.payload.cast_signed(), sums.event.cast_signed());
    Ok((seq, payload.into_bytes(), sums))
}
