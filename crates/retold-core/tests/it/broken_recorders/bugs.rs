//! The bugs, in the order of the rules they break. Most were found in published stores.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use retold_core::domain::Timestamp;
use retold_core::recording::{
    Append, Appended, Condition, Conflict, Direction, EventId, ExpectedVersion, Head, Lease, LogId,
    LogRead, MemoryStore, NewEvent, Page, PageEnd, Position, Positions, Query, RangeRead,
    RecordError, RecordedRange, Recorder, Store, StoredEvent, StoredEventParts, StoredSnapshot,
    StreamEntry, StreamRead, Version,
};
use uuid::Uuid;

use super::broken::{Bug, Log, Result};

/// No bug.
#[derive(Default)]
pub(super) struct None;

impl Bug for None {}

/// The same append with other conditions.
fn with_conditions(append: &Append, conditions: impl IntoIterator<Item = Condition>) -> Append {
    let rest = Append::of(append.new_events().iter().cloned()).conditions(conditions);
    let rest = append
        .processed_ranges()
        .iter()
        .cloned()
        .fold(rest, Append::processed_range);
    let amendments = append.amendments().iter().cloned();
    amendments.fold(rest, Append::amendment)
}

fn recorded(positions: Positions) -> Result<Appended> {
    Ok(Appended::Recorded(positions))
}

/// An event with other parts.
fn changed(event: &StoredEvent, change: impl FnOnce(&mut StoredEventParts<'_>)) -> StoredEvent {
    let mut parts = event.parts();
    change(&mut parts);
    StoredEvent::from_parts(&parts).unwrap()
}

/// Rule 1: the first event is recorded before the others are judged.
#[derive(Default)]
pub(super) struct TwoParts;

impl Bug for TwoParts {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let [first, rest @ ..] = append.new_events() else {
            return log.append(append).await;
        };
        if rest.is_empty() {
            return log.append(append).await;
        }
        let part = log.append(Append::of([first.clone()])).await?;
        let rest = Append::of(rest.iter().cloned()).conditions(append.all_conditions().to_vec());
        let rest = append
            .processed_ranges()
            .iter()
            .cloned()
            .fold(rest, Append::processed_range);
        log.append(rest).await?;
        let count = append.new_events().len() as u64;
        recorded(Positions::new(part.positions().first().unwrap(), count))
    }
}

/// Rule 2: conditions are judged from the last to the first.
#[derive(Default)]
pub(super) struct LastConditionFirst;

impl Bug for LastConditionFirst {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let conditions = append.all_conditions().iter().rev().cloned();
        log.append(with_conditions(&append, conditions)).await
    }
}

/// Rule 2: conditions are judged before ids.
#[derive(Default)]
pub(super) struct ConditionsBeforeIds;

impl Bug for ConditionsBeforeIds {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let taken = log.append(append.clone()).await;
        let Err(RecordError::Conflict(Conflict::EventId { .. })) = taken else {
            return taken;
        };
        let probe = Append::of([NewEvent::new(
            EventId::new(Uuid::from_u128(77)),
            "Probe",
            "",
        )]);
        let last = Condition::none_match(Query::All);
        let conditions = append.all_conditions().iter().cloned().chain([last]);
        match log.append(probe.conditions(conditions)).await {
            Err(RecordError::Conflict(Conflict::Query { .. })) => taken,
            other => other,
        }
    }
}

/// Rule 20: the checkpoint to read after is treated as a position.
#[derive(Default)]
pub(super) struct CheckpointUnproven;

impl Bug for CheckpointUnproven {
    async fn read_log(&self, log: &Log, mut read: LogRead) -> Result<Page> {
        read.after_event = Option::None;
        log.read_log(read).await
    }
}

/// Rule 20: only the length of the log is checked.
#[derive(Default)]
pub(super) struct CheckpointByPosition;

impl Bug for CheckpointByPosition {
    async fn read_log(&self, log: &Log, mut read: LogRead) -> Result<Page> {
        let head = log.head().await?.position();
        if read.after <= head {
            read.after_event = Option::None;
        }
        log.read_log(read).await
    }
}

