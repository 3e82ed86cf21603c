//! Publishing in process: whoever subscribed hears of every commit of an application's handle.

use std::sync::OnceLock;

use tokio::sync::broadcast;

use super::limits::COMMITS_KEPT;
use crate::recording::append::{Append, Positions};

/// An append that this application has just recorded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Committed {
    /// What was recorded.
    pub append: Append,
    /// Where its events are.
    pub positions: Positions,
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
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Committed> {
        self.sender
            .get_or_init(|| broadcast::channel(COMMITS_KEPT).0)
            .subscribe()
    }
}
