//! Shared parts of tests of races: a log in memory, writers that conflict, and a seed that repeats
//! them.

use std::sync::Arc;
use std::time::Duration;

use retold_core::domain::{IdSource, UuidV7Source};
use retold_core::recording::{
    Append, Condition, EventId, ExpectedVersion, LogId, MemoryStore, NewEvent, RecordError,
    Recorder, Store,
};

/// Guards a test against hanging; it measures nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// The seed of a random test: `RETOLD_SEED`, or a fresh one. It is printed, so that a failure shows
/// it.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("RETOLD_SEED").ok();
    let seed = given.map_or_else(
        || fastrand::u64(..),
        |text| text.parse().expect("RETOLD_SEED is a number"),
    );
    println!("RETOLD_SEED={seed}");
    seed
}

/// Awaits a future that must not hang.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("it did not end within {PATIENCE:?}"),
    }
}

/// A log in memory, used by one test.
pub(crate) async fn log() -> Arc<dyn Recorder> {
    let store = MemoryStore::new();
    let birth = LogId::new(UuidV7Source.next_id());
    store.open("log", birth).await.unwrap()
}

/// An event with a fresh id and an empty payload.
pub(crate) fn event(topic: &str) -> NewEvent {
    let id = EventId::new(UuidV7Source.next_id());
    NewEvent::new(id, topic.to_owned(), &b"{}"[..])
}

/// Records `count` events of a topic in one append.
pub(crate) async fn append(log: &dyn Recorder, topic: &str, count: usize) {
    let events = (0..count).map(|_| event(topic));
    log.append(Append::of(events)).await.unwrap();
}

/// Records `appends` appends of 1 to 60 events, of topics `even` and `odd`, to a stream for which
/// other writers of the same seed compete; those that lose retry.
pub(crate) async fn write(log: Arc<dyn Recorder>, seed: u64, appends: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..appends {
        let stream = format!("stream/{}", random.u8(0..3));
        let count = if random.u8(0..10) == 0 {
            random.usize(30..60)
        } else {
            random.usize(1..4)
        };
        let events: Vec<_> = (0..count)
            .map(|_| {
                let topic = if random.bool() { "even" } else { "odd" };
                event(topic).stream(stream.clone())
            })
            .collect();
        let mut expected = ExpectedVersion::None;
        loop {
            let condition = Condition::stream_at(stream.clone(), expected);
            let append = Append::of(events.clone()).condition(condition);
            match log.append(append).await {
                Ok(_) => break,
                Err(RecordError::Conflict(conflict)) => {
                    let retold_core::recording::Conflict::Stream { actual, .. } = conflict else {
                        panic!("{conflict}");
                    };
                    expected = ExpectedVersion::seen(actual);
                    if random.bool() {
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
