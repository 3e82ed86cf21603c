//! Stretches: how far a follower has processed another log, recorded with what it caused.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fault::Invalid;
use super::identity::{LogId, Mark, Position};
use super::limits::check_name;

/// Names a follower with its generation and partition: `NAME@generation[/partition]`.
///
/// The recorder compares it and gives it no meaning.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FollowerKey(Arc<str>);

impl FollowerKey {
    /// The key of this text; checked when it is used.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text of the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FollowerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A piece of an upstream log that a follower has processed, to be recorded in the same append as
/// its effects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Stretch {
    /// Whose it is.
    pub follower: FollowerKey,
    /// The log that was processed.
    pub upstream: LogId,
    /// Where the piece begins: just after this position, or with the first event.
    pub after: Option<Position>,
    /// The last event of the piece.
    pub to: Mark,
    /// The edition of the follower's policies.
    pub edition: u32,
}

impl Stretch {
    /// The piece of `upstream` after `after`, up to and with `to`, of edition 1.
    pub fn new(follower: FollowerKey, upstream: LogId, after: Option<Position>, to: Mark) -> Self {
        Self {
            follower,
            upstream,
            after,
            to,
            edition: 1,
        }
    }

    /// With this edition of the follower's policies.
    #[must_use]
    pub fn edition(mut self, edition: u32) -> Self {
        self.edition = edition;
        self
    }

    /// Checks what needs no look at the log: a proper key, and an end after its beginning.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        check_name("follower key", self.follower.as_str())?;
        if self.after >= Some(self.to.position) {
            return Err(Invalid::new(format!(
                "a stretch of {} ends at {} but begins after {}",
                self.follower,
                self.to.position,
                Position::number(self.after),
            )));
        }
        Ok(())
    }
}

/// A stretch as the log keeps it: which piece, and the log's head before the append that recorded it.
///
/// Neighbours in the history of one follower key and upstream are merged if edition and head are
/// equal and neither append had events, so that the history grows with effects, not with upstreams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecordedStretch {
    /// Its place in the order of all stretches of the log, counted from 1; merging leaves gaps
    /// nowhere: the earlier neighbour keeps its place and grows.
    pub ordinal: u64,
    /// The piece that was processed.
    pub stretch: Stretch,
    /// The head of the log that recorded it, before that append; none if it was empty.
    pub head: Option<Position>,
}

impl RecordedStretch {
    /// For stores: what they keep, put together again.
    pub fn new(ordinal: u64, stretch: Stretch, head: Option<Position>) -> Self {
        Self {
            ordinal,
            stretch,
            head,
        }
    }
}
