//! The envelope: bytes encrypted and authenticated together with where they belong.
//!
//! An envelope is a byte with the version of this format, a random nonce, and the ciphertext with
//! its tag. The cipher is XChaCha20-Poly1305. Its nonces have 192 bits, so random ones never repeat
//! in practice, however many processes write with one key and however long: after 2^64 envelopes
//! the probability that two had the same nonce is below 2^-64.
//!
//! What an envelope belongs to is authenticated and not stored: the same bytes under another event
//! id, topic or stream do not open.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::key::{KeyError, SecretKey, fill_random};

/// The version of the format, the first byte of every envelope. No JSON begins with it.
pub(super) const ENVELOPE_VERSION: u8 = 1;

const NONCE_SIZE: usize = 24;
const TAG_SIZE: usize = 16;

/// How many bytes an envelope adds.
pub(super) const ENVELOPE_OVERHEAD: usize = 1 + NONCE_SIZE + TAG_SIZE;

/// What an envelope belongs to: the associated data, each piece with its length before it, so that
/// no two lists of pieces are the same bytes.
pub(super) struct Belonging(Vec<u8>);

impl Belonging {
    /// Begins with the purpose of the envelope, so that one for another purpose never opens.
    pub(super) fn new(purpose: &str) -> Self {
        Self(Vec::with_capacity(256)).with(purpose.as_bytes())
    }

    /// Adds a piece.
    pub(super) fn with(mut self, piece: &[u8]) -> Self {
        self.0
            .extend_from_slice(&(piece.len() as u64).to_le_bytes());
        self.0.extend_from_slice(piece);
        self
    }

    /// Adds a piece that may be missing, which differs from an empty one.
    pub(super) fn with_option(self, piece: Option<&[u8]>) -> Self {
        match piece {
            Some(piece) => self.with(&[1]).with(piece),
            None => self.with(&[0]),
        }
    }
}

/// Encrypts bytes for what they belong to.
pub(super) fn seal(
    key: &SecretKey,
    belonging: &Belonging,
    plain: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let mut nonce = [0; NONCE_SIZE];
    fill_random(&mut nonce)?;
    let payload = Payload {
        msg: plain,
        aad: &belonging.0,
    };
    let cipher = XChaCha20Poly1305::new(key.bytes().into());
    let sealed = cipher.encrypt(&XNonce::from(nonce), payload);
    let sealed = sealed.map_err(|_| KeyError::new("the content is too large to be encrypted"))?;
    let mut envelope = Vec::with_capacity(1 + NONCE_SIZE + sealed.len());
    envelope.push(ENVELOPE_VERSION);
    envelope.extend_from_slice(&nonce);
    envelope.extend_from_slice(&sealed);
    Ok(envelope)
}

/// Decrypts an envelope. None if it was altered, was made with another key, or belongs to something
/// else; which of these is not known.
pub(super) fn open(key: &SecretKey, belonging: &Belonging, envelope: &[u8]) -> Option<Vec<u8>> {
    let (&ENVELOPE_VERSION, rest) = envelope.split_first()? else {
        return None;
    };
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_SIZE>()?;
    let payload = Payload {
        msg: sealed,
        aad: &belonging.0,
    };
    let cipher = XChaCha20Poly1305::new(key.bytes().into());
    cipher.decrypt(&XNonce::from(*nonce), payload).ok()
}

#[cfg(test)]
mod tests {
    use super::super::key::read_hex;
    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::new("k", &[byte; 32]).unwrap()
    }

    fn belonging() -> Belonging {
        Belonging::new("test").with(b"a").with_option(Some(b"b"))
    }

    #[test]
    fn an_envelope_opens_only_whole_unaltered_and_in_its_place() {
        for plain in [&b""[..], b"{}", &[7; 300]] {
            let sealed = seal(&key(1), &belonging(), plain).unwrap();
            assert_eq!(sealed.len(), plain.len() + ENVELOPE_OVERHEAD);
            assert_eq!(open(&key(1), &belonging(), &sealed).as_deref(), Some(plain));
            for at in 0..sealed.len() {
                for bit in 0..8 {
                    let mut altered = sealed.clone();
                    altered[at] ^= 1 << bit;
                    assert_eq!(open(&key(1), &belonging(), &altered), None, "byte {at}");
                }
                assert_eq!(open(&key(1), &belonging(), &sealed[..at]), None);
            }
            let mut longer = sealed.clone();
            longer.push(0);
            assert_eq!(open(&key(1), &belonging(), &longer), None);
            assert_eq!(open(&key(2), &belonging(), &sealed), None);
            for elsewhere in [
                Belonging::new("other").with(b"a").with_option(Some(b"b")),
                Belonging::new("test").with(b"ab").with_option(None),
                Belonging::new("test").with(b"a").with_option(Some(b"c")),
                Belonging::new("test")
                    .with(b"a")
                    .with_option(Some(b"b"))
                    .with(b""),
            ] {
                assert_eq!(open(&key(1), &elsewhere, &sealed), None);
            }
        }
    }

    #[test]
    fn lists_of_pieces_never_coincide() {
        let bytes = |belonging: Belonging| belonging.0;
        let one = bytes(Belonging::new("p").with(b"ab").with(b"c"));
        let other = bytes(Belonging::new("p").with(b"a").with(b"bc"));
        assert_ne!(one, other);
        let none = bytes(Belonging::new("p").with_option(None));
        let empty = bytes(Belonging::new("p").with_option(Some(b"")));
        assert_ne!(none, empty);
    }

    #[test]
    fn one_content_is_sealed_differently_each_time() {
        let sealed = [(); 2].map(|()| seal(&key(1), &belonging(), b"same").unwrap());
        assert_ne!(sealed[0], sealed[1]);
    }

    /// Envelopes that are already stored must stay readable. This one was computed by another
    /// implementation of the cipher.
    #[test]
    fn a_stored_envelope_opens() {
        let mut stored = vec![0; 45];
        let digits = "01000102030405060708090a0b0c0d0e0f1011121314151617\
                      03f2f9f8e82963f05e58ee3b2a19830bd49d0696";
        assert!(read_hex(digits, &mut stored));
        assert_eq!(
            open(&key(1), &belonging(), &stored).as_deref(),
            Some(&b"{\"\"}"[..])
        );
    }
}
