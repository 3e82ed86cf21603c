//! An event that is about to be recorded.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::encoding::Encoding;
use super::fault::Invalid;
use super::identity::EventId;
use super::limits::{Limits, METADATA_SIZE_MAX, TAGS_MAX, check_name, check_payload_size};
use super::origin::Origin;
use crate::domain::{SubjectPart, Timestamp};

/// An event in an append: all of its data except what the log assigns (position, version, place in
/// the append, time of recording).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewEvent {
    /// The event's id; unique in the log.
    pub id: EventId,
    /// The stream it belongs to, or none.
    pub stream: Option<Arc<str>>,
    /// The stable name of its type; borrowed for a type known to the program, so that it costs no
    /// allocation.
    pub topic: Cow<'static, str>,
    /// The version number of the type's shape, from 1.
    pub revision: u32,
    /// The labels by which queries select it.
    pub tags: BTreeSet<Arc<str>>,
    /// The time of the decision.
    pub time: Timestamp,
    /// The reason why it is recorded.
    pub origin: Origin,
    /// [`Metadata`](super::metadata::Metadata) as bytes.
    pub metadata: Bytes,
    /// How the payload was encoded.
    pub encoding: Encoding,
    /// The encoded content; none if it was erased, as in an erased event that is imported from
    /// another log.
    pub payload: Option<Bytes>,
    /// What of the content is data of subjects. A recorder takes no such event: the layer that
    /// encrypts with the keys of subjects removes these.
    pub subjects: Vec<SubjectPart>,
}

impl NewEvent {
    /// Creates an event with the origin [`Origin::Command`], revision 1, a JSON payload and time 0,
    /// without stream, tags and metadata.
    pub fn new(
        id: EventId,
        topic: impl Into<Cow<'static, str>>,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self {
            id,
            stream: None,
            topic: topic.into(),
            revision: 1,
            tags: BTreeSet::new(),
            time: Timestamp::default(),
            origin: Origin::Command,
            metadata: Bytes::new(),
            encoding: Encoding::JSON,
            payload: Some(payload.into()),
            subjects: Vec::new(),
        }
    }

    /// Sets the stream.
    #[must_use]
    pub fn stream(mut self, stream: impl Into<Arc<str>>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// Sets the revision.
    #[must_use]
    pub fn revision(mut self, revision: u32) -> Self {
        self.revision = revision;
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// Sets the time of the decision.
    #[must_use]
    pub fn time(mut self, time: Timestamp) -> Self {
        self.time = time;
        self
    }

    /// Sets the origin.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// Sets the bytes of the metadata.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// Sets the encoding.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Removes the payload, for an event whose payload was erased in the log that first recorded
    /// it.
    #[must_use]
    pub fn erased(mut self) -> Self {
        self.payload = None;
        self
    }

    /// Returns the size that counts toward the limits, in bytes: payload and metadata.
    pub fn size(&self) -> usize {
        self.payload.as_ref().map_or(0, Bytes::len) + self.metadata.len()
    }

    pub(super) fn check(&self, limits: &Limits) -> Result<(), Invalid> {
        if let Some(stream) = &self.stream {
            check_name("stream name", stream)?;
        }
        check_name("topic", &self.topic)?;
        if let Some(part) = self.subjects.first() {
            return Err(lacks_subject_keys(&self.topic, part));
        }
        if self.revision == 0 {
            return Err(Invalid::new(format!(
                "{} has revision 0; revisions start at 1",
                self.topic
            )));
        }
        if self.tags.len() > TAGS_MAX {
            return Err(Invalid::new(format!(
                "an event has {} tags; at most {TAGS_MAX} are allowed",
                self.tags.len()
            )));
        }
        self.tags
            .iter()
            .try_for_each(|tag| check_name("tag", tag))?;
        if let Origin::Effect { follower, .. } = &self.origin {
            check_name("follower key", follower.as_str())?;
        }
        if self.metadata.len() > METADATA_SIZE_MAX {
            return Err(Invalid::new(format!(
                "metadata has {} bytes; at most {METADATA_SIZE_MAX} are allowed",
                self.metadata.len()
            )));
        }
        check_payload_size(self.payload.as_ref().map_or(0, Bytes::len), limits)
    }
}

/// The error for an event with data of a subject that no layer encrypted.
pub(super) fn lacks_subject_keys(topic: &str, part: &SubjectPart) -> Invalid {
    Invalid::new(format!(
        "the event {topic:?} has data of the subject {:?}, and this application has no keys for \
         subjects; give it some: `Protection::subject_keys`",
        part.subject
    ))
}
