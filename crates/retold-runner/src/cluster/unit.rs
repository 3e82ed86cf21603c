//! A unit of placement, which is on one node at a time; and the names of leases.
//!
//! The names of all leases of a system's cluster start with `retold.cluster/SYSTEM/`. Nodes have
//! slots, numbered from 0, so that the names of past nodes leave nothing behind; units are named
//! after their parts. A `/` or `%` in a name is written `%2F` or `%25`, so that two units never
//! share a lease.

use std::fmt;
use std::sync::Arc;

use retold_core::health::{Finding, FindingKind, Trouble};
use retold_core::projection::ProjectionHandle;
use retold_core::system::{
    FollowerPath, escaped, follower_lease_path, timers_lease_path, view_lease_path,
};

use crate::job::Job;

/// A part of the system that one node of a cluster runs at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// A follower, or one of its pipelines, which processes one of its partitions.
    Follower {
        /// The follower.
        follower: FollowerPath,
        /// The number of the pipeline, from 0; `None` if the follower has one pipeline. If there
        /// are as many pipelines as partitions, it is also the number of the partition.
        pipeline: Option<u32>,
    },
    /// The timers of an application.
    Timers {
        /// The name of the application.
        application: Arc<str>,
    },
    /// A view that all nodes read. A view in memory is kept by each node and is not a unit.
    View {
        /// The name of the application whose log it shows.
        application: Arc<str>,
        /// The name of its projection.
        view: Arc<str>,
        /// The version of its projection.
        version: u32,
    },
    /// An outbox, which one node drains.
    Outbox {
        /// The name of the application whose events it delivers.
        application: Arc<str>,
        /// Its name.
        outbox: Arc<str>,
    },
}

impl Unit {
    /// Returns the name of the application whose store has its lease.
    pub(crate) fn application(&self) -> &str {
        match self {
            Self::Follower { follower, .. } => follower.application(),
            Self::Timers { application }
            | Self::View { application, .. }
            | Self::Outbox { application, .. } => application,
        }
    }

    /// Returns a finding about this unit.
    pub(crate) fn finding(&self, trouble: Trouble, reason: String) -> Finding {
        let (kind, name) = match self {
            Self::Follower { follower, .. } => (FindingKind::Follower, follower.to_string()),
            Self::Timers { application } => (FindingKind::Timers, application.to_string()),
            Self::View { view, .. } => (FindingKind::View, view.to_string()),
            Self::Outbox {
                application,
                outbox,
            } => (FindingKind::Outbox, format!("{application}/{outbox}")),
        };
        Finding::new(kind, name, trouble, reason)
    }

    fn path(&self) -> String {
        match self {
            Self::Follower { follower, pipeline } => {
                let path = follower_lease_path(follower);
                match pipeline {
                    None => path,
                    Some(pipeline) => format!("{path}/{pipeline}"),
                }
            }
            Self::Timers { application } => timers_lease_path(application),
            Self::View {
                application,
                view,
                version,
            } => view_lease_path(application, view, *version),
            Self::Outbox {
                application,
                outbox,
            } => format!("outbox/{}/{}", escaped(application), escaped(outbox)),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Follower { follower, pipeline } => match pipeline {
                None => write!(f, "{follower}"),
                Some(pipeline) => write!(f, "{follower}/{pipeline}"),
            },
            Self::Timers { application } => write!(f, "{application}, timers"),
            Self::View {
                application,
                view,
                version,
            } => write!(f, "{application}, view {view} version {version}"),
            Self::Outbox {
                application,
                outbox,
            } => write!(f, "{application}, outbox {outbox}"),
        }
    }
}

/// Returns the unit of a job.
pub(crate) fn unit_of(job: &Job) -> Unit {
    match job {
        Job::Follower { cell, .. } => Unit::Follower {
            follower: cell.path(),
            pipeline: cell.pipeline(),
        },
        Job::Timers { application, .. } => Unit::Timers {
            application: application.name().into(),
        },
        Job::View { handle, .. } => unit_of_view(handle),
        Job::Outbox { cell, .. } => {
            let status = cell.read();
            Unit::Outbox {
                application: status.application,
                outbox: status.outbox,
            }
        }
    }
}

/// Returns the unit of a view.
pub(crate) fn unit_of_view(handle: &ProjectionHandle) -> Unit {
    Unit::View {
        application: Arc::clone(&handle.outline().upstream),
        view: Arc::clone(&handle.outline().name),
        version: handle.outline().version,
    }
}

/// The prefix of the names of all clusters' leases.
pub(crate) const CLUSTERS: &str = "retold.cluster/";

/// The names of a cluster's leases.
#[derive(Clone, Debug)]
pub(crate) struct LeaseNames {
    prefix: Arc<str>,
}

impl LeaseNames {
    pub(crate) fn of_system(system: &str) -> Self {
        let prefix = format!("{CLUSTERS}{}/", escaped(system)).into();
        Self { prefix }
    }

