//! Pages of events: one statement returns the events, the head, the event that the read ends at and
//! the one that it begins after, all from one snapshot.

use std::pin::pin;

use futures_util::TryStreamExt;
use retold_core::domain::Timestamp;
use retold_core::recording::checksum::{self, Checksum};
use retold_core::recording::limits::PAGE_SIZE_MAX;
use retold_core::recording::{
    AppendPlace, Checkpoint, Corrupt, Direction, EventId, LogId, LogRead, Page, PageEnd, Position,
    Query, RecordError, StoredEvent, StoredEventParts, StreamRead, Version,
};
use tokio_postgres::{Error, Row};

use crate::birth::replaced;
use crate::log::{Born, Met};
use crate::query_items::QueryItems;
use crate::server::connection::{Connection, Parameters, in_schema};
use crate::server::pool::Pooled;
use crate::server::standby::behind;
use crate::server::work::Work;

/// The kind of a row of a page.
const HEAD: i32 = 0;
const UNTIL: i32 = 1;
const AFTER: i32 = 3;

macro_rules! columns {
    () => {
        "e.position, e.id, e.stream, e.version, e.place_index, e.place_count, e.topic, e.revision, \
         e.tags, e.time, e.recorded_at, e.encoding, e.origin, e.metadata, e.payload, \
         e.payload_checksum, e.checksum"
    };
}

/// Returns the head, if the log exists, the event of `$until`, the one of `$after`, and events:
/// rows of kind 0, 1, 3 and 2. In the head's row, the column of the version holds the number of
/// topics, and the column of the place index whether the server is a standby.
macro_rules! page {
    ($log_id:literal, $until:literal, $after:literal, $from:literal) => {
        concat!(
            "SELECT 0, l.position, l.head_id, NULL::text, l.topic_count, \
             pg_is_in_recovery()::integer, NULL::integer, NULL::text, NULL::integer, NULL::bytea, \
             NULL::bigint, NULL::bigint, NULL::text, NULL::text, NULL::bytea, NULL::bytea, \
             NULL::bigint, NULL::bigint FROM \"retold\".log l WHERE l.key = $1 AND l.id = ",
            $log_id,
            " UNION ALL (SELECT 1, u.position, u.id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
             NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM \"retold\".event u WHERE u.log = \
             $1 AND ",
            $until,
            ") UNION ALL (SELECT 3, u.position, u.id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
             NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM \"retold\".event u WHERE u.log = \
             $1 AND ",
            $after,
            ") UNION ALL (SELECT 2, ",
            columns!(),
            " FROM ",
            $from,
            ")"
        )
    };
}

const LOG_FORWARD: &str = page!(
    "$6",
    "u.position = $2",
    "u.position = $7",
    "\"retold\".event e WHERE e.log = $1 AND e.position BETWEEN $3 AND $4
     ORDER BY e.position LIMIT $5"
);
const LOG_BACKWARD: &str = page!(
    "$6",
    "u.position = $2",
    "u.position = $7",
    "\"retold\".event e WHERE e.log = $1 AND e.position BETWEEN $3 AND $4
     ORDER BY e.position DESC LIMIT $5"
);
const STREAM_FORWARD: &str = page!(
    "$7",
    "u.stream = $6 AND u.version BETWEEN $2 AND $2 ORDER BY u.version LIMIT 1",
    "u.stream = $6 AND u.version BETWEEN $8 AND $8 ORDER BY u.version LIMIT 1",
    "\"retold\".event e WHERE e.log = $1 AND e.stream = $6 AND e.version BETWEEN $3 AND $4
     ORDER BY e.version LIMIT $5"
);
const STREAM_BACKWARD: &str = page!(
    "$7",
    "u.stream = $6 AND u.version BETWEEN $2 AND $2 ORDER BY u.version LIMIT 1",
    "u.stream = $6 AND u.version BETWEEN $8 AND $8 ORDER BY u.version LIMIT 1",
    "\"retold\".event e WHERE e.log = $1 AND e.stream = $6 AND e.version BETWEEN $3 AND $4
     ORDER BY e.version DESC LIMIT $5"
);
const MATCHES_FORWARD: &str = page!(
    "$11",
    "u.position = $2",
    "u.position = $12",
    "(SELECT DISTINCT m.position
         FROM unnest($6::integer[], $7::integer[], $8::integer[], $9::integer[])
         AS i (start, streams, topics, tags),
     LATERAL \"retold\".matches($1, ($10::text[])[i.start:i.start + i.streams - 1],
         ($10::text[])[i.start + i.streams:i.start + i.streams + i.topics - 1],
         ($10::text[])[i.start + i.streams + i.topics:i.start + i.streams + i.topics + i.tags - 1],
         $3, $4, false, $5) AS m (position)
     ORDER BY m.position LIMIT $5) found,
     LATERAL (SELECT * FROM \"retold\".event x WHERE x.log = $1 AND x.position = found.position
         LIMIT 1) e ORDER BY found.position"
);
const MATCHES_BACKWARD: &str = page!(
    "$11",
    "u.position = $2",
    "u.position = $12",
    "(SELECT DISTINCT m.position
         FROM unnest($6::integer[], $7::integer[], $8::integer[], $9::integer[])
         AS i (start, streams, topics, tags),
     LATERAL \"retold\".matches($1, ($10::text[])[i.start:i.start + i.streams - 1],
         ($10::text[])[i.start + i.streams:i.start + i.streams + i.topics - 1],
         ($10::text[])[i.start + i.streams + i.topics:i.start + i.streams + i.topics + i.tags - 1],
         $3, $4, true, $5) AS m (position)
     ORDER BY m.position DESC LIMIT $5) found,
     LATERAL (SELECT * FROM \"retold\".event x WHERE x.log = $1 AND x.position = found.position
         LIMIT 1) e ORDER BY found.position DESC"
);
/// Returns an empty event if there is none, and no row if the log does not exist.
const EVENT: &str = concat!(
    "SELECT 2, ",
    columns!(),
    " FROM \"retold\".log l LEFT JOIN LATERAL (SELECT * FROM \"retold\".event x
         WHERE x.log + 0 = $1 AND x.id = $2 LIMIT 1) e ON true WHERE l.key = $1 AND l.id = $3"
);

