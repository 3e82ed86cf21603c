//! The errors of an application: those of the recorder and its own.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::domain::Timestamp;
use crate::mapping::{MappingError, RegistryError};
use crate::recording::{
    Append, Checkpoint, Conflict, Corrupt, Failure, Invalid, LogId, Position, RecordError, Version,
    found_log, found_there,
};

/// The result of an application's methods that the domain cannot refuse.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. Each variant calls for a different reaction of the caller.
///
/// `Debug` prints sentences instead of the structure: the message, then each cause that the message
/// does not contain. So a program whose `main` returns [`Result`] ends with a readable error.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A condition on the log does not hold, and the retries are used up or were ruled out with
    /// `at`. Nothing was recorded.
    #[error("{0}; read again, then decide again")]
    Conflict(Conflict),
    /// The database cannot be reached or is overloaded. Nothing was recorded; the same call may
    /// succeed later.
    #[error("the store is unavailable, nothing was recorded (try again later): {0}")]
    Unavailable(#[source] Failure),
    /// It is unknown whether the append was recorded, even after several attempts. To find out,
    /// send the same append again until its outcome is known
    /// ([`Application::settle`](super::handle::Application::settle)); a command with an id can
    /// simply be repeated.
    #[error(
        "it is unknown whether the append was recorded \
         (settle it, or repeat the command under its command id): {failure}"
    )]
    OutcomeUnknown {
        /// The last error of the database.
        #[source]
        failure: Failure,
        /// The append whose outcome is unknown; `None` if the recorder reported this for a read.
        append: Option<Append>,
        /// Whether the same call can be repeated without recording anything twice: true for a
        /// command with an id, settling the same append, or a read. A command without an id would
        /// be decided again with other event ids: settle its append instead.
        is_repeatable: bool,
    },
    /// The stored data differs from what was written.
    #[error("{0}; check the log with `retold verify`")]
    Corrupt(Corrupt),
    /// An argument is invalid or exceeds a limit: the same call will never succeed. Nothing was
    /// recorded.
    #[error(transparent)]
    Invalid(Invalid),
    /// The aggregate does not exist, does not have this version, or had no events at that time. To
    /// decide on one that may not exist, use `execute_or_create`; to read one, `find`.
    #[error("{}", not_found(stream, version, time))]
    NotFound {
        /// Name of the aggregate's stream.
        stream: Arc<str>,
        /// The requested version, if there was one.
        version: Option<Version>,
        /// The requested time, if there was one.
        time: Option<Timestamp>,
    },
    /// The stream was deleted. Nothing was recorded. It takes events again after it is
    /// [reopened](super::handle::Application::reopen).
    #[error("{stream:?} was deleted, by {record}; reopen it before it is used again")]
    Deleted {
        /// Name of the stream.
        stream: Arc<str>,
        /// The event that deleted it.
        record: Checkpoint,
    },
    /// The log no longer has what was read from it: it was replaced, cut, or restored from an older
    /// copy. Data derived from that read may refer to events that no longer exist. Find out what
    /// happened, and start again from the first event or from a checkpoint that the log has.
    #[error(
        "the log {log:?} has diverged: {checkpoint} was read from it, but {}; it was cut, \
         replaced, or restored from an older copy since. Compare it with the restored copy; then \
         start again: reset a follower (`retold follower reset`), rebuild a view, open an outbox \
         with another name, or read after a checkpoint that the log has",
        found_there(checkpoint, found)
    )]
    Diverged {
        /// Name of the log.
        log: Arc<str>,
        /// The checkpoint that was read earlier.
        checkpoint: Checkpoint,
        /// The event at that position now; `None` if the log is shorter.
        found: Option<Checkpoint>,
    },
    /// The name of a log now refers to a log other than the one that was read: it was replaced. As
    /// with [`Diverged`](Self::Diverged), find out what happened, and start again.
    #[error(
        "the log {log:?} has been replaced: it had the id {expected}, and now {}",
        found_log(expected, found)
    )]
    Replaced {
        /// Name of the log.
        log: Arc<str>,
        /// Id of the log that was read.
        expected: LogId,
        /// The id that it has now; `None` if no log has the name.
        found: Option<LogId>,
    },
    /// An event could not be encoded or decoded. Nothing was recorded.
    #[error(transparent)]
    Mapping(MappingError),
    /// The command id was used earlier for another command of the log. Nothing was recorded now:
    /// give every command its own id.
    #[error(
        "the command id {command:?} was used before, for another command: it recorded {used_for}, \
         at position {position}; give every command its own id"
    )]
    CommandIdReused {
        /// The id.
        command: Arc<str>,
        /// What was recorded under it first: the topic, and what the command was about.
        used_for: Arc<str>,
        /// The position of that event.
        position: Position,
    },
    /// Types of the program share a name, or a name is not allowed. Detected when a type is
    /// registered: at startup or at its first use.
    #[error(transparent)]
    Registry(RegistryError),
    /// The domain refused the command; the refusal is the source.
    #[error("refused: {0}")]
    Refused(#[source] Box<dyn StdError + Send + Sync>),
}

fn not_found(stream: &str, version: &Option<Version>, time: &Option<Timestamp>) -> String {
    match (version, time) {
        (None, None) => format!("{stream:?} has no events; create it first"),
        (Some(version), _) => format!("{stream:?} has no version {version} yet"),
        (None, Some(time)) => format!("{stream:?} has no events up to {time}"),
    }
}

impl Error {
    /// Returns whether the log is no longer the one that was read: it was replaced, cut, or
    /// restored from an older copy.
    pub fn is_diverged(&self) -> bool {
        matches!(self, Self::Diverged { .. } | Self::Replaced { .. })
    }

