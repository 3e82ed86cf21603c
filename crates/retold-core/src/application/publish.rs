//! Publishing in process: whoever subscribed hears of every commit of an application's handle.
//!
//! After the recorder has answered that an append is durable, and never before, the application tells
//! its subscribers. Telling never waits for them: each has a bounded queue, and one that is slow is
//! told how many commits it missed. The log has them.

use std::sync::OnceLock;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::limits::COMMITS_KEPT;
use crate::recording::append::{Append, Positions};
use crate::recording::identity::{Mark, Position};
use crate::recording::new_event::NewEvent;

/// An append that this application has just recorded. A clone costs next to nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Committed {
    /// What was recorded.
    pub append: Append,
    /// Where its events are.
    pub positions: Positions,
}

impl Committed {
    /// Its events in order, each with its position.
    pub fn events(&self) -> impl Iterator<Item = (Position, &NewEvent)> {
        self.positions.iter().zip(self.append.new_events())
    }

    /// Its last event; none if it had stretches only.
    pub fn mark(&self) -> Option<Mark> {
        let (position, event) = self.positions.last().zip(self.append.new_events().last())?;
        Some(Mark {
            position,
            event_id: event.id,
        })
    }
}

/// Tells subscribers in this process what was committed. Costs nothing until somebody subscribes.
///
/// Commits of concurrent commands are told in any order, and only those made through this
/// application: the log alone tells everything, in order.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    sender: OnceLock<broadcast::Sender<Committed>>,
}

impl Bus {
    /// Tells whoever subscribed.
    pub(crate) fn publish(&self, append: &Append, positions: Positions) {
        if let Some(sender) = self.sender.get() {
            // An error says that nobody listens any more, which is no failure of a commit.
            let _ = sender.send(Committed {
                append: append.clone(),
                positions,
            });
        }
    }

    /// Commits from now on.
    pub(crate) fn subscribe(&self) -> Commits {
        let sender = self
            .sender
            .get_or_init(|| broadcast::channel(COMMITS_KEPT).0);
        Commits {
            receiver: sender.subscribe(),
        }
    }
}

/// What an application commits from now on, as it tells subscribers in its process.
///
/// A commit is told when it is durable. Commits of concurrent commands are told in any order, and only
/// those made through this application's handles: whoever must hear of everything, in order, also of
/// what other processes record, subscribes to the log instead.
///
/// Of a subscriber that is slow the last [`COMMITS_KEPT`] commits are kept, and it is told how many it
/// [`Missed`]; nobody waits for it.
#[derive(Debug)]
pub struct Commits {
    receiver: broadcast::Receiver<Committed>,
}

/// A subscriber was too slow: these commits were not told to it. They are in the log, which can be
/// read from the position of the last that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the subscriber was too slow and missed {commits} commits; read them from the log")]
#[non_exhaustive]
pub struct Missed {
    /// How many commits were missed.
    pub commits: u64,
}

impl Commits {
    /// The next commit; waits for it as long as it takes. None once the application is closed: all its
    /// handles are dropped.
    ///
    /// May be dropped while it waits; nothing is lost by it.
    ///
    /// # Errors
    ///
    /// [`Missed`], once for each time the subscriber fell behind; the next call goes on with the oldest
    /// commit that is kept.
    pub async fn next(&mut self) -> Result<Option<Committed>, Missed> {
        match self.receiver.recv().await {
            Ok(committed) => Ok(Some(committed)),
            Err(RecvError::Closed) => Ok(None),
            Err(RecvError::Lagged(commits)) => Err(Missed { commits }),
        }
    }

    /// The next commit, if one has been told already; else none.
    ///
    /// # Errors
    ///
    /// As for [`next`](Self::next).
    pub fn next_told(&mut self) -> Result<Option<Committed>, Missed> {
        match self.receiver.try_recv() {
            Ok(committed) => Ok(Some(committed)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => Ok(None),
            Err(TryRecvError::Lagged(commits)) => Err(Missed { commits }),
        }
    }
}
