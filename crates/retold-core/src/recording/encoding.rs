//! How a payload was encoded: codec, compression, key. Stored with every event.

use std::borrow::Cow;
use std::fmt;

use super::fault::Invalid;
use super::limits::{LABEL_SIZE_MAX, check_name};

/// How a payload was encoded, so that one log may mix codecs, compressions and keys.
///
/// Its text is `codec[+compression][@key id]`, for example `json`, `json+zstd`, `json@2026-11`. The
/// recorder stores the text without interpreting it; the mapper interprets it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Encoding {
    text: Cow<'static, str>,
}

impl Encoding {
    /// JSON, neither compressed nor encrypted.
    pub const JSON: Self = Self {
        text: Cow::Borrowed("json"),
    };

    /// MessagePack, neither compressed nor encrypted.
    pub const MESSAGE_PACK: Self = Self {
        text: Cow::Borrowed("msgpack"),
    };

    /// Parses the text of an encoding.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if the text is not a valid name or one of its parts is empty.
    pub fn parse(text: impl Into<Cow<'static, str>>) -> Result<Self, Invalid> {
        let encoding = Self { text: text.into() };
        encoding.check()?;
        Ok(encoding)
    }

    /// Returns the name of the codec, for example `json`.
    pub fn codec(&self) -> &str {
        split(&self.text).0
    }

    /// Returns the name of the compression, or none.
    pub fn compression(&self) -> Option<&str> {
        split(&self.text).1
    }

    /// Returns the id of the key with which the payload is encrypted, or none.
    pub fn key_id(&self) -> Option<&str> {
        split(&self.text).2
    }

    /// Returns the text that stores keep.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn check(&self) -> Result<(), Invalid> {
        const _: () = assert!(LABEL_SIZE_MAX == super::limits::NAME_SIZE_MAX);
        check_name("encoding", &self.text)?;
        let (codec, compression, key_id) = split(&self.text);
        if codec.is_empty() || compression == Some("") || key_id == Some("") {
            return Err(Invalid::new(format!(
                "the encoding {:?} is not of the form codec[+compression][@key id]",
                self.text
            )));
        }
        Ok(())
    }
}

fn split(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, key_id) = match text.split_once('@') {
        Some((rest, key_id)) => (rest, Some(key_id)),
        None => (text, None),
    };
    match rest.split_once('+') {
        Some((codec, compression)) => (codec, Some(compression), key_id),
        None => (rest, None, key_id),
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_have_three_parts() {
        let check = |text: &'static str, parts: (&str, Option<&str>, Option<&str>)| {
            let encoding = Encoding::parse(text).unwrap();
            assert_eq!(
                (encoding.codec(), encoding.compression(), encoding.key_id()),
                parts
            );
        };
        check("json", ("json", None, None));
        check("json+zstd", ("json", Some("zstd"), None));
        check("json@a+b", ("json", None, Some("a+b")));
        check("msgpack+zstd@2026", ("msgpack", Some("zstd"), Some("2026")));
        for bad in ["", "+zstd", "json+", "json@", "js\non"] {
            assert!(Encoding::parse(bad).is_err(), "{bad:?}");
        }
    }
}