/// Rule 20: in a stream, the checkpoint to read after is treated as a version.
#[derive(Default)]
pub(super) struct StreamUnproven;

impl Bug for StreamUnproven {
    async fn read_stream(&self, log: &Log, mut read: StreamRead) -> Result<Page> {
        read.after_checkpoint = Option::None;
        log.read_stream(read).await
    }
}

/// Rule 21: any log of the name is served.
#[derive(Default)]
pub(super) struct LogByName;

impl Bug for LogByName {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        log.now().await.append(append).await
    }

    async fn read_log(&self, log: &Log, read: LogRead) -> Result<Page> {
        log.now().await.read_log(read).await
    }
}

/// Rule 3: versions are not checked.
#[derive(Default)]
pub(super) struct VersionsUnchecked;

impl Bug for VersionsUnchecked {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let is_query = |it: &&Condition| matches!(it, Condition::NoneMatch { .. });
        let conditions = append.all_conditions().iter().filter(is_query).cloned();
        log.append(with_conditions(&append, conditions)).await
    }
}

/// Rule 22: the version is checked, and not which event has it.
#[derive(Default)]
pub(super) struct EventsUnchecked;

impl Bug for EventsUnchecked {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let mut conditions = append.all_conditions().to_vec();
        for condition in &mut conditions {
            if let Condition::StreamAt {
                expected: ExpectedVersion::At(_),
                event,
                ..
            } = condition
            {
                *event = Option::None;
            }
        }
        log.append(with_conditions(&append, conditions)).await
    }
}

/// Rule 3: versions are checked, then the append is recorded, and others come in between.
#[derive(Default)]
pub(super) struct CheckedThenActed;

/// Appends that were checked and not yet recorded, through any handle.
static BETWEEN: AtomicUsize = AtomicUsize::new(0);

/// How often an append that was checked yields to others until another has been checked too: on a
/// busy machine this seldom happens without yielding.
const TURNS_MAX: usize = 5_000;

impl Bug for CheckedThenActed {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        for condition in append.all_conditions() {
            if let Condition::StreamAt {
                stream, expected, ..
            } = condition
            {
                let read = StreamRead::new(stream.clone()).backward().limit(1);
                let page = log.read_stream(read).await?;
                let actual = page.events.first().and_then(StoredEvent::version);
                if !expected.holds(actual) {
                    return log.append(append).await;
                }
            }
        }
        BETWEEN.fetch_add(1, Ordering::SeqCst);
        for _ in 0..TURNS_MAX {
            if BETWEEN.load(Ordering::SeqCst) > 1 {
                break;
            }
            thread::yield_now();
        }
        let recorded = VersionsUnchecked.append(log, append).await;
        BETWEEN.fetch_sub(1, Ordering::SeqCst);
        recorded
    }
}

/// The conditions of an append with the `after` of each query changed.
fn with_after(append: &Append, change: impl Fn(Option<Position>) -> Option<Position>) -> Append {
    let conditions = append
        .all_conditions()
        .iter()
        .map(|condition| match condition {
            Condition::NoneMatch { query, after } => {
                Condition::none_match_after(query.clone(), change(*after))
            }
            other => other.clone(),
        });
    with_conditions(append, conditions)
}

/// Rule 4: the event at `after` counts, too.
#[derive(Default)]
pub(super) struct InclusiveAfter;

impl Bug for InclusiveAfter {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let earlier = |after| Position::new(Position::number(after).saturating_sub(1));
        log.append(with_after(&append, earlier)).await
    }
}

/// Rule 4: an `after` beyond the head is treated as the head.
#[derive(Default)]
pub(super) struct AfterCutToTheHead;

impl Bug for AfterCutToTheHead {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let head = log.head().await?.position();
        log.append(with_after(&append, |after| after.min(head)))
            .await
    }
}

/// Rules 5 and 14: a repeat is recorded again.
#[derive(Default)]
pub(super) struct RepeatRecorded(AtomicU64);

