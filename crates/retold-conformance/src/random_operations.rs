//! Random operations that are likely to be meaningful: near the head, near existing versions, with
//! names, ids and processed ranges that were used before.

use std::collections::BTreeSet;
use std::sync::Arc;

use fastrand::Rng;

use super::operation::Operation;
use super::scene::{LOG, checkpoint, event_id, log_id};
use retold_core::domain::Timestamp;
use retold_core::recording::Encoding;
use retold_core::recording::MemoryLog;
use retold_core::recording::NewEvent;
use retold_core::recording::Origin;
use retold_core::recording::StoredEvent;
use retold_core::recording::StoredSnapshot;
use retold_core::recording::{
    AMENDED_TOPIC, Amendment, Append, DELETED_TOPIC, ERASED_TOPIC, ErasedParts, REOPENED_TOPIC,
    Replacement,
};
use retold_core::recording::{Checkpoint, LogId, Position, Version};
use retold_core::recording::{Condition, ExpectedVersion};
use retold_core::recording::{Direction, LogRead, RangeRead, StreamRead};
use retold_core::recording::{FollowerKey, ProcessedRange};
use retold_core::recording::{Query, QueryItem};

/// Names of streams, some of which are prefixes of others.
const STREAMS: [&str; 6] = ["dog/1", "dog/10", "dog/2", "Dog/1", "cat/%", "cat"];
const TOPICS: [&str; 4] = ["Barked", "Fed", "Sold", "barked"];
const TAGS: [&str; 5] = ["brown", "Brown", "small", "a:b", "🐕"];
/// Topics of events that record amendments, or delete and reopen streams.
const RECORDS: [&str; 4] = [ERASED_TOPIC, AMENDED_TOPIC, DELETED_TOPIC, REOPENED_TOPIC];
const FOLLOWERS: [&str; 3] = ["f@1", "f@2", "g@1/0"];

/// A source of operations.
pub(super) struct RandomOperations {
    random: Rng,
    next_id: u128,
    sent: Vec<Append>,
}

impl RandomOperations {
    pub(super) fn new(random: Rng) -> Self {
        Self {
            random,
            next_id: 1,
            sent: Vec::new(),
        }
    }

    /// Returns the next operation for a log in the state of `log`.
    pub(super) fn next(&mut self, log: &MemoryLog) -> Operation {
        match self.random.u8(..100) {
            0..45 => Operation::Append(self.append(log)),
            45..60 => Operation::ReadLog(self.log_read(log)),
            60..70 => Operation::ReadStream(self.stream_read(log)),
            70..74 => Operation::Event(event_id(self.random.u128(..self.next_id + 2))),
            74..77 => Operation::Head,
            77..82 => self.streams(),
            82..86 => Operation::Checkpoint(self.follower(), self.upstream()),
            86..90 => Operation::Ranges(self.range_read()),
            90..94 => Operation::PutSnapshot(self.snapshot()),
            94..97 => {
                let until = self.random.bool().then(|| self.version(3)).flatten();
                Operation::Snapshot(self.one_of(&STREAMS).into(), until)
            }
            97 => Operation::DropSnapshots(self.one_of(&STREAMS).into()),
            98 => self.topics(),
            _ => Operation::Reopen,
        }
    }

