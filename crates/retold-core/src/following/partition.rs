//! Partitions: which of a follower's pipelines answers which event.
//!
//! A follower that is split into partitions answers the events of one key one after the other, and those
//! of different keys side by side. Each partition has a key of its own for its stretches, so which
//! partition an event belongs to is recorded history: nothing here may ever give another answer for the
//! same key and number.

use std::fmt;
use std::sync::Arc;

use super::limits::PARTITIONS_MAX;
use crate::recording::limits::check_name;
use crate::recording::{Invalid, StoredEvent};

/// Name of the rule by which the events of one stream belong together.
const BY_STREAM: &str = "stream";
/// Before the prefix of a tag in the name of a rule.
const BY_TAG: &str = "tag ";

/// Says which key an event belongs to, if it belongs to any.
type KeyOf = Arc<dyn for<'a> Fn(&'a StoredEvent) -> Option<&'a str> + Send + Sync>;

/// Says which events belong together: those of one key are in one partition.
///
/// Its name is recorded, and a program whose follower has a rule of another name does not take part.
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
    /// The events of one stream belong together. It is named `stream`.
    pub fn by_stream() -> Self {
        Self::new(BY_STREAM, StoredEvent::stream)
    }

    /// The events that have one tag with this prefix belong together; of several such tags of an event
    /// the first counts, in the order of their texts. It is named `tag PREFIX`.
    pub fn by_tag(prefix: impl Into<Arc<str>>) -> Self {
        let prefix = prefix.into();
        let name = format!("{BY_TAG}{prefix}");
        Self::new(name, move |event: &StoredEvent| {
            let mut tags = event.tags();
            tags.find_map(|tag| tag.strip_prefix(&*prefix))
        })
    }

    /// The events for which `key_of` gives the same text belong together. Checked when it is used.
    pub(crate) fn given<F>(name: impl Into<Arc<str>>, key_of: F) -> Self
    where
        F: for<'a> Fn(&'a StoredEvent) -> Option<&'a str> + Send + Sync + 'static,
    {
        let name: Arc<str> = name.into();
        let is_taken = *name == *BY_STREAM || name.starts_with(BY_TAG);
        // A name of the library's for another rule is refused by being none.
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

    /// Its name, which is recorded.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The partition, counted from 0, that an event belongs to if there are so many. Events of no key are
    /// all in partition 0, so that their order stays.
    pub fn partition_of(&self, event: &StoredEvent, partitions: u32) -> u32 {
        if partitions <= 1 {
            return 0;
        }
        (self.key_of)(event).map_or(0, |key| partition_of_key(key, partitions))
    }

    /// The same of an event of which only the stream is known; none if the rule must see more of it.
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

/// The partition, counted from 0, of this key if there are so many.
///
/// It is the FNV-1a hash of the key's bytes (draft-eastlake-fnv, 64 bits), then the finalizer of
/// `MurmurHash3`, without which keys that differ in their last letter have similar hashes, modulo the
/// number of partitions. It stays as it is for ever.
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

/// Checks that a follower may have so many partitions.
pub(crate) fn check_count(follower: &str, partitions: u32) -> Result<(), Invalid> {
    match (1..=PARTITIONS_MAX).contains(&partitions) {
        true => Ok(()),
        false => Err(Invalid::new(format!(
            "the follower {follower:?} has {partitions} partitions; 1 to {PARTITIONS_MAX} are \
             allowed"
        ))),
    }
}

/// One of the pipelines that a program has for a follower. It does the work of the partitions whose
/// number divided by the number of pipelines leaves its own; so whatever number of partitions is
/// recorded, each has its pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    /// Which one, from 0.
    pub(crate) index: u32,
    /// How many there are.
    pub(crate) count: u32,
}

impl Lane {
    pub(crate) const ONLY: Self = Self { index: 0, count: 1 };

    /// Whether a partition is its work.
    pub(crate) fn has(self, partition: u32) -> bool {
        partition % self.count == self.index
    }

    /// The partition of its work that follows this one, of so many; after the last comes the first. None
    /// if it has none.
    pub(crate) fn next_after(self, partition: u32, partitions: u32) -> Option<u32> {
        let next = partition + self.count;
        let next = if next < partitions { next } else { self.index };
        (next < partitions).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which partition a key is in is a promise to logs already written.
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
