//! Derives for Retold: `Event`, `Aggregate` and `Key`. Each expands to code that a person could
//! have written; what cannot work is a compile error that says what to do.
//!
//! Programs use them through the crate `retold`, and the code they expand to names that crate.
//! Where it goes by another name, say so: `#[event(crate = other::path)]`, likewise for `aggregate`
//! and `key`.

mod attribute;
mod name;

mod aggregate;
mod event;
mod key;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes an enum or a struct an event.
///
/// An enum has a topic for each variant, `Enum.Variant`; a struct has one, its name. The payload is
/// the variant's or struct's content alone, written by the serde traits that it derives as well; a
/// variant without fields is `{}`, and a struct without fields need not derive them.
///
/// ```
/// use retold::prelude::*;
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(tag = "aircraft:{tail}")]
/// enum FlightEvent {
///     Scheduled { carrier: String },
///     #[event(formerly("FlightEvent.TookOff"), revision = 2)]
///     Departed { tail: Option<String>, delay: i32 },
///     #[event(topic = "landed", tag = "airport:{airport}")]
///     Arrived { tail: Option<String>, airport: String },
/// }
///
/// let landed = FlightEvent::Arrived { tail: None, airport: "IAH".into() };
/// assert_eq!(landed.event_type().topic, "landed");
/// assert_eq!(landed.tags().len(), 1);
/// ```
///
/// On the type:
///
/// - `topic = "…"`: the struct's topic; of an enum, what stands before `.Variant` in its topics.
/// - `formerly("…", …)`: a struct's former topics; of an enum, its former names, each of which
///   gives every variant without a topic of its own the former topic `NAME.Variant`.
/// - `revision = N`: number of a struct's shape, from 1.
/// - `tag = "…"`, any number of them: a label of the event, with fields in braces, `{name}` or
///   `{0}`. A field that is an `Option` and `None` gives no tag. A tag on an enum is that of the
///   variants that have its fields.
/// - `tags = path`, any number of them: a function from `&Self` to an iterator of what `Arc<str>`
///   is made from.
/// - `join`: the enum joins events, one in each variant, that are themselves `Event`s: `enum
///   DogEvent { Registered(Registered), TrickAdded(TrickAdded) }`. Topics, revisions, tags and
///   payloads are theirs; each turns `into()` the enum, and a decision over the enum may return any
///   of them.
/// - `crate = path`: where Retold is, if not at `::retold`.
///
/// On a variant: `topic = "…"`, the whole topic; `formerly("…", …)`, whole former topics; `revision
/// = N`; `tag = "…"`.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event::expand(&input)
        .unwrap_or_else(|error| event::expand_error(&input, &error))
        .into()
}

/// Makes a type an aggregate: an object whose state is the fold of its events.
///
/// The type also derives `Clone` and `Default` and implements `Apply` for its events.
///
/// ```
/// use retold::prelude::*;
///
/// #[derive(Event, Serialize, Deserialize)]
/// enum DogEvent {
///     Registered { name: String },
/// }
///
/// #[derive(Aggregate, Clone, Default, Serialize, Deserialize)]
/// #[aggregate(event = DogEvent, type = "Dog", key = String, snapshots(every = 100, revision = 1))]
/// struct Dog {
///     name: String,
/// }
///
/// impl Apply<DogEvent> for Dog {
///     fn apply(&mut self, event: &DogEvent) {
///         match event {
///             DogEvent::Registered { name } => self.name.clone_from(name),
///         }
///     }
/// }
///
/// assert_eq!(Id::<Dog>::from("fido").stream(), "Dog/fido");
/// ```
///
/// - `event = Type`: what is recorded of it. Must be given.
/// - `type = "…"`: the first part of its streams' names, the type's name unless given: 1 to 200
///   bytes without `/`.
/// - `key = Type`: what tells one from another, a `Uuid` unless given.
/// - `snapshots(every = N, revision = N)`: keeps the state in snapshots, taken every so many
///   events, or only on demand if `every` is left out; those of another revision are ignored. The
///   state derives `Serialize` and `Deserialize`.
/// - `crate = path`: where Retold is, if not at `::retold`.
#[proc_macro_derive(Aggregate, attributes(aggregate))]
pub fn derive_aggregate(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    aggregate::expand(&input)
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}

/// Makes a struct of one field, which is itself a key, the key of aggregates.
///
/// It also derives `Clone, PartialEq, Eq, Hash, Debug`; with `Copy` its ids are copied freely. Its
/// text is that of the field. It turns `into()` the id of any aggregate that has it for a key. With
/// a `From<Uuid>` of your own, aggregates can be created under fresh ids.
///
/// ```
/// use retold::prelude::*;
///
/// #[derive(Key, Clone, PartialEq, Eq, Hash, Debug)]
/// struct Tail(String);
///
/// assert_eq!(Tail("N14228".into()).to_text(), "N14228");
/// ```
///
/// - `#[key(crate = path)]`: where Retold is, if not at `::retold`.
#[proc_macro_derive(Key, attributes(key))]
pub fn derive_key(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    key::expand(&input)
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
