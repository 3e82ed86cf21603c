//! The verdicts on groups of appends equal those of the model, which checks one append after the
//! other: both for groups in which all appends hold, which the schema records at once, and for
//! those that must be checked one by one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use fastrand::Rng;
use futures_util::poll;
use retold_core::domain::Timestamp;
use retold_core::recording::limits::Limits;
use retold_core::recording::{
    AMENDED_TOPIC, Amendment, Append, AppendPlace, Appended, Checkpoint, Condition, DELETED_TOPIC,
    ERASED_TOPIC, ErasedParts, EventId, ExpectedVersion, FollowerKey, LogId, LogRead, MemoryLog,
    NewEvent, PageEnd, Position, ProcessedRange, Query, QueryItem, REOPENED_TOPIC, RangeRead,
    RecordError, Recorder, Replacement, Store, StoredEvent, StreamRead, Version,
};
use uuid::Uuid;

use crate::database::{Database, block_on};
use crate::writers::seed;

/// Number of groups.
const GROUPS: usize = 120;
/// Most appends in a group.
const APPENDS_MAX: usize = 12;

const STREAMS: [&str; 3] = ["a/1", "a/2", "b/1"];
const TOPICS: [&str; 3] = ["Began", "Went", "Ended"];
const RECORDS: [&str; 4] = [ERASED_TOPIC, AMENDED_TOPIC, DELETED_TOPIC, REOPENED_TOPIC];
const TAGS: [&str; 3] = ["x:1", "x:2", "y:1"];
const FOLLOWERS: [&str; 2] = ["one@1", "two@1"];

#[test]
fn groups_get_the_verdicts_of_the_model() {
    let mut random = Rng::with_seed(seed());
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let log = store.open("orders", log_id(0)).await.unwrap();
        let mut source = Source::new(random.fork());
        let blocker = database.client().await;
        for number in 0..GROUPS {
            // The first append waits for the log's row, and the others for the first.
            blocker
                .batch_execute("BEGIN; SELECT 1 FROM retold.log FOR UPDATE")
                .await
                .unwrap();
            let (appends, expected) = source.group(Doubt::KINDS[number % 3]);
            let mut answers: Vec<Asked<'_>> =
                appends.iter().map(|it| log.append(it.clone())).collect();
            let mut at_once = Vec::new();
            for answer in &mut answers {
                let answer = match poll!(answer) {
                    Poll::Ready(answer) => Some(reported(&answer)),
                    Poll::Pending => None,
                };
                let is_waiting = answer.as_deref().is_none_or(|it| it == "invalid");
                assert!(is_waiting, "the row is locked: {answer:?}");
                at_once.push(answer);
            }
            blocker.batch_execute("COMMIT").await.unwrap();
            let answers = answers.into_iter().zip(at_once);
            for ((answer, expected), append) in answers.zip(expected).zip(&appends) {
                let found = match answer {
                    (_, Some(reported)) => reported,
                    (answer, None) => reported(&answer.await),
                };
                assert_eq!(
                    found, expected,
                    "group {number}, {append:#?} of {appends:#?}"
                );
            }
        }
        same_history(&*log, &source.model).await;
    });
}

type Asked<'a> = Pin<Box<dyn Future<Output = Result<Appended, RecordError>> + Send + 'a>>;

/// Describes a result; for invalid appends without the reason.
fn reported(answer: &Result<Appended, RecordError>) -> String {
    match answer {
        Ok(appended) => format!("{appended:?}"),
        Err(RecordError::Conflict(conflict)) => format!("{conflict:?}"),
        Err(RecordError::Invalid(_)) => "invalid".to_owned(),
        Err(error) => panic!("{error}"),
    }
}

fn log_id(number: u128) -> LogId {
    LogId::new(Uuid::from_u128(number + 1))
}

/// Which appends of a group need not hold.
#[derive(Clone, Copy, PartialEq)]
enum Doubt {
    None,
    One,
    All,
}

impl Doubt {
    const KINDS: [Self; 3] = [Self::None, Self::One, Self::All];
}

