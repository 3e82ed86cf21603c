//! Codecs of the program: a trait that hides the event's type and the serde format from each other.

use std::error::Error;

use serde::de::DeserializeSeed;
use serde::{Serialize, Serializer};

use crate::domain::Event;

/// A codec of the program: another serde format for the content of events.
///
/// Its name is stored with every event, so the name must never mean another format. Every event is
/// read back and compared before it is recorded, as with the built-in codecs. Give it to
/// [`Codec::custom`](super::Codec::custom).
///
/// ```
/// use retold::mapping::{Codec, ContentReader, CustomCodec, erased_serde};
/// use std::error::Error;
///
/// /// JSON with white space, for people who read the database.
/// struct Pretty;
///
/// impl CustomCodec for Pretty {
///     fn name(&self) -> &'static str {
///         "pretty"
///     }
///
///     fn encode(
///         &self,
///         content: &dyn erased_serde::Serialize,
///         payload: &mut Vec<u8>,
///     ) -> Result<(), Box<dyn Error + Send + Sync>> {
///         Ok(serde_json::to_writer_pretty(payload, content)?)
///     }
///
///     fn decode(
///         &self,
///         payload: &[u8],
///         reader: &mut ContentReader<'_>,
///     ) -> Result<(), Box<dyn Error + Send + Sync>> {
///         let mut json = serde_json::Deserializer::from_slice(payload);
///         reader(&mut <dyn erased_serde::Deserializer>::erase(&mut json))?;
///         Ok(json.end()?)
///     }
/// }
///
/// let codec = Codec::custom(&Pretty)?;
/// assert_eq!(codec.name(), "pretty");
/// # Ok::<(), retold::recording::Invalid>(())
/// ```
pub trait CustomCodec: Send + Sync {
    /// Returns the name that is stored with every event: 1 to
    /// [`CODEC_NAME_SIZE_MAX`](super::CODEC_NAME_SIZE_MAX) lower-case letters, digits, `-` and `_`.
    fn name(&self) -> &'static str;

    /// Appends the encoded content to `payload`.
    ///
    /// # Errors
    ///
    /// The error of the format. The event is then not recorded.
    fn encode(
        &self,
        content: &dyn erased_serde::Serialize,
        payload: &mut Vec<u8>,
    ) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Calls `reader` once with a deserializer over the payload, and checks that nothing is left of
    /// the payload.
    ///
    /// The payload may have been damaged: it must be an event or an error, never a panic.
    ///
    /// # Errors
    ///
    /// The error of the format, or of the reader.
    fn decode(
        &self,
        payload: &[u8],
        reader: &mut ContentReader<'_>,
    ) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// Reads the content of an event from a deserializer.
pub type ContentReader<'a> =
    dyn for<'d> FnMut(&mut dyn erased_serde::Deserializer<'d>) -> ReadContent + 'a;

/// The result of reading content.
pub type ReadContent = Result<(), erased_serde::Error>;

/// The content of an event as a value of serde.
struct EventContent<'a, E>(&'a E);

impl<E: Event> Serialize for EventContent<'_, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_payload(serializer)
    }
}

/// Encodes the content of an event.
pub(super) fn write<E: Event>(
    codec: &dyn CustomCodec,
    event: &E,
    payload: &mut Vec<u8>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    codec.encode(&EventContent(event), payload)
}

/// Decodes a payload with this seed.
pub(super) fn decode<T, S>(
    codec: &dyn CustomCodec,
    seed: S,
    payload: &[u8],
) -> Result<T, Box<dyn Error + Send + Sync>>
where
    S: for<'de> DeserializeSeed<'de, Value = T> + Copy,
{
    let mut value = None;
    codec.decode(payload, &mut |deserializer| {
        value = Some(seed.deserialize(deserializer)?);
        Ok(())
    })?;
    let nothing = || format!("the codec {:?} read no content", codec.name()).into();
    value.ok_or_else(nothing)
}
