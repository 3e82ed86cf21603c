//! Verifying a log: a sound one is found sound, and each kind of damage is found.
//!
//! Method: a recorder that misreports, in one way at a time, a sound log in memory.

use std::sync::Arc;

use retold_core::recording::limits::FINDINGS_MAX;
use retold_core::recording::{
    Append, BoxFuture, Checkpoint, Corrupt, EventId, FollowerKey, Head, LogId, LogRead,
    MemoryStore, NewEvent, Page, Position, ProcessedRange, Query, RangeRead, RecordError,
    RecordedRange, Recorder, RecorderLayer, Store, StoredEvent, StoredEventParts, StreamEntry,
    StreamRead, VerifyReport, VerifyStage, Version, verify_log,
};
use uuid::Uuid;

/// What a lying recorder reports of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// The event at 2 is not in the log.
    LogWithout2,
    /// The event at 2 cannot be read.
    Corrupt2,
    /// The log ends at 9.
    HeadBeyond,
    /// The event at 3 has another version.
    Version3,
    /// The event at 4 claims to be the only one of its append.
    Place4,
    /// The last append lacks its last event.
    LastAppendCut,
    /// The event at 4 has malformed metadata.
    Metadata4,
    /// No event is found by its id.
    NoIds,
    /// Every id leads to the event at 1.
    OneId,
    /// The index of every stream lacks its last event.
    StreamsShort,
    /// The index of every topic or tag lacks its last event.
    LabelsShort,
    /// The list of streams is empty.
    NoStreams,
    /// The list of streams has one that is not in the log.
    GhostStream,
    /// The list of topics is empty.
    NoTopics,
    /// The list of topics has one that is not in the log.
    GhostTopic,
    /// The head counts one topic too few.
    TopicsMiscounted,
    /// A processed range is missing from the history.
    RangeGap,
    /// There is no checkpoint.
    NoCheckpoint,
}

struct Liar {
    inner: Arc<dyn Recorder>,
    lie: Lie,
}

impl Liar {
    fn event(&self, event: StoredEvent) -> StoredEvent {
        let metadata = match (self.lie, event.position().get()) {
            (Lie::Metadata4, 4) => &b"[]"[..],
            _ => event.metadata_bytes(),
        };
        let mut stream = event.stream().zip(event.version());
        let mut place = event.place();
        match (self.lie, event.position().get()) {
            (Lie::Version3, 3) => stream = stream.map(|(name, it)| (name, it.next())),
            (Lie::Place4, 4) => place.count = 1,
            _ => {}
        }
        StoredEvent::from_parts(&StoredEventParts {
            position: event.position(),
            id: event.id(),
            stream,
            place,
            topic: event.topic(),
            revision: event.revision(),
            tags: event.packed_tags(),
            time: event.time(),
            recorded_at: event.recorded_at(),
            origin: event.origin_text(),
            metadata,
            encoding: event.encoding_text(),
            payload: event.payload(),
        })
        .unwrap()
    }

    fn page(&self, read: &LogRead, mut page: Page) -> Result<Page, RecordError> {
        let has_2 = page.events.iter().any(|it| it.position().get() == 2);
        match self.lie {
            Lie::LogWithout2 => page.events.retain(|it| it.position().get() != 2),
            Lie::Corrupt2 if has_2 => return Err(Corrupt::new("event at 2", "torn").into()),
            Lie::LabelsShort if read.query != Query::All => drop(page.events.pop()),
            Lie::LastAppendCut if read.query == Query::All => {
                page.events.retain(|it| it.position().get() != 5);
            }
            _ => {}
        }
        page.events = page.events.drain(..).map(|it| self.event(it)).collect();
        Ok(page)
    }
}

