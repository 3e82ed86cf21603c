//! Errors of a recorder. Each variant calls for a different reaction by the caller.

use std::error::Error as StdError;
use std::sync::Arc;

use super::amendment::AmendmentConflict;
use super::condition::ExpectedVersion;
pub(crate) use super::fault::{Corrupt, Failure, Invalid};
use super::identity::{Checkpoint, EventId, LogId, Position, Version};
use super::processed_range::FollowerKey;

/// The error of a call to a recorder or store.
///
/// The driver's own error, if there is one, is the [`source`](StdError::source), so no driver's
/// type is part of this interface.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The log does not meet the append's conditions. Nothing was written. Read the log again and
    /// repeat the decision.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The database cannot be reached or is overloaded. This attempt certainly wrote nothing; the
    /// same call may succeed later.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] Failure),
    /// The database failed after the append may have reached it. The append is recorded as a whole
    /// or not at all. To find out, resend the same append until the call returns positions or a
    /// conflict. A read does not answer the question, because the write may still arrive later.
    #[error("it is unknown whether the append was recorded (send the same append again): {0}")]
    OutcomeUnknown(#[source] Failure),
    /// Stored data is not what was written. Reading further could return events that never
    /// happened.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The caller made a mistake: a limit or an argument. Nothing was written, and the same call
    /// will never succeed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The log no longer has the event after which the read should begin: it was replaced,
    /// truncated, or restored from an older copy. Nothing was read or written.
    #[error(
        "the log {log:?} has diverged: {checkpoint} was read from it, but {}; it was cut, \
         replaced, or restored from an older copy since",
        found_there(checkpoint, found)
    )]
    Diverged {
        /// Name of the log.
        log: Arc<str>,
        /// The checkpoint that was read earlier.
        checkpoint: Checkpoint,
        /// The event now at that position or at that version of the stream; none if the log or the
        /// stream ends before it.
        found: Option<Checkpoint>,
    },
    /// The name now refers to a log other than the one that the recorder opened, or to none.
    /// Nothing was read or written, and this recorder never serves another log.
    #[error(
        "the log {log:?} has been replaced: it had the id {expected}, and now {}; restore the \
         right copy, or open the log again if this is the right one",
        found_log(expected, found)
    )]
    Replaced {
        /// Name of the log.
        log: Arc<str>,
        /// Id of the log that the recorder opened.
        expected: LogId,
        /// Id of the log that now has this name; none if there is none.
        found: Option<LogId>,
    },
}

/// Describes the event found in place of a checkpoint, for messages.
pub(crate) fn found_there(checkpoint: &Checkpoint, found: &Option<Checkpoint>) -> String {
    match found {
        Some(found) if found == checkpoint => "the log of that name has another id now".into(),
        Some(found) if found.position == checkpoint.position => {
            format!("the event there is {}", found.event_id)
        }
        Some(found) => format!("the event of that version is {found}"),
        None => "it ends before that".into(),
    }
}

/// Describes which log a name refers to, for messages.
pub(crate) fn found_log(expected: &LogId, found: &Option<LogId>) -> String {
    match found {
        Some(found) if found == expected => "another log has replaced it in the store".into(),
        Some(found) => format!("has {found}"),
        None => "there is no log of this name".into(),
    }
}

impl RecordError {
    /// Creates [`Self::Unavailable`] from a driver's error.
    pub fn unavailable(
        what: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self::Unavailable(Failure::new(what, source))
    }

    /// Creates [`Self::OutcomeUnknown`] from a driver's error.
    pub fn outcome_unknown(
        what: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self::OutcomeUnknown(Failure::new(what, source))
    }

    /// Checks that `found` is the checkpoint that was read earlier.
    ///
    /// # Errors
    ///
    /// [`Self::Diverged`] if it is not.
    pub fn check_checkpoint(
        log: &str,
        checkpoint: Checkpoint,
        found: Option<Checkpoint>,
    ) -> Result<(), Self> {
        match found == Some(checkpoint) {
            true => Ok(()),
            false => Err(Self::Diverged {
                log: log.into(),
                checkpoint,
                found,
            }),
        }
    }

    /// Creates [`Self::Invalid`] with this reason.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid(Invalid::new(reason.into()))
    }
}

/// The reason why the log does not meet an append's conditions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// A processed range does not begin where the previous one of its follower and upstream ended.
    #[error(
        "the processed range of {follower} over the log {upstream} does not begin at its \
         checkpoint, {}",
        or_none(checkpoint)
    )]
    Checkpoint {
        /// The follower of the processed range.
        follower: FollowerKey,
        /// The log that the processed range covers.
        upstream: LogId,
        /// The end of the last recorded processed range of this follower over this log; none if
        /// there is none. Processed ranges of the refused append do not count: a follower that
        /// continues from here misses nothing.
        checkpoint: Option<Checkpoint>,
    },
    /// The log has an event with this id, recorded by an append with other ids.
    #[error("an event with the id {id} is already in the log, at position {position}")]
    EventId {
        /// The id.
        id: EventId,
        /// Its position.
        position: Position,
    },
    /// A stream is not in the expected state.
    #[error(
        "the stream {stream:?} was expected to have {expected} but has {}",
        version_there(actual, other)
    )]
    Stream {
        /// Name of the stream.
        stream: Arc<str>,
        /// The expected state.
        expected: ExpectedVersion,
        /// The stream's version; none if it has no events.
        actual: Option<Version>,
        /// The stream's last event, if it has the expected version but is not the event that the
        /// condition names. The log has then been restored from an older copy.
        other: Option<EventId>,
    },
    /// An event matches a query that must not match.
    #[error(
        "condition {condition} requires that no event matches its query, but one does: {found}"
    )]
    Query {
        /// The index of the condition in the append, counted from 0.
        condition: usize,
        /// The first event after the condition's position that matches.
        found: Checkpoint,
    },
    /// The log has more or fewer topics than a condition requires.
    #[error("the log was expected to have {expected} topics but has {actual}")]
    Topics {
        /// The expected number of topics.
        expected: u64,
        /// The actual number of topics.
        actual: u64,
    },
    /// A stream was deleted and takes no events until it is reopened.
    #[error(
        "the stream {stream:?} was deleted, by {record}; it takes no events until it is reopened"
    )]
    Deleted {
        /// Name of the stream.
        stream: Arc<str>,
        /// The event that deleted it.
        record: Checkpoint,
    },
    /// An amendment does not hold.
    #[error("amendment {amendment} is not made: {reason}")]
    Amendment {
        /// The index of the amendment in the append, counted from 0.
        amendment: usize,
        /// The reason.
        reason: AmendmentConflict,
    },
}

impl Conflict {
    /// For stores: returns the conflict of a condition that a stream is at a version and, if an
    /// event is named, that this event has that version; none if the condition holds. `last`
    /// returns the id of the stream's last event.
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

fn or_none(checkpoint: &Option<Checkpoint>) -> String {
    checkpoint.map_or_else(
        || "which does not exist yet".into(),
        |checkpoint| format!("which is at {checkpoint}"),
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