    fn one_of<'a>(&mut self, names: &[&'a str]) -> &'a str {
        names[self.random.usize(..names.len())]
    }

    fn some_of(&mut self, names: &[&str], most: usize) -> BTreeSet<Arc<str>> {
        let count = self.random.usize(..=most);
        (0..count).map(|_| self.one_of(names).into()).collect()
    }

    fn append(&mut self, log: &MemoryLog) -> Append {
        if self.random.u8(..8) == 0 && !self.sent.is_empty() {
            return self.again();
        }
        let ranges = if self.random.u8(..4) == 0 {
            self.random.usize(1..4)
        } else {
            0
        };
        let least = usize::from(ranges == 0 && self.random.u8(..50) > 0);
        let most = if self.random.u8(..20) == 0 { 30 } else { 4 };
        let events = self.random.usize(least..most);
        let mut append = Append::of((0..events).map(|_| self.event()));
        let mut ends = Vec::new();
        for _ in 0..ranges {
            append = append.processed_range(self.processed_range(log, &mut ends));
        }
        if self.random.bool() {
            for _ in 0..self.random.usize(1..4) {
                append = append.condition(self.condition(log));
            }
        }
        if self.random.u8(..8) == 0 {
            append = self.amend(log, append);
        }
        self.sent.push(append.clone());
        append
    }

    /// Adds amendments, and usually the events that record them.
    fn amend(&mut self, log: &MemoryLog, mut append: Append) -> Append {
        for _ in 0..self.random.usize(1..4) {
            let amendment = self.amendment(log);
            let mut record = self.event();
            record.topic = self.one_of(&RECORDS).to_owned().into();
            record.stream = amendment.stream().cloned();
            append = append.amendment(amendment);
            if self.random.u8(..12) > 0 {
                append = append.event(record);
            }
        }
        append
    }

    fn amendment(&mut self, log: &MemoryLog) -> Amendment {
        let parts = ErasedParts::PAYLOAD
            .tags(self.random.bool())
            .metadata(self.random.bool());
        if self.random.u8(..3) == 0 {
            let stream = self.one_of(&STREAMS);
            let last = log.read_stream(LOG, &StreamRead::new(stream).backward().limit(1));
            let last = last.expect("a good read").events.pop();
            let last = Version::number(last.and_then(|it| it.version()));
            let until = (last + 1).saturating_sub(self.random.u64(..4));
            let after = until.saturating_sub(self.random.u64(..8));
            return Amendment::EraseStream {
                stream: stream.into(),
                after: Version::new(after),
                until: Version::new(until).unwrap_or(Version::FIRST),
                parts,
            };
        }
        let id = event_id(self.random.u128(..self.next_id + 2));
        let there = log.event(id).cloned();
        let of_there = there.as_ref().and_then(|it| it.stream().map(Arc::from));
        let stream = match self.random.u8(..12) {
            0 => self.random.bool().then(|| self.one_of(&STREAMS).into()),
            _ => of_there,
        };
        match there {
            Some(there) if self.random.bool() => {
                let mut replacement =
                    Replacement::of(&there, vec![self.random.u8(..); 3]).expect("a good encoding");
                replacement.topic = self.one_of(&TOPICS).to_owned().into();
                replacement.tags = self.some_of(&TAGS, 3);
                if self.random.u8(..10) == 0 {
                    replacement.topic = "Replaced".into();
                }
                Amendment::ReplaceEvent {
                    event: id,
                    stream,
                    replacement,
                }
            }
            _ => Amendment::EraseEvent {
                event: id,
                stream,
                parts,
            },
        }
    }

    /// Returns an append that was sent before: unchanged, cut, reversed or joined with another.
    fn again(&mut self) -> Append {
        let index = self.sent.len() - 1 - self.random.usize(..self.sent.len().min(20));
        let old = self.sent[index].clone();
        let events = old.new_events();
        match self.random.u8(..6) {
            0..3 => old,
            3 => Append::of(events.iter().take(1).cloned()),
            4 => Append::of(events.iter().rev().cloned()),
            _ => {
                let other = self.sent[self.random.usize(..self.sent.len())].clone();
                Append::of(events.iter().chain(other.new_events()).cloned())
            }
        }
    }

    fn event(&mut self) -> NewEvent {
        let id = match self.random.u8(..40) {
            0 => self.random.u128(..self.next_id),
            _ => {
                self.next_id += 1;
                self.next_id
            }
        };
        let payload: Vec<u8> = (0..self.random.usize(..20))
            .map(|_| self.random.u8(..))
            .collect();
        let mut event = NewEvent::new(event_id(id), self.one_of(&TOPICS).to_owned(), payload);
        event.stream = (self.random.u8(..4) > 0).then(|| self.one_of(&STREAMS).into());
        event.tags = self.some_of(&TAGS, 3);
        event.time = Timestamp::from_micros(self.random.i64(..));
        if self.random.u8(..40) == 0 {
            event.topic = self.one_of(&RECORDS).to_owned().into();
        }
        match self.random.u8(..8) {
            0 => event.revision(self.random.u32(1..)),
            1 => event.erased(),
            2 => event.origin(Origin::Library),
            3 => event.metadata(r#"{"user":"ann"}"#),
            4 => event.encoding(Encoding::parse("msgpack+zstd@key").expect("an encoding")),
            5 if self.random.u8(..10) == 0 => event.stream("a\nb"),
            _ => event,
        }
    }

    fn condition(&mut self, log: &MemoryLog) -> Condition {
        if self.random.u8(..10) == 0 {
            let count = log.head().topic_count;
            return Condition::topic_count(match self.random.u8(..3) {
                0 => self.random.u64(..count + 3),
                _ => count,
            });
        }
        if self.random.bool() {
            let after = match self.random.u8(..4) {
                0 => None,
                _ => self.position(log),
            };
            return Condition::none_match_after(self.query(), after);
        }
        let stream = self.one_of(&STREAMS);
        let last = log.read_stream(LOG, &StreamRead::new(stream).backward().limit(1));
        let last = last.expect("a good read").events.pop();
        let event = last.as_ref().map(StoredEvent::id);
        let last = last.and_then(|it| it.version());
        match self.random.u8(..6) {
            0 => {
                let other = event_id(self.random.u128(..self.next_id + 2));
                return Condition::stream_read(stream, last, Some(other));
            }
            1 | 2 => return Condition::stream_read(stream, last, event),
            _ => {}
        }
        let expected = match self.random.u8(..10) {
            0 => ExpectedVersion::None,
            1 => ExpectedVersion::Exists,
            2 => ExpectedVersion::seen(self.version(Version::number(last) + 2)),
            _ => ExpectedVersion::seen(last),
        };
        Condition::stream_at(stream, expected)
    }

    fn query(&mut self) -> Query {
        match self.random.u8(..12) {
            0 => Query::All,
            1 => Query::Items(Vec::new()),
            _ => Query::Items(
                (0..self.random.usize(1..4))
                    .map(|_| self.query_item())
                    .collect(),
            ),
        }
    }

    fn query_item(&mut self) -> QueryItem {
        loop {
            let item = QueryItem::new();
            let item = self
                .some_of(&STREAMS, 2)
                .into_iter()
                .fold(item, QueryItem::stream);
            let item = self
                .some_of(&TOPICS, 2)
                .into_iter()
                .fold(item, QueryItem::topic);
            let item = self
                .some_of(&TAGS, 2)
                .into_iter()
                .fold(item, QueryItem::tag);
            if item != QueryItem::new() || self.random.u8(..50) == 0 {
                return item;
            }
        }
    }

    /// Returns a position that is usually near the head, and sometimes none or beyond it.
    fn position(&mut self, log: &MemoryLog) -> Option<Position> {
        let head = Position::number(log.head().position());
        Position::new(match self.random.u8(..40) {
            0 => u64::MAX,
            1 => 1 << 63,
            2..12 => self.random.u64(..=head),
            _ => (head + 2).saturating_sub(self.random.u64(..12)),
        })
    }

    fn version(&mut self, most: u64) -> Option<Version> {
        match self.random.u8(..30) {
            0 => Version::new(u64::MAX),
            _ => Version::new(self.random.u64(..=most)),
        }
    }

    fn limit(&mut self) -> usize {
        match self.random.u8(..10) {
            0 => usize::MAX,
            1 if self.random.u8(..10) == 0 => 0,
            _ => self.random.usize(1..12),
        }
    }

    fn log_read(&mut self, log: &MemoryLog) -> LogRead {
        let query = if self.random.bool() {
            Query::All
        } else {
            self.query()
        };
        let read = LogRead::of(query).limit(self.limit());
        let read = if self.random.bool() {
            read.backward()
        } else {
            read
        };
        let after = self.position(log);
        match self.random.u8(..7) {
            0 => read,
            1 => read.after(after),
            2 => read.until(after),
            3 => read.after(after).until(self.position(log)),
            4 => read.after_checkpoint(after.map(|after| self.checkpoint_at(log, after))),
            _ => {
                let (until, limit) = self.full_at_its_end(Position::number(after), read.direction);
                read.after(after).until(Position::new(until)).limit(limit)
            }
        }
    }

    /// Returns the checkpoint at a position, or usually one that the log does not have.
    fn checkpoint_at(&mut self, log: &MemoryLog, at: Position) -> Checkpoint {
        let page = log.read_log(LOG, &LogRead::at(at)).expect("a good read");
        let there = page.events.first().map(StoredEvent::checkpoint);
        let other = checkpoint(at.get(), self.random.u128(..self.next_id + 2));
        there.filter(|_| self.random.u8(..4) > 0).unwrap_or(other)
    }

    fn stream_read(&mut self, log: &MemoryLog) -> StreamRead {
        let stream = self.one_of(&STREAMS);
        let read = StreamRead::new(stream).limit(self.limit());
        let read = if self.random.bool() {
            read.backward()
        } else {
            read
        };
        let after = self.version(40);
        match self.random.u8(..7) {
            0 => read,
            1 => read.after(after),
            2 => read.until(after),
            3 => read.after(after).until(self.version(40)),
            4 => {
                let before = Version::new(Version::number(after).saturating_sub(1));
                let one = StreamRead::new(stream).after(before).limit(1);
                let page = log.read_stream(LOG, &one).expect("a good read");
                let there = page.events.first().map(StoredEvent::checkpoint);
                let position = self.position(log).unwrap_or(Position::FIRST);
                let other = self.checkpoint_at(log, position);
                let given = there.filter(|_| self.random.u8(..4) > 0).unwrap_or(other);
                read.after_checkpoint(after, Some(given))
            }
            _ => {
                let (until, limit) = self.full_at_its_end(Version::number(after), read.direction);
                read.after(after).until(Version::new(until)).limit(limit)
            }
        }
    }

    /// Returns an end of a read that begins after `after`, and a limit with which the page may be
    /// full exactly there, one event earlier or one later.
    fn full_at_its_end(&mut self, after: u64, direction: Direction) -> (u64, usize) {
        let distance = self.random.u64(1..8);
        let until = match direction {
            Direction::Forward => after.saturating_add(distance),
            Direction::Backward => after.saturating_sub(distance),
        };
        let limit = distance
            .saturating_add_signed(self.random.i64(-1..=1))
            .max(1);
        (until, limit as usize)
    }

    fn streams(&mut self) -> Operation {
        let prefixes = ["", "dog", "dog/1", "Dog", "cat/%", "c", "x", "dog/%"];
        let after = self.random.bool().then(|| self.one_of(&prefixes).into());
        Operation::Streams {
            prefix: self.one_of(&prefixes).into(),
            after,
            limit: self.limit(),
        }
    }

    fn topics(&mut self) -> Operation {
        let after = self.random.bool().then(|| self.one_of(&TOPICS).into());
        Operation::Topics {
            after,
            limit: self.limit(),
        }
    }

    fn follower(&mut self) -> FollowerKey {
        FollowerKey::new(self.one_of(&FOLLOWERS))
    }

    fn upstream(&mut self) -> LogId {
        log_id(self.random.u128(7..9))
    }

    /// Returns a processed range that usually joins the recorded processed ranges or earlier ones
    /// of its append.
    fn processed_range(
        &mut self,
        log: &MemoryLog,
        ends: &mut Vec<(FollowerKey, LogId, Position)>,
    ) -> ProcessedRange {
        let (follower, upstream) = (self.follower(), self.upstream());
        let recorded = log.checkpoint(&follower, upstream).map(|it| it.position);
        let mut earlier = ends.iter().rev();
        let earlier = earlier.find(|(key, log, _)| *key == follower && *log == upstream);
        let end = earlier.map(|(_, _, end)| *end).or(recorded);
        let after = match self.random.u8(..10) {
            0 => Position::new(self.random.u64(..30)),
            _ => end,
        };
        let least = u64::from(self.random.u8(..30) > 0);
        let to = Position::number(after) + self.random.u64(least..4);
        let to = checkpoint(to.max(1), to.into());
        ends.push((follower.clone(), upstream, to.position));
        let policy_version = if self.random.u8(..6) == 0 { 2 } else { 1 };
        ProcessedRange::new(follower, upstream, after, to).policy_version(policy_version)
    }

    fn range_read(&mut self) -> RangeRead {
        let mut read = RangeRead::new()
            .after(self.random.u64(..20))
            .limit(self.limit());
        if self.random.bool() {
            read = read.follower(self.follower());
        }
        if self.random.bool() {
            read = read.upstream(self.upstream());
        }
        read
    }

    fn snapshot(&mut self) -> StoredSnapshot {
        let version = self.version(30).unwrap_or(Version::FIRST);
        let payload = vec![self.random.u8(..); self.random.usize(..5)];
        StoredSnapshot::new(self.one_of(&STREAMS), version, "Dog", payload)
    }
}
