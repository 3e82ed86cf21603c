//! The tables of the SQLite store, accessed with `rusqlite`. A map holds the keys of names.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use retold::domain::Timestamp;
use retold::recording::{Append, NewEvent, pack_tags};
use retold::store_url::Durability;
use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Connection, OpenFlags, Transaction, TransactionBehavior, params};

use crate::asked::{Found, Read};
use crate::contender::Result;
use crate::subject::LOG;

/// Number of bits of a position in the key of an event's row; the bits above hold the key of the
/// log.
const POSITION_BITS: u32 = 40;

const INSERT_EVENT: &str = "INSERT INTO event (seq, id, append_number, place_index, place_count, \
     stream, version, topic, revision, time, recorded_at, encoding, origin, tags, metadata, \
     payload, \
     payload_checksum, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)";
const INSERT_STREAM: &str = "INSERT INTO stream (log, name) VALUES (?, ?)";
const INSERT_TOPIC: &str = "INSERT INTO topic (log, name) VALUES (?, ?)";
const INSERT_TAG: &str = "INSERT INTO tag (log, name) VALUES (?, ?)";
const INSERT_EVENT_TAG: &str = "INSERT INTO event_tag (tag, seq) VALUES (?, ?)";

/// The columns that every read selects: everything that an event has.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT event.seq, event.id, event.place_index, event.place_count, stream.name, \
             event.version, topic.name, event.revision, event.time, event.recorded_at, \
             event.encoding, event.origin, event.tags, event.metadata, event.payload ",
            $rest
        )
    };
}

/// The column of the payload in the result of [`select`].
const PAYLOAD_COLUMN: usize = 14;

const SELECT_LOG: &str = select!(
    "FROM event LEFT JOIN stream ON stream.key = event.stream \
     JOIN topic ON topic.key = event.topic WHERE event.seq > ? ORDER BY event.seq"
);
const SELECT_STREAM: &str = select!(
    "FROM stream JOIN event ON event.stream = stream.key \
     JOIN topic ON topic.key = event.topic \
     WHERE stream.log = ? AND stream.name = ? ORDER BY event.version"
);
const SELECT_TAG: &str = select!(
    "FROM tag CROSS JOIN event_tag ON event_tag.tag = tag.key \
     CROSS JOIN event ON event.seq = event_tag.seq LEFT JOIN stream ON stream.key = event.stream \
     JOIN topic ON topic.key = event.topic \
     WHERE tag.log = ? AND tag.name = ? ORDER BY event_tag.seq"
);
const SELECT_TOPIC: &str = select!(
    "FROM topic CROSS JOIN event ON event.topic = topic.key \
     LEFT JOIN stream ON stream.key = event.stream \
     WHERE topic.log = ? AND topic.name = ? ORDER BY event.seq"
);

/// A log's tables, accessed without Retold.
#[derive(Debug)]
pub(crate) struct BareSqlite {
    connection: Connection,
    names: BareKeys,
}

/// State that the loop keeps in memory.
#[derive(Debug, Default)]
struct BareKeys {
    /// Key of the log.
    log: i64,
    position: i64,
    append_number: i64,
    /// Key and version of each stream.
    streams: HashMap<Arc<str>, (i64, i64)>,
    topics: HashMap<Arc<str>, i64>,
    tags: HashMap<Arc<str>, i64>,
}

impl BareSqlite {
    pub(super) fn create(path: &Path, durability: Durability) -> Result<Self> {
        let connection = Connection::open(path)?;
        let synchronous = match durability {
            Durability::Normal => "NORMAL",
            _ => "FULL",
        };
        set_up_as_the_store_does(&connection, synchronous)?;
        drop_triggers(&connection)?;
        Self::of(connection, LOG)
    }

