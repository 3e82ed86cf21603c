//! A cluster within one process: which node holds which unit, and that it does not affect the
//! record.

use std::sync::Arc;
use std::time::Duration;

use retold::projection::{MemoryView, Projection};
use retold::recording::{MemoryStore, Position};
use retold::runner::{Cluster, ClusterOptions, JoinError, MultiThreadOptions, Unit};
use retold::system::{
    Behind, FollowerPath, Goal, Holder, Infrastructure, Phase, Runner, WaitError,
};

use crate::leasing::{Leasing, LeasingStore};
use crate::nodes::{answered_once, join, options, spread, until_spread};
use crate::patience::{PATIENCE, until};
use crate::place::{Place, in_places};
use crate::shop::{Placed, memory, one_way, place, reservations, settled, shop};

/// The shop has three followers, and the timers of two applications.
const UNITS: usize = 5;
/// Leases of this length do not end during a test: every move is a handover.
const HOUR: Duration = Duration::from_secs(3_600);

async fn units_are_spread_evenly_as_nodes_join_and_leave(home: Place) {
    let one = join(&home.open().await, "one").await;
    until_spread(&one, &["one"]).await;
    let orders = one.application("orders").unwrap();
    let mut placed = 0;
    let mut place_some = async || {
        for _ in 0..10 {
            place(&orders, &placed.to_string(), "tea").await;
            placed += 1;
        }
        placed
    };
    place_some().await;
    let two = join(&home.open().await, "two").await;
    let three = join(&home.open().await, "three").await;
    place_some().await;
    until_spread(&one, &["one", "three", "two"]).await;
    // All nodes see the same.
    assert_eq!(spread(&two).await, spread(&three).await);
    place_some().await;
    settled(&two).await;

    assert!(one.stop().await.is_clean());
    place_some().await;
    until_spread(&two, &["three", "two"]).await;
    let placed = place_some().await;
    settled(&three).await;
    // A node that has left still knows the progress of the others.
    settled(&one).await;
    for node in [&one, &two] {
        until("no follower is behind", async || {
            node.lag().await.events == 0
        })
        .await;
    }
    until("all is well", async || two.cluster_status().await.is_well()).await;
    let status = two.cluster_status().await;
    assert_eq!(status.units.len(), UNITS);
    for follower in &status.followers {
        assert_eq!(follower.lag_events(), 0, "{status}");
        assert!(follower.upstreams[0].checkpoint.is_some(), "{status}");
    }
    assert!(
        status.to_string().contains("stock/reservations"),
        "{status}"
    );
    answered_once(two.open_system(), &home.open().await, placed).await;
    assert!(two.stop().await.is_clean());
    assert!(three.stop().await.is_clean());
    assert!(three.stop().await.is_clean(), "a second time does nothing");
}

async fn a_node_that_leaves_hands_over_at_once(home: Place) {
    let options = options().time_to_live(HOUR);
    let join = async |name| {
        Cluster::join(&shop(), &home.open().await, name, options.clone())
            .await
            .unwrap()
    };
    let (one, two) = (join("one").await, join("two").await);
    until_spread(&one, &["one", "two"]).await;
    place(&one.application("orders").unwrap(), "1", "tea").await;
    assert!(one.stop().await.is_clean());
    until_spread(&two, &["two"]).await;
    place(&one.application("orders").unwrap(), "2", "tea").await;
    settled(&two).await;
    let again = join("one").await;
    until_spread(&two, &["one", "two"]).await;
    place(&one.application("orders").unwrap(), "3", "tea").await;
    settled(&again).await;
    answered_once(two.open_system(), &home.open().await, 3).await;
}

#[tokio::test]
async fn a_timeout_names_the_node_that_has_the_follower() {
    let memory = memory();
    let nodes = [join(&memory, "one").await, join(&memory, "two").await];
    until_spread(&nodes[0], &["one", "two"]).await;
    place(&nodes[0].application("orders").unwrap(), "1", "tea").await;
    settled(&nodes[0]).await;
    let beyond = Position::new(1_000).unwrap();
    for node in &nodes {
        let units = node.cluster_status().await.units;
        let waited = node.wait(
            Goal::processed("orders", beyond),
            Duration::from_millis(100),
        );
        let error = waited.await.unwrap_err();
        let WaitError::Timeout { behind, searching } = &error else {
            panic!("another error: {error}");
        };
        assert!(searching.is_none());
        assert_eq!(behind.len(), 2, "{error}");
        for it in behind {
            let Behind::Follower {
                follower,
                checkpoint,
                holder,
                ..
            } = it
            else {
                panic!("not a follower: {error}");
            };
            let seen = holder.as_ref().expect("a cluster reports a holder");
            let name = follower.to_string();
            let unit = units.iter().find(|unit| unit.unit.to_string() == name);
            let unit = unit.expect("the follower is a unit");
            assert!(seen.node.is_some(), "{error}");
            assert_eq!(
                (&seen.node, seen.since),
                (&unit.node, unit.since),
                "{error}"
            );
            assert!(checkpoint.is_some(), "{error}");
            let has = format!(
                "the node {:?} has had its lease since",
                seen.node.as_deref().unwrap()
            );
            assert!(error.to_string().contains(&has), "{error}");
        }
        assert!(!error.to_string().contains("Standby"), "{error}");
    }
    for node in nodes {
        node.stop().await;
    }
}

