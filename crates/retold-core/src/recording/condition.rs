//! Conditions that must hold for an append to be recorded.

use std::fmt;
use std::sync::Arc;

use super::fault::Invalid;
use super::identity::{EventId, Position, Version};
use super::limits::check_name;
use super::query::Query;

/// The state in which an append expects a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    clippy::exhaustive_enums,
    reason = "there is no fourth variant: none, some, this one"
)]
pub enum ExpectedVersion {
    /// The stream has no events.
    None,
    /// The stream has at least one event.
    Exists,
    /// The stream's last event has this version.
    At(Version),
}

impl ExpectedVersion {
    /// Returns the expectation of a caller that read the stream at `version`.
    pub fn seen(version: Option<Version>) -> Self {
        version.map_or(Self::None, Self::At)
    }

    /// Returns whether a stream at `actual` meets the expectation.
    pub fn holds(self, actual: Option<Version>) -> bool {
        match self {
            Self::None => actual.is_none(),
            Self::Exists => actual.is_some(),
            Self::At(version) => actual == Some(version),
        }
    }
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no events"),
            Self::Exists => f.write_str("events"),
            Self::At(version) => write!(f, "version {version}"),
        }
    }
}

/// A requirement that the log must meet just before an append, or the append is not recorded.
///
/// A condition may name a stream that the append does not write: a decision can depend on a stream
/// that it only read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Condition {
    /// The stream is in the expected state.
    StreamAt {
        /// Name of the stream.
        stream: Arc<str>,
        /// The expected state.
        expected: ExpectedVersion,
        /// The id of the event that must have that version; only with [`ExpectedVersion::At`].
        event: Option<EventId>,
    },
    /// No event after a position matches a query.
    NoneMatch {
        /// The query that must not match.
        query: Query,
        /// Only events after this position count; without it, all events count.
        after: Option<Position>,
    },
    /// The log has this number of topics. A reader by topic uses this condition to require that no
    /// unknown topic has appeared since it read.
    TopicCount {
        /// The number of distinct topics that the events of the log have.
        count: u64,
    },
}

impl Condition {
    /// Requires that the stream is in the expected state.
    pub fn stream_at(stream: impl Into<Arc<str>>, expected: ExpectedVersion) -> Self {
        Self::StreamAt {
            stream: stream.into(),
            expected,
            event: None,
        }
    }

    /// Requires that the stream is as it was read: its last event has this version and, if an id is
    /// given, this id. Without a version, the stream must have no events.
    ///
    /// A version alone does not prove the history: a log that was restored from an older copy may
    /// have other events at the same versions.
    pub fn stream_read(
        stream: impl Into<Arc<str>>,
        version: Option<Version>,
        event: Option<EventId>,
    ) -> Self {
        Self::StreamAt {
            stream: stream.into(),
            expected: ExpectedVersion::seen(version),
            event: event.filter(|_| version.is_some()),
        }
    }

    /// Requires that no event of the log matches.
    pub fn none_match(query: Query) -> Self {
        Self::NoneMatch { query, after: None }
    }

    /// Requires that no event after this position matches; with none, that no event matches at all.
    ///
    /// The correct position is `read_to` of the read's last page. A position beyond the head is
    /// `Invalid`.
    pub fn none_match_after(query: Query, after: Option<Position>) -> Self {
        Self::NoneMatch { query, after }
    }

    /// Requires that the log has this number of topics, as counted by a
    /// [`Page`](super::recorder::Page) of a read.
    pub fn topic_count(count: u64) -> Self {
        Self::TopicCount { count }
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::StreamAt {
                stream,
                expected,
                event,
            } => {
                check_name("stream name", stream)?;
                match (expected, event) {
                    (ExpectedVersion::At(_), _) | (_, None) => Ok(()),
                    (_, Some(event)) => Err(Invalid::new(format!(
                        "a condition on the stream {stream:?} names the event {event}, but no \
                         version that the event must have"
                    ))),
                }
            }
            Self::NoneMatch { query, .. } => query.check(),
            Self::TopicCount { .. } => Ok(()),
        }
    }
}
