//! What a command came to.

use std::sync::Arc;

use crate::recording::{Mark, Position, Positions, Version};

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// Name of the aggregate's stream; none for a decision that was not about one aggregate.
    pub stream: Option<Arc<str>>,
    /// Version of the aggregate after it; none if it has no events, or for a decision that was not
    /// about one aggregate.
    pub version: Option<Version>,
    /// Where its events are; empty if it decided on none.
    pub positions: Positions,
    /// The last of its events: a token for reading one's own writes, from this log or from a view of
    /// it. None if it decided on none.
    pub mark: Option<Mark>,
    /// How it came to be in the log.
    pub outcome: Outcome,
}

impl Recorded {
    /// Of a decision that came to no events.
    pub(super) fn nothing(stream: Option<Arc<str>>, version: Option<Version>) -> Self {
        Self {
            stream,
            version,
            positions: Positions::NONE,
            mark: None,
            outcome: Outcome::Nothing,
        }
    }

    /// Position of the last of its events, if it has any.
    pub fn position(&self) -> Option<Position> {
        self.positions.last()
    }

    /// Whether the command's events were recorded before, by an earlier request of the same id.
    pub fn is_repeated(&self) -> bool {
        self.outcome == Outcome::Repeated
    }
}

/// How a command's events came to be in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no fourth")]
pub enum Outcome {
    /// They were recorded now.
    Recorded,
    /// They were there already: a request of the same command id had been executed. Nothing was
    /// recorded now, and what is there is what was decided then.
    Repeated,
    /// It decided on none.
    Nothing,
}
