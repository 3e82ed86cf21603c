//! The goal of a wait: which progress of a running system a caller waits for.

use std::sync::Arc;

use super::follower_path::FollowerPath;
use crate::recording::Position;

/// What [`Runner::wait`](super::Runner::wait) waits for. Each goal concerns the events of one log
/// up to and including a position: the position that a command returned, or the end of the log.
///
/// ```
/// use retold::recording::Position;
/// use retold::system::{FollowerPath, Goal};
///
/// let position = Position::FIRST;
/// let everything = Goal::caused_by("orders", position);
/// let followers = Goal::processed("orders", position);
/// let reservations = FollowerPath::new("stock", "reservations");
/// let one_of_them = Goal::processed_by(reservations, "orders", position);
/// let a_view = Goal::shown_by("bestsellers", position);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "every runner must be able to wait for every goal"
)]
pub enum Goal {
    /// All followers of the log have processed it; see [`processed`](Self::processed).
    Processed {
        /// The name of the application that owns the log.
        application: Arc<str>,
        /// The position in that log.
        position: Position,
    },
    /// One follower has processed the log; see [`processed_by`](Self::processed_by).
    ProcessedBy {
        /// The follower.
        follower: FollowerPath,
        /// The name of the application that owns the log, which the follower follows.
        upstream: Arc<str>,
        /// The position in that log.
        position: Position,
    },
    /// A view shows the log; see [`shown_by`](Self::shown_by).
    ShownBy {
        /// The name of the view's projection.
        view: Arc<str>,
        /// The position in the log that the projection folds.
        position: Position,
    },
    /// All effects are processed; see [`caused_by`](Self::caused_by).
    CausedBy {
        /// The name of the application that owns the log.
        application: Arc<str>,
        /// The position in that log.
        position: Position,
    },
}

impl Goal {
    /// All followers of this application's log have processed it up to and including this
    /// position, and have recorded that. A parked event counts as processed.
    pub fn processed(application: impl Into<Arc<str>>, position: Position) -> Self {
        Self::Processed {
            application: application.into(),
            position,
        }
    }

    /// One follower has processed the log of `upstream` up to and including this position, and has
    /// recorded that. A parked event counts as processed.
    pub fn processed_by(
        follower: FollowerPath,
        upstream: impl Into<Arc<str>>,
        position: Position,
    ) -> Self {
        Self::ProcessedBy {
            follower,
            upstream: upstream.into(),
            position,
        }
    }

    /// Readers of the view with this name see the event at this position of the log that the view
    /// is made from.
    pub fn shown_by(view: impl Into<Arc<str>>, position: Position) -> Self {
        Self::ShownBy {
            view: view.into(),
            position,
        }
    }

    /// Everything is processed that was caused by the events of this application's log up to and
    /// including this position, through all downstream followers and around all cycles. Effects of
    /// timers that come due later do not belong to the goal.
    ///
    /// A wait for it may take longer than necessary: until everything is processed that the
    /// downstream logs contained when the search for effects reached them.
    pub fn caused_by(application: impl Into<Arc<str>>, position: Position) -> Self {
        Self::CausedBy {
            application: application.into(),
            position,
        }
    }
}
