//! A group of appends as the parameters of one statement: lists of rows, with the rows of one
//! append after those of the other.
//!
//! Anything that occurs several times in a group (an id, a stream, a follower) gets a key, so that
//! the function in the schema checks by arithmetic on lists and queries the tables once for each.

use std::collections::HashMap;
use std::hash::Hash;

use retold_core::recording::checksum::Content;
use retold_core::recording::{
    Append, AppendPlace, Condition, EventId, ExpectedVersion, Invalid, LogId, NewEvent, Position,
    ProcessedRange, Query, QueryItem, RecordError, is_amendment_record, pack_tags,
};
use tokio_postgres::{Client, Error, Row, Statement, Transaction};
use uuid::Uuid;

use super::amending::{Amending, check_amendment_kinds};
use super::parameters::{
    APPEND_AMENDING, APPEND_GROUP, ConditionRow, GroupParameters, NewEventRow, ProcessedRangeRow,
    QueryItemRow,
};
use crate::log::Born;
use crate::query_items::count;
use crate::range_checksum::RangeChecksum;
use crate::server::connection::Connection;

/// Prepares the statement that appends a group, or an append with amendments.
///
/// # Errors
///
/// The server's error; nothing was written.
pub(crate) async fn prepare(
    connection: &mut Connection,
    is_amending: bool,
) -> Result<Statement, Error> {
    let sql = match is_amending {
        true => &APPEND_AMENDING,
        false => &APPEND_GROUP,
    };
    connection.prepared(sql).await
}

/// The connection or transaction on which a group is sent.
#[derive(Clone, Copy)]
pub(crate) enum Session<'a> {
    /// The statement is a transaction by itself.
    Alone(&'a Client),
    Within(&'a Transaction<'a>),
}

/// The rows of a group, and what is known of its appends so far.
#[derive(Debug, Default)]
pub(crate) struct Group<'a> {
    parameters: GroupParameters<'a>,
    ids: Keys<Uuid>,
    streams: Keys<&'a str>,
    topics: Keys<&'a str>,
    /// The events of each stream so far, by key.
    stream_ends: Vec<StreamEnd>,
    /// Followers and their upstream logs.
    pairs: Keys<(&'a str, LogId)>,
    /// Where the last processed range of each pair ends so far, by key.
    range_ends: Vec<i64>,
    /// Whether something within the group prevents recording all of it at once.
    has_exception: bool,
    /// All events so far, for conditions of later appends.
    new_events: Vec<&'a NewEvent>,
}

/// The events of a stream in the group so far.
#[derive(Clone, Copy, Debug, Default)]
struct StreamEnd {
    count: i32,
    last: Option<EventId>,
}

/// Keys of distinct things, counted from 1.
#[derive(Debug)]
struct Keys<T>(HashMap<T, i32>);

impl<T> Default for Keys<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Copy + Eq + Hash> Keys<T> {
    /// Returns the key of a thing, and whether it is new.
    fn key(&mut self, thing: T) -> (i32, bool) {
        let next = count(self.0.len() + 1);
        let key = *self.0.entry(thing).or_insert(next);
        (key, key == next)
    }

    /// Returns the key of a thing, which is appended to the list of all if it is new.
    fn key_in(&mut self, all: &mut Vec<T>, thing: T) -> i32 {
        let (key, is_new) = self.key(thing);
        if is_new {
            all.push(thing);
        }
        key
    }
}

/// Returns the index of a key's thing in a list.
fn index(key: i32) -> usize {
    usize::try_from(key - 1).expect("keys are counted from 1")
}

/// Refuses an append with a condition of a kind that this store does not know; checked before
/// everything else.
///
/// # Errors
///
/// `Invalid`, with the index of the condition.
pub(crate) fn check_kinds(append: &Append) -> Result<(), Invalid> {
    let is_known = |it: &Condition| {
        matches!(
            it,
            Condition::StreamAt { .. } | Condition::NoneMatch { .. } | Condition::TopicCount { .. }
        )
    };
    match append.all_conditions().iter().position(|it| !is_known(it)) {
        None => Ok(()),
        Some(index) => Err(Invalid::new(format!(
            "condition {index} is of a kind that this store does not know"
        ))),
    }
}

