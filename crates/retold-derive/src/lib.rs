//! Derives for Retold: `Event`, `Aggregate` and `Key`. Each expands to code that could be written
//! by hand; unsupported uses are compile errors that state the remedy.
//!
//! Programs use them through the crate `retold`, which the expanded code refers to. If it has
//! another name, specify it: `#[event(crate = other::path)]`, likewise for `aggregate` and `key`.

mod attribute;
mod name;

mod aggregate;
mod event;
mod key;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `Event` for an enum or a struct.
///
/// An enum has a topic for each variant, `Enum.Variant`; a struct has one, its name. The payload is
/// the content of the variant or struct alone, written by the serde traits that the type also
/// derives. A variant without fields is `{}`, and a struct without fields does not need the serde
/// derives.
///
/// ```
/// use retold::prelude::*;
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(tag = "flight:{number}")]
/// enum FlightEvent {
///     Scheduled { number: u16, carrier: String },
///     #[event(formerly("FlightEvent.TookOff"), revision = 2, tag = "aircraft:{tail}")]
///     Departed { number: u16, tail: Option<String>, delay: i32 },
///     #[event(topic = "landed", tag = "airport:{airport}")]
///     Arrived { number: u16, airport: String },
/// }
///
/// let landed = FlightEvent::Arrived { number: 1545, airport: "IAH".into() };
/// assert_eq!(landed.event_type().topic, "landed");
/// assert_eq!(landed.tags(), ["airport:IAH".into(), "flight:1545".into()].into());
/// ```
///
/// On the type:
///
/// - `topic = "…"`: the struct's topic; for an enum, the part before `.Variant` in its topics.
/// - `formerly("…", …)`: a struct's former topics; for an enum, its former names, each of which
///   gives every variant without a topic of its own the former topic `NAME.Variant`.
/// - `revision = N`: the revision of a struct's shape, from 1.
/// - `tag = "…"`, repeatable: a label of the event, with fields in braces, `{name}` or `{0}`. A
///   field that is an `Option` and `None` yields no tag. A tag on an enum applies to all variants,
///   so each must have its fields.
/// - `tags = path`, repeatable: a function from `&Self` to an iterator of values that convert into
///   `Arc<str>`.
/// - `subject = "customer:{id}"`: the whole content is data of this subject, with fields in braces
///   as in a tag. On an enum it applies to all variants that have no `subject` of their own. It
///   requires `erased`, which says what the event is read as once the subject is forgotten.
/// - `join`: the enum joins events, one in each variant, that are themselves `Event`s: `enum
///   DogEvent { Registered(Registered), TrickAdded(TrickAdded) }`. Topics, revisions, tags and
///   payloads are those of the joined events; each converts to the enum with `into()`, and a
///   decision over the enum may return any of them.
/// - `from(1 = OldType, …)`: on a struct, the Rust types of older revisions, in ascending order. A
///   type is used for its own revision and for those between it and the one listed before; later
///   revisions than the last one listed are read as the present type, by the defaults of its serde
///   attributes. Each type implements `Upcast` to the next one, and the last one `Upcast` or
///   `SplitInto` to the event.
/// - `ahead(4 = NewType, …)`: on a struct, the types of revisions that only newer programs record.
///   Each implements `Upcast` or `SplitInto` to the event, so that this program can read them.
/// - `erased = skip`, or `erased = path`: what an event is read as whose content was erased: as
///   nothing, or as the result of a function of `&PastEvent<'_>`, which returns an event. Without
///   it, reading an erased event is an error. On an enum, for all variants without their own.
/// - `past(OldEvent, …)`: events that are no longer recorded and are read as this one. Each is
///   itself an `Event` with its topic, and implements `Upcast` or `SplitInto` to this type.
/// - `crate = path`: the path of Retold, if not `::retold`.
///
/// On a variant: `topic = "…"`, the whole topic; `formerly("…", …)`, whole former topics; `revision
/// = N`; `tag = "…"`; `from(…)`; `ahead(…)`; `erased = …`.
///
/// On a variant also `subject = "…"`. On a field with a name, `subject = "…"`: only this field is
/// data of the subject. Once the subject is forgotten, the event is read without the field, so it
/// must be an `Option` or have a default of serde. No tag may name it, since tags are not
/// encrypted.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event::expand(&input)
        .unwrap_or_else(|error| event::expand_error(&input, &error))
        .into()
}

/// Implements `Aggregate` for a type: an object whose state is the fold of its events.
///
/// The type must also derive `Clone` and `Default` and implement `Apply` for its events.
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
/// - `event = Type`: the type of its events. Required.
/// - `type = "…"`: the first part of its streams' names, by default the type's name: 1 to 200 bytes
///   without `/`.
/// - `key = Type`: the type of its keys, by default `Uuid`.
/// - `snapshots(every = N, revision = N)`: keeps the state in snapshots, taken every N events, or
///   only on demand without `every`; snapshots of another revision are ignored. The state must
///   derive `Serialize` and `Deserialize`.
/// - `crate = path`: the path of Retold, if not `::retold`.
#[proc_macro_derive(Aggregate, attributes(aggregate))]
pub fn derive_aggregate(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    aggregate::expand(&input)
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}

/// Implements `Key` for a struct of one field that is itself a key, so that it can identify
/// aggregates.
///
/// The struct must also derive `Clone, PartialEq, Eq, Hash, Debug`; if it is `Copy`, so are its
/// ids. Its text is that of the field. It converts with `into()` to the id of any aggregate that
/// has this key type. With a `From<Uuid>` implementation, aggregates can be created under new ids.
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
/// - `#[key(crate = path)]`: the path of Retold, if not `::retold`.
#[proc_macro_derive(Key, attributes(key))]
pub fn derive_key(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    key::expand(&input)
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
