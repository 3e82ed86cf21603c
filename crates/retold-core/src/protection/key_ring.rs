//! The key ring: one key that writes, and those that only read.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::key::{KeyError, SecretKey, is_key_id};
use crate::recording::BoxFuture;

/// Fetches keys from elsewhere, for example from a key management service.
///
/// A key is fetched when it is first needed, and kept in memory.
pub trait KeySource: Send + Sync {
    /// Returns the key of this id; none if there is no such key.
    ///
    /// The id comes from the store. It has the form that [`SecretKey::new`] requires, and may be
    /// the id of a key that never existed.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it cannot be fetched at the moment. The read that needs it fails, and a
    /// later one asks again.
    fn key<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<SecretKey>, KeyError>>;
}

/// The keys of a program: one encrypts, and all decrypt.
///
/// To rotate keys, let a new key write, and keep the old one for reading: what is stored names its
/// key. An old key can be removed once nothing that was written with it is left.
#[derive(Clone)]
pub struct KeyRing {
    writing: SecretKey,
    source: Option<Arc<dyn KeySource>>,
    /// The keys by their ids, with the one that writes.
    known: Arc<RwLock<HashMap<Arc<str>, SecretKey>>>,
}

impl KeyRing {
    /// Creates a key ring that encrypts with this key.
    pub fn new(writing: SecretKey) -> Self {
        let known = HashMap::from([(writing.id().into(), writing.clone())]);
        Self {
            writing,
            source: None,
            known: Arc::new(RwLock::new(known)),
        }
    }

    /// Also decrypts with this key.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if another key has the same id.
    pub fn reading(self, key: SecretKey) -> Result<Self, KeyError> {
        // A ring of its own: clones of this one keep their keys.
        let mut known = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.clone()
        };
        let id = key.id();
        if known
            .get(id)
            .is_some_and(|other| other.bytes() != key.bytes())
        {
            return Err(KeyError::new(format!("two keys have the id {id:?}")));
        }
        known.insert(id.into(), key);
        Ok(Self {
            known: Arc::new(RwLock::new(known)),
            ..self
        })
    }

    /// Fetches keys that it does not have from this source.
    #[must_use]
    pub fn source(mut self, source: Arc<dyn KeySource>) -> Self {
        self.source = Some(source);
        self
    }

    /// Returns the key that encrypts.
    pub fn writing(&self) -> &SecretKey {
        &self.writing
    }

    /// Returns the key of this id, if it is in memory.
    pub fn known(&self, id: &str) -> Option<SecretKey> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(id).cloned()
    }

    /// Returns the key of this id, and asks the source for one that is not in memory.
    pub(super) async fn key(&self, id: &str) -> Result<Option<SecretKey>, KeyError> {
        if let Some(key) = self.known(id) {
            return Ok(Some(key));
        }
        let Some(source) = &self.source else {
            return Ok(None);
        };
        // The id comes from the store. A source may put it into a path or a request.
        if !is_key_id(id) {
            return Ok(None);
        }
        let Some(key) = source.key(id).await? else {
            return Ok(None);
        };
        if key.id() != id {
            return Err(KeyError::new(format!(
                "the source of keys was asked for {id:?} and returned {:?}",
                key.id()
            )));
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(id.into(), key.clone());
        Ok(Some(key))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<_> = known.keys().collect();
        ids.sort_unstable();
        f.debug_struct("KeyRing")
            .field("writing", &self.writing.id())
            .field("known", &ids)
            .field("has_source", &self.source.is_some())
            .finish()
    }
}