    /// Returns the prefix of all these names.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn slot(&self, slot: usize) -> String {
        format!("{}node/{slot:04}", self.prefix)
    }

    pub(crate) fn is_slot(&self, lease: &str) -> bool {
        let rest = lease.strip_prefix(&*self.prefix);
        rest.is_some_and(|rest| rest.starts_with("node/"))
    }

    /// Returns the name under which the last failure of the unit with this lease is noted.
    pub(crate) fn note(&self, unit: &str) -> Option<String> {
        self.of_unit("note/", unit)
    }

    /// Returns the unit's lease to which this note belongs; `None` if it is not a note.
    pub(crate) fn noted(&self, lease: &str) -> Option<Arc<str>> {
        self.unit_of("note/", lease)
    }

    /// Returns the name under which a node shows the problem of the unit with this lease.
    pub(crate) fn finding(&self, unit: &str) -> Option<String> {
        self.of_unit("finding/", unit)
    }

    /// Returns the unit's lease whose problem is shown here; `None` if it is not a finding.
    pub(crate) fn found(&self, lease: &str) -> Option<Arc<str>> {
        self.unit_of("finding/", lease)
    }

    /// Returns the name under which the retirement of the unit with this path is noted.
    pub(crate) fn retired(&self, path: &str) -> String {
        format!("{}retired/{path}", self.prefix)
    }

    /// Returns whether this lease notes a unit's retirement.
    pub(crate) fn is_retired(&self, lease: &str) -> bool {
        let rest = lease.strip_prefix(&*self.prefix);
        rest.is_some_and(|rest| rest.starts_with("retired/"))
    }

    fn of_unit(&self, kind: &str, unit: &str) -> Option<String> {
        let path = unit.strip_prefix(&*self.prefix)?.strip_prefix("unit/")?;
        Some(format!("{}{kind}{path}", self.prefix))
    }

    fn unit_of(&self, kind: &str, lease: &str) -> Option<Arc<str>> {
        let path = lease.strip_prefix(&*self.prefix)?.strip_prefix(kind)?;
        Some(format!("{}unit/{path}", self.prefix).into())
    }

    pub(crate) fn unit(&self, unit: &Unit) -> Arc<str> {
        format!("{}unit/{}", self.prefix, unit.path()).into()
    }
}

#[cfg(test)]
mod tests {
    use retold_core::system::unescaped;

    use super::*;

    /// Names of leases are stored, and nodes of different versions find each other by them.
    #[test]
    fn names_of_leases_are_stable() {
        let names = LeaseNames::of_system("my/shop");
        assert_eq!(names.slot(7), "retold.cluster/my%2Fshop/node/0007");
        assert!(names.is_slot(&names.slot(7)));
        let follower = |application: &str, follower: &str| Unit::Follower {
            follower: FollowerPath::new(application, follower),
            pipeline: None,
        };
        let unit = names.unit(&follower("stock", "reservations"));
        let expected = "retold.cluster/my%2Fshop/unit/follower/stock/reservations";
        assert_eq!(&*unit, expected);
        assert!(!names.is_slot(&unit));
        let note = names.note(&unit).unwrap();
        let expected = "retold.cluster/my%2Fshop/note/follower/stock/reservations";
        assert_eq!(note, expected);
        assert_eq!(names.noted(&note), Some(Arc::clone(&unit)));
        assert_eq!(names.noted(&unit), None);
        let finding = names.finding(&unit).unwrap();
        let expected = "retold.cluster/my%2Fshop/finding/follower/stock/reservations";
        assert_eq!(finding, expected);
        assert_eq!(names.found(&finding), Some(Arc::clone(&unit)));
        assert_eq!(names.found(&note), None);
        for name in ["a/b", "50%", "%2F", "%25"] {
            assert_eq!(&*unescaped(&escaped(name)), name);
        }
        assert_ne!(
            names.unit(&follower("a/b", "c")),
            names.unit(&follower("a", "b/c"))
        );
        let partition = Unit::Follower {
            follower: FollowerPath::new("stock", "reservations"),
            pipeline: Some(3),
        };
        let expected = "retold.cluster/my%2Fshop/unit/follower/stock/reservations/3";
        assert_eq!(&*names.unit(&partition), expected);
        let timers = Unit::Timers {
            application: "50%".into(),
        };
        let expected = "retold.cluster/my%2Fshop/unit/timers/50%25";
        assert_eq!(&*names.unit(&timers), expected);
        let view = Unit::View {
            application: "orders".into(),
            view: "placed".into(),
            version: 2,
        };
        let expected = "retold.cluster/my%2Fshop/unit/view/orders/placed/2";
        assert_eq!(&*names.unit(&view), expected);
        let outbox = Unit::Outbox {
            application: "orders".into(),
            outbox: "mail".into(),
        };
        let expected = "retold.cluster/my%2Fshop/unit/outbox/orders/mail";
        assert_eq!(&*names.unit(&outbox), expected);
    }
}
