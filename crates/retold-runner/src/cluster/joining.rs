//! Joining a cluster: the checks before it, the share of the work in each store, and the errors.

use std::collections::BTreeSet;
use std::sync::Arc;

use retold_core::application::Error;
use retold_core::domain::Timestamp;
use retold_core::recording::limits::check_name;
use retold_core::recording::{Invalid, Store};
use retold_core::system::Infrastructure;

use super::unit::{LeaseNames, Unit};
use crate::job::Job;
use crate::limits::{NODE_NAME_MAX, NODES_MAX};

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A living node of the system has the name. If that node is permanently down, its lease ends
    /// by itself.
    #[error(
        "a living node of the system {system:?} has the name {node:?}, \
         until {lease_ends_at} at least; give each node a different name, \
         or make joining wait with `name_wait_max`"
    )]
    NameTaken {
        /// The name of the system.
        system: Arc<str>,
        /// The name of the node.
        node: Arc<str>,
        /// When the other node's lease ends unless it is renewed, by the store's clock.
        lease_ends_at: Timestamp,
    },
    /// The cluster has the maximum number of living nodes.
    #[error("the system {system:?} has {NODES_MAX} nodes, which is the maximum")]
    Full {
        /// The name of the system.
        system: Arc<str>,
    },
    /// A log could not be opened, a lease could not be requested, or a name or an option is not
    /// valid.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// The part of the work that belongs to one store.
pub(super) struct Share {
    pub(super) store: Arc<dyn Store>,
    pub(super) jobs: Vec<(Unit, Job)>,
}

/// Groups the jobs by the stores of their applications.
pub(super) fn shares(infrastructure: &Infrastructure, placed: Vec<(Unit, Job)>) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    for (unit, job) in placed {
        let store = infrastructure.store_of(unit.application());
        let is_same =
            |it: &&mut Share| std::ptr::addr_eq(Arc::as_ptr(&it.store), Arc::as_ptr(store));
        match shares.iter_mut().find(is_same) {
            Some(share) => share.jobs.push((unit, job)),
            None => shares.push(Share {
                store: Arc::clone(store),
                jobs: vec![(unit, job)],
            }),
        }
    }
    shares
}

pub(super) fn check_node(node: &str) -> Result<(), Error> {
    check_name("name of a node", node)?;
    if node.len() > NODE_NAME_MAX {
        return Err(invalid(format!(
            "the name of a node has {} bytes; it may have {NODE_NAME_MAX}",
            node.len()
        )));
    }
    Ok(())
}

pub(super) fn check_units(names: &LeaseNames, units: &[Unit]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for unit in units {
        check_name(
            "name of the lease of a follower, timers, a view or an outbox",
            &names.unit(unit),
        )?;
        if !seen.insert(unit) {
            return Err(invalid(format!(
                "the infrastructure has {unit} twice; give one of them another name"
            )));
        }
    }
    Ok(())
}

fn invalid(reason: String) -> Error {
    Invalid::new(reason).into()
}
