//! A decoded event of a log, with the data recorded around it.

use crate::domain::{Aggregate, Decoded, Id, Timestamp};
use crate::recording::{Checkpoint, Corrupt, EventId, Metadata, Position, StoredEvent, Version};

/// A decoded event of a log, with the data recorded around it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Logged<E> {
    /// The event.
    pub event: E,
    /// The event as it is stored: topic, tags, origin and everything else.
    pub stored: StoredEvent,
    /// Which of the events it is that the stored event is read as, from 0: always 0 unless an event
    /// of an older shape is read as several. They have the same position and id.
    pub part: u32,
}

impl<E> Logged<E> {
    /// Returns the events that a stored event is read as.
    pub(crate) fn all(events: Decoded<E>, stored: &StoredEvent) -> Decoded<Self> {
        let mut part = 0;
        events.map(|event| {
            let logged = Self {
                event,
                stored: stored.clone(),
                part,
            };
            part += 1;
            logged
        })
    }
}

impl<E> Logged<E> {
    /// Returns its position in the log.
    pub fn position(&self) -> Position {
        self.stored.position()
    }

    /// Returns its checkpoint: its position and id.
    pub fn checkpoint(&self) -> Checkpoint {
        self.stored.checkpoint()
    }

    /// Returns its id.
    pub fn id(&self) -> EventId {
        self.stored.id()
    }

    /// Returns the name of its stream, or `None`.
    pub fn stream(&self) -> Option<&str> {
        self.stored.stream()
    }

    /// Returns its version in its stream; `None` if it has no stream.
    pub fn version(&self) -> Option<Version> {
        self.stored.version()
    }

    /// Returns the id of the aggregate of type `A` that it belongs to; `None` if it belongs to
    /// none.
    pub fn aggregate<A: Aggregate>(&self) -> Option<Id<A>> {
        Id::of_stream(self.stored.stream()?)
    }

    /// Returns the time at which it was decided.
    pub fn time(&self) -> Timestamp {
        self.stored.time()
    }

    /// Returns its metadata.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the stored bytes are not metadata.
    pub fn metadata(&self) -> Result<Metadata, Corrupt> {
        self.stored.metadata()
    }
}
