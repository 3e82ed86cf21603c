//! The event that a subject was forgotten, for projections and followers.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::event::{Event, EventType, Tags, tag};

/// The topic of [`SubjectForgotten`].
pub const SUBJECT_FORGOTTEN_TOPIC: &str = "retold.subject-forgotten";

/// A subject was forgotten: its data in the log cannot be read anymore.
///
/// The library records this event in the log of an application. Projections and followers handle it
/// like any other event, and remove what they kept of the subject. It has the tag
/// `subject:` followed by the name of the subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubjectForgotten {
    /// The name of the subject.
    pub subject: Arc<str>,
    /// How many times the subject has been forgotten, counted from 1: it can be readmitted and
    /// forgotten again.
    pub count: u64,
}

impl SubjectForgotten {
    /// Creates the event.
    #[cfg(feature = "protection")]
    pub(crate) fn new(subject: Arc<str>, count: u64) -> Self {
        Self { subject, count }
    }
}

impl Event for SubjectForgotten {
    const TYPES: &'static [EventType] =
        &[EventType::of::<Self>(SUBJECT_FORGOTTEN_TOPIC).of_the_library()];

    fn type_index(&self) -> usize {
        0
    }

    fn tags(&self) -> Tags {
        Tags::from([tag(format_args!("subject:{}", self.subject))])
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        _: usize,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}
