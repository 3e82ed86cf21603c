//! An overview of the clusters in a store for programs that do not know their systems: from the
//! leases alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use retold_core::application::Error;
use retold_core::domain::Timestamp;
use retold_core::health::Trouble;
use retold_core::recording::{Invalid, Lease, RecordError, Store};
use retold_core::system::{RUNNERS, escaped, unescaped};

use super::note::{Note, cut, parse_finding};
use super::roster::NodeLife;
use super::status::NodeStatus;
use super::unit::{CLUSTERS, LeaseNames};
use crate::limits::LEASE_PAGE;

/// A system as its leases in one store show it: a cluster with its nodes, or the jobs of runners in
/// one process, each shown as the node `process ID`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterOverview {
    /// The name of the system.
    pub system: Arc<str>,
    /// The time on the store's clock, which decides when leases end.
    pub now: Timestamp,
    /// The living nodes, by name.
    pub nodes: Vec<NodeStatus>,
    /// The units that any node ever held, in the order of the names of their leases; then the units
    /// of runners in one process, for which no nodes are listed. A killed process seems to hold
    /// them for [`PRESENCE_TIME_TO_LIVE`](crate::limits::PRESENCE_TIME_TO_LIVE).
    pub units: Vec<UnitOverview>,
}

/// A unit as its lease shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnitOverview {
    /// Its kind: `follower`, `timers`, `view`, `outbox`, or a kind of a newer version of the
    /// library.
    pub kind: Arc<str>,
    /// The names that identify it: the application, then its own name and any further part, such as
    /// a version.
    pub names: Vec<Arc<str>>,
    /// The name of the node that holds it; `None` while no node does.
    pub node: Option<Arc<str>>,
    /// How often it has moved from one holder to another.
    pub term: u64,
    /// When the lease ends unless it is renewed, by the store's clock; `None` while no node holds
    /// it.
    pub lease_ends_at: Option<Timestamp>,
    /// The last failure of the unit on any node: when it was reported, by the store's clock, and
    /// the node with its message, cut if too long.
    pub last_error: Option<(Timestamp, String)>,
    /// Its current problem, and the node with the reason, cut if too long; `None` if there is no
    /// problem, or no node holds it.
    pub finding: Option<(Trouble, String)>,
    /// When it was retired, by the store's clock, and the reason; `None` once a node has taken it
    /// again.
    pub retired: Option<(Timestamp, String)>,
}

impl ClusterOverview {
    /// Records that no program has this unit any more: timers, an outbox or a view that was removed
    /// from the programs and whose lease stays in the store. It is shown as retired until a node
    /// takes it again. A follower is retired by its record:
    /// [`FollowerOperator::retire`](retold_core::following::FollowerOperator::retire). Returns
    /// false if it was already retired.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if a node holds it, or for an empty reason; `Unavailable`.
    pub async fn retire(
        &self,
        store: &dyn Store,
        unit: &UnitOverview,
        reason: &str,
    ) -> Result<bool, Error> {
        let title = unit.names.join("/");
        if let Some(node) = &unit.node {
            let kind = &unit.kind;
            return Err(invalid(format!(
                "the node {node:?} holds the {kind} of {title:?}; \
                 stop the programs that have it first"
            )));
        }
        if unit.retired.is_some() {
            return Ok(false);
        }
        if reason.is_empty() {
            return Err(invalid(format!("give a reason for retiring {title:?}")));
        }
        let names = unit.names.iter().map(|name| escaped(name));
        let path = [unit.kind.to_string()].into_iter().chain(names);
        let path = path.collect::<Vec<_>>().join("/");
        let lease = LeaseNames::of_system(&self.system).retired(&path);
        let text = cut(reason);
        store.acquire_lease(&lease, &text, Duration::ZERO).await?;
        Ok(true)
    }

