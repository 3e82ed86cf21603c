//! Upcasting: how events of older shapes are read as present ones.
//!
//! An older shape is a Rust type of its own. A conversion leads from each shape to the next one,
//! and from the last one to the present type. `#[derive(Event)]` lists the shapes, so a chain of
//! conversions is a list that is known at compile time and cannot contain a loop. A conversion runs
//! on the decoded value, so it does not depend on the codec.

use std::any::type_name;
use std::error::Error;
use std::fmt;
use std::slice;
use std::vec;

use serde_json::Value;

use super::clock::Timestamp;
use super::content_schema::{ContentSchemas, ContentSource};

/// A conversion of an older shape of an event to the next newer one. The last conversion of a chain
/// leads to the event's present type.
///
/// It must depend on nothing but its arguments: every reader converts the event again, and all must
/// get the same result. The stored event is not changed.
///
/// ```
/// use retold::domain::{PastEvent, Upcast};
/// use retold::prelude::*;
/// use retold::projection::BoxError;
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(revision = 2, from(1 = DogRegisteredV1))]
/// struct DogRegistered {
///     name: String,
///     breed: Option<String>,
/// }
///
/// /// Revision 1, in which name and breed were one text.
/// #[derive(Deserialize)]
/// struct DogRegisteredV1 {
///     label: String,
/// }
///
/// impl Upcast<DogRegistered> for DogRegisteredV1 {
///     fn upcast(self, _: &PastEvent<'_>) -> Result<DogRegistered, BoxError> {
///         let mut parts = self.label.splitn(2, ',');
///         let name = parts.next().filter(|it| !it.is_empty()).ok_or("the label is empty")?;
///         let breed = parts.next().map(|it| it.trim().to_owned());
///         Ok(DogRegistered { name: name.to_owned(), breed })
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be converted to `{Next}`",
    label = "no conversion to `{Next}`",
    note = "write `impl Upcast<{Next}> for {Self}`"
)]
pub trait Upcast<Next>: Sized {
    /// Converts the content of an event.
    ///
    /// # Errors
    ///
    /// The reason why this content cannot be converted. The event then cannot be read:
    /// [`MappingError::Upcast`](crate::mapping::MappingError::Upcast).
    fn upcast(self, past: &PastEvent<'_>) -> Result<Next, Box<dyn Error + Send + Sync>>;
}

/// A conversion of an older shape, or of an event that is no longer recorded, to any number of
/// events of type `E`: usually a split into several. Every [`Upcast`] to an event is one, to
/// exactly one event.
///
/// No events means that the old event no longer says anything.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read as events of type `{E}`",
    label = "no conversion to `{E}`",
    note = "write `impl Upcast<{E}> for {Self}`; if it becomes several events, \
            `impl SplitInto<{E}> for {Self}`"
)]
pub trait SplitInto<E>: Sized {
    /// Converts the content of an event.
    ///
    /// # Errors
    ///
    /// As for [`Upcast::upcast`].
    fn split(self, past: &PastEvent<'_>) -> Upcasted<E>;
}

#[diagnostic::do_not_recommend]
impl<E, S: Upcast<E>> SplitInto<E> for S {
    fn split(self, past: &PastEvent<'_>) -> Upcasted<E> {
        self.upcast(past).map(Decoded::One)
    }
}

/// The result of a conversion: the events, or the reason why there are none.
pub type Upcasted<E> = Result<Decoded<E>, Box<dyn Error + Send + Sync>>;

/// The events that one stored event is read as. Usually it is one, which needs no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "there is no fourth number of events"
)]
pub enum Decoded<E> {
    /// None: the event was erased or split, and nothing is left of it.
    Nothing,
    /// One event.
    One(E),
    /// Any number of events, in their order.
    Several(Vec<E>),
}

impl<E> Decoded<E> {
    /// Returns the events.
    pub fn as_slice(&self) -> &[E] {
        match self {
            Self::Nothing => &[],
            Self::One(event) => slice::from_ref(event),
            Self::Several(events) => events,
        }
    }

    /// Returns the number of events.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Returns whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Returns the event, if there is exactly one; otherwise the number of events.
    ///
    /// # Errors
    ///
    /// The number of events, if it is not 1.
    pub fn single(self) -> Result<E, usize> {
        match self {
            Self::One(event) => Ok(event),
            Self::Nothing => Err(0),
            Self::Several(mut events) => match (events.len(), events.pop()) {
                (1, Some(event)) => Ok(event),
                (count, _) => Err(count),
            },
        }
    }

    /// Converts each event.
    pub fn map<T>(self, mut convert: impl FnMut(E) -> T) -> Decoded<T> {
        match self {
            Self::Nothing => Decoded::Nothing,
            Self::One(event) => Decoded::One(convert(event)),
            Self::Several(events) => Decoded::Several(events.into_iter().map(convert).collect()),
        }
    }

    /// Keeps the events for which this holds.
    #[must_use]
    pub fn filter(self, mut holds: impl FnMut(&E) -> bool) -> Self {
        match self {
            Self::One(event) if !holds(&event) => Self::Nothing,
            Self::Several(mut events) => {
                events.retain(holds);
                Self::Several(events)
            }
            other => other,
        }
    }
}

impl<E> From<E> for Decoded<E> {
    fn from(event: E) -> Self {
        Self::One(event)
    }
}

impl<E> From<Vec<E>> for Decoded<E> {
    fn from(events: Vec<E>) -> Self {
        Self::Several(events)
    }
}