impl Bug for RepeatRecorded {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        match log.append(append.clone()).await? {
            Appended::Repeated(_) => {
                let fresh = |event: &NewEvent| {
                    let number = self.0.fetch_add(1, Ordering::Relaxed);
                    let mut event = event.clone();
                    event.id = EventId::new(Uuid::from_u128(u128::MAX - u128::from(number)));
                    event
                };
                log.append(Append::of(append.new_events().iter().map(fresh)))
                    .await
            }
            appended => Ok(appended),
        }
    }
}

/// Rule 5: an event whose id is taken is left out, the others are recorded (`INSERT OR IGNORE`).
#[derive(Default)]
pub(super) struct TakenIdLeftOut;

impl Bug for TakenIdLeftOut {
    async fn append(&self, log: &Log, mut append: Append) -> Result<Appended> {
        loop {
            match log.append(append.clone()).await {
                Err(RecordError::Conflict(Conflict::EventId { id, .. })) => {
                    let rest = append.new_events().iter().filter(|it| it.id != id);
                    append = Append::of(rest.cloned());
                }
                other => return other,
            }
        }
    }
}

/// Rule 5: an append whose first id is known is treated as a repeat.
#[derive(Default)]
pub(super) struct PartIsRepeat;

impl Bug for PartIsRepeat {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        match (log.append(append.clone()).await, append.new_events()) {
            (Err(RecordError::Conflict(Conflict::EventId { id, position })), [first, ..])
                if first.id == id && append.processed_ranges().is_empty() =>
            {
                let count = append.new_events().len() as u64;
                Ok(Appended::Repeated(Positions::new(position, count)))
            }
            (other, _) => other,
        }
    }
}

/// Rule 6: a stream skips the version 4.
#[derive(Default)]
pub(super) struct VersionGap;

impl VersionGap {
    fn skip(event: &StoredEvent) -> StoredEvent {
        changed(event, |parts| {
            if let Some((_, version)) = &mut parts.stream
                && version.get() > 3
            {
                *version = version.next();
            }
        })
    }
}

impl Bug for VersionGap {
    async fn read_log(&self, log: &Log, read: LogRead) -> Result<Page> {
        let mut page = log.read_log(read).await?;
        page.events = page.events.iter().map(Self::skip).collect();
        Ok(page)
    }
}

/// Rule 6: a refused append uses up a position, as with a sequence of a database.
#[derive(Default)]
pub(super) struct PositionGap(AtomicU64);

impl Bug for PositionGap {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let result = log.append(append).await;
        if let Err(RecordError::Conflict(_)) = result {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            let id = EventId::new(Uuid::from_u128(u128::MAX - u128::from(number)));
            log.append(Append::of([NewEvent::new(id, "Gap", "")]))
                .await?;
        }
        result
    }

    async fn read_log(&self, log: &Log, read: LogRead) -> Result<Page> {
        let mut page = log.read_log(read).await?;
        page.events.retain(|it| it.topic() != "Gap");
        Ok(page)
    }
}

/// Rule 7: positions are assigned before the commit; while a transaction is open, later ones that
/// are committed can already be read.
#[derive(Default)]
pub(super) struct LateCommit {
    in_flight: Mutex<BTreeSet<Position>>,
}

impl Bug for LateCommit {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let appended = {
            let mut in_flight = self.in_flight.lock().unwrap();
            let appended = futures_util::FutureExt::now_or_never(log.append(append)).unwrap()?;
            if let Appended::Recorded(positions) = appended {
                in_flight.extend(positions.iter());
            }
            appended
        };
        thread::yield_now();
        let mut in_flight = self.in_flight.lock().unwrap();
        for position in appended.positions().iter() {
            in_flight.remove(&position);
        }
        Ok(appended)
    }

    async fn read_log(&self, log: &Log, read: LogRead) -> Result<Page> {
        let in_flight = self.in_flight.lock().unwrap().clone();
        let mut page = log.read_log(read).await?;
        page.events.retain(|it| !in_flight.contains(&it.position()));
        Ok(page)
    }
}

