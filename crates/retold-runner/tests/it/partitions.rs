//! Followers that are split into partitions: in parallel in one process, spread over nodes, moved
//! when nodes die, and split again while they work.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::sync::Arc;

use retold::prelude::*;
use retold::recording::Origin;
use retold::retelling::{retell, retell_whole};
use retold::runner::{Cluster, MultiThread, Unit};
use retold::system::{
    FollowerOperator, FollowerPath, Goal, Infrastructure, OpenSystem, Phase, Runner, System,
};

use crate::child_process::ChildProcess;
use crate::leasing::{Leasing, LeasingStore};
use crate::nodes::{options, until_spread};
use crate::patience::{PATIENCE, until};
use crate::place::{Place, in_places};
use crate::shop::{
    assert_retold, confirmations, deadlines, events, memory, one_way, place, reservations,
    reserved, settled,
};

/// Returns the shop with split reservations.
fn split_shop(partitions: u32) -> System {
    System::new("shop")
        .application("orders", |app| {
            app.aggregate::<crate::shop::Order>()
                .follower(confirmations())
                .follower(deadlines().partitioned(2).batch(5))
        })
        .application("stock", |app| {
            app.aggregate::<crate::shop::Stock>()
                .follower(reservations().partitioned(partitions))
        })
        .build()
        .unwrap()
}

/// Places orders with these numbers, ten for each item.
async fn place_some(orders: &Application, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let (id, item) = (number.to_string(), format!("item-{}", number % 10));
        place(orders, &id, &item).await;
    }
}

fn operator(open: &OpenSystem) -> FollowerOperator {
    FollowerOperator::new(open.application("stock").unwrap(), "reservations")
}

/// Requests this number of partitions once the follower has started.
async fn ask_for(open: &OpenSystem, partitions: u32) {
    let operator = operator(open);
    until("the follower has started", async || {
        operator.repartition(partitions, None).await.is_ok()
    })
    .await;
}

/// Splits the reservations, and waits until they are split.
async fn repartition(open: &OpenSystem, partitions: u32) {
    let operator = operator(open);
    ask_for(open, partitions).await;
    until("the follower is split", async || {
        let record = operator.record().await.unwrap();
        record.partitions == partitions && record.partitioning.is_none()
    })
    .await;
}

/// Checks that each order was processed once, those of one partition in their order, and retells
/// the logs.
async fn answered_once(open: &OpenSystem, placed: usize) {
    let stock = open.application("stock").unwrap();
    let orders: BTreeSet<_> = reserved(stock).await.into_iter().collect();
    assert_eq!(orders.len(), placed);
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut answered = BTreeSet::new();
    for event in events(stock).await {
        if let Ok(Origin::Effect {
            follower, position, ..
        }) = event.origin()
        {
            assert!(answered.insert(position), "{position} was processed twice");
            let last = last.entry(follower.to_string()).or_default();
            assert!(*last < position.get(), "{follower} at {position}");
            *last = position.get();
        }
    }
    assert_eq!(answered.len(), placed);
    for report in retell(open).await.unwrap() {
        assert!(report.difference.is_none(), "{report}");
    }
    let whole = retell_whole(open).await.unwrap();
    assert!(whole.difference.is_none(), "{whole}");
}

/// Goal: each partition has its own task, works, reports its status, and is waited for; the number
/// changes while all of them work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_work_in_parallel_and_are_split_again_while_they_work() {
    let runner = MultiThread::start(&split_shop(3), &memory()).await.unwrap();
    let open = runner.open_system();
    let orders = runner.application("orders").unwrap();
    place_some(&orders, 0..50).await;
    settled(&runner).await;
    let status = runner.status().await;
    let of_follower = status.iter().filter(|it| &*it.follower == "reservations");
    let pipelines: Vec<_> = of_follower
        .map(|it| (it.pipeline, it.pipelines, it.partitions, it.processed > 0))
        .collect();
    assert_eq!(
        pipelines,
        [(0, 3, 3, true), (1, 3, 3, true), (2, 3, 3, true)]
    );

    let mut placed = 50;
    for partitions in [5, 1, 2, 3] {
        let placing = place_some(&orders, placed..placed + 30);
        let ((), ()) = tokio::join!(placing, repartition(open, partitions));
        placed += 30;
        settled(&runner).await;
        // A pipeline that now has no partition is not behind either.
        until("no follower is behind", async || {
            runner.lag().await.events == 0
        })
        .await;
    }
    let head = orders.head().await.unwrap().position().unwrap();
    let waited = runner.wait(
        Goal::processed_by(FollowerPath::new("stock", "reservations"), "orders", head),
        PATIENCE,
    );
    waited.await.unwrap();
    assert_eq!(runner.lag().await.events, 0);
    assert!(runner.status().await.iter().all(|it| it.is_well()));
    answered_once(open, placed).await;
    assert_retold([&runner]).await;
}

/// Goal: programs with different numbers of pipelines for one follower, as in a deployment,
/// together process everything once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_with_different_numbers_of_pipelines_process_everything_once() {
    let infrastructure = memory();
    let old = MultiThread::start(&split_shop(2), &infrastructure).await;
    let old = old.unwrap();
    let orders = old.application("orders").unwrap();
    place_some(&orders, 0..20).await;
    let new = MultiThread::start(&split_shop(4), &infrastructure).await;
    let new = new.unwrap();
    place_some(&orders, 20..40).await;
    settled(&new).await;
    let placing = place_some(&orders, 40..80);
    let ((), ()) = tokio::join!(placing, repartition(new.open_system(), 4));
    old.stop().await;
    place_some(&orders, 80..100).await;
    settled(&new).await;
    let statuses = new.status().await;
    assert!(statuses.iter().all(|it| it.phase != Phase::Failed));
    answered_once(new.open_system(), 100).await;
    assert_retold([&old, &new]).await;
}

