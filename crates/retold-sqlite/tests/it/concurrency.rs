//! Many callers at once: every append is answered, in one order, whoever commits the group.

use std::sync::Arc;
use std::time::Duration;

use retold_core::recording::append::Append;
use retold_core::recording::recorder::{LogRead, Recorder};

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

/// Goal: a group is committed though nobody polls its members. Method: poll an append once, forget
/// it, and wait for its event.
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
        let there = tokio::time::timeout(Duration::from_secs(20), news).await;
        assert_eq!(
            there.expect("recorded in time").unwrap(),
            count + 1,
            "{polled:?}"
        );
    }
}
