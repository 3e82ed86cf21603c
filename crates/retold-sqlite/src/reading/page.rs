//! Pages of events, read by a connection within one state of the file.

use retold_core::recording::limits::PAGE_SIZE_MAX;
use retold_core::recording::{
    Checkpoint, Corrupt, Direction, EventId, LogRead, Page, PageEnd, Position, Query, RecordError,
    StoredEvent, StreamRead, Version,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::event_row::{
    BY_SEQ, event_at, place_of, select_events, select_events_with_stream, stored_event,
};
use super::matches::{Matches, Span};
use super::readers::Reader;
use crate::error::before_commit;
use crate::file::log::Born;
use crate::file::seq::{LogKey, NUMBER_MAX, Seq};
use crate::file::topics::Topics;
use crate::file::{head, names, seq};

/// Events of one stream, whose name is the last parameter.
macro_rules! select_events_of_stream {
    ($rest:literal) => {
        select_events!(
            "?5",
            concat!(
                "INDEXED BY event_stream WHERE stream = ?1 AND version >= ?2 AND version <= ?3 ",
                $rest
            )
        )
    };
}

const LOG_FORWARD: &str =
    select_events_with_stream!("WHERE seq >= ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3");
const LOG_BACKWARD: &str =
    select_events_with_stream!("WHERE seq >= ?1 AND seq <= ?2 ORDER BY seq DESC LIMIT ?3");
const STREAM_FORWARD: &str = select_events_of_stream!("ORDER BY version LIMIT ?4");
const STREAM_BACKWARD: &str = select_events_of_stream!("ORDER BY version DESC LIMIT ?4");

impl Reader {
    /// Reads a page of a log.
    pub(crate) fn log_page(
        &mut self,
        log: (&str, Born),
        read: &LogRead,
    ) -> Result<Page, RecordError> {
        let (name, born) = log;
        let log = born.key;
        let limit = read.check()?;
        let until = read.until.map(Position::get);
        let span = asked(read.after.map(Position::get), until, read.direction);
        let span = Span {
            first: log.seq(span.0),
            last: log.seq(span.1),
        };
        if let Some(checkpoint) = read.checkpoint() {
            let found = self.checkpoint_at(log, checkpoint.position)?;
            RecordError::check_checkpoint(name, checkpoint, found)?;
        }
        let mut page = Filling::new(born, limit, read.direction);
        match &read.query {
            _ if span.is_empty() || span.first > log.last() => {}
            Query::All => self.fill_from_log(&mut page, span, read.direction)?,
            query => self.fill_from_matches(&mut page, query, span, read.direction)?,
        }
        let until = match read.until {
            Some(until) => self.checkpoint_at(log, until)?,
            None => None,
        };
        let is_whole = read.query == Query::All && !span.is_empty();
        let page = self.finish(page, until)?;
        if is_whole && read.direction == Direction::Forward && page.end == PageEnd::Complete {
            check_reaches(&page, read.after)?;
        }
        Ok(page)
    }

    /// Reads a page of a stream.
    pub(crate) fn stream_page(
        &mut self,
        log: (&str, Born),
        read: &StreamRead,
    ) -> Result<Page, RecordError> {
        let (name, born) = log;
        let log = born.key;
        let limit = read.check()?;
        let until = read.until.map(Version::get);
        let (first, last) = asked(read.after.map(Version::get), until, read.direction);
        let failed = |error| before_commit("reading a stream", error);
        let key = names::stream_key(&self.conn, log, &read.stream).map_err(failed)?;
        let checkpoint_of = |reader: &Self, version| match key {
            Some(key) => checkpoint_of_version(reader, key, version).map_err(failed),
            None => Ok(None),
        };
        if let Some((version, checkpoint)) = read.checkpoint() {
            RecordError::check_checkpoint(name, checkpoint, checkpoint_of(self, version.get())?)?;
        }
        let mut page = Filling::new(born, limit, read.direction);
        let mut until_checkpoint = None;
        if let Some(key) = key {
            self.fill_from_stream(
                &mut page,
                (key, &read.stream),
                (first, last),
                read.direction,
            )?;
            if read.direction == Direction::Forward && page.end() == PageEnd::Complete {
                until_checkpoint = match until {
                    Some(until) => checkpoint_of(self, until)?,
                    None => None,
                };
            }
        }
        self.finish(page, until_checkpoint)
    }

    /// Returns the event with this id.
    pub(crate) fn event(
        &mut self,
        born: Born,
        id: EventId,
    ) -> Result<Option<StoredEvent>, RecordError> {
        let log = born.key;
        let failed = |error| before_commit("reading an event", error);
        let position = position_of(&self.conn, log, id).map_err(failed)?;
        let Some(position) = position else {
            return Ok(None);
        };
        let mut by_seq = self.conn.prepare_cached(BY_SEQ).map_err(failed)?;
        let seq = log.seq(position.get());
        let event = event_at(&self.conn, &mut self.topics, &mut by_seq, born, seq)?;
        if event.id() != id {
            let what = format!("the index of ids leads to it from {id}");
            return Err(Corrupt::new(place_of(seq), what).into());
        }
        Ok(Some(event))
    }

    /// Returns the checkpoint of the event at a position of a log, if it exists.
    fn checkpoint_at(
        &self,
        log: LogKey,
        position: Position,
    ) -> Result<Option<Checkpoint>, RecordError> {
        match position.get() {
            number @ ..=NUMBER_MAX => head::checkpoint_at(&self.conn, log.seq(number))
                .map_err(|error| before_commit("reading a log", error)),
            _ => Ok(None),
        }
    }

    fn fill_from_log(
        &mut self,
        page: &mut Filling,
        span: Span,
        direction: Direction,
    ) -> Result<(), RecordError> {
        let sql = match direction {
            Direction::Forward => LOG_FORWARD,
            Direction::Backward => LOG_BACKWARD,
        };
        page.first = match direction {
            Direction::Forward => Some(seq::number(span.first)),
            Direction::Backward => None,
        };
        page.last_asked = seq::number(span.last);
        let row = (span.first, span.last, page.limit());
        self.fill(page, Order::Log, sql, row)
    }

    fn fill_from_stream(
        &mut self,
        page: &mut Filling,
        (key, name): (i64, &str),
        (first, last): (u64, u64),
        direction: Direction,
    ) -> Result<(), RecordError> {
        let sql = match direction {
            Direction::Forward => STREAM_FORWARD,
            Direction::Backward => STREAM_BACKWARD,
        };
        page.first = match direction {
            Direction::Forward => Some(first),
            Direction::Backward => None,
        };
        page.last_asked = last;
        let [first_there, last] = [first, last].map(|it| i64::try_from(it).unwrap_or(i64::MAX));
        let parameters = params![key, first_there, last, page.limit(), name];
        self.fill(page, Order::Stream, sql, parameters)?;
        let is_at_end = direction == Direction::Backward && page.end() == PageEnd::Complete;
        if is_at_end && page.last.is_some_and(|last| last > first) {
            return Err(Corrupt::new(
                format!("stream {name:?}"),
                format!("the index of streams does not have its version {first}"),
            )
            .into());
        }
        Ok(())
    }

    fn fill_from_matches(
        &mut self,
        page: &mut Filling,
        query: &Query,
        span: Span,
        direction: Direction,
    ) -> Result<(), RecordError> {
        let (born, log) = (page.born, page.born.key);
        let failed = |error| before_commit("answering a query", error);
        let mut by_seq = self.conn.prepare_cached(BY_SEQ).map_err(failed)?;
        let mut matches = Matches::of(&self.conn, log, query, span, direction).map_err(failed)?;
        while page.end() == PageEnd::Complete
            && let Some(seq) = matches.next(&self.conn).map_err(failed)?
        {
            let event = event_at(&self.conn, &mut self.topics, &mut by_seq, born, seq)?;
            check_matches(query, &event, seq)?;
            page.push(event);
        }
        Ok(())
    }

    fn fill(
        &mut self,
        page: &mut Filling,
        order: Order,
        sql: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<(), RecordError> {
        let failed = |error| before_commit("reading events", error);
        let mut select = self.conn.prepare_cached(sql).map_err(failed)?;
        let mut rows = select.query(parameters).map_err(failed)?;
        while page.end() == PageEnd::Complete
            && let Some(row) = rows.next().map_err(failed)?
        {
            let event = stored_event(&self.conn, &mut self.topics, page.born.id, row)?;
            page.check_order(order, &event)?;
            page.push(event);
        }
        Ok(())
    }

    /// Sets how far a page went.
    fn finish(&mut self, page: Filling, until: Option<Checkpoint>) -> Result<Page, RecordError> {
        self.events_read += page.events.len() as u64;
        let end = page.end();
        let known = match (page.direction, end) {
            (Direction::Backward, _) => None,
            (Direction::Forward, PageEnd::Full) => page.events.last().map(StoredEvent::checkpoint),
            (Direction::Forward, PageEnd::Complete) => until,
        };
        let read_to = match known {
            Some(checkpoint) => Some(checkpoint),
            None => {
                let head = head::read(&self.conn, page.born.key);
                head.map_err(|error| before_commit("reading the head", error))?
                    .checkpoint
            }
        };
        let topics = self.topics.count(&self.conn, page.born.key);
        let topics = topics.map_err(|error| before_commit("counting topics", error))?;
        Ok(Page::new(page.events, read_to, end).topic_count(topics))
    }
}

/// Returns events of a log for the writer: those of `span`, at most `limit`.
pub(crate) fn log_events(
    conn: &Connection,
    born: Born,
    span: Span,
    limit: usize,
) -> Result<Vec<StoredEvent>, RecordError> {
    let failed = |error| before_commit("reading events", error);
    let mut page = Filling::new(born, limit, Direction::Forward);
    page.first = Some(seq::number(span.first));
    let mut topics = Topics::default();
    let mut select = conn.prepare_cached(LOG_FORWARD).map_err(failed)?;
    let parameters = params![span.first, span.last, page.limit()];
    let mut rows = select.query(parameters).map_err(failed)?;
    while page.end() == PageEnd::Complete
        && let Some(row) = rows.next().map_err(failed)?
    {
        let event = stored_event(conn, &mut topics, born.id, row)?;
        page.check_order(Order::Log, &event)?;
        page.push(event);
    }
    Ok(page.events)
}

/// Returns the position in the log of the event with this id.
pub(crate) fn position_of(
    conn: &Connection,
    log: LogKey,
    id: EventId,
) -> rusqlite::Result<Option<Position>> {
    let seq = conn
        .prepare_cached("SELECT seq FROM event WHERE id = ?1 AND seq > ?2 AND seq <= ?3 LIMIT 1")?
        .query_row(
            params![id.uuid().as_bytes(), log.start(), log.last()],
            |row| row.get(0),
        )
        .optional()?;
    Ok(seq.and_then(seq::position))
}

/// Returns, for the writer, the event that an index found for a query, after checking that it
/// matches.
pub(crate) fn event_that_matches(
    conn: &Connection,
    topics: &mut Topics,
    born: Born,
    query: &Query,
    seq: Seq,
) -> Result<StoredEvent, RecordError> {
    let failed = |error| before_commit("answering a query", error);
    let mut by_seq = conn.prepare_cached(BY_SEQ).map_err(failed)?;
    let event = event_at(conn, topics, &mut by_seq, born, seq)?;
    check_matches(query, &event, seq)?;
    Ok(event)
}

/// Checks that an event which an index found for a query matches it by its own content.
fn check_matches(query: &Query, event: &StoredEvent, seq: Seq) -> Result<(), RecordError> {
    if query.matches(event) {
        return Ok(());
    }
    let what = "an index names it for a tag, topic or stream that it does not have";
    Err(Corrupt::new(place_of(seq), what).into())
}

/// Checks that a complete page has every event up to where it was read.
fn check_reaches(page: &Page, after: Option<Position>) -> Result<(), RecordError> {
    let last = page.events.last().map(StoredEvent::position).or(after);
    let to = page.read_to.map(|checkpoint| checkpoint.position);
    if last < to {
        return Err(Corrupt::new(
            format!("position {}", Position::number(last) + 1),
            format!(
                "it is missing, but the log goes up to {}",
                Position::number(to)
            ),
        )
        .into());
    }
    Ok(())
}

/// The range of numbers of a read, both included.
fn asked(after: Option<u64>, until: Option<u64>, direction: Direction) -> (u64, u64) {
    match direction {
        Direction::Forward => (
            after.map_or(1, |after| after.saturating_add(1)),
            until.unwrap_or(u64::MAX),
        ),
        Direction::Backward => (
            until.unwrap_or(1),
            after.map_or(u64::MAX, |after| after.saturating_sub(1)),
        ),
    }
}

fn checkpoint_of_version(
    reader: &Reader,
    key: i64,
    version: u64,
) -> rusqlite::Result<Option<Checkpoint>> {
    let Ok(version) = i64::try_from(version) else {
        return Ok(None);
    };
    let mut select = reader.conn.prepare_cached(
        "SELECT seq, id FROM event INDEXED BY event_stream WHERE stream = ?1 AND version = ?2",
    )?;
    let mut rows = select.query([key, version])?;
    match rows.next()? {
        Some(row) => head::checkpoint(row),
        None => Ok(None),
    }
}

/// The number by which the events of a page follow each other without a gap.
#[derive(Clone, Copy)]
enum Order {
    Log,
    Stream,
}

/// A page being filled.
struct Filling {
    born: Born,
    direction: Direction,
    events: Vec<StoredEvent>,
    size: usize,
    limit: usize,
    /// The number that the first event must have, if that is known.
    first: Option<u64>,
    /// The greatest number that was asked for.
    last_asked: u64,
    /// The number of the last event.
    last: Option<u64>,
}

impl Filling {
    fn new(born: Born, limit: usize, direction: Direction) -> Self {
        Self {
            born,
            direction,
            events: Vec::new(),
            size: 0,
            limit,
            first: None,
            last_asked: u64::MAX,
            last: None,
        }
    }

    /// Checks the next event's number: a gap is an event that is hidden by damage. A damaged key in
    /// a tree can also lead to events that were not asked for.
    fn check_order(&mut self, order: Order, event: &StoredEvent) -> Result<(), RecordError> {
        let number = match order {
            Order::Log => event.position().get(),
            Order::Stream => event.version().map_or(0, Version::get),
        };
        let due = match (self.last, self.direction) {
            (None, _) => self.first,
            (Some(last), Direction::Forward) => Some(last + 1),
            (Some(last), Direction::Backward) => Some(last.saturating_sub(1)),
        };
        self.last = Some(number);
        let due = due.or((number > self.last_asked).then_some(self.last_asked));
        match due {
            Some(due) if due != number => {
                let place = match order {
                    Order::Log => format!("position {due}"),
                    Order::Stream => {
                        format!("version {due} of stream {:?}", event.stream().unwrap_or(""))
                    }
                };
                let what = format!("it is expected next, but {number} was found");
                Err(Corrupt::new(place, what).into())
            }
            _ => Ok(()),
        }
    }

    fn limit(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX)
    }

    fn push(&mut self, event: StoredEvent) {
        self.size += event.size();
        self.events.push(event);
    }

    fn end(&self) -> PageEnd {
        if self.events.len() == self.limit || self.size >= PAGE_SIZE_MAX {
            PageEnd::Full
        } else {
            PageEnd::Complete
        }
    }
}

#[cfg(test)]
mod tests {
    use retold_core::domain::Timestamp;
    use retold_core::recording::{AppendPlace, LogId, NewEvent};
    use uuid::Uuid;

    use super::*;
    use crate::file::schema::check_plan;

    /// Otherwise an event could be in two pages of one reading.
    #[test]
    fn an_event_that_was_not_asked_for_is_damage() {
        let born = Born {
            key: LogKey(1),
            id: LogId::new(Uuid::nil()),
        };
        let event = |number| {
            let new = NewEvent::new(EventId::new(Uuid::nil()), "Dog.Barked", "{}");
            let place = AppendPlace { index: 0, count: 1 };
            let position = Position::new(number).unwrap();
            StoredEvent::from_new(&new, position, None, place, Timestamp::default())
        };
        let backward_before_27 = || {
            let mut page = Filling::new(born, 10, Direction::Backward);
            page.last_asked = 26;
            page
        };
        for number in [20, 26] {
            let checked = backward_before_27().check_order(Order::Log, &event(number));
            assert!(checked.is_ok(), "{number}");
        }
        for number in [27, 34] {
            let checked = backward_before_27().check_order(Order::Log, &event(number));
            assert!(matches!(checked, Err(RecordError::Corrupt(_))), "{number}");
        }
    }

    #[test]
    fn every_page_is_read_by_index() {
        for sql in [
            BY_SEQ,
            LOG_FORWARD,
            LOG_BACKWARD,
            STREAM_FORWARD,
            STREAM_BACKWARD,
        ] {
            check_plan(sql);
        }
    }
}
