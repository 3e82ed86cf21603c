//! Verification of a log: checks that its reads fulfill the recorder's contract.
//!
//! It works on any recorder, because it only reads. It first reads the whole log in order and
//! checks positions, versions, places in appends, and the data stored with each payload. It then
//! reads every index and compares it with the log: each event by its id, each stream, topic and
//! tag, and the processed ranges. [`Store::verify`](super::store::Store::verify) checks everything
//! else that a database stores.
//!
//! Events that are recorded during the verification are not checked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::amendment::is_amendment_record;
use super::error::RecordError;
use super::fault::Corrupt;
use super::identity::{Checkpoint, LogId, Position, Version};
use super::limits::FINDINGS_MAX;
use super::processed_range::FollowerKey;
use super::query::Query;
use super::recorder::{Head, LogRead, Page, PageEnd, RangeRead, Recorder, StreamRead};
use super::stored_event::{AppendPlace, StoredEvent};

/// Events per page while verifying: enough for speed, and progress is reported after each page.
const PAGE_EVENTS: usize = 1_000;

/// The result of verifying a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The number of events that were read and checked.
    pub events: u64,
    /// The number of events whose payload is erased.
    pub erased: u64,
    /// The number of streams that are deleted.
    pub deleted: u64,
    /// The number of streams whose index was compared with the log.
    pub streams: u64,
    /// The number of topics whose index was compared with the log.
    pub topics: u64,
    /// The number of tags whose index was compared with the log.
    pub tags: u64,
    /// The number of processed ranges that were checked.
    pub ranges: u64,
    /// The findings, at most [`FINDINGS_MAX`]; empty if the log is sound.
    pub findings: Vec<Corrupt>,
    /// The number of findings, including those that `findings` does not keep.
    pub finding_count: u64,
}

impl VerifyReport {
    /// Returns whether there are no findings.
    pub fn is_sound(&self) -> bool {
        self.finding_count == 0
    }

    /// Adds a finding.
    pub fn add(&mut self, finding: Corrupt) {
        self.finding_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    fn note(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.add(Corrupt::new(place, what));
    }

    /// Turns corrupt data in a read into a finding; other errors end the verification.
    fn take<T>(&mut self, read: Result<T, RecordError>) -> Result<Option<T>, RecordError> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(RecordError::Corrupt(finding)) => {
                self.add(finding);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }
}

/// The progress of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// The part that is being checked.
    pub stage: VerifyStage,
    /// The number of its items that are done.
    pub done: u64,
    /// The number of its items in total.
    pub total: u64,
}

/// The parts that a verification checks, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyStage {
    /// Each event of the log, also read by its id.
    Events,
    /// Each stream.
    Streams,
    /// Each topic.
    Topics,
    /// Each tag.
    Tags,
    /// The history of processed ranges.
    Ranges,
}

/// Verifies a log, and calls `progress` regularly.
///
/// # Errors
///
/// `Unavailable` if the log cannot be read. Corrupt data is a finding, not an error.
pub async fn verify_log(
    recorder: &dyn Recorder,
    progress: &mut (dyn FnMut(VerifyProgress) + Send),
) -> Result<VerifyReport, RecordError> {
    let head = recorder.head().await?;
    let mut verification = Verification {
        recorder,
        head,
        report: VerifyReport::default(),
        progress,
        streams: BTreeMap::new(),
        topics: BTreeMap::new(),
        tags: BTreeMap::new(),
        unreadable_count: 0,
        is_amended: false,
    };
    verification.events().await?;
    if verification.unreadable_count == 0 {
        verification.streams().await?;
        verification.labels(VerifyStage::Topics).await?;
        verification.labels(VerifyStage::Tags).await?;
    }
    verification.processed_ranges().await?;
    Ok(verification.report)
}

