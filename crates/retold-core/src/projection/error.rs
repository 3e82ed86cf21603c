//! Why a projection cannot proceed. Each variant calls for a different reaction by the driver of
//! the projection.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::application::Error;
use crate::mapping::MappingError;
use crate::recording::{Checkpoint, Corrupt, Failure, Invalid, LogId, RecordError};

/// The error of a handler: any error.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a projection cannot proceed. The view and its checkpoint are as they were after the last
/// event that was applied.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// The log or the view's store cannot be reached, so the same step may succeed later. A step
    /// with this error was applied completely or not at all; the checkpoint shows which.
    #[error("{projection} waits for an unavailable store: {failure}")]
    Unavailable {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// The driver's error.
        #[source]
        failure: Failure,
    },
    /// Stored data differs from the data that was written.
    #[error("{projection} stopped: {corrupt}")]
    Corrupt {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// Where, and what is wrong.
        #[source]
        corrupt: Corrupt,
    },
    /// A mistake in the declaration of the projection or in the place of its view: the same step
    /// will never succeed.
    #[error("{projection} cannot run: {invalid}")]
    Invalid {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// What is wrong.
        #[source]
        invalid: Invalid,
    },
    /// The upstream log no longer has the events that were read: it was replaced, truncated, or
    /// restored from an older copy. The view may contain events that no longer exist; discard and
    /// rebuild it.
    #[error("{projection} stopped: {}", diverged(log, checkpoint, found, ids))]
    Diverged {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// Name of the upstream log.
        log: Arc<str>,
        /// The checkpoint that was read earlier.
        checkpoint: Checkpoint,
        /// The checkpoint at that position now; none if the log is shorter.
        found: Option<Checkpoint>,
        /// If they differ, the id of the log from which the view was built and the id of the log
        /// that has the name now: usually the view belongs to another store.
        ids: Option<Box<(LogId, LogId)>>,
    },
    /// An event could not be applied to the view.
    #[error("{projection} cannot process {event}{}", and_then(attempts_left))]
    Poison {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// The event and the reason.
        #[source]
        event: PoisonedEvent,
        /// The number of attempts left; 0 if the projection has stopped at the event.
        attempts_left: u32,
    },
    /// The log has an event of a topic or a revision that the program does not know, most likely
    /// recorded by a newer program. The view includes everything before the event and nothing after
    /// it, until a program that knows the topic processes the event.
    #[error("{projection} holds: {error}")]
    UnknownTopic {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// The event, and advice on what to do.
        #[source]
        error: Box<MappingError>,
    },
    /// Readers see a newer version: this one is no longer needed, and was dropped.
    #[error("{projection} is superseded: readers see version {current}")]
    Superseded {
        /// Name and version of the projection.
        projection: ProjectionLabel,
        /// The version that readers see.
        current: u32,
    },
    /// The pipeline was dropped, so the projection no longer makes progress in this process.
    #[error("{projection} is no longer driven and has not reached the awaited position")]
    Ended {
        /// Name and version of the projection.
        projection: ProjectionLabel,
    },
}

/// Name and version of a projection, as displayed in messages.
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

/// An event that could not be applied to a view: it cannot be decoded, or its handler failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoisonedEvent {
    /// The event.
    pub checkpoint: Checkpoint,
    /// Its topic, as stored.
    pub topic: Arc<str>,
    /// Why it could not be applied.
    pub error: Arc<dyn StdError + Send + Sync>,
}

impl fmt::Display for PoisonedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the event {:?} at position {}: {}",
            self.topic, self.checkpoint.position, self.error
        )
    }
}

impl StdError for PoisonedEvent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.error)
    }
}

/// For view stores: returns the error of a handler if it is that of an event of another program,
/// most likely a newer one. Such an event is never skipped: a program that knows it processes it.
pub fn error_of_another_program<'a>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a MappingError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let mapping = match error.downcast_ref::<Error>() {
            Some(Error::Mapping(mapping)) => Some(mapping),
            _ => error.downcast_ref::<MappingError>(),
        };
        if let Some(mapping) = mapping {
            return mapping.is_of_another_program().then_some(mapping);
        }
        cause = error.source();
    }
    None
}

fn diverged(
    log: &Arc<str>,
    checkpoint: &Checkpoint,
    found: &Option<Checkpoint>,
    ids: &Option<Box<(LogId, LogId)>>,
) -> String {
    match ids {
        None => Error::diverged(log, *checkpoint, *found).to_string(),
        Some(ids) => format!(
            "the log {log:?} has diverged: the view's rows are from a log with the id {}, but the \
             log has the id {}; either the rows belong to another store, which needs a separate \
             place for its views, or the log was replaced and the view must be rebuilt",
            ids.0, ids.1
        ),
    }
}

fn and_then(attempts_left: &u32) -> String {
    match attempts_left {
        0 => "; it stopped there".into(),
        left => format!("; retries left: {left}"),
    }
}

impl ProjectionError {
    /// Returns whether the same step may succeed later without intervention: wait briefly, then
    /// step again. This includes a step with an unknown outcome, which is `Unavailable` here: the
    /// next step reads the checkpoint, which shows whether it was recorded.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::UnknownTopic { .. } => true,
            Self::Poison { attempts_left, .. } => *attempts_left > 0,
            _ => false,
        }
    }

    /// For inline projections: converts the error to that of the append in which the projection
    /// takes part.
    pub fn into_append_error(self) -> RecordError {
        match self {
            Self::Unavailable { failure, .. } => RecordError::Unavailable(failure),
            Self::Corrupt { corrupt, .. } => corrupt.into(),
            error => RecordError::invalid(format!(
                "{error}; it takes part in every append to its log, so nothing is recorded"
            )),
        }
    }

    /// For view stores: converts a database error to an error of this projection.
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
            // The checkpoint shows whether it was applied, and the next step compares it.
            RecordError::Unavailable(failure) | RecordError::OutcomeUnknown(failure) => {
                Self::Unavailable {
                    projection,
                    failure,
                }
            }
            RecordError::Diverged {
                log,
                checkpoint,
                found,
            } => Self::Diverged {
                projection,
                log,
                checkpoint,
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

/// For programs that use the application's error type: converts the error to the closest variant.
impl From<ProjectionError> for Error {
    fn from(error: ProjectionError) -> Self {
        match error {
            ProjectionError::Unavailable { failure, .. } => Self::Unavailable(failure),
            ProjectionError::Corrupt { corrupt, .. } => Self::Corrupt(corrupt),
            ProjectionError::Invalid { invalid, .. } => Self::Invalid(invalid),
            ProjectionError::UnknownTopic { error, .. } => Self::Mapping(*error),
            ProjectionError::Diverged {
                log,
                checkpoint,
                found,
                ..
            } => Self::diverged(&log, checkpoint, found),
            other => Self::invalid(other.to_string()),
        }
    }
}
