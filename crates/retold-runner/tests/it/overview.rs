//! A cluster as seen from outside: its leases, failures of units on other nodes, and the health of
//! a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use retold::domain::ManualClock;
use retold::prelude::*;
use retold::projection::{MemoryView, Projection};
use retold::recording::{MemoryStore, Store};
use retold::runner::limits::PRESENCE_INTERVAL;
use retold::runner::{Cluster, ClusterOverview, MultiThread, UnitOverview};
use retold::system::{
    Context, Follower, FollowerPath, Goal, Infrastructure, Phase, Runner, SingleThread, System,
    Trouble,
};

use crate::leasing::{Leasing, LeasingStore};
use crate::nodes::{TIME_TO_LIVE, join, options, until_spread};
use crate::patience::{PATIENCE, until, until_phase};
use crate::shop::{Order, Placed, Stock, memory, one_way, place, reservations, reserve};

static IS_BROKEN: AtomicBool = AtomicBool::new(true);

async fn fragile(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    match IS_BROKEN.load(Ordering::SeqCst) {
        true => Err(retold::Error::Refused("nothing\nis left".into())),
        false => reserve(placed, context).await,
    }
}

/// A follower's failure on one node is visible from the other node, and to programs that do not
/// know the system.
#[tokio::test]
async fn a_failure_is_seen_from_every_process() {
    let system = System::new("fragile/shop")
        .application("orders", |app| app.aggregate::<Order>())
        .application("stock", |app| {
            app.aggregate::<Stock>()
                .follower(Follower::new("reservations").follows("orders").on(fragile))
        })
        .build()
        .unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let infrastructure = Infrastructure::new(Arc::clone(&store));
    let one = Cluster::join(&system, &infrastructure, "one", options()).await;
    let two = Cluster::join(&system, &infrastructure, "two", options()).await;
    let (one, two) = (one.unwrap(), two.unwrap());
    until_spread(&one, &["one", "two"]).await;
    place(&two.application("orders").unwrap(), "1", "tea").await;
    for node in [&one, &two] {
        until("the failure is seen", async || {
            let status = node.cluster_status().await;
            let mut errors = status.units.iter().filter_map(|it| it.last_error.as_ref());
            errors.any(|(_, text)| text.contains("nothing is left"))
        })
        .await;
    }
    let clusters = ClusterOverview::read_all(&*store).await.unwrap();
    let [cluster] = &clusters[..] else {
        panic!("{clusters:?}");
    };
    assert_eq!(&*cluster.system, "fragile/shop");
    let nodes: Vec<_> = cluster.nodes.iter().map(|it| &*it.name).collect();
    assert_eq!(nodes, ["one", "two"]);
    let counts: usize = cluster.nodes.iter().map(|it| it.unit_count).sum();
    assert_eq!(counts, cluster.units.len());
    let kinds: Vec<_> = cluster.units.iter().map(|it| &*it.kind).collect();
    assert_eq!(kinds, ["follower", "timers", "timers"]);
    let follower = &cluster.units[0];
    assert_eq!(follower.names.join("/"), "stock/reservations");
    assert!(follower.lease_ends_at.unwrap() > cluster.now);
    let (at, error) = follower.last_error.as_ref().unwrap();
    let node = follower.node.as_ref().unwrap();
    assert!(error.starts_with(&format!("{node}: ")), "{error}");
    assert!(*at <= cluster.now);
    let text = one.cluster_status().await.to_string();
    assert!(text.contains("nothing is left"), "{text}");

    // A node that has left is no longer a node, and holds nothing.
    IS_BROKEN.store(false, Ordering::SeqCst);
    one.stop().await;
    two.stop().await;
    let clusters = ClusterOverview::read_all(&*store).await.unwrap();
    assert!(clusters[0].nodes.is_empty());
    assert!(clusters[0].units.iter().all(|it| it.node.is_none()));
}

#[tokio::test]
async fn nothing_is_seen_of_a_store_without_clusters() {
    let store = MemoryStore::new();
    assert_eq!(ClusterOverview::read_all(&store).await.unwrap(), []);
}

/// A restart would not help: the store is at fault.
#[tokio::test]
async fn a_node_without_its_store_is_live_and_not_ready() {
    let store = Arc::new(LeasingStore::over(MemoryStore::new()));
    let dynamic: Arc<dyn Store> = store.clone();
    let node = join(&Infrastructure::new(dynamic), "one").await;
    store.set(Leasing::Unavailable);
    until("the node is not ready", async || {
        !node.health().await.is_ready()
    })
    .await;
    let health = node.health().await;
    assert!(health.is_live(), "{health:?} after {TIME_TO_LIVE:?}");
    let reason = health.not_ready.unwrap();
    assert!(reason.contains("lease is not renewed"), "{reason}");
    store.set(Leasing::Sound);
    until("the node is ready", async || node.health().await.is_ready()).await;
}

