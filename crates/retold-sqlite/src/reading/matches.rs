//! Finds the events of a log that match a query, using only indexes: no event that does not match
//! is read, whichever the query.
//!
//! Every stream, topic and tag has an ordered list of rows in an index. An item of a query is an
//! intersection of unions of such lists, which leapfrog each other (Veldhuizen, "Leapfrog
//! Triejoin", 2012); each leap is one step down an index. Items are merged. A list is read in
//! pieces that grow while they are consumed sequentially and shrink while they are leapt over, so
//! that a scan costs little per row and a leap reads little in vain.
//!
//! Reading backward does the same on negated numbers; only the SQL differs.

use std::collections::VecDeque;

use retold_core::recording::{Direction, Query, QueryItem};
use rusqlite::{Connection, OptionalExtension, params};

use crate::file::head;
use crate::file::known::Label;
use crate::file::names::{label_key, stream_key};
use crate::file::seq::{LogKey, Seq};

/// Most rows of a list that are read at a time.
const PIECE_LENGTH_MAX: i64 = 256;

/// Rows from `first` to `last`, both included; none if `last` is before `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: Seq,
    pub(crate) last: Seq,
}

impl Span {
    pub(crate) fn is_empty(self) -> bool {
        self.last < self.first
    }
}

/// A row's place in the direction of reading: its seq, negated if that is backward.
type Rank = i64;

fn rank(seq: Seq, direction: Direction) -> Rank {
    match direction {
        Direction::Forward => seq,
        Direction::Backward => -seq,
    }
}

/// The matches of a query, in the direction of reading, computed on request.
#[derive(Debug)]
pub(crate) struct Matches {
    items: Vec<Item>,
    direction: Direction,
    /// Where the next search begins.
    from: Rank,
}

impl Matches {
    /// Prepares to find the matches in `span`.
    pub(crate) fn of(
        conn: &Connection,
        log: LogKey,
        query: &Query,
        span: Span,
        direction: Direction,
    ) -> rusqlite::Result<Self> {
        let mut items = Vec::new();
        match query {
            _ if span.is_empty() => {}
            Query::Items(queried) => {
                for item in queried {
                    items.extend(Item::of(conn, log, item, span, direction)?);
                }
            }
            _ => items.push(Item::everything(log, span, direction)),
        }
        let begin = match direction {
            Direction::Forward => span.first,
            Direction::Backward => span.last,
        };
        Ok(Self {
            items,
            direction,
            from: rank(begin, direction),
        })
    }

    /// Returns the next match, or `None` if there are no more.
    pub(crate) fn next(&mut self, conn: &Connection) -> rusqlite::Result<Option<Seq>> {
        let mut nearest = None;
        for item in &mut self.items {
            if let Some(found) = item.seek(conn, self.from)? {
                nearest = Some(nearest.map_or(found, |nearest: Rank| nearest.min(found)));
            }
        }
        Ok(nearest.map(|found| {
            self.from = found.saturating_add(1);
            rank(found, self.direction)
        }))
    }
}

/// Rows that are in every one of several unions of lists.
#[derive(Debug)]
struct Item {
    unions: Vec<Vec<List>>,
    /// The result of the last search. It is valid for every search that begins between the last
    /// one's beginning and the result; searches only move forward.
    found: Option<Rank>,
    at_end: bool,
}

impl Item {
    /// Prepares the rows of an item of a query, or returns `None` if one of its parts is in no
    /// event.
    fn of(
        conn: &Connection,
        log: LogKey,
        item: &QueryItem,
        span: Span,
        direction: Direction,
    ) -> rusqlite::Result<Option<Self>> {
        let mut unions = Vec::new();
        for tag in &item.tags {
            let Some(key) = label_key(conn, log, Label::Tag, tag)? else {
                return Ok(None);
            };
            unions.push(vec![List::new(Source::Tag(key), span, direction)]);
        }
        let mut streams = Vec::new();
        for stream in &item.streams {
            if let Some(key) = stream_key(conn, log, stream)? {
                let source = Source::stream(conn, key, direction)?;
                streams.push(List::new(source, span, direction));
            }
        }
        let mut topics = Vec::new();
        for topic in &item.topics {
            if let Some(key) = label_key(conn, log, Label::Topic, topic)? {
                topics.push(List::new(Source::Topic(key), span, direction));
            }
        }
        for (names, lists) in [(&item.streams, streams), (&item.topics, topics)] {
            if !names.is_empty() {
                if lists.is_empty() {
                    return Ok(None);
                }
                unions.push(lists);
            }
        }
        Ok(Some(Self::new(unions)))
    }