impl RecorderLayer for Liar {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.inner
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            let page = self.inner.read_log(read.clone()).await?;
            self.page(&read, page)
        })
    }

    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            let mut page = self.inner.read_stream(read).await?;
            if self.lie == Lie::StreamsShort {
                page.events.pop();
            }
            Ok(page)
        })
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>> {
        Box::pin(async move {
            let id = if self.lie == Lie::OneId {
                event_id(1)
            } else {
                id
            };
            let found = self.inner.event(id).await?;
            Ok(found
                .filter(|_| self.lie != Lie::NoIds)
                .map(|it| Self::event(self, it)))
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>> {
        Box::pin(async move {
            let mut head = self.inner.head().await?;
            if let (Lie::HeadBeyond, Some(checkpoint)) = (self.lie, &mut head.checkpoint) {
                checkpoint.position = Position::new(9).unwrap();
            }
            if self.lie == Lie::TopicsMiscounted {
                head.topic_count -= 1;
            }
            Ok(head)
        })
    }

    fn streams<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>, RecordError>> {
        Box::pin(async move {
            let mut streams = self.inner.streams(prefix, after, limit).await?;
            match self.lie {
                Lie::NoStreams => streams.clear(),
                Lie::GhostStream if !streams.is_empty() => streams.push(StreamEntry {
                    name: "ghost/1".into(),
                    version: Version::FIRST,
                    is_deleted: false,
                }),
                _ => {}
            }
            Ok(streams)
        })
    }

    fn topics<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<str>>, RecordError>> {
        Box::pin(async move {
            let mut topics = self.inner.topics(after, limit).await?;
            match self.lie {
                Lie::NoTopics => topics.clear(),
                Lie::GhostTopic if !topics.is_empty() => topics.push("Ghost".into()),
                _ => {}
            }
            Ok(topics)
        })
    }

    fn checkpoint<'a>(
        &'a self,
        follower: &'a FollowerKey,
        upstream: LogId,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, RecordError>> {
        match self.lie {
            Lie::NoCheckpoint => Box::pin(std::future::ready(Ok(None))),
            _ => self.inner.checkpoint(follower, upstream),
        }
    }

    fn processed_ranges(
        &self,
        read: RangeRead,
    ) -> BoxFuture<'_, Result<Vec<RecordedRange>, RecordError>> {
        Box::pin(async move {
            let mut ranges = self.inner.processed_ranges(read).await?;
            if self.lie == Lie::RangeGap {
                ranges.retain(|it| it.ordinal != 2);
            }
            Ok(ranges)
        })
    }
}

fn event_id(number: u128) -> EventId {
    Uuid::from_u128(number).into()
}

fn event(number: u128, topic: &'static str) -> NewEvent {
    NewEvent::new(event_id(number), topic, &b"{}"[..])
}

fn processed(after: u64, to: u64) -> ProcessedRange {
    let to = Checkpoint {
        position: Position::new(to).unwrap(),
        event_id: event_id(u128::from(to)),
    };
    let upstream = Uuid::from_u128(7).into();
    ProcessedRange::new(FollowerKey::new("f@1"), upstream, Position::new(after), to)
}

/// Five events in three appends, of two streams and none; three processed ranges.
async fn log() -> Arc<dyn Recorder> {
    let store = MemoryStore::new();
    let log = store.open("log", Uuid::from_u128(1).into()).await.unwrap();
    let appends = [
        Append::of([event(1, "A").stream("dog/1").tag("red")]).processed_range(processed(0, 3)),
        Append::of([
            event(2, "B").stream("dog/1"),
            event(3, "A").stream("cat/1").tag("red").tag("blue"),
        ])
        .processed_range(processed(3, 4)),
        Append::of([event(4, "B"), event(5, "B").stream("dog/1").tag("blue")])
            .processed_range(processed(4, 9)),
    ];
    for append in appends {
        log.append(append).await.unwrap();
    }
    log
}

async fn verify(inner: Arc<dyn Recorder>, lie: Lie) -> VerifyReport {
    let liar = Liar { inner, lie };
    verify_log(&liar, &mut |_| {}).await.unwrap()
}

#[tokio::test]
async fn a_sound_log_is_sound_and_counted() {
    let mut stages = Vec::new();
    let liar = Liar {
        inner: log().await,
        lie: Lie::None,
    };
    let report = verify_log(&liar, &mut |progress| {
        assert!(progress.done <= progress.total);
        stages.push(progress.stage);
    })
    .await
    .unwrap();

    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!((report.events, report.streams, report.topics), (5, 2, 2));
    assert_eq!((report.tags, report.ranges), (2, 3));
    stages.dedup();
    let all = [
        VerifyStage::Events,
        VerifyStage::Streams,
        VerifyStage::Topics,
        VerifyStage::Tags,
        VerifyStage::Ranges,
    ];
    assert_eq!(stages, all);
}

#[tokio::test]
async fn an_empty_log_is_sound() {
    let log = MemoryStore::new().open_read_only("none").await.unwrap();
    let report = verify(log, Lie::None).await;
    assert_eq!(report, VerifyReport::default());
}

#[tokio::test]
async fn each_damage_is_found_and_named() {
    let cases = [
        (
            Lie::LogWithout2,
            "position 2: the next position in the log is 3",
        ),
        (Lie::Corrupt2, "event at 2: torn"),
        (
            Lie::HeadBeyond,
            "the log ends before its head, which is at 9",
        ),
        (
            Lie::Version3,
            "it has version 2 of \"cat/1\" where 1 is expected",
        ),
        (
            Lie::Place4,
            "event 00000000-0000-0000-0000-000000000005 at 5: it is number 2 of 2",
        ),
        (
            Lie::LastAppendCut,
            "the last append of the log is incomplete",
        ),
        (
            Lie::Metadata4,
            "event 00000000-0000-0000-0000-000000000004 at 4",
        ),
        (Lie::NoIds, "its id leads to no event"),
        (Lie::OneId, "its id leads to another event, the one at 1"),
        (
            Lie::StreamsShort,
            "stream \"dog/1\": its index has 2 events, the last at 2; the log has 3",
        ),
        (
            Lie::LabelsShort,
            "topic \"B\": its index has 2 events, the last at 4; the log has 3",
        ),
        (Lie::LabelsShort, "tag \"blue\": its index has 1 events"),
        (
            Lie::NoStreams,
            "stream \"cat/1\": it is missing from the list of streams",
        ),
        (
            Lie::NoTopics,
            "topic \"A\": it is missing from the list of topics",
        ),
        (
            Lie::GhostTopic,
            "topic \"Ghost\": it is in the list of topics, but the log has no event of it",
        ),
        (
            Lie::TopicsMiscounted,
            "the head of the log: it counts 1 topics, the log has 2",
        ),
        (
            Lie::GhostStream,
            "stream \"ghost/1\": it is in the list of streams",
        ),
        (
            Lie::RangeGap,
            "processed range 3: it follows processed range 1",
        ),
        (Lie::RangeGap, "it begins after 4, but f@1 had ended at 3"),
        (Lie::NoCheckpoint, "follower f@1: its checkpoint"),
    ];
    for (lie, expected) in cases {
        let report = verify(log().await, lie).await;
        let findings: Vec<String> = report.findings.iter().map(Corrupt::to_string).collect();
        assert!(
            findings.iter().any(|it| it.contains(expected)),
            "{lie:?} was to be found as {expected:?}, but: {findings:#?}"
        );
    }
}

#[tokio::test]
async fn what_is_not_json_is_found() {
    let log = log().await;
    let torn = NewEvent::new(event_id(6), "A", &b"{"[..]);
    log.append(Append::of([torn])).await.unwrap();

    let report = verify(log, Lie::None).await;

    assert_eq!(report.finding_count, 1);
    let finding = report.findings[0].to_string();
    assert!(
        finding.contains("at 6: its payload is not JSON"),
        "{finding}"
    );
}

#[tokio::test]
async fn after_an_unreadable_event_the_rest_is_read() {
    let report = verify(log().await, Lie::Corrupt2).await;
    assert_eq!((report.events, report.finding_count), (4, 1), "{report:?}");
}

#[tokio::test]
async fn a_ruined_log_fills_no_memory() {
    let log = log().await;
    for number in 0..FINDINGS_MAX as u128 {
        let torn = NewEvent::new(event_id(100 + number), "A", &b"{"[..]);
        log.append(Append::of([torn])).await.unwrap();
    }
    let report = verify(log, Lie::NoIds).await;
    assert_eq!(report.findings.len(), FINDINGS_MAX);
    assert_eq!(report.finding_count, 2 * FINDINGS_MAX as u64 + 5);
}