async fn a_name_is_refused_while_its_node_lives(home: Place) {
    let one = join(&home.open().await, "one").await;
    until_spread(&one, &["one"]).await;
    let refused = Cluster::join(&shop(), &home.open().await, "one", options()).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, JoinError::NameTaken { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("a living node of the system \"shop\" has the name \"one\"")
    );
    // It was not a node, and took nothing.
    until_spread(&one, &["one"]).await;

    let patient = options().name_wait_max(PATIENCE);
    let (shop, opened) = (shop(), home.open().await);
    let (again, left) = tokio::join!(Cluster::join(&shop, &opened, "one", patient), one.stop());
    assert!(left.is_clean());
    until_spread(&again.unwrap(), &["one"]).await;
}

#[tokio::test]
async fn names_that_are_invalid_in_leases_are_refused() {
    let memory = memory();
    for (name, options, expected) in [
        ("", options(), "name of a node"),
        (
            &*"x".repeat(201),
            options(),
            "has 201 bytes; it may have 200",
        ),
        (
            "one",
            options().time_to_live(Duration::ZERO),
            "the minimum is 300ms",
        ),
    ] {
        let refused = Cluster::join(&shop(), &memory, name, options).await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Every node is given the lease of every unit, and sees no other node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_all_believe_they_hold_a_unit_record_nothing_twice() {
    let store = Arc::new(LeasingStore::default());
    store.set(Leasing::Everybody);
    let infrastructure = Infrastructure::new(Arc::<LeasingStore>::clone(&store));
    let one = join(&infrastructure, "one").await;
    let two = join(&infrastructure, "two").await;
    until("both hold everything", async || {
        store.holders_of_units() == [2; UNITS]
    })
    .await;
    let orders = one.application("orders").unwrap();
    for order in 0..100 {
        place(&orders, &order.to_string(), "tea").await;
    }
    settled(&one).await;
    settled(&two).await;
    answered_once(one.open_system(), &infrastructure, 100).await;
    assert!(one.stop().await.is_clean());
    assert!(two.stop().await.is_clean());
}

/// The placement recovers by itself when the store is available again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_renew_its_leases_rests_until_it_can() {
    let store = Arc::new(LeasingStore::default());
    let infrastructure = Infrastructure::new(Arc::<LeasingStore>::clone(&store));
    let node = join(&infrastructure, "one").await;
    let orders = node.application("orders").unwrap();
    let mut placed = 0;
    for leasing in [Leasing::Unavailable, Leasing::Silent] {
        until_spread(&node, &["one"]).await;
        place(&orders, &placed.to_string(), "tea").await;
        settled(&node).await;
        store.set(leasing);
        until("its units rest", async || {
            let followers = node.status().await;
            followers.iter().all(|it| it.phase == Phase::Standby)
        })
        .await;
        placed += 2;
        place(&orders, &(placed - 1).to_string(), "tea").await;
        store.set(Leasing::Sound);
        until("the failures are over", async || {
            node.cluster_status().await.failures.is_empty()
        })
        .await;
        settled(&node).await;
    }
    answered_once(node.open_system(), &infrastructure, placed).await;
}

/// To the others the node looks killed: it neither drains nor releases its leases.
async fn a_dropped_node_is_replaced_when_its_leases_end(home: Place) {
    let one = join(&home.open().await, "one").await;
    let two = join(&home.open().await, "two").await;
    until_spread(&two, &["one", "two"]).await;
    let orders = two.application("orders").unwrap();
    drop(one);
    for order in 0..10 {
        place(&orders, &order.to_string(), "tea").await;
    }
    until_spread(&two, &["two"]).await;
    settled(&two).await;
    answered_once(two.open_system(), &home.open().await, 10).await;
}

/// A node that was cut off finds its name taken by the node that was started in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_replaced_under_its_name_takes_no_part() {
    let memory = MemoryStore::new();
    let store = Arc::new(LeasingStore::over(memory.clone()));
    let first = join(
        &Infrastructure::new(Arc::<LeasingStore>::clone(&store)),
        "one",
    )
    .await;
    until_spread(&first, &["one"]).await;
    store.set(Leasing::Unavailable);
    let infrastructure = Infrastructure::new(Arc::new(memory));
    let options = options().name_wait_max(PATIENCE);
    let shop = shop();
    let second = Cluster::join(&shop, &infrastructure, "one", options);
    let second = second.await.unwrap();
    until_spread(&second, &["one"]).await;
    store.set(Leasing::Sound);
    until("it reports that its name is taken", async || {
        let failures = first.cluster_status().await.failures;
        failures
            .iter()
            .any(|it| it.contains("has this node's name"))
    })
    .await;
    place(&first.application("orders").unwrap(), "1", "tea").await;
    settled(&first).await;
    let followers = first.status().await;
    assert!(followers.iter().all(|it| it.phase == Phase::Standby));

    assert!(second.stop().await.is_clean());
    place(&first.application("orders").unwrap(), "2", "tea").await;
    settled(&first).await;
    until("it is well again", async || {
        first.cluster_status().await.is_well()
    })
    .await;
    answered_once(first.open_system(), &infrastructure, 2).await;
}