    fn everything(log: LogKey, span: Span, direction: Direction) -> Self {
        let span = Span {
            first: span.first.max(log.start() + 1),
            last: span.last.min(log.last()),
        };
        Self::new(vec![vec![List::new(Source::Everything, span, direction)]])
    }

    fn new(unions: Vec<Vec<List>>) -> Self {
        Self {
            unions,
            found: None,
            at_end: false,
        }
    }

    /// Returns the first row from `from` on that is in all unions: each in turn leaps to its first
    /// row not before the present one, until none has to move.
    fn seek(&mut self, conn: &Connection, from: Rank) -> rusqlite::Result<Option<Rank>> {
        if self.at_end || self.found.is_some_and(|found| found >= from) {
            return Ok(self.found);
        }
        let mut candidate = from;
        let mut agreed = 0;
        let count = self.unions.len();
        for union in (0..count).cycle() {
            let Some(found) = seek_union(&mut self.unions[union], conn, candidate)? else {
                self.found = None;
                self.at_end = true;
                return Ok(None);
            };
            agreed = if found == candidate { agreed + 1 } else { 1 };
            candidate = found;
            if agreed == count {
                break;
            }
        }
        self.found = Some(candidate);
        Ok(self.found)
    }
}

fn seek_union(lists: &mut [List], conn: &Connection, from: Rank) -> rusqlite::Result<Option<Rank>> {
    let mut nearest: Option<Rank> = None;
    for list in lists {
        if let Some(found) = list.seek(conn, from)? {
            nearest = Some(nearest.map_or(found, |nearest| nearest.min(found)));
        }
    }
    Ok(nearest)
}

/// Where the rows of a list are stored.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// All events of the log.
    Everything,
    Topic(i64),
    Tag(i64),
    /// The index of streams is ordered by version, and rows follow versions: the row is found by
    /// bisecting versions, those between `before` and `beyond`.
    Stream {
        key: i64,
        /// The last version, in the direction of reading, that is known to lie before every row
        /// that later searches can return.
        passed: i64,
        /// The end of the stream in the direction of reading: its last version, or 1.
        end: i64,
    },
}

impl Source {
    fn stream(conn: &Connection, key: i64, direction: Direction) -> rusqlite::Result<Self> {
        let last = head::stream_version(conn, key)?.cast_signed();
        let (passed, end) = match direction {
            Direction::Forward => (0, last),
            Direction::Backward => (last + 1, 1),
        };
        Ok(Self::Stream { key, passed, end })
    }
}

/// The rows of one name, in the direction of reading.
#[derive(Debug)]
struct List {
    source: Source,
    direction: Direction,
    /// The end of the span.
    last: Rank,
    /// The piece that was read last.
    piece: VecDeque<Rank>,
    piece_length: i64,
    /// Whether rows of the present piece were leapt over.
    has_leapt: bool,
    /// Whether nothing follows the present piece.
    at_end: bool,
}

impl List {
    fn new(source: Source, span: Span, direction: Direction) -> Self {
        let last = match direction {
            Direction::Forward => span.last,
            Direction::Backward => span.first,
        };
        Self {
            source,
            direction,
            last: rank(last, direction),
            piece: VecDeque::new(),
            piece_length: 1,
            has_leapt: false,
            at_end: false,
        }
    }

    /// Returns the first row from `from` on. Searches only move forward.
    fn seek(&mut self, conn: &Connection, from: Rank) -> rusqlite::Result<Option<Rank>> {
        let mut passed = 0;
        while let Some(&front) = self.piece.front() {
            if front >= from {
                return Ok(Some(front));
            }
            self.piece.pop_front();
            passed += 1;
        }
        // One passed row is the last result; more than one were leapt over.
        self.has_leapt |= passed > 1;
        if self.at_end || from > self.last {
            return Ok(None);
        }
        self.piece_length = if self.has_leapt {
            (self.piece_length / 2).max(1)
        } else {
            (self.piece_length * 2).min(PIECE_LENGTH_MAX)
        };
        self.has_leapt = false;
        self.read_piece(conn, from)?;
        Ok(self.piece.front().copied())
    }

