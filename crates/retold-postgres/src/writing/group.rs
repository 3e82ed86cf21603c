//! A group of appends as the parameters of one statement: lists of columns, with the rows of one
//! append after those of the other.
//!
//! Anything that occurs several times in a group (an id, a stream, a follower) gets a key, so that
//! the function in the schema checks by arithmetic on lists and queries the tables once for each.

use std::collections::HashMap;
use std::hash::Hash;

use retold_core::recording::checksum::Content;
use retold_core::recording::{
    Append, AppendPlace, Condition, EventId, ExpectedVersion, Invalid, LogId, NewEvent, Position,
    ProcessedRange, Query, QueryItem, RecordError, pack_tags,
};
use tokio_postgres::{Client, Error, Row, Statement, Transaction};
use uuid::Uuid;

use crate::log::Born;
use crate::query_items::{QueryItems, count};
use crate::range_checksum::RangeChecksum;
use crate::server::connection::Connection;

/// Kinds of conditions, as `append_group` numbers them.
const STREAM_NONE: i32 = 0;
const STREAM_EXISTS: i32 = 1;
const STREAM_AT: i32 = 2;
const NONE_MATCH: i32 = 3;
const NONE_AT_ALL: i32 = 4;
const TOPIC_COUNT: i32 = 5;

/// Returns no row if the log does not exist.
const APPEND_GROUP: &str = "SELECT g.* FROM \"retold\".log l, LATERAL \"retold\".append_group(
    l.key, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
    $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38,
    $39, $40, $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52) g
    WHERE l.key = $1 AND l.id = $53";

/// Prepares the statement that appends a group.
///
/// # Errors
///
/// The server's error; nothing was written.
pub(crate) async fn prepare(connection: &mut Connection) -> Result<Statement, Error> {
    connection.prepared(APPEND_GROUP).await
}

/// The connection or transaction on which a group is sent.
#[derive(Clone, Copy)]
pub(crate) enum Session<'a> {
    /// The statement is a transaction by itself.
    Alone(&'a Client),
    Within(&'a Transaction<'a>),
}

/// The columns of a group.
#[derive(Debug, Default)]
pub(crate) struct Group<'a> {
    event_counts: Vec<i32>,
    condition_counts: Vec<i32>,
    stretch_counts: Vec<i32>,
    events: Events<'a>,
    conditions: Conditions<'a>,
    ranges: Ranges<'a>,
    ids: Keys<EventId>,
    streams: Keys<&'a str>,
    /// The events of each stream so far, by key.
    stream_ends: Vec<StreamEnd>,
    /// Whether a condition names another event than an earlier append of the group puts at its
    /// position.
    has_other_event: bool,
    /// All events so far, for conditions of later appends.
    new_events: Vec<&'a NewEvent>,
}

/// The events of a stream in the group so far.
#[derive(Clone, Copy, Debug, Default)]
struct StreamEnd {
    count: i32,
    last: Option<EventId>,
}

#[derive(Debug, Default)]
struct Events<'a> {
    ids: Vec<Uuid>,
    id_keys: Vec<i32>,
    streams: Vec<Option<&'a str>>,
    stream_keys: Vec<Option<i32>>,
    stream_ordinals: Vec<Option<i32>>,
    place_indexes: Vec<i32>,
    place_counts: Vec<i32>,
    topics: Vec<&'a str>,
    revisions: Vec<i32>,
    tags: Vec<Vec<u8>>,
    times: Vec<i64>,
    encodings: Vec<&'a str>,
    origins: Vec<String>,
    metadatas: Vec<&'a [u8]>,
    payloads: Vec<Option<&'a [u8]>>,
    payload_checksums: Vec<i64>,
    content_checksums: Vec<i64>,
    tag_events: Vec<i32>,
    tag_names: Vec<&'a str>,
}

#[derive(Debug, Default)]
struct Conditions<'a> {
    kinds: Vec<i32>,
    streams: Vec<Option<i32>>,
    numbers: Vec<i64>,
    events: Vec<Option<Uuid>>,
    offsets: Vec<i32>,
    item_starts: Vec<i32>,
    item_counts: Vec<i32>,
    candidate_starts: Vec<i32>,
    candidate_counts: Vec<i32>,
    candidates: Vec<i32>,
    items: QueryItems<'a>,
}

