//! The parts of a payload: what is data of a subject, and the rest.
//!
//! A payload with parts is: the version of this format; the rest, as its codec wrote it without the
//! fields that are data of subjects, with its size before it; and each part: whether it is fields
//! or the whole content, the ids of the keys that it is encrypted with, one around the other, and
//! its bytes with their size before them. The codec's name in the encoding ends with
//! [`PARTS_SUFFIX`].

use uuid::Uuid;

use crate::recording::Invalid;

/// What follows the name of the codec in the encoding of a payload with parts.
pub(super) const PARTS_SUFFIX: &str = ".parts";

const VERSION: u8 = 1;

/// Maximum number of parts of a payload, and of keys of a part.
pub(super) const PARTS_MAX: usize = 16;

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PartKind {
    Fields,
    Whole,
}

impl PartKind {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Fields => 0,
            Self::Whole => 1,
        }
    }
}

/// A part of a payload, encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SealedPart {
    pub(super) kind: PartKind,
    /// The ids of its keys, in the order of encryption.
    pub(super) keys: Vec<Uuid>,
    pub(super) sealed: Vec<u8>,
}

/// Returns the payload of these parts.
pub(super) fn write_parts(rest: &[u8], parts: &[SealedPart]) -> Vec<u8> {
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).expect("the payload is within its limit");
    let mut payload = vec![VERSION];
    payload.extend_from_slice(&size(rest).to_le_bytes());
    payload.extend_from_slice(rest);
    for part in parts {
        payload.push(part.kind.code());
        payload.push(u8::try_from(part.keys.len()).expect("a part has few keys"));
        for key in &part.keys {
            payload.extend_from_slice(key.as_bytes());
        }
        payload.extend_from_slice(&size(&part.sealed).to_le_bytes());
        payload.extend_from_slice(&part.sealed);
    }
    payload
}

/// Reads what [`write_parts`] wrote; none if it is something else.
pub(super) fn read_parts(payload: &[u8]) -> Option<(&[u8], Vec<SealedPart>)> {
    let (&VERSION, bytes) = payload.split_first()? else {
        return None;
    };
    let (rest, mut bytes) = sized(bytes)?;
    let mut parts = Vec::new();
    while let Some((&kind, after)) = bytes.split_first() {
        let kind = match kind {
            0 => PartKind::Fields,
            1 => PartKind::Whole,
            _ => return None,
        };
        let (&count, mut after) = after.split_first()?;
        let count = usize::from(count);
        if !(1..=PARTS_MAX).contains(&count) || parts.len() == PARTS_MAX {
            return None;
        }
        let mut keys = Vec::with_capacity(count);
        for _ in 0..count {
            let (key, next) = after.split_first_chunk::<16>()?;
            keys.push(Uuid::from_bytes(*key));
            after = next;
        }
        let (sealed, after) = sized(after)?;
        let sealed = sealed.to_vec();
        parts.push(SealedPart { kind, keys, sealed });
        bytes = after;
    }
    Some((rest, parts))
}

/// Reads bytes with their size before them; returns them and what follows.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, bytes) = bytes.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
    bytes.split_at_checked(size)
}

/// A codec whose payloads are maps of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldCodec {
    Json,
    MessagePack,
}

impl FieldCodec {
    /// Returns the codec of this name.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for a codec of the program, whose fields cannot be separated.
    pub(super) fn named(codec: &str) -> Result<Self, Invalid> {
        match codec {
            "json" => Ok(Self::Json),
            "msgpack" => Ok(Self::MessagePack),
            _ => Err(Invalid::new(format!(
                "an event with fields of a subject is encoded as {codec:?}, whose fields cannot be \
                 separated; use JSON or MessagePack, or `#[event(subject = \"…\")]` on the type \
                 instead of its fields"
            ))),
        }
    }

