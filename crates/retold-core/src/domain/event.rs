//! Events: facts in the words of the domain.

use std::any::{TypeId, type_name};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::sync::Arc;

use serde::{Deserializer, Serializer};

use super::content_schema::ContentSource;
use super::subject::SubjectPart;
use super::upcast::{Decoded, EventShape, PastEvent, Upcasted};

/// The recorded identity of an event's type: the stable names that resolve to it, and its revision.
///
/// An enum of events has one for each variant.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct EventType {
    /// The name under which events of the type are recorded.
    pub topic: &'static str,
    /// Topics under which its events were recorded before it was renamed; they are read as the
    /// present one.
    pub former_topics: &'static [&'static str],
    /// Version number of the type's shape, from 1.
    pub revision: u32,
    /// Other shapes of its events, in ascending order of their revisions: older ones, and newer
    /// ones that this program can read but does not record.
    pub shapes: &'static [EventShape],
    /// Whether the type is no longer recorded: its events are read as events of other types of the
    /// same enum.
    pub is_past: bool,
    /// Where the JSON Schemas of its content come from, if its Rust type has them.
    pub content: ContentSource,
    /// The Rust type that defines it. An enum that joins other events (`#[event(join)]`) has the
    /// event types of those events.
    owner: TypeId,
    owner_name: fn() -> &'static str,
    /// Whether it is a type of the library that a program may use like its own.
    is_of_the_library: bool,
}

impl EventType {
    /// Describes events of the Rust type `E`, or of a variant of it, recorded under this topic,
    /// with revision 1 and no former topics.
    pub const fn of<E: 'static>(topic: &'static str) -> Self {
        Self {
            topic,
            former_topics: &[],
            revision: 1,
            shapes: &[],
            is_past: false,
            content: ContentSource::NONE,
            owner: TypeId::of::<E>(),
            owner_name: type_name::<E>,
            is_of_the_library: false,
        }
    }

    /// Sets the former topics.
    #[must_use]
    pub const fn formerly(mut self, topics: &'static [&'static str]) -> Self {
        self.former_topics = topics;
        self
    }

    /// Sets the revision.
    #[must_use]
    pub const fn revision(mut self, revision: u32) -> Self {
        self.revision = revision;
        self
    }

    /// Allows a reserved topic, for a type of the library that a program may use like its own.
    pub(crate) const fn of_the_library(mut self) -> Self {
        self.is_of_the_library = true;
        self
    }

    /// Returns whether it is a type of the library that a program may use like its own.
    pub(crate) const fn is_of_the_library(&self) -> bool {
        self.is_of_the_library
    }

    /// Sets where the JSON Schemas of its content come from.
    #[must_use]
    pub const fn content(mut self, content: ContentSource) -> Self {
        self.content = content;
        self
    }

    /// Sets the other shapes of its events, in ascending order of their revisions.
    #[must_use]
    pub const fn shapes(mut self, shapes: &'static [EventShape]) -> Self {
        self.shapes = shapes;
        self
    }

    /// States that the type is no longer recorded: its events are read as others.
    #[must_use]
    pub const fn past(mut self) -> Self {
        self.is_past = true;
        self
    }

    /// Returns the highest revision that can be read.
    pub fn readable_revision(&self) -> u32 {
        let newest = self.shapes.last().map_or(0, |shape| shape.revision);
        newest.max(self.revision)
    }

    /// Returns whether events of this revision can be read: the present one, all older ones, and
    /// newer ones whose shape is known.
    pub fn can_read(&self, revision: u32) -> bool {
        let is_known = |shape: &EventShape| shape.revision == revision;
        revision <= self.revision || self.shapes.iter().any(is_known)
    }

    /// Returns whether an event of this revision is read through [`Event::read_past`].
    pub fn is_converted(&self, revision: u32) -> bool {
        self.is_past || (revision != self.revision && !self.shapes.is_empty())
    }

    /// Returns the Rust type that defines it.
    pub const fn owner(&self) -> TypeId {
        self.owner
    }

    /// Returns the name of that type, for messages.
    pub fn owner_name(&self) -> &'static str {
        (self.owner_name)()
    }

    /// Returns the present and the former topics.
    pub fn topics(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.topic).chain(self.former_topics.iter().copied())
    }

    /// Returns whether events under this topic are of the type.
    pub fn has_topic(&self, topic: &str) -> bool {
        self.topics().any(|it| it == topic)
    }
}

