//! The codec MessagePack: structs are maps with the names of their fields.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_path_to_error::Track;

use super::codec_error::{CodecError, shown};
use crate::domain::Event;

/// Maximum nesting of a payload; the same as that of `serde_json`.
const DEPTH_MAX: usize = 128;

/// Appends the content of an event to `payload`.
pub(super) fn write<E: Event>(event: &E, payload: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut serializer = rmp_serde::Serializer::new(payload).with_struct_map();
    event
        .serialize_payload(&mut serializer)
        .map_err(|error| CodecError::at(path_written(event), error))
}

/// Returns the path in an event at which encoding it fails; empty if it is unknown.
fn path_written<E: Event>(event: &E) -> String {
    let mut track = Track::new();
    let mut nowhere = rmp_serde::Serializer::new(std::io::sink()).with_struct_map();
    // It fails with the same error again.
    let _ = event.serialize_payload(serde_path_to_error::Serializer::new(
        &mut nowhere,
        &mut track,
    ));
    shown(&track.path())
}

/// Decodes a payload with this seed, which is used a second time after an error.
pub(super) fn decode<T, S>(seed: S, payload: &[u8]) -> Result<T, CodecError>
where
    S: for<'de> DeserializeSeed<'de, Value = T> + Copy,
{
    let mut rest = payload;
    let value = {
        let mut deserializer = deserializer(&mut rest);
        seed.deserialize(&mut deserializer)
            .map_err(|error| CodecError::at(path_read(seed, payload), error))?
    };
    match rest.len() {
        0 => Ok(value),
        count => Err(CodecError::new(TrailingBytes { count })),
    }
}

/// Returns the path at which decoding a payload fails; empty if it is unknown.
fn path_read(seed: impl for<'de> DeserializeSeed<'de>, mut payload: &[u8]) -> String {
    let mut track = Track::new();
    let mut deserializer = deserializer(&mut payload);
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let _ = seed.deserialize(tracked);
    shown(&track.path())
}

type SliceDeserializer<'r, 'p> =
    rmp_serde::Deserializer<rmp_serde::decode::ReadReader<&'r mut &'p [u8]>>;

fn deserializer<'r, 'p>(rest: &'r mut &'p [u8]) -> SliceDeserializer<'r, 'p> {
    let mut deserializer = rmp_serde::Deserializer::new(rest);
    deserializer.set_max_depth(DEPTH_MAX);
    deserializer
}

#[derive(Debug, thiserror::Error)]
#[error("{count} bytes follow the content")]
struct TrailingBytes {
    count: usize,
}

/// Returns MessagePack as JSON, for people and for comparing; none if it is not valid. Binary data
/// is a text of hexadecimal digits, and keys that are not texts are shown as texts.
pub fn message_pack_as_json(payload: &[u8]) -> Option<Value> {
    let mut rest = payload;
    let shown = Shown::deserialize(&mut deserializer(&mut rest)).ok()?;
    rest.is_empty().then_some(shown.0)
}

/// MessagePack as JSON.
struct Shown(Value);

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Showing).map(Self)
    }
}

struct Showing;

impl<'de> Visitor<'de> for Showing {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).map(Value::Number);
        Ok(number.unwrap_or_else(|| value.to_string().into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(digits.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut shown = Vec::new();
        while let Some(element) = elements.next_element::<Shown>()? {
            shown.push(element.0);
        }
        Ok(shown.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut shown = Map::new();
        while let Some((key, value)) = entries.next_entry::<Shown, Shown>()? {
            let key = match key.0 {
                Value::String(text) => text,
                other => other.to_string(),
            };
            shown.insert(key, value.0);
        }
        Ok(shown.into())
    }
}