impl<'a> Group<'a> {
    /// Returns the rows of these appends to a log, in their order.
    pub(crate) fn of(log: LogId, appends: impl IntoIterator<Item = &'a Append>) -> Self {
        let mut group = Self::default();
        for append in appends {
            group.push(log, append);
        }
        group.parameters.is_plain = !group.has_exception;
        group
    }

    fn push(&mut self, log: LogId, append: &'a Append) {
        let (events, conditions) = (append.new_events(), append.all_conditions());
        let ranges = append.processed_ranges();
        self.parameters.event_counts.push(count(events.len()));
        self.parameters
            .condition_counts
            .push(count(conditions.len()));
        self.parameters.range_counts.push(count(ranges.len()));
        for condition in conditions {
            self.push_condition(condition);
        }
        for range in ranges {
            self.push_range(log, range, !events.is_empty());
        }
        for (index, event) in (0..).zip(events) {
            let count = u32::try_from(events.len()).expect("a group is bounded");
            self.push_event(log, event, AppendPlace { index, count });
        }
    }

    /// Returns the key of a stream, and its events so far.
    fn stream(&mut self, name: &'a str) -> (i32, &mut StreamEnd) {
        let key = self.streams.key_in(&mut self.parameters.streams, name);
        self.stream_ends
            .resize(self.parameters.streams.len(), StreamEnd::default());
        (key, &mut self.stream_ends[index(key)])
    }

    fn push_event(&mut self, log: LogId, event: &'a NewEvent, place: AppendPlace) {
        self.new_events.push(event);
        let counted = event.stream.as_deref().map(|name| {
            let (key, end) = self.stream(name);
            end.count += 1;
            end.last = Some(event.id);
            (key, end.count)
        });
        let (stream_key, stream_ordinal) = counted.unzip();
        let parameters = &mut self.parameters;
        let id_key = self.ids.key_in(&mut parameters.ids, event.id.uuid());
        let packed_tags = pack_tags(event.tags.iter().map(|tag| &**tag));
        let origin = event.origin.to_text();
        let content = Content::of_new(log, event, place, &packed_tags, &origin);
        parameters.with_tags |= !event.tags.is_empty();
        parameters.events.push(NewEventRow {
            id_key,
            topic_key: self.topics.key_in(&mut parameters.topics, &event.topic),
            place_index: place.index.cast_signed(),
            place_count: place.count.cast_signed(),
            revision: event.revision.cast_signed(),
            time: event.time.as_micros(),
            payload_checksum: content.payload.cast_signed(),
            content_checksum: content.event.cast_signed(),
            stream_key,
            stream_ordinal,
            encoding: event.encoding.as_str(),
            origin,
            tags: event.tags.iter().map(|tag| &**tag).collect(),
            packed_tags,
            metadata: &event.metadata,
            payload: event.payload.as_deref(),
        });
        // An id that occurs twice, or an event that a stream may end with.
        self.has_exception |= parameters.ids.len() < parameters.events.len();
        self.has_exception |= is_amendment_record(&event.topic);
    }

    fn push_condition(&mut self, condition: &'a Condition) {
        let row = match condition {
            Condition::StreamAt {
                stream,
                expected,
                event,
            } => self.stream_condition(stream, *expected, *event),
            Condition::NoneMatch { query, after } => self.query_condition(query, *after),
            Condition::TopicCount { count } => ConditionRow {
                topic_count: Some(count.cast_signed()),
                ..ConditionRow::default()
            },
            // Refused before it was queued.
            _ => self.query_condition(&Query::All, None),
        };
        self.parameters.conditions.push(row);
    }

