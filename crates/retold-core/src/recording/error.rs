//! Why a recorder did not do what it was asked. The variants are decisions for the caller.

use std::error::Error as StdError;
use std::sync::Arc;

use super::condition::ExpectedVersion;
pub(crate) use super::fault::{Corrupt, Failure, Invalid};
use super::identity::{EventId, LogId, Mark, Position, Version};
use super::stretch::FollowerKey;

/// Why a recorder or store did not do what it was asked.
///
/// The driver's own error, where there is one, is the [`source`](StdError::source), so that no
/// driver's type is part of this interface.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The log is not as the append demands. Nothing was written. Read again and decide again.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The database cannot be reached or is overloaded. It is certain that this attempt wrote
    /// nothing; the same call may succeed later.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] Failure),
    /// The database failed after the append may have reached it. The append is recorded as a whole
    /// or not at all, and only sending the same append again tells which: until it answers with
    /// positions or a conflict. A read does not tell, for the write may still land.
    #[error("it is unknown whether the append was recorded (send the same append again): {0}")]
    OutcomeUnknown(#[source] Failure),
    /// Stored data is not what was written. Reading on could invent history.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The caller's mistake: a limit or an argument. Nothing was written, and the same call will
    /// never succeed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The log does not have the event that it was to be read after: it was replaced, cut, or restored
    /// from an older copy since. Nothing was read or written.
    #[error(
        "the log {log:?} has diverged: {mark} was read of it, but {}; it was cut, replaced, or restored from an older copy since",
        found_there(mark, found)
    )]
    Diverged {
        /// Name of the log.
        log: Arc<str>,
        /// What was read of it once.
        mark: Mark,
        /// What is there now, at that position or at that version of the stream; none if the log or
        /// the stream does not reach so far.
        found: Option<Mark>,
    },
    /// The name of the log leads to another log than the recorder met, or to none. Nothing was read or
    /// written, and this recorder never serves another log.
    #[error(
        "the log {log:?} has been replaced: it had the id {expected}, and now {}; restore the right copy, or open the log again if this is the right one",
        found_log(expected, found)
    )]
    Replaced {
        /// Name of the log.
        log: Arc<str>,
        /// Id of the log that the recorder met.
        expected: LogId,
        /// Id that the log of this name has now; none if there is none.
        found: Option<LogId>,
    },
}

/// What is where a mark should be, for messages.
pub(crate) fn found_there(mark: &Mark, found: &Option<Mark>) -> String {
    match found {
        Some(found) if found == mark => "the log of that name has another id now".into(),
        Some(found) if found.position == mark.position => {
            format!("the event there is {}", found.event_id)
        }
        Some(found) => format!("the event of that version is {found}"),
        None => "it does not reach so far".into(),
    }
}

/// Which log a name leads to, for messages.
pub(crate) fn found_log(expected: &LogId, found: &Option<LogId>) -> String {
    match found {
        Some(found) if found == expected => "another log has its place in the store".into(),
        Some(found) => format!("has {found}"),
        None => "there is none of this name".into(),
    }
}

impl RecordError {
    /// [`Self::Unavailable`], because of a driver's error.
    pub fn unavailable(
        what: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self::Unavailable(Failure::new(what, source))
    }

    /// [`Self::OutcomeUnknown`], because of a driver's error.
    pub fn outcome_unknown(
        what: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self::OutcomeUnknown(Failure::new(what, source))
    }

    /// [`Self::Diverged`], unless `found` is the mark that was read once.
    ///
    /// # Errors
    ///
    /// [`Self::Diverged`].
    pub fn check_mark(log: &str, mark: Mark, found: Option<Mark>) -> Result<(), Self> {
        match found == Some(mark) {
            true => Ok(()),
            false => Err(Self::Diverged {
                log: log.into(),
                mark,
                found,
            }),
        }
    }

    /// [`Self::Invalid`], for this reason.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid(Invalid::new(reason.into()))
    }
}

/// What in the log is not as an append demands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// A stretch does not begin where the previous one of its follower and upstream ended.
    #[error(
        "the stretch of {follower} over the log {upstream} does not begin at its checkpoint, {}",
        or_none(checkpoint)
    )]
    Checkpoint {
        /// Whose stretch.
        follower: FollowerKey,
        /// Of which log.
        upstream: LogId,
        /// Where the last recorded stretch of this follower over this log ends; none if there is none.
        /// Stretches of the refused append do not count: whoever goes on from here leaves nothing out.
        checkpoint: Option<Mark>,
    },
    /// An event of this id is in the log, recorded by an append of other ids.
    #[error("an event with the id {id} is in the log already, at position {position}")]
    EventId {
        /// The id.
        id: EventId,
        /// Where it is.
        position: Position,
    },
    /// A stream is not where it was expected.
    #[error(
        "the stream {stream:?} was expected to have {expected} but has {}",
        version_there(actual, other)
    )]
    Stream {
        /// Name of the stream.
        stream: Arc<str>,
        /// What was expected.
        expected: ExpectedVersion,
        /// Where it is; none if it has no events.
        actual: Option<Version>,
        /// Its last event, if that has the expected version but is not the event that the condition
        /// names: the log was restored from an older copy since.
        other: Option<EventId>,
    },
    /// An event matches a query that none was to match.
    #[error("condition {condition} demands that no event matches its query, but one does: {found}")]
    Query {
        /// Which condition of the append, counted from 0.
        condition: usize,
        /// The first event after the condition's position that matches.
        found: Mark,
    },
    /// The log has more or fewer topics than a condition demands.
    #[error("the log was expected to have {expected} topics but has {actual}")]
    Topics {
        /// How many were expected.
        expected: u64,
        /// How many there are.
        actual: u64,
    },
}

impl Conflict {
    /// For stores: the conflict of a condition that a stream is at a version and, if one is named, that
    /// this event has it; none if the condition holds. `last` gives the id of the stream's last event.
    pub fn of_stream(
        stream: &Arc<str>,
        expected: ExpectedVersion,
        event: Option<EventId>,
        actual: Option<Version>,
        last: impl FnOnce() -> Option<EventId>,
    ) -> Option<Self> {
        let conflict = |other| Self::Stream {
            stream: Arc::clone(stream),
            expected,
            actual,
            other,
        };
        if !expected.holds(actual) {
            return Some(conflict(None));
        }
        let event = event?;
        let last = last();
        (last != Some(event)).then(|| conflict(last))
    }
}

fn or_none(mark: &Option<Mark>) -> String {
    mark.map_or_else(
        || "which is none yet".into(),
        |mark| format!("which is at {mark}"),
    )
}

fn version_there(version: &Option<Version>, other: &Option<EventId>) -> String {
    match (version, other) {
        (None, _) => "no events".into(),
        (Some(version), None) => format!("version {version}"),
        (Some(version), Some(other)) => {
            format!("version {version} with another event than the one that was read, {other}")
        }
    }
}
