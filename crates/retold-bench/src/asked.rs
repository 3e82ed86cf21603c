//! What is asked of a log, by a store or by a bare driver, and what was found.

use std::sync::Arc;

/// One read.
#[derive(Clone, Debug)]
pub(crate) enum Read {
    /// Every event.
    Log,
    /// The events of a stream.
    Stream(Arc<str>),
    /// The events with a tag.
    Tag(Arc<str>),
    /// The events of a topic.
    Topic(&'static str),
}

/// How many events a read gave, and the bytes of their payloads, which proves that they were looked
/// at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Events.
    pub(crate) events: u64,
    /// Bytes of their payloads.
    pub(crate) payload_size: u64,
}

impl Found {
    /// With one more event.
    pub(crate) fn add(&mut self, payload_size: usize) {
        self.events += 1;
        self.payload_size += payload_size as u64;
    }
}
