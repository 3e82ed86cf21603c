//! Typed ids, which identify an aggregate and its type.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::aggregate::{Aggregate, Key};

/// Identifies an aggregate of type `A`. It is `Copy` if its key is.
///
/// Its text and its serialized form are the key's text; its stream is `TYPE/key`.
pub struct Id<A: Aggregate>(A::Key);

impl<A: Aggregate> Id<A> {
    /// Returns the id with this key.
    pub const fn new(key: A::Key) -> Self {
        Self(key)
    }

    /// Returns the key.
    pub const fn key(&self) -> &A::Key {
        &self.0
    }

    /// Returns the name of the aggregate's stream: `TYPE/key`.
    pub fn stream(&self) -> String {
        format!("{}/{}", A::TYPE, self.0.to_text())
    }

    /// Returns the id of the aggregate whose stream has this name, or `None` if it is not a stream
    /// of this type.
    pub fn of_stream(stream: &str) -> Option<Self> {
        let key = stream.strip_prefix(A::TYPE)?.strip_prefix('/')?;
        A::Key::from_text(key).map(Self)
    }
}

impl<A: Aggregate> Clone for Id<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A: Aggregate<Key: Copy>> Copy for Id<A> {}

impl<A: Aggregate> PartialEq for Id<A> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<A: Aggregate> Eq for Id<A> {}

impl<A: Aggregate> Hash for Id<A> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<A: Aggregate> fmt::Debug for Id<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.stream())
    }
}

impl<A: Aggregate> fmt::Display for Id<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_text())
    }
}

impl<A: Aggregate> Serialize for Id<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, A: Aggregate> Deserialize<'de> for Id<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        match A::Key::from_text(&text) {
            Some(key) => Ok(Self(key)),
            None => Err(serde::de::Error::custom(format_args!(
                "{text:?} is not a key of {}",
                A::TYPE
            ))),
        }
    }
}

impl<A: Aggregate> From<&Self> for Id<A> {
    fn from(id: &Self) -> Self {
        id.clone()
    }
}

impl<A: Aggregate<Key = Uuid>> From<Uuid> for Id<A> {
    fn from(key: Uuid) -> Self {
        Self(key)
    }
}

impl<A: Aggregate<Key = String>> From<String> for Id<A> {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl<A: Aggregate<Key = String>> From<&str> for Id<A> {
    fn from(key: &str) -> Self {
        Self(key.into())
    }
}

macro_rules! integer_ids {
    ($($integer:ty),*) => {$(
        impl<A: Aggregate<Key = $integer>> From<$integer> for Id<A> {
            fn from(key: $integer) -> Self {
                Self(key)
            }
        }
    )*};
}

integer_ids!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);