    /// Splits a payload into several: each field goes to the index that `place` returns for its
    /// name. None if the payload is not a map of fields.
    pub(super) fn split(
        self,
        payload: &[u8],
        count: usize,
        place: impl Fn(&str) -> usize,
    ) -> Option<Vec<Vec<u8>>> {
        let fields = match self {
            Self::Json => json::fields(payload)?,
            Self::MessagePack => message_pack::fields(payload)?,
        };
        let mut split = vec![Vec::new(); count];
        for (name, field) in &fields {
            split.get_mut(place(name))?.push(&**field);
        }
        Some(split.iter().map(|fields| self.map_of(fields)).collect())
    }

    /// Returns the names of the fields of a payload; none if it is not a map of fields.
    pub(super) fn names(self, payload: &[u8]) -> Option<Vec<String>> {
        let fields = match self {
            Self::Json => json::fields(payload)?,
            Self::MessagePack => message_pack::fields(payload)?,
        };
        Some(fields.into_iter().map(|(name, _)| name).collect())
    }

    /// Joins payloads that were split: the fields of each, one after the other. None if one is not
    /// a map of fields.
    pub(super) fn join(self, payloads: &[&[u8]]) -> Option<Vec<u8>> {
        let mut fields = Vec::new();
        for payload in payloads {
            fields.extend(match self {
                Self::Json => json::fields(payload)?,
                Self::MessagePack => message_pack::fields(payload)?,
            });
        }
        let fields: Vec<&[u8]> = fields.iter().map(|(_, field)| &**field).collect();
        Some(self.map_of(&fields))
    }

    fn map_of(self, fields: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Json => json::map_of(fields),
            Self::MessagePack => message_pack::map_of(fields),
        }
    }
}

/// The name of a field, and its bytes with the name.
type Field = (String, Vec<u8>);

mod json {
    use std::fmt;

    use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
    use serde_json::value::RawValue;

    use super::Field;

    struct JsonFields(Vec<Field>);

    impl<'de> Deserialize<'de> for JsonFields {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(ReadingFields)
        }
    }

    struct ReadingFields;

    impl<'de> Visitor<'de> for ReadingFields {
        type Value = JsonFields;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of fields")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonFields, A::Error> {
            let mut fields = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                let mut field = serde_json::to_vec(&name).expect("a text is JSON");
                field.push(b':');
                field.extend_from_slice(value.get().as_bytes());
                fields.push((name, field));
            }
            Ok(JsonFields(fields))
        }
    }

    pub(super) fn fields(payload: &[u8]) -> Option<Vec<Field>> {
        let fields: JsonFields = serde_json::from_slice(payload).ok()?;
        Some(fields.0)
    }

    pub(super) fn map_of(fields: &[&[u8]]) -> Vec<u8> {
        [b"{", &*fields.join(&b','), b"}"].concat()
    }
}

mod message_pack {
    use super::Field;

    /// Maximum nesting that is skipped.
    const DEPTH_MAX: usize = 128;

    pub(super) fn fields(payload: &[u8]) -> Option<Vec<Field>> {
        let (&marker, bytes) = payload.split_first()?;
        let (count, mut bytes) = match marker {
            0x80..=0x8f => (usize::from(marker & 0x0f), bytes),
            0xde => number(bytes, 2)?,
            0xdf => number(bytes, 4)?,
            _ => return None,
        };
        let mut fields = Vec::new();
        for _ in 0..count {
            let (name, value) = text(bytes)?;
            let rest = skip(value, DEPTH_MAX)?;
            let field = bytes[..bytes.len() - rest.len()].to_vec();
            fields.push((name.to_owned(), field));
            bytes = rest;
        }
        bytes.is_empty().then_some(fields)
    }