    /// A mistake of the caller, described in a full sentence without a period.
    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid(Invalid::new(reason.into()))
    }

    /// The log no longer has what was read from it.
    pub(crate) fn diverged(log: &str, checkpoint: Checkpoint, found: Option<Checkpoint>) -> Self {
        Self::Diverged {
            log: log.into(),
            checkpoint,
            found,
        }
    }

    /// Returns whether the same call can be retried without recording anything twice: true for a
    /// conflict, an unavailable store, and an unknown outcome if the same command id or the same
    /// append is sent again. False for an unknown outcome of a command without an id, whose append
    /// must be [settled](super::handle::Application::settle).
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// // With the command id, the trick is added once, however often the command is sent.
    /// let attempts_max = 10;
    /// for attempt in 1.. {
    ///     let add = school.execute(fido, |_| DogEvent::TrickAdded { trick: "sit".into() });
    ///     match add.command_id("request 7").await {
    ///         Ok(_) => break,
    ///         Err(retold::application::ExecuteError::Retold(error))
    ///             if error.is_retriable() && attempt < attempts_max => {}
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Conflict(_) | Self::Unavailable(_) => true,
            Self::OutcomeUnknown { is_repeatable, .. } => *is_repeatable,
            _ => false,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut message = self.to_string();
        f.write_str(&message)?;
        let mut heading = "\n\nCaused by:";
        let mut source = self.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Most messages end with their cause.
            if !message.contains(&text) {
                write!(f, "{heading}\n    {}", text.replace('\n', "\n    "))?;
                heading = "";
                message = text;
            }
            source = cause.source();
        }
        Ok(())
    }
}

impl From<RecordError> for Error {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Conflict(conflict) => conflict.into(),
            RecordError::Unavailable(failure) => Self::Unavailable(failure),
            RecordError::OutcomeUnknown(failure) => Self::OutcomeUnknown {
                failure,
                append: None,
                is_repeatable: true,
            },
            RecordError::Corrupt(corrupt) => Self::Corrupt(corrupt),
            RecordError::Invalid(invalid) => Self::Invalid(invalid),
            RecordError::Diverged {
                log,
                checkpoint,
                found,
            } => Self::Diverged {
                log,
                checkpoint,
                found,
            },
            RecordError::Replaced {
                log,
                expected,
                found,
            } => Self::Replaced {
                log,
                expected,
                found,
            },
        }
    }
}

impl From<Conflict> for Error {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::Deleted { stream, record } => Self::Deleted { stream, record },
            conflict => Self::Conflict(conflict),
        }
    }
}

impl From<Corrupt> for Error {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

impl From<MappingError> for Error {
    fn from(error: MappingError) -> Self {
        Self::Mapping(error)
    }
}

impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

/// Why a command was not executed: the domain's own refusal, in its own type, or an error of the
/// library.
///
/// Converts into an [`Error`] with `?` if the refusal is an error.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, reason = "there is no third")]
pub enum ExecuteError<R> {
    /// The domain refused. Nothing was recorded, and the decision was made on the newest state.
    Refused(R),
    /// An error of the library.
    Retold(Error),
}

impl<R> ExecuteError<R> {
    /// Returns the refusal, if it is one.
    ///
    /// # Errors
    ///
    /// The library's error, otherwise.
    pub fn refusal(self) -> Result<R> {
        match self {
            Self::Refused(refusal) => Ok(refusal),
            Self::Retold(error) => Err(error),
        }
    }
}

impl<R: fmt::Display> fmt::Display for ExecuteError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Retold(error) => error.fmt(f),
        }
    }
}

impl<R: StdError + 'static> StdError for ExecuteError<R> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Retold(error) => error.source(),
        }
    }
}

impl<R> From<Error> for ExecuteError<R> {
    fn from(error: Error) -> Self {
        Self::Retold(error)
    }
}

macro_rules! errors_of_the_library {
    ($($error:ty),*) => {$(
        impl<R> From<$error> for ExecuteError<R> {
            fn from(error: $error) -> Self {
                Self::Retold(error.into())
            }
        }
    )*};
}

errors_of_the_library!(
    RecordError,
    Conflict,
    Invalid,
    Corrupt,
    MappingError,
    RegistryError
);

impl<R: StdError + Send + Sync + 'static> From<ExecuteError<R>> for Error {
    fn from(error: ExecuteError<R>) -> Self {
        match error {
            ExecuteError::Refused(refusal) => Self::Refused(Box::new(refusal)),
            ExecuteError::Retold(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the kennel is full")]
    struct Full(#[source] std::io::Error);

    /// `main` prints the `Debug` form of the error that it returns.
    #[test]
    fn debug_prints_the_message_and_its_causes() {
        let cause = Full(std::io::Error::other("no space"));
        let refused = Error::Refused(Box::new(cause));
        assert_eq!(
            format!("{refused:?}"),
            "refused: the kennel is full\n\nCaused by:\n    no space"
        );
        let command = ExecuteError::<Full>::Retold(Error::NotFound {
            stream: "Dog/1".into(),
            version: None,
            time: None,
        });
        assert_eq!(
            format!("{:?}", Error::from(command)),
            "\"Dog/1\" has no events; create it first"
        );
    }

    #[test]
    fn debug_does_not_repeat_a_cause_that_the_message_contains() {
        let failure = Failure::new("cannot open dogs.db", std::io::Error::other("disk\nfailed"));
        let error = Error::Unavailable(failure);
        let text = format!("{error:?}");
        assert_eq!(text.matches("cannot open dogs.db").count(), 1, "{text}");
        assert_eq!(text.matches("failed").count(), 1, "{text}");
        assert!(!text.contains("Unavailable"), "{text}");
    }
}
