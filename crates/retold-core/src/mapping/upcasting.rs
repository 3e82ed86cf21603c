//! The last steps of reading: from an opened payload, or an erased one, to the events that it is
//! read as.
//!
//! The payload is already decrypted and decompressed. A revision that has a shape of its own is
//! decoded as that shape and converted; any other revision is decoded as the present type, by the
//! defaults of its serde attributes.

use std::any::type_name;
use std::error::Error;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::DeserializeSeed;
use serde_json::Value;

use super::codec::Codec;
use super::error::{MappingError, UpcastError};
use crate::domain::{Decoded, Event, EventType, PastEvent, StoredEnvelope, Timestamp, Upcasted};
use crate::recording::StoredEvent;

/// Decodes an opened payload as events of type `E`.
///
/// # Errors
///
/// [`MappingError`]: the revision is newer than the program knows, the payload is not the content
/// of such an event, or a conversion failed.
pub(super) fn read_opened<E: Event>(
    stored: &StoredEvent,
    type_index: usize,
    codec: Codec,
    payload: &[u8],
) -> Result<Decoded<E>, MappingError> {
    let event_type = &E::TYPES[type_index];
    let revision = stored.revision();
    check_revision(stored, event_type)?;
    let failed = |source| MappingError::Decode {
        place: stored.into(),
        topic: stored.topic().into(),
        revision,
        type_name: type_name::<E>(),
        source,
    };
    if !event_type.is_converted(revision) {
        let event = codec.decode(type_index, payload).map_err(failed)?;
        return Ok(Decoded::One(event));
    }
    let past = PastContent::<E> {
        type_index,
        past: PastEvent::new(stored),
        event: PhantomData,
    };
    let converted = codec.decode_with(past, payload).map_err(failed)?;
    converted.map_err(|error| not_converted::<E>(stored, error))
}

/// Returns the events that an erased event is read as.
///
/// # Errors
///
/// [`MappingError::Erased`] if the type does not declare any; [`MappingError::Upcast`] if the
/// declared value cannot be converted.
pub(super) fn read_erased<E: Event>(
    stored: &StoredEvent,
    type_index: usize,
) -> Result<Decoded<E>, MappingError> {
    match E::erased(type_index, &PastEvent::new(stored)) {
        Some(read) => read.map_err(|error| not_converted::<E>(stored, error)),
        None => Err(MappingError::Erased {
            place: stored.into(),
            topic: stored.topic().into(),
        }),
    }
}

/// An older revision without a shape of its own is read as the present one, by the defaults of its
/// serde attributes.
fn check_revision(stored: &StoredEvent, event_type: &EventType) -> Result<(), MappingError> {
    if !event_type.can_read(stored.revision()) {
        return Err(MappingError::NewerRevision {
            place: stored.into(),
            topic: stored.topic().into(),
            revision: stored.revision(),
            known: event_type.readable_revision(),
        });
    }
    Ok(())
}

fn not_converted<E: Event>(
    stored: &StoredEvent,
    error: Box<dyn Error + Send + Sync>,
) -> MappingError {
    MappingError::Upcast {
        place: stored.into(),
        topic: stored.topic().into(),
        revision: stored.revision(),
        type_name: type_name::<E>(),
        source: UpcastError::new(error),
    }
}

/// The content of an event in another shape than the present one.
struct PastContent<'a, E> {
    type_index: usize,
    past: PastEvent<'a>,
    event: PhantomData<fn() -> E>,
}

impl<E> Clone for PastContent<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for PastContent<'_, E> {}

impl<'de, E: Event> DeserializeSeed<'de> for PastContent<'_, E> {
    type Value = Upcasted<E>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Upcasted<E>, D::Error> {
        E::read_past(self.type_index, deserializer, &self.past)
    }
}

impl StoredEnvelope for StoredEvent {
    fn topic(&self) -> &str {
        self.topic()
    }

    fn revision(&self) -> u32 {
        self.revision()
    }

    fn stream(&self) -> Option<&str> {
        self.stream()
    }

    fn version(&self) -> Option<u64> {
        self.version().map(|it| it.get())
    }

    fn position(&self) -> u64 {
        self.position().get()
    }

    fn time(&self) -> Timestamp {
        self.time()
    }

    fn tags(&self) -> Vec<&str> {
        self.tags().collect()
    }

    fn metadata(&self, name: &str) -> Option<Value> {
        self.metadata().ok()?.get(name).cloned()
    }
}
