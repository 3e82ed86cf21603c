//! Publishing in process: subscribers receive every commit made through an application's handles.
//!
//! The application notifies its subscribers only after the recorder has confirmed that an append is
//! durable. It never waits for them: each has a bounded queue, and a slow subscriber learns how
//! many commits it missed. The log has them.

use std::sync::OnceLock;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::error::Result;
use super::limits::COMMITS_KEPT;
use crate::domain::{Decoded, Event};
use crate::mapping::Mapper;
use crate::recording::{Append, Checkpoint, NewEvent, Position, Positions};

/// An append that this application has just recorded. Cloning is cheap.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Committed {
    /// What was recorded.
    pub append: Append,
    /// The positions of its events.
    pub positions: Positions,
    mapper: Mapper,
}

impl Committed {
    /// Returns its events in order, each with its position.
    pub fn events(&self) -> impl Iterator<Item = (Position, &NewEvent)> {
        self.positions.iter().zip(self.append.new_events())
    }

    /// Returns its events of type `E` in order, decoded, each with its position.
    pub fn events_of<E: Event>(&self) -> impl Iterator<Item = Result<(Position, E)>> {
        let is_of_type = |(_, event): &(_, &NewEvent)| E::index_of_topic(&event.topic).is_some();
        let read = |(position, event): (Position, &NewEvent)| match self
            .mapper
            .read_new::<E>(event, position)
        {
            Ok(events) => events.map(|event| Ok((position, event))),
            Err(error) => Decoded::One(Err(error.into())),
        };
        self.events().filter(is_of_type).flat_map(read)
    }

    /// Returns the checkpoint of its last event; `None` if it has only processed ranges.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let (position, event) = self.positions.last().zip(self.append.new_events().last())?;
        Some(Checkpoint {
            position,
            event_id: event.id,
        })
    }
}

/// Notifies subscribers in this process of commits. Costs nothing until the first subscription.
///
/// Commits of concurrent commands arrive in any order, and only those made through this
/// application: only the log is complete and ordered.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    sender: OnceLock<broadcast::Sender<(Append, Positions)>>,
}

impl Bus {
    /// Notifies the subscribers.
    pub(crate) fn publish(&self, append: &Append, positions: Positions) {
        if let Some(sender) = self.sender.get() {
            // An error means that there are no subscribers left, which does not fail a commit.
            let _ = sender.send((append.clone(), positions));
        }
    }

    /// The commits from now on, with events decoded by this mapper.
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

/// A subscription to the commits of an application, from now on, within its process.
///
/// A commit is published when it is durable. Only commits made through this application's handles
/// arrive, and those of concurrent commands in any order. To receive everything in order, including
/// what other processes record, subscribe to the log instead.
///
/// For a slow subscriber the last [`COMMITS_KEPT`] commits are kept, and [`Missed`] reports how
/// many were lost to it; publishing never waits for a subscriber.
#[derive(Debug)]
pub struct Commits {
    receiver: broadcast::Receiver<(Append, Positions)>,
    mapper: Mapper,
}

/// A subscriber was too slow and missed `count` messages. What was recorded is in the log. Commits
/// can arrive out of order, so reading after the position of the last one received can omit some;
/// if you need every event, [subscribe](super::Selection::subscribe) to the log instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the subscriber was too slow and missed {count} messages; the log has what was recorded")]
#[non_exhaustive]
pub struct Missed {
    /// How many messages were missed: commits of an application, or publications on a bus.
    pub count: u64,
}

impl Commits {
    /// Waits for the next commit. Returns `None` once the application is closed, that is, all its
    /// handles are dropped.
    ///
    /// Can be dropped while it waits without losing a commit.
    ///
    /// # Errors
    ///
    /// [`Missed`], once each time the subscriber has fallen behind; the next call continues with
    /// the oldest commit that is kept.
    pub async fn next(&mut self) -> Result<Option<Committed>, Missed> {
        match self.receiver.recv().await {
            Ok(reported) => Ok(Some(self.committed(reported))),
            Err(RecvError::Closed) => Ok(None),
            Err(RecvError::Lagged(count)) => Err(Missed { count }),
        }
    }

    /// Returns the next commit if one has already arrived; otherwise `None`.
    ///
    /// # Errors
    ///
    /// As for [`next`](Self::next).
    pub fn next_reported(&mut self) -> Result<Option<Committed>, Missed> {
        match self.receiver.try_recv() {
            Ok(reported) => Ok(Some(self.committed(reported))),
            Err(TryRecvError::Empty | TryRecvError::Closed) => Ok(None),
            Err(TryRecvError::Lagged(count)) => Err(Missed { count }),
        }
    }

    fn committed(&self, (append, positions): (Append, Positions)) -> Committed {
        Committed {
            append,
            positions,
            mapper: self.mapper.clone(),
        }
    }
}
