//! What is seen of a cluster from outside: its leases, failures of units on other nodes, and the health of
//! a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use retold::recording::memory::MemoryStore;
use retold::recording::store::Store;
use retold::runner::{Cluster, ClusterOverview, MultiThread};
use retold::system::{Context, Follower, Infrastructure, System};

use crate::leasing::{Leasing, LeasingStore};
use crate::nodes::{TIME_TO_LIVE, join, options, until_spread};
use crate::patience::until;
use crate::shop::{Order, Placed, Stock, memory, place, reserve, shop};

static IS_BROKEN: AtomicBool = AtomicBool::new(true);

async fn fragile(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    match IS_BROKEN.load(Ordering::SeqCst) {
        true => Err(retold::Error::Refused("nothing\nis left".into())),
        false => reserve(placed, context).await,
    }
}

/// A follower's failure on one node is seen from the other, and by who knows nothing of the system.
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
            let status = node.status().await;
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
    let text = one.status().await.to_string();
    assert!(text.contains("nothing is left"), "{text}");

    // A node that has left is no node, and has nothing.
    IS_BROKEN.store(false, Ordering::SeqCst);
    one.leave().await;
    two.leave().await;
    let clusters = ClusterOverview::read_all(&*store).await.unwrap();
    assert!(clusters[0].nodes.is_empty());
    assert!(clusters[0].units.iter().all(|it| it.node.is_none()));
}

#[tokio::test]
async fn nothing_is_seen_of_a_store_without_clusters() {
    let store = MemoryStore::new();
    assert_eq!(ClusterOverview::read_all(&store).await.unwrap(), []);
}

#[tokio::test]
async fn a_node_is_live_and_ready_until_it_leaves() {
    let node = join(&memory(), "one").await;
    let health = node.health().await;
    assert!(health.is_live() && health.is_ready(), "{health:?}");
    node.leave().await;
    let health = node.health().await;
    assert!(health.is_live() && !health.is_ready(), "{health:?}");
    assert_eq!(health.not_ready.as_deref(), Some("the node is leaving"));
}

/// Starting again would mend nothing: the store is at fault.
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

#[tokio::test]
async fn a_runner_of_one_process_is_ready_until_it_stops() {
    let runner = MultiThread::start(&shop(), &memory()).await.unwrap();
    let health = runner.health().await;
    assert!(health.is_live() && health.is_ready(), "{health:?}");
    runner.stop().await;
    let health = runner.health().await;
    assert!(health.is_live() && !health.is_ready(), "{health:?}");
}
