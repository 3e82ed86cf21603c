//! The tables of the PostgreSQL store, accessed with `tokio-postgres` on one thread: one prepared
//! statement, one transaction and one round trip per group.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::TryStreamExt;
use retold::domain::Timestamp;
use retold::recording::{Append, NewEvent, pack_tags};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

use crate::asked::{Found, Read};
use crate::contender::Result;
use crate::subject::LOG;

/// One event without tags, as a developer would write it for a single event.
const INSERT_ONE: &str = "WITH written AS (INSERT INTO event VALUES \
     ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 0, 0)) \
     UPDATE log SET position = $2, head_id = $3, append_count = append_count + 1 WHERE key = $1";

/// Any number of events, as lists of columns; then the indexes of events and their tags.
const INSERT_MANY: &str = "WITH written AS (INSERT INTO event SELECT $1, *, 0, 0 FROM unnest( \
     $2::bigint[], $3::uuid[], $4::text[], $5::bigint[], $6::integer[], $7::integer[], $8::text[], \
     $9::integer[], $10::bytea[], $11::bigint[], $12::bigint[], $13::text[], $14::text[], \
     $15::bytea[], $16::bytea[])), \
     tagged AS (INSERT INTO event_tag SELECT $1, * FROM unnest($17::text[], $18::bigint[])) \
     UPDATE log SET position = $19, head_id = $20, append_count = append_count + $21 \
     WHERE key = $1";

/// The columns that every read selects: everything that an event has.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT e.position, e.id, e.stream, e.version, e.place_index, e.place_count, e.topic, \
             e.revision, e.tags, e.time, e.recorded_at, e.encoding, e.origin, \
             e.metadata, e.payload ",
            $rest
        )
    };
}

/// The column of the payload in the result of [`select`], and the types of the columns.
const PAYLOAD_COLUMN: usize = 14;
const TYPES: [Type; 15] = [
    Type::INT8,
    Type::UUID,
    Type::TEXT,
    Type::INT8,
    Type::INT4,
    Type::INT4,
    Type::TEXT,
    Type::INT4,
    Type::BYTEA,
    Type::INT8,
    Type::INT8,
    Type::TEXT,
    Type::TEXT,
    Type::BYTEA,
    Type::BYTEA,
];

const SELECT_STREAM: &str =
    select!("FROM event e WHERE e.log = $1 AND e.stream = $2 ORDER BY e.version");
const SELECT_TAG: &str = select!(
    "FROM event_tag t JOIN event e ON e.log = t.log AND e.position = t.position \
     WHERE t.log = $1 AND t.tag = $2 ORDER BY t.position"
);
const SELECT_TOPIC: &str =
    select!("FROM event e WHERE e.log = $1 AND e.topic = $2 ORDER BY e.position");

/// A log's tables, accessed without Retold.
pub(crate) struct BarePostgres {
    runtime: Runtime,
    client: Client,
    statements: HashMap<&'static str, Statement>,
    /// Key of the log.
    log: i32,
    position: i64,
    /// Version of each stream.
    versions: HashMap<Arc<str>, i64>,
}

/// A group, as lists of columns.
#[derive(Default)]
struct Columns<'a> {
    positions: Vec<i64>,
    ids: Vec<Uuid>,
    streams: Vec<Option<&'a str>>,
    versions: Vec<Option<i64>>,
    place_indexes: Vec<i32>,
    place_counts: Vec<i32>,
    topics: Vec<&'a str>,
    revisions: Vec<i32>,
    packed_tags: Vec<Vec<u8>>,
    times: Vec<i64>,
    recorded_ats: Vec<i64>,
    encodings: Vec<&'a str>,
    origins: Vec<String>,
    metadatas: Vec<&'a [u8]>,
    payloads: Vec<Option<&'a [u8]>>,
    tags: Vec<&'a str>,
    tag_positions: Vec<i64>,
}

impl BarePostgres {
    pub(super) fn create(url: &str) -> Result<Self> {
        let log = Self::open(url, LOG)?;
        log.runtime.block_on(log.client.batch_execute(
            "ALTER TABLE event DISABLE TRIGGER USER; ALTER TABLE event_tag DISABLE TRIGGER USER; \
             ALTER TABLE log DISABLE TRIGGER USER",
        ))?;
        Ok(log)
    }