    fn stream_condition(
        &mut self,
        stream: &'a str,
        expected: ExpectedVersion,
        event: Option<EventId>,
    ) -> ConditionRow<'a> {
        let version = match expected {
            ExpectedVersion::None => Some(0),
            ExpectedVersion::Exists => None,
            ExpectedVersion::At(version) => Some(version.get().cast_signed()),
        };
        let (key, end) = self.stream(stream);
        let end = *end;
        // The event of an earlier append of the group is another one.
        self.has_exception |= end.count > 0 && event.is_some() && event != end.last;
        ConditionRow {
            stream_key: Some(key),
            version,
            event: event.map(EventId::uuid),
            added: end.count,
            ..ConditionRow::default()
        }
    }

    fn query_condition(&mut self, query: &'a Query, after: Option<Position>) -> ConditionRow<'a> {
        let mut row = ConditionRow {
            after: Some(Position::number(after).cast_signed()),
            ..ConditionRow::default()
        };
        match query {
            Query::Items(items) => {
                let events = (1..).zip(&self.new_events);
                let matching = events.filter(|(_, event)| would_match_any(items, event));
                row.candidates = matching.map(|(index, _)| index).collect();
                row.items = Some(items.iter().map(item_row).collect());
                self.parameters.with_queries |= !items.is_empty();
                self.has_exception |= !row.candidates.is_empty();
            }
            // A condition on all events.
            _ => self.has_exception = true,
        }
        row
    }

    fn push_range(&mut self, log: LogId, range: &'a ProcessedRange, with_events: bool) {
        let checksum = RangeChecksum::of_new(log, range, with_events);
        let follower = range.follower.as_str();
        let (pair_key, is_first) = self.pairs.key((follower, range.upstream));
        let after = range.after.map(|after| after.get().cast_signed());
        let to_position = range.to.position.get().cast_signed();
        if is_first {
            self.range_ends.push(to_position);
        } else {
            let end = &mut self.range_ends[index(pair_key)];
            self.has_exception |= after != Some(*end);
            *end = to_position;
        }
        self.has_exception |= !with_events;
        self.parameters.ranges.push(ProcessedRangeRow {
            pair_key,
            is_first,
            follower,
            upstream: range.upstream.uuid(),
            after,
            to_position,
            to_id: range.to.event_id.uuid(),
            policy_version: range.policy_version.cast_signed(),
            added: count(self.new_events.len()),
            checksum: checksum.whole,
            to_checksum: checksum.to,
        });
    }
}

fn item_row(item: &QueryItem) -> QueryItemRow<'_> {
    QueryItemRow {
        streams: item.streams.iter().map(|name| &**name).collect(),
        topics: item.topics.iter().map(|name| &**name).collect(),
        tags: item.tags.iter().map(|name| &**name).collect(),
    }
}

fn would_match_any(items: &[QueryItem], event: &NewEvent) -> bool {
    items.iter().any(|item| would_match(item, event))
}

/// Whether an event will match an item once it is recorded.
fn would_match(item: &QueryItem, event: &NewEvent) -> bool {
    let is_of_stream = item.streams.is_empty()
        || event
            .stream
            .as_ref()
            .is_some_and(|it| item.streams.contains(it));
    let has_topic = item.topics.is_empty() || item.topics.contains(&*event.topic);
    is_of_stream && has_topic && item.tags.is_subset(&event.tags)
}

impl Group<'_> {
    /// Sends the group. When this returns rows, one for each append or one for all that are
    /// recorded, the group is durable, unless it is within a transaction that must still be
    /// committed. Without rows nothing is recorded: the log does not exist.
    pub(crate) async fn send(
        &self,
        session: Session<'_>,
        statement: &Statement,
        log: Born,
        amending: Option<&Amending<'_>>,
    ) -> Result<Vec<Row>, Error> {
        let id = log.id.uuid();
        let amending = amending.map(|it| it.parameters(log.id));
        let parameters = match &amending {
            Some(amending) => self.parameters.of_amending(&log.key, &id, amending),
            None => self.parameters.of_statement(&log.key, &id),
        };
        match session {
            Session::Alone(client) => client.query(statement, &parameters).await,
            Session::Within(transaction) => transaction.query(statement, &parameters).await,
        }
    }
}

/// Checks that an append can be sent; kept next to [`Group::of`], which relies on it.
///
/// # Errors
///
/// `Invalid` as documented at [`Append::check`] and [`check_kinds`].
pub(crate) fn check(
    append: &Append,
    limits: &retold_core::recording::limits::Limits,
) -> Result<(), RecordError> {
    append.check(limits)?;
    check_amendment_kinds(append)?;
    Ok(check_kinds(append)?)
}
