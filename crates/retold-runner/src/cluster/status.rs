//! What a cluster looks like, from any of its nodes: nodes, units and followers, as they are recorded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use retold_core::domain::Timestamp;
use retold_core::following::FollowerStatus;
use retold_core::health::Finding;

use super::roster::Roster;
use super::unit::{LeaseNames, Unit};
use crate::waiting::Holder;

/// What a cluster looks like. `Display` writes it in lines, for people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// Name of the system.
    pub system: Arc<str>,
    /// Name of the node that was asked.
    pub node: Arc<str>,
    /// The nodes that live, by name.
    pub nodes: Vec<NodeStatus>,
    /// What the clocks of the stores showed, by which leases end: by the first of them where there are
    /// several; none if no store answered.
    pub now: Option<Timestamp>,
    /// The units of the system as this node knows it, in the order of declaration: followers, timers,
    /// views.
    pub units: Vec<UnitStatus>,
    /// The followers, in the order of declaration: checkpoint, head and lag are those recorded, also of
    /// followers that are on other nodes; counts and errors are those of this process, and those of others
    /// are with the [`units`](Self::units).
    pub followers: Vec<FollowerStatus>,
    /// Everything that somebody has to look at, as this node knows it; see
    /// [`Cluster::health`](crate::Cluster::health).
    pub findings: Vec<Finding>,
    /// Why this node could not look at its leases, or join anew, when it tried last, and why leases could
    /// not be read now: of each store where that failed.
    pub failures: Vec<String>,
}

/// A node that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Its name.
    pub name: Arc<str>,
    /// When it joined, by its machine's clock.
    pub since: Timestamp,
    /// When it is taken for dead unless it renews its lease, by the store's clock; where there are
    /// several stores, the first of them.
    pub lease_ends_at: Timestamp,
    /// How many units it has.
    pub unit_count: usize,
}

/// Who has a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnitStatus {
    /// What it is.
    pub unit: Unit,
    /// Name of the node that has it; none while it goes from one to another.
    pub node: Option<Arc<str>>,
    /// How often it went from one holder to another, a node that was started again counting as another;
    /// 0 before the first.
    pub term: u64,
    /// Since when that node has it, by the store's clock.
    pub since: Option<Timestamp>,
    /// When the lease ends unless it is renewed, by the store's clock.
    pub lease_ends_at: Option<Timestamp>,
    /// The last failure of the unit on any node: when it was told, by the store's clock, and the node
    /// with what it said, cut where it was long.
    pub last_error: Option<(Timestamp, String)>,
    /// What is wrong with it at present, on whichever node it is; what is recorded of a follower for all, as that
    /// it is paused, is with the [`followers`](ClusterStatus::followers).
    pub finding: Option<Finding>,
}

impl ClusterStatus {
    /// Whether each unit is with a node, this node could look, and it found nothing that somebody has to
    /// look at.
    pub fn is_well(&self) -> bool {
        self.failures.is_empty()
            && self.findings.is_empty()
            && self.units.iter().all(|it| it.node.is_some())
    }
}

impl UnitStatus {
    /// What a wait that timed out tells of the unit.
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

/// The nodes that these rosters, of several stores, have.
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
            let node = it.node.as_deref().unwrap_or("nobody");
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
