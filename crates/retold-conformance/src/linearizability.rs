//! Concurrent operations are linearizable: each takes effect at one instant between its call and
//! its answer. The specification is the memory log, executed sequentially.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::FutureExt;

use super::dropping::poll_at_most;
use super::history::{Operation, Specification, linearize};
use super::scene::{
    AppendOutcome, LOG, Scene, at_once, event_id, event_of, head, log_id, open, outcome, processed,
    read, read_stream, seed, send,
};
use super::subject::Subject;
use retold_core::domain::Timestamp;
use retold_core::recording::Conflict;
use retold_core::recording::FollowerKey;
use retold_core::recording::MemoryLog;
use retold_core::recording::Query;
use retold_core::recording::StoredEvent;
use retold_core::recording::limits::Limits;
use retold_core::recording::{Amendment, Append, ERASED_TOPIC, ErasedParts};
use retold_core::recording::{Checkpoint, EventId, Position, Version};
use retold_core::recording::{Condition, ExpectedVersion};
use retold_core::recording::{Head, LogRead, Page, Recorder, StreamRead};

const CALLERS: usize = 3;
const CALLS: u128 = 6;
/// The minimum number of histories to check, and the maximum if time allows.
const HISTORIES: (u64, u64) = (30, 250);
/// How long to continue after the minimum number of histories.
const TIME: Duration = Duration::from_secs(3);

/// Concurrent calls are linearizable: every history of them can be explained by an order in which a
/// single caller could have made them. The calls are appends conditional on a version or a query,
/// with a processed range or with an amendment; reads of streams, queries, checkpoints and the
/// head; some callers drop their calls.
pub async fn concurrent_operations_are_linearizable<S: Subject>() {
    let seed = seed();
    let scene = Scene::<S>::new().await;
    let begin = Instant::now();
    let mut contended = 0;
    for number in 0..HISTORIES.1 {
        if number >= HISTORIES.0 && begin.elapsed() > TIME {
            break;
        }
        let history = live(&scene, number, seed).await;
        let lost = |it: &&LogOperation| {
            let conflict = |answer: &LogAnswer| {
                matches!(answer, LogAnswer::Append(AppendOutcome::Conflict(_)))
            };
            it.answer
                .as_ref()
                .is_some_and(|(answer, _)| conflict(answer))
        };
        contended += history.iter().filter(lost).count();
        if linearize(&LogSpecification::default(), &history).is_none() {
            panic!(
                "history {number} has no order that explains it:\n{}",
                show(&history)
            );
        }
    }
    assert!(contended > 0, "the callers competed");
}

type LogOperation = Operation<Call, LogAnswer>;

#[derive(Clone, Debug)]
enum Call {
    Append(Append),
    Head,
    Stream(StreamRead),
    Log(LogRead),
    Checkpoint,
}

#[derive(Clone, Debug, PartialEq)]
enum LogAnswer {
    Append(AppendOutcome),
    Head(Head),
    /// The events, and whether they are erased.
    Page(Vec<(Checkpoint, bool)>, Option<Checkpoint>),
    Checkpoint(Option<Checkpoint>),
}

fn seen(event: &StoredEvent) -> (Checkpoint, bool) {
    (event.checkpoint(), event.is_erased())
}

impl LogAnswer {
    fn page(page: &Page) -> Self {
        Self::Page(page.events.iter().map(seen).collect(), page.read_to)
    }
}

/// The memory log, executed sequentially.
#[derive(Clone, Default)]
struct LogSpecification {
    log: MemoryLog,
    ids: Vec<EventId>,
}

impl Specification for LogSpecification {
    type Call = Call;
    type Answer = LogAnswer;
    /// The calls observe only the events, whether they are erased, and the checkpoint of the one
    /// follower.
    type State = (Vec<(EventId, bool)>, u64, Option<Position>);

    fn execute(&mut self, call: &Call) -> LogAnswer {
        match call {
            Call::Append(append) => {
                let result = self
                    .log
                    .append(append, &Limits::DEFAULT, Timestamp::default());
                let outcome = outcome(result);
                if let AppendOutcome::Recorded(_) = outcome {
                    self.ids.extend(append.new_events().iter().map(|it| it.id));
                }
                LogAnswer::Append(outcome)
            }
            Call::Head => LogAnswer::Head(self.log.head()),
            Call::Checkpoint => LogAnswer::Checkpoint(self.checkpoint()),
            Call::Stream(read) => {
                LogAnswer::page(&self.log.read_stream(LOG, read).expect("a good read"))
            }
            Call::Log(read) => LogAnswer::page(&self.log.read_log(LOG, read).expect("a good read")),
        }
    }

