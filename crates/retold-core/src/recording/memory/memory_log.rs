//! One log as a plain, synchronous state machine: the behavior that every recorder must show.
//!
//! The memory recorder keeps one [`MemoryLog`] behind a lock. The conformance suite uses the same
//! code as the specification with which it compares other stores, so the code is kept simple,
//! except for the index.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::event_index::{EventIndex, Span};
use crate::domain::Timestamp;
use crate::recording::amendment::{
    Amendment, AmendmentConflict, DELETED_TOPIC, is_amendment_record, opens_deleted_stream,
};
use crate::recording::append::{Append, Appended, Positions};
use crate::recording::condition::Condition;
use crate::recording::error::{Conflict, RecordError};
use crate::recording::identity::{Checkpoint, EventId, LogId, Position, Version};
use crate::recording::limits::{
    Limits, PAGE_NAMES_MAX, PAGE_SIZE_MAX, SNAPSHOTS_PER_STREAM_MAX, check_page_limit,
};
use crate::recording::processed_range::{FollowerKey, ProcessedRange, RecordedRange};
use crate::recording::query::Query;
use crate::recording::recorder::{
    Direction, Head, LogRead, Page, PageEnd, RangeRead, StreamEntry, StreamRead,
};
use crate::recording::snapshot::StoredSnapshot;
use crate::recording::stored_event::{AppendPlace, StoredEvent};

/// A log in memory: the sequential model of the recorder's contract.
///
/// A clone is a separate log with the same history.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    events: Vec<StoredEvent>,
    by_id: HashMap<EventId, Position>,
    index: EventIndex,
    append_count: u64,
    ranges: Vec<RecordedRange>,
    last_ranges: HashMap<(FollowerKey, LogId), LastRange>,
    snapshots: HashMap<Arc<str>, BTreeMap<Version, StoredSnapshot>>,
    /// The last event that records an amendment, of each stream that has one.
    amended: HashMap<Arc<str>, Version>,
}

/// The latest processed range of a follower over an upstream.
#[derive(Clone, Copy, Debug)]
struct LastRange {
    /// The index in the history.
    index: usize,
    to: Checkpoint,
    /// Whether the append that recorded it had events; if so, nothing is merged with it.
    with_events: bool,
}

/// The result of checking an append, before anything is written.
enum Judgment {
    /// Record it, and replace events by these, by their positions.
    Record(BTreeMap<u64, StoredEvent>),
    Repeat(Positions),
}