/// Creates groups of appends, with the model of the log they are for.
struct Source {
    random: Rng,
    model: MemoryLog,
    /// The head before the group.
    head_before: Option<Position>,
    /// Ids used so far.
    ids: Vec<EventId>,
}

impl Source {
    fn new(random: Rng) -> Self {
        Self {
            random,
            model: MemoryLog::new(),
            head_before: None,
            ids: Vec::new(),
        }
    }

    fn ask_model(&mut self, append: &Append) -> String {
        let now = Timestamp::from_micros(0);
        reported(&self.model.append(append, &Limits::DEFAULT, now))
    }

    /// Returns appends and the model's result for each, after the earlier ones.
    fn group(&mut self, doubt: Doubt) -> (Vec<Append>, Vec<String>) {
        self.head_before = self.model.head().position();
        let count = self.random.usize(2..=APPENDS_MAX);
        let doubtful = self.random.usize(1..count);
        let appends = (0..count).map(|index| {
            let append = self.append(match doubt {
                Doubt::None => true,
                Doubt::One => index != doubtful,
                Doubt::All => false,
            });
            let answer = self.ask_model(&append);
            (append, answer)
        });
        appends.unzip()
    }

    fn append(&mut self, holding: bool) -> Append {
        let mut append = Append::new();
        for _ in 0..self.random.usize(if holding { 1..4 } else { 0..4 }) {
            append = append.event(self.event(holding));
        }
        if !holding || self.random.bool() {
            append = append.condition(self.stream_condition(holding));
        }
        if self.random.u8(..) < 80 {
            append = append.condition(self.query_condition(holding));
        }
        if self.random.u8(..) < 80 {
            append = append.processed_range(self.processed_range(holding));
        }
        if !holding && self.random.u8(..) < 60 {
            append = self.amendments(append);
        }
        if append.new_events().is_empty() && append.processed_ranges().is_empty() {
            append = append.event(self.event(holding));
        }
        append
    }

    fn event(&mut self, holding: bool) -> NewEvent {
        let known = self.random.choice(&self.ids).copied();
        let id = match known {
            Some(id) if !holding && self.random.u8(..) < 20 => id,
            _ => EventId::new(Uuid::from_u128(self.random.u128(..))),
        };
        self.ids.push(id);
        let topic = self.pick(&TOPICS);
        let mut event = NewEvent::new(id, topic, format!("{}", self.random.u8(..)));
        if self.random.u8(..) < 200 {
            event = event.stream(self.pick(&STREAMS));
        }
        for _ in 0..self.random.usize(0..3) {
            event = event.tag(self.pick(&TAGS));
        }
        event.time(Timestamp::from_micros(7))
    }

    /// Adds records of amendments, and some amendments; some of them do not hold.
    fn amendments(&mut self, mut append: Append) -> Append {
        let topic = self.pick(&RECORDS);
        let stream = self.pick(&STREAMS);
        let id = EventId::new(Uuid::from_u128(self.random.u128(..)));
        append = append.event(NewEvent::new(id, topic, "{}").stream(stream));
        for _ in 0..self.random.usize(0..3) {
            let parts = ErasedParts::PAYLOAD
                .tags(self.random.bool())
                .metadata(self.random.bool());
            let until = self.random.u64(1..30);
            let event = self.random.choice(&self.ids).copied().unwrap_or(id);
            let stream = Arc::from(stream);
            append = append.amendment(match self.random.u8(0..3) {
                0 => Amendment::EraseStream {
                    stream,
                    after: Version::new(self.random.u64(0..until)),
                    until: Version::new(until).unwrap(),
                    parts,
                },
                1 => Amendment::EraseEvent {
                    event,
                    stream: Some(stream),
                    parts,
                },
                _ => Amendment::ReplaceEvent {
                    event,
                    stream: Some(stream),
                    replacement: self.replacement(),
                },
            });
        }
        append
    }