    fn state(&self) -> Self::State {
        let checkpoint = self.checkpoint().map(|checkpoint| checkpoint.position);
        let append_count = self.log.head().append_count;
        let is_erased = |id: &EventId| self.log.event(*id).is_some_and(StoredEvent::is_erased);
        let events = self.ids.iter().map(|id| (*id, is_erased(id))).collect();
        (events, append_count, checkpoint)
    }
}

impl LogSpecification {
    fn checkpoint(&self) -> Option<Checkpoint> {
        self.log.checkpoint(&follower(), log_id(9))
    }
}

fn follower() -> FollowerKey {
    FollowerKey::new("f@1")
}

/// Runs callers on a fresh log, each with its own thread and handle. Returns what they saw.
async fn live<S: Subject>(scene: &Scene<S>, number: u64, seed: u64) -> Vec<LogOperation> {
    let instants = Arc::new(AtomicU64::new(0));
    let ready = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for caller in 0..CALLERS {
        let store = match caller {
            0 => scene.store.clone(),
            _ => scene.subject.open().await,
        };
        let log = open(&*store, &format!("history-{number}")).await;
        let (instants, ready) = (instants.clone(), ready.clone());
        let random = Rng::with_seed(seed ^ (number * CALLERS as u64 + caller as u64));
        let mut caller = Caller::new(caller as u128, random);
        let task = async move {
            ready.fetch_add(1, Ordering::SeqCst);
            while ready.load(Ordering::SeqCst) < CALLERS {
                std::thread::yield_now();
            }
            caller.call_all(&*log, &instants).await
        };
        tasks.push(task.boxed());
    }
    at_once::<S, _>(tasks).await.concat()
}

/// A caller that reads, decides on the result, and appends.
struct Caller {
    random: Rng,
    number: u128,
    /// The last seen versions and positions of the stream, the log and the follower.
    stream: ExpectedVersion,
    log: Option<Position>,
    checkpoint: u64,
}

impl Caller {
    fn new(caller: u128, random: Rng) -> Self {
        Self {
            random,
            number: 1000 * (caller + 1),
            stream: ExpectedVersion::None,
            log: None,
            checkpoint: 0,
        }
    }

    async fn call_all(&mut self, log: &dyn Recorder, instants: &AtomicU64) -> Vec<LogOperation> {
        let mut operations = Vec::new();
        for _ in 0..CALLS {
            for _ in 0..self.random.u16(..300) {
                std::hint::spin_loop();
            }
            let call = self.next_call();
            let polls = (self.random.u8(..12) == 0).then(|| self.random.usize(..2));
            let called_at = instants.fetch_add(1, Ordering::SeqCst);
            let answer = answer(log, &call, polls).await;
            let answered_at = instants.fetch_add(1, Ordering::SeqCst);
            if let Some(answer) = &answer {
                self.learn(&call, answer);
            }
            operations.push(Operation {
                call,
                called_at,
                answer: answer.map(|it| (it, answered_at)),
            });
        }
        operations
    }

    fn next_call(&mut self) -> Call {
        match self.random.u8(..12) {
            10 => Call::Append(self.erase()),
            11 => Call::Stream(StreamRead::new("dog/1")),
            0 => Call::Head,
            1 => Call::Stream(StreamRead::new("dog/1")),
            2 => Call::Log(LogRead::of(Query::tag("tag")).after(self.log)),
            3 | 4 => {
                let condition = Condition::stream_at("dog/1", self.stream);
                Call::Append(self.append("dog/1").condition(condition))
            }
            5 | 6 => {
                let condition = Condition::none_match_after(Query::tag("tag"), self.log);
                Call::Append(self.append("dog/2").condition(condition))
            }
            7 => Call::Checkpoint,
            8 => {
                let range = processed("f@1", self.checkpoint, self.checkpoint + 1);
                let events = if self.random.bool() {
                    self.append("dog/1")
                } else {
                    Append::new()
                };
                Call::Append(events.processed_range(range))
            }
            _ => Call::Append(self.append("dog/1")),
        }
    }

