//! Processed ranges: ranges of another log that a follower has processed, recorded with their
//! effects.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fault::Invalid;
use super::identity::{Checkpoint, LogId, Position};
use super::limits::check_name;

/// Identifies a follower with its generation and partition: `NAME@generation[/partition]`.
///
/// A log may have keys of other forms, which a later version of the library recorded: they are
/// compared and displayed, but have no name, generation or partition. Keys are equal, and ordered,
/// as their texts are; a recorder stores and compares only these.
#[derive(Clone)]
pub struct FollowerKey {
    text: Arc<str>,
    /// What the text says; `None` if it has another form.
    parts: Option<KeyParts>,
}

#[derive(Clone, Copy)]
struct KeyParts {
    /// Length of the name, in bytes.
    name: usize,
    generation: u64,
    partition: Option<u32>,
}

impl FollowerKey {
    /// Creates a key with this text, which is checked when the key is used.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let parts = KeyParts::of(&text);
        Self { text, parts }
    }

    /// Creates the key of a partition of a generation; with `None`, of a generation with a single
    /// partition.
    pub(crate) fn of(name: &str, generation: u64, partition: Option<u32>) -> Self {
        let text = match partition {
            None => format!("{name}@{generation}"),
            Some(partition) => format!("{name}@{generation}/{partition}"),
        };
        let name = name.len();
        let parts = KeyParts {
            name,
            generation,
            partition,
        };
        Self {
            text: text.into(),
            parts: Some(parts),
        }
    }

    /// Returns the text of the key.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the name of the follower; `None` if the text has another form.
    pub fn name(&self) -> Option<&str> {
        self.parts.map(|parts| &self.text[..parts.name])
    }

    /// Returns the generation of the follower; `None` if the text has another form.
    pub fn generation(&self) -> Option<u64> {
        self.parts.map(|parts| parts.generation)
    }

    /// Returns the partition, counted from 0; `None` if the generation has a single one, or if the
    /// text has another form.
    pub fn partition(&self) -> Option<u32> {
        self.parts.and_then(|parts| parts.partition)
    }
}

impl KeyParts {
    fn of(text: &str) -> Option<Self> {
        // The name of an outbox can contain an `@` and a `/`.
        let (name, rest) = text.rsplit_once('@')?;
        let (generation, partition) = match rest.split_once('/') {
            Some((generation, partition)) => (generation, Some(partition.parse().ok()?)),
            None => (rest, None),
        };
        Some(Self {
            name: name.len(),
            generation: generation.parse().ok()?,
            partition,
        })
    }
}

impl fmt::Display for FollowerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for FollowerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FollowerKey").field(&self.text).finish()
    }
}

impl FromStr for FollowerKey {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text))
    }
}

impl PartialEq for FollowerKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for FollowerKey {}

impl Hash for FollowerKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for FollowerKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FollowerKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Serialize for FollowerKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for FollowerKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Arc::<str>::deserialize(deserializer).map(Self::new)
    }
}

/// A range of an upstream log that a follower has processed, recorded in the same append as its
/// effects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ProcessedRange {
    /// The follower that processed it.
    pub follower: FollowerKey,
    /// The log that was processed.
    pub upstream: LogId,
    /// The range begins just after this position, or with the first event.
    pub after: Option<Position>,
    /// The last event of the range.
    pub to: Checkpoint,
    /// The policy version of the follower's policies.
    pub policy_version: u32,
}

impl ProcessedRange {
    /// Creates the range of `upstream` after `after`, up to and including `to`, of policy version
    /// 1.
    pub fn new(
        follower: FollowerKey,
        upstream: LogId,
        after: Option<Position>,
        to: Checkpoint,
    ) -> Self {
        Self {
            follower,
            upstream,
            after,
            to,
            policy_version: 1,
        }
    }

    /// Sets the policy version of the follower's policies.
    #[must_use]
    pub fn policy_version(mut self, policy_version: u32) -> Self {
        self.policy_version = policy_version;
        self
    }

    /// Checks what does not depend on the log: that the key is valid, and that the range ends after
    /// its beginning.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        check_name("follower key", self.follower.as_str())?;
        if self.after >= Some(self.to.position) {
            return Err(Invalid::new(format!(
                "a processed range of {} ends at {} but begins after {}",
                self.follower,
                self.to.position,
                Position::number(self.after),
            )));
        }
        Ok(())
    }
}

/// A processed range as the log keeps it: the range, and the log's head before the append that
/// recorded it.
///
/// Two neighbors in the history of one follower key and upstream are merged if their policy
/// versions and heads are equal and neither append had events. The history therefore grows with the
/// number of effects, not with the number of upstream events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecordedRange {
    /// Its ordinal among all processed ranges of the log, counted from 1. Merging leaves no gaps:
    /// the earlier neighbor keeps its ordinal and is extended.
    pub ordinal: u64,
    /// The range that was processed.
    pub range: ProcessedRange,
    /// The head of the log that recorded it, before that append; none if the log was empty.
    pub head: Option<Position>,
}

impl RecordedRange {
    /// For stores: builds a recorded processed range from stored data.
    pub fn new(ordinal: u64, range: ProcessedRange, head: Option<Position>) -> Self {
        Self {
            ordinal,
            range,
            head,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(String, u64, Option<u32>)> {
        let key = FollowerKey::new(text);
        assert_eq!(key.to_string(), text);
        assert_eq!(text.parse(), Ok(key.clone()));
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, serde_json::to_string(text).unwrap());
        assert_eq!(serde_json::from_str::<FollowerKey>(&json).unwrap(), key);
        let (name, generation) = key.name().zip(key.generation())?;
        Some((name.to_owned(), generation, key.partition()))
    }

    /// Logs contain these texts, so they must not change.
    #[test]
    fn a_key_is_its_text_and_its_parts() {
        for (name, generation, partition, text) in [
            ("stock", 1, None, "stock@1"),
            ("stock", 12, Some(3), "stock@12/3"),
            (
                "größe",
                u64::MAX,
                Some(u32::MAX),
                "größe@18446744073709551615/4294967295",
            ),
            ("outbox/mails", 1, None, "outbox/mails@1"),
            ("outbox/a@b/c", 1, None, "outbox/a@b/c@1"),
        ] {
            let key = FollowerKey::of(name, generation, partition);
            assert_eq!(key.as_str(), text);
            assert_eq!(parts(text), Some((name.to_owned(), generation, partition)));
        }
    }

    /// Keys of later versions, and other texts, are compared and displayed.
    #[test]
    fn a_text_of_another_form_has_no_parts() {
        for text in [
            "", "f", "f@", "f@x", "f@1/", "f@1/2/3", "f@-1", "f@1/x", "@", "f@1;2",
        ] {
            assert_eq!(parts(text), None, "{text:?}");
        }
        assert_eq!(parts("@1"), Some((String::new(), 1, None)));
        let keys = ["f@1", "f@10", "f@2", "g"].map(FollowerKey::new);
        assert!(keys.is_sorted());
        assert_ne!(FollowerKey::new("f@1"), FollowerKey::new("f@01"));
    }
}
