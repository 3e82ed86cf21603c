//! Every store, and the blocking API over it, works in any runtime, in none, and after the end of
//! the runtime that opened it.

use std::sync::{Arc, LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use retold::application::Signal;
use retold::blocking::{BlockingApplication, Wait, WaitEach};
use retold::open_store;
use retold::prelude::{Aggregate, Apply, Deserialize, Event, Id, Serialize};
use tokio::runtime::{Builder, Runtime};

/// Maximum duration of a situation. One that hangs is a failure, not an endless test run.
const PATIENCE: Duration = Duration::from_secs(120);
/// Commands of one caller: more than the steps that tokio gives a task before it has to yield.
const COMMANDS: usize = 150;

#[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
enum CounterEvent {
    Opened,
    Counted,
}

#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = CounterEvent)]
struct Counter {
    count: usize,
}

impl Apply<CounterEvent> for Counter {
    fn apply(&mut self, event: &CounterEvent) {
        self.count += usize::from(*event == CounterEvent::Counted);
    }
}

/// Runs a situation on every store, in a thread of its own so that it cannot hang the run.
fn on_every_store(situation: fn(&str)) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counters.db");
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let urls = [
        format!("memory:runtimes-{number}"),
        format!("sqlite:{}", file.display()),
        #[cfg(feature = "postgres")]
        xtask::postgres_server::database(),
    ];
    for url in urls {
        let (done, is_done) = mpsc::channel();
        let running = {
            let url = url.clone();
            thread::spawn(move || {
                situation(&url);
                let _ = done.send(());
            })
        };
        match is_done.recv_timeout(PATIENCE) {
            Ok(()) => running.join().unwrap(),
            Err(mpsc::RecvTimeoutError::Disconnected) => running.join().unwrap(),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs on {url}"),
        }
    }
}

fn counter(application: &BlockingApplication) -> Id<Counter> {
    application
        .create::<Counter>(CounterEvent::Opened)
        .wait()
        .unwrap()
}

fn count(application: &BlockingApplication, id: Id<Counter>) {
    for _ in 0..COMMANDS {
        application
            .execute(id, |_| CounterEvent::Counted)
            .wait()
            .unwrap();
    }
}

fn counted(application: &BlockingApplication, id: Id<Counter>) -> usize {
    application.get(id).unwrap().state.count
}

/// Uses the whole blocking API in the calling thread.
fn exercise(application: &BlockingApplication) {
    let id = counter(application);
    let mut subscription = application.log().stored().subscribe().wait().unwrap();
    count(application, id);
    assert_eq!(counted(application, id), COMMANDS);
    loop {
        if let Signal::CaughtUp(_) = subscription.next_signal().wait().unwrap() {
            break;
        }
    }
    let read = application.events::<CounterEvent>().read().events();
    assert!(read.wait_each().all(|it| it.is_ok()));
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn two_threads() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn stores_work_without_a_runtime() {
    on_every_store(|url| exercise(&BlockingApplication::open("counters", url).unwrap()));
}

#[test]
fn stores_work_within_a_runtime_of_one_thread() {
    on_every_store(|url| {
        one_thread().block_on(async {
            exercise(&BlockingApplication::open("counters", url).unwrap());
        });
    });
}

/// Goal: callers that block every thread of a runtime do not stop the work that they wait for.
#[test]
fn callers_may_block_all_threads_of_a_runtime() {
    on_every_store(|url| {
        let url: Arc<str> = url.into();
        two_threads().block_on(async {
            let opening = Arc::clone(&url);
            let opened = tokio::spawn(async move {
                let store = open_store(&opening).await.unwrap();
                let builder = retold::application::Application::builder("counters");
                builder.store(store).open().await.unwrap()
            });
            let application: BlockingApplication = opened.await.unwrap().into();
            let id = counter(&application);
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    let application = application.clone();
                    tokio::spawn(async move { count(&application, id) })
                })
                .collect();
            for caller in callers {
                caller.await.unwrap();
            }
            assert_eq!(counted(&application, id), 4 * COMMANDS);
        });
    });
}

