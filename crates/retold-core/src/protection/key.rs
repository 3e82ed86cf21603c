//! Keys: secret bytes with an id that is stored next to what they encrypt.

use std::fmt;
use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

/// Size of a key, in bytes.
pub(super) const KEY_SIZE: usize = 32;

/// Maximum size of the id of a key, in bytes: less than a key has digits, so that a key is never
/// taken for an id and shown.
pub const KEY_ID_SIZE_MAX: usize = 48;

/// Prefixes of the ids of keys that the library makes.
pub(super) const RESERVED_IDS: [&str; 2] = ["subject.", "snapshot."];

/// A key of 256 bits with its id. Its bytes are overwritten when the last clone is dropped, and no
/// output shows them: its `Debug` is the id.
#[derive(Clone)]
pub struct SecretKey {
    id: Arc<str>,
    secret: Arc<Secret>,
}

struct Secret([u8; KEY_SIZE]);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl SecretKey {
    /// Creates a key from its bytes. The caller overwrites its own copy of them.
    ///
    /// The id is stored with everything that the key encrypts, and names the key forever: it has 1
    /// to [`KEY_ID_SIZE_MAX`] letters, digits, `-`, `_` and `.` of ASCII. A date makes a good id,
    /// for example `2026-11`.
    ///
    /// # Errors
    ///
    /// [`KeyError`] for a bad id.
    pub fn new(id: impl Into<Arc<str>>, bytes: &[u8; KEY_SIZE]) -> Result<Self, KeyError> {
        let id = id.into();
        if !is_key_id(&id) {
            return Err(KeyError::new(format!(
                "the id of a key has 1 to {KEY_ID_SIZE_MAX} letters, digits, `-`, `_` and `.`, and \
                 does not begin with {}, not {id:?}",
                RESERVED_IDS.map(|it| format!("{it:?}")).join(" or ")
            )));
        }
        Ok(Self::of_the_library(id, bytes))
    }

    /// Creates a key with an id that only the library gives.
    pub(super) fn of_the_library(id: Arc<str>, bytes: &[u8; KEY_SIZE]) -> Self {
        let secret = Arc::new(Secret(*bytes));
        Self { id, secret }
    }

    /// Creates a key from 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`KeyError`] for a bad id or other digits; it shows none of them.
    pub fn from_hex(id: impl Into<Arc<str>>, digits: &str) -> Result<Self, KeyError> {
        let id = id.into();
        let mut bytes = Zeroizing::new([0; KEY_SIZE]);
        if !read_hex(digits, &mut *bytes) {
            return Err(KeyError::new(format!(
                "the key {id:?} is not {} hexadecimal digits; `openssl rand -hex 32` makes a key",
                2 * KEY_SIZE
            )));
        }
        Self::new(id, &bytes)
    }

    /// Creates a key with random bytes from the operating system.
    ///
    /// # Errors
    ///
    /// [`KeyError`] for a bad id, or if the operating system has no random bytes.
    pub fn generate(id: impl Into<Arc<str>>) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; KEY_SIZE]);
        fill_random(&mut *bytes)?;
        Self::new(id, &bytes)
    }

    /// Returns the id.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_SIZE] {
        &self.secret.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretKey").field(&self.id).finish()
    }
}

/// A key, or a set of keys, that cannot be used. The message shows no part of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct KeyError {
    reason: String,
}

impl KeyError {
    /// Creates the error with a reason: a sentence without a period, and without any part of a key.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

/// Returns whether a user may give this id to a key.
pub(super) fn is_key_id(id: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_reserved = RESERVED_IDS.iter().any(|prefix| id.starts_with(prefix));
    (1..=KEY_ID_SIZE_MAX).contains(&id.len()) && id.bytes().all(is_valid) && !is_reserved
}

/// Fills the bytes at random.
pub(super) fn fill_random(bytes: &mut [u8]) -> Result<(), KeyError> {
    getrandom::fill(bytes).map_err(|error| {
        KeyError::new(format!(
            "the operating system returns no random bytes: {error}"
        ))
    })
}

/// Reads hexadecimal digits into exactly these bytes. Returns false if they are something else.
pub(super) fn read_hex(digits: &str, bytes: &mut [u8]) -> bool {
    let digits = digits.as_bytes();
    if digits.len() != 2 * bytes.len() {
        return false;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return false;
        };
        *byte = u8::try_from(high << 4 | low).expect("two digits are one byte");
    }
    true
}

/// Returns bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_valid_ids_and_digits() {
        let digits = "0f".repeat(KEY_SIZE);
        let key = SecretKey::from_hex("2026-11", &digits).unwrap();
        assert_eq!((key.id(), key.bytes()), ("2026-11", &[15; KEY_SIZE]));
        for id in ["", "a b", "a@b", "a+b", "é", "subject.x", "snapshot.x"] {
            assert!(SecretKey::from_hex(id, &digits).is_err(), "{id:?}");
        }
        assert!(SecretKey::from_hex("a".repeat(49), &digits).is_err());
        for digits in [
            "",
            &digits[1..],
            &format!("{digits}00"),
            &"0g".repeat(32),
            &"é".repeat(32),
        ] {
            let error = SecretKey::from_hex("k", digits).unwrap_err().to_string();
            assert!(digits.is_empty() || !error.contains(digits), "{error}");
        }
    }

    #[test]
    fn nothing_shows_a_key() {
        let key = SecretKey::from_hex("k", &"ab".repeat(KEY_SIZE)).unwrap();
        assert_eq!(format!("{key:?}"), "SecretKey(\"k\")");
    }

    #[test]
    fn generated_keys_differ() {
        let keys = [(); 2].map(|()| SecretKey::generate("k").unwrap());
        assert_ne!(keys[0].bytes(), keys[1].bytes());
    }
}