/// Rule 8: a filtered read ends at its last match.
#[derive(Default)]
pub(super) struct FilteredReadStays;

impl Bug for FilteredReadStays {
    async fn read_log(&self, log: &Log, read: LogRead) -> Result<Page> {
        let mut page = log.read_log(read.clone()).await?;
        if read.query != Query::All && read.direction == Direction::Forward {
            page.read_to = page.events.last().map(StoredEvent::checkpoint);
        }
        Ok(page)
    }
}

/// Rule 8: a backward page says its first event, not the head.
#[derive(Default)]
pub(super) struct BackwardReadTo;

impl Bug for BackwardReadTo {
    async fn read_log(&self, log: &Log, read: LogRead) -> Result<Page> {
        let mut page = log.read_log(read.clone()).await?;
        if read.direction == Direction::Backward {
            page.read_to = page.events.first().map(StoredEvent::checkpoint);
        }
        Ok(page)
    }
}

/// Rule 9: every second read of the head returns the previous result.
#[derive(Default)]
pub(super) struct StaleHead {
    last: Mutex<Head>,
    is_fresh: AtomicBool,
}

impl Bug for StaleHead {
    async fn head(&self, log: &Log) -> Result<Head> {
        let head = log.head().await?;
        let mut last = self.last.lock().unwrap();
        if !self.is_fresh.fetch_xor(true, Ordering::Relaxed) {
            *last = head;
        }
        Ok(*last)
    }
}

/// Rules 10 and 13: an append is acknowledged before it is synced; the next but one syncs it.
#[derive(Default)]
pub(super) struct AcknowledgedEarly {
    synced: Mutex<MemoryStore>,
    count: AtomicU64,
}

impl Bug for AcknowledgedEarly {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let appended = log.append(append).await?;
        if self.count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            *self.synced.lock().unwrap() = log.store.fork();
        }
        Ok(appended)
    }

    async fn crash_image(&self, _: &MemoryStore) -> MemoryStore {
        self.synced.lock().unwrap().fork()
    }
}

/// Rule 11: an append that is committed while another fails reports a failure.
#[derive(Default)]
pub(super) struct SharedFailure(AtomicU64);

impl Bug for SharedFailure {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let before = self.0.load(Ordering::SeqCst);
        thread::yield_now();
        let result = log.append(append).await;
        thread::yield_now();
        if result.is_err() {
            self.0.fetch_add(1, Ordering::SeqCst);
        } else if self.0.load(Ordering::SeqCst) > before {
            return Err(RecordError::invalid("a member of the group is"));
        }
        result
    }
}

/// Rule 12: a processed range that does not join is left out, its events are recorded.
#[derive(Default)]
pub(super) struct RangesUnchecked;

impl Bug for RangesUnchecked {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        match log.append(append.clone()).await {
            Err(RecordError::Conflict(Conflict::Checkpoint { .. })) => {
                let events = Append::of(append.new_events().iter().cloned());
                log.append(events.conditions(append.all_conditions().to_vec()))
                    .await
            }
            other => other,
        }
    }
}

/// Rule 12: adjacent processed ranges of two policy versions are merged.
#[derive(Default)]
pub(super) struct PolicyVersionsMerged;

impl Bug for PolicyVersionsMerged {
    async fn processed_ranges(&self, log: &Log, read: RangeRead) -> Result<Vec<RecordedRange>> {
        let mut merged = Vec::<RecordedRange>::new();
        for next in log.processed_ranges(read).await? {
            let is_neighbour = |last: &&mut RecordedRange| {
                last.range.follower == next.range.follower
                    && last.head == next.head
                    && next.range.after == Some(last.range.to.position)
            };
            match merged.iter_mut().rfind(|it| is_neighbour(it)) {
                Some(last) => last.range.to = next.range.to,
                Option::None => merged.push(next),
            }
        }
        Ok(merged)
    }
}

/// Rule 13: events survive, processed ranges do not.
#[derive(Default)]
pub(super) struct RangesForgotten;

