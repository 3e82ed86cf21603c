//! Partitions: which pipeline of a follower processes which event.
//!
//! A partitioned follower processes the events of one key in sequence, and those of different keys
//! in parallel. Each partition records its processed ranges under its own key, so the partition of
//! an event is recorded history: the functions here must always return the same partition for the
//! same key and number of partitions.

use std::fmt;
use std::sync::Arc;

use super::limits::PARTITIONS_MAX;
use crate::recording::limits::check_name;
use crate::recording::{Invalid, StoredEvent};

/// Name of the rule that keeps the events of one stream together.
const BY_STREAM: &str = "stream";
/// Precedes the prefix of a tag in the name of a rule.
const BY_TAG: &str = "tag ";

/// Returns the key of an event, if it has one.
type KeyOf = Arc<dyn for<'a> Fn(&'a StoredEvent) -> Option<&'a str> + Send + Sync>;

/// Decides which events belong together: those of one key are in one partition.
///
/// Its name is recorded, and a program whose follower has a rule with another name does not run the
/// follower.
#[derive(Clone)]
pub struct PartitionRule {
    name: Arc<str>,
    key_of: KeyOf,
}

impl Default for PartitionRule {
    fn default() -> Self {
        Self::by_stream()
    }
}

impl PartitionRule {
    /// Keeps the events of one stream together. Its name is `stream`.
    pub fn by_stream() -> Self {
        Self::new(BY_STREAM, StoredEvent::stream)
    }

    /// Keeps the events that share a tag with this prefix together. If an event has several such
    /// tags, the first in text order counts. Its name is `tag PREFIX`.
    pub fn by_tag(prefix: impl Into<Arc<str>>) -> Self {
        let prefix = prefix.into();
        let name = format!("{BY_TAG}{prefix}");
        Self::new(name, move |event: &StoredEvent| {
            let mut tags = event.tags();
            tags.find_map(|tag| tag.strip_prefix(&*prefix))
        })
    }

    /// Keeps the events for which `key_of` returns the same text together. The name is checked when
    /// the rule is used.
    pub(crate) fn given<F>(name: impl Into<Arc<str>>, key_of: F) -> Self
    where
        F: for<'a> Fn(&'a StoredEvent) -> Option<&'a str> + Send + Sync + 'static,
    {
        let name: Arc<str> = name.into();
        let is_taken = *name == *BY_STREAM || name.starts_with(BY_TAG);
        // A reserved name for another rule becomes the empty name, which is rejected later.
        Self::new(if is_taken { "".into() } else { name }, key_of)
    }

    fn new<F>(name: impl Into<Arc<str>>, key_of: F) -> Self
    where
        F: for<'a> Fn(&'a StoredEvent) -> Option<&'a str> + Send + Sync + 'static,
    {
        Self {
            name: name.into(),
            key_of: Arc::new(key_of),
        }
    }

    /// Returns its name, which is recorded.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the partition, counted from 0, of an event among this many partitions. Events
    /// without a key are all in partition 0, so that their order is kept.
    pub fn partition_of(&self, event: &StoredEvent, partitions: u32) -> u32 {
        if partitions <= 1 {
            return 0;
        }
        (self.key_of)(event).map_or(0, |key| partition_of_key(key, partitions))
    }

    /// Returns the same for an event of which only the stream is known; none if the rule needs more
    /// of the event.
    pub(crate) fn partition_of_stream(&self, stream: Option<&str>, partitions: u32) -> Option<u32> {
        let of = |stream| partition_of_key(stream, partitions);
        match *self.name == *BY_STREAM || partitions <= 1 {
            true => Some(stream.map_or(0, of)),
            false => None,
        }
    }

    pub(crate) fn check(&self, follower: &str) -> Result<(), Invalid> {
        if self.name.is_empty() {
            return Err(Invalid::new(format!(
                "the follower {follower:?} is partitioned by a rule without a name of its own; \
                 give it one that is not {BY_STREAM:?} and does not begin with {BY_TAG:?}"
            )));
        }
        check_name("name of a rule of partitions", &self.name)
    }
}

