//! Problems of units are seen from every node, whichever node holds them, for as long as they last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use retold::application::Logged;
use retold::projection::{OnPoison, Projection, ViewStore};
use retold::recording::MemoryStore;
use retold::runner::{Cluster, ClusterOverview};
use retold::sqlite::{Sqlite, SqliteTables, SqliteViews};
use retold::system::{Delivery, Finding, FindingKind, Infrastructure, Runner, Trouble};

use crate::health::schedule;
use crate::nodes::options;
use crate::patience::until;
use crate::shop::{Placed, one_way, place, reservations};

/// Whether policies, deliveries and handlers fail.
#[derive(Clone)]
struct Broken(Arc<AtomicBool>);

impl Broken {
    fn check(&self, what: &str) -> Result<(), String> {
        match self.0.load(Ordering::SeqCst) {
            true => Err(format!("{what} is broken")),
            false => Ok(()),
        }
    }
}

/// A view in a file, kept by one node for all.
fn view(folder: &tempfile::TempDir, broken: &Broken) -> Arc<dyn ViewStore> {
    let broken = broken.clone();
    let placed = Projection::<Sqlite>::new("placed", 1, "orders")
        .on::<Placed>(move |_, _| Ok(broken.check("the view")?));
    let tables = SqliteTables::new(["placed"], |view| {
        let table = view.table("placed");
        let sql = format!("CREATE TABLE {table} (position INTEGER PRIMARY KEY)");
        Ok(view.execute_batch(&sql)?)
    });
    let retried = OnPoison::Retry(std::num::NonZeroU32::MAX);
    let views = SqliteViews::open(folder.path().join("views.db")).unwrap();
    views.keep(placed.on_poison(retried), tables).unwrap()
}

fn delivery(broken: &Broken) -> Delivery {
    let broken = broken.clone();
    Delivery::new("orders", "mail", move |_: Arc<Logged<Placed>>| {
        let checked = broken.check("the mail");
        async move { Ok(checked?) }
    })
}

const KINDS: [(FindingKind, &str, Trouble, &str); 3] = [
    (
        FindingKind::Timers,
        "orders",
        Trouble::Parked,
        "cannot be fired",
    ),
    (
        FindingKind::View,
        "placed",
        Trouble::Retrying,
        "the view is broken",
    ),
    (
        FindingKind::Outbox,
        "orders/mail",
        Trouble::Retrying,
        "the mail is broken",
    ),
];

fn has(
    findings: &[Finding],
    (kind, name, trouble, reason): (FindingKind, &str, Trouble, &str),
) -> bool {
    let mut findings = findings.iter();
    findings.any(|it| {
        (it.kind, it.trouble, &*it.name) == (kind, trouble, name) && it.reason.contains(reason)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn problems_of_a_unit_are_seen_from_every_node() {
    let folder = tempfile::tempdir().unwrap();
    let broken = Broken(Arc::new(AtomicBool::new(true)));
    let store = Arc::new(MemoryStore::new());
    let mut nodes = Vec::new();
    let system = one_way(reservations());
    for name in ["one", "two"] {
        let infrastructure = Infrastructure::new(Arc::<MemoryStore>::clone(&store));
        let infrastructure = infrastructure
            .view(view(&folder, &broken))
            .delivery(delivery(&broken));
        let joined = Cluster::join(&system, &infrastructure, name, options());
        nodes.push(joined.await.unwrap());
    }
    let orders = nodes[0].application("orders").unwrap();
    place(&orders, "1", "tea").await;
    schedule(&orders, "bad", "").await;
    for node in &nodes {
        until("everything is found", async || {
            let findings = node.health().await.findings;
            let status = node.cluster_status().await;
            KINDS.iter().all(|it| {
                let shown = status.units.iter().filter_map(|it| it.finding.clone());
                let shown: Vec<_> = shown.collect();
                has(&findings, *it) && has(&status.findings, *it) && has(&shown, *it)
            })
        })
        .await;
        let health = node.health().await;
        assert!(health.is_ready(), "{health}");
        until("each names its node", async || {
            let units = node.cluster_status().await.units;
            let found = units
                .iter()
                .filter_map(|it| it.node.as_ref().zip(it.finding.as_ref()));
            let mut named = found.map(|(on, it)| it.reason.starts_with(&format!("on {on}: ")));
            named.all(|is_named| is_named)
        })
        .await;
    }
    // Also by a program that does not know the system.
    let overview = ClusterOverview::read_all(&*store).await.unwrap();
    for (kind, trouble, text) in [
        ("timers", Trouble::Parked, "cannot be fired"),
        ("view", Trouble::Retrying, "the view is broken"),
        ("outbox", Trouble::Retrying, "the mail is broken"),
    ] {
        let mut units = overview[0].units.iter().filter(|it| &*it.kind == kind);
        assert!(
            units.any(|it| {
                let found = it.finding.as_ref();
                found.is_some_and(|(it, reason)| *it == trouble && reason.contains(text))
            }),
            "{kind}: {overview:?}"
        );
    }

    // A problem that is over is no longer shown; one that lasts stays.
    broken.0.store(false, Ordering::SeqCst);
    for node in &nodes {
        until("fixed problems are not shown", async || {
            let findings = node.health().await.findings;
            has(&findings, KINDS[0]) && findings.len() == 1
        })
        .await;
    }
    // A unit that a node holds cannot be retired.
    let overview = ClusterOverview::read_all(&*store).await.unwrap();
    let mut units = overview[0].units.iter();
    let outbox = units.find(|it| &*it.kind == "outbox").unwrap();
    let refused = overview[0].retire(&*store, outbox, "no mail").await;
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains("stop the programs that have it first"),
        "{error}"
    );
    // When a node leaves, its findings disappear.
    for node in &nodes {
        node.stop().await;
    }
    let overview = ClusterOverview::read_all(&*store).await.unwrap();
    assert!(
        overview[0].units.iter().all(|it| it.finding.is_none()),
        "{overview:?}"
    );

    // Units that were removed from the programs are retired, and return when a program has them
    // again.
    let retired = async || {
        let overview = ClusterOverview::read_all(&*store).await.unwrap();
        let units = overview[0].units.iter().filter(|it| it.retired.is_some());
        units
            .map(|it| format!("{} {}", it.kind, it.names.join("/")))
            .collect::<Vec<_>>()
    };
    for kind in ["outbox", "timers"] {
        let overview = ClusterOverview::read_all(&*store).await.unwrap();
        let mut units = overview[0].units.iter();
        let unit = units.find(|it| &*it.kind == kind).unwrap();
        assert!(overview[0].retire(&*store, unit, "").await.is_err());
        assert!(
            overview[0]
                .retire(&*store, unit, "it was removed")
                .await
                .unwrap()
        );
        let overview = ClusterOverview::read_all(&*store).await.unwrap();
        let mut units = overview[0].units.iter();
        let unit = units.find(|it| &*it.kind == kind).unwrap();
        assert_eq!(unit.retired.as_ref().unwrap().1, "it was removed");
        assert!(!overview[0].retire(&*store, unit, "again").await.unwrap());
    }
    assert_eq!(retired().await, ["outbox orders/mail", "timers orders"]);
    let infrastructure = Infrastructure::new(Arc::<MemoryStore>::clone(&store));
    let infrastructure = infrastructure.delivery(delivery(&broken));
    let node = Cluster::join(&system, &infrastructure, "one", options());
    let node = node.await.unwrap();
    until("they are taken", async || retired().await.is_empty()).await;
    node.stop().await;
}
