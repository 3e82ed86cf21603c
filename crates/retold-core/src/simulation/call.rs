//! Calls and what they came to, in short: kept for every step, turned into text only when asked for.

use std::fmt;
use std::sync::Arc;

use crate::domain::Timestamp;
use crate::recording::{Append, Appended, Conflict, Position, RecordError};

/// A call of a recorder or store, without what would be costly to keep.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Append {
        events: usize,
        conditions: usize,
        stretches: usize,
        /// Stream of the first event.
        stream: Option<Arc<str>>,
    },
    ReadLog {
        after: u64,
    },
    ReadStream {
        stream: Arc<str>,
        after: u64,
    },
    ChangedSince {
        append_count: u64,
    },
    /// No call of a recorder: the wait for an instant.
    WaitUntil {
        time: Timestamp,
    },
    /// One of which the name says enough.
    Other(&'static str),
}

impl Call {
    pub(crate) fn append(append: &Append) -> Self {
        let events = append.new_events();
        Self::Append {
            events: events.len(),
            conditions: append.all_conditions().len(),
            stretches: append.stretches().len(),
            stream: events.first().and_then(|event| event.stream.clone()),
        }
    }

    pub(crate) fn is_append(&self) -> bool {
        matches!(self, Self::Append { .. })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append {
                events,
                conditions,
                stretches,
                stream,
            } => {
                write!(f, "append {events} events")?;
                if let Some(stream) = stream {
                    write!(f, " to {stream}")?;
                }
                if *conditions > 0 {
                    write!(f, ", {conditions} conditions")?;
                }
                if *stretches > 0 {
                    write!(f, ", {stretches} stretches")?;
                }
                Ok(())
            }
            Self::ReadLog { after } => write!(f, "read_log after {after}"),
            Self::ReadStream { stream, after } => write!(f, "read_stream {stream} after {after}"),
            Self::ChangedSince { append_count } => write!(f, "changed_since {append_count}"),
            Self::WaitUntil { time } => write!(f, "wait until {time}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// What a call came to, in the store; the caller may have been told something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// It was not carried out.
    NotCarriedOut,
    /// It was answered with so many of what was asked for, or with this number.
    Answered(u64),
    /// It was answered, and the answer is no number.
    Done,
    /// From this position on.
    Recorded(u64),
    /// From this position on, before.
    Repeated(u64),
    /// Refused, for this reason.
    Refused(&'static str),
    /// The store did not answer at once, which it must.
    Pending,
}

impl Outcome {
    /// Of a call that gives so many.
    pub(crate) fn counted<T>(found: &[T]) -> Self {
        Self::Answered(found.len() as u64)
    }

    /// Of a call that only does something.
    pub(crate) fn done<T>(_: &T) -> Self {
        Self::Done
    }

    pub(crate) fn appended(appended: &Appended) -> Self {
        match appended {
            Appended::Recorded(positions) => Self::Recorded(Position::number(positions.first())),
            Appended::Repeated(positions) => Self::Repeated(Position::number(positions.first())),
        }
    }

    pub(crate) fn refused(error: &RecordError) -> Self {
        Self::Refused(match error {
            RecordError::Conflict(Conflict::Checkpoint { .. }) => "conflict of a checkpoint",
            RecordError::Conflict(Conflict::EventId { .. }) => "conflict of an event id",
            RecordError::Conflict(Conflict::Stream { .. }) => "conflict of a stream",
            RecordError::Conflict(Conflict::Query { .. }) => "conflict of a query",
            RecordError::Conflict(Conflict::Topics { .. }) => "conflict of topics",
            RecordError::Unavailable(_) => "unavailable",
            RecordError::OutcomeUnknown(_) => "unknown",
            RecordError::Corrupt(_) => "corrupt",
            RecordError::Invalid(_) => "invalid",
            RecordError::Diverged { .. } => "diverged",
            RecordError::Replaced { .. } => "replaced",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCarriedOut => f.write_str("not carried out"),
            Self::Answered(number) => write!(f, "{number}"),
            Self::Done => f.write_str("done"),
            Self::Recorded(position) => write!(f, "recorded from {position} on"),
            Self::Repeated(position) => write!(f, "repeats {position}"),
            Self::Refused(reason) => f.write_str(reason),
            Self::Pending => f.write_str("no answer at once"),
        }
    }
}
