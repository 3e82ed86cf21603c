//! Checks of a file that no read of a log makes: that it is intact, and that the places where it
//! stores data of an event agree.
//!
//! Properties that reads show (positions, versions, places in appends, indexes against events,
//! processed ranges) are checked by [`verify_log`](retold_core::recording::verify_log), for every
//! store alike.

use retold_core::recording::limits::FINDINGS_MAX;
use retold_core::recording::{Corrupt, RecordError};
use rusqlite::{Connection, OptionalExtension, Row};

use super::readers::Reader;
use super::snapshots;
use crate::error::before_commit;
use crate::file::head::unsigned;
use crate::file::seq::{LogKey, Seq};
use crate::file::{schema, seq};

/// Queries for rows that contradict others. The first column is the place, the second the problem.
const CONTRADICTIONS: &[(&str, &str)] = &[
    (
        "SELECT 'event ' || id, 'its log is not there'
         FROM (SELECT hex(id) AS id FROM event WHERE (seq >> 40) NOT IN (SELECT key FROM log))",
        "events against logs",
    ),
    (
        "SELECT 'event ' || hex(event.id), 'its stream is not one of its log'
         FROM event LEFT JOIN stream ON stream.key = event.stream
         WHERE event.stream IS NOT NULL AND stream.log IS NOT event.seq >> 40",
        "events against streams",
    ),
    (
        "SELECT 'event ' || hex(id),
             'it has a stream without a version, or a version without a stream'
         FROM event WHERE (stream IS NULL) <> (version IS NULL)",
        "streams against versions",
    ),
    (
        "SELECT 'event ' || hex(event.id), 'its topic is not one of its log'
         FROM event LEFT JOIN topic ON topic.key = event.topic
         WHERE topic.log IS NOT event.seq >> 40",
        "events against topics",
    ),
    (
        "SELECT 'stream ' || name, 'it has no events' FROM stream
         WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.stream = stream.key)",
        "streams against events",
    ),
    (
        // The last event of a topic may have got another one by an amendment, which any of these
        // topics may record.
        "SELECT 'topic ' || name, 'it has no events' FROM topic
         WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.topic = topic.key)
             AND NOT EXISTS (
                 SELECT 1 FROM topic AS amended JOIN event ON event.topic = amended.key
                 WHERE amended.log = topic.log AND amended.name IN
                     ('retold.erased', 'retold.amended', 'retold.deleted', 'retold.reopened')
             )",
        "topics against events",
    ),
    (
        "SELECT 'tag ' || name, 'it has no events' FROM tag
         WHERE NOT EXISTS (SELECT 1 FROM event_tag WHERE event_tag.tag = tag.key)",
        "tags against events",
    ),
    (
        "SELECT 'event id ' || hex(id), 'it stands in its log ' || count(*) || ' times'
         FROM event GROUP BY id, seq >> 40 HAVING count(*) > 1",
        "ids",
    ),
    (
        "SELECT 'processed range ' || (stretch.seq & 1099511627775),
             'its follower is not one of its log'
         FROM stretch LEFT JOIN follower ON follower.key = stretch.follower
         WHERE follower.log IS NOT stretch.seq >> 40",
        "processed ranges against followers",
    ),
    (
        // An event that was erased in the log that first recorded it was imported with the inverted
        // checksum of no payload, -1.
        "WITH record AS MATERIALIZED (
             SELECT topic.log AS log, event.stream AS stream, max(event.seq) AS last
             FROM topic JOIN event ON event.topic = topic.key
             WHERE topic.name IN
                 ('retold.erased', 'retold.amended', 'retold.deleted', 'retold.reopened')
             GROUP BY topic.log, event.stream
         )
         SELECT 'event ' || hex(event.id),
             'its payload was erased, and no later event records it: another program erased it'
         FROM event
             LEFT JOIN record ON event.stream = record.stream
         WHERE event.payload IS NULL AND event.payload_checksum <> -1
             AND NOT CASE WHEN event.stream IS NOT NULL
                 THEN coalesce(record.last, 0) > event.seq
                 ELSE EXISTS (
                     SELECT 1 FROM record AS any_record
                     WHERE any_record.log = event.seq >> 40 AND any_record.last > event.seq
                 ) END",
        "erased events against records",
    ),
];

/// As above, for tables that a file of the previous version does not have.
const AMENDMENT_CONTRADICTIONS: &[(&str, &str)] = &[
    (
        "SELECT 'log ' || log,
             'it is open for amendments, although no append is being recorded: another program \
              opened it; compare its events with a backup'
         FROM amending",
        "logs that are open for amendments",
    ),
    (
        "WITH record AS MATERIALIZED (
             SELECT event.stream AS stream, max(event.version) AS version
             FROM topic JOIN event ON event.topic = topic.key
             WHERE topic.name IN
                     ('retold.erased', 'retold.amended', 'retold.deleted', 'retold.reopened')
                 AND event.stream IS NOT NULL
             GROUP BY event.stream
         )
         SELECT 'stream ' || coalesce(stream.name, last_record.stream),
             'the version of the last record of an amendment in it is '
                 || coalesce(record.version, 'none') || ', but the table last_record has '
                 || coalesce(last_record.version, 'none') || ': another program has changed it'
         FROM record FULL JOIN last_record ON last_record.stream = record.stream
             LEFT JOIN stream ON stream.key = coalesce(record.stream, last_record.stream)
         WHERE record.version IS NOT last_record.version",
        "last records against events",
    ),
];

