//! Processed ranges: ranges of another log that a follower has processed, recorded with their
//! effects.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fault::Invalid;
use super::identity::{Checkpoint, LogId, Position};
use super::limits::check_name;

/// Identifies a follower with its generation and partition: `NAME@generation[/partition]`.
///
/// The recorder only compares keys and does not interpret them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FollowerKey(Arc<str>);

impl FollowerKey {
    /// Creates a key with this text, which is checked when the key is used.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the text of the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FollowerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A range of an upstream log that a follower has processed, recorded in the same append as its
/// effects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ProcessedRange {
    /// The follower that processed it.
    pub follower: FollowerKey,
    /// The log that was processed.
    pub upstream: LogId,
    /// The range begins just after this position, or with the first event.
    pub after: Option<Position>,
    /// The last event of the range.
    pub to: Checkpoint,
    /// The policy version of the follower's policies.
    pub policy_version: u32,
}

impl ProcessedRange {
    /// Creates the range of `upstream` after `after`, up to and including `to`, of policy version
    /// 1.
    pub fn new(
        follower: FollowerKey,
        upstream: LogId,
        after: Option<Position>,
        to: Checkpoint,
    ) -> Self {
        Self {
            follower,
            upstream,
            after,
            to,
            policy_version: 1,
        }
    }

    /// Sets the policy version of the follower's policies.
    #[must_use]
    pub fn policy_version(mut self, policy_version: u32) -> Self {
        self.policy_version = policy_version;
        self
    }

    /// Checks what does not depend on the log: that the key is valid, and that the range ends after
    /// its beginning.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        check_name("follower key", self.follower.as_str())?;
        if self.after >= Some(self.to.position) {
            return Err(Invalid::new(format!(
                "a processed range of {} ends at {} but begins after {}",
                self.follower,
                self.to.position,
                Position::number(self.after),
            )));
        }
        Ok(())
    }
}

/// A processed range as the log keeps it: the range, and the log's head before the append that
/// recorded it.
///
/// Two neighbors in the history of one follower key and upstream are merged if their policy
/// versions and heads are equal and neither append had events. The history therefore grows with the
/// number of effects, not with the number of upstream events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecordedRange {
    /// Its ordinal among all processed ranges of the log, counted from 1. Merging leaves no gaps:
    /// the earlier neighbor keeps its ordinal and is extended.
    pub ordinal: u64,
    /// The range that was processed.
    pub range: ProcessedRange,
    /// The head of the log that recorded it, before that append; none if the log was empty.
    pub head: Option<Position>,
}

impl RecordedRange {
    /// For stores: builds a recorded processed range from stored data.
    pub fn new(ordinal: u64, range: ProcessedRange, head: Option<Position>) -> Self {
        Self {
            ordinal,
            range,
            head,
        }
    }
}