impl PartialEq for EventType {
    fn eq(&self, other: &Self) -> bool {
        self.topic == other.topic
            && self.former_topics == other.former_topics
            && self.revision == other.revision
            && self.shapes == other.shapes
            && self.is_past == other.is_past
            && self.owner == other.owner
    }
}

impl Eq for EventType {}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventType")
            .field("topic", &self.topic)
            .field("former_topics", &self.former_topics)
            .field("revision", &self.revision)
            .field("shapes", &self.shapes)
            .field("is_past", &self.is_past)
            .field("owner", &self.owner_name())
            .finish()
    }
}

/// The labels of an event, by which queries select it; sorted and distinct.
pub type Tags = BTreeSet<Arc<str>>;

/// A fact, or one of several kinds of fact: never refused, never changed.
///
/// Derive it: `#[derive(Event, Serialize, Deserialize)]` on an enum of events or on the struct of
/// one event. Only the content of the variant is recorded as the payload; the topic identifies the
/// variant.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "not an event",
    note = "add `#[derive(Event, Serialize, Deserialize)]` to `{Self}`"
)]
pub trait Event: Sized + Send + Sync + 'static {
    /// The types of this event: one for each variant, in declaration order, then those that are no
    /// longer recorded and are read as others.
    const TYPES: &'static [EventType];

    /// Returns the index in [`TYPES`](Self::TYPES) of this event's type.
    fn type_index(&self) -> usize;

    /// Returns the tags that are recorded with it.
    fn tags(&self) -> Tags {
        Tags::new()
    }

    /// Returns what of the event is data of subjects, which can be forgotten: `#[event(subject =
    /// "customer:{id}")]` on the type, on a variant or on fields.
    fn subjects(&self) -> Vec<SubjectPart> {
        Vec::new()
    }

    /// Writes the content.
    ///
    /// # Errors
    ///
    /// Errors of the serializer.
    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Reads the content of an event of the type at `type_index`.
    ///
    /// # Errors
    ///
    /// Errors of the deserializer; also if there is no such type.
    fn deserialize_payload<'de, D: Deserializer<'de>>(
        type_index: usize,
        deserializer: D,
    ) -> Result<Self, D::Error>;

    /// Reads the content of an event that was recorded in another shape, and converts it: called
    /// for another revision than the present one if the type has other [shapes](EventType::shapes),
    /// and for types that are no longer recorded.
    ///
    /// # Errors
    ///
    /// Errors of the deserializer. The inner result is that of the conversion.
    fn read_past<'de, D: Deserializer<'de>>(
        type_index: usize,
        deserializer: D,
        past: &PastEvent<'_>,
    ) -> Result<Upcasted<Self>, D::Error> {
        let _ = past;
        let event = Self::deserialize_payload(type_index, deserializer)?;
        Ok(Ok(Decoded::One(event)))
    }

    /// Returns what an event of the type at `type_index` is read as after its content was erased.
    /// `None` if the type does not declare it; reading the event is then an error.
    fn erased(type_index: usize, past: &PastEvent<'_>) -> Option<Upcasted<Self>> {
        let _ = (type_index, past);
        None
    }

    /// Returns the type of this event.
    fn event_type(&self) -> &'static EventType {
        &Self::TYPES[self.type_index()]
    }

    /// Returns the index in [`TYPES`](Self::TYPES) of the type with this present or former topic.
    fn index_of_topic(topic: &str) -> Option<usize> {
        Self::TYPES.iter().position(|it| it.has_topic(topic))
    }

    /// Returns the present and former topics of all types, for use in queries.
    fn topics() -> impl Iterator<Item = &'static str> {
        Self::TYPES.iter().flat_map(EventType::topics)
    }
}

/// The trait behind `#[event(tags = function)]`.
#[doc(hidden)]
pub fn add_tags(tags: &mut Tags, more: impl IntoIterator<Item: Into<Arc<str>>>) {
    tags.extend(more.into_iter().map(Into::into));
}

/// Returns a tag with this text: `tags.insert(tag(format_args!("aircraft:{tail}")))`.
pub fn tag(text: fmt::Arguments<'_>) -> Arc<str> {
    thread_local! {
        /// Text is formatted here and copied, so that a tag costs only the one allocation that
        /// keeps it.
        static BUFFER: Cell<String> = const { Cell::new(String::new()) };
    }
    // Taken rather than borrowed: formatting the text may itself create a tag.
    let mut buffer = BUFFER.take();
    buffer.clear();
    // Writing to a string fails only if a formatted value fails; the text then ends there.
    let _ = buffer.write_fmt(text);
    let tag = Arc::from(buffer.as_str());
    if buffer.capacity() <= TAG_BUFFER_SIZE_KEPT {
        BUFFER.set(buffer);
    }
    tag
}

