//! The events that record amendments: who erased, replaced, deleted or reopened what, and why.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::{Event, EventType, content};
use crate::recording::{
    AMENDED_TOPIC, DELETED_TOPIC, ERASED_TOPIC, ErasedParts, EventId, REOPENED_TOPIC, Version,
};

/// What was done to recorded events, by whom, and why: an event in the stream that it concerns.
///
/// Policies, projections and subscriptions can handle it like an event of the program, for example
/// to remove what they derived from the erased events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AmendmentRecord {
    /// Events were erased.
    Erased {
        /// Who did it.
        by: String,
        /// Why.
        reason: String,
        /// The events.
        which: ErasedEvents,
        /// What was erased of them.
        parts: RecordedParts,
    },
    /// An event was replaced.
    Amended {
        /// Who did it.
        by: String,
        /// Why.
        reason: String,
        /// The event.
        event: EventId,
    },
    /// The stream was erased and closed.
    Deleted {
        /// Who did it.
        by: String,
        /// Why.
        reason: String,
        /// The last version that was erased with this record. None if nothing was left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Version>,
        /// What was erased of its events.
        parts: RecordedParts,
    },
    /// The deleted stream takes events again.
    Reopened {
        /// Who did it.
        by: String,
        /// Why.
        reason: String,
    },
}

/// Which events were erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErasedEvents {
    /// One event.
    Event(EventId),
    /// The events of the stream after a version, up to and including another.
    Versions {
        /// Begin after this version; with none, with the first.
        after: Option<Version>,
        /// The last version.
        until: Version,
    },
}

/// What was erased of an event besides its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedParts {
    /// The tags.
    #[serde(default)]
    pub tags: bool,
    /// The metadata.
    #[serde(default)]
    pub metadata: bool,
}

impl From<ErasedParts> for RecordedParts {
    fn from(parts: ErasedParts) -> Self {
        Self {
            tags: parts.tags,
            metadata: parts.metadata,
        }
    }
}

impl AmendmentRecord {
    /// Returns who did it.
    pub fn by(&self) -> &str {
        match self {
            Self::Erased { by, .. }
            | Self::Amended { by, .. }
            | Self::Deleted { by, .. }
            | Self::Reopened { by, .. } => by,
        }
    }

    /// Returns why it was done.
    pub fn reason(&self) -> &str {
        match self {
            Self::Erased { reason, .. }
            | Self::Amended { reason, .. }
            | Self::Deleted { reason, .. }
            | Self::Reopened { reason, .. } => reason,
        }
    }
}

impl Event for AmendmentRecord {
    const TYPES: &'static [EventType] = &[
        EventType::of::<Self>(ERASED_TOPIC).of_the_library(),
        EventType::of::<Self>(AMENDED_TOPIC).of_the_library(),
        EventType::of::<Self>(DELETED_TOPIC).of_the_library(),
        EventType::of::<Self>(REOPENED_TOPIC).of_the_library(),
    ];

    fn type_index(&self) -> usize {
        match self {
            Self::Erased { .. } => 0,
            Self::Amended { .. } => 1,
            Self::Deleted { .. } => 2,
            Self::Reopened { .. } => 3,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// These texts are in logs.
    #[test]
    fn recorded_texts_are_stable() {
        let (by, reason) = ("ann".to_owned(), "request 7".to_owned());
        let id = EventId::new(uuid::Uuid::from_u128(1));
        let versions = ErasedEvents::Versions {
            after: None,
            until: Version::FIRST,
        };
        let rows = [
            (
                AmendmentRecord::Erased {
                    by: by.clone(),
                    reason: reason.clone(),
                    which: versions,
                    parts: ErasedParts::PAYLOAD.tags(true).into(),
                },
                concat!(
                    r#"{"by":"ann","reason":"request 7","which":{"versions":{"after":null,"#,
                    r#""until":1}},"parts":{"tags":true,"metadata":false}}"#,
                ),
            ),
            (
                AmendmentRecord::Erased {
                    by: by.clone(),
                    reason: reason.clone(),
                    which: ErasedEvents::Event(id),
                    parts: RecordedParts::default(),
                },
                concat!(
                    r#"{"by":"ann","reason":"request 7","#,
                    r#""which":{"event":"00000000-0000-0000-0000-000000000001"},"#,
                    r#""parts":{"tags":false,"metadata":false}}"#,
                ),
            ),
            (
                AmendmentRecord::Amended {
                    by: by.clone(),
                    reason: reason.clone(),
                    event: id,
                },
                concat!(
                    r#"{"by":"ann","reason":"request 7","#,
                    r#""event":"00000000-0000-0000-0000-000000000001"}"#,
                ),
            ),
            (
                AmendmentRecord::Deleted {
                    by: by.clone(),
                    reason: reason.clone(),
                    until: Some(Version::FIRST),
                    parts: ErasedParts::ALL.into(),
                },
                concat!(
                    r#"{"by":"ann","reason":"request 7","until":1,"parts":{"tags":true,"#,
                    r#""metadata":true}}"#,
                ),
            ),
            (
                AmendmentRecord::Reopened { by, reason },
                r#"{"by":"ann","reason":"request 7"}"#,
            ),
        ];
        for (record, text) in rows {
            let mut bytes = Vec::new();
            let mut serializer = serde_json::Serializer::new(&mut bytes);
            record.serialize_payload(&mut serializer).unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), text);
        }
    }
}