    /// Reads all leases of all clusters of a store. Takes no lease and writes nothing.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn read_all(store: &dyn Store) -> Result<Vec<Self>, RecordError> {
        let mut clusters: BTreeMap<Arc<str>, Vec<Lease>> = BTreeMap::new();
        for lease in read_leases(store, CLUSTERS).await? {
            if let Some(system) = system_of(&lease, CLUSTERS) {
                clusters.entry(system).or_default().push(lease);
            }
        }
        let runners = read_leases(store, RUNNERS).await?;
        // Read after the leases, so that no ended lease seems to be held.
        let now = store.now().await?;
        // A lease that has ended belongs to a runner that no longer runs, so it is not shown.
        for lease in runners.into_iter().filter(|lease| lease.ends_at > now) {
            if let Some(system) = system_of(&lease, RUNNERS) {
                clusters.entry(system).or_default().push(lease);
            }
        }
        let clusters = clusters.into_iter();
        Ok(clusters
            .map(|(system, leases)| Self::of(system, &leases, now))
            .collect())
    }

    fn of(system: Arc<str>, leases: &[Lease], now: Timestamp) -> Self {
        let mut notes: BTreeMap<String, Note> = BTreeMap::new();
        let mut findings: BTreeMap<String, (Trouble, String)> = BTreeMap::new();
        let mut retired: BTreeMap<String, Note> = BTreeMap::new();
        let mut nodes: BTreeMap<Arc<str>, NodeStatus> = BTreeMap::new();
        let mut units = Vec::new();
        for lease in leases {
            let path = lease.name.splitn(3, '/').nth(2).unwrap_or_default();
            match path.split_once('/') {
                Some(("note", unit)) => drop(notes.insert(unit.to_owned(), Note::of(lease))),
                Some(("retired", unit)) => drop(retired.insert(unit.to_owned(), Note::of(lease))),
                Some(("finding", unit)) if lease.is_held_at(now) => {
                    let finding = parse_finding(&lease.holder);
                    findings.extend(finding.map(|it| (unit.to_owned(), it)));
                }
                Some(("unit", unit)) => units.push((unit, lease)),
                Some(("node", _)) if lease.is_held_at(now) => {
                    if let Some(life) = NodeLife::parse(Arc::clone(&lease.holder)) {
                        let status = NodeStatus {
                            name: Arc::clone(&life.name),
                            since: life.since,
                            lease_ends_at: lease.ends_at,
                            unit_count: 0,
                        };
                        nodes.insert(life.name, status);
                    }
                }
                _ => {}
            }
        }
        let units = units.into_iter().map(|(path, lease)| {
            let mut unit = UnitOverview::of(path, lease, now, notes.get(path));
            unit.finding = findings.remove(path);
            let retired = retired.remove(path);
            let retired = retired.filter(|note| note.at >= lease.renewed_at);
            unit.retired = retired.map(|note| (note.at, note.text.to_string()));
            if let Some(node) = unit.node.as_ref().and_then(|node| nodes.get_mut(node)) {
                node.unit_count += 1;
            }
            unit
        });
        let units = units.collect();
        Self {
            system,
            now,
            nodes: nodes.into_values().collect(),
            units,
        }
    }
}

fn invalid(reason: String) -> Error {
    Invalid::new(reason).into()
}

/// Reads all leases whose names start with this prefix.
async fn read_leases(store: &dyn Store, prefix: &str) -> Result<Vec<Lease>, RecordError> {
    let mut leases: Vec<Lease> = Vec::new();
    loop {
        let after = leases.last().map(|it| Arc::clone(&it.name));
        let page = store.leases(prefix, after.as_deref(), LEASE_PAGE).await?;
        let is_full = page.len() == LEASE_PAGE;
        leases.extend(page);
        if !is_full {
            return Ok(leases);
        }
    }
}

/// Returns the name of the system that the lease belongs to.
fn system_of(lease: &Lease, prefix: &str) -> Option<Arc<str>> {
    let (system, _) = lease.name.strip_prefix(prefix)?.split_once('/')?;
    Some(unescaped(system))
}

impl UnitOverview {
    fn of(path: &str, lease: &Lease, now: Timestamp, note: Option<&Note>) -> Self {
        let mut names = path.split('/').map(unescaped);
        let is_held = lease.is_held_at(now);
        Self {
            kind: names.next().unwrap_or_default(),
            names: names.collect(),
            node: is_held.then(|| {
                let named = lease.holder.rsplit_once('/');
                named.map_or_else(|| Arc::clone(&lease.holder), |(name, _)| name.into())
            }),
            term: lease.term,
            lease_ends_at: is_held.then_some(lease.ends_at),
            last_error: note.map(|note| (note.at, note.text.to_string())),
            finding: None,
            retired: None,
        }
    }
}