/// Size in bytes of the buffer that each thread keeps for creating tags; no tag that can be
/// recorded is longer.
const TAG_BUFFER_SIZE_KEPT: usize = 1024;

/// Detects in derived code whether `T`, alone in a variant of an enum that joins nothing, is itself
/// an event. In that case `join` was forgotten, and the topic and tags of `T` would be lost.
#[doc(hidden)]
pub struct ForgottenJoin<T>(PhantomData<T>);

impl<T: Event> ForgottenJoin<T> {
    /// Takes precedence over the constant of the trait if `T` is an event.
    pub const FORGOTTEN: bool = true;
}

/// The fallback of [`ForgottenJoin`] for all other types.
#[doc(hidden)]
pub trait NoJoin {
    /// Used if there is no other.
    const FORGOTTEN: bool = false;
}

impl<T> NoJoin for ForgottenJoin<T> {}

/// Concatenates the types of several events: those of an enum that joins them. `N` is their total
/// number.
pub const fn join_types<const N: usize>(parts: &[&'static [EventType]]) -> [EventType; N] {
    let mut joined = [EventType::of::<()>(""); N];
    let (mut count, mut part) = (0, 0);
    while part < parts.len() {
        let mut index = 0;
        while index < parts[part].len() {
            joined[count] = parts[part][index];
            count += 1;
            index += 1;
        }
        part += 1;
    }
    joined
}

/// Checks at compile time that no topic occurs twice among the types of `name`.
///
/// # Panics
///
/// If one occurs twice.
pub const fn check_distinct_topics(name: &str, types: &'static [EventType]) {
    let mut index = 0;
    while index < types.len() {
        let mut topic = 0;
        while topic <= types[index].former_topics.len() {
            let mut other = index + 1;
            while other < types.len() {
                if has_topic(&types[other], topic_at(&types[index], topic)) {
                    twice(name, topic_at(&types[index], topic));
                }
                other += 1;
            }
            topic += 1;
        }
        index += 1;
    }
}

/// Returns the present topic at index 0 and the former ones after it.
const fn topic_at(event_type: &EventType, index: usize) -> &'static str {
    match index {
        0 => event_type.topic,
        _ => event_type.former_topics[index - 1],
    }
}

const fn has_topic(event_type: &EventType, topic: &str) -> bool {
    let mut index = 0;
    while index <= event_type.former_topics.len() {
        if same(topic_at(event_type, index).as_bytes(), topic.as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

/// Panics with both names in the message, which a panic at compile time cannot format by itself.
const fn twice(name: &str, topic: &str) -> ! {
    const SIZE: usize = 1024;
    let parts = [
        "two of the events in ",
        name,
        " have the topic `",
        topic,
        "`: an event recorded under it could be either; give one \
         of them another with `#[event(topic = \"…\")]`",
    ];
    let mut message = [0; SIZE];
    let (mut size, mut part) = (0, 0);
    while part < parts.len() {
        let bytes = parts[part].as_bytes();
        let mut index = 0;
        while index < bytes.len() && size < SIZE {
            message[size] = bytes[index];
            size += 1;
            index += 1;
        }
        part += 1;
    }
    match std::str::from_utf8(message.split_at(size).0) {
        Ok(message) => panic!("{}", message),
        Err(_) => panic!("two of the joined events have one topic"),
    }
}

/// State that is folded from events: an aggregate, or a view over a query.
///
/// Must accept every event ever recorded, in any order in which events could have been recorded,
/// and depend on nothing else: folding the same events gives the same state.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what `{E}` changes",
    label = "cannot take `{E}` in",
    note = "write `impl Apply<{E}> for {Self} {{ fn apply(&mut self, event: &{E}) {{ … }} }}`"
)]
pub trait Apply<E> {
    /// Updates the state with an event.
    fn apply(&mut self, event: &E);
}

/// Folds events into `state`, in their order, and returns the result.
pub fn fold<'e, S: Apply<E>, E: 'e>(mut state: S, events: impl IntoIterator<Item = &'e E>) -> S {
    for event in events {
        state.apply(event);
    }
    state
}
