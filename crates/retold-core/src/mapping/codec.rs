//! Codecs: encode an event's content as bytes, and decode it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Deserializer;
use serde::de::DeserializeSeed;
use serde_path_to_error::Track;

use super::codec_error::{CodecError, shown};
use super::custom_codec::{self, CustomCodec};
use super::json_difference::check_round_trip;
#[cfg(feature = "msgpack")]
use super::message_pack;
use crate::domain::{Event, Finite};
use crate::recording::{Encoding, Invalid};

/// The encoding of an event's content as bytes. Its name is stored with every event, so that one
/// log can mix codecs.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub enum Codec {
    /// JSON (RFC 8259), without white space, fields in the order of their declaration. It cannot
    /// represent floats that are not finite: encoding an event that contains one is an error.
    #[default]
    Json,
    /// [MessagePack](https://msgpack.org), fields as maps with their names, so that fields can be
    /// added and removed as in JSON. Types that serde writes in a compact form where no person
    /// reads it, such as uuids, are binary. Requires the feature `msgpack`.
    #[cfg(feature = "msgpack")]
    MessagePack,
    /// A codec of the program, checked by [`Codec::custom`].
    Custom(ProgramCodec),
}

/// A codec of the program whose name was checked; see [`Codec::custom`].
#[derive(Clone, Copy)]
pub struct ProgramCodec(&'static dyn CustomCodec);

/// Size of the buffer that each thread keeps for writing payloads, in bytes; a larger buffer is
/// freed.
const BUFFER_SIZE_KEPT: usize = 64 * 1024;

/// Maximum size of the name of a codec, in bytes.
pub const CODEC_NAME_SIZE_MAX: usize = 32;

const JSON: &str = "json";
const MESSAGE_PACK: &str = "msgpack";

thread_local! {
    /// Payloads are written into it and copied out, so that each payload takes exactly its own
    /// size.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Codec {
    /// Returns the built-in codec with this name; `None` if this version, with the features that it
    /// was built with, has none.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            JSON => Some(Self::Json),
            #[cfg(feature = "msgpack")]
            MESSAGE_PACK => Some(Self::MessagePack),
            _ => None,
        }
    }

    /// Returns a codec of the program.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if its name is that of a built-in codec or is not a valid one: 1 to
    /// [`CODEC_NAME_SIZE_MAX`] lower-case letters, digits, `-` and `_` of ASCII.
    pub fn custom(codec: &'static dyn CustomCodec) -> Result<Self, Invalid> {
        let name = codec.name();
        let is_valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if !(1..=CODEC_NAME_SIZE_MAX).contains(&name.len()) || !name.bytes().all(is_valid) {
            return Err(Invalid::new(format!(
                "the name of a codec has 1 to {CODEC_NAME_SIZE_MAX} lower-case letters, digits, \
                 `-` and `_`, not {name:?}"
            )));
        }
        if matches!(name, JSON | MESSAGE_PACK) {
            return Err(Invalid::new(format!(
                "the codec {name:?} is built in; give yours another name, which is stored with \
                 every event"
            )));
        }
        Ok(Self::Custom(ProgramCodec(codec)))
    }

    /// Returns the name that is stored with every event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => JSON,
            #[cfg(feature = "msgpack")]
            Self::MessagePack => MESSAGE_PACK,
            Self::Custom(ProgramCodec(codec)) => codec.name(),
        }
    }

    fn is_built_in(self) -> bool {
        !matches!(self, Self::Custom(_))
    }

    /// Returns the encoding of a payload that this codec wrote and that is neither compressed nor
    /// encrypted.
    pub fn encoding(self) -> Encoding {
        match self {
            Self::Json => Encoding::JSON,
            #[cfg(feature = "msgpack")]
            Self::MessagePack => Encoding::MESSAGE_PACK,
            Self::Custom(ProgramCodec(codec)) => {
                Encoding::parse(codec.name()).expect("the name was checked")
            }
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
        let event = PhantomData::<fn() -> E>;
        self.decode_with(PresentContent { type_index, event }, payload)
    }

    /// Decodes a payload with this seed. After an error, the seed is used a second time, to find
    /// the place of the error.
    pub(super) fn decode_with<T, S>(self, seed: S, payload: &[u8]) -> Result<T, CodecError>
    where
        S: for<'de> DeserializeSeed<'de, Value = T> + Copy,
    {
        match self {
            Self::Json => {
                // The whole is checked as UTF-8, which costs less than checking each of its
                // strings.
                let text = std::str::from_utf8(payload).map_err(CodecError::new)?;
                let mut deserializer = serde_json::Deserializer::from_str(text);
                let value = seed
                    .deserialize(&mut deserializer)
                    .map_err(|error| CodecError::at(path_read(seed, payload), error))?;
                deserializer.end().map_err(CodecError::new)?;
                Ok(value)
            }
            #[cfg(feature = "msgpack")]
            Self::MessagePack => message_pack::decode(seed, payload),
            Self::Custom(ProgramCodec(codec)) => {
                custom_codec::decode(codec, seed, payload).map_err(CodecError::from_box)
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
            Ok(()) if *buffer == *payload && self.is_built_in() => Ok(()),
            Ok(()) if self == Self::Json => {
                self.check_as_written::<E>(type_index, &payload, &buffer)
            }
            Ok(()) => {
                let pair = (event, &read_back);
                self.check_as_json(type_index, pair, [&payload, &buffer])
            }
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
            #[cfg(feature = "msgpack")]
            Self::MessagePack => message_pack::write(event, buffer),
            Self::Custom(ProgramCodec(codec)) => {
                custom_codec::write(codec, event, buffer).map_err(CodecError::from_box)
            }
        }
    }

    /// Checks that a payload in JSON is equivalent to `again`, the encoding of the event decoded
    /// from it.
    fn check_as_written<E: Event>(
        self,
        type_index: usize,
        payload: &[u8],
        again: &[u8],
    ) -> Result<(), String> {
        check_round_trip(payload, again, |payload| {
            let event = self.decode::<E>(type_index, payload);
            let event = event.map_err(|error| cannot_be_decoded(&error))?;
            let mut written = Vec::with_capacity(payload.len());
            self.write(&event, &mut written)
                .map_err(|error| cannot_be_written(&error))?;
            Ok(written)
        })
    }

    /// Checks that an event is equivalent to the one that was read back, by their content as JSON,
    /// in which the order of a map does not count, and which shows where they differ. `payloads`
    /// are their encodings. That these are equal proves nothing of a codec that leaves something
    /// out both times.
    fn check_as_json<E: Event>(
        self,
        type_index: usize,
        (event, read_back): (&E, &E),
        payloads: [&[u8]; 2],
    ) -> Result<(), String> {
        let json = |event: &E| {
            let mut json = Vec::new();
            let written = Self::Json.write(event, &mut json);
            written
                .map(|()| json)
                .map_err(|error| cannot_be_written(&error))
        };
        let (first, second) = (json(event), json(read_back));
        if payloads[0] == payloads[1] && first.is_err() && second.is_err() {
            return Ok(());
        }
        let (first, second) = (first?, second?);
        // The encoding of each text, so that each is read as its codec reads it.
        let encodings = RefCell::new(HashMap::from([
            (first.clone(), payloads[0].to_vec()),
            (second.clone(), payloads[1].to_vec()),
        ]));
        check_round_trip(&first, &second, |text| {
            let payload = encodings.borrow().get(text).cloned().unwrap_or_default();
            let event = self.decode::<E>(type_index, &payload);
            let event = event.map_err(|error| cannot_be_decoded(&error))?;
            let (text, mut payload) = (json(&event)?, Vec::new());
            self.write(&event, &mut payload)
                .map_err(|error| cannot_be_written(&error))?;
            encodings.borrow_mut().insert(text.clone(), payload);
            Ok(text)
        })
    }
}

impl PartialEq for Codec {
    /// Codecs are equal if the same name is stored for them.
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Codec {}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for ProgramCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

fn cannot_be_decoded(error: &CodecError) -> String {
    format!("it cannot be decoded a second time: {error}")
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

/// Returns the path at which decoding a payload from JSON fails; empty if it is unknown.
fn path_read<'de>(seed: impl DeserializeSeed<'de>, payload: &'de [u8]) -> String {
    let (mut track, mut json) = (Track::new(), serde_json::Deserializer::from_slice(payload));
    let deserializer = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let _ = seed.deserialize(deserializer);
    shown(&track.path())
}

/// The content of an event of a type in its present shape.
struct PresentContent<E> {
    type_index: usize,
    event: PhantomData<fn() -> E>,
}

impl<E> Clone for PresentContent<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for PresentContent<E> {}

impl<'de, E: Event> DeserializeSeed<'de> for PresentContent<E> {
    type Value = E;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<E, D::Error> {
        E::deserialize_payload(self.type_index, deserializer)
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
