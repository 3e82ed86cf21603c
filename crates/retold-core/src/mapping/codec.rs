//! Codecs: how an event's content becomes bytes, and content again.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::domain::event::Event;
use crate::recording::encoding::Encoding;

/// How an event's content becomes bytes. Its name is stored with every event, so that a log may mix
/// codecs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// JSON (RFC 8259), without white space, fields in the order of their declaration. It has no form
    /// for floats that are not finite: they are written as `null`, which is read as nothing in an
    /// `Option` and not at all elsewhere. Keep them out of events.
    #[default]
    Json,
}

/// Room that is kept by each thread for payloads being written, in bytes; a larger one is given back.
const BUFFER_SIZE_KEPT: usize = 64 * 1024;

thread_local! {
    /// Written into and copied from, so that a payload is kept in exactly the bytes that it has.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Codec {
    /// The codec of this name; none if this version knows none.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// What is stored with a payload that this codec wrote and that nothing else was done to.
    pub const fn encoding(self) -> Encoding {
        match self {
            Self::Json => Encoding::JSON,
        }
    }

    /// Writes the content of an event.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the event's own `Serialize` fails, or it has what the codec cannot express:
    /// a map whose keys are not texts, in JSON.
    pub fn encode<E: Event>(self, event: &E) -> Result<Bytes, CodecError> {
        // Taken, not borrowed: an event's `Serialize` may itself encode an event.
        let mut buffer = BUFFER.take();
        buffer.clear();
        let written = match self {
            Self::Json => event.serialize_payload(&mut serde_json::Serializer::new(&mut buffer)),
        };
        let payload = written.map(|()| Bytes::copy_from_slice(&buffer));
        if buffer.capacity() <= BUFFER_SIZE_KEPT {
            BUFFER.set(buffer);
        }
        payload.map_err(CodecError::new)
    }

    /// Reads the content of an event of the type at `type_index` in [`Event::TYPES`].
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the bytes are not of the codec, or not the content of such an event.
    pub fn decode<E: Event>(self, type_index: usize, payload: &[u8]) -> Result<E, CodecError> {
        match self {
            Self::Json => {
                let mut deserializer = serde_json::Deserializer::from_slice(payload);
                let event = E::deserialize_payload(type_index, &mut deserializer)
                    .map_err(CodecError::new)?;
                deserializer.end().map_err(CodecError::new)?;
                Ok(event)
            }
        }
    }
}

/// What a codec, or the event's own serde, found wrong with a payload.
#[derive(Clone)]
pub struct CodecError(Arc<dyn std::error::Error + Send + Sync>);

impl CodecError {
    fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Debug for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