    fn read_piece(&mut self, conn: &Connection, from: Rank) -> rusqlite::Result<()> {
        let length = self.piece_length;
        let span = [rank(from, self.direction), rank(self.last, self.direction)];
        let count = match self.source {
            Source::Everything => {
                let sql = match self.direction {
                    Direction::Forward => EVERYTHING_FORWARD,
                    Direction::Backward => EVERYTHING_BACKWARD,
                };
                self.fill(conn, sql, params![span[0], span[1], length])?
            }
            Source::Topic(key) => {
                let sql = match self.direction {
                    Direction::Forward => TOPIC_FORWARD,
                    Direction::Backward => TOPIC_BACKWARD,
                };
                self.fill(conn, sql, params![span[0], span[1], length, key])?
            }
            Source::Tag(key) => {
                let sql = match self.direction {
                    Direction::Forward => TAG_FORWARD,
                    Direction::Backward => TAG_BACKWARD,
                };
                self.fill(conn, sql, params![span[0], span[1], length, key])?
            }
            Source::Stream { key, passed, end } => {
                let passed = self.bisect(conn, key, passed, end, from)?;
                self.source = Source::Stream { key, passed, end };
                let sql = match self.direction {
                    Direction::Forward => STREAM_FORWARD,
                    Direction::Backward => STREAM_BACKWARD,
                };
                let count = self.fill(conn, sql, params![key, passed, length])?;
                while self.piece.back().is_some_and(|back| *back > self.last) {
                    self.piece.pop_back();
                    self.at_end = true;
                }
                count
            }
        };
        self.at_end |= count < self.piece_length;
        Ok(())
    }

    fn fill(
        &mut self,
        conn: &Connection,
        sql: &str,
        parameters: impl rusqlite::Params,
    ) -> rusqlite::Result<i64> {
        let mut select = conn.prepare_cached(sql)?;
        let mut rows = select.query(parameters)?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            self.piece.push_back(rank(row.get(0)?, self.direction));
            count += 1;
        }
        Ok(count)
    }

    /// Returns the last version, in the direction of reading, whose row is before `from`.
    fn bisect(
        &self,
        conn: &Connection,
        key: i64,
        passed: i64,
        end: i64,
        from: Rank,
    ) -> rusqlite::Result<i64> {
        let step = match self.direction {
            Direction::Forward => 1,
            Direction::Backward => -1,
        };
        // How many of the versions passed + step * 1 ..= passed + step * count are before `from`.
        let (mut before, mut rest) = (0, (end - passed) * step);
        if !self.is_before(conn, key, passed + step, from)? {
            return Ok(passed);
        }
        while rest > 0 {
            let half = (rest + 1) / 2;
            if self.is_before(conn, key, passed + step * (before + half), from)? {
                before += half;
                rest -= half;
            } else {
                rest = half - 1;
            }
        }
        Ok(passed + step * before)
    }

    fn is_before(
        &self,
        conn: &Connection,
        key: i64,
        version: i64,
        from: Rank,
    ) -> rusqlite::Result<bool> {
        let seq: Option<Seq> = conn
            .prepare_cached(
                "SELECT seq FROM event INDEXED BY event_stream WHERE stream = ?1 AND version = ?2",
            )?
            .query_row([key, version], |row| row.get(0))
            .optional()?;
        Ok(seq.is_some_and(|seq| rank(seq, self.direction) < from))
    }
}

const EVERYTHING_FORWARD: &str =
    "SELECT seq FROM event NOT INDEXED WHERE seq >= ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3";
const EVERYTHING_BACKWARD: &str =
    "SELECT seq FROM event NOT INDEXED WHERE seq <= ?1 AND seq >= ?2 ORDER BY seq DESC LIMIT ?3";
const TOPIC_FORWARD: &str = "SELECT seq FROM event INDEXED BY event_topic
    WHERE topic = ?4 AND seq >= ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3";
const TOPIC_BACKWARD: &str = "SELECT seq FROM event INDEXED BY event_topic
    WHERE topic = ?4 AND seq <= ?1 AND seq >= ?2 ORDER BY seq DESC LIMIT ?3";
const TAG_FORWARD: &str = "SELECT seq FROM event_tag
    WHERE tag = ?4 AND seq >= ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3";
const TAG_BACKWARD: &str = "SELECT seq FROM event_tag
    WHERE tag = ?4 AND seq <= ?1 AND seq >= ?2 ORDER BY seq DESC LIMIT ?3";
const STREAM_FORWARD: &str = "SELECT seq FROM event INDEXED BY event_stream
    WHERE stream = ?1 AND version > ?2 ORDER BY version LIMIT ?3";
const STREAM_BACKWARD: &str = "SELECT seq FROM event INDEXED BY event_stream
    WHERE stream = ?1 AND version < ?2 ORDER BY version DESC LIMIT ?3";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::schema::check_plan;

    #[test]
    fn every_list_is_read_by_index() {
        for sql in [
            EVERYTHING_FORWARD,
            EVERYTHING_BACKWARD,
            TOPIC_FORWARD,
            TOPIC_BACKWARD,
            TAG_FORWARD,
            TAG_BACKWARD,
            STREAM_FORWARD,
            STREAM_BACKWARD,
        ] {
            check_plan(sql);
        }
    }
}
