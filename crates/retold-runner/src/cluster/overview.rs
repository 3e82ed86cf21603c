//! What the clusters of a store look like to somebody who knows nothing of their systems: by the leases
//! alone.

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

/// A system as its leases in one store show it: a cluster, with its nodes, or what runners in one process have,
/// each as the node `process ID`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterOverview {
    /// Name of the system.
    pub system: Arc<str>,
    /// What the store's clock showed, by which leases end.
    pub now: Timestamp,
    /// The nodes that live, by name.
    pub nodes: Vec<NodeStatus>,
    /// The units that any node ever had, in the order of the names of their leases; then those that runners
    /// in one process have, for whom no nodes are listed. A process that was killed seems to have them for
    /// [`PRESENCE_TIME_TO_LIVE`](crate::limits::PRESENCE_TIME_TO_LIVE).
    pub units: Vec<UnitOverview>,
}

/// A unit as its lease shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnitOverview {
    /// What it is: `follower`, `timers`, `view`, or what a newer version of the library has.
    pub kind: Arc<str>,
    /// Of whom it is: the application, then its own name and what tells it from its like.
    pub names: Vec<Arc<str>>,
    /// Name of the node that has it; none while nobody has.
    pub node: Option<Arc<str>>,
    /// How often it went from one holder to another.
    pub term: u64,
    /// When the lease ends unless it is renewed, by the store's clock; none while nobody has it.
    pub lease_ends_at: Option<Timestamp>,
    /// The last failure of the unit on any node: when it was told, by the store's clock, and the node
    /// with what it said, cut where it was long.
    pub last_error: Option<(Timestamp, String)>,
    /// What is wrong with it at present, and on which node and why, cut where it was long; none if nothing is, or
    /// nobody has it.
    pub finding: Option<(Trouble, String)>,
    /// When it was retired, by the store's clock, and why; none once a node has taken it again.
    pub retired: Option<(Timestamp, String)>,
}

impl ClusterOverview {
    /// Notes that no program has this unit any more: timers, an outbox or a view that was removed from the
    /// programs and whose lease stays in the store. It is shown as retired until a node takes it again. A follower
    /// is retired by its record: [`FollowerOperator::retire`](retold_core::following::FollowerOperator::retire).
    /// Says whether it was not retired already.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if a node has it, or for an empty reason; `Unavailable`.
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
                "the node {node:?} has the {kind} of {title:?}; stop the programs that have it first"
            )));
        }
        if unit.retired.is_some() {
            return Ok(false);
        }
        if reason.is_empty() {
            return Err(invalid(format!("say why {title:?} is retired")));
        }
        let names = unit.names.iter().map(|name| escaped(name));
        let path = [unit.kind.to_string()].into_iter().chain(names);
        let path = path.collect::<Vec<_>>().join("/");
        let mark = LeaseNames::of_system(&self.system).retired(&path);
        let text = cut(reason);
        store.acquire_lease(&mark, &text, Duration::ZERO).await?;
        Ok(true)
    }

    /// Reads all leases of all clusters of a store. Takes none and writes nothing.
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
        // After the leases, so that none that has ended seems to be held.
        let now = store.now().await?;
        // One that has ended is of a runner that is gone, which leaves nothing to be told.
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
            let retired = retired.filter(|mark| mark.at >= lease.renewed_at);
            unit.retired = retired.map(|mark| (mark.at, mark.text.to_string()));
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

/// All leases whose names begin so.
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

/// The system whose lease it is.
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
