//! The result of a command.

use std::sync::Arc;

use crate::recording::{Checkpoint, Position, Positions, Version};

/// The result of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// Name of the aggregate's stream; `None` for a decision that was not about one aggregate.
    pub stream: Option<Arc<str>>,
    /// Version of the aggregate after the command; `None` if it has no events, or for a decision
    /// that was not about one aggregate.
    pub version: Option<Version>,
    /// Positions of the command's events; empty if it decided on none.
    pub positions: Positions,
    /// The checkpoint of the last of its events. A view of this log that has reached its position
    /// contains all of them. `None` if it decided on no events.
    pub checkpoint: Option<Checkpoint>,
    /// How its events were recorded.
    pub outcome: Outcome,
}

impl Recorded {
    /// The result of a decision without events.
    pub(super) fn nothing(stream: Option<Arc<str>>, version: Option<Version>) -> Self {
        Self {
            stream,
            version,
            positions: Positions::NONE,
            checkpoint: None,
            outcome: Outcome::Nothing,
        }
    }

    /// Returns the position of the last of its events, if it has any.
    pub fn position(&self) -> Option<Position> {
        self.positions.last()
    }

    /// Returns whether an earlier request with the same command id had already recorded the events.
    pub fn is_repeated(&self) -> bool {
        self.outcome == Outcome::Repeated
    }
}

/// How a command's events were recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no fourth")]
pub enum Outcome {
    /// They were recorded now.
    Recorded,
    /// They were already in the log: a request with the same command id had been executed. Nothing
    /// was recorded now, and the result describes the earlier decision.
    Repeated,
    /// The command decided on no events.
    Nothing,
}