impl<E, const N: usize> From<[E; N]> for Decoded<E> {
    fn from(events: [E; N]) -> Self {
        Self::Several(events.into())
    }
}

impl<E> IntoIterator for Decoded<E> {
    type Item = E;
    type IntoIter = DecodedEvents<E>;

    fn into_iter(self) -> DecodedEvents<E> {
        match self {
            Self::Nothing => DecodedEvents(None, Vec::new().into_iter()),
            Self::One(event) => DecodedEvents(Some(event), Vec::new().into_iter()),
            Self::Several(events) => DecodedEvents(None, events.into_iter()),
        }
    }
}

/// The events of a [`Decoded`], in their order.
#[derive(Debug)]
pub struct DecodedEvents<E>(Option<E>, vec::IntoIter<E>);

impl<E> Iterator for DecodedEvents<E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        self.0.take().or_else(|| self.1.next())
    }
}

/// What is recorded around the content of a stored event: for conversions that fill in fields from
/// it, and for the values of erased events.
#[derive(Clone, Copy)]
pub struct PastEvent<'a> {
    envelope: &'a dyn StoredEnvelope,
}

impl<'a> PastEvent<'a> {
    pub(crate) fn new(envelope: &'a dyn StoredEnvelope) -> Self {
        Self { envelope }
    }

    /// Returns the topic under which it was recorded.
    pub fn topic(&self) -> &'a str {
        self.envelope.topic()
    }

    /// Returns the revision with which it was recorded.
    pub fn revision(&self) -> u32 {
        self.envelope.revision()
    }

    /// Returns the name of its stream, or none.
    pub fn stream(&self) -> Option<&'a str> {
        self.envelope.stream()
    }

    /// Returns the number of its version in its stream, from 1; none without a stream.
    pub fn version(&self) -> Option<u64> {
        self.envelope.version()
    }

    /// Returns the number of its position in the log, from 1.
    pub fn position(&self) -> u64 {
        self.envelope.position()
    }

    /// Returns the time of the decision.
    pub fn time(&self) -> Timestamp {
        self.envelope.time()
    }

    /// Returns its tags, in their order.
    pub fn tags(&self) -> Vec<&'a str> {
        self.envelope.tags()
    }

    /// Returns the part of a tag after a prefix: with the prefix `dog:`, the tag `dog:7` gives `7`.
    /// If several tags have the prefix, the first one counts.
    pub fn tag_after(&self, prefix: &str) -> Option<&'a str> {
        let tags = self.tags();
        tags.into_iter().find_map(|tag| tag.strip_prefix(prefix))
    }

    /// Returns the entry of its metadata that has this name; none also if the stored bytes are not
    /// metadata.
    pub fn metadata(&self, name: &str) -> Option<Value> {
        self.envelope.metadata(name)
    }
}

impl fmt::Debug for PastEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PastEvent")
            .field("topic", &self.topic())
            .field("revision", &self.revision())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

/// What a stored event says besides its content.
pub(crate) trait StoredEnvelope {
    fn topic(&self) -> &str;
    fn revision(&self) -> u32;
    fn stream(&self) -> Option<&str>;
    fn version(&self) -> Option<u64>;
    fn position(&self) -> u64;
    fn time(&self) -> Timestamp;
    fn tags(&self) -> Vec<&str>;
    fn metadata(&self, name: &str) -> Option<Value>;
}

/// A shape that an event type had, or that a newer program gives it: the revisions that are read as
/// it, up to and including its own, and the Rust type.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct EventShape {
    /// The revision of the shape.
    pub revision: u32,
    name: fn() -> &'static str,
    content: ContentSource,
}

impl EventShape {
    /// Describes the shape `S` with this revision.
    pub const fn of<S>(revision: u32) -> Self {
        Self {
            revision,
            name: type_name::<S>,
            content: ContentSource::NONE,
        }
    }

    /// Sets where the JSON Schemas of the shape come from.
    #[must_use]
    pub const fn content(mut self, content: ContentSource) -> Self {
        self.content = content;
        self
    }

    /// Generates the JSON Schemas of the shape; `None` if its Rust type has none.
    pub fn schemas(&self) -> Option<ContentSchemas> {
        self.content.schemas()
    }

    /// Returns the name of the Rust type, for messages.
    pub fn type_name(&self) -> &'static str {
        (self.name)()
    }
}

impl PartialEq for EventShape {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision && self.type_name() == other.type_name()
    }
}

impl Eq for EventShape {}

impl fmt::Debug for EventShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventShape")
            .field("revision", &self.revision)
            .field("type", &self.type_name())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoded_events_are_iterated_in_order() {
        let none: Vec<u8> = Decoded::Nothing.into_iter().collect();
        assert!(none.is_empty());
        assert_eq!(Decoded::<u8>::from(1).into_iter().collect::<Vec<_>>(), [1]);
        let several: Decoded<i32> = [1, 2, 3].into();
        assert_eq!(several.as_slice(), [1, 2, 3]);
        assert_eq!(several.clone().single(), Err(3));
        assert_eq!(several.map(|it| it * 2).into_iter().sum::<i32>(), 12);
        assert_eq!(
            Decoded::from([1, 2, 3]).filter(|it| it % 2 == 1).single(),
            Err(2)
        );
        assert_eq!(Decoded::from(4).filter(|it| it % 2 == 1).single(), Err(0));
        assert_eq!(Decoded::from(4).filter(|it| it % 2 == 0).single(), Ok(4));
        assert_eq!(Decoded::<u8>::from([7]).single(), Ok(7));
        assert_eq!(Decoded::<u8>::from([]).single(), Err(0));
    }
}
