//! An event of a log, decoded, with what is recorded around it.

use crate::domain::{Aggregate, Id, Timestamp};
use crate::recording::{Corrupt, EventId, Mark, Metadata, Position, StoredEvent, Version};

/// An event of a log, decoded, with what is recorded around it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Logged<E> {
    /// What happened.
    pub event: E,
    /// The same as it is stored: topic, tags, origin and everything else.
    pub stored: StoredEvent,
}

impl<E> Logged<E> {
    /// Place in the log.
    pub fn position(&self) -> Position {
        self.stored.position()
    }

    /// Position and id.
    pub fn mark(&self) -> Mark {
        self.stored.mark()
    }

    /// The event's id.
    pub fn id(&self) -> EventId {
        self.stored.id()
    }

    /// Name of its stream, or none.
    pub fn stream(&self) -> Option<&str> {
        self.stored.stream()
    }

    /// Place in its stream; none if it has no stream.
    pub fn version(&self) -> Option<Version> {
        self.stored.version()
    }

    /// The aggregate of type `A` whose event it is; none if it is of no such aggregate.
    pub fn aggregate<A: Aggregate>(&self) -> Option<Id<A>> {
        Id::of_stream(self.stored.stream()?)
    }

    /// When it was decided.
    pub fn time(&self) -> Timestamp {
        self.stored.time()
    }

    /// What is said about it beside its content.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the stored bytes are no metadata.
    pub fn metadata(&self) -> Result<Metadata, Corrupt> {
        self.stored.metadata()
    }
}
