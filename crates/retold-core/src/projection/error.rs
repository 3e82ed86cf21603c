//! Why a projection does not go on. The variants are decisions for whoever drives it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::application::Error;
use crate::mapping::MappingError;
use crate::recording::{Corrupt, Failure, Invalid, LogId, Mark, RecordError};

/// What a handler may fail with: any error.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a projection does not go on. The view is as it was after the last event that it took, and the
/// checkpoint with it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// The log or the place of the view cannot be reached. Nothing was applied; the same step may
    /// succeed later.
    #[error("{projection} waits for a store that is unavailable: {failure}")]
    Unavailable {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// What the driver said.
        #[source]
        failure: Failure,
    },
    /// Stored data is not what was written.
    #[error("{projection} stopped: {corrupt}")]
    Corrupt {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// Where, and what is wrong.
        #[source]
        corrupt: Corrupt,
    },
    /// A mistake in how the projection is declared or where its view is kept: the same step never
    /// succeeds.
    #[error("{projection} cannot run: {invalid}")]
    Invalid {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// What is wrong.
        #[source]
        invalid: Invalid,
    },
    /// The upstream log no longer has what was read of it: it was replaced, cut, or restored from an
    /// older copy. The view may show events that are gone; discard it and build it anew.
    #[error("{projection} stopped: {}", diverged(log, mark, found, ids))]
    Diverged {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// Name of the upstream log.
        log: Arc<str>,
        /// What was read of it once.
        mark: Mark,
        /// What is at that position now; none if the log does not reach so far.
        found: Option<Mark>,
        /// Ids of the log that its rows are of, and of the one that has the name now, if they are not the
        /// same: the rows are those of another store, mostly.
        ids: Option<Box<(LogId, LogId)>>,
    },
    /// An event could not be taken into the view.
    #[error("{projection} cannot take {event}{}", and_then(attempts_left))]
    Poison {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// Which event, and why.
        #[source]
        event: PoisonedEvent,
        /// How often it will be tried again; 0 if the projection stopped at it.
        attempts_left: u32,
    },
    /// The log has an event of a topic that the program does not know, most likely of a newer program. The
    /// view has everything before it and nothing after, until a program that knows it takes it.
    #[error("{projection} holds: {error}")]
    UnknownTopic {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// Which event, and what to do.
        #[source]
        error: Box<MappingError>,
    },
    /// Readers see a newer version already: this one is not needed any more, and was dropped.
    #[error("{projection} is superseded: readers see version {current}")]
    Superseded {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// The version that readers see.
        current: u32,
    },
    /// Nobody drives the projection any more.
    #[error("{projection} is not driven any more; what was waited for is not there yet")]
    Ended {
        /// Name and version of the projection.
        projection: ProjectionLabel,
    },
}

/// Name and version of a projection, as messages show them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ProjectionLabel {
    /// Name of the projection.
    pub name: Arc<str>,
    /// Its version.
    pub version: u32,
}

impl fmt::Display for ProjectionLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the projection {:?} version {}", self.name, self.version)
    }
}

/// An event that could not be taken into a view: it cannot be decoded, or its handler failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoisonedEvent {
    /// Which event.
    pub mark: Mark,
    /// Its topic, as it is stored.
    pub topic: Arc<str>,
    /// Why it could not be taken.
    pub error: Arc<dyn StdError + Send + Sync>,
}

impl fmt::Display for PoisonedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the event {:?} at position {}: {}",
            self.topic, self.mark.position, self.error
        )
    }
}

impl StdError for PoisonedEvent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.error)
    }
}

fn diverged(
    log: &Arc<str>,
    mark: &Mark,
    found: &Option<Mark>,
    ids: &Option<Box<(LogId, LogId)>>,
) -> String {
    match ids {
        None => Error::diverged(log, *mark, *found).to_string(),
        Some(ids) => format!(
            "the log {log:?} has diverged: the view's rows are of a log with the id {}, and the log has the id {}; they are the rows of another store, which should have a place of its own for its views, or the log was replaced, and then the view is to be built anew",
            ids.0, ids.1
        ),
    }
}

fn and_then(attempts_left: &u32) -> String {
    match attempts_left {
        0 => "; it stopped there".into(),
        left => format!("; it is tried {left} times more"),
    }
}

impl ProjectionError {
    /// Whether the same step may succeed later, without anybody doing anything: wait a little, then
    /// step again. So may one whose outcome is unknown, which is `Unavailable` here: the checkpoint says
    /// whether it was recorded, and the next step goes by that.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::UnknownTopic { .. } => true,
            Self::Poison { attempts_left, .. } => *attempts_left > 0,
            _ => false,
        }
    }

    /// For keepers: what a database said, as an error of this projection.
    pub fn of_record_error(projection: ProjectionLabel, error: RecordError) -> Self {
        match error {
            RecordError::Corrupt(corrupt) => Self::Corrupt {
                projection,
                corrupt,
            },
            RecordError::Invalid(invalid) => Self::Invalid {
                projection,
                invalid,
            },
            // Whether it was applied is told by the checkpoint, which the next step compares.
            RecordError::Unavailable(failure) | RecordError::OutcomeUnknown(failure) => {
                Self::Unavailable {
                    projection,
                    failure,
                }
            }
            RecordError::Diverged { log, mark, found } => Self::Diverged {
                projection,
                log,
                mark,
                found,
                ids: None,
            },
            replaced @ RecordError::Replaced { .. } => Self::Invalid {
                projection,
                invalid: Invalid::new(replaced.to_string()),
            },
            conflict @ RecordError::Conflict(_) => Self::Unavailable {
                projection,
                failure: Failure::new("keeping a view", conflict),
            },
        }
    }
}

/// For programs whose other errors are the application's: what the projection said, in its meanings.
impl From<ProjectionError> for Error {
    fn from(error: ProjectionError) -> Self {
        match error {
            ProjectionError::Unavailable { failure, .. } => Self::Unavailable(failure),
            ProjectionError::Corrupt { corrupt, .. } => Self::Corrupt(corrupt),
            ProjectionError::Invalid { invalid, .. } => Self::Invalid(invalid),
            ProjectionError::UnknownTopic { error, .. } => Self::Mapping(*error),
            ProjectionError::Diverged {
                log, mark, found, ..
            } => Self::diverged(&log, mark, found),
            other => Self::invalid(other.to_string()),
        }
    }
}
