//! Judges an append in the order of the contract's rule 2: processed ranges or an exact repeat,
//! then ids, then conditions in their order, then deleted streams, then amendments. Writes
//! nothing.

use std::collections::HashMap;
use std::sync::Arc;

use retold_core::recording::{
    Append, Appended, Checkpoint, Condition, Conflict, Direction, FollowerKey, LogId, Position,
    Positions, ProcessedRange, Query, RecordError, Version, opens_deleted_stream,
};
use rusqlite::{Connection, params};

use crate::error::{Refusal, answered, damaged};
use crate::file::head;
use crate::file::log::Born;
use crate::file::seq::{LogKey, NUMBER_MAX};
use crate::reading::matches::{Matches, Span};
use crate::reading::page::{event_that_matches, position_of};
use crate::reading::processed_ranges;
use crate::transaction::Transaction;

/// The judgment of an append.
pub(crate) enum Verdict {
    /// It holds and must be recorded.
    Record,
    /// Its outcome is known without recording anything.
    Answer(Result<Appended, RecordError>),
}

impl Transaction<'_> {
    /// Judges an append to a log whose place is known. Its form has been checked already.
    pub(crate) fn judge(&mut self, born: Born, append: &Append) -> rusqlite::Result<Verdict> {
        let log = born.key;
        if let Some(error) = self.refused_by_space(log, append) {
            return Ok(Verdict::Answer(Err(error)));
        }
        if !append.processed_ranges().is_empty()
            && let Some(conflict) = judge_ranges(self.conn, born, append.processed_ranges())?
        {
            return Ok(Verdict::Answer(Err(conflict.into())));
        }
        if let Some(verdict) = self.judge_ids(log, append)? {
            return Ok(verdict);
        }
        for (index, condition) in append.all_conditions().iter().enumerate() {
            if let Some(error) = self.judge_condition(born, index, condition)? {
                return Ok(Verdict::Answer(Err(error)));
            }
        }
        if let Some(conflict) = self.judge_streams(log, append)? {
            return Ok(Verdict::Answer(Err(conflict.into())));
        }
        if let Some(error) = self.judge_amendments(born, append.amendments())? {
            return Ok(Verdict::Answer(Err(error)));
        }
        Ok(Verdict::Record)
    }

    /// Finds the first event that is to be appended to a deleted stream, unless the append reopens
    /// it or deletes it again.
    fn judge_streams(
        &mut self,
        log: LogKey,
        append: &Append,
    ) -> rusqlite::Result<Option<Conflict>> {
        let mut previous = None;
        for event in append.new_events() {
            let Some(stream) = &event.stream else {
                continue;
            };
            // Most events of an append have the stream of the event before them.
            if previous.replace(stream) == Some(stream) {
                continue;
            }
            let there = self.stream(log, stream)?;
            if !there.is_deleted {
                continue;
            }
            let first = append
                .new_events()
                .iter()
                .find(|it| it.stream.as_ref() == Some(stream));
            if first.is_some_and(|it| opens_deleted_stream(&it.topic)) {
                continue;
            }
            let event_id = there.last.expect("a stream that was deleted has events");
            let position = position_of(self.conn, log, event_id)?.ok_or_else(|| {
                damaged("the index of ids does not have the last event of a stream")
            })?;
            return Ok(Some(Conflict::Deleted {
                stream: Arc::clone(stream),
                record: Checkpoint { position, event_id },
            }));
        }
        Ok(None)
    }

    fn refused_by_space(&mut self, log: LogKey, append: &Append) -> Option<RecordError> {
        let head = self.log_head(log).map(|checkpoint| checkpoint.position);
        let left = NUMBER_MAX - Position::number(head).min(NUMBER_MAX);
        (append.new_events().len() as u64 > left)
            .then(|| RecordError::unavailable("appending", Refusal::LogFull))
    }

    /// Finds an exact repeat, or the first id that is in the log already. Ids beyond the greatest
    /// known one are in no log.
    fn judge_ids(&mut self, log: LogKey, append: &Append) -> rusqlite::Result<Option<Verdict>> {
        let events = append.new_events();
        let greatest = self.known.greatest_id;
        for (index, event) in events.iter().enumerate() {
            if greatest.is_some_and(|greatest| event.id > greatest) {
                continue;
            }
            let Some(position) = position_of(self.conn, log, event.id)? else {
                continue;
            };
            if index == 0
                && append.processed_ranges().is_empty()
                && is_append_at(self.conn, log, position, append)?
            {
                let positions = Positions::new(position, events.len() as u64);
                return Ok(Some(Verdict::Answer(Ok(Appended::Repeated(positions)))));
            }
            let id = event.id;
            let there = head::checkpoint_at(self.conn, log.seq(position.get()))?;
            if there.map(|checkpoint| checkpoint.event_id) != Some(id) {
                return Err(damaged(format!(
                    "the index of ids leads from {id} to another event, at position {position}"
                )));
            }
            let conflict = Conflict::EventId { id, position };
            return Ok(Some(Verdict::Answer(Err(conflict.into()))));
        }
        Ok(None)
    }

    fn judge_condition(
        &mut self,
        born: Born,
        index: usize,
        condition: &Condition,
    ) -> rusqlite::Result<Option<RecordError>> {
        match condition {
            Condition::StreamAt {
                stream,
                expected,
                event,
            } => {
                let there = self.stream(born.key, stream)?;
                let actual = Version::new(there.version);
                let conflict =
                    Conflict::of_stream(stream, *expected, *event, actual, || there.last);
                Ok(conflict.map(Into::into))
            }
            Condition::NoneMatch { query, after } => {
                self.judge_none_match(born, index, query, *after)
            }
            Condition::TopicCount { count } => {
                let (expected, actual) = (*count, self.topic_count(born.key)?);
                let conflict = Conflict::Topics { expected, actual };
                Ok((expected != actual).then(|| conflict.into()))
            }
            _ => Ok(Some(RecordError::invalid(format!(
                "condition {index} is of a kind that this store does not know"
            )))),
        }
    }

    fn judge_none_match(
        &mut self,
        born: Born,
        index: usize,
        query: &Query,
        after: Option<Position>,
    ) -> rusqlite::Result<Option<RecordError>> {
        let log = born.key;
        let head = self.log_head(log).map(|checkpoint| checkpoint.position);
        if after > head {
            return Ok(Some(RecordError::invalid(format!(
                "condition {index} begins after position {}, beyond the head of the log at {}",
                Position::number(after),
                Position::number(head),
            ))));
        }
        let span = Span {
            first: log.seq(Position::number(after)) + 1,
            last: log.seq(Position::number(head)),
        };
        let mut matches = Matches::of(self.conn, log, query, span, Direction::Forward)?;
        let found = match matches.next(self.conn)? {
            Some(seq) => seq,
            None => return Ok(None),
        };
        // An index names it; the event's own content shows whether it matches.
        match event_that_matches(self.conn, &mut self.known.topics, born, query, found) {
            Ok(event) => {
                let (condition, found) = (index, event.checkpoint());
                Ok(Some(Conflict::Query { condition, found }.into()))
            }
            Err(error) => answered(error).map(Some),
        }
    }
}