/// New programs are deployed node by node: the old ones do not know the new units.
async fn a_unit_that_only_some_nodes_know_is_with_one_of_them(home: Place) {
    let system = one_way(reservations());
    let opened = home.open().await;
    let old = Cluster::join(&system, &opened, "old", options());
    let old = old.await.unwrap();
    let new = join(&home.open().await, "new").await;
    place(&new.application("orders").unwrap(), "1", "tea").await;
    settled(&new).await;
    until("each unit has a holder", async || {
        !spread(&new).await.contains_key(&None)
    })
    .await;
    assert!(old.stop().await.is_clean());
    until_spread(&new, &["new"]).await;
    answered_once(new.open_system(), &home.open().await, 1).await;
}

/// A view in a database is kept by one node for all, a view in memory by each node for itself.
async fn views_are_waited_for_on_every_node(home: Place) {
    let mut nodes = Vec::new();
    for name in ["one", "two"] {
        let view = home.view();
        let counted = MemoryView::<i64>::new();
        let counting =
            Projection::new("counted", 1, "orders").on::<Placed>(|count: &mut i64, _| {
                *count += 1;
                Ok(())
            });
        let infrastructure = home.open().await;
        let infrastructure = infrastructure
            .view(view.view_store())
            .view(counted.keep(counting).unwrap());
        nodes.push((join(&infrastructure, name).await, view, counted));
    }
    until_spread(&nodes[0].0, &["one", "two"]).await;
    let orders = nodes[0].0.application("orders").unwrap();
    for placed in 1..=20 {
        place(&orders, &placed.to_string(), "tea").await;
        let head = orders.head().await.unwrap().position().unwrap();
        for (node, view, counted) in &nodes {
            node.wait(Goal::shown_by("placed", head), PATIENCE)
                .await
                .unwrap();
            node.wait(Goal::shown_by("counted", head), PATIENCE)
                .await
                .unwrap();
            let rows = view.count().await;
            assert_eq!((rows, counted.read(|count| *count)), (placed, placed));
        }
    }
    let status = nodes[1].0.cluster_status().await;
    assert_eq!(status.units.len(), UNITS + 1, "{status}");
    for (node, ..) in &nodes {
        assert!(node.stop().await.is_clean());
    }
}

/// Returns the checkpoint and the holder of the view that is behind.
fn view_behind(error: &WaitError) -> (Option<Position>, Option<Holder>) {
    let WaitError::Timeout { behind, .. } = error else {
        panic!("another error: {error}");
    };
    let [
        Behind::View {
            checkpoint, holder, ..
        },
    ] = &behind[..]
    else {
        panic!("not a view: {error}");
    };
    (*checkpoint, holder.clone())
}

