//! Changes recorded events with SQL, with matching checksums: another history, as if it had been
//! recorded. The triggers that protect the tables must be dropped before.

use retold::domain::Timestamp;
use retold::recording::checksum::{Content, Numbers, of_pieces};
use retold::recording::{AppendPlace, Encoding, EventId, LogId, NewEvent};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

/// Replaces a text in payloads. Returns the number of changed payloads.
pub(crate) fn replace_in_payloads(db: &Connection, from: &str, to: &str) -> usize {
    change_events(db, |payload| {
        payload.contains(from).then(|| payload.replace(from, to))
    })
}

/// Gives a log another id.
pub(crate) fn change_log_id(db: &Connection, log: &str, id: Uuid) {
    db.execute(
        "UPDATE log SET id = ?2 WHERE name = ?1",
        params![log, id.as_bytes()],
    )
    .unwrap();
    change_events(db, |payload| Some(payload.to_owned()));
    let mut select = db
        .prepare(
            "SELECT stretch.seq, log.id, follower.name, upstream, after, to_position, to_event_id,
                 edition, head, with_events
             FROM stretch JOIN follower ON follower.key = stretch.follower
             JOIN log ON log.key = stretch.seq >> 40",
        )
        .unwrap();
    let sealed = select.query_map([], seal_range).unwrap();
    for sealed in sealed.collect::<Vec<_>>() {
        let (seq, checksum) = sealed.unwrap();
        db.execute(
            "UPDATE stretch SET checksum = ?2 WHERE seq = ?1",
            [seq, checksum],
        )
        .unwrap();
    }
}

fn position_of(seq: i64) -> i64 {
    seq & ((1 << 40) - 1)
}

fn seal_range(row: &Row<'_>) -> rusqlite::Result<(i64, i64)> {
    let number = |column| -> rusqlite::Result<[u8; 8]> {
        let number: Option<i64> = row.get(column)?;
        Ok(number.unwrap_or(0).to_le_bytes())
    };
    let uuid = |column| row.get::<_, [u8; 16]>(column);
    let seq: i64 = row.get(0)?;
    let (policy_version, with_events): (u32, bool) = (row.get(7)?, row.get(9)?);
    let checksum = of_pieces([
        &uuid(1)?[..],
        &position_of(seq).to_le_bytes(),
        row.get::<_, String>(2)?.as_bytes(),
        &uuid(3)?,
        &number(4)?,
        &number(5)?,
        &uuid(6)?,
        &policy_version.to_le_bytes(),
        &number(8)?,
        &[u8::from(with_events)],
    ]);
    Ok((seq, checksum.cast_signed()))
}

fn change_events(db: &Connection, change: impl Fn(&str) -> Option<String>) -> usize {
    let mut select = db
        .prepare(
            "SELECT event.seq, log.id, event.id, event.place_index, event.place_count, stream.name,
                 event.version, topic.name, event.revision, event.time, event.recorded_at,
                 event.encoding, event.origin, event.tags, event.metadata,
                 event.append_number, event.payload
             FROM event JOIN log ON log.key = event.seq >> 40 JOIN topic ON topic.key = event.topic
             LEFT JOIN stream ON stream.key = event.stream",
        )
        .unwrap();
    let changed = select.query_map([], |row| {
        let payload: Vec<u8> = row.get(16)?;
        let payload = change(&String::from_utf8(payload).unwrap());
        payload.map(|payload| seal_event(row, payload)).transpose()
    });
    let changed: Vec<_> = changed.unwrap().filter_map(Result::unwrap).collect();
    for (seq, payload, sums) in &changed {
        db.execute(
            "UPDATE event SET payload = ?2, payload_checksum = ?3, checksum = ?4 WHERE seq = ?1",
            params![seq, payload, sums.0, sums.1],
        )
        .unwrap();
    }
    changed.len()
}

fn seal_event(row: &Row<'_>, payload: String) -> rusqlite::Result<(i64, Vec<u8>, (i64, i64))> {
    let uuid = |column| row.get(column).map(Uuid::from_bytes);
    let topic: String = row.get(7)?;
    let mut event = NewEvent::new(EventId::new(uuid(2)?), topic, payload.clone())
        .revision(row.get(8)?)
        .time(Timestamp::from_micros(row.get(9)?))
        .encoding(Encoding::parse(row.get::<_, String>(11)?).unwrap())
        .metadata(row.get::<_, Vec<u8>>(14)?);
    event.stream = row.get::<_, Option<String>>(5)?.map(Into::into);
    let place = AppendPlace {
        index: row.get(3)?,
        count: row.get(4)?,
    };
    let (tags, origin): (Vec<u8>, String) = (row.get(13)?, row.get(12)?);
    let seq: i64 = row.get(0)?;
    let numbers = Numbers {
        position: position_of(seq),
        version: row.get::<_, Option<i64>>(6)?.unwrap_or(0),
        recorded_at: row.get(10)?,
        append_number: row.get(15)?,
    };
    let log = LogId::new(uuid(1)?);
    let sums = Content::of_new(log, &event, place, &tags, &origin).seal(numbers);
    let sums = (sums.payload.cast_signed(), sums.event.cast_signed());
    Ok((seq, payload.into_bytes(), sums))
}
