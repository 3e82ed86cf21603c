//! The errors of waits: who is behind, where, and why.

use std::fmt;
use std::sync::Arc;

use super::follower_path::FollowerPath;
use crate::application::Error;
use crate::domain::Timestamp;
use crate::following::{FollowerStatus, Phase};
use crate::projection::{ProjectionError, ProjectionState};
use crate::recording::{Invalid, Position, RecordError};

/// Why a wait for a [`Goal`](super::Goal) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The time is up.
    #[error("not processed in time: {}", unfinished(behind, searching.as_ref()))]
    Timeout {
        /// The followers, or the view, that have not reached the position.
        behind: Vec<Behind>,
        /// The progress of the search for caused events, if the time ran out during it. Only a
        /// wait for [`Goal::CausedBy`](super::Goal::CausedBy) searches.
        searching: Option<Searching>,
    },
    /// A follower cannot continue: it is paused, retired or stopped, or it has failed. Waiting
    /// longer does not help; an operator must act.
    #[error(
        "the follower {:?} of {:?} is {phase:?} and does not continue: {reason}",
        follower.follower(),
        follower.application()
    )]
    Halted {
        /// The follower.
        follower: FollowerPath,
        /// Its phase.
        phase: Phase,
        /// The reason.
        reason: String,
    },
    /// The projection of the view has stopped, and an operator must act; or its checkpoint could
    /// not be read.
    #[error(transparent)]
    View(#[from] ProjectionError),
    /// The logs could not be read; or there is no such application, follower or view, or the
    /// follower does not follow that log.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl WaitError {
    /// For runners: returns the error for a follower whose status shows that it cannot continue;
    /// none if it works, retries, or waits for another process.
    pub fn halted(status: &FollowerStatus) -> Option<Self> {
        let reason = match status.phase {
            Phase::Paused => status.paused.clone().unwrap_or_default(),
            Phase::Retired => status.retired.clone().unwrap_or_default(),
            Phase::Stopped => "its runner was stopped".to_owned(),
            Phase::Failed => {
                let failure = status.last_error.as_ref();
                failure.map(|(_, text)| text.clone()).unwrap_or_default()
            }
            _ => return None,
        };
        Some(Self::Halted {
            follower: FollowerPath::new(
                Arc::clone(&status.application),
                Arc::clone(&status.follower),
            ),
            phase: status.phase,
            reason,
        })
    }
}

impl From<RecordError> for WaitError {
    fn from(error: RecordError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Invalid> for WaitError {
    fn from(error: Invalid) -> Self {
        Self::Failed(error.into())
    }
}

/// A follower or a view that has not reached the position that was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Behind {
    /// A follower.
    Follower {
        /// The follower.
        follower: FollowerPath,
        /// Number of its pipeline, if it has several.
        pipeline: Option<u32>,
        /// The name of the application whose log is waited for.
        upstream: Arc<str>,
        /// The position to reach.
        position: Position,
        /// The follower's recorded checkpoint, as far as this process knows: if another process
        /// does the work, as of the last read of the log.
        checkpoint: Option<Position>,
        /// Its phase in this process.
        phase: Phase,
        /// The node of the cluster that holds it, and since when, as of this node's last look at
        /// the leases; `None` for a runner that is not a cluster.
        holder: Option<Holder>,
    },
    /// A view.
    View {
        /// The name of the view's projection.
        view: Arc<str>,
        /// The position to reach.
        position: Position,
        /// The view's recorded checkpoint, as far as this process knows.
        checkpoint: Option<Position>,
        /// The state of the projection in this process.
        state: ProjectionState,
        /// The node of the cluster that holds the view, and since when, as of this node's last
        /// look at the leases; `None` if each process keeps its own view.
        holder: Option<Holder>,
    },
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Follower {
                follower,
                pipeline,
                upstream,
                position,
                checkpoint,
                phase,
                holder,
            } => {
                let (name, application) = (follower.follower(), follower.application());
                write!(f, "the follower {name:?} of {application:?}")?;
                if let Some(pipeline) = pipeline {
                    write!(f, ", pipeline {pipeline},")?;
                }
                let checkpoint = Position::number(*checkpoint);
                write!(
                    f,
                    " is recorded at {checkpoint} of {upstream:?} and not yet at {position}"
                )?;
                match holder {
                    Some(holder) => write!(f, "; {holder}"),
                    None => write!(f, " ({phase:?})"),
                }
            }
            Self::View {
                view,
                position,
                checkpoint,
                state,
                holder,
            } => {
                let checkpoint = Position::number(*checkpoint);
                write!(
                    f,
                    "the view {view:?} does not show position {position} yet; it is recorded at \
                     {checkpoint}"
                )?;
                match holder {
                    Some(holder) => write!(f, "; {holder}"),
                    None => write!(f, " ({state:?})"),
                }
            }
        }
    }
}

/// The holder of a cluster's follower or view, according to its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "runners in other crates make it")]
pub struct Holder {
    /// The name of the node; `None` while it moves between nodes.
    pub node: Option<Arc<str>>,
    /// Since when that node has held it, by the store's clock.
    pub since: Option<Timestamp>,
    /// How often it has moved from one holder to another; 0 before the first.
    pub term: u64,
    /// Its last failure on any node: when it was reported, by the store's clock, and the node with
    /// its message.
    pub last_error: Option<(Timestamp, String)>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let term = self.term;
        match (&self.node, self.since) {
            (Some(node), Some(since)) => {
                write!(
                    f,
                    "the node {node:?} has had its lease since {since} (term {term})"
                )?;
            }
            (Some(node), None) => write!(f, "the node {node:?} has its lease (term {term})")?,
            (None, _) => write!(f, "no node has its lease (term {term})")?,
        }
        match &self.last_error {
            Some((at, error)) => write!(f, "; last error at {at}, on {error}"),
            None => Ok(()),
        }
    }
}

/// A log that was being searched for effects.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Searching {
    /// The name of the application that owns the log.
    pub application: Arc<str>,
    /// The position up to which the log was searched.
    pub read_to: Option<Position>,
    /// The position up to which it must be searched; `None` if the end of the log was not known
    /// yet.
    pub until: Option<Position>,
}

impl fmt::Display for Searching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, read_to) = (&self.application, Position::number(self.read_to));
        write!(f, "the search for caused events is at {read_to} of ")?;
        match self.until {
            Some(until) => write!(f, "the {until} events in the log {name:?}"),
            None => write!(f, "the log {name:?}, whose end is not known yet"),
        }
    }
}

fn unfinished(behind: &[Behind], searching: Option<&Searching>) -> String {
    let behind = behind.iter().map(Behind::to_string);
    let lines: Vec<_> = behind.chain(searching.map(Searching::to_string)).collect();
    lines.join("; ")
}
