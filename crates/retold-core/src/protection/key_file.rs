//! Key rings as text: in a file, and in an environment variable.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::key::{KeyError, SecretKey, is_key_id};
use super::key_ring::KeyRing;

/// The environment variable from which the command line reads keys.
pub const KEYS_VARIABLE: &str = "RETOLD_KEYS";

/// Maximum size of a key file, in bytes: about 10,000 keys.
const FILE_SIZE_MAX: usize = 1024 * 1024;

/// Returns a warning if others than the owner of a key file can read it, with what to do; none if
/// not, or on a system whose files have no such permissions.
pub fn key_file_warning(path: &Path) -> Option<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        let mode = std::fs::metadata(path).ok()?.mode() & 0o777;
        let who = match (mode & 0o040 != 0, mode & 0o004 != 0) {
            (_, true) => "every user",
            (true, false) => "its group",
            (false, false) => return None,
        };
        let path = path.display();
        Some(format!(
            "{who} can read the key file {path} (mode {mode:o}); let only its owner read it: \
             chmod 600 {path}"
        ))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

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
    /// file: if others can, a warning is logged (see [`key_file_warning`]).
    ///
    /// # Errors
    ///
    /// [`KeyError`] with the path and the reason.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        if let Some(warning) = key_file_warning(path) {
            tracing::warn!("{warning}");
        }
        let ring = Self::from_open_file(path);
        ring.map_err(|error| KeyError::new(format!("{}: {error}", path.display())))
    }

    fn from_open_file(path: &Path) -> Result<Self, KeyError> {
        let failed = |error: std::io::Error| KeyError::new(error.to_string());
        let file = File::open(path).map_err(failed)?;
        // With room for everything, so that no part of a key is left in a buffer that was too
        // small.
        let mut content = Zeroizing::new(Vec::with_capacity(FILE_SIZE_MAX + 1));
        let mut file = file.take(FILE_SIZE_MAX as u64 + 1);
        file.read_to_end(&mut content).map_err(failed)?;
        if content.len() > FILE_SIZE_MAX {
            let reason = format!("a key file has at most {FILE_SIZE_MAX} bytes");
            return Err(KeyError::new(reason));
        }
        let text = std::str::from_utf8(&content);
        Self::parse(text.map_err(|_| KeyError::new("it is not a text"))?)
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
