//! Waiting for effects that run around a cycle: the wait keeps its timeout, reads each log once,
//! and ends although a store does not respond.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use retold::prelude::*;
use retold::recording::{BoxFuture, LogRead, Page, Position, Query};
use retold::runner::MultiThread;
use retold::system::limits::CAUSED_PAGE_EVENTS;
use retold::system::{Context, Follower, Goal, Runner, System, WaitError};
use tokio::sync::Semaphore;

use crate::faulty::{Behaviour, Call, Fate, FaultyStore};
use crate::patience::{PATIENCE, in_time};

/// A ball that two players throw to each other.
#[derive(Event, Serialize, Deserialize)]
struct Thrown {
    throws_left: u64,
    /// Whether players throw only as fast as the search reads.
    is_gated: bool,
}

/// One throw for each page that the search has read, and a few ahead of it.
static THROWS: Semaphore = Semaphore::const_new(4);

async fn throw_back(thrown: &Thrown, context: &mut Context) -> retold::Result<()> {
    let Some(throws_left) = thrown.throws_left.checked_sub(1) else {
        return Ok(());
    };
    if thrown.is_gated {
        let throw = THROWS
            .acquire()
            .await
            .expect("the semaphore is never closed");
        throw.forget();
    }
    context.record(Thrown {
        throws_left,
        is_gated: thrown.is_gated,
    })?;
    Ok(())
}

fn cycle() -> System {
    let player = |name: &str, other: &str| Follower::new(name).follows(other).on(throw_back);
    System::new("game")
        .application("left", |app| app.follower(player("l", "right")))
        .application("right", |app| app.follower(player("r", "left")))
        .build()
        .unwrap()
}

/// Counters of the store, and whether it still responds.
#[derive(Default)]
struct Watch {
    /// The number of events that searches for effects have read.
    searched: AtomicU64,
    is_silent: AtomicBool,
}

impl Behaviour for Watch {
    fn meet<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Fate> {
        Box::pin(async move {
            let is_always_heard = !matches!(call, Call::ReadLog | Call::Head);
            if !is_always_heard && self.is_silent.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            Fate::Sound
        })
    }

    fn has_read(&self, read: &LogRead, page: &Page) {
        if read.query == Query::All && read.limit == CAUSED_PAGE_EVENTS {
            let count = page.events.len() as u64;
            self.searched.fetch_add(count, Ordering::SeqCst);
            THROWS.add_permits(1);
        }
    }
}

async fn start() -> (MultiThread, Arc<Watch>) {
    let (infrastructure, watch) = FaultyStore::in_memory(Watch::default());
    let runner = MultiThread::start(&cycle(), &infrastructure).await.unwrap();
    (runner, watch)
}

async fn throw(runner: &MultiThread, throws_left: u64, is_gated: bool) -> Position {
    let left = runner.application("left").unwrap();
    let thrown = move |(): &()| Thrown {
        throws_left,
        is_gated,
    };
    left.decide((), thrown).await.unwrap().position().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_reads_each_log_once_however_often_it_returns_to_it() {
    let (runner, watch) = start().await;
    let throws = 200;
    let position = throw(&runner, throws, true).await;
    let caused = runner.wait(Goal::caused_by("left", position), PATIENCE);
    caused.await.unwrap();
    let mut count = 0;
    for player in ["left", "right"] {
        let events = runner.application(player).unwrap().events::<Thrown>();
        count += events.read().collect().await.unwrap().len() as u64;
    }
    assert_eq!(count, 1 + throws, "all effects are there");
    let searched = watch.searched.load(Ordering::SeqCst);
    // Reads of the followers themselves are included.
    let ends = async |player| {
        let head = runner.application(player).unwrap().head().await;
        Position::number(head.unwrap().position())
    };
    let recorded = ends("left").await + ends("right").await;
    assert!(
        searched > throws / 2,
        "the search ran around the cycle: {searched}"
    );
    assert!(searched <= recorded, "{searched} of {recorded} events");
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_an_endless_cycle_keeps_its_timeout() {
    let (runner, _) = start().await;
    let position = throw(&runner, u64::MAX, false).await;
    let timeout = Duration::from_millis(200);
    let waited = runner.wait(Goal::caused_by("left", position), timeout);
    let waited = in_time("the timeout", waited).await;
    let Err(WaitError::Timeout { behind, searching }) = &waited else {
        panic!("the cycle has no end: {waited:?}");
    };
    let names_something = !behind.is_empty() || searching.is_some();
    assert!(names_something, "{waited:?}");
    runner.stop().await;
}

#[tokio::test]
async fn a_wait_keeps_its_timeout_although_the_store_is_silent() {
    let (runner, watch) = start().await;
    let position = throw(&runner, 0, false).await;
    runner
        .wait(Goal::caused_by("left", position), PATIENCE)
        .await
        .unwrap();
    watch.is_silent.store(true, Ordering::SeqCst);
    let timeout = Duration::from_millis(50);
    let waited = runner.wait(Goal::caused_by("left", position), timeout);
    let error = in_time("the timeout", waited).await.unwrap_err();
    assert!(matches!(&error, WaitError::Timeout { .. }), "{error}");
    let expected = "the search for caused events is at 0 of the log \"right\"";
    assert!(error.to_string().contains(expected), "{error}");
    let beyond = Position::new(1_000).unwrap();
    let waited = runner.wait(Goal::processed("left", beyond), timeout);
    let error = in_time("the timeout", waited).await.unwrap_err();
    assert!(error.to_string().contains("not yet at 1000"), "{error}");
}
