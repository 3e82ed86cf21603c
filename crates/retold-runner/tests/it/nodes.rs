//! Shared parts of the tests of clusters: nodes with short leases, and final checks.

use std::collections::BTreeMap;
use std::time::Duration;

use retold::prelude::*;
use retold::retelling::{retell, retell_whole};
use retold::runner::{Cluster, ClusterOptions};
use retold::system::{Infrastructure, OpenSystem, Opening, System};

use crate::patience::{PATIENCE, until};
use crate::shop::{count, shop};

/// The time to live of leases unless a test sets another: long enough for a busy machine.
pub(crate) const TIME_TO_LIVE: Duration = Duration::from_secs(2);

pub(crate) fn options() -> ClusterOptions {
    ClusterOptions::new()
        .time_to_live(TIME_TO_LIVE)
        .look_interval(Duration::from_millis(50))
}

pub(crate) async fn join(infrastructure: &Infrastructure, node: &str) -> Cluster {
    let system = shop();
    let joined = Cluster::join(&system, infrastructure, node, options());
    joined.await.unwrap()
}

/// Returns how many units each living node holds; `None` for units without a holder.
pub(crate) async fn spread(node: &Cluster) -> BTreeMap<Option<String>, usize> {
    let status = node.cluster_status().await;
    let mut spread = BTreeMap::new();
    for node in &status.nodes {
        spread.insert(Some(node.name.to_string()), 0);
    }
    for unit in &status.units {
        let node = unit.node.as_ref().map(ToString::to_string);
        *spread.entry(node).or_default() += 1;
    }
    spread
}

/// Waits until the units are spread evenly over these nodes, and no other node is alive.
pub(crate) async fn until_spread(seen_from: &Cluster, nodes: &[&str]) {
    let expected: Vec<_> = nodes.iter().map(|it| Some(*it)).collect();
    let is_spread = async || {
        let spread = spread(seen_from).await;
        let names: Vec<_> = spread.keys().map(|it| it.as_deref()).collect();
        let (least, most) = (spread.values().min(), spread.values().max());
        names == expected && *most.unwrap() <= least.unwrap() + 1
    };
    let waited = tokio::time::timeout(
        PATIENCE - Duration::from_secs(1),
        until("units are spread", is_spread),
    )
    .await;
    if waited.is_err() {
        let status = seen_from.cluster_status().await;
        panic!("units are not spread over {nodes:?}: {status}");
    }
}

/// Checks that each order of the shop was processed once, and retells the logs.
pub(crate) async fn answered_once(
    open: &OpenSystem,
    infrastructure: &Infrastructure,
    placed: usize,
) {
    let application = |name: &str| -> Application { open.application(name).unwrap().clone() };
    let (orders, stock) = (application("orders"), application("stock"));
    for topic in [
        "Placed",
        "Confirmed",
        "retold.scheduled",
        "retold.cancelled",
    ] {
        assert_eq!(count(&orders, topic).await, placed, "{topic}");
    }
    assert_eq!(count(&stock, "Reserved").await, placed);
    retells(&shop(), infrastructure).await;
}

/// Opens the logs of a system and retells them, each follower separately and the whole.
pub(crate) async fn retells(system: &System, infrastructure: &Infrastructure) {
    let open = OpenSystem::open(system, infrastructure, Opening::ReadOnly);
    let open = open.await.unwrap();
    let mut effects = 0;
    for report in retell(&open).await.unwrap() {
        assert!(report.difference.is_none(), "{report}");
        effects += report.effects;
    }
    let whole = retell_whole(&open).await.unwrap();
    assert!(whole.difference.is_none(), "{whole}");
    assert!(effects > 0, "there was something to retell");
}
