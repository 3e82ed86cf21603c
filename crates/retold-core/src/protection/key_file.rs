//! Key rings as text: in a file, and in an environment variable.

use std::path::Path;

use zeroize::Zeroizing;

use super::key::{KeyError, SecretKey, is_key_id};
use super::key_ring::KeyRing;

/// The environment variable from which the command line reads keys.
pub const KEYS_VARIABLE: &str = "RETOLD_KEYS";

/// Maximum size of a key file, in bytes: about 10,000 keys.
const FILE_SIZE_MAX: u64 = 1024 * 1024;

impl KeyRing {
    /// Parses keys: each line, or part of a line that ends with `;`, is the id of a key and its 64
    /// hexadecimal digits. The first key writes, the others only read. Empty lines, and lines that
    /// begin with `#`, do not count.
    ///
    /// ```
    /// use retold::protection::KeyRing;
    ///
    /// let keys = KeyRing::parse("
    ///     ## Written with since November.
    ///     2026-11 0a0b0c0d0e0f000102030405060708090a0b0c0d0e0f00010203040506070809
    ///     2025-06 ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100
    /// ")?;
    /// assert_eq!(keys.writing().id(), "2026-11");
    /// assert!(keys.known("2025-06").is_some());
    /// # Ok::<(), retold::protection::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`KeyError`] with the number of the line and the reason; it shows no digit of a key.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut ring: Option<Self> = None;
        let lines = text.split(['\n', ';']).map(str::trim).enumerate();
        let keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        for (index, line) in keys {
            let at = |error: KeyError| KeyError::new(format!("line {}: {error}", index + 1));
            let mut words = line.split_ascii_whitespace();
            let (Some(id), Some(digits), None) = (words.next(), words.next(), words.next()) else {
                return Err(at(KeyError::new(
                    "a key is its id and 64 hexadecimal digits, with a space between them",
                )));
            };
            // An id that is not valid is not shown: it may be the digits.
            if !is_key_id(id) {
                return Err(at(KeyError::new("the id of the key is not valid")));
            }
            let key = SecretKey::from_hex(id, digits).map_err(at)?;
            ring = Some(match ring {
                None => Self::new(key),
                Some(ring) if ring.known(id).is_some() => {
                    return Err(at(KeyError::new(format!("two keys have the id {id:?}"))));
                }
                Some(ring) => ring.reading(key).map_err(at)?,
            });
        }
        ring.ok_or_else(|| KeyError::new("there is no key"))
    }

    /// Reads keys from a file, as [`parse`](Self::parse) does. Let only the program's user read the
    /// file.
    ///
    /// # Errors
    ///
    /// [`KeyError`] with the path and the reason.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let at = |reason: String| KeyError::new(format!("{}: {reason}", path.display()));
        let size = std::fs::metadata(path).map_err(|error| at(error.to_string()))?;
        if size.len() > FILE_SIZE_MAX {
            return Err(at(format!("a key file has at most {FILE_SIZE_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| at(error.to_string()))?;
        let text = Zeroizing::new(text);
        Self::parse(&text).map_err(|error| at(error.to_string()))
    }

    /// Reads keys from an environment variable, as [`parse`](Self::parse) does; none if it is not
    /// set.
    ///
    /// # Errors
    ///
    /// [`KeyError`] with the name of the variable and the reason.
    pub fn from_environment(variable: &str) -> Result<Option<Self>, KeyError> {
        let Some(value) = std::env::var_os(variable) else {
            return Ok(None);
        };
        let at = |reason: &str| KeyError::new(format!("the variable {variable}: {reason}"));
        let text = value.into_string().map_err(|_| at("it is not a text"))?;
        let text = Zeroizing::new(text);
        let ring = Self::parse(&text).map_err(|error| at(&error.to_string()))?;
        Ok(Some(ring))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_files_are_refused_without_showing_a_key() {
        let secret = "ab".repeat(32);
        let other = "cd".repeat(32);
        for (text, part) in [
            (String::new(), "no key"),
            ("# nothing\n\n".into(), "no key"),
            (secret.clone(), "line 1"),
            (format!("{secret} k"), "line 1"),
            (format!("{secret} {secret}"), "line 1"),
            (format!("k {secret} x"), "line 1"),
            (format!("\nk {}", &secret[1..]), "line 2"),
            (format!("k {secret}\nk {other}"), "two keys"),
            (format!("k {secret}\nk {secret}"), "two keys"),
            (format!("k@x {secret}"), "line 1"),
            (format!("k {secret}\n\u{0}"), "line 2"),
        ] {
            let error = KeyRing::parse(&text).unwrap_err().to_string();
            assert!(error.contains(part), "{part:?} is not in: {error}");
            assert!(
                !error.contains("abab") && !error.contains("cdcd"),
                "{error}"
            );
        }
        let ring = KeyRing::parse(&format!("k {secret}; old {other};")).unwrap();
        assert_eq!(ring.writing().id(), "k");
        let shown = format!("{ring:?}");
        assert!(shown.contains("old") && !shown.contains("abab"), "{shown}");
    }

    /// Any text is a key ring or an error.
    #[test]
    fn no_text_makes_parsing_panic() {
        let mut random = fastrand::Rng::with_seed(fastrand::u64(..));
        let good = format!("k {}\nold {}", "ab".repeat(32), "cd".repeat(32));
        for _ in 0..2_000 {
            let mut text: Vec<char> = good.chars().collect();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..text.len());
                text[at] = *random
                    .choice(&['\n', ';', ' ', '#', 'é', '\0', 'a'])
                    .unwrap();
            }
            text.truncate(random.usize(..=text.len()));
            let text: String = text.into_iter().collect();
            let _ = KeyRing::parse(&text);
        }
    }
}
