//! The reads that a benchmark performs, through a store or a bare driver, and their results.

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

/// The number of events that a read returned, and the total size of their payloads, which proves
/// that they were accessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Number of events.
    pub(crate) events: u64,
    /// Total size of their payloads in bytes.
    pub(crate) payload_size: u64,
}

impl Found {
    /// Adds one event.
    pub(crate) fn add(&mut self, payload_size: usize) {
        self.events += 1;
        self.payload_size += payload_size as u64;
    }
}
