//! What a log has of each key, to be compared with what another log has: by it, a claim of confluence
//! is tested.
//!
//! Where events stand in the log, their ids and when they were recorded are the schedule's, and are
//! left out; what happened, and in which order for each key, is to be the same in every schedule.

use std::collections::BTreeMap;
use std::fmt;

use retold::application::log_reader::LogReader;
use retold::prelude::Timestamp;
use retold::recording::stored_event::StoredEvent;
use retold::system::definition::ConfluenceKey;

/// An event without its place in the log.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedEvent {
    /// Stream of the aggregate it is of; none if it is of none.
    pub stream: Option<String>,
    /// Topic.
    pub topic: String,
    /// Number of its shape.
    pub revision: u32,
    /// Tags.
    pub tags: Vec<String>,
    /// When it was decided.
    pub time: Timestamp,
    /// What it says, as it is stored; none if that is erased.
    pub payload: Option<Vec<u8>>,
}

/// The events of each key, in the order of the log.
pub type KeyHistories = BTreeMap<String, Vec<KeyedEvent>>;

/// Reads a whole log and gives the events of each key in their order; events of no key are left out.
///
/// # Errors
///
/// If the log cannot be read.
pub async fn by_key(log: &LogReader, key: &ConfluenceKey) -> retold::Result<KeyHistories> {
    let mut histories = KeyHistories::new();
    let mut events = log.stored().read().events();
    while let Some(event) = events.next().await? {
        if let Some(key) = key(&event) {
            histories.entry(key).or_default().push((&event).into());
        }
    }
    Ok(histories)
}

/// Whether events that differ in nothing but their times are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Times {
    /// They are not: both logs were made by clocks that say the same.
    Compared,
    /// They are: the clocks were those of machines.
    LeftOut,
}

/// The first place, by key, at which two logs differ; none if each key has the same events in the same
/// order in both.
pub fn compare(one: &KeyHistories, other: &KeyHistories, times: Times) -> Option<Difference> {
    let none = Vec::new();
    let mut keys: Vec<_> = one.keys().chain(other.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().find_map(|key| {
        let one = one.get(key).unwrap_or(&none);
        let other = other.get(key).unwrap_or(&none);
        let length = one.len().max(other.len());
        let differs = |index: &usize| match (one.get(*index), other.get(*index)) {
            (Some(one), Some(other)) => !one.is_same(other, times),
            _ => true,
        };
        let index = (0..length).find(differs)?;
        Some(Difference {
            key: key.clone(),
            index,
            one: one.get(index).cloned(),
            other: other.get(index).cloned(),
        })
    })
}

/// Where two logs differ that claim to be confluent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The key.
    pub key: String,
    /// Index, from 0, among the events of that key.
    pub index: usize,
    /// What the one has there; none if it has no more.
    pub one: Option<KeyedEvent>,
    /// What the other has there.
    pub other: Option<KeyedEvent>,
}

impl KeyedEvent {
    fn is_same(&self, other: &Self, times: Times) -> bool {
        let is_time_same = match times {
            Times::Compared => self.time == other.time,
            Times::LeftOut => true,
        };
        let Self {
            stream,
            topic,
            revision,
            tags,
            time: _,
            payload,
        } = self;
        is_time_same
            && (stream, topic) == (&other.stream, &other.topic)
            && (revision, tags, payload) == (&other.revision, &other.tags, &other.payload)
    }
}

impl From<&StoredEvent> for KeyedEvent {
    fn from(event: &StoredEvent) -> Self {
        Self {
            stream: event.stream().map(str::to_owned),
            topic: event.topic().to_owned(),
            revision: event.revision(),
            tags: event.tags().map(str::to_owned).collect(),
            time: event.time(),
            payload: event.payload().map(<[u8]>::to_vec),
        }
    }
}

impl fmt::Display for KeyedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = match &self.payload {
            Some(payload) => String::from_utf8_lossy(payload),
            None => "erased".into(),
        };
        let stream = self.stream.as_deref().unwrap_or("no stream");
        write!(f, "{} in {stream} at {}: {payload}", self.topic, self.time)
    }
}

impl fmt::Debug for KeyedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |event: &Option<KeyedEvent>| match event {
            Some(event) => event.to_string(),
            None => "nothing more".into(),
        };
        write!(
            f,
            "{}, event {}: {} is not {}",
            self.key,
            self.index + 1,
            shown(&self.one),
            shown(&self.other)
        )
    }
}
