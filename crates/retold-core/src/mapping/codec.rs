//! Codecs: encode an event's content as bytes, and decode it.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_path_to_error::{Segment, Track};

use super::json_difference::check_round_trip;
use crate::domain::{Event, Finite};
use crate::recording::Encoding;

/// The encoding of an event's content as bytes. Its name is stored with every event, so that one
/// log can mix codecs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// JSON (RFC 8259), without white space, fields in the order of their declaration. It cannot
    /// represent floats that are not finite: encoding an event that contains one is an error.
    #[default]
    Json,
}

/// Size of the buffer that each thread keeps for writing payloads, in bytes; a larger buffer is
/// freed.
const BUFFER_SIZE_KEPT: usize = 64 * 1024;

thread_local! {
    /// Payloads are written into it and copied out, so that each payload takes exactly its own
    /// size.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Codec {
    /// Returns the codec with this name; `None` if this version does not know it.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// Returns the encoding of a payload that this codec wrote and that is neither compressed nor
    /// encrypted.
    pub const fn encoding(self) -> Encoding {
        match self {
            Self::Json => Encoding::JSON,
        }
    }

    /// Encodes the content of an event.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the event's own `Serialize` fails, or if the codec cannot express the
    /// content: in JSON, a map whose keys are not texts, or a float that is not finite.
    pub fn encode<E: Event>(self, event: &E) -> Result<Bytes, CodecError> {
        // Taken, not borrowed: an event's `Serialize` may itself encode an event.
        let mut buffer = BUFFER.take();
        let written = self.write(event, &mut buffer);
        let payload = written.map(|()| Bytes::copy_from_slice(&buffer));
        give_back(buffer);
        payload
    }

    /// Decodes the content of an event of the type at `type_index` in [`Event::TYPES`].
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the bytes are not in the format of the codec, or not the content of such
    /// an event.
    pub fn decode<E: Event>(self, type_index: usize, payload: &[u8]) -> Result<E, CodecError> {
        match self {
            Self::Json => {
                // The whole is checked as UTF-8, which costs less than checking each of its
                // strings.
                let text = std::str::from_utf8(payload).map_err(CodecError::new)?;
                let mut deserializer = serde_json::Deserializer::from_str(text);
                let event = E::deserialize_payload(type_index, &mut deserializer)
                    .map_err(|error| CodecError::at(path_read::<E>(type_index, payload), error))?;
                deserializer.end().map_err(CodecError::new)?;
                Ok(event)
            }
        }
    }

    /// Encodes the content of an event and reads it back: returns the bytes, and the event that is
    /// decoded from them.
    ///
    /// The decoded event is encoded a second time, and both encodings must be equivalent. This
    /// guarantees that every recorded event can be read, and has the content that was decided.
    /// Elements may come in another order only if the order is not part of the content, as
    /// determined by [`check_round_trip`].
    pub(super) fn encode_and_decode<E: Event>(
        self,
        event: &E,
    ) -> Result<(Bytes, E), RoundTripError> {
        let payload = self.encode(event).map_err(RoundTripError::Encode)?;
        // Readers find the type by the topic, so the check does too.
        let topic = event.event_type().topic;
        let type_index = E::index_of_topic(topic).unwrap_or_else(|| event.type_index());
        let read_back = self.decode::<E>(type_index, &payload);
        let read_back = read_back.map_err(RoundTripError::ReadBack)?;
        let fault = |text: String| RoundTripError::ReadBack(CodecError::new(Fault(text)));
        let found = read_back.event_type().topic;
        if found != topic {
            return Err(fault(format!("it comes back as an event {found:?}")));
        }
        let mut buffer = BUFFER.take();
        let checked = match self.write(&read_back, &mut buffer) {
            Ok(()) => self.check_round_trip::<E>(type_index, &payload, &buffer),
            Err(error) => Err(cannot_be_written(&error)),
        };
        give_back(buffer);
        match checked {
            Ok(()) => Ok((payload, read_back)),
            Err(difference) => Err(fault(difference)),
        }
    }

    fn write<E: Event>(self, event: &E, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
        buffer.clear();
        match self {
            Self::Json => {
                let mut serializer = serde_json::Serializer::new(buffer);
                event
                    .serialize_payload(Finite::new(&mut serializer))
                    .map_err(|error| CodecError::at(path_written(event), error))
            }
        }
    }

    /// Checks that a payload is equivalent to `again`, the encoding of the event decoded from it.
    fn check_round_trip<E: Event>(
        self,
        type_index: usize,
        payload: &[u8],
        again: &[u8],
    ) -> Result<(), String> {
        match self {
            Self::Json => check_round_trip(payload, again, |payload| {
                let event = self.decode::<E>(type_index, payload);
                let event = event
                    .map_err(|error| format!("it cannot be decoded a second time: {error}"))?;
                let mut written = Vec::with_capacity(payload.len());
                self.write(&event, &mut written)
                    .map_err(|error| cannot_be_written(&error))?;
                Ok(written)
            }),
        }
    }
}

fn cannot_be_written(error: &CodecError) -> String {
    format!("it cannot be encoded a second time: {error}")
}

fn give_back(buffer: Vec<u8>) {
    if buffer.capacity() <= BUFFER_SIZE_KEPT {
        BUFFER.set(buffer);
    }
}

/// Returns the path in an event at which encoding it as JSON fails; empty if it is unknown.
fn path_written<E: Event>(event: &E) -> String {
    let (mut track, mut nowhere) = (Track::new(), serde_json::Serializer::new(std::io::sink()));
    let serializer = serde_path_to_error::Serializer::new(Finite::new(&mut nowhere), &mut track);
    // It fails with the same error again.
    let _ = event.serialize_payload(serializer);
    shown(&track.path())
}

/// Returns the path in an event at which decoding it from JSON fails; empty if it is unknown.
fn path_read<E: Event>(type_index: usize, payload: &[u8]) -> String {
    let (mut track, mut json) = (Track::new(), serde_json::Deserializer::from_slice(payload));
    let deserializer = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let _ = E::deserialize_payload(type_index, deserializer);
    shown(&track.path())
}

fn shown(path: &serde_path_to_error::Path) -> String {
    let is_known = |it: &Segment| !matches!(it, Segment::Unknown);
    let mut text = path.to_string();
    if !path.iter().any(is_known) {
        text.clear();
    }
    text
}

/// Returns the prefix of a message that names a place; empty for the whole.
fn at(path: &str) -> String {
    match path {
        "" => String::new(),
        path => format!("at `{path}`: "),
    }
}

/// The reason why an event cannot be recorded.
pub(super) enum RoundTripError {
    /// It cannot be encoded.
    Encode(CodecError),
    /// It cannot be read back, or differs when read back.
    ReadBack(CodecError),
}

/// A fault in an event that was read back.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Fault(String);

/// An error of a codec, or of the event's own serde implementation, about a payload.
#[derive(Clone)]
pub struct CodecError {
    /// The path in the payload, for example `lines[2].price`; empty if it is unknown.
    path: Arc<str>,
    error: Arc<dyn std::error::Error + Send + Sync>,
}

impl CodecError {
    fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::at(String::new(), error)
    }

    fn at(path: String, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self {
            path: path.into(),
            error: Arc::new(error),
        }
    }
}

impl fmt::Debug for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", at(&self.path), self.error)
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}