/// When waiting for a view times out, every node reports the view's recorded checkpoint, the node
/// that holds it, and since when.
async fn a_timeout_names_the_node_that_has_the_view(home: Place) {
    let mut nodes = Vec::new();
    for name in ["one", "two"] {
        let view = home.view();
        let infrastructure = home.open().await.view(view.view_store());
        nodes.push((join(&infrastructure, name).await, view));
    }
    until_spread(&nodes[0].0, &["one", "two"]).await;
    let orders = nodes[0].0.application("orders").unwrap();
    for placed in 1..=3 {
        place(&orders, &placed.to_string(), "tea").await;
    }
    let head = orders.head().await.unwrap().position().unwrap();
    let beyond = Position::new(1_000).unwrap();
    for (node, _) in &nodes {
        node.wait(Goal::shown_by("placed", head), PATIENCE)
            .await
            .unwrap();
        settled(node).await;
        until("the node knows the leases", async || {
            let waited = node.wait(Goal::shown_by("placed", beyond), Duration::from_millis(1));
            let (_, holder) = view_behind(&waited.await.unwrap_err());
            holder.unwrap().node.is_some()
        })
        .await;
        let units = node.cluster_status().await.units;
        let waited = node.wait(Goal::shown_by("placed", beyond), Duration::from_millis(100));
        let error = waited.await.unwrap_err();
        let (checkpoint, holder) = view_behind(&error);
        let mut views = units.iter();
        let unit = views
            .find(|it| matches!(it.unit, Unit::View { .. }))
            .unwrap();
        let seen = holder.as_ref().expect("one node keeps it for all");
        assert_eq!(
            (&seen.node, seen.since),
            (&unit.node, unit.since),
            "{error}"
        );
        // The last order that the view includes, although others were recorded later.
        let recorded = checkpoint.expect("something is recorded");
        assert!(recorded.get() >= 3, "{error}");
        let text = error.to_string();
        let has = format!(
            "is recorded at {recorded}; the node {:?} has had its lease since {} (term {})",
            seen.node.as_deref().unwrap(),
            seen.since.unwrap(),
            seen.term
        );
        assert!(
            text.contains("the view \"placed\" does not show position 1000"),
            "{text}"
        );
        assert!(text.contains(&has), "{text}");
    }
    for (node, _) in &nodes {
        assert!(node.stop().await.is_clean());
    }
}

/// Applications in separate stores: each store has its own leases.
#[tokio::test]
async fn units_are_leased_in_the_stores_of_their_applications() {
    let stores = || {
        let store = Arc::new(LeasingStore::default());
        (Arc::clone(&store), store)
    };
    let ((orders_store, orders), (stock_store, stock)) = (stores(), stores());
    let infrastructure = Infrastructure::new(orders).application_in("stock", stock);
    let one = join(&infrastructure, "one").await;
    let two = join(&infrastructure, "two").await;
    until("each unit has a holder", async || {
        let status = one.cluster_status().await;
        status.nodes.len() == 2 && status.units.iter().all(|it| it.node.is_some())
    })
    .await;
    // The stock's leases do not affect those of the orders.
    stock_store.set(Leasing::Unavailable);
    until("the failure is reported", async || {
        !one.cluster_status().await.failures.is_empty()
    })
    .await;
    place(&one.application("orders").unwrap(), "1", "nothing").await;
    one.wait(
        Goal::processed_by(
            FollowerPath::new("orders", "deadlines"),
            "orders",
            orders_head(&one).await,
        ),
        PATIENCE,
    )
    .await
    .unwrap();
    stock_store.set(Leasing::Sound);
    place(&one.application("orders").unwrap(), "2", "tea").await;
    settled(&two).await;
    drop(orders_store);
}

async fn orders_head(node: &Cluster) -> retold::recording::Position {
    let orders = node.application("orders").unwrap();
    orders.head().await.unwrap().position().unwrap()
}

/// A node that has no time to drain still releases its units.
async fn a_node_without_time_to_drain_leaves_no_lease_behind(home: Place) {
    let work = MultiThreadOptions::new().stop_wait_max(Duration::ZERO);
    let options = ClusterOptions::new().time_to_live(HOUR).work(work);
    let node = Cluster::join(&shop(), &home.open().await, "one", options)
        .await
        .unwrap();
    until_spread(&node, &["one"]).await;
    assert_eq!(node.node(), "one");
    node.stop().await;
    until("no node is alive", async || {
        let status = node.cluster_status().await;
        status.nodes.is_empty() && status.units.iter().all(|it| it.node.is_none())
    })
    .await;
}

in_places!(
    [memory, sqlite, postgres],
    (
        units_are_spread_evenly_as_nodes_join_and_leave,
        a_node_that_leaves_hands_over_at_once,
        a_name_is_refused_while_its_node_lives,
        a_dropped_node_is_replaced_when_its_leases_end,
        a_unit_that_only_some_nodes_know_is_with_one_of_them,
        a_node_without_time_to_drain_leaves_no_lease_behind,
    )
);

mod views {
    use super::{a_timeout_names_the_node_that_has_the_view, views_are_waited_for_on_every_node};
    use crate::place::in_places;

    in_places!(
        [sqlite, postgres],
        (
            views_are_waited_for_on_every_node,
            a_timeout_names_the_node_that_has_the_view,
        )
    );
}
