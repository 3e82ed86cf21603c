//! Aggregates: objects whose state is the fold of their events.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::event::{Apply, Event};
use super::finite;

/// An object whose state is the fold of its events, and the boundary within which decisions about it
/// are consistent.
///
/// Derive it: `#[derive(Aggregate, Clone, Default)] #[aggregate(event = DogEvent)]`, and write
/// [`Apply`]. What it decides is plain methods of the type, without a clock, a store or randomness:
/// what a decision needs from outside is in its arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an aggregate",
    label = "not an aggregate",
    note = "add `#[derive(Aggregate, Clone, Default)]` and `#[aggregate(event = …)]` to `{Self}`"
)]
pub trait Aggregate: Apply<Self::Event> + Clone + Default + Send + Sync + 'static {
    /// What is recorded of it.
    type Event: Event;

    /// What tells one from another: a uuid unless said otherwise.
    type Key: Key;

    /// Stable name of the type, the first part of its streams' names (`TYPE/key`). Without `/`; must
    /// not change once events are recorded.
    const TYPE: &'static str;

    /// How its state is kept in snapshots; none if it is not.
    const SNAPSHOTS: Option<SnapshotRule<Self>> = None;
}

/// What tells one aggregate of a type from another, as text in its stream's name.
///
/// Implemented for uuids, strings and integers of a fixed size; for a type of your own write it by hand or derive it
/// on a struct of one field.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot name an aggregate",
    label = "not a key",
    note = "use `Uuid`, `String` or an integer of a fixed size, or add `#[derive(Key, Clone, PartialEq, Eq, Hash, Debug)]` to a struct of one such field"
)]
pub trait Key: Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static {
    /// The text of the key. Two keys have the same text exactly if they are equal.
    fn to_text(&self) -> String;

    /// The key of this text; none if no key has it.
    fn from_text(text: &str) -> Option<Self>;
}

impl Key for Uuid {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        // Only the form that `to_text` gives: another would name another stream.
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

/// Whether two states are equal.
pub type IsEqual<A> = fn(&A, &A) -> bool;

/// How the state of an aggregate is kept in snapshots.
#[derive(Debug)]
pub struct SnapshotRule<A> {
    /// A snapshot is taken whenever this many events came since the last; 0 for only on demand.
    pub every: u64,
    /// Number of the shape of the state and of the rules that fold it, from 1: snapshots of another
    /// are ignored. Raise it when fields or `apply` change.
    pub revision: u32,
    /// Writes a state as JSON.
    pub encode: fn(&A) -> Result<Vec<u8>, serde_json::Error>,
    /// Reads a state from JSON.
    pub decode: fn(&[u8]) -> Result<A, serde_json::Error>,
    /// Whether two states are equal, if the type can say so. It finds what the JSON does not have, as a
    /// field that serde skips.
    pub is_equal: Option<IsEqual<A>>,
}

impl<A: Serialize + DeserializeOwned> SnapshotRule<A> {
    /// Snapshots of this revision, taken every so many events.
    ///
    /// A state that comes back from its JSON as another one is not kept. Where `A` is `PartialEq`, have
    /// it [`compared`](Self::compared) too; the derive does so.
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
    /// Keeps a state only if what is read back is equal to it.
    #[must_use]
    pub const fn compared(mut self) -> Self {
        self.is_equal = Comparison::<A>::IS_EQUAL;
        self
    }
}

/// Tells derived code how states of `A` are compared, if it is `PartialEq`.
#[doc(hidden)]
pub struct Comparison<A>(PhantomData<A>);

impl<A: PartialEq> Comparison<A> {
    /// Found before the constant of the trait, if `A` is `PartialEq`.
    pub const IS_EQUAL: Option<IsEqual<A>> = Some(|one, other| one == other);
}

/// What [`Comparison`] is for all other types.
#[doc(hidden)]
pub trait NoComparison {
    /// What cannot be compared.
    type State;

    /// Found if there is no other.
    const IS_EQUAL: Option<IsEqual<Self::State>> = None;
}

impl<A> NoComparison for Comparison<A> {
    type State = A;
}