#[derive(Debug, Default)]
struct Ranges<'a> {
    keys: Vec<i32>,
    afters: Vec<Option<i64>>,
    to_positions: Vec<i64>,
    to_ids: Vec<Uuid>,
    policy_versions: Vec<i32>,
    heads: Vec<i32>,
    checksums: Vec<i64>,
    to_checksums: Vec<i64>,
    pairs: Keys<(&'a str, LogId)>,
    /// By key, for each follower and upstream: where its first processed range begins, and where
    /// its last so far ends.
    first_afters: Vec<Option<i64>>,
    ends: Vec<i64>,
    /// Whether a processed range does not join the previous one in the group, or is in an append
    /// without events.
    has_exception: bool,
}

/// Distinct things, each with a key counted from 1.
#[derive(Debug)]
struct Keys<T> {
    keys: HashMap<T, i32>,
    all: Vec<T>,
}

impl<T> Default for Keys<T> {
    fn default() -> Self {
        Self {
            keys: HashMap::new(),
            all: Vec::new(),
        }
    }
}

impl<T: Copy + Eq + Hash> Keys<T> {
    fn key(&mut self, thing: T) -> i32 {
        *self.keys.entry(thing).or_insert_with(|| {
            self.all.push(thing);
            count(self.all.len())
        })
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
    /// Returns the columns of these appends to a log, in their order.
    pub(crate) fn of(log: LogId, appends: impl IntoIterator<Item = &'a Append>) -> Self {
        let mut group = Self::default();
        for append in appends {
            group.push(log, append);
        }
        group
    }

    fn push(&mut self, log: LogId, append: &'a Append) {
        let (events, conditions) = (append.new_events(), append.all_conditions());
        self.event_counts.push(count(events.len()));
        self.condition_counts.push(count(conditions.len()));
        self.stretch_counts
            .push(count(append.processed_ranges().len()));
        for condition in conditions {
            self.push_condition(condition);
        }
        let head = count(self.new_events.len());
        for range in append.processed_ranges() {
            let checksum = RangeChecksum::of_new(log, range, !events.is_empty());
            self.ranges.push(range, checksum, head);
            self.ranges.has_exception |= events.is_empty();
        }
        for (index, event) in (0..).zip(events) {
            let count = u32::try_from(events.len()).expect("a group is bounded");
            self.push_event(log, event, AppendPlace { index, count });
        }
    }

    /// Returns the key of a stream, and its events so far.
    fn stream(&mut self, name: &'a str) -> (i32, &mut StreamEnd) {
        let key = self.streams.key(name);
        let count = self.streams.all.len();
        self.stream_ends.resize(count, StreamEnd::default());
        (key, &mut self.stream_ends[index(key)])
    }

    /// Whether nothing within the group prevents recording all of it, as `append_group` requires.
    fn is_plain(&self) -> bool {
        self.ids.all.len() == self.events.ids.len()
            && self.conditions.candidates.is_empty()
            && !self.conditions.kinds.contains(&NONE_AT_ALL)
            && !self.ranges.has_exception
            && !self.has_other_event
    }

    fn push_event(&mut self, log: LogId, event: &'a NewEvent, place: AppendPlace) {
        self.new_events.push(event);
        let stream = event.stream.as_deref();
        let counted = stream.map(|name| {
            let (key, end) = self.stream(name);
            end.count += 1;
            end.last = Some(event.id);
            (key, end.count)
        });
        let (key, ordinal) = counted.unzip();
        let events = &mut self.events;
        events.ids.push(event.id.uuid());
        events.id_keys.push(self.ids.key(event.id));
        events.streams.push(stream);
        events.stream_keys.push(key);
        events.stream_ordinals.push(ordinal);
        events.topics.push(&event.topic);
        events.revisions.push(event.revision.cast_signed());
        let tags = pack_tags(event.tags.iter().map(|tag| &**tag));
        let origin = event.origin.to_text();
        let content = Content::of_new(log, event, place, &tags, &origin);
        events.payload_checksums.push(content.payload.cast_signed());
        events.content_checksums.push(content.event.cast_signed());
        events.place_indexes.push(place.index.cast_signed());
        events.place_counts.push(place.count.cast_signed());
        events.tags.push(tags);
        events.times.push(event.time.as_micros());
        events.encodings.push(event.encoding.as_str());
        events.origins.push(origin);
        events.metadatas.push(&event.metadata);
        events.payloads.push(event.payload.as_deref());
        for tag in &event.tags {
            events.tag_events.push(count(events.ids.len()));
            events.tag_names.push(tag);
        }
    }

    fn push_condition(&mut self, condition: &'a Condition) {
        let (mut offset, mut named) = (0, None);
        let (kind, stream, number) = match condition {
            Condition::StreamAt {
                stream,
                expected,
                event,
            } => {
                let (kind, number) = match expected {
                    ExpectedVersion::None => (STREAM_NONE, 0),
                    ExpectedVersion::Exists => (STREAM_EXISTS, 0),
                    ExpectedVersion::At(version) => (STREAM_AT, version.get().cast_signed()),
                };
                let (key, end) = self.stream(stream);
                let end = *end;
                offset = end.count;
                named = *event;
                self.has_other_event |= offset > 0 && named.is_some() && named != end.last;
                (kind, Some(key), number)
            }
            Condition::NoneMatch { query, after } => {
                let kind = match query {
                    Query::Items(_) => NONE_MATCH,
                    _ => NONE_AT_ALL,
                };
                (kind, None, Position::number(*after).cast_signed())
            }
            Condition::TopicCount { count } => (TOPIC_COUNT, None, count.cast_signed()),
            // Refused before it was queued.
            _ => (NONE_AT_ALL, None, 0),
        };
        let items = match condition {
            Condition::NoneMatch {
                query: Query::Items(items),
                ..
            } => items.as_slice(),
            _ => &[],
        };
        let conditions = &mut self.conditions;
        conditions.kinds.push(kind);
        conditions.streams.push(stream);
        conditions.numbers.push(number);
        conditions.events.push(named.map(EventId::uuid));
        conditions.offsets.push(offset);
        conditions
            .item_starts
            .push(count(conditions.items.len() + 1));
        conditions.item_counts.push(count(items.len()));
        items.iter().for_each(|item| conditions.items.push(item));
        let before = conditions.candidates.len();
        conditions.candidate_starts.push(count(before + 1));
        if !items.is_empty() {
            for (index, event) in (1..).zip(&self.new_events) {
                if items.iter().any(|item| would_match(item, event)) {
                    conditions.candidates.push(index);
                }
            }
        }
        let found = conditions.candidates.len() - before;
        conditions.candidate_counts.push(count(found));
    }
}

impl<'a> Ranges<'a> {
    fn push(&mut self, range: &'a ProcessedRange, checksum: RangeChecksum, head: i32) {
        let key = self.pairs.key((range.follower.as_str(), range.upstream));
        let after = range.after.map(|after| after.get().cast_signed());
        let to = range.to.position.get().cast_signed();
        match self.ends.get_mut(index(key)) {
            Some(end) => {
                self.has_exception |= after != Some(*end);
                *end = to;
            }
            None => {
                self.first_afters.push(after);
                self.ends.push(to);
            }
        }
        self.keys.push(key);
        self.afters.push(after);
        self.to_positions.push(to);
        self.heads.push(head);
        self.checksums.push(checksum.whole);
        self.to_checksums.push(checksum.to);
        self.to_ids.push(range.to.event_id.uuid());
        self.policy_versions
            .push(range.policy_version.cast_signed());
    }
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
    ) -> Result<Vec<Row>, Error> {
        let (e, c, s) = (&self.events, &self.conditions, &self.ranges);
        let ids: Vec<Uuid> = self.ids.all.iter().map(|id| id.uuid()).collect();
        let (followers, upstreams): (Vec<&str>, Vec<Uuid>) = s
            .pairs
            .all
            .iter()
            .map(|(it, log)| (*it, log.uuid()))
            .unzip();
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 53] = [
            &log.key,
            &self.is_plain(),
            &self.event_counts,
            &self.condition_counts,
            &self.stretch_counts,
            &e.ids,
            &e.id_keys,
            &e.streams,
            &e.stream_keys,
            &e.stream_ordinals,
            &e.place_indexes,
            &e.place_counts,
            &e.topics,
            &e.revisions,
            &e.tags,
            &e.times,
            &e.encodings,
            &e.origins,
            &e.metadatas,
            &e.payloads,
            &e.payload_checksums,
            &e.content_checksums,
            &e.tag_events,
            &e.tag_names,
            &ids,
            &self.streams.all,
            &c.kinds,
            &c.streams,
            &c.numbers,
            &c.events,
            &c.offsets,
            &c.item_starts,
            &c.item_counts,
            &c.candidate_starts,
            &c.candidate_counts,
            &c.candidates,
            &c.items.starts,
            &c.items.streams,
            &c.items.topics,
            &c.items.tags,
            &c.items.names,
            &s.keys,
            &s.afters,
            &s.to_positions,
            &s.to_ids,
            &s.policy_versions,
            &s.heads,
            &s.checksums,
            &s.to_checksums,
            &followers,
            &upstreams,
            &s.first_afters,
            &log.id.uuid(),
        ];
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
    Ok(check_kinds(append)?)
}
