//! Timers as events. Each timer has its own stream, `retold.timer/KEY`, in the log of its
//! application, which records that it was scheduled, cancelled or fired.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limits::TIMER_KEY_SIZE_MAX;
use crate::domain::{Event, EventType, SubjectPart, Timestamp, content};
use crate::recording::limits::check_name;
use crate::recording::{Invalid, NewEvent};

/// The type of the streams of timers.
pub(crate) const TIMER_STREAM_TYPE: &str = "retold.timer";

/// Returns the name of the stream of the timer with this key.
pub(crate) fn timer_stream(key: &str) -> String {
    format!("{TIMER_STREAM_TYPE}/{key}")
}

/// The event that is recorded when a timer fires, in its encoded form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlannedEvent {
    /// The stream it will belong to, or none.
    pub stream: Option<Arc<str>>,
    /// Stable name of its type.
    pub topic: String,
    /// Version number of its shape.
    pub revision: u32,
    /// Its labels.
    pub tags: BTreeSet<Arc<str>>,
    /// The encoding of its payload.
    pub encoding: String,
    /// Its encoded payload.
    pub payload: String,
    /// What of it is data of subjects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<SubjectPart>,
}

impl PlannedEvent {
    /// Returns the event as it will be recorded, except for its id, time and origin, which are not
    /// known yet.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if its payload is not text, which is all that a timer can store.
    pub(crate) fn of(new: &NewEvent) -> Result<Self, Invalid> {
        let payload = new.payload.as_deref().unwrap_or_default();
        let payload = std::str::from_utf8(payload).map_err(|_| {
            Invalid::new(format!(
                "a timer cannot keep an event {:?} that is encoded as {}, which is not text; \
                 encode it as JSON",
                new.topic,
                new.encoding.as_str()
            ))
        })?;
        Ok(Self {
            stream: new.stream.clone(),
            topic: new.topic.clone().into_owned(),
            revision: new.revision,
            tags: new.tags.clone(),
            encoding: new.encoding.as_str().to_owned(),
            payload: payload.to_owned(),
            subjects: new.subjects.clone(),
        })
    }
}

/// What happened to a timer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TimerEvent {
    /// It was set, replacing a pending one of the same key.
    Scheduled {
        /// When it fires.
        due: Timestamp,
        /// The event that is recorded then.
        event: PlannedEvent,
    },
    /// It will not fire.
    Cancelled,
    /// It fired; the event is in the same append.
    Fired,
}

impl Event for TimerEvent {
    const TYPES: &'static [EventType] = &[
        EventType::of::<Self>("retold.scheduled"),
        EventType::of::<Self>("retold.cancelled"),
        EventType::of::<Self>("retold.fired"),
    ];

    fn type_index(&self) -> usize {
        match self {
            Self::Scheduled { .. } => 0,
            Self::Cancelled => 1,
            Self::Fired => 2,
        }
    }

    /// As a whole, data of all subjects whose data its planned event has.
    fn subjects(&self) -> Vec<SubjectPart> {
        match self {
            Self::Scheduled { event, .. } => whole_of(&event.subjects),
            Self::Cancelled | Self::Fired => Vec::new(),
        }
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        content::serialize_variant(self, serializer)
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        type_index: usize,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        content::deserialize_variant(type_index, deserializer)
    }
}

/// Returns parts that are the whole of an event, for the subjects of these parts.
pub(crate) fn whole_of(parts: &[SubjectPart]) -> Vec<SubjectPart> {
    let subjects: BTreeSet<_> = parts.iter().map(|part| &part.subject).collect();
    let whole = subjects.into_iter().cloned().map(SubjectPart::whole);
    whole.collect()
}

/// Checks the key of a timer.
pub(crate) fn check_timer_key(key: &str) -> Result<(), Invalid> {
    check_name("key of a timer", key)?;
    if key.len() > TIMER_KEY_SIZE_MAX {
        return Err(Invalid::new(format!(
            "a key of a timer is {} bytes long; at most {TIMER_KEY_SIZE_MAX} are allowed: {key:?}",
            key.len()
        )));
    }
    Ok(())
}
