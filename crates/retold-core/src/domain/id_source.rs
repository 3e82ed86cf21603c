//! The source of new ids: the injected [`IdSource`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// Generates the new ids of an application: of events, of aggregates, of logs.
pub trait IdSource: fmt::Debug + Send + Sync {
    /// Returns an id that neither this source nor any other has returned before.
    fn next_id(&self) -> Uuid;
}

/// UUIDs of version 7 (RFC 9562, section 5.7): globally unique and, within a process, increasing,
/// so that a database appends to the end of its index of ids.
#[derive(Clone, Copy, Debug, Default)]
pub struct UuidV7Source;

impl IdSource for UuidV7Source {
    fn next_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// Ids that count up from a seed, for tests: the same seed gives the same ids.
///
/// They are UUIDs of version 8 (RFC 9562, section 5.8), so that they are not mistaken for random
/// ones. Two sources with the same seed generate the same ids, so never use both for one log.
#[derive(Debug)]
pub struct SequentialIds {
    seed: u64,
    next: AtomicU64,
}

impl SequentialIds {
    /// Returns a source whose ids contain `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            next: AtomicU64::new(0),
        }
    }
}

impl IdSource for SequentialIds {
    fn next_id(&self) -> Uuid {
        let ordinal = self.next.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.seed.to_be_bytes());
        bytes[8..].copy_from_slice(&ordinal.to_be_bytes());
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequential_ids_grow_and_repeat() {
        let (one, two) = (SequentialIds::new(7), SequentialIds::new(7));
        let first = one.next_id();
        assert_eq!(first, two.next_id());
        assert!(first < one.next_id());
    }
}