    pub(super) fn open(url: &str, log: &str) -> Result<Self> {
        let (url, schema) = url.rsplit_once("schema=").ok_or("the URL has no schema")?;
        let url = url.trim_end_matches(['?', '&']);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(async move {
                // An error that ends the connection is reported to its next user.
                let _ = connection.await;
            });
            let schema = format!("SET search_path = \"{schema}\"");
            client.batch_execute(&schema).await?;
            Result::Ok(client)
        })?;
        let log = runtime.block_on(async {
            let select = "SELECT key FROM log WHERE name = $1";
            client.query_one(select, &[&log]).await
        })?;
        let log = log.try_get(0)?;
        Ok(Self {
            runtime,
            client,
            statements: HashMap::new(),
            log,
            position: 0,
            versions: HashMap::new(),
        })
    }

    fn prepared(&mut self, sql: &'static str) -> Result<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.runtime.block_on(self.client.prepare(sql))?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    pub(super) fn append_group(&mut self, appends: &[Append]) -> Result<()> {
        let now = Timestamp::from(SystemTime::now()).as_micros();
        let mut columns = Columns::default();
        for append in appends {
            let events = append.new_events();
            for (index, event) in events.iter().enumerate() {
                self.position += 1;
                let version = event.stream.as_ref().map(|stream| {
                    let version = self.versions.entry(Arc::clone(stream)).or_insert(0);
                    *version += 1;
                    *version
                });
                let place = (i32::try_from(index)?, i32::try_from(events.len())?);
                columns.push(event, self.position, version, place, now);
            }
        }
        if let ([_], []) = (&*columns.ids, &*columns.tags) {
            self.insert_one(&columns)
        } else {
            self.insert_many(&columns, i64::try_from(appends.len())?)
        }
    }

    fn insert_one(&mut self, c: &Columns<'_>) -> Result<()> {
        let statement = self.prepared(INSERT_ONE)?;
        let parameters: [&(dyn ToSql + Sync); 16] = [
            &self.log,
            &c.positions[0],
            &c.ids[0],
            &c.streams[0],
            &c.versions[0],
            &c.place_indexes[0],
            &c.place_counts[0],
            &c.topics[0],
            &c.revisions[0],
            &c.packed_tags[0],
            &c.times[0],
            &c.recorded_ats[0],
            &c.encodings[0],
            &c.origins[0],
            &c.metadatas[0],
            &c.payloads[0],
        ];
        let written = self.client.execute(&statement, &parameters);
        Ok(self.runtime.block_on(written).map(drop)?)
    }

    fn insert_many(&mut self, c: &Columns<'_>, append_count: i64) -> Result<()> {
        let statement = self.prepared(INSERT_MANY)?;
        let parameters: [&(dyn ToSql + Sync); 21] = [
            &self.log,
            &c.positions,
            &c.ids,
            &c.streams,
            &c.versions,
            &c.place_indexes,
            &c.place_counts,
            &c.topics,
            &c.revisions,
            &c.packed_tags,
            &c.times,
            &c.recorded_ats,
            &c.encodings,
            &c.origins,
            &c.metadatas,
            &c.payloads,
            &c.tags,
            &c.tag_positions,
            &self.position,
            &c.ids.last(),
            &append_count,
        ];
        let written = self.client.execute(&statement, &parameters);
        Ok(self.runtime.block_on(written).map(drop)?)
    }

    pub(super) fn read(&mut self, read: &Read) -> Result<Found> {
        let (sql, name) = match read {
            Read::Log => return self.copy_out(),
            Read::Stream(name) => (SELECT_STREAM, &**name),
            Read::Tag(name) => (SELECT_TAG, &**name),
            Read::Topic(name) => (SELECT_TOPIC, *name),
        };
        let statement = self.prepared(sql)?;
        let parameters: [&(dyn ToSql + Sync); 2] = [&self.log, &name];
        let rows = self.client.query(&statement, &parameters);
        let mut found = Found::default();
        for row in self.runtime.block_on(rows)? {
            let payload: Option<&[u8]> = row.try_get(PAYLOAD_COLUMN)?;
            found.add(payload.map_or(0, <[u8]>::len));
        }
        Ok(found)
    }

    /// Reads all rows with a binary COPY, the fastest way for PostgreSQL to return rows to a
    /// client.
    fn copy_out(&mut self) -> Result<Found> {
        let select = select!("FROM event e WHERE e.log = ");
        let copy = format!(
            "COPY ({select}{} ORDER BY e.position) TO STDOUT (FORMAT binary)",
            self.log
        );
        self.runtime.block_on(async {
            let stream = self.client.copy_out(&copy).await?;
            let mut rows = pin!(BinaryCopyOutStream::new(stream, &TYPES));
            let mut found = Found::default();
            while let Some(row) = rows.try_next().await? {
                let payload: Option<&[u8]> = row.try_get(PAYLOAD_COLUMN)?;
                found.add(payload.map_or(0, <[u8]>::len));
            }
            Ok(found)
        })
    }
}

impl<'a> Columns<'a> {
    fn push(
        &mut self,
        event: &'a NewEvent,
        position: i64,
        version: Option<i64>,
        (index, count): (i32, i32),
        now: i64,
    ) {
        self.positions.push(position);
        self.ids.push(event.id.uuid());
        self.streams.push(event.stream.as_deref());
        self.versions.push(version);
        self.place_indexes.push(index);
        self.place_counts.push(count);
        self.topics.push(&event.topic);
        self.revisions.push(event.revision.cast_signed());
        let tags = event.tags.iter().map(|tag| &**tag);
        self.packed_tags.push(pack_tags(tags.clone()));
        self.times.push(event.time.as_micros());
        self.recorded_ats.push(now);
        self.encodings.push(event.encoding.as_str());
        self.origins.push(event.origin.to_text());
        self.metadatas.push(&event.metadata);
        self.payloads.push(event.payload.as_deref());
        for tag in tags {
            self.tags.push(tag);
            self.tag_positions.push(position);
        }
    }
}