impl fmt::Debug for PartitionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PartitionRule").field(&self.name).finish()
    }
}

/// Returns the partition, counted from 0, of this key among this many partitions.
///
/// The function is the FNV-1a hash of the key's bytes (draft-eastlake-fnv, 64 bits), followed by
/// the finalizer of `MurmurHash3`, modulo the number of partitions. Without the finalizer, keys
/// that differ only in their last letter would have similar hashes. The function never changes.
pub fn partition_of_key(key: &str, partitions: u32) -> u32 {
    let mut hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    let partition = hash % u64::from(partitions.max(1));
    u32::try_from(partition).expect("it is less than a number of 32 bits")
}

/// Checks the number of partitions of a follower.
pub(crate) fn check_count(follower: &str, partitions: u32) -> Result<(), Invalid> {
    match (1..=PARTITIONS_MAX).contains(&partitions) {
        true => Ok(()),
        false => Err(Invalid::new(format!(
            "the follower {follower:?} has {partitions} partitions; 1 to {PARTITIONS_MAX} are \
             allowed"
        ))),
    }
}

/// One of the pipelines that a program has for a follower. It runs the partitions whose number
/// modulo the number of pipelines is its own number. So for any recorded number of partitions, each
/// has its pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    /// Its number, from 0.
    pub(crate) index: u32,
    /// The number of pipelines.
    pub(crate) count: u32,
}

impl Lane {
    pub(crate) const ONLY: Self = Self { index: 0, count: 1 };

    /// Returns whether this pipeline runs a partition.
    pub(crate) fn has(self, partition: u32) -> bool {
        partition % self.count == self.index
    }

    /// Returns the next partition of this pipeline, among this many partitions; after the last
    /// comes the first. None if it has none.
    pub(crate) fn next_after(self, partition: u32, partitions: u32) -> Option<u32> {
        let next = partition + self.count;
        let next = if next < partitions { next } else { self.index };
        (next < partitions).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Existing logs depend on the partition of each key.
    #[test]
    fn partitions_of_keys_are_stable() {
        let of = |key, partitions| partition_of_key(key, partitions);
        let keys = ["", "order/1", "order/2", "flight/N14228", "Gerät/ü", "a"];
        let golden = |partitions: u32| keys.map(|key| of(key, partitions));
        assert_eq!(golden(1), [0; 6]);
        assert_eq!(golden(2), [0, 0, 1, 1, 0, 1]);
        assert_eq!(golden(4), [2, 2, 3, 3, 2, 3]);
        assert_eq!(golden(7), [1, 1, 4, 3, 1, 1]);
        assert_eq!(golden(64), [38, 50, 23, 23, 30, 27]);
    }

    #[test]
    fn keys_are_spread_evenly() {
        for partitions in [2, 3, 4, 8, 16, 64] {
            let mut counts = vec![0_u32; partitions as usize];
            for key in 0..64_000 {
                let partition = partition_of_key(&format!("order/{key}"), partitions);
                counts[partition as usize] += 1;
            }
            let even = 64_000 / partitions;
            for count in counts {
                assert!(count.abs_diff(even) < even / 5, "{count} of {even}");
            }
        }
    }

    #[test]
    fn each_partition_has_one_lane() {
        for count in 1..6 {
            for partitions in 1..12 {
                let mut had = vec![0; partitions as usize];
                for index in 0..count {
                    let lane = Lane { index, count };
                    let mine = (0..partitions).filter(|it| lane.has(*it)).count();
                    let mut next = index;
                    for _ in 0..mine {
                        next = lane.next_after(next, partitions).unwrap();
                        assert!(lane.has(next));
                        had[next as usize] += 1;
                    }
                    assert_eq!(lane.next_after(index, partitions).is_some(), mine > 0);
                }
                assert!(had.iter().all(|times| *times == 1), "{had:?}");
            }
        }
    }
}