/// Checks the whole file, in one state of it.
///
/// # Errors
///
/// `Unavailable` if it cannot be read. A problem of the file is not an error but a finding.
pub(crate) fn verify(reader: &mut Reader) -> Result<Vec<Corrupt>, RecordError> {
    let mut findings = Findings::default();
    let ended = reader.in_one_state(|reader| {
        let conn = &reader.conn;
        findings.check("checking the file", |found| integrity(conn, found))?;
        for (sql, what) in CONTRADICTIONS {
            findings.check(what, |found| contradictions(conn, sql, found))?;
        }
        if schema::has_amendments(conn).map_err(|error| before_commit("the schema", error))? {
            for (sql, what) in AMENDMENT_CONTRADICTIONS {
                findings.check(what, |found| contradictions(conn, sql, found))?;
            }
        }
        findings.check("checking events", |found| events(conn, found))?;
        findings.check("checking snapshots", |found| snapshots::verify(conn, found))
    });
    findings.take(ended)?;
    findings.found.truncate(FINDINGS_MAX);
    Ok(findings.found)
}

#[derive(Default)]
struct Findings {
    found: Vec<Corrupt>,
}

impl Findings {
    /// Damage met by a check is a finding; other failures end the verification.
    fn check(
        &mut self,
        what: &str,
        check: impl FnOnce(&mut Vec<Corrupt>) -> rusqlite::Result<()>,
    ) -> Result<(), RecordError> {
        let checked = check(&mut self.found);
        self.take(checked.map_err(|error| before_commit(what, error)))
    }

    fn take(&mut self, checked: Result<(), RecordError>) -> Result<(), RecordError> {
        match checked {
            Err(RecordError::Corrupt(finding)) => {
                self.found.push(finding);
                Ok(())
            }
            other => other,
        }
    }
}

/// SQLite's own check: every page, every index against its table.
fn integrity(conn: &Connection, found: &mut Vec<Corrupt>) -> rusqlite::Result<()> {
    let mut check = conn.prepare("PRAGMA integrity_check(100)")?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            found.push(Corrupt::new("the file", line));
        }
    }
    Ok(())
}

fn contradictions(conn: &Connection, sql: &str, found: &mut Vec<Corrupt>) -> rusqlite::Result<()> {
    let mut select = conn.prepare(sql)?;
    let mut rows = select.query([])?;
    while found.len() < FINDINGS_MAX
        && let Some(row) = rows.next()?
    {
        found.push(Corrupt::new(
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
        ));
    }
    Ok(())
}

/// What the check of events remembers of the previous event.
#[derive(Clone, Copy)]
struct Before {
    log: LogKey,
    append_number: u64,
}

/// Checks that appends are numbered in order, and that the index of tags agrees with the events.
fn events(conn: &Connection, found: &mut Vec<Corrupt>) -> rusqlite::Result<()> {
    let mut select =
        conn.prepare("SELECT seq, append_number, place_index, tags FROM event ORDER BY seq")?;
    let mut rows = select.query([])?;
    let mut before: Option<Before> = None;
    let mut tag_count = 0;
    while found.len() < FINDINGS_MAX
        && let Some(row) = rows.next()?
    {
        let seq: Seq = row.get(0)?;
        let place = || format!("event at {} of log {}", seq::number(seq), LogKey::of(seq).0);
        let this = Before {
            log: LogKey::of(seq),
            append_number: unsigned(row.get(1)?),
        };
        let previous = before.filter(|before| before.log == this.log);
        let last = previous.map_or(0, |before| before.append_number);
        let begins = unsigned(row.get(2)?) == 0;
        let is_next = if begins {
            this.append_number > last
        } else {
            this.append_number == last
        };
        if !is_next {
            let number = this.append_number;
            let what = format!("append {number} comes after append {last}");
            found.push(Corrupt::new(place(), what));
        }
        before = Some(this);
        for tag in tags(row)? {
            tag_count += 1;
            if !is_indexed(conn, seq, &tag)? {
                let what = format!("the index of tags does not have it under {tag:?}");
                found.push(Corrupt::new(place(), what));
            }
        }
    }
    let indexed_count: i64 =
        conn.query_row("SELECT count(*) FROM event_tag", [], |row| row.get(0))?;
    if found.is_empty() && indexed_count != tag_count {
        found.push(Corrupt::new(
            "the index of tags",
            format!("it has {indexed_count} entries, but events have {tag_count} tags"),
        ));
    }
    Ok(())
}

/// Returns the texts of packed tags. Unreadable ones are left out, because reading the event
/// reports them.
fn tags(row: &Row<'_>) -> rusqlite::Result<Vec<String>> {
    let mut packed = row.get_ref(3)?.as_blob()?;
    let mut tags = Vec::new();
    while let Some((&size, rest)) = packed.split_first()
        && let Some((tag, rest)) = rest.split_at_checked(usize::from(size))
    {
        tags.extend(String::from_utf8(tag.to_vec()));
        packed = rest;
    }
    Ok(tags)
}

fn is_indexed(conn: &Connection, seq: Seq, tag: &str) -> rusqlite::Result<bool> {
    let found = conn
        .prepare_cached(
            "SELECT 1 FROM tag JOIN event_tag ON event_tag.tag = tag.key AND event_tag.seq = ?3
             WHERE tag.log = ?1 AND tag.name = ?2",
        )?
        .query_row(rusqlite::params![LogKey::of(seq).0, tag, seq], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}
