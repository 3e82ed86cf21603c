//! Nodes that are processes on one store: killed, suspended, and woken.

use std::env;
use std::ops::Range;
use std::time::{Duration, Instant};

use retold::prelude::*;
use retold::runner::Cluster;
use retold::system::Runner;

use crate::child_process::ChildProcess;
use crate::nodes::{TIME_TO_LIVE, answered_once, join, options, until_spread};
use crate::patience::{PATIENCE, until};
use crate::place::{Place, in_places, open};
use crate::shop::{Order, Placed, place, settled, shop};

/// Passes the store to a child; absent in the parent.
const URL: &str = "RETOLD_RUNNER_NODE_OF";
/// Passes its name to a child.
const NODE: &str = "RETOLD_RUNNER_NODE";
/// The number of times that a process is killed or suspended.
const ROUNDS: usize = 3;
/// The maximum number of suspensions: one while the process holds the lock of the store does not
/// count as a round.
const ATTEMPTS_MAX: usize = 8;
/// The number of orders placed in each part of a round.
const ORDERS: usize = 10;
/// The time that a busy machine may add to a promised limit.
const SLACK: Duration = Duration::from_secs(10);

/// The child: a node until it is killed. Without a parent it does nothing.
#[test]
fn child() {
    let (Ok(url), Ok(node)) = (env::var(URL), env::var(NODE)) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let infrastructure = open(&url).await;
        let options = options().name_wait_max(PATIENCE);
        let system = shop();
        let joined = Cluster::join(&system, &infrastructure, &node, options);
        let _node = joined.await.unwrap();
        std::future::pending::<()>().await;
    });
}

fn start(url: &str, node: &str) -> ChildProcess {
    ChildProcess::start("cluster_processes::child", &[(URL, &url), (NODE, &node)])
}

async fn the_units_of_a_killed_process_move_to_other_nodes(home_of: Place) {
    let url = home_of.url();
    let infrastructure = home_of.open().await;
    let home = join(&infrastructure, "home").await;
    let orders = home.application("orders").unwrap();
    let _steady = start(&url, "steady");
    let mut placed = 0;
    for _ in 0..ROUNDS {
        // Under the name of the process that was killed before.
        let doomed = start(&url, "doomed");
        until_spread(&home, &["doomed", "home", "steady"]).await;
        for _ in 0..ORDERS {
            place(&orders, &placed.to_string(), "tea").await;
            placed += 1;
        }
        drop(doomed);
        let killed_at = Instant::now();
        for _ in 0..ORDERS {
            place(&orders, &placed.to_string(), "tea").await;
            placed += 1;
        }
        until_spread(&home, &["home", "steady"]).await;
        let taken_over = killed_at.elapsed();
        let promised = TIME_TO_LIVE + Duration::from_secs(1);
        assert!(taken_over < promised + SLACK, "{taken_over:?}");
        settled(&home).await;
    }
    answered_once(home.open_system(), &infrastructure, placed).await;
}

/// A process that sleeps past its leases still believes for a while after waking that it holds its
/// units.
async fn a_process_that_slept_past_its_leases_records_nothing_twice(home_of: Place) {
    let url = home_of.url();
    let infrastructure = home_of.open().await;
    let home = join(&infrastructure, "home").await;
    let orders = home.application("orders").unwrap();
    let sleeper = start(&url, "sleeper");
    let (mut first, mut slept_through) = (0, 0);
    for _ in 0..ATTEMPTS_MAX {
        until_spread(&home, &["home", "sleeper"]).await;
        // It is suspended in the middle of its work.
        place_all(&orders, first..first + ORDERS).await;
        sleeper.signal("STOP");
        let meanwhile = first + ORDERS..first + 2 * ORDERS;
        let others = async {
            until_spread(&home, &["home"]).await;
            place_all(&orders, meanwhile.clone()).await;
            settled(&home).await;
        };
        // If it was suspended while holding a lock of the store, no process can write until it
        // wakes.
        let slept = tokio::time::timeout(TIME_TO_LIVE * 3, others).await;
        slept_through += usize::from(slept.is_ok());
        sleeper.signal("CONT");
        place_all(&orders, meanwhile).await;
        first += 2 * ORDERS;
        place_all(&orders, first..first + ORDERS).await;
        first += ORDERS;
        settled(&home).await;
        if slept_through == ROUNDS {
            break;
        }
    }
    assert!(slept_through > 0, "the others never took over");
    until_spread(&home, &["home", "sleeper"]).await;
    place_all(&orders, first..first + ORDERS).await;
    settled(&home).await;
    answered_once(home.open_system(), &infrastructure, first + ORDERS).await;
}

/// Places these orders, except those that are already placed; retries until the store can be
/// written.
async fn place_all(orders: &Application, ids: Range<usize>) {
    for id in ids {
        let id = id.to_string();
        until("an order is placed", async || {
            let placed = |_: &Order| Placed { item: "tea".into() };
            let placing = orders.execute_or_create(id.as_str(), placed);
            placing.command_id(id.as_str()).await.is_ok()
        })
        .await;
    }
}

in_places!(
    [sqlite, postgres],
    (
        the_units_of_a_killed_process_move_to_other_nodes,
        a_process_that_slept_past_its_leases_records_nothing_twice,
    )
);