    pub(super) fn open(path: &Path, log: &str) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.pragma_update(None, "mmap_size", 1_i64 << 36)?;
        Self::of(connection, log)
    }

    fn of(connection: Connection, log: &str) -> Result<Self> {
        connection.set_prepared_statement_cache_capacity(64);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        let log = connection.query_row("SELECT key FROM log WHERE name = ?", [log], |row| {
            row.get(0)
        })?;
        let names = BareKeys {
            log,
            ..BareKeys::default()
        };
        Ok(Self { connection, names })
    }

    pub(super) fn append_group(&mut self, appends: &[Append]) -> Result<()> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = Transaction::new(&mut self.connection, behavior)?;
        {
            let mut statements = Statements::prepare(&transaction)?;
            let now = Timestamp::from(SystemTime::now());
            for append in appends {
                self.names.append_number += 1;
                let events = append.new_events();
                for (index, event) in events.iter().enumerate() {
                    statements.insert(&mut self.names, event, (index, events.len()), now)?;
                }
            }
        }
        Ok(transaction.commit()?)
    }

    pub(super) fn read(&self, read: &Read) -> Result<Found> {
        let log = self.names.log;
        let mut statement = self.connection.prepare_cached(match read {
            Read::Log => SELECT_LOG,
            Read::Stream(_) => SELECT_STREAM,
            Read::Tag(_) => SELECT_TAG,
            Read::Topic(_) => SELECT_TOPIC,
        })?;
        let mut rows = match read {
            Read::Log => statement.query([log << POSITION_BITS])?,
            Read::Stream(name) | Read::Tag(name) => statement.query(params![log, name])?,
            Read::Topic(name) => statement.query(params![log, name])?,
        };
        let mut found = Found::default();
        while let Some(row) = rows.next()? {
            found.add(row.get_ref(PAYLOAD_COLUMN)?.as_blob()?.len());
        }
        Ok(found)
    }
}

fn set_up_as_the_store_does(connection: &Connection, synchronous: &str) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    connection.pragma_update(None, "cache_size", -64 * 1024)
}

fn drop_triggers(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    let names: Vec<String> = names.collect::<rusqlite::Result<_>>()?;
    names
        .iter()
        .try_for_each(|name| connection.execute_batch(&format!("DROP TRIGGER \"{name}\"")))
}

/// The prepared statements of a transaction.
struct Statements<'a> {
    event: CachedStatement<'a>,
    stream: CachedStatement<'a>,
    topic: CachedStatement<'a>,
    tag: CachedStatement<'a>,
    event_tag: CachedStatement<'a>,
}

impl<'a> Statements<'a> {
    fn prepare(connection: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            event: connection.prepare_cached(INSERT_EVENT)?,
            stream: connection.prepare_cached(INSERT_STREAM)?,
            topic: connection.prepare_cached(INSERT_TOPIC)?,
            tag: connection.prepare_cached(INSERT_TAG)?,
            event_tag: connection.prepare_cached(INSERT_EVENT_TAG)?,
        })
    }

    fn insert(
        &mut self,
        names: &mut BareKeys,
        event: &NewEvent,
        (place_index, place_count): (usize, usize),
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        names.position += 1;
        let seq = (names.log << POSITION_BITS) | names.position;
        let (stream, version) = self.stream(names, event)?.unzip();
        let topic = key(&mut self.topic, &mut names.topics, names.log, &event.topic)?;
        self.event.execute(params![
            seq,
            event.id.uuid().as_bytes(),
            names.append_number,
            place_index as i64,
            place_count as i64,
            stream,
            version,
            topic,
            event.revision,
            event.time.as_micros(),
            now.as_micros(),
            event.encoding.as_str(),
            event.origin.to_text(),
            pack_tags(event.tags.iter().map(|tag| &**tag)),
            &*event.metadata,
            event.payload.as_deref(),
        ])?;
        for tag in &event.tags {
            let tag = key(&mut self.tag, &mut names.tags, names.log, tag)?;
            self.event_tag.execute([tag, seq])?;
        }
        Ok(())
    }

    /// Returns the key of the event's stream and the version of the event in it.
    fn stream(
        &mut self,
        names: &mut BareKeys,
        event: &NewEvent,
    ) -> rusqlite::Result<Option<(i64, i64)>> {
        let Some(name) = &event.stream else {
            return Ok(None);
        };
        if let Some((key, version)) = names.streams.get_mut(name) {
            *version += 1;
            return Ok(Some((*key, *version)));
        }
        let key = self.stream.insert(params![names.log, name])?;
        names.streams.insert(Arc::clone(name), (key, 1));
        Ok(Some((key, 1)))
    }
}

/// Returns the key of a name, which is inserted first if it is new.
fn key(
    statement: &mut CachedStatement<'_>,
    known: &mut HashMap<Arc<str>, i64>,
    log: i64,
    name: &str,
) -> rusqlite::Result<i64> {
    if let Some(key) = known.get(name) {
        return Ok(*key);
    }
    let key = statement.insert(params![log, name])?;
    known.insert(name.into(), key);
    Ok(key)
}
