//! Calls and their outcomes, in short: kept for every step, converted to text only on request.

use std::fmt;
use std::sync::Arc;

use crate::domain::Timestamp;
use crate::recording::{Append, Appended, Conflict, Position, RecordError};

/// A call of a recorder or store, without the parts that would be costly to keep.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Append {
        events: usize,
        conditions: usize,
        ranges: usize,
        amendments: usize,
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
    /// A wait for an instant, which is not a call of a recorder.
    WaitUntil {
        time: Timestamp,
    },
    /// A call that needs only its name.
    Other(&'static str),
}

impl Call {
    pub(crate) fn append(append: &Append) -> Self {
        let events = append.new_events();
        Self::Append {
            events: events.len(),
            conditions: append.all_conditions().len(),
            ranges: append.processed_ranges().len(),
            amendments: append.amendments().len(),
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
                ranges,
                amendments,
                stream,
            } => {
                write!(f, "append {events} events")?;
                if let Some(stream) = stream {
                    write!(f, " to {stream}")?;
                }
                if *conditions > 0 {
                    write!(f, ", {conditions} conditions")?;
                }
                if *ranges > 0 {
                    write!(f, ", {ranges} processed ranges")?;
                }
                if *amendments > 0 {
                    write!(f, ", {amendments} amendments")?;
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

/// The outcome of a call in the store; the caller may have received a different one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CallOutcome {
    /// It was not carried out.
    NotCarriedOut,
    /// It returned this many results, or this number.
    Answered(u64),
    /// It returned something other than a number.
    Done,
    /// Recorded, starting at this position.
    Recorded(u64),
    /// Recorded earlier, starting at this position.
    Repeated(u64),
    /// Refused, for this reason.
    Refused(&'static str),
    /// The store did not return at once, as it must.
    Pending,
}

impl CallOutcome {
    /// For a call that returns several results.
    pub(crate) fn counted<T>(found: &[T]) -> Self {
        Self::Answered(found.len() as u64)
    }

    /// For a call that returns no result.
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
            RecordError::Conflict(Conflict::Deleted { .. }) => "deleted stream",
            RecordError::Conflict(Conflict::Amendment { .. }) => "conflict of an amendment",
            RecordError::Unavailable(_) => "unavailable",
            RecordError::OutcomeUnknown(_) => "unknown",
            RecordError::Corrupt(_) => "corrupt",
            RecordError::Invalid(_) => "invalid",
            RecordError::Diverged { .. } => "diverged",
            RecordError::Replaced { .. } => "replaced",
        })
    }
}

impl fmt::Display for CallOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCarriedOut => f.write_str("not carried out"),
            Self::Answered(number) => write!(f, "{number}"),
            Self::Done => f.write_str("done"),
            Self::Recorded(position) => write!(f, "recorded from {position} on"),
            Self::Repeated(position) => write!(f, "repeats {position}"),
            Self::Refused(reason) => f.write_str(reason),
            Self::Pending => f.write_str("not completed at once"),
        }
    }
}
