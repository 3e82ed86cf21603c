//! The mapper: an event into what a recorder takes, and what a recorder gives into an event.
//!
//! The order of the steps is in this file and nowhere else: encode, then compress, then encrypt;
//! decrypt, decompress, bring to the present revision, decode.

use std::any::type_name;
use std::sync::Arc;

use bytes::Bytes;

use super::any_event::AnyEvent;
use super::codec::{Codec, CodecError};
use super::error::{MappingError, StoredEventPlace};
use crate::domain::clock::Timestamp;
use crate::domain::event::{Event, EventType, Tags};
use crate::recording::identity::EventId;
use crate::recording::new_event::NewEvent;
use crate::recording::origin::Origin;
use crate::recording::stored_event::StoredEvent;

/// Turns events into what a recorder takes, and back. Has no state but its settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mapper {
    codec: Codec,
}

/// What is recorded around an event's content, and does not come from its type.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "who records must say all of it")]
pub struct Envelope {
    /// The event's id.
    pub id: EventId,
    /// The stream it belongs to, or none; shared by the events of one append.
    pub stream: Option<Arc<str>>,
    /// When it was decided.
    pub time: Timestamp,
    /// Why it is there.
    pub origin: Origin,
    /// [`Metadata`](crate::recording::metadata::Metadata) as bytes.
    pub metadata: Bytes,
}

impl Envelope {
    /// Around an event of a command, without stream and metadata.
    pub fn new(id: EventId, time: Timestamp) -> Self {
        Self {
            id,
            stream: None,
            time,
            origin: Origin::Command,
            metadata: Bytes::new(),
        }
    }
}

impl Mapper {
    /// A mapper that writes with this codec. It reads what any codec wrote.
    pub const fn new(codec: Codec) -> Self {
        Self { codec }
    }

    /// The event as a recorder takes it.
    ///
    /// # Errors
    ///
    /// [`MappingError::Encode`].
    pub fn encode<E: Event>(
        &self,
        event: &E,
        envelope: Envelope,
    ) -> Result<NewEvent, MappingError> {
        let encoded = self.codec.encode(event);
        self.seal(event.event_type(), event.tags(), encoded, envelope)
    }

    /// The event as a recorder takes it, in the stream that it is addressed to; if it is addressed to
    /// none, in that of the envelope.
    ///
    /// # Errors
    ///
    /// [`MappingError::Encode`].
    pub fn encode_any(
        &self,
        event: &AnyEvent,
        mut envelope: Envelope,
    ) -> Result<NewEvent, MappingError> {
        if let Some(stream) = event.stream() {
            envelope.stream = Some(Arc::clone(stream));
        }
        let encoded = event.encode(self.codec);
        self.seal(event.event_type(), event.tags(), encoded, envelope)
    }

    /// The last steps on the way out. What compresses and encrypts stands here, in this order, and
    /// says so in the encoding.
    fn seal(
        &self,
        event_type: &'static EventType,
        tags: Tags,
        encoded: Result<Bytes, CodecError>,
        envelope: Envelope,
    ) -> Result<NewEvent, MappingError> {
        let payload = encoded.map_err(|source| MappingError::Encode {
            topic: event_type.topic,
            source,
        })?;
        let mut new = NewEvent::new(envelope.id, event_type.topic, payload)
            .revision(event_type.revision)
            .time(envelope.time)
            .origin(envelope.origin)
            .metadata(envelope.metadata)
            .encoding(self.codec.encoding());
        new.stream = envelope.stream;
        new.tags = tags;
        Ok(new)
    }

    /// Whether a stored event is an `E`, by its topic.
    pub fn is<E: Event>(&self, stored: &StoredEvent) -> bool {
        E::index_of_topic(stored.topic()).is_some()
    }

    /// The stored event as an `E`.
    ///
    /// # Errors
    ///
    /// [`MappingError`]: the topic is none of `E`'s, or the payload was erased, is encoded in a way
    /// that this program cannot undo, has a newer revision, or is not the content of an `E`.
    pub fn decode<E: Event>(&self, stored: &StoredEvent) -> Result<E, MappingError> {
        let index = E::index_of_topic(stored.topic()).ok_or_else(|| unknown_topic::<E>(stored))?;
        let (codec, payload) = open(stored)?;
        check_revision(stored, &E::TYPES[index])?;
        codec
            .decode(index, payload)
            .map_err(|source| MappingError::Decode {
                place: stored.into(),
                topic: stored.topic().into(),
                revision: stored.revision(),
                type_name: type_name::<E>(),
                source,
            })
    }
}

/// The first steps on the way in: the payload as its codec wrote it. What decrypts and decompresses
/// stands here, in this order.
fn open(stored: &StoredEvent) -> Result<(Codec, &[u8]), MappingError> {
    let payload = stored.payload().ok_or_else(|| MappingError::Erased {
        place: stored.into(),
        topic: stored.topic().into(),
    })?;
    let unknown = |what| MappingError::UnknownEncoding {
        place: StoredEventPlace::from(stored),
        topic: stored.topic().into(),
        encoding: stored.encoding_text().into(),
        what,
    };
    let encoding = stored.encoding().map_err(|_| unknown("form"))?;
    if encoding.key_id().is_some() {
        return Err(unknown("key"));
    }
    if encoding.compression().is_some() {
        return Err(unknown("compression"));
    }
    let codec = Codec::from_name(encoding.codec()).ok_or_else(|| unknown("codec"))?;
    Ok((codec, payload))
}

/// An older revision is read as the present one, by the defaults of its serde attributes; what brings
/// it to the present shape stands here, between [`open`] and the codec.
fn check_revision(stored: &StoredEvent, event_type: &EventType) -> Result<(), MappingError> {
    if stored.revision() > event_type.revision {
        return Err(MappingError::NewerRevision {
            place: stored.into(),
            topic: stored.topic().into(),
            revision: stored.revision(),
            known: event_type.revision,
        });
    }
    Ok(())
}

fn unknown_topic<E: Event>(stored: &StoredEvent) -> MappingError {
    MappingError::UnknownTopic {
        place: stored.into(),
        topic: stored.topic().into(),
        type_name: type_name::<E>(),
        known: E::topics().collect(),
    }
}