/// The columns of an event without its payload, as [`event_without_payload`] takes them. The
/// payload is treated as erased, and then its checksum is inverted.
macro_rules! columns_without_payload {
    () => {
        "e.position, e.id, e.stream, e.version, e.place_index, e.place_count, e.topic, e.revision, \
         e.tags, e.time, e.recorded_at, e.encoding, e.origin, e.metadata, NULL::bytea, \
         CASE WHEN e.payload IS NULL THEN e.payload_checksum ELSE ~e.payload_checksum END, \
         e.checksum, e.payload IS NOT NULL"
    };
}

/// The events of a log with these ids, in any order, as [`event_without_payload`] takes them.
pub(crate) const OF_IDS: &str = concat!(
    "SELECT 2, ",
    columns_without_payload!(),
    " FROM unnest($2::uuid[]) AS d (id), LATERAL (SELECT * FROM \"retold\".event x
         WHERE x.log + 0 = $1 AND x.id = d.id LIMIT 1) e"
);
/// The events of a stream from one version to another, both included, in the same form.
pub(crate) const OF_VERSIONS: &str = concat!(
    "SELECT 2, ",
    columns_without_payload!(),
    " FROM \"retold\".event e WHERE e.log = $1 AND e.stream = $2 AND e.version BETWEEN $3 AND $4
     ORDER BY e.version"
);

/// Returns the events of a log from one position to another, both included, as a transaction sees
/// them.
pub(crate) async fn span(
    work: &Work<'_>,
    quoted_schema: &str,
    log: Born,
    positions: (u64, u64),
) -> Result<Result<Vec<StoredEvent>, RecordError>, Error> {
    const SPAN: &str = concat!(
        "SELECT 2, ",
        columns!(),
        " FROM \"retold\".event e WHERE e.log = $1 AND e.position BETWEEN $2 AND $3
         ORDER BY e.position"
    );
    let sql = in_schema(SPAN, quoted_schema);
    let (first, last) = (number(positions.0), number(positions.1));
    let rows = work.rows(&sql, &[&log.key, &first, &last]).await?;
    let events = rows.iter().map(|row| stored_event(row, log.id));
    Ok(events.collect())
}

