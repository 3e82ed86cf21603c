//! Two processes that run one system on one store, one of them killed again and again: each event is
//! answered once, and somebody always goes on.

use std::env;
use std::process::{Child, Command, Stdio};

use retold::runner::MultiThread;

use crate::patience::{PATIENCE, until};
use crate::place::{Place, in_places, open};
use crate::shop::{assert_retold, count, place, settled, shop};

/// Tells a child its store; absent in the parent.
const URL: &str = "RETOLD_RUNNER_CHILD_OF";
/// How often a process is killed.
const KILLS: usize = 6;
/// Orders that are placed while a process lives.
const ORDERS: usize = 20;

/// The child: runs the system until it is killed. A test of its own so that the test binary can be the
/// child; without a parent it does nothing.
#[test]
fn child() {
    let Ok(url) = env::var(URL) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let infrastructure = open(&url).await;
        let _runner = MultiThread::start(&shop(), &infrastructure).await.unwrap();
        std::future::pending::<()>().await;
    });
}

/// Killed when it is dropped, whatever becomes of the test.
struct Process(Child);

impl Process {
    fn start(url: &str) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "processes::child", "--test-threads=1"])
            .env(URL, url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn killed_processes_answer_each_event_once(home: Place) {
    let url = home.url();
    // Opens the logs and follows nothing: what is processed is processed by children.
    let outside = MultiThread::start(&shop(), &home.open().await)
        .await
        .unwrap();
    assert!(outside.stop().await.is_clean());
    let orders = outside.application("orders").unwrap();
    let stock = outside.application("stock").unwrap();

    let steady = Process::start(&url);
    let mut placed = 0;
    for _ in 0..KILLS {
        let doomed = Process::start(&url);
        for _ in 0..ORDERS {
            place(&orders, &placed.to_string(), "tea").await;
            placed += 1;
        }
        until("the processes make progress", async || {
            count(&stock, "Reserved").await > placed - ORDERS
        })
        .await;
        // At any moment: nothing tells it.
        drop(doomed);
    }
    until("everything is answered", async || {
        count(&orders, "Confirmed").await >= placed
            && count(&orders, "retold.cancelled").await >= placed
    })
    .await;

    // One that comes late finds nothing to do, and says so when the others' work is asked for.
    let late = MultiThread::start(&shop(), &home.open().await)
        .await
        .unwrap();
    settled(&late).await;
    for topic in ["Confirmed", "retold.scheduled", "retold.cancelled"] {
        assert_eq!(count(&orders, topic).await, placed, "{topic}");
    }
    assert_eq!(count(&stock, "Reserved").await, placed);
    let head = orders.head().await.unwrap().position().unwrap();
    late.wait_for("orders", head, PATIENCE).await.unwrap();
    // What the steady one may still record is how far it is.
    drop(steady);
    assert_retold([&late]).await;
}

in_places!(
    [sqlite, postgres],
    (killed_processes_answer_each_event_once,)
);