    pub(super) fn map_of(fields: &[&[u8]]) -> Vec<u8> {
        let count = fields.len();
        let mut map = match (u8::try_from(count), u16::try_from(count)) {
            (Ok(count @ ..=15), _) => vec![0x80 | count],
            (_, Ok(count)) => [&[0xde][..], &count.to_be_bytes()].concat(),
            _ => {
                let count = u32::try_from(count).expect("a payload has fewer fields than bytes");
                [&[0xdf][..], &count.to_be_bytes()].concat()
            }
        };
        map.extend(fields.concat());
        map
    }

    /// Reads a number of this many bytes, and returns what follows.
    fn number(bytes: &[u8], size: usize) -> Option<(usize, &[u8])> {
        let (number, rest) = bytes.split_at_checked(size)?;
        let number = number
            .iter()
            .fold(0, |all, byte| all << 8 | usize::from(*byte));
        Some((number, rest))
    }

    /// Reads a text, and returns what follows.
    fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
        let (&marker, bytes) = bytes.split_first()?;
        let (size, bytes) = match marker {
            0xa0..=0xbf => (usize::from(marker & 0x1f), bytes),
            0xd9 => number(bytes, 1)?,
            0xda => number(bytes, 2)?,
            0xdb => number(bytes, 4)?,
            _ => return None,
        };
        let (text, rest) = bytes.split_at_checked(size)?;
        Some((std::str::from_utf8(text).ok()?, rest))
    }

    /// Returns what follows the value at the beginning of these bytes.
    fn skip(bytes: &[u8], depth_left: usize) -> Option<&[u8]> {
        let depth_left = depth_left.checked_sub(1)?;
        let (&marker, bytes) = bytes.split_first()?;
        let after =
            |(size, bytes): (usize, &'_ [u8])| -> Option<usize> { bytes.len().checked_sub(size) };
        let rest_after = |sized: Option<(usize, &[u8])>, extra: usize| -> Option<usize> {
            let (size, bytes) = sized?;
            after((size.checked_add(extra)?, bytes))
        };
        let rest = match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Some(bytes.len()),
            0x80..=0x8f => return values(bytes, 2 * usize::from(marker & 0x0f), depth_left),
            0x90..=0x9f => return values(bytes, usize::from(marker & 0x0f), depth_left),
            0xa0..=0xbf => after((usize::from(marker & 0x1f), bytes)),
            0xc4 | 0xd9 => rest_after(number(bytes, 1), 0),
            0xc5 | 0xda => rest_after(number(bytes, 2), 0),
            0xc6 | 0xdb => rest_after(number(bytes, 4), 0),
            0xc7 => rest_after(number(bytes, 1), 1),
            0xc8 => rest_after(number(bytes, 2), 1),
            0xc9 => rest_after(number(bytes, 4), 1),
            0xcc | 0xd0 => after((1, bytes)),
            0xcd | 0xd1 | 0xd4 => after((2, bytes)),
            0xd5 => after((3, bytes)),
            0xca | 0xce | 0xd2 => after((4, bytes)),
            0xd6 => after((5, bytes)),
            0xcb | 0xcf | 0xd3 => after((8, bytes)),
            0xd7 => after((9, bytes)),
            0xd8 => after((17, bytes)),
            0xdc..=0xdf => {
                let size = if marker & 1 == 0 { 2 } else { 4 };
                let (count, bytes) = number(bytes, size)?;
                let each = if marker < 0xde { 1 } else { 2 };
                return values(bytes, count.checked_mul(each)?, depth_left);
            }
            0xc1 => None,
        }?;
        Some(&bytes[bytes.len() - rest..])
    }

    fn values(mut bytes: &[u8], count: usize, depth_left: usize) -> Option<&[u8]> {
        for _ in 0..count {
            bytes = skip(bytes, depth_left)?;
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: PartKind, keys: usize) -> SealedPart {
        SealedPart {
            kind,
            keys: (0..keys as u128).map(Uuid::from_u128).collect(),
            sealed: vec![7; 20],
        }
    }

    #[test]
    fn parts_are_read_back_or_refused() {
        let parts = [part(PartKind::Fields, 1), part(PartKind::Whole, 2)];
        let payload = write_parts(b"{}", &parts);
        assert_eq!(read_parts(&payload), Some((&b"{}"[..], parts.to_vec())));
        assert_eq!(read_parts(&write_parts(b"", &[])), Some((&b""[..], vec![])));
        let ends: Vec<_> = (0..payload.len())
            .filter(|end| read_parts(&payload[..*end]).is_some())
            .collect();
        // After the rest, and after the first part.
        assert_eq!(ends, [7, 7 + 2 + 16 + 4 + 20]);
        for at in 0..payload.len() {
            for bit in 0..8 {
                let mut altered = payload.clone();
                altered[at] ^= 1 << bit;
                let _ = read_parts(&altered);
            }
        }
        let many = vec![part(PartKind::Fields, 1); PARTS_MAX + 1];
        assert_eq!(read_parts(&write_parts(b"", &many)), None);
        assert_eq!(read_parts(&[1, 0xff, 0xff, 0xff, 0xff]), None);
    }

    fn check(codec: FieldCodec, payload: &[u8], secret: &[&str]) {
        let place = |name: &str| usize::from(secret.contains(&name));
        let split = codec.split(payload, 2, place).unwrap();
        let names = codec.names(&split[1]).unwrap();
        assert!(names.iter().all(|name| secret.contains(&&**name)));
        let joined = codec.join(&[&split[0], &split[1]]).unwrap();
        assert_eq!(joined.len(), payload.len());
        let sorted = |payload: &[u8]| {
            let mut names = codec.names(payload).unwrap();
            names.sort_unstable();
            names
        };
        assert_eq!(sorted(&joined), sorted(payload));
    }

    #[test]
    fn fields_are_split_and_joined() {
        let json = br#"{"id":17,"name":"F\u00e9 \"x\"","list":[{"a":1.50}],"n\n":null}"#;
        let split = FieldCodec::Json
            .split(json, 2, |it| usize::from(it == "name"))
            .unwrap();
        assert_eq!(split[0], br#"{"id":17,"list":[{"a":1.50}],"n\n":null}"#);
        assert_eq!(split[1], br#"{"name":"F\u00e9 \"x\""}"#);
        check(FieldCodec::Json, json, &["id", "n\n"]);
        check(FieldCodec::Json, b"{}", &["id"]);
        let mut packed = vec![0x84];
        packed.extend(b"\xa2id\xcd\x01\x00\xa4name\xa3abc\xa4list\x92\x81\xa1a\xcb01234567\xc0");
        packed.extend(b"\xa3bin\xc4\x02xy");
        check(FieldCodec::MessagePack, &packed, &["name", "list"]);
        check(FieldCodec::MessagePack, &[0x80], &["id"]);
        for codec in [FieldCodec::Json, FieldCodec::MessagePack] {
            for bad in [
                &b""[..],
                b"[1]",
                b"{\"a\"",
                b"{} {}",
                b"\x81\xa1",
                b"\xdf\xff\xff\xff\xff",
            ] {
                assert_eq!(codec.split(bad, 1, |_| 0), None, "{codec:?} {bad:?}");
            }
        }
        assert!(FieldCodec::named("cbor").is_err());
    }

    /// Any bytes are fields or nothing.
    #[test]
    fn no_payload_makes_splitting_panic() {
        let mut random = fastrand::Rng::with_seed(fastrand::u64(..));
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.usize(0..30))
                .map(|_| random.u8(0x80..))
                .collect();
            let _ = FieldCodec::MessagePack.split(&bytes, 1, |_| 0);
        }
        let deep = [vec![0x81, 0xa1, b'a'], vec![0x91; 100_000]].concat();
        assert_eq!(FieldCodec::MessagePack.split(&deep, 1, |_| 0), None);
        let wide = [0x81, 0xa1, b'a', 0xdd, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(FieldCodec::MessagePack.split(&wide, 1, |_| 0), None);
    }
}