/// Returns a page of a log.
pub(crate) async fn log_page(
    connection: Pooled,
    log: Met<'_>,
    read: &LogRead,
) -> Result<Page, RecordError> {
    let filling = Filling::new(log, read.check()?, read.direction).after(read.checkpoint());
    let (key, id) = (log.key(), log.id());
    let after = read
        .checkpoint()
        .map(|checkpoint| number(checkpoint.position.get()));
    let until = read.until.map(Position::get);
    let (low, high) = asked(read.after.map(Position::get), until, read.direction);
    let until = until.and_then(|it| i64::try_from(it).ok());
    let most = most(filling.limit);
    let direction = read.direction;
    match &read.query {
        Query::Items(items) => {
            let items = QueryItems::of(items);
            let sql = match direction {
                Direction::Forward => MATCHES_FORWARD,
                Direction::Backward => MATCHES_BACKWARD,
            };
            let parameters: Parameters<'_> = &[
                &key,
                &until,
                &low,
                &high,
                &most,
                &items.starts,
                &items.streams,
                &items.topics,
                &items.tags,
                &items.names,
                &id,
                &after,
            ];
            page(connection, sql, parameters, filling.matching(&read.query)).await
        }
        _ => {
            let sql = match direction {
                Direction::Forward => LOG_FORWARD,
                Direction::Backward => LOG_BACKWARD,
            };
            let most = i64::from(most);
            let parameters: Parameters<'_> = &[&key, &until, &low, &high, &most, &id, &after];
            let first = number_asked(read.after.map(Position::get));
            page(
                connection,
                sql,
                parameters,
                filling.counting(Order::Log, first),
            )
            .await
        }
    }
}

/// Returns a page of a stream.
pub(crate) async fn stream_page(
    connection: Pooled,
    log: Met<'_>,
    read: &StreamRead,
) -> Result<Page, RecordError> {
    let (version, checkpoint) = read.checkpoint().unzip();
    let filling = Filling::new(log, read.check()?, read.direction).after(checkpoint);
    let until = read.until.map(Version::get);
    let (low, high) = asked(read.after.map(Version::get), until, read.direction);
    let until = until.and_then(|it| i64::try_from(it).ok());
    let sql = match read.direction {
        Direction::Forward => STREAM_FORWARD,
        Direction::Backward => STREAM_BACKWARD,
    };
    let most = i64::from(most(filling.limit));
    let after = version.map(|version: Version| number(version.get()));
    let (key, id, stream) = (log.key(), log.id(), &*read.stream);
    let parameters: Parameters<'_> = &[&key, &until, &low, &high, &most, &stream, &id, &after];
    let first = number_asked(read.after.map(Version::get));
    page(
        connection,
        sql,
        parameters,
        filling.counting(Order::Stream, first),
    )
    .await
}

/// Returns the event with this id.
pub(crate) async fn event(
    mut connection: Pooled,
    log: Met<'_>,
    id: EventId,
) -> Result<Option<StoredEvent>, RecordError> {
    let parameters: Parameters<'_> = &[&log.key(), &id.uuid(), &log.id()];
    let found = connection.row("reading an event", EVENT, parameters).await;
    let Some(row) = found? else {
        return Err(replaced(&mut connection, log).await);
    };
    let position: Option<i64> = row.try_get(1).map_err(damaged)?;
    // The server compares the id with that of the row.
    position
        .map(|_| stored_event(&row, log.born.id))
        .transpose()
}

/// Returns the number that the first event of a page read forward must have.
fn number_asked(after: Option<u64>) -> u64 {
    after.map_or(1, |after| after.saturating_add(1))
}

/// Returns the range of numbers that a read asks for, both ends included.
fn asked(after: Option<u64>, until: Option<u64>, direction: Direction) -> (i64, i64) {
    let (low, high) = match direction {
        Direction::Forward => (
            after.map_or(1, |after| after.saturating_add(1)),
            until.unwrap_or(NUMBER_MAX),
        ),
        Direction::Backward => (
            until.unwrap_or(1),
            after.map_or(NUMBER_MAX, |after| after.saturating_sub(1)),
        ),
    };
    (number(low), number(high))
}

/// A number that no position or version reaches, with room for one more.
const NUMBER_MAX: u64 = (i64::MAX - 1) as u64;

fn number(number: u64) -> i64 {
    number.min(NUMBER_MAX).cast_signed()
}

fn most(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

/// The number by which the events of a page follow each other without a gap.
#[derive(Clone, Copy)]
enum Order {
    Log,
    Stream,
}

/// A page while its rows arrive.
struct Filling<'a> {
    log: Met<'a>,
    direction: Direction,
    /// The query that every event must match.
    query: Option<&'a Query>,
    /// How events are counted, and the number that the next one must have, if it is known.
    order: Option<Order>,
    due: Option<u64>,
    events: Vec<StoredEvent>,
    size: usize,
    limit: usize,
    head: Option<Checkpoint>,
    topics: i64,
    until: Option<Checkpoint>,
    /// Whether the log exists, and whether it is on a standby.
    is_there: bool,
    is_standby: bool,
    /// The checkpoint that the log must have for the read to continue, and the event it has there.
    checkpoint: Option<Checkpoint>,
    after: Option<Checkpoint>,
}