/// Finds the first processed range that does not begin where the previous one of its follower and
/// upstream ended.
fn judge_ranges(
    conn: &Connection,
    born: Born,
    ranges: &[ProcessedRange],
) -> rusqlite::Result<Option<Conflict>> {
    let mut ends: HashMap<(&FollowerKey, LogId), (Option<Checkpoint>, Checkpoint)> = HashMap::new();
    for range in ranges {
        let key = (&range.follower, range.upstream);
        let (recorded, previous) = match ends.get(&key) {
            Some((recorded, previous)) => (*recorded, Some(*previous)),
            None => {
                let recorded = processed_ranges::checkpoint(conn, born, key.0, key.1)?;
                (recorded, recorded)
            }
        };
        if previous.is_some_and(|end| range.after != Some(end.position)) {
            return Ok(Some(Conflict::Checkpoint {
                follower: range.follower.clone(),
                upstream: range.upstream,
                checkpoint: recorded,
            }));
        }
        ends.insert(key, (recorded, range.to));
    }
    Ok(None)
}

/// Whether the append that begins at this position has exactly the ids of this one, in order.
fn is_append_at(
    conn: &Connection,
    log: LogKey,
    first: Position,
    append: &Append,
) -> rusqlite::Result<bool> {
    let count = append.new_events().len() as u64;
    let mut select = conn.prepare_cached(
        "SELECT id, place_index, place_count FROM event WHERE seq >= ?1 AND seq <= ?2 ORDER BY seq",
    )?;
    let span = params![log.seq(first.get()), log.seq(first.get() + count - 1)];
    let mut rows = select.query(span)?;
    for (index, event) in append.new_events().iter().enumerate() {
        let Some(row) = rows.next()? else {
            return Ok(false);
        };
        let place = (head::unsigned(row.get(1)?), head::unsigned(row.get(2)?));
        if place != (index as u64, count) || head::uuid(row, 0)? != event.id.uuid() {
            return Ok(false);
        }
    }
    Ok(true)
}