impl Bug for RangesForgotten {
    async fn crash_image(&self, store: &MemoryStore) -> MemoryStore {
        let image = MemoryStore::new();
        for entry in store.logs(Option::None, 100).await.unwrap() {
            let log = store.open_read_only(&entry.name).await.unwrap();
            let copy = image.open(&entry.name, entry.id).await.unwrap();
            let events = log.read_log(LogRead::new()).await.unwrap().events;
            let mut rest = &events[..];
            while let Some(first) = rest.first() {
                let (append, others) = rest.split_at(first.place().count as usize);
                let append = Append::of(append.iter().map(as_new));
                copy.append(append).await.unwrap();
                rest = others;
            }
        }
        image
    }
}

fn as_new(event: &StoredEvent) -> NewEvent {
    let payload = event.payload_bytes().unwrap();
    let new = NewEvent::new(event.id(), event.topic().to_owned(), payload);
    let new = event.tags().fold(new, NewEvent::tag);
    match event.stream() {
        Some(stream) => new.stream(stream),
        Option::None => new,
    }
}

/// Rule 14: a dropped append leaves its first event.
#[derive(Default)]
pub(super) struct DropTears;

impl Bug for DropTears {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let plain = append.all_conditions().is_empty() && append.processed_ranges().is_empty();
        match append.new_events() {
            [first, rest @ ..] if plain && !rest.is_empty() => {
                let known = log.event(first.id).await?;
                if known.is_none() {
                    log.append(Append::of([first.clone()])).await?;
                    tokio::task::yield_now().await;
                    log.append(Append::of(rest.iter().cloned())).await?;
                }
                let known = log.event(first.id).await?.unwrap();
                let count = append.new_events().len() as u64;
                recorded(Positions::new(known.position(), count))
            }
            _ => log.append(append).await,
        }
    }
}

/// Rule 15: names that differ in case only are one log.
#[derive(Default)]
pub(super) struct NamesWithoutCase;

impl Bug for NamesWithoutCase {
    fn log_name(&self, name: &str) -> String {
        name.to_lowercase()
    }
}

/// Rule 16: an append that is too large is recorded as two.
#[derive(Default)]
pub(super) struct TooManySplit;

impl Bug for TooManySplit {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let events = append.new_events();
        if events.len() <= log.limits().append_events {
            return log.append(append).await;
        }
        let (first, rest) = events.split_at(log.limits().append_events);
        log.append(Append::of(rest.iter().cloned())).await?;
        log.append(Append::of(first.iter().cloned())).await
    }
}

/// Rule 16: a tag that is too long is truncated.
#[derive(Default)]
pub(super) struct NamesCut;

impl Bug for NamesCut {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let cut = |event: &NewEvent| {
            let mut event = event.clone();
            let cut = |tag: &str| tag.chars().take(100).collect::<String>().into();
            event.tags = event.tags.iter().map(|tag| cut(tag)).collect();
            event
        };
        let rest = Append::of(append.new_events().iter().map(cut));
        let rest = rest.conditions(append.all_conditions().to_vec());
        log.append(
            append
                .processed_ranges()
                .iter()
                .cloned()
                .fold(rest, Append::processed_range),
        )
        .await
    }
}

/// Rule 17: reading creates a log.
#[derive(Default)]
pub(super) struct ReaderBears;

impl Bug for ReaderBears {
    async fn open_read_only(
        &self,
        store: &MemoryStore,
        log: &str,
    ) -> Result<std::sync::Arc<dyn Recorder>> {
        store.open(log, LogId::new(Uuid::from_u128(5))).await
    }
}

/// Rule 18: the conflict is that of the query's first item with a match, not the first match.
#[derive(Default)]
pub(super) struct FirstItemFirst;

impl Bug for FirstItemFirst {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let result = log.append(append.clone()).await;
        let Err(RecordError::Conflict(Conflict::Query { condition, .. })) = result else {
            return result;
        };
        let Condition::NoneMatch { query, after } = &append.all_conditions()[condition] else {
            return result;
        };
        let Query::Items(items) = query else {
            return result;
        };
        for item in items {
            let read = LogRead::of(Query::item(item.clone()))
                .after(*after)
                .limit(1);
            if let Some(first) = log.read_log(read).await?.events.first() {
                let found = first.checkpoint();
                return Err(Conflict::Query { condition, found }.into());
            }
        }
        result
    }
}