impl<'a> Filling<'a> {
    fn new(log: Met<'a>, limit: usize, direction: Direction) -> Self {
        Self {
            log,
            direction,
            query: None,
            order: None,
            due: None,
            events: Vec::new(),
            size: 0,
            limit,
            head: None,
            topics: 0,
            until: None,
            is_there: false,
            is_standby: false,
            checkpoint: None,
            after: None,
        }
    }

    fn after(mut self, checkpoint: Option<Checkpoint>) -> Self {
        self.checkpoint = checkpoint;
        self
    }

    fn matching(mut self, query: &'a Query) -> Self {
        self.query = Some(query);
        self
    }

    fn counting(mut self, order: Order, first: u64) -> Self {
        self.order = Some(order);
        self.due = (self.direction == Direction::Forward).then_some(first);
        self
    }

    /// Checks an event that an index led to: its own columns must match the read, and no event may
    /// be missing before it.
    fn check(&mut self, event: &StoredEvent) -> Result<(), Corrupt> {
        let damaged = |what: String| {
            let place = format!("event {} at {}", event.id(), event.position());
            Err(Corrupt::new(place, what))
        };
        if self.query.is_some_and(|query| !query.matches(event)) {
            return damaged(
                "an index names it for a tag, topic or stream that it does not have".into(),
            );
        }
        let number = match self.order {
            None => return Ok(()),
            Some(Order::Log) => event.position().get(),
            Some(Order::Stream) => event.version().map_or(0, Version::get),
        };
        let due = self.due.replace(match self.direction {
            Direction::Forward => number.saturating_add(1),
            Direction::Backward => number.saturating_sub(1),
        });
        match due {
            Some(due) if due != number => damaged(format!(
                "it has the number {number}, but {due} is next: events before it are missing"
            )),
            _ => Ok(()),
        }
    }
    fn end(&self) -> PageEnd {
        if self.events.len() == self.limit || self.size >= PAGE_SIZE_MAX {
            PageEnd::Full
        } else {
            PageEnd::Complete
        }
    }

    fn take(&mut self, row: &Row) -> Result<(), RecordError> {
        match row.try_get(0).map_err(damaged)? {
            HEAD => {
                self.is_there = true;
                self.head = checkpoint(row)?;
                self.topics = row.try_get(4).map_err(damaged)?;
                self.is_standby = row.try_get::<_, i32>(5).map_err(damaged)? == 1;
            }
            UNTIL => self.until = checkpoint(row)?,
            AFTER => self.after = checkpoint(row)?,
            _ => {
                let event = stored_event(row, self.log.born.id)?;
                self.check(&event)?;
                self.size += event.size();
                self.events.push(event);
            }
        }
        Ok(())
    }

    /// Returns the checkpoint that the page begins after, if the server is a standby that has not
    /// replayed it yet.
    fn not_replayed(&self) -> Option<Checkpoint> {
        let head = self.head.map(|head| head.position);
        let is_ahead =
            |checkpoint: &Checkpoint| self.after.is_none() && Some(checkpoint.position) > head;
        self.checkpoint
            .filter(|checkpoint| self.is_standby && is_ahead(checkpoint))
    }

    /// Returns the page, if the log has the checkpoint that it begins after.
    fn proven(self) -> Result<Page, RecordError> {
        if let Some(checkpoint) = self.checkpoint {
            RecordError::check_checkpoint(self.log.name, checkpoint, self.after)?;
        }
        Ok(self.finish())
    }

    /// Adds how far the page reached.
    fn finish(self) -> Page {
        let end = self.end();
        let read_to = match (self.direction, end) {
            (Direction::Backward, _) => self.head,
            (Direction::Forward, PageEnd::Full) => self.events.last().map(StoredEvent::checkpoint),
            (Direction::Forward, PageEnd::Complete) => self.until.or(self.head),
        };
        Page::new(self.events, read_to, end).topic_count(self.topics.cast_unsigned())
    }
}

