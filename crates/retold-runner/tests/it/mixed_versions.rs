//! Nodes of two versions of a program on one store: a unit that an old node cannot continue moves
//! to a node that can, stays there, and each event is processed once.

use std::sync::Arc;
use std::time::Duration;

use retold::prelude::*;
use retold::recording::MemoryStore;
use retold::runner::{Cluster, UnitStatus};
use retold::system::{Context, Follower, Goal, Infrastructure, Phase, Runner, System, Trouble};

use crate::leasing::{Leasing, LeasingStore};
use crate::nodes::{options, retells, until_spread};
use crate::patience::{PATIENCE, until};
use crate::place::{Place, in_places};
use crate::shop::{Order, Reserved, Stock, place, reserve};

/// An event that only the new version records and knows.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Hurried {
    order: String,
}

async fn reserve_at_once(hurried: &Hurried, context: &mut Context) -> retold::Result<()> {
    let order = hurried.order.clone();
    let reserved = |_: &Stock| Reserved {
        order: order.clone(),
    };
    context.execute_or_create("tea", reserved).await?;
    Ok(())
}

fn follower() -> Follower {
    Follower::new("reservations").follows("orders").on(reserve)
}

fn old_system() -> System {
    System::new("shop")
        .application("orders", |app| app.aggregate::<Order>())
        .application("stock", |app| app.aggregate::<Stock>().follower(follower()))
        .build()
        .unwrap()
}

fn new_system() -> System {
    System::new("shop")
        .application("orders", |app| app.aggregate::<Order>().event::<Hurried>())
        .application("stock", |app| {
            app.aggregate::<Stock>()
                .follower(follower().on(reserve_at_once))
        })
        .build()
        .unwrap()
}

async fn hurry(orders: &Application, order: &str) {
    let order = order.to_owned();
    let hurried = move |(): &()| Hurried {
        order: order.clone(),
    };
    orders.decide((), hurried).await.unwrap();
}

async fn unit(seen_from: &Cluster) -> UnitStatus {
    let units = seen_from.cluster_status().await.units;
    let mut units = units.into_iter();
    let found = units.find(|it| it.unit.to_string() == "stock/reservations");
    found.unwrap()
}

async fn until_at(seen_from: &Cluster, node: &str) -> UnitStatus {
    until("the follower is at the node", async || {
        unit(seen_from).await.node.as_deref() == Some(node)
    })
    .await;
    unit(seen_from).await
}

async fn reserved_for(stock: &Application) -> Vec<String> {
    let events = stock.events::<Reserved>().read().collect().await.unwrap();
    events.into_iter().map(|it| it.event.order).collect()
}

/// Waits until a node has processed everything, and returns the orders with reservations.
async fn settled(node: &Cluster) -> Vec<String> {
    let orders = node.application("orders").unwrap();
    let head = orders.head().await.unwrap().position().unwrap();
    node.wait(Goal::processed("orders", head), PATIENCE)
        .await
        .unwrap();
    reserved_for(&node.application("stock").unwrap()).await
}

/// Names of nodes for which the follower belongs on the old one while both are alive: placement
/// does not take it away.
const OLD: &str = "old-1";
const NEW: &str = "new-1";
/// Short, so that the test can wait for many of them.
const TIME_TO_LIVE: Duration = Duration::from_secs(1);
/// More than a node waits before it takes back a unit on which it held.
const LIVES: i64 = 5;

