//! The roster: a cluster's leases in one store, as read at one time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use retold_core::domain::Timestamp;
use retold_core::health::Trouble;
use retold_core::recording::{Lease, RecordError, Store};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::note::{Note, parse_finding};
use super::unit::LeaseNames;
use crate::limits::LEASE_PAGE;

/// The time on the store's clock, as far as this process knows: the machines' own clocks do not
/// matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreClock {
    shown: Timestamp,
    at: Instant,
}

impl StoreClock {
    /// Derives it from a lease that was just renewed for `time_to_live`. The renewal happened no
    /// later than its answer, so the clock is never assumed to be ahead, and no lease is considered
    /// over too soon.
    pub(crate) fn of_renewal(lease: &Lease, time_to_live: Duration, answered: Instant) -> Self {
        let micros = i64::try_from(time_to_live.as_micros()).unwrap_or(i64::MAX);
        let shown = lease.ends_at.as_micros().saturating_sub(micros);
        Self {
            shown: Timestamp::from_micros(shown),
            at: answered,
        }
    }

    /// Returns how long ago the lease was renewed from which the time is known.
    pub(crate) fn age(&self) -> Duration {
        self.at.elapsed()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shown.saturating_add(self.at.elapsed())
    }
}

/// One life of a node, starting when it joins: the holder of its leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeLife {
    pub(crate) name: Arc<str>,
    /// When it joined, by its machine's clock.
    pub(crate) since: Timestamp,
    /// `NAME/UUID`, with a uuid of the time when it joined.
    pub(crate) holder: Arc<str>,
}

impl NodeLife {
    /// Starts a new life under this name.
    pub(crate) fn begin(name: &str) -> Self {
        let holder = format!("{name}/{}", Uuid::now_v7());
        Self::parse(holder.into()).expect("the holder that was just written is valid")
    }

    /// Returns `None` for a holder that is not a node.
    pub(crate) fn parse(holder: Arc<str>) -> Option<Self> {
        let (name, id) = holder.rsplit_once('/')?;
        let (seconds, nanos) = Uuid::parse_str(id).ok()?.get_timestamp()?.to_unix();
        let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
        let since = Timestamp::from_micros(micros.checked_add(i64::from(nanos / 1_000))?);
        let name = name.into();
        Some(Self {
            name,
            since,
            holder,
        })
    }
}

/// A cluster's leases in one store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    /// The leases of living nodes.
    pub(crate) nodes: Vec<(NodeLife, Lease)>,
    /// The leases of units, by their names, including leases that have ended.
    pub(crate) units: BTreeMap<Arc<str>, Lease>,
    /// Notes of failures, by the names of the units' leases.
    pub(crate) notes: BTreeMap<Arc<str>, Note>,
    /// Current problems of units, each with the node and the reason, by the names of the units'
    /// leases.
    pub(crate) findings: BTreeMap<Arc<str>, (Trouble, String)>,
    /// The time on the store's clock when they were read.
    pub(crate) now: Timestamp,
}

impl Roster {
    /// Reads the leases.
    pub(crate) async fn read(
        store: &dyn Store,
        names: &LeaseNames,
        clock: StoreClock,
        call_max: Duration,
    ) -> Result<Self, RecordError> {
        let now = clock.now();
        let mut roster = Self {
            now,
            ..Self::default()
        };
        let mut after: Option<Arc<str>> = None;
        loop {
            let page = store.leases(names.prefix(), after.as_deref(), LEASE_PAGE);
            let page = in_time("reading leases", call_max, page).await?;
            let is_full = page.len() == LEASE_PAGE;
            after = page.last().map(|it| Arc::clone(&it.name));
            for lease in page {
                if let Some(unit) = names.noted(&lease.name) {
                    roster.notes.insert(unit, Note::of(&lease));
                } else if let Some(unit) = names.found(&lease.name) {
                    let held = lease.is_held_at(now).then_some(&lease.holder);
                    let finding = held.and_then(|text| parse_finding(text));
                    roster.findings.extend(finding.map(|it| (unit, it)));
                } else if names.is_retired(&lease.name) {
                    // If a node holds the unit nevertheless, its lease cancels the retirement.
                } else if !names.is_slot(&lease.name) {
                    roster.units.insert(Arc::clone(&lease.name), lease);
                } else if lease.is_held_at(now)
                    && let Some(life) = NodeLife::parse(Arc::clone(&lease.holder))
                {
                    roster.nodes.push((life, lease));
                }
            }
            if !is_full {
                return Ok(roster);
            }
        }
    }

    /// Returns the names of the living nodes.
    pub(crate) fn living(&self) -> BTreeSet<Arc<str>> {
        let names = self.nodes.iter().map(|(life, _)| Arc::clone(&life.name));
        names.collect()
    }

    /// Returns the lease of another living node with the same name.
    pub(crate) fn namesake(&self, life: &NodeLife) -> Option<&Lease> {
        let mut others = self.nodes.iter();
        let found = others.find(|(it, _)| it.name == life.name && it.holder != life.holder);
        found.map(|(_, lease)| lease)
    }

    /// Returns the lease of a unit if a node holds it.
    pub(crate) fn held(&self, unit: &str) -> Option<&Lease> {
        let lease = self.units.get(unit)?;
        lease.is_held_at(self.now).then_some(lease)
    }
}

/// Limits a call to the store to this time. A lease whose request timed out may have been granted;
/// it ends by itself.
pub(crate) async fn in_time<T>(
    what: &str,
    call_max: Duration,
    call: impl Future<Output = Result<T, RecordError>>,
) -> Result<T, RecordError> {
    match timeout(call_max, call).await {
        Ok(answer) => answer,
        Err(_) => {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(RecordError::unavailable(what, late))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_read_from_the_holder_of_its_leases() {
        let life = NodeLife::begin("eu/west/7");
        assert_eq!(&*life.name, "eu/west/7");
        assert_eq!(
            NodeLife::parse(Arc::clone(&life.holder)),
            Some(life.clone())
        );
        assert_ne!(NodeLife::begin("eu/west/7").holder, life.holder);
        let now = Timestamp::from(std::time::SystemTime::now()).as_micros();
        assert!(
            (now - life.since.as_micros()).abs() < 60_000_000,
            "{}",
            life.since
        );
        for foreign in ["one", "one/two", "one/67e55044-10b1-426f-9247-bb680e5fe0c8"] {
            assert_eq!(NodeLife::parse(foreign.into()), None);
        }
    }
}