async fn join(system: &System, infrastructure: &Infrastructure, node: &str) -> Cluster {
    let joined = Cluster::join(system, infrastructure, node, options());
    joined.await.unwrap()
}

/// Goal: the partitions are units, spread over the nodes; other nodes take over those of a dropped
/// node; the number changes meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_spread_over_nodes_and_move() {
    let infrastructure = memory();
    let system = split_shop(4);
    let one = join(&system, &infrastructure, "one").await;
    let two = join(&system, &infrastructure, "two").await;
    let three = join(&system, &infrastructure, "three").await;
    until_spread(&one, &["one", "three", "two"]).await;
    let status = one.cluster_status().await;
    let has_partition = |it: &&retold::runner::UnitStatus| {
        matches!(
            &it.unit,
            Unit::Follower { follower, pipeline: Some(_) } if follower.follower() == "reservations"
        )
    };
    let partitions: Vec<_> = status.units.iter().filter(has_partition).collect();
    assert_eq!(partitions.len(), 4);
    let nodes: BTreeSet<_> = partitions.iter().map(|it| it.node.clone()).collect();
    assert!(nodes.len() > 1, "{status}");
    assert!(
        status.to_string().contains("stock/reservations/3"),
        "{status}"
    );

    let orders = one.application("orders").unwrap();
    place_some(&orders, 0..40).await;
    // Every node can wait for all partitions, wherever they are.
    for node in [&one, &two, &three] {
        settled(node).await;
    }
    // The node dies with its partitions, in the middle of the work.
    let placing = place_some(&orders, 40..80);
    let dying = async { drop(three) };
    tokio::join!(placing, dying, repartition(one.open_system(), 6));
    settled(&two).await;
    until_spread(&two, &["one", "two"]).await;
    repartition(one.open_system(), 4).await;
    place_some(&orders, 80..100).await;
    assert!(one.stop().await.is_clean());
    settled(&two).await;
    until("no follower is behind", async || {
        two.lag().await.events == 0
    })
    .await;
    answered_once(two.open_system(), 100).await;
}

/// Goal: nodes that all believe they hold every partition record nothing twice, also after a split.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_all_believe_they_hold_a_partition_record_nothing_twice() {
    let store = Arc::new(LeasingStore::default());
    store.set(Leasing::Everybody);
    let infrastructure = Infrastructure::new(store);
    let system = one_way(reservations().partitioned(3));
    let mut nodes = Vec::new();
    for name in ["one", "two", "three"] {
        nodes.push(join(&system, &infrastructure, name).await);
    }
    let orders = nodes[0].application("orders").unwrap();
    let placing = place_some(&orders, 0..60);
    let open = nodes[1].open_system();
    tokio::join!(placing, async {
        for partitions in [2, 5] {
            repartition(open, partitions).await;
        }
    });
    let head = orders.head().await.unwrap().position().unwrap();
    let waited = nodes[2]
        .wait(Goal::processed("orders", head), PATIENCE)
        .await;
    waited.unwrap();
    answered_once(open, 60).await;
}

/// Passes the file to a child; absent in the parent.
const URL: &str = "RETOLD_TEST_URL";
/// Passes its name to a child.
const NODE: &str = "RETOLD_RUNNER_PARTITIONS_NODE";
/// The number of times that a process is killed.
const KILLS: usize = 4;

/// The child: a node until it is killed. Without a parent it does nothing.
#[test]
fn child() {
    let (Ok(url), Ok(node)) = (env::var(URL), env::var(NODE)) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let infrastructure = crate::place::open(&url).await;
        let options = options().name_wait_max(PATIENCE);
        let system = split_shop(4);
        let joined = Cluster::join(&system, &infrastructure, &node, options);
        let _node = joined.await.unwrap();
        std::future::pending::<()>().await;
    });
}

fn start(url: &str, node: &str) -> ChildProcess {
    ChildProcess::start("partitions::child", &[(URL, &url), (NODE, &node)])
}

/// Goal: processes on one database that are killed and split again while they work process
/// everything once.
async fn killed_processes_process_each_event_of_a_partition_once(place: Place) {
    let url = place.url();
    let infrastructure = place.open().await;
    let home = join(&split_shop(4), &infrastructure, "home").await;
    let orders = home.application("orders").unwrap();
    let _steady = start(&url, "steady");
    for (round, partitions) in (0..KILLS).zip([6, 1, 3, 4]) {
        let doomed = start(&url, "doomed");
        until_spread(&home, &["doomed", "home", "steady"]).await;
        let first = round * 20;
        place_some(&orders, first..first + 10).await;
        let open = home.open_system();
        ask_for(open, partitions).await;
        drop(doomed);
        place_some(&orders, first + 10..first + 20).await;
        repartition(open, partitions).await;
        settled(&home).await;
    }
    answered_once(home.open_system(), KILLS * 20).await;
}

in_places!(
    [sqlite, postgres],
    (killed_processes_process_each_event_of_a_partition_once)
);
