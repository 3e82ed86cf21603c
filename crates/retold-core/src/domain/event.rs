//! Events: facts in the words of the domain.

use std::any::{TypeId, type_name};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::sync::Arc;

use serde::{Deserializer, Serializer};

/// What is recorded of an event's type: the stable names that lead back to it, and its shape's number.
///
/// An enum of events has one for each variant.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct EventType {
    /// The name under which events of the type are recorded.
    pub topic: &'static str,
    /// Names under which they were recorded before it was renamed; read as the present one.
    pub former_topics: &'static [&'static str],
    /// Number of the type's shape, from 1.
    pub revision: u32,
    /// The Rust type that says so: enums that join events have the types of what they join.
    owner: TypeId,
    owner_name: fn() -> &'static str,
}

impl EventType {
    /// Events of the Rust type `E`, or of a variant of it, recorded under this topic: revision 1,
    /// never named otherwise.
    pub const fn of<E: 'static>(topic: &'static str) -> Self {
        Self {
            topic,
            former_topics: &[],
            revision: 1,
            owner: TypeId::of::<E>(),
            owner_name: type_name::<E>,
        }
    }

    /// With these names from before it was renamed.
    #[must_use]
    pub const fn formerly(mut self, topics: &'static [&'static str]) -> Self {
        self.former_topics = topics;
        self
    }

    /// With this revision.
    #[must_use]
    pub const fn revision(mut self, revision: u32) -> Self {
        self.revision = revision;
        self
    }

    /// The Rust type whose events are recorded so.
    pub const fn owner(&self) -> TypeId {
        self.owner
    }

    /// Name of that type, for people.
    pub fn owner_name(&self) -> &'static str {
        (self.owner_name)()
    }

    /// The present and the former topics.
    pub fn topics(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.topic).chain(self.former_topics.iter().copied())
    }

    /// Whether events under this topic are of the type.
    pub fn has_topic(&self, topic: &str) -> bool {
        self.topics().any(|it| it == topic)
    }
}

impl PartialEq for EventType {
    fn eq(&self, other: &Self) -> bool {
        self.topic == other.topic
            && self.former_topics == other.former_topics
            && self.revision == other.revision
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
            .field("owner", &self.owner_name())
            .finish()
    }
}

/// Labels of an event, by which queries select it; sorted, none twice.
pub type Tags = BTreeSet<Arc<str>>;

/// A fact, or one of several kinds of fact: never refused, never changed.
///
/// Derive it: `#[derive(Event, Serialize, Deserialize)]` on an enum of events or on the struct of one
/// event. The payload that is recorded is the content of the variant alone; which variant it was is
/// told by the topic.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "not an event",
    note = "add `#[derive(Event, Serialize, Deserialize)]` to `{Self}`"
)]
pub trait Event: Sized + Send + Sync + 'static {
    /// The types of this event: one for each variant, in their order.
    const TYPES: &'static [EventType];

    /// Which of [`TYPES`](Self::TYPES) this event is of.
    fn type_index(&self) -> usize;

    /// The labels that are recorded with it.
    fn tags(&self) -> Tags {
        Tags::new()
    }

    /// Writes the content.
    ///
    /// # Errors
    ///
    /// What the serializer reports.
    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Reads the content of an event of the type at `type_index`.
    ///
    /// # Errors
    ///
    /// What the deserializer reports; also if there is no such type.
    fn deserialize_payload<'de, D: Deserializer<'de>>(
        type_index: usize,
        deserializer: D,
    ) -> Result<Self, D::Error>;

    /// The type of this event.
    fn event_type(&self) -> &'static EventType {
        &Self::TYPES[self.type_index()]
    }

    /// Which of [`TYPES`](Self::TYPES) has this present or former topic.
    fn index_of_topic(topic: &str) -> Option<usize> {
        Self::TYPES.iter().position(|it| it.has_topic(topic))
    }

    /// The present and former topics of all types, as queries name them.
    fn topics() -> impl Iterator<Item = &'static str> {
        Self::TYPES.iter().flat_map(EventType::topics)
    }
}

/// What a derive makes of `#[event(tags = function)]`.
#[doc(hidden)]
pub fn add_tags(tags: &mut Tags, more: impl IntoIterator<Item: Into<Arc<str>>>) {
    tags.extend(more.into_iter().map(Into::into));
}

/// A tag with this text: `tags.insert(tag(format_args!("aircraft:{tail}")))`.
pub fn tag(text: fmt::Arguments<'_>) -> Arc<str> {
    thread_local! {
        /// Written into and copied from, so that a tag costs the one allocation that keeps it.
        static BUFFER: Cell<String> = const { Cell::new(String::new()) };
    }
    // Taken, not borrowed: what is printed may itself make a tag.
    let mut buffer = BUFFER.take();
    buffer.clear();
    // Writing to a string fails only if what is printed fails, and then is cut off there.
    let _ = buffer.write_fmt(text);
    let tag = Arc::from(buffer.as_str());
    if buffer.capacity() <= TAG_BUFFER_SIZE_KEPT {
        BUFFER.set(buffer);
    }
    tag
}

/// Room that is kept by each thread for tags being made, in bytes; no tag that can be recorded is
/// longer.
const TAG_BUFFER_SIZE_KEPT: usize = 1024;

/// Tells derived code whether `T`, alone in a variant of an enum that joins nothing, is itself an event:
/// then `join` was forgotten, and the topic and tags of `T` would be lost.
#[doc(hidden)]
pub struct ForgottenJoin<T>(PhantomData<T>);

impl<T: Event> ForgottenJoin<T> {
    /// Found before the constant of the trait, if `T` is an event.
    pub const FORGOTTEN: bool = true;
}

/// What [`ForgottenJoin`] is for all other types.
#[doc(hidden)]
pub trait NoJoin {
    /// Found if there is no other.
    const FORGOTTEN: bool = false;
}

impl<T> NoJoin for ForgottenJoin<T> {}

/// The types of several events, one after the other: those of an enum that joins them. `N` is how
/// many they are.
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

/// Checks, when the program is compiled, that no topic is there twice among the types of `name`.
///
/// # Panics
///
/// If one is.
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

/// The present topic, then the former ones.
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
        "`: an event recorded under it would lead back to both; give one another with `#[event(topic = \"…\")]`",
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

/// State that takes facts in: an aggregate, or a view over a query.
///
/// Must accept every event ever recorded, in any order that could have been recorded, and depend on
/// nothing else: folding the same events gives the same state.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what `{E}` changes",
    label = "cannot take `{E}` in",
    note = "write `impl Apply<{E}> for {Self} {{ fn apply(&mut self, event: &{E}) {{ … }} }}`"
)]
pub trait Apply<E> {
    /// Takes a fact in.
    fn apply(&mut self, event: &E);
}

/// Folds events into a state: what they make of `state`, in their order.
pub fn fold<'e, S: Apply<E>, E: 'e>(mut state: S, events: impl IntoIterator<Item = &'e E>) -> S {
    for event in events {
        state.apply(event);
    }
    state
}