#[test]
fn stores_work_in_threads_for_blocking_code() {
    on_every_store(|url| {
        two_threads().block_on(async {
            let application = BlockingApplication::open("counters", url).unwrap();
            let blocking = {
                let application = application.clone();
                tokio::task::spawn_blocking(move || exercise(&application))
            };
            blocking.await.unwrap();
            let in_place = tokio::spawn(async move {
                tokio::task::block_in_place(|| exercise(&application));
            });
            in_place.await.unwrap();
        });
    });
}

/// Goal: a store outlives the runtime that it was opened and used in.
#[test]
fn stores_outlive_the_runtime_that_opened_them() {
    on_every_store(|url| {
        let first = two_threads();
        let application = first.block_on(async {
            let application = BlockingApplication::open("counters", url).unwrap();
            exercise(&application);
            application
        });
        first.shutdown_background();
        let id = counter(&application);
        count(&application, id);
        for runtime in [one_thread(), two_threads()] {
            let asynchronous = application.asynchronous();
            runtime.block_on(async {
                let counted = asynchronous.execute(id, |_| CounterEvent::Counted).await;
                counted.unwrap();
            });
            drop(runtime);
        }
        assert_eq!(counted(&application, id), COMMANDS + 2);
    });
}

/// Goal: an append in flight when its caller's runtime ends is recorded or not, and the next caller
/// gets a result.
#[test]
fn a_runtime_that_ends_loses_no_append() {
    on_every_store(|url| {
        let application = BlockingApplication::open("counters", url).unwrap();
        let id = counter(&application);
        for _ in 0..20 {
            let runtime = two_threads();
            for _ in 0..8 {
                let asynchronous = application.asynchronous().clone();
                runtime.spawn(async move {
                    let _ = asynchronous.execute(id, |_| CounterEvent::Counted).await;
                });
            }
            runtime.shutdown_background();
            application
                .execute(id, |_| CounterEvent::Counted)
                .wait()
                .unwrap();
        }
        assert!(counted(&application, id) >= 20);
    });
}

/// Goal: the last handle of a store may be dropped anywhere.
#[test]
fn stores_may_be_dropped_within_a_runtime() {
    on_every_store(|url| {
        for runtime in [one_thread(), two_threads()] {
            runtime.block_on(async {
                let application = BlockingApplication::open("counters", url).unwrap();
                counter(&application);
                let subscription = application.log().stored().subscribe().await.unwrap();
                drop(application);
                drop(subscription);
            });
            let application = BlockingApplication::open("counters", url).unwrap();
            runtime.spawn(async move { drop(application) });
        }
    });
}

/// A store in a static, shared by tests that each have a runtime of their own.
static SHARED: LazyLock<Vec<BlockingApplication>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap().keep();
    let urls = [
        "memory:runtimes-shared".to_owned(),
        format!("sqlite:{}", folder.join("counters.db").display()),
        #[cfg(feature = "postgres")]
        xtask::postgres_server::database(),
    ];
    let open = |url: &String| BlockingApplication::open("counters", url).unwrap();
    urls.iter().map(open).collect()
});

async fn use_what_is_shared() {
    for application in &*SHARED {
        let application = application.asynchronous();
        let id = application.create::<Counter>(CounterEvent::Opened).await;
        let id = id.unwrap();
        for _ in 0..20 {
            let counted = application.execute(id, |_| CounterEvent::Counted).await;
            counted.unwrap();
        }
        assert_eq!(application.get(id).await.unwrap().state.count, 20);
    }
}

#[tokio::test]
async fn a_store_in_a_static_serves_a_test() {
    use_what_is_shared().await;
}

#[tokio::test]
async fn a_store_in_a_static_serves_another_test() {
    use_what_is_shared().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_a_static_serves_a_test_of_many_threads() {
    use_what_is_shared().await;
    tokio::spawn(use_what_is_shared()).await.unwrap();
}