impl MemoryLog {
    /// Creates a log without events.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks an append in the order of rule 2 of the contract and, if it is valid, records it with
    /// the time `now`.
    ///
    /// # Errors
    ///
    /// `Invalid` or `Conflict`; the log is then unchanged.
    pub fn append(
        &mut self,
        append: &Append,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Appended, RecordError> {
        append.check(limits)?;
        match self.judge(append)? {
            Judgment::Repeat(positions) => Ok(Appended::Repeated(positions)),
            Judgment::Record(amended) => {
                self.amend(amended);
                Ok(Appended::Recorded(self.commit(append, now)))
            }
        }
    }

    fn judge(&self, append: &Append) -> Result<Judgment, RecordError> {
        if append.processed_ranges().is_empty() {
            if let Some(positions) = self.repeated(append) {
                return Ok(Judgment::Repeat(positions));
            }
        } else {
            self.judge_ranges(append.processed_ranges())?;
        }
        self.judge_ids(append)?;
        let conditions = append.all_conditions().iter().enumerate();
        for (index, condition) in conditions {
            self.judge_condition(index, condition)?;
        }
        self.judge_deleted(append)?;
        let amended = self.judge_amendments(append)?;
        Ok(Judgment::Record(amended))
    }

    /// Refuses events of deleted streams: rule 28.
    fn judge_deleted(&self, append: &Append) -> Result<(), Conflict> {
        if self.amended.is_empty() {
            return Ok(());
        }
        let mut opened = HashSet::new();
        for event in append.new_events() {
            let Some(stream) = &event.stream else {
                continue;
            };
            if opened.contains(stream) {
                continue;
            }
            if let Some(record) = self.deletion(stream)
                && !opens_deleted_stream(&event.topic)
            {
                return Err(Conflict::Deleted {
                    stream: stream.clone(),
                    record: record.checkpoint(),
                });
            }
            opened.insert(stream);
        }
        Ok(())
    }

    /// Returns the event that deleted a stream; none if the stream is not deleted.
    fn deletion(&self, stream: &str) -> Option<&StoredEvent> {
        self.amended.get(stream)?;
        let last = self.at(*self.index.stream(stream).last()?)?;
        (last.topic() == DELETED_TOPIC).then_some(last)
    }

    /// Returns the amended events, by position.
    fn judge_amendments(&self, append: &Append) -> Result<BTreeMap<u64, StoredEvent>, Conflict> {
        let mut amended = BTreeMap::new();
        for (index, amendment) in append.amendments().iter().enumerate() {
            let conflict = |reason| Conflict::Amendment {
                amendment: index,
                reason,
            };
            for position in self.named_by(amendment).map_err(conflict)? {
                let event = match amended.get(&position) {
                    Some(event) => event,
                    None => self.at(position).expect("a position of the index"),
                };
                if let Some(event) = amendment.amended(event).map_err(conflict)? {
                    amended.insert(position, event);
                }
            }
        }
        Ok(amended)
    }

    /// Returns the positions of the events that an amendment names.
    fn named_by(&self, amendment: &Amendment) -> Result<Vec<u64>, AmendmentConflict> {
        match amendment {
            Amendment::EraseStream {
                stream,
                after,
                until,
                ..
            } => {
                let versions = self.index.stream(stream);
                let until = usize::try_from(until.get()).unwrap_or(usize::MAX);
                let after = usize::try_from(Version::number(*after)).unwrap_or(usize::MAX);
                let named = versions.get(after..until);
                Ok(named.ok_or(AmendmentConflict::BeyondStream)?.to_vec())
            }
            Amendment::EraseEvent { event, .. } | Amendment::ReplaceEvent { event, .. } => {
                let position = self.by_id.get(event);
                Ok(vec![position.ok_or(AmendmentConflict::Missing)?.get()])
            }
        }
    }

    fn amend(&mut self, amended: BTreeMap<u64, StoredEvent>) {
        for (position, event) in amended {
            let position = Position::new(position).expect("a position of the index");
            let before = &mut self.events[index_of(position)];
            self.index.amend(before, &event);
            if let Some(stream) = event.stream() {
                self.snapshots.remove(stream);
            }
            *before = event;
        }
    }

    fn judge_ranges(&self, ranges: &[ProcessedRange]) -> Result<(), Conflict> {
        let mut ends = HashMap::new();
        for range in ranges {
            let key = (range.follower.clone(), range.upstream);
            let recorded = self.last_ranges.get(&key).map(|last| last.to);
            let previous = ends.get(&key).copied().or(recorded);
            if previous.is_some_and(|end: Checkpoint| range.after != Some(end.position)) {
                return Err(Conflict::Checkpoint {
                    follower: range.follower.clone(),
                    upstream: range.upstream,
                    checkpoint: recorded,
                });
            }
            ends.insert(key, range.to);
        }
        Ok(())
    }

    /// Returns the positions of the append's events, if they are exactly those of one recorded
    /// append in the same order.
    fn repeated(&self, append: &Append) -> Option<Positions> {
        let events = append.new_events();
        let first = *self.by_id.get(&events.first()?.id)?;
        let start = index_of(first);
        let recorded = self.events.get(start..start + events.len())?;
        let place = recorded.first()?.place();
        let count = events.len() as u64;
        let same = place.index == 0
            && u64::from(place.count) == count
            && recorded.iter().zip(events).all(|(a, b)| a.id() == b.id);
        same.then(|| Positions::new(first, count))
    }

    fn judge_ids(&self, append: &Append) -> Result<(), Conflict> {
        for event in append.new_events() {
            if let Some(position) = self.by_id.get(&event.id) {
                return Err(Conflict::EventId {
                    id: event.id,
                    position: *position,
                });
            }
        }
        Ok(())
    }

    fn judge_condition(&self, index: usize, condition: &Condition) -> Result<(), RecordError> {
        match condition {
            Condition::StreamAt {
                stream,
                expected,
                event,
            } => {
                let actual = self.index.version(stream);
                let last = || Some(self.at(*self.index.stream(stream).last()?)?.id());
                let Some(conflict) = Conflict::of_stream(stream, *expected, *event, actual, last)
                else {
                    return Ok(());
                };
                Err(conflict.into())
            }
            Condition::NoneMatch { query, after } => self.judge_none_match(index, query, *after),
            Condition::TopicCount { count } => {
                let (expected, actual) = (*count, self.index.topic_count());
                match expected == actual {
                    true => Ok(()),
                    false => Err(Conflict::Topics { expected, actual }.into()),
                }
            }
        }
    }

    fn judge_none_match(
        &self,
        index: usize,
        query: &Query,
        after: Option<Position>,
    ) -> Result<(), RecordError> {
        let head = self.head().position();
        if after > head {
            return Err(RecordError::invalid(format!(
                "condition {index} begins after position {}, beyond the head of the log at {}",
                Position::number(after),
                Position::number(head),
            )));
        }
        let forward = Direction::Forward;
        let span = Span::asked(after.map(Position::get), None, self.count(), forward);
        let found = self.index.matches(query).first_in(span, forward);
        match found.and_then(|number| self.at(number)) {
            None => Ok(()),
            Some(event) => Err(Conflict::Query {
                condition: index,
                found: event.checkpoint(),
            }
            .into()),
        }
    }

    fn commit(&mut self, append: &Append, now: Timestamp) -> Positions {
        let events = append.new_events();
        let head = self.head().position();
        let first = head.map_or(Position::FIRST, Position::next);
        let count = u32::try_from(events.len()).expect("the append was checked against the limits");
        self.events.reserve(events.len());
        for (index, event) in (0..).zip(events) {
            let position = first.plus(u64::from(index));
            let place = AppendPlace { index, count };
            let version = self.index.insert(event, position);
            self.by_id.insert(event.id, position);
            if let Some((stream, version)) = event.stream.as_ref().zip(version)
                && is_amendment_record(&event.topic)
            {
                self.amended.insert(stream.clone(), version);
            }
            let stored = StoredEvent::from_new(event, position, version, place, now);
            self.events.push(stored);
        }
        for range in append.processed_ranges() {
            self.record_range(range, head, !events.is_empty());
        }
        self.append_count += 1;
        Positions::new(first, u64::from(count))
    }

    fn record_range(&mut self, range: &ProcessedRange, head: Option<Position>, with_events: bool) {
        let key = (range.follower.clone(), range.upstream);
        let to = range.to;
        if let Some(last) = self.last_ranges.get_mut(&key) {
            let neighbour = &mut self.ranges[last.index];
            let joins = !last.with_events
                && !with_events
                && neighbour.head == head
                && neighbour.range.policy_version == range.policy_version;
            if joins {
                neighbour.range.to = to;
                last.to = to;
                return;
            }
        }
        let index = self.ranges.len();
        let recorded = RecordedRange::new(index as u64 + 1, range.clone(), head);
        self.ranges.push(recorded);
        let last = LastRange {
            index,
            to,
            with_events,
        };
        self.last_ranges.insert(key, last);
    }

    /// Returns the number of events, which is the number of the last position.
    fn count(&self) -> u64 {
        self.events.len() as u64
    }

    fn at(&self, position: u64) -> Option<&StoredEvent> {
        let index = usize::try_from(position.checked_sub(1)?).ok()?;
        self.events.get(index)
    }

    /// Returns the end of the log.
    pub fn head(&self) -> Head {
        Head {
            checkpoint: self.events.last().map(StoredEvent::checkpoint),
            append_count: self.append_count,
            topic_count: self.index.topic_count(),
        }
    }

    /// Returns the event with this id.
    pub fn event(&self, id: EventId) -> Option<&StoredEvent> {
        self.at(self.by_id.get(&id)?.get())
    }

    /// Reads a page of the log. `name` is the log's name in errors.
    ///
    /// # Errors
    ///
    /// `Invalid` for a read that [`LogRead::check`] rejects; `Diverged` by rule 20.
    pub fn read_log(&self, name: &str, read: &LogRead) -> Result<Page, RecordError> {
        let limit = read.check()?;
        if let Some(checkpoint) = read.checkpoint() {
            let found = self
                .at(checkpoint.position.get())
                .map(StoredEvent::checkpoint);
            RecordError::check_checkpoint(name, checkpoint, found)?;
        }
        let (after, until) = (read.after.map(Position::get), read.until.map(Position::get));
        let span = Span::asked(after, until, self.count(), read.direction);
        let matches = self.index.matches(&read.query);
        let page = self.page(span, read.direction, limit, |span| {
            let number = matches.first_in(span, read.direction)?;
            Some((number, self.at(number)?))
        });
        Ok(self.finish(page, read.direction, until.and_then(|it| self.at(it))))
    }

    /// Reads a page of a stream of the log. `name` is the log's name in errors.
    ///
    /// # Errors
    ///
    /// `Invalid` for a read that [`StreamRead::check`] rejects; `Diverged` by rule 20.
    pub fn read_stream(&self, name: &str, read: &StreamRead) -> Result<Page, RecordError> {
        let limit = read.check()?;
        let (after, until) = (read.after.map(Version::get), read.until.map(Version::get));
        let stream = self.index.stream(&read.stream);
        let at = |version: u64| {
            let index = usize::try_from(version - 1).ok()?;
            self.at(*stream.get(index)?)
        };
        if let Some((version, checkpoint)) = read.checkpoint() {
            let found = at(version.get()).map(StoredEvent::checkpoint);
            RecordError::check_checkpoint(name, checkpoint, found)?;
        }
        let span = Span::asked(after, until, stream.len() as u64, read.direction);
        let page = self.page(span, read.direction, limit, |span| {
            let version = span.begin(read.direction)?;
            Some((version, at(version)?))
        });
        Ok(self.finish(page, read.direction, until.and_then(at)))
    }

    /// Takes events from `next` until the page is full or no more follow.
    fn page<'a>(
        &'a self,
        mut span: Span,
        direction: Direction,
        limit: usize,
        next: impl Fn(Span) -> Option<(u64, &'a StoredEvent)>,
    ) -> (Vec<StoredEvent>, PageEnd) {
        let (mut events, mut size) = (Vec::new(), 0);
        while let Some((number, event)) = next(span) {
            events.push(event.clone());
            size += event.size();
            if events.len() == limit || size >= PAGE_SIZE_MAX {
                return (events, PageEnd::Full);
            }
            span = span.beyond(number, direction);
        }
        (events, PageEnd::Complete)
    }

    /// Sets how far a page covers the log: rule 8.
    fn finish(
        &self,
        (events, end): (Vec<StoredEvent>, PageEnd),
        direction: Direction,
        until: Option<&StoredEvent>,
    ) -> Page {
        let head = self.events.last();
        let read_to = match (direction, end) {
            (Direction::Backward, _) => head,
            (Direction::Forward, PageEnd::Full) => events.last(),
            (Direction::Forward, PageEnd::Complete) => until.or(head),
        };
        let read_to = read_to.map(StoredEvent::checkpoint);
        Page::new(events, read_to, end).topic_count(self.index.topic_count())
    }

    /// Returns the streams whose names begin with `prefix` and come after the name `after`.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0.
    pub fn streams(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StreamEntry>, RecordError> {
        let limit = check_page_limit(limit, PAGE_NAMES_MAX)?;
        let named = self.index.streams(prefix, after).take(limit);
        let entry = |(name, version): (Arc<str>, _)| StreamEntry {
            is_deleted: self.deletion(&name).is_some(),
            name,
            version,
        };
        Ok(named.map(entry).collect())
    }

    /// Returns the topics of the log after the topic `after`.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0.
    pub fn topics(&self, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, RecordError> {
        let limit = check_page_limit(limit, PAGE_NAMES_MAX)?;
        Ok(self.index.topics(after).take(limit).collect())
    }

    /// Returns the end of the last processed range of this follower over this upstream.
    pub fn checkpoint(&self, follower: &FollowerKey, upstream: LogId) -> Option<Checkpoint> {
        let last = self.last_ranges.get(&(follower.clone(), upstream))?;
        Some(last.to)
    }

    /// Returns a page of the history of processed ranges.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0.
    pub fn processed_ranges(&self, read: &RangeRead) -> Result<Vec<RecordedRange>, RecordError> {
        let limit = read.check()?;
        let start = usize::try_from(read.after).unwrap_or(usize::MAX);
        let is_meant = |it: &&RecordedRange| {
            let follower = read.follower.as_ref();
            follower.is_none_or(|follower| *follower == it.range.follower)
                && read.upstream.is_none_or(|log| log == it.range.upstream)
        };
        let rest = self.ranges.iter().skip(start);
        Ok(rest.filter(is_meant).take(limit).cloned().collect())
    }

    /// Stores a snapshot, unless its stream was amended after the version of the snapshot.
    ///
    /// # Errors
    ///
    /// `Invalid` for one that [`StoredSnapshot::check`] rejects.
    pub fn put_snapshot(
        &mut self,
        snapshot: StoredSnapshot,
        limits: &Limits,
    ) -> Result<(), RecordError> {
        snapshot.check(limits)?;
        if self.amended.get(&snapshot.stream) > Some(&snapshot.version) {
            return Ok(());
        }
        let kept = self.snapshots.entry(snapshot.stream.clone()).or_default();
        kept.insert(snapshot.version, snapshot);
        if kept.len() > SNAPSHOTS_PER_STREAM_MAX {
            kept.pop_first();
        }
        Ok(())
    }

    /// Returns the snapshot of the highest version, up to and including `until` if given.
    pub fn snapshot(&self, stream: &str, until: Option<Version>) -> Option<&StoredSnapshot> {
        let kept = self.snapshots.get(stream)?;
        let (_, newest) = match until {
            Some(until) => kept.range(..=until).next_back()?,
            None => kept.last_key_value()?,
        };
        Some(newest)
    }

    /// Drops all snapshots of a stream.
    pub fn drop_snapshots(&mut self, stream: &str) {
        self.snapshots.remove(stream);
    }
}

/// Returns the index of the event at a position in the vector of events.
fn index_of(position: Position) -> usize {
    usize::try_from(position.get() - 1).expect("an event in memory has an index")
}