struct Verification<'a> {
    recorder: &'a dyn Recorder,
    /// The end of the log when the verification started.
    head: Head,
    report: VerifyReport,
    progress: &'a mut (dyn FnMut(VerifyProgress) + Send),
    streams: BTreeMap<Arc<str>, Trail>,
    topics: BTreeMap<Arc<str>, Trail>,
    tags: BTreeMap<Arc<str>, Trail>,
    /// The number of events that could not be read: if there are any, no index can be compared.
    unreadable_count: u64,
    /// Whether an event may have been replaced, so that a topic may be listed that no event has any
    /// more: any record of an amendment may be that of a replacement.
    is_amended: bool,
}

/// A digest of a sequence of positions. Trails of different positions are equal only with a chance
/// of one in 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Trail {
    count: u64,
    last: u64,
    digest: u64,
}

impl Trail {
    fn push(&mut self, position: Position) {
        self.count += 1;
        self.last = position.get();
        // The mixing step of SplitMix64 (Steele, Lea, Flood, 2014), over all positions so far.
        let mut mixed = (self.digest ^ position.get()).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.digest = mixed ^ (mixed >> 31);
    }
}

impl Verification<'_> {
    fn announce(&mut self, stage: VerifyStage, done: usize, total: usize) {
        let (done, total) = (done as u64, total as u64);
        (self.progress)(VerifyProgress { stage, done, total });
    }

    /// Reads the whole log in order, checks each event on its own and against the previous one, and
    /// collects the expected content of the indexes.
    async fn events(&mut self) -> Result<(), RecordError> {
        let until = self.head.position();
        let total = Position::number(until);
        let mut last: Option<AppendPlace> = None;
        let mut after = None;
        while Position::number(after) < total {
            let read = LogRead::new().after(after).until(until);
            let Some(page) = self.page_or_event(read).await? else {
                // This event cannot be read; the next one may be readable.
                self.unreadable_count += 1;
                after = Some(after.map_or(Position::FIRST, Position::next));
                last = None;
                continue;
            };
            for event in &page.events {
                let next = after.map_or(Position::FIRST, Position::next);
                if event.position() != next {
                    let what = format!("the next position in the log is {}", event.position());
                    self.report.note(format!("position {next}"), what);
                    last = None;
                }
                self.event_alone(event);
                self.event_in_its_append(event, last);
                self.event_by_id(event).await?;
                self.remember(event);
                self.event_at_head(event);
                last = Some(event.place());
                after = Some(event.position());
                self.report.events += 1;
                self.report.erased += u64::from(event.is_erased());
                self.is_amended |= is_amendment_record(event.topic());
            }
            if page.events.is_empty() {
                let what = format!("the log ends before its head, which is at {total}");
                self.report
                    .note(format!("position {}", Position::number(after)), what);
                break;
            }
            (self.progress)(VerifyProgress {
                stage: VerifyStage::Events,
                done: Position::number(after),
                total,
            });
        }
        if last.is_some_and(|place| place.index + 1 < place.count) {
            let what = "the last append of the log is incomplete";
            self.report
                .note(format!("event at {}", Position::number(after)), what);
        }
        Ok(())
    }

    /// Returns a page of the log; if it holds corrupt data, its first event alone; none if that
    /// event is corrupt.
    async fn page_or_event(&mut self, read: LogRead) -> Result<Option<Page>, RecordError> {
        match self
            .recorder
            .read_log(read.clone().limit(PAGE_EVENTS))
            .await
        {
            Err(RecordError::Corrupt(_)) => {
                let alone = self.recorder.read_log(read.limit(1)).await;
                self.report.take(alone)
            }
            other => other.map(Some),
        }
    }

    fn event_alone(&mut self, event: &StoredEvent) {
        let stored = [
            event.encoding().err(),
            event.origin().err(),
            match event.has_sealed_metadata() {
                true => None,
                false => event.metadata().err(),
            },
        ];
        for finding in stored.into_iter().flatten() {
            self.report.add(finding);
        }
        if let Some(fault) = event.seal_fault().filter(|fault| fault.is_damage()) {
            self.report.note(place_of(event), fault.to_string());
        }
        let is_json = event.encoding_text() == super::encoding::Encoding::JSON.as_str();
        let parsed = event
            .payload()
            .filter(|_| is_json)
            .map(serde_json::from_slice::<serde::de::IgnoredAny>);
        if let Some(Err(error)) = parsed {
            let what = format!("its payload is not JSON, although its encoding is: {error}");
            self.report.note(place_of(event), what);
        }
    }

    /// Checks that appends are contiguous in the log: the places of an append's events count up to
    /// its size.
    fn event_in_its_append(&mut self, event: &StoredEvent, last: Option<AppendPlace>) {
        let place = event.place();
        let expected = match last {
            Some(last) if last.index + 1 < last.count => AppendPlace {
                index: last.index + 1,
                count: last.count,
            },
            Some(_) => AppendPlace { index: 0, ..place },
            // The first event of the log begins an append; after a gap any place is possible.
            None if event.position() == Position::FIRST => AppendPlace { index: 0, ..place },
            None => place,
        };
        if place != expected || place.index >= place.count {
            let what = format!(
                "it is number {} of {} in its append where number {} of {} is expected",
                place.index + 1,
                place.count,
                expected.index + 1,
                expected.count
            );
            self.report.note(place_of(event), what);
        }
    }

    fn event_at_head(&mut self, event: &StoredEvent) {
        let checkpoint = event.checkpoint();
        if let Some(head) = self.head.checkpoint
            && head.position == checkpoint.position
            && head != checkpoint
        {
            let what = format!(
                "the head of the log has another event there, {}",
                head.event_id
            );
            self.report.note(place_of(event), what);
        }
    }

    async fn event_by_id(&mut self, event: &StoredEvent) -> Result<(), RecordError> {
        let found = self.recorder.event(event.id()).await;
        let Some(found) = self.report.take(found)? else {
            return Ok(());
        };
        match found {
            Some(found) if found == *event => {}
            Some(found) => {
                let what = format!(
                    "its id leads to another event, the one at {}",
                    found.position()
                );
                self.report.note(place_of(event), what);
            }
            None => self
                .report
                .note(place_of(event), "its id leads to no event"),
        }
        Ok(())
    }

    fn remember(&mut self, event: &StoredEvent) {
        if let Some((stream, version)) = event.stream().zip(event.version()) {
            let trail = self.streams.entry(stream.into()).or_default();
            trail.push(event.position());
            if self.unreadable_count == 0 && version.get() != trail.count {
                let what = format!(
                    "it has version {version} of {stream:?} where {} is expected",
                    trail.count
                );
                self.report.note(place_of(event), what);
            }
        }
        let topic = self.topics.entry(event.topic().into()).or_default();
        topic.push(event.position());
        for tag in event.tags() {
            let trail = self.tags.entry(tag.into()).or_default();
            trail.push(event.position());
        }
    }

    /// Compares the list of streams and each stream's index with the log.
    async fn streams(&mut self) -> Result<(), RecordError> {
        let expected = std::mem::take(&mut self.streams);
        let mut listed = self.listed_streams().await?;
        for (index, (stream, trail)) in expected.iter().enumerate() {
            let place = format!("stream {stream:?}");
            match listed.remove(stream) {
                None => self
                    .report
                    .note(&place, "it is missing from the list of streams"),
                Some(version) if version.get() < trail.count => {
                    let what = format!(
                        "the list of streams has it at version {version}, the log at {}",
                        trail.count
                    );
                    self.report.note(&place, what);
                }
                Some(_) => {}
            }
            let found = self.trail_of_stream(stream).await?;
            self.compare(&place, *trail, found);
            self.announce(VerifyStage::Streams, index + 1, expected.len());
        }
        for stream in listed.into_keys() {
            // A stream that was created after the verification started has no events up to the
            // head.
            let read = StreamRead::new(&*stream).limit(1);
            let page = self.recorder.read_stream(read).await;
            let first = self
                .report
                .take(page)?
                .and_then(|page| page.events.first().map(StoredEvent::position));
            if first <= self.head.position() {
                self.report.note(
                    format!("stream {stream:?}"),
                    "it is in the list of streams, but the log has no event of it",
                );
            }
        }
        self.report.streams = expected.len() as u64;
        Ok(())
    }

    async fn listed_streams(&mut self) -> Result<HashMap<Arc<str>, Version>, RecordError> {
        let mut listed = HashMap::new();
        let mut after: Option<Arc<str>> = None;
        loop {
            let page = self
                .recorder
                .streams("", after.as_deref(), PAGE_EVENTS)
                .await;
            let page = self.report.take(page)?.unwrap_or_default();
            let Some(last) = page.last() else {
                return Ok(listed);
            };
            if after.as_ref().is_some_and(|after| last.name <= *after) {
                let what = "the list of streams is not in the order of names";
                self.report.note(format!("stream {:?}", last.name), what);
                return Ok(listed);
            }
            after = Some(last.name.clone());
            self.report.deleted += page.iter().filter(|entry| entry.is_deleted).count() as u64;
            listed.extend(page.into_iter().map(|entry| (entry.name, entry.version)));
        }
    }

    /// Returns the trail of a stream's index, up to the head; none if the index is corrupt.
    async fn trail_of_stream(&mut self, stream: &str) -> Result<Option<Trail>, RecordError> {
        let mut trail = Trail::default();
        let mut read = StreamRead::new(stream).limit(PAGE_EVENTS);
        loop {
            let page = self.recorder.read_stream(read.clone()).await;
            let Some(page) = self.report.take(page)? else {
                return Ok(None);
            };
            if !self.follow(&mut trail, &page) {
                return Ok(Some(trail));
            }
            let last = page.events.last().and_then(StoredEvent::version);
            if last <= read.after {
                return Ok(Some(trail));
            }
            read.after = last;
        }
    }

    /// Returns the trail of a query's index, up to the head; none if the index is corrupt.
    async fn trail_of_query(&mut self, query: Query) -> Result<Option<Trail>, RecordError> {
        let mut trail = Trail::default();
        let mut read = LogRead::of(query)
            .until(self.head.position())
            .limit(PAGE_EVENTS);
        loop {
            let page = self.recorder.read_log(read.clone()).await;
            let Some(page) = self.report.take(page)? else {
                return Ok(None);
            };
            if !self.follow(&mut trail, &page) {
                return Ok(Some(trail));
            }
            let last = page.events.last().map(StoredEvent::position);
            if last <= read.after {
                return Ok(Some(trail));
            }
            read.after = last;
        }
    }

    /// Adds a page to a trail; returns whether there may be more.
    fn follow(&self, trail: &mut Trail, page: &Page) -> bool {
        for event in &page.events {
            if Some(event.position()) > self.head.position() {
                return false;
            }
            trail.push(event.position());
        }
        page.end == PageEnd::Full
    }

    /// Compares the list of topics, and the head's count of them, with the log.
    async fn topic_list(
        &mut self,
        expected: &BTreeMap<Arc<str>, Trail>,
    ) -> Result<(), RecordError> {
        let met = expected.len() as u64;
        if self.head.topic_count < met || (self.head.topic_count > met && !self.is_amended) {
            let what = format!(
                "it counts {} topics, the log has {}",
                self.head.topic_count, met
            );
            self.report.note("the head of the log", what);
        }
        let mut listed = BTreeSet::new();
        let mut after: Option<Arc<str>> = None;
        loop {
            let page = self.recorder.topics(after.as_deref(), PAGE_EVENTS).await;
            let page = self.report.take(page)?.unwrap_or_default();
            let Some(last) = page.last().filter(|last| Some(*last) > after.as_ref()) else {
                break;
            };
            after = Some(Arc::clone(last));
            listed.extend(page);
        }
        for topic in expected.keys().filter(|it| !listed.contains(*it)) {
            let what = "it is missing from the list of topics";
            self.report.note(format!("topic {topic:?}"), what);
        }
        for topic in listed.iter().filter(|it| !expected.contains_key(*it)) {
            let read = LogRead::of(Query::topic(Arc::clone(topic))).limit(1);
            let page = self.recorder.read_log(read).await;
            let page = self.report.take(page)?;
            let first = page.and_then(|page| page.events.first().map(StoredEvent::position));
            // A topic that was recorded after the verification started has its first event beyond
            // the head.
            let is_left_over = first.is_none() && self.is_amended;
            if first <= self.head.position() && !is_left_over {
                let what = "it is in the list of topics, but the log has no event of it";
                self.report.note(format!("topic {topic:?}"), what);
            }
        }
        Ok(())
    }

    /// Compares the index of each topic or tag with the log.
    async fn labels(&mut self, stage: VerifyStage) -> Result<(), RecordError> {
        let expected = match stage {
            VerifyStage::Topics => std::mem::take(&mut self.topics),
            _ => std::mem::take(&mut self.tags),
        };
        for (index, (name, trail)) in expected.iter().enumerate() {
            let (place, query) = match stage {
                VerifyStage::Topics => (format!("topic {name:?}"), Query::topic(name.clone())),
                _ => (format!("tag {name:?}"), Query::tag(name.clone())),
            };
            let found = self.trail_of_query(query).await?;
            self.compare(&place, *trail, found);
            self.announce(stage, index + 1, expected.len());
        }
        if stage == VerifyStage::Topics {
            self.topic_list(&expected).await?;
        }
        match stage {
            VerifyStage::Topics => self.report.topics = expected.len() as u64,
            _ => self.report.tags = expected.len() as u64,
        }
        Ok(())
    }

    fn compare(&mut self, place: &str, expected: Trail, found: Option<Trail>) {
        match found {
            Some(found) if found != expected => {
                let what = format!(
                    "its index has {} events, the last at {}; the log has {}, the last at {}",
                    found.count, found.last, expected.count, expected.last
                );
                self.report.note(place, what);
            }
            _ => {}
        }
    }

    /// Checks that the processed ranges of each follower and upstream join, and end at the
    /// checkpoint.
    async fn processed_ranges(&mut self) -> Result<(), RecordError> {
        let mut ends: BTreeMap<(FollowerKey, LogId), Checkpoint> = BTreeMap::new();
        let mut read = RangeRead::new().limit(PAGE_EVENTS);
        let mut last_head = None;
        loop {
            let page = self.recorder.processed_ranges(read.clone()).await;
            let page = self.report.take(page)?.unwrap_or_default();
            if page.is_empty() {
                break;
            }
            for recorded in page {
                let place = format!("processed range {}", recorded.ordinal);
                let range = recorded.range;
                let key = (range.follower.clone(), range.upstream);
                if recorded.ordinal != read.after + 1 {
                    let what = format!("it follows processed range {}", read.after);
                    self.report.note(&place, what);
                }
                let end = ends.get(&key).map(|checkpoint| checkpoint.position);
                if end.is_some() && end != range.after {
                    let what = format!(
                        "it begins after {}, but {} had ended at {}",
                        Position::number(range.after),
                        range.follower,
                        Position::number(end)
                    );
                    self.report.note(&place, what);
                }
                if recorded.head < last_head {
                    self.report.note(
                        &place,
                        "the log's head before it is lower than that before the previous range",
                    );
                }
                last_head = recorded.head;
                ends.insert(key, range.to);
                read.after = read.after.max(recorded.ordinal);
                self.report.ranges += 1;
            }
        }
        let total = ends.len();
        for (index, ((follower, upstream), end)) in ends.into_iter().enumerate() {
            let checkpoint = self.recorder.checkpoint(&follower, upstream).await;
            let checkpoint = self.report.take(checkpoint)?.flatten();
            if checkpoint.map(|checkpoint| checkpoint.position) < Some(end.position) {
                let what =
                    format!("its checkpoint over {upstream} is before its last processed range");
                self.report.note(format!("follower {follower}"), what);
            }
            self.announce(VerifyStage::Ranges, index + 1, total);
        }
        Ok(())
    }
}

fn place_of(event: &StoredEvent) -> String {
    format!("event {} at {}", event.id(), event.position())
}
