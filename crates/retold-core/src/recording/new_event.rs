//! An event on its way into a log.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::encoding::Encoding;
use super::fault::Invalid;
use super::identity::EventId;
use super::limits::{Limits, METADATA_SIZE_MAX, TAGS_MAX, check_name};
use super::origin::Origin;
use crate::domain::Timestamp;

/// An event as an append carries it: everything but what the log itself gives (position, version,
/// place in the append, time of recording).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewEvent {
    /// Its id; unique in the log.
    pub id: EventId,
    /// The stream it belongs to, or none.
    pub stream: Option<Arc<str>>,
    /// The stable name of its type; that of a type known to the program costs no allocation.
    pub topic: Cow<'static, str>,
    /// The number of the type's shape, from 1.
    pub revision: u32,
    /// Labels by which queries select it.
    pub tags: BTreeSet<Arc<str>>,
    /// When it was decided.
    pub time: Timestamp,
    /// Why it is there.
    pub origin: Origin,
    /// [`Metadata`](super::metadata::Metadata) as bytes.
    pub metadata: Bytes,
    /// How the payload became bytes.
    pub encoding: Encoding,
    /// What happened, encoded; none if it was erased (an export of an erased event, imported).
    pub payload: Option<Bytes>,
}

impl NewEvent {
    /// An event of a command: no stream, no tags, no metadata, revision 1, JSON, time 0.
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
        }
    }

    /// With this stream.
    #[must_use]
    pub fn stream(mut self, stream: impl Into<Arc<str>>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// With this revision.
    #[must_use]
    pub fn revision(mut self, revision: u32) -> Self {
        self.revision = revision;
        self
    }

    /// With this tag as well.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// With this time of decision.
    #[must_use]
    pub fn time(mut self, time: Timestamp) -> Self {
        self.time = time;
        self
    }

    /// With this origin.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// With these bytes of metadata.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// With this encoding.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Without a payload: it was erased where it was first recorded.
    #[must_use]
    pub fn erased(mut self) -> Self {
        self.payload = None;
        self
    }

    /// Size of what limits count, in bytes: payload and metadata.
    pub fn size(&self) -> usize {
        self.payload.as_ref().map_or(0, Bytes::len) + self.metadata.len()
    }

    pub(super) fn check(&self, limits: &Limits) -> Result<(), Invalid> {
        if let Some(stream) = &self.stream {
            check_name("stream name", stream)?;
        }
        check_name("topic", &self.topic)?;
        if self.revision == 0 {
            return Err(Invalid::new(format!(
                "{} has revision 0; they count from 1",
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
        let payload_size = self.payload.as_ref().map_or(0, Bytes::len);
        if payload_size > limits.payload_size {
            return Err(Invalid::new(format!(
                "a payload has {payload_size} bytes; at most {} are allowed",
                limits.payload_size
            )));
        }
        Ok(())
    }
}
