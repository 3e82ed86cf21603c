//! Aggregates: objects whose state is the fold of their events.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::event::{Apply, Event};
use super::finite;

/// An object whose state is the fold of its events, and the boundary within which decisions about
/// it are consistent.
///
/// Derive it: `#[derive(Aggregate, Clone, Default)] #[aggregate(event = DogEvent)]`, and implement
/// [`Apply`]. Its decisions are plain methods of the type, without a clock, a store or randomness:
/// anything that a decision needs from outside is an argument.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an aggregate",
    label = "not an aggregate",
    note = "add `#[derive(Aggregate, Clone, Default)]` and `#[aggregate(event = …)]` to `{Self}`"
)]
pub trait Aggregate: Apply<Self::Event> + Clone + Default + Send + Sync + 'static {
    /// The type of its events.
    type Event: Event;

    /// The type of its keys: a uuid by default.
    type Key: Key;

    /// Stable name of the type, the first part of its streams' names (`TYPE/key`). It contains no
    /// `/` and must not change once events are recorded.
    const TYPE: &'static str;

    /// How its state is kept in snapshots; `None` for no snapshots.
    const SNAPSHOTS: Option<SnapshotRule<Self>> = None;
}

/// Identifies an aggregate among those of its type, as text in its stream's name.
///
/// Implemented for uuids, strings and integers of a fixed size. For your own type, derive it on a
/// struct of one field or implement it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot name an aggregate",
    label = "not a key",
    note = "use `Uuid`, `String` or an integer of a fixed size, or add \
            `#[derive(Key, Clone, PartialEq, Eq, Hash, Debug)]` to a struct of one such field"
)]
pub trait Key: Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static {
    /// Returns the text of the key. Two keys have the same text if and only if they are equal.
    fn to_text(&self) -> String;

    /// Returns the key with this text, or `None` if no key has it.
    fn from_text(text: &str) -> Option<Self>;
}

impl Key for Uuid {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        // Accepts only the form that `to_text` returns: any other would name another stream.
        text.parse()
            .ok()
            .filter(|uuid: &Self| uuid.to_string() == text)
    }
}

impl Key for String {
    fn to_text(&self) -> String {
        self.clone()
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

macro_rules! integer_keys {
    ($($integer:ty),*) => {$(
        impl Key for $integer {
            fn to_text(&self) -> String {
                self.to_string()
            }

            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok().filter(|number: &Self| number.to_string() == text)
            }
        }
    )*};
}

integer_keys!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

/// Compares two states.
pub type IsEqual<A> = fn(&A, &A) -> bool;

/// How the state of an aggregate is kept in snapshots.
#[derive(Debug)]
pub struct SnapshotRule<A> {
    /// A snapshot is taken when the version of the aggregate reaches or passes a multiple of this
    /// number; 0 for snapshots on demand only.
    pub every: u64,
    /// Version of the shape of the state and of the rules that fold it, from 1: snapshots of
    /// another revision are ignored. Raise it when fields or `apply` change.
    pub revision: u32,
    /// Writes a state as JSON.
    pub encode: fn(&A) -> Result<Vec<u8>, serde_json::Error>,
    /// Reads a state from JSON.
    pub decode: fn(&[u8]) -> Result<A, serde_json::Error>,
    /// Compares two states; `None` if the type has no comparison. It detects differences that the
    /// JSON does not show, such as a field that serde skips.
    pub is_equal: Option<IsEqual<A>>,
}

impl<A: Serialize + DeserializeOwned> SnapshotRule<A> {
    /// Creates a rule for snapshots of this revision, taken after every `every` events.
    ///
    /// No snapshot is taken of a state whose JSON changes when it is decoded and encoded again. If
    /// `A` is `PartialEq`, also call [`compared`](Self::compared), as the derive does.
    pub const fn new(every: u64, revision: u32) -> Self {
        Self {
            every,
            revision,
            encode: |state| finite::to_json(state),
            decode: |bytes| serde_json::from_slice(bytes),
            is_equal: None,
        }
    }
}

impl<A: PartialEq> SnapshotRule<A> {
    /// Takes a snapshot of a state only if the state decoded from its JSON is equal to it.
    #[must_use]
    pub const fn compared(mut self) -> Self {
        self.is_equal = Comparison::<A>::IS_EQUAL;
        self
    }
}

/// Gives derived code the comparison of states of `A`, if `A` is `PartialEq`.
#[doc(hidden)]
pub struct Comparison<A>(PhantomData<A>);

impl<A: PartialEq> Comparison<A> {
    /// Takes precedence over the constant of the trait if `A` is `PartialEq`.
    pub const IS_EQUAL: Option<IsEqual<A>> = Some(|one, other| one == other);
}

/// The fallback of [`Comparison`] for all other types.
#[doc(hidden)]
pub trait NoComparison {
    /// The state that cannot be compared.
    type State;

    /// Used if there is no other.
    const IS_EQUAL: Option<IsEqual<Self::State>> = None;
}

impl<A> NoComparison for Comparison<A> {
    type State = A;
}