    /// An append that erases the known events of a stream, and records that.
    fn erase(&mut self) -> Append {
        let mut append = self.append("dog/1");
        let mut record = append.new_events()[0].clone();
        record.id = event_id(self.number + 500);
        record.topic = ERASED_TOPIC.into();
        append = append.event(record);
        if let ExpectedVersion::At(until) = self.stream {
            append = append.amendment(Amendment::EraseStream {
                stream: "dog/1".into(),
                after: None,
                until,
                parts: ErasedParts::PAYLOAD,
            });
        }
        append
    }

    fn append(&mut self, stream: &str) -> Append {
        let mut event = || {
            self.number += 1;
            let event = event_of(stream, self.number);
            if self.random.bool() {
                event.tag("tag")
            } else {
                event
            }
        };
        let (first, second) = (event(), event());
        if self.random.bool() {
            Append::of([first])
        } else {
            Append::of([first, second])
        }
    }

    /// Updates the known ends of the stream and the log from an answer.
    fn learn(&mut self, call: &Call, answer: &LogAnswer) {
        let number = |checkpoint: &Option<Checkpoint>| checkpoint.map_or(0, |it| it.position.get());
        match (call, answer) {
            (_, LogAnswer::Head(head)) => self.log = head.position(),
            (Call::Stream(_), LogAnswer::Page(events, _)) => {
                let version = Version::new(events.len() as u64);
                self.stream = ExpectedVersion::seen(version);
            }
            (_, LogAnswer::Page(_, read_to)) => {
                self.log = read_to.map(|checkpoint| checkpoint.position)
            }
            (_, LogAnswer::Append(AppendOutcome::Conflict(Conflict::Stream { actual, .. }))) => {
                self.stream = ExpectedVersion::seen(*actual);
            }
            (_, LogAnswer::Append(AppendOutcome::Conflict(Conflict::Query { found, .. }))) => {
                self.log = Some(found.position);
            }
            (
                _,
                LogAnswer::Append(AppendOutcome::Conflict(Conflict::Checkpoint {
                    checkpoint, ..
                })),
            )
            | (_, LogAnswer::Checkpoint(checkpoint)) => self.checkpoint = number(checkpoint),
            (Call::Append(append), LogAnswer::Append(AppendOutcome::Recorded(_))) => {
                let mut ranges = append.processed_ranges().iter();
                self.checkpoint = ranges
                    .next()
                    .map_or(self.checkpoint, |it| it.to.position.get());
            }
            (_, LogAnswer::Append(_)) => {}
        }
    }
}

/// Returns the answer to a call, or `None` if the caller drops it after this number of polls.
async fn answer(log: &dyn Recorder, call: &Call, polls: Option<usize>) -> Option<LogAnswer> {
    match (call, polls) {
        (Call::Append(append), Some(polls)) => {
            let result = poll_at_most(log.append(append.clone()), polls).await?;
            Some(LogAnswer::Append(outcome(result)))
        }
        (Call::Append(append), None) => Some(LogAnswer::Append(send(log, append.clone()).await)),
        (Call::Head, _) => Some(LogAnswer::Head(head(log).await)),
        (Call::Checkpoint, _) => {
            let checkpoint = log.checkpoint(&follower(), log_id(9)).await;
            Some(LogAnswer::Checkpoint(
                checkpoint.expect("a checkpoint is read"),
            ))
        }
        (Call::Stream(stream), _) => Some(LogAnswer::page(&read_stream(log, stream.clone()).await)),
        (Call::Log(log_read), _) => Some(LogAnswer::page(&read(log, log_read.clone()).await)),
    }
}

/// Formats the history, one operation per line, in the order of calls.
fn show(history: &[LogOperation]) -> String {
    let mut history: Vec<_> = history.iter().collect();
    history.sort_by_key(|it| it.called_at);
    let line = |operation: &LogOperation| {
        let call = match &operation.call {
            Call::Append(append) => {
                let ids: Vec<_> = append
                    .new_events()
                    .iter()
                    .map(|it| it.id.uuid().as_u128())
                    .collect();
                format!(
                    "append {ids:?} on {:?} with {:?}",
                    append.all_conditions(),
                    append.processed_ranges()
                )
            }
            other => format!("{other:?}"),
        };
        let answer = match &operation.answer {
            Some((answer, at)) => format!("{at}: {answer:?}"),
            None => "the caller dropped the call".into(),
        };
        format!("{}: {call}\n    -> {answer}\n", operation.called_at)
    };
    history.into_iter().map(line).collect()
}