    fn replacement(&mut self) -> Replacement {
        let any = NewEvent::new(EventId::new(Uuid::nil()), self.pick(&TOPICS), "{}");
        let any = any.tag(self.pick(&TAGS));
        let place = AppendPlace { index: 0, count: 1 };
        let now = Timestamp::from_micros(0);
        let any = StoredEvent::from_new(&any, Position::FIRST, None, place, now);
        let payload = format!("{}", self.random.u8(..));
        let mut replacement = Replacement::of(&any, payload).unwrap();
        if self.random.u8(..) < 30 {
            replacement.topic = format!("Replaced {}", self.random.u8(0..4)).into();
        }
        replacement
    }

    fn stream_condition(&mut self, holding: bool) -> Condition {
        let stream = self.pick(&STREAMS);
        let there = self
            .model
            .read_stream("dogs", &StreamRead::new(stream))
            .unwrap();
        let there = there.events.len() as u64;
        let expected = match self.random.u8(0..4) {
            0 if !holding || there == 0 => ExpectedVersion::None,
            1 if !holding || there > 0 => ExpectedVersion::Exists,
            _ if holding => ExpectedVersion::seen(Version::new(there)),
            2 => ExpectedVersion::seen(Version::new(there + self.random.u64(0..2))),
            _ => ExpectedVersion::seen(Version::new(there.saturating_sub(self.random.u64(0..3)))),
        };
        Condition::stream_at(stream, expected)
    }

    fn query_condition(&mut self, holding: bool) -> Condition {
        let head = self.head_before.map_or(0, Position::get);
        if holding {
            let after = Position::new(self.random.u64(0..=head));
            let never = QueryItem::new().tag("never").topic(self.pick(&TOPICS));
            return Condition::none_match_after(Query::item(never), after);
        }
        let after = Position::new(head.saturating_sub(2) + self.random.u64(0..5));
        if self.random.u8(..) < 30 {
            return Condition::none_match_after(Query::All, after);
        }
        let mut item = QueryItem::new().topic(self.pick(&TOPICS));
        if self.random.bool() {
            item = item.tag(self.pick(&TAGS));
        }
        if self.random.bool() {
            item = item.stream(self.pick(&STREAMS));
        }
        Condition::none_match_after(Query::item(item), after)
    }

    fn processed_range(&mut self, holding: bool) -> ProcessedRange {
        let follower = FollowerKey::new(self.pick(&FOLLOWERS));
        let number = self.random.u128(0..4);
        let upstream = log_id(number);
        let there = self.model.checkpoint(&follower, upstream);
        let after = there.map_or(0, |checkpoint| checkpoint.position.get());
        let after = Position::new(after + u64::from(!holding && self.random.u8(..) < 100));
        let to = Checkpoint {
            position: Position::new(after.map_or(0, Position::get) + 3).unwrap(),
            event_id: EventId::new(Uuid::from_u128(self.random.u128(..))),
        };
        ProcessedRange::new(follower, upstream, after, to).policy_version(self.random.u32(0..2))
    }

    fn pick(&mut self, names: &[&'static str]) -> &'static str {
        self.random.choice(names).copied().expect("there are names")
    }
}

async fn same_history(log: &dyn Recorder, model: &MemoryLog) {
    assert_eq!(log.head().await.unwrap(), model.head());
    let mut after = None;
    loop {
        let read = LogRead::of(Query::All).after(after).limit(50);
        let (page, expected) = (
            log.read_log(read.clone()),
            model.read_log(log.log_name(), &read).unwrap(),
        );
        let page = page.await.unwrap();
        let shown = |events: &[StoredEvent]| {
            let shown = events.iter().map(|event| {
                format!(
                    "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                    event.checkpoint(),
                    event.stream(),
                    event.version(),
                    event.place(),
                    event.topic(),
                    event.tags().collect::<Vec<_>>(),
                    event.time(),
                    event.payload(),
                )
            });
            shown.collect::<Vec<_>>()
        };
        assert_eq!(shown(&page.events), shown(&expected.events));
        if page.end == PageEnd::Complete {
            break;
        }
        after = page.read_to_position();
    }
    let read = RangeRead::new();
    let found = log.processed_ranges(read.clone()).await.unwrap();
    assert!(!found.is_empty());
    assert_eq!(found, model.processed_ranges(&read).unwrap());
}