/// Rule 18: a backward page that is full exactly where `until` ends reports that it is complete.
#[derive(Default)]
pub(super) struct CutMeetsEnd;

impl Bug for CutMeetsEnd {
    async fn read_log(&self, log: &Log, read: LogRead) -> Result<Page> {
        let mut page = log.read_log(read.clone()).await?;
        let last = page.events.last().map(StoredEvent::position);
        let meets = read.until.is_some() && last == read.until;
        if meets && read.direction == Direction::Backward {
            page.end = PageEnd::Complete;
        }
        Ok(page)
    }
}

/// A page of a stream reports the head after the read, not the one of its state.
#[derive(Default)]
pub(super) struct TornPage;

impl Bug for TornPage {
    async fn read_stream(&self, log: &Log, read: StreamRead) -> Result<Page> {
        let mut page = log.read_stream(read.clone()).await?;
        for _ in 0..3 {
            thread::yield_now();
        }
        let is_cut = page.end == PageEnd::Full || read.until.is_some();
        if !is_cut || read.direction == Direction::Backward {
            page.read_to = log.head().await?.checkpoint;
        }
        Ok(page)
    }
}

/// A prefix is treated as a pattern of `LIKE`: `_` is any character.
#[derive(Default)]
pub(super) struct PrefixIsPattern;

impl Bug for PrefixIsPattern {
    async fn streams(
        &self,
        log: &Log,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StreamEntry>> {
        if prefix != "_" {
            return log.streams(prefix, after, limit).await;
        }
        log.streams("", after, limit).await
    }
}

/// Tags are stored in lower case.
#[derive(Default)]
pub(super) struct TagsWithoutCase;

impl Bug for TagsWithoutCase {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let lower = |event: &NewEvent| {
            let mut event = event.clone();
            event.tags = event
                .tags
                .iter()
                .map(|tag| tag.to_lowercase().into())
                .collect();
            event
        };
        let rest = Append::of(append.new_events().iter().map(lower));
        log.append(rest).await
    }
}

/// Times are stored in milliseconds.
#[derive(Default)]
pub(super) struct TimeInMillis;

impl Bug for TimeInMillis {
    async fn read_log(&self, log: &Log, read: LogRead) -> Result<Page> {
        let cut = |event: &StoredEvent| {
            let millis = event.time().as_micros() / 1000;
            changed(event, |parts| {
                parts.time = Timestamp::from_micros(millis * 1000)
            })
        };
        let mut page = log.read_log(read).await?;
        page.events = page.events.iter().map(cut).collect();
        Ok(page)
    }
}

/// The latest snapshot is returned, regardless of the request.
#[derive(Default)]
pub(super) struct SnapshotBeyond;

impl Bug for SnapshotBeyond {
    async fn snapshot(
        &self,
        log: &Log,
        stream: &str,
        _: Option<Version>,
    ) -> Result<Option<StoredSnapshot>> {
        log.snapshot(stream, Option::None).await
    }
}

/// Every caller that requests a lease gets it.
#[derive(Default)]
pub(super) struct LeaseForAll;

/// Returns the time of another clock than that by which leases end.
#[derive(Clone, Copy, Default)]
pub(super) struct ForeignClock;

impl Bug for ForeignClock {
    async fn now(&self, store: &MemoryStore) -> Result<Timestamp> {
        Ok(store.now().await?.saturating_add(Duration::from_secs(1)))
    }
}

impl Bug for LeaseForAll {
    async fn acquire_lease(
        &self,
        store: &MemoryStore,
        name: &str,
        holder: &str,
        time_to_live: Duration,
    ) -> Result<Lease> {
        let mut lease = store.acquire_lease(name, holder, time_to_live).await?;
        lease.holder = holder.into();
        Ok(lease)
    }
}