/// Goal: the jobs of a runner in one process are visible to others until it stops. Method: read the
/// leases.
#[tokio::test]
async fn the_jobs_of_a_runner_in_one_process_are_visible() {
    let view = MemoryView::<u64>::new();
    let counting = Projection::new("placed", 1, "orders").on::<Placed>(|placed: &mut u64, _| {
        *placed += 1;
        Ok(())
    });
    let infrastructure = memory().view(view.keep(counting).unwrap());
    let store = Arc::clone(infrastructure.store_of("orders"));
    let units = async || {
        let systems = ClusterOverview::read_all(&*store).await.unwrap();
        let units = systems.iter().flat_map(|system| &system.units);
        let shown = units.filter(|unit| unit.node.is_some());
        let shown = shown.map(|unit| format!("{} {}", unit.kind, unit.names.join("/")));
        shown.collect::<Vec<_>>()
    };
    let system = one_way(reservations().partitioned(2));
    let runner = MultiThread::start(&system, &infrastructure).await.unwrap();
    let expected = [
        "follower stock/reservations",
        "timers orders",
        "timers stock",
        "view orders/placed/1",
    ];
    until("all are seen", async || units().await == expected).await;
    let systems = ClusterOverview::read_all(&*store).await.unwrap();
    let node = systems[0].units[0].node.as_deref().unwrap();
    assert_eq!(node, format!("process {}", std::process::id()));
    assert!(runner.stop().await.is_clean());
    assert_eq!(units().await, [""; 0]);
}

/// Goal: the jobs of a single thread are visible too while it is used, until it stops. A moved
/// clock stands for passing time.
#[tokio::test]
async fn the_jobs_of_a_single_thread_are_visible() {
    let view = MemoryView::<u64>::new();
    let counting = Projection::new("placed", 1, "orders").on::<Placed>(|placed: &mut u64, _| {
        *placed += 1;
        Ok(())
    });
    let clock = Arc::new(ManualClock::new(Timestamp::from(
        std::time::SystemTime::now(),
    )));
    let infrastructure = memory().view(view.keep(counting).unwrap());
    let infrastructure = infrastructure.clock(Arc::<ManualClock>::clone(&clock));
    let store = Arc::clone(infrastructure.store_of("orders"));
    let units = async || {
        let systems = ClusterOverview::read_all(&*store).await.unwrap();
        let units = systems.into_iter().flat_map(|system| system.units);
        units.filter(|unit| unit.node.is_some()).collect::<Vec<_>>()
    };
    let system = one_way(reservations());
    let runner = SingleThread::start(&system, &infrastructure).await.unwrap();
    let begun = units().await;
    let named = begun
        .iter()
        .map(|unit| format!("{} {}", unit.kind, unit.names.join("/")));
    let expected = [
        "follower stock/reservations",
        "timers orders",
        "timers stock",
        "view orders/placed/1",
    ];
    assert_eq!(named.collect::<Vec<_>>(), expected);
    assert!(
        begun
            .iter()
            .all(|it| it.node.as_deref().unwrap().starts_with("process "))
    );

    // Commands renew it, but not every command does.
    let ends = |units: Vec<UnitOverview>| units[0].lease_ends_at.unwrap();
    let first = ends(begun);
    place(&runner.application("orders").unwrap(), "1", "tea").await;
    assert_eq!(ends(units().await), first);
    clock.advance(PRESENCE_INTERVAL);
    place(&runner.application("orders").unwrap(), "2", "tea").await;
    let second = ends(units().await);
    assert!(second > first);
    clock.advance(PRESENCE_INTERVAL);
    runner.catch_up().await.unwrap();
    assert!(ends(units().await) > second);
    assert!(runner.stop().await.is_clean());
    assert_eq!(units().await, []);
}

/// A runner notices and reports that one of its followers was retired.
#[tokio::test]
async fn a_follower_that_is_retired_while_working_is_a_finding() {
    let runner = MultiThread::start(&one_way(reservations()), &memory())
        .await
        .unwrap();
    let operator = runner
        .operator(&FollowerPath::new("stock", "reservations"))
        .unwrap();
    let orders = runner.application("orders").unwrap();
    let position = place(&orders, "1", "tea").await;
    runner
        .wait(Goal::processed("orders", position), PATIENCE)
        .await
        .unwrap();
    operator.retire("nothing is sold any more").await.unwrap();
    until_phase(&runner, "reservations", Phase::Retired).await;
    let position = place(&orders, "2", "tea").await;
    let halted = runner
        .wait(Goal::processed("orders", position), PATIENCE)
        .await
        .unwrap_err();
    assert!(
        halted.to_string().contains("nothing is sold any more"),
        "{halted}"
    );
    let health = runner.health().await;
    assert_eq!(health.findings.len(), 1);
    assert_eq!(health.findings[0].trouble, Trouble::Retired);
    operator.resume().await.unwrap();
    runner
        .wait(Goal::processed("orders", position), PATIENCE)
        .await
        .unwrap();
    assert!(runner.health().await.is_well());
    runner.stop().await;
}
