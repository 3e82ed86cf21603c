//! The start of every test of the suite: a fresh log, events to append, and helpers to read.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::subject::Subject;
use retold_core::domain::Timestamp;
use retold_core::recording::NewEvent;
use retold_core::recording::Store;
use retold_core::recording::{Append, Appended, Positions};
use retold_core::recording::{BoxFuture, Head, LogRead, Page, PageEnd, Recorder, StreamRead};
use retold_core::recording::{Checkpoint, EventId, LogId, Position, Version};
use retold_core::recording::{Condition, ExpectedVersion};
use retold_core::recording::{Conflict, RecordError};
use retold_core::recording::{FollowerKey, ProcessedRange};
use retold_core::recording::{StoredEvent, StoredEventParts};

/// Name of the log that most tests use.
pub(super) const LOG: &str = "dogs";

/// How long a test waits for an expected event before it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A store with one fresh log.
pub(super) struct Scene<S> {
    pub(super) subject: Arc<S>,
    pub(super) store: Arc<dyn Store>,
    pub(super) log: Arc<dyn Recorder>,
}

impl<S: Subject> Scene<S> {
    /// Creates an empty store with an empty log in it.
    pub(super) async fn new() -> Self {
        let subject = Arc::new(S::create().await);
        let store = subject.open().await;
        let log = open(&*store, LOG).await;
        Self {
            subject,
            store,
            log,
        }
    }

    /// Opens the same log as another process would.
    pub(super) async fn another_handle(&self) -> Arc<dyn Recorder> {
        open(&*self.subject.open().await, LOG).await
    }
}

/// Opens a log for writing, which creates it if it does not exist.
pub(super) async fn open(store: &dyn Store, name: &str) -> Arc<dyn Recorder> {
    let opened = store.open(name, log_id(1)).await;
    opened.unwrap_or_else(|error| panic!("the log {name:?} does not open: {error}"))
}

/// The log id with this number.
pub(super) fn log_id(number: u128) -> LogId {
    LogId::new(Uuid::from_u128(number))
}

/// The event id with this number.
pub(super) fn event_id(number: u128) -> EventId {
    EventId::new(Uuid::from_u128(number))
}

/// The event with this number, in no stream, without tags.
pub(super) fn event(number: u128) -> NewEvent {
    let payload = format!(r#"{{"number":{number}}}"#);
    NewEvent::new(event_id(number), "Dog.Barked", payload)
}

/// The event with this number in a stream.
pub(super) fn event_of(stream: &str, number: u128) -> NewEvent {
    event(number).stream(stream)
}

/// An append of the events with these numbers, in no stream.
pub(super) fn append_of(numbers: impl IntoIterator<Item = u128>) -> Append {
    Append::of(numbers.into_iter().map(event))
}

/// An append of the events with these numbers to a stream.
pub(super) fn append_to(stream: &str, numbers: impl IntoIterator<Item = u128>) -> Append {
    Append::of(numbers.into_iter().map(|number| event_of(stream, number)))
}

/// The position with this number, which is not 0.
pub(super) fn position(number: u64) -> Position {
    Position::new(number).expect("the test says a number from 1")
}

/// The version with this number, which is not 0.
pub(super) fn version(number: u64) -> Version {
    Version::new(number).expect("the test says a number from 1")
}

/// The checkpoint of the event of `number` at a position.
pub(super) fn checkpoint(at: u64, number: u128) -> Checkpoint {
    Checkpoint {
        position: position(at),
        event_id: event_id(number),
    }
}

/// Requires that the stream is at this version; at 0, it has no events.
pub(super) fn stream_at(stream: &str, number: u64) -> Condition {
    Condition::stream_at(stream, ExpectedVersion::seen(Version::new(number)))
}

/// A processed range of a follower over the log with number 9, from after one position (0: the
/// beginning) to another.
pub(super) fn processed(follower: &str, after: u64, to: u64) -> ProcessedRange {
    let key = FollowerKey::new(follower);
    ProcessedRange::new(
        key,
        log_id(9),
        Position::new(after),
        checkpoint(to, to.into()),
    )
}

/// The outcome of an append, in a form that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AppendOutcome {
    Recorded(Positions),
    Repeated(Positions),
    Conflict(Conflict),
    Invalid,
    /// The store failed; no test causes that.
    Failed(String),
}

/// Converts the result of an append to its outcome.
pub(super) fn outcome(result: Result<Appended, RecordError>) -> AppendOutcome {
    match result {
        Ok(Appended::Recorded(positions)) => AppendOutcome::Recorded(positions),
        Ok(Appended::Repeated(positions)) => AppendOutcome::Repeated(positions),
        Ok(other) => AppendOutcome::Failed(format!("an outcome unknown to the suite: {other:?}")),
        Err(RecordError::Conflict(conflict)) => AppendOutcome::Conflict(conflict),
        Err(RecordError::Invalid(_)) => AppendOutcome::Invalid,
        Err(error) => AppendOutcome::Failed(error.to_string()),
    }
}

/// Appends, and returns the outcome.
pub(super) async fn send(log: &dyn Recorder, append: Append) -> AppendOutcome {
    outcome(log.append(append).await)
}

/// Appends what must be recorded; returns the number of its first position, 0 if it has no events.
pub(super) async fn record(log: &dyn Recorder, append: Append) -> u64 {
    match send(log, append.clone()).await {
        AppendOutcome::Recorded(positions) => Position::number(positions.first()),
        other => panic!("not recorded but {other:?}: {append:?}"),
    }
}

