//! Two processes that run one system on one store, one of them killed again and again: each event
//! is processed once, and a process always continues.

use std::env;

use retold::runner::MultiThread;
use retold::system::{Goal, Runner};

use crate::child_process::ChildProcess;
use crate::patience::{PATIENCE, until};
use crate::place::{Place, in_places, open};
use crate::shop::{assert_retold, count, place, settled, shop};

/// Passes the store to a child; absent in the parent.
const URL: &str = "RETOLD_RUNNER_CHILD_OF";
/// The number of times that a process is killed.
const KILLS: usize = 6;
/// Orders that are placed while a process lives.
const ORDERS: usize = 20;

/// The child: runs the system until it is killed. It is a test so that the test binary can be the
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

fn start(url: &str) -> ChildProcess {
    ChildProcess::start("processes::child", &[(URL, &url)])
}

async fn killed_processes_process_each_event_once(home: Place) {
    let url = home.url();
    // Opens the logs and follows nothing: the children process everything.
    let outside = MultiThread::start(&shop(), &home.open().await)
        .await
        .unwrap();
    assert!(outside.stop().await.is_clean());
    let orders = outside.application("orders").unwrap();
    let stock = outside.application("stock").unwrap();

    let steady = start(&url);
    let mut placed = 0;
    for _ in 0..KILLS {
        let doomed = start(&url);
        for _ in 0..ORDERS {
            place(&orders, &placed.to_string(), "tea").await;
            placed += 1;
        }
        until("the processes make progress", async || {
            count(&stock, "Reserved").await > placed - ORDERS
        })
        .await;
        // At any moment: it gets no warning.
        drop(doomed);
    }
    until("everything is processed", async || {
        count(&orders, "Confirmed").await >= placed
            && count(&orders, "retold.cancelled").await >= placed
    })
    .await;

    // A late runner finds nothing to do, and reports that when asked about the others' work.
    let late = MultiThread::start(&shop(), &home.open().await)
        .await
        .unwrap();
    settled(&late).await;
    for topic in ["Confirmed", "retold.scheduled", "retold.cancelled"] {
        assert_eq!(count(&orders, topic).await, placed, "{topic}");
    }
    assert_eq!(count(&stock, "Reserved").await, placed);
    let head = orders.head().await.unwrap().position().unwrap();
    late.wait(Goal::processed("orders", head), PATIENCE)
        .await
        .unwrap();
    // The steady process may still record only its checkpoint.
    drop(steady);
    assert_retold([&late]).await;
}

in_places!(
    [sqlite, postgres],
    (killed_processes_process_each_event_once,)
);
