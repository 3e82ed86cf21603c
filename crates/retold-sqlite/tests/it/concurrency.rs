//! Many callers at once: every append gets an outcome, in one order, in whichever group it is.

use std::sync::Arc;
use std::time::Duration;

use retold_core::recording::{Append, LogRead, RecordError, Recorder};
use retold_sqlite::limits::QUEUE_LENGTH_MAX;
use retold_sqlite::{SqliteOptions, SqliteStore};

use crate::place::{Place, event, log};

const WRITERS: u128 = 24;
const APPENDS: u128 = 20;

async fn write_by_many(recorder: Arc<dyn Recorder>) {
    let writers = (0..WRITERS).map(|writer| {
        let recorder = recorder.clone();
        tokio::spawn(async move {
            for number in 0..APPENDS {
                let id = writer * APPENDS + number + 1;
                recorder.append(Append::of([event(id)])).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let page = recorder.read_log(LogRead::new()).await.unwrap();
    assert_eq!(page.events.len() as u128, WRITERS * APPENDS);
}

#[tokio::test]
async fn many_tasks_of_one_thread_append() {
    let place = Place::new();
    write_by_many(log(&place.open(), "dogs").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_of_many_threads_append() {
    let place = Place::new();
    write_by_many(log(&place.open(), "dogs").await).await;
}

/// Goal: a group is committed even if its members are not polled again. Method: poll an append
/// once, forget it, and wait for its event.
#[tokio::test]
async fn an_append_that_is_polled_once_is_recorded() {
    let place = Place::new();
    let recorder = log(&place.open(), "dogs").await;
    for id in 1..=5 {
        let mut append = recorder.append(Append::of([event(id)]));
        let polled = futures_util::poll!(append.as_mut());
        let dropped = id % 2 == 0;
        if dropped {
            drop(append);
        }
        let count = u64::try_from(id).unwrap() - 1;
        let news = recorder.changed_since(count);
        let there = tokio::time::timeout(Duration::from_secs(120), news).await;
        assert_eq!(
            there.expect("recorded in time").unwrap(),
            count + 1,
            "{polled:?}"
        );
    }
}

/// Sends more appends at once than the queue holds: those without a place wait for one.
#[tokio::test]
async fn more_appends_than_the_queue_holds_are_all_recorded() {
    let place = Place::new();
    let recorder = log(&place.open(), "dogs").await;
    let count = u128::try_from(QUEUE_LENGTH_MAX).unwrap() + 500;
    let appends = (1..=count).map(|id| recorder.append(Append::of([event(id)])));
    futures_util::future::try_join_all(appends).await.unwrap();
    let head = recorder.head().await.unwrap();
    assert_eq!(u128::from(head.append_count), count);
}

/// Goal: a store that is closed has recorded the queued appends. Method: poll appends once, drop
/// them and the store, reopen it.
#[tokio::test]
async fn what_was_queued_is_recorded_before_a_store_ends() {
    let place = Place::new();
    let store = place.open();
    let recorder = log(&store, "dogs").await;
    for id in 1..=3 {
        let mut append = recorder.append(Append::of([event(id)]));
        drop(futures_util::poll!(append.as_mut()));
    }
    drop((recorder, store));
    let head = log(&place.open(), "dogs").await.head().await.unwrap();
    assert_eq!(head.append_count, 3);
}

/// Goal: an append waits for a busy file, and then gives up without a trace. Method: another
/// connection holds the write lock until the first append has failed.
#[tokio::test]
async fn a_busy_file_is_unavailable_after_a_wait() {
    let place = Place::new();
    let options = SqliteOptions::new().busy_wait_max(Duration::from_millis(200));
    let store = SqliteStore::open_with(place.path(), &options).unwrap();
    let recorder = log(&store, "dogs").await;
    let other = rusqlite::Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = recorder.append(Append::of([event(1)])).await;
    assert!(
        matches!(refused, Err(RecordError::Unavailable(_))),
        "{refused:?}"
    );
    assert_eq!(
        recorder.head().await.unwrap().append_count,
        0,
        "reads continue"
    );

    // One that waits is recorded when the file is free.
    let mut waiting = recorder.append(Append::of([event(2)]));
    for _ in 0..3 {
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    }
    other.execute_batch("COMMIT").unwrap();
    waiting.await.unwrap();
}

/// Goal: a store may be dropped on any thread, including the one that commits. Method: an executor
/// that polls inside of a wake, and a future that holds the last handle to the store.
#[tokio::test]
async fn a_store_may_end_where_an_append_is_settled() {
    type Polled = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    struct Inline(std::sync::Mutex<Option<Polled>>);
    impl std::task::Wake for Inline {
        fn wake(self: Arc<Self>) {
            // `None` if it is being polled already.
            let Ok(mut polled) = self.0.try_lock() else {
                return;
            };
            let waker = self.clone().into();
            let context = &mut std::task::Context::from_waker(&waker);
            if let Some(future) = &mut *polled
                && future.as_mut().poll(context).is_ready()
            {
                *polled = None;
            }
        }
    }

    let place = Place::new();
    let store = place.open();
    let recorder = log(&store, "dogs").await;
    let (ended, end) = tokio::sync::oneshot::channel();
    let future = async move {
        recorder.append(Append::of([event(1)])).await.unwrap();
        drop((recorder, store));
        ended.send(()).unwrap();
    };
    let task = Arc::new(Inline(std::sync::Mutex::new(Some(Box::pin(future)))));
    std::task::Wake::wake(task);
    end.await.unwrap();
}