/// Appends what must conflict; returns the conflict.
pub(super) async fn conflict(log: &dyn Recorder, append: Append) -> Conflict {
    match send(log, append.clone()).await {
        AppendOutcome::Conflict(conflict) => conflict,
        other => panic!("no conflict but {other:?}: {append:?}"),
    }
}

/// Appends what must be invalid.
pub(super) async fn refuse(log: &dyn Recorder, append: Append, why: &str) {
    let outcome = send(log, append).await;
    assert_eq!(outcome, AppendOutcome::Invalid, "{why} must be refused");
}

/// Returns the head of the log.
pub(super) async fn head(log: &dyn Recorder) -> Head {
    log.head().await.expect("the head is read")
}

/// Reads one page of the log.
pub(super) async fn read(log: &dyn Recorder, read: LogRead) -> Page {
    let page = log.read_log(read.clone()).await;
    page.unwrap_or_else(|error| panic!("{read:?} failed: {error}"))
}

/// Reads one page of a stream.
pub(super) async fn read_stream(log: &dyn Recorder, read: StreamRead) -> Page {
    let page = log.read_stream(read.clone()).await;
    page.unwrap_or_else(|error| panic!("{read:?} failed: {error}"))
}

/// Returns all events of a read, page by page by `read_to`, and how far the last page went.
pub(super) async fn read_all(
    log: &dyn Recorder,
    mut read: LogRead,
) -> (Vec<StoredEvent>, Option<Checkpoint>) {
    let mut events = Vec::new();
    loop {
        let page = self::read(log, read.clone()).await;
        let went = page.read_to_position();
        events.extend(page.events);
        if page.end == PageEnd::Complete {
            return (events, page.read_to);
        }
        assert!(went > read.after, "a full page advances: {read:?}");
        read = read.after(went);
    }
}

/// Returns all events of the log, in order.
pub(super) async fn events(log: &dyn Recorder) -> Vec<StoredEvent> {
    read_all(log, LogRead::new()).await.0
}

/// Returns all events of a stream, in order.
pub(super) async fn stream_events(log: &dyn Recorder, stream: &str) -> Vec<StoredEvent> {
    let mut read = StreamRead::new(stream);
    let mut events = Vec::new();
    loop {
        let page = read_stream(log, read.clone()).await;
        events.extend(page.events);
        if page.end == PageEnd::Complete {
            return events;
        }
        read = read.after(events.last().and_then(StoredEvent::version));
    }
}

/// Returns the numbers of the events' ids.
pub(super) fn numbers(events: &[StoredEvent]) -> Vec<u128> {
    let number = |event: &StoredEvent| event.id().uuid().as_u128();
    events.iter().map(number).collect()
}

/// Returns the event without its wall-clock time of recording, in which stores differ.
pub(super) fn without_wall_clock(event: &StoredEvent) -> StoredEvent {
    let parts = StoredEventParts {
        recorded_at: Timestamp::default(),
        ..event.parts()
    };
    StoredEvent::from_parts(&parts).expect("the parts are those of an event")
}

/// Runs each task on its own thread, all at once, and returns their results in order. A task that
/// fails fails the test.
pub(super) async fn at_once<S: Subject, T: Send + 'static>(
    tasks: impl IntoIterator<Item = BoxFuture<'static, T>>,
) -> Vec<T> {
    run_at_once(tasks, |task| S::block_on(task)).await
}

/// Runs each task with `block_on` on its own thread, as [`at_once`] does.
pub(super) async fn run_at_once<T: Send + 'static>(
    tasks: impl IntoIterator<Item = BoxFuture<'static, T>>,
    block_on: fn(BoxFuture<'static, T>) -> T,
) -> Vec<T> {
    let run = |task: BoxFuture<'static, T>| {
        let (done, result) = oneshot::channel();
        let thread = thread::spawn(move || {
            // The receiver is gone only if another task failed already.
            let _ = done.send(block_on(task));
        });
        (thread, result)
    };
    let running: Vec<_> = tasks.into_iter().map(run).collect();
    let mut results = Vec::with_capacity(running.len());
    for (thread, result) in running {
        match result.await {
            Ok(result) => results.push(result),
            Err(_) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("a thread that does not panic sends its result"),
            },
        }
    }
    results
}

/// Returns the output of a future within [`PATIENCE`], or fails and names what did not happen.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let (late, alarm) = oneshot::channel();
    let (_in_time, wait) = mpsc::channel::<()>();
    thread::spawn(move || {
        if wait.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let _ = late.send(());
        }
    });
    // An alarm that was dropped without firing is ignored.
    let alarm = alarm.then(|rung| async move {
        if rung.is_err() {
            std::future::pending::<()>().await;
        }
    });
    match select(std::pin::pin!(future), std::pin::pin!(alarm)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => panic!("did not happen within {PATIENCE:?}: {what}"),
    }
}

/// Returns the seed of a random test: `RETOLD_SEED`, or a new one, which is printed so that a
/// failure can be repeated.
pub(super) fn seed() -> u64 {
    let given = std::env::var("RETOLD_SEED").ok();
    let seed = given.map_or_else(
        || fastrand::u64(..),
        |text| text.parse().expect("RETOLD_SEED is a number"),
    );
    eprintln!("to repeat: RETOLD_SEED={seed}");
    seed
}
