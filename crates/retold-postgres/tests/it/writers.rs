//! Writers and a tailing reader for tests of faults: writers send unknown appends again, and in the
//! end every append is recorded once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use retold_core::recording::{
    Append, Appended, EventId, LogId, LogRead, NewEvent, PageEnd, RecordError, Recorder, Store,
};
use retold_postgres::PostgresStore;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Writers at the same time.
const WRITERS: u128 = 4;
/// Longest that a writer retries one append while the server is stopped and restarted.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn append_of(writer: u128, number: u128) -> Append {
    let id = |index: u128| EventId::new(Uuid::from_u128(writer * 1_000_000 + number * 10 + index));
    let stream = format!("dog/{writer}");
    let event = |index| NewEvent::new(id(index), "Dog.TrickAdded", "{}").tag("t");
    Append::of([event(1).stream(stream), event(2)])
}

/// Writes until it is stopped; sends each append again until it is settled. Returns the number of
/// recorded appends.
async fn write(
    log: Arc<dyn Recorder>,
    writer: u128,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> u128 {
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        let append = append_of(writer, number);
        let begun = Instant::now();
        let mut was_unknown = false;
        loop {
            match log.append(append.clone()).await {
                Ok(Appended::Recorded(_)) => break,
                Ok(Appended::Repeated(_)) => {
                    assert!(
                        was_unknown,
                        "only an unknown append can be recorded already"
                    );
                    break;
                }
                Err(RecordError::OutcomeUnknown(_)) => was_unknown = true,
                Err(RecordError::Unavailable(_)) => {}
                other => panic!("{other:?}"),
            }
            assert!(begun.elapsed() < PATIENCE, "the store does not recover");
            tokio::task::yield_now().await;
        }
        number += 1;
        done.fetch_add(1, Ordering::SeqCst);
    }
    number
}

/// Checks that every append of every writer is recorded once, as a whole, in one order.
pub(crate) async fn check_all(log: &dyn Recorder, counts: &[u128]) {
    let (mut events, mut read) = (Vec::new(), LogRead::new());
    loop {
        let page = log.read_log(read.clone()).await.unwrap();
        read = read.after(page.read_to_position());
        events.extend(page.events);
        if page.end == PageEnd::Complete {
            break;
        }
    }
    for (expected, event) in (1..).zip(&events) {
        assert_eq!(event.position().get(), expected);
    }
    for (writer, count) in (1..).zip(counts) {
        let found = events.iter().map(|event| event.id().uuid().as_u128());
        let found: Vec<u128> = found.filter(|id| id / 1_000_000 == writer).collect();
        let expected: Vec<u128> = (0..*count)
            .flat_map(|number| [1, 2].map(|index| writer * 1_000_000 + number * 10 + index))
            .collect();
        assert_eq!(found, expected, "writer {writer}");
    }
    let head = log.head().await.unwrap();
    assert_eq!(u128::from(head.append_count), counts.iter().sum::<u128>());
    assert_eq!(
        head.checkpoint,
        events.last().map(|event| event.checkpoint())
    );
}

/// Returns the log `dogs` of a store.
pub(crate) async fn dogs(store: &PostgresStore) -> Arc<dyn Recorder> {
    let birth = LogId::new(Uuid::from_u128(1));
    store.open("dogs", birth).await.unwrap()
}

/// Running writers, until they are stopped.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<u128>>,
}

impl Writers {
    /// Starts writers, each to one of the logs.
    pub(crate) fn start(logs: &[Arc<dyn Recorder>]) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let tasks = (1..=WRITERS).zip(logs.iter().cycle()).map(|(writer, log)| {
            let writing = write(log.clone(), writer, stop.clone(), done.clone());
            tokio::spawn(writing)
        });
        let tasks = tasks.collect();
        Self { stop, done, tasks }
    }

    /// Waits until they have done `more` appends.
    pub(crate) async fn progress(&self, more: u64) {
        let target = self.done.load(Ordering::SeqCst) + more;
        while self.done.load(Ordering::SeqCst) < target {
            assert!(
                !self.tasks.iter().any(JoinHandle::is_finished),
                "a writer gave up"
            );
            tokio::task::yield_now().await;
        }
    }

    /// Stops them. Returns how many appends each recorded.
    pub(crate) async fn stop(self) -> Vec<u128> {
        self.stop.store(true, Ordering::SeqCst);
        let mut counts = Vec::new();
        for writer in self.tasks {
            counts.push(writer.await.unwrap());
        }
        counts
    }

    /// Stops them, and checks that each append of each is in the log once.
    pub(crate) async fn finish(self, log: &dyn Recorder) {
        check_all(log, &self.stop().await).await;
    }
}

/// Returns a seed for the random choices of a test: that of `RETOLD_SEED`, or a new one; shown if
/// the test fails.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("RETOLD_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |it| it.parse().unwrap());
    println!("RETOLD_SEED={seed}");
    seed
}