async fn a_unit_that_is_held_comes_to_a_node_that_knows_the_event(home: Place) {
    let options = options().time_to_live(TIME_TO_LIVE);
    let (old_system, new_system) = (old_system(), new_system());
    let (on_old, on_new) = (home.open().await, home.open().await);
    let old = Cluster::join(&old_system, &on_old, OLD, options.clone());
    let old = old.await.unwrap();
    let new = Cluster::join(&new_system, &on_new, NEW, options);
    let new = new.await.unwrap();
    until_spread(&old, &[NEW, OLD]).await;
    let before = until_at(&old, OLD).await;
    let mut expected = Vec::new();
    let (old_orders, new_orders) = (
        old.application("orders").unwrap(),
        new.application("orders").unwrap(),
    );
    for order in 0..5 {
        place(&old_orders, &format!("before-{order}"), "tea").await;
        expected.push(format!("before-{order}"));
    }
    assert_eq!(settled(&old).await, expected);
    assert_eq!(unit(&old).await.term, before.term);

    // Later effects of the event wait for it, whichever node recorded them.
    hurry(&new_orders, "hurried-0").await;
    expected.push("hurried-0".into());
    for order in 0..5 {
        place(&old_orders, &format!("after-{order}"), "tea").await;
        expected.push(format!("after-{order}"));
    }
    assert_eq!(settled(&new).await, expected);
    let taken = until_at(&old, NEW).await;
    assert_eq!(taken.term, before.term + 1, "{taken:?}");
    let (_, note) = taken.last_error.unwrap();
    assert!(note.contains("Hurried") && note.starts_with(OLD), "{note}");

    // It stays where it is, although it belongs on the old node, while more events of both kinds
    // arrive.
    let begun = old.cluster_status().await.now.unwrap();
    let mut count = 1;
    until("many lives of leases pass", async || {
        let now = old.cluster_status().await.now.unwrap();
        let lives = (now.as_micros() - begun.as_micros()) / TIME_TO_LIVE.as_micros() as i64;
        let held = unit(&old).await;
        assert_eq!(held.node.as_deref(), Some(NEW), "{held:?}");
        assert_eq!(held.term, taken.term, "{held:?}");
        lives >= LIVES
    })
    .await;
    for _ in 0..5 {
        place(&old_orders, &format!("later-{count}"), "tea").await;
        expected.push(format!("later-{count}"));
        hurry(&new_orders, &format!("hurried-{count}")).await;
        expected.push(format!("hurried-{count}"));
        count += 1;
    }
    assert_eq!(settled(&new).await, expected);
    assert_eq!(settled(&old).await, expected);
    assert_eq!(unit(&old).await.term, taken.term);

    // The last old node leaves: the new one has everything, and nothing was lost or duplicated.
    assert!(old.stop().await.is_clean());
    until_spread(&new, &[NEW]).await;
    hurry(&new_orders, "last").await;
    expected.push("last".into());
    assert_eq!(settled(&new).await, expected);
    assert!(new.stop().await.is_clean());
    retells(&new_system, &home.open().await).await;
}

in_places!(
    [memory, sqlite, postgres],
    (a_unit_that_is_held_comes_to_a_node_that_knows_the_event)
);

/// The first of several old nodes gives the unit up, and the next one takes it. When that one finds
/// that it holds, it gives it up too, and does not keep it for as long as other adoptions last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_old_node_gives_up_a_unit_that_holds() {
    let store = MemoryStore::new();
    let infrastructure = || Infrastructure::new(Arc::new(store.clone()));
    let (old_system, new_system) = (old_system(), new_system());
    // Ten times to live are longer than the test waits.
    let options = options().time_to_live(Duration::from_secs(4));
    let new_store = Arc::new(LeasingStore::over(store.clone()));
    let mut old = Vec::new();
    for name in [OLD, "old-2"] {
        let on_old = infrastructure();
        let joined = Cluster::join(&old_system, &on_old, name, options.clone());
        old.push(joined.await.unwrap());
    }
    new_store.set(Leasing::NoUnits);
    let on_new = Infrastructure::new(Arc::<LeasingStore>::clone(&new_store));
    let new = Cluster::join(&new_system, &on_new, NEW, options);
    let new = new.await.unwrap();
    until("the follower is with an old node", async || {
        let node = unit(&old[0]).await.node;
        node.is_some_and(|node| node.starts_with("old"))
    })
    .await;
    let holds = async |node: &Cluster| node.status().await[0].phase == Phase::Holding;
    hurry(&new.application("orders").unwrap(), "1").await;
    let first = usize::from(unit(&old[0]).await.node.as_deref() == Some("old-2"));
    until("the second one holds", async || {
        holds(&old[1 - first]).await
    })
    .await;
    let findings = old[1 - first].health().await.findings;
    assert_eq!(findings[0].trouble, Trouble::Holding, "{findings:?}");
    new_store.set(Leasing::Sound);
    until_at(&old[0], NEW).await;
    assert_eq!(settled(&new).await, ["1"]);
    for node in old.iter().chain([&new]) {
        assert!(node.stop().await.is_clean());
    }
    retells(&new_system, &infrastructure()).await;
}