async fn page(
    mut connection: Pooled,
    sql: &'static str,
    parameters: Parameters<'_>,
    mut filling: Filling<'_>,
) -> Result<Page, RecordError> {
    const WHAT: &str = "reading events";
    let ask = async |connection: &mut Connection| {
        let statement = connection.prepared(sql).await?;
        let parameters = parameters.iter().copied();
        connection.client.query_raw(&statement, parameters).await
    };
    let rows = connection.in_time(WHAT, ask).await?;
    let mut rows = pin!(rows);
    let mut is_read_to_its_end = false;
    while filling.size < PAGE_SIZE_MAX {
        let next = connection.in_time(WHAT, async |_: &mut _| rows.try_next().await);
        match next.await? {
            Some(row) => filling.take(&row)?,
            None => {
                is_read_to_its_end = true;
                break;
            }
        }
    }
    // The head comes before all events, and is missing only if the log is.
    if is_read_to_its_end && !filling.is_there {
        return Err(replaced(&mut connection, filling.log).await);
    }
    let not_replayed = filling.not_replayed();
    if !is_read_to_its_end || not_replayed.is_some() {
        // The rest may be large and is not wanted, or the next connection may reach a server that
        // has replayed more.
        connection.abandon();
    }
    match not_replayed {
        Some(checkpoint) => Err(behind(checkpoint, filling.head.map(|head| head.position))),
        None => filling.proven(),
    }
}

fn damaged(error: Error) -> RecordError {
    use std::error::Error as _;
    let what = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    Corrupt::new("a row of the table event", what).into()
}

fn checkpoint(row: &Row) -> Result<Option<Checkpoint>, RecordError> {
    let position: i64 = row.try_get(1).map_err(damaged)?;
    let id: Option<uuid::Uuid> = row.try_get(2).map_err(damaged)?;
    let position = Position::new(position.cast_unsigned());
    Ok(position.zip(id).map(|(position, id)| Checkpoint {
        position,
        event_id: EventId::new(id),
    }))
}

fn stored_event(row: &Row, log: LogId) -> Result<StoredEvent, RecordError> {
    Ok(sealed_event(row, log)?.0)
}

/// Returns the event of a row with an empty payload, if it has one, and its checksums. The event is
/// compared with that of everything else: an event whose payload is damaged can still be amended.
pub(crate) fn event_without_payload(
    row: &Row,
    log: LogId,
) -> Result<(StoredEvent, Checksum), RecordError> {
    let (event, stored) = sealed_event(row, log)?;
    if !row.try_get(18).map_err(damaged)? {
        return Ok((event, stored));
    }
    let parts = StoredEventParts {
        payload: Some(&[]),
        ..event.parts()
    };
    let stored = Checksum {
        payload: !stored.payload,
        ..stored
    };
    Ok((StoredEvent::from_parts(&parts)?, stored))
}

/// Returns the event of a row and its checksum, which was compared with the event.
fn sealed_event(row: &Row, log: LogId) -> Result<(StoredEvent, Checksum), RecordError> {
    let read = || -> Result<_, Error> {
        let position: i64 = row.try_get(1)?;
        let stream: Option<&str> = row.try_get(3)?;
        let version: Option<i64> = row.try_get(4)?;
        let version = version.and_then(|it| Version::new(it.cast_unsigned()));
        let place: (i32, i32) = (row.try_get(5)?, row.try_get(6)?);
        let parts = StoredEventParts {
            position: Position::new(position.cast_unsigned()).unwrap_or(Position::FIRST),
            id: EventId::new(row.try_get(2)?),
            stream: stream.zip(version),
            place: AppendPlace {
                index: place.0.cast_unsigned(),
                count: place.1.cast_unsigned(),
            },
            topic: row.try_get(7)?,
            revision: row.try_get::<_, i32>(8)?.cast_unsigned(),
            tags: row.try_get(9)?,
            time: Timestamp::from_micros(row.try_get(10)?),
            recorded_at: Timestamp::from_micros(row.try_get(11)?),
            encoding: row.try_get(12)?,
            origin: row.try_get(13)?,
            metadata: row.try_get(14)?,
            payload: row.try_get(15)?,
        };
        let stored = Checksum {
            payload: row.try_get::<_, i64>(16)?.cast_unsigned(),
            event: row.try_get::<_, i64>(17)?.cast_unsigned(),
        };
        Ok((StoredEvent::from_parts(&parts), stored))
    };
    let (event, stored) = read().map_err(damaged)?;
    let event = event?;
    checksum::check(log, &event, 0, stored)?;
    Ok((event, stored))
}
