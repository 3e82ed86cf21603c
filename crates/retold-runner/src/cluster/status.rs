//! The status of a cluster as seen from any of its nodes: nodes, units and followers, as recorded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use retold_core::domain::Timestamp;
use retold_core::following::FollowerStatus;
use retold_core::health::Finding;
use retold_core::system::Holder;

use super::roster::Roster;
use super::unit::{LeaseNames, Unit};

/// The status of a cluster. `Display` formats it as lines of text.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// The name of the system.
    pub system: Arc<str>,
    /// The name of the node that was asked.
    pub node: Arc<str>,
    /// The living nodes, by name.
    pub nodes: Vec<NodeStatus>,
    /// The time on the stores' clock, which decides when leases end: that of the first store if
    /// there are several; `None` if no store responded.
    pub now: Option<Timestamp>,
    /// The units of the system as this node knows them, in the order of declaration: followers,
    /// timers, views, outboxes.
    pub units: Vec<UnitStatus>,
    /// The followers, in the order of declaration. Checkpoint, head and lag are the recorded ones,
    /// also for followers on other nodes; counts and errors are those of this process. For errors
    /// on other nodes see [`units`](Self::units).
    pub followers: Vec<FollowerStatus>,
    /// Every problem that needs attention, as far as this node knows; see
    /// [`Cluster::health`](retold_core::system::Runner::health).
    pub findings: Vec<Finding>,
    /// Why this node's last attempt to look at its leases or to join again failed, and why leases
    /// could not be read now: for each store where that failed.
    pub failures: Vec<String>,
}

/// A living node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Its name.
    pub name: Arc<str>,
    /// When it joined, by its machine's clock.
    pub since: Timestamp,
    /// When the node is considered dead unless it renews its lease, by the store's clock. If there
    /// are several stores, this is its lease in the first one.
    pub lease_ends_at: Timestamp,
    /// The number of units that it holds.
    pub unit_count: usize,
}

/// A unit and the node that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnitStatus {
    /// The unit.
    pub unit: Unit,
    /// The name of the node that holds it; `None` while it moves between nodes.
    pub node: Option<Arc<str>>,
    /// How often it has moved from one holder to another, where a restarted node counts as another
    /// holder; 0 before the first.
    pub term: u64,
    /// Since when that node has held it, by the store's clock.
    pub since: Option<Timestamp>,
    /// When the lease ends unless it is renewed, by the store's clock.
    pub lease_ends_at: Option<Timestamp>,
    /// The last failure of the unit on any node: when it was reported, by the store's clock, and
    /// the node with its message, cut if too long.
    pub last_error: Option<(Timestamp, String)>,
    /// Its current problem, on whichever node it runs; recorded problems of a follower, such as a
    /// pause, are with the [`followers`](ClusterStatus::followers).
    pub finding: Option<Finding>,
}

impl ClusterStatus {
    /// Returns whether each unit is on a node, this node could look at the leases, and no problem
    /// needs attention.
    pub fn is_well(&self) -> bool {
        self.failures.is_empty()
            && self.findings.is_empty()
            && self.units.iter().all(|it| it.node.is_some())
    }
}

impl UnitStatus {
    /// Returns the holder for the error of a wait that timed out.
    pub(crate) fn holder(self) -> Holder {
        Holder {
            node: self.node,
            since: self.since,
            term: self.term,
            last_error: self.last_error,
        }
    }

    pub(crate) fn of(unit: Unit, names: &LeaseNames, roster: &Roster) -> Self {
        let lease = names.unit(&unit);
        let held = roster.held(&lease);
        let found = roster.findings.get(&lease).cloned();
        Self {
            finding: found.map(|(trouble, reason)| unit.finding(trouble, reason)),
            unit,
            node: held.map(|lease| {
                let named = lease.holder.rsplit_once('/');
                named.map_or_else(|| Arc::clone(&lease.holder), |(name, _)| name.into())
            }),
            term: roster.units.get(&lease).map_or(0, |lease| lease.term),
            since: held.map(|lease| lease.since),
            lease_ends_at: held.map(|lease| lease.ends_at),
            last_error: roster.notes.get(&lease).map(|note| {
                let text = note.text.to_string();
                (note.at, text)
            }),
        }
    }
}

/// Returns the living nodes in these rosters of several stores.
pub(crate) fn nodes<'a>(
    rosters: impl IntoIterator<Item = &'a Roster>,
    units: &[UnitStatus],
) -> Vec<NodeStatus> {
    let mut nodes: BTreeMap<Arc<str>, NodeStatus> = BTreeMap::new();
    for (life, lease) in rosters.into_iter().flat_map(|roster| &roster.nodes) {
        let name = Arc::clone(&life.name);
        let node = nodes
            .entry(Arc::clone(&name))
            .or_insert_with(|| NodeStatus {
                since: life.since,
                lease_ends_at: lease.ends_at,
                unit_count: units
                    .iter()
                    .filter(|it| it.node.as_ref() == Some(&name))
                    .count(),
                name,
            });
        node.lease_ends_at = node.lease_ends_at.min(lease.ends_at);
    }
    nodes.into_values().collect()
}

impl fmt::Display for ClusterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} as seen from {}", self.system, self.node)?;
        for node in &self.nodes {
            let (name, since, count) = (&node.name, node.since, node.unit_count);
            let ends_at = node.lease_ends_at;
            writeln!(
                f,
                "node {name}: {count} units, since {since}, leased until {ends_at}"
            )?;
        }
        for it in &self.units {
            let node = it.node.as_deref().unwrap_or("no node");
            write!(f, "{}: with {node}", it.unit)?;
            if let Some(since) = it.since {
                write!(f, " since {since}")?;
            }
            write!(f, ", term {}", it.term)?;
            if let (Some(now), Some(ends_at)) = (self.now, it.lease_ends_at) {
                let left = ends_at.as_micros().saturating_sub(now.as_micros());
                write!(f, ", leased for {:.1} s", left.max(0) as f64 / 1e6)?;
            }
            match &it.last_error {
                Some((at, error)) => writeln!(f, "; last error at {at}, on {error}")?,
                None => writeln!(f)?,
            }
        }
        for it in &self.followers {
            let (application, follower) = (&it.application, &it.follower);
            let (phase, lag) = (it.phase, it.lag_events());
            write!(
                f,
                "{application}/{follower}: {phase:?}, {lag} events behind"
            )?;
            match &it.last_error {
                Some((at, error)) => writeln!(f, "; last error at {at}: {error}")?,
                None => writeln!(f)?,
            }
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        for failure in &self.failures {
            writeln!(f, "leases: {failure}")?;
        }
        Ok(())
    }
}
