//! Publishing in process: whoever subscribed hears of every commit of an application's handle.
//!
//! After the recorder has answered that an append is durable, and never before, the application tells
//! its subscribers. Telling never waits for them: each has a bounded queue, and one that is slow is
//! told how many commits it missed. The log has them.

use std::sync::OnceLock;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::error::Result;
use super::limits::COMMITS_KEPT;
use crate::domain::Event;
use crate::mapping::Mapper;
use crate::recording::{Append, Mark, NewEvent, Position, Positions};

/// An append that this application has just recorded. A clone costs next to nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Committed {
    /// What was recorded.
    pub append: Append,
    /// Where its events are.
    pub positions: Positions,
    mapper: Mapper,
}

impl Committed {
    /// Its events in order, each with its position.
    pub fn events(&self) -> impl Iterator<Item = (Position, &NewEvent)> {
        self.positions.iter().zip(self.append.new_events())
    }

    /// Its events of type `E` in order, decoded, each with its position.
    pub fn events_of<E: Event>(&self) -> impl Iterator<Item = Result<(Position, E)>> {
        let is_of_type = |(_, event): &(_, &NewEvent)| E::index_of_topic(&event.topic).is_some();
        self.events()
            .filter(is_of_type)
            .map(|(position, event)| Ok((position, self.mapper.decode_new(event, position)?)))
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
    sender: OnceLock<broadcast::Sender<(Append, Positions)>>,
}

impl Bus {
    /// Tells whoever subscribed.
    pub(crate) fn publish(&self, append: &Append, positions: Positions) {
        if let Some(sender) = self.sender.get() {
            // An error says that nobody listens any more, which is no failure of a commit.
            let _ = sender.send((append.clone(), positions));
        }
    }

    /// Commits from now on, whose events this mapper reads.
    pub(crate) fn subscribe(&self, mapper: Mapper) -> Commits {
        let sender = self
            .sender
            .get_or_init(|| broadcast::channel(COMMITS_KEPT).0);
        Commits {
            receiver: sender.subscribe(),
            mapper,
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
    receiver: broadcast::Receiver<(Append, Positions)>,
    mapper: Mapper,
}

/// A subscriber was too slow: so many messages were not told to it. What was recorded is in the log,
/// and can be read from there after the position of the last that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the subscriber was too slow and missed {count} messages; the log has what was recorded")]
#[non_exhaustive]
pub struct Missed {
    /// How many messages were missed: commits of an application, publications on a bus.
    pub count: u64,
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
            Ok(told) => Ok(Some(self.committed(told))),
            Err(RecvError::Closed) => Ok(None),
            Err(RecvError::Lagged(count)) => Err(Missed { count }),
        }
    }

    /// The next commit, if one has been told already; else none.
    ///
    /// # Errors
    ///
    /// As for [`next`](Self::next).
    pub fn next_told(&mut self) -> Result<Option<Committed>, Missed> {
        match self.receiver.try_recv() {
            Ok(told) => Ok(Some(self.committed(told))),
            Err(TryRecvError::Empty | TryRecvError::Closed) => Ok(None),
            Err(TryRecvError::Lagged(count)) => Err(Missed { count }),
        }
    }

    fn committed(&self, (append, positions): (Append, Positions)) -> Committed {
        Committed {
            append,
            positions,
            mapper: self.mapper,
        }
    }
}
