//! Events of any type: the result of a decision over several types.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::codec::{Codec, RoundTripError};
use super::topic_registry::{RegistryError, TopicRegistry};
use crate::domain::{Aggregate, Decision, Event, EventType, Id, SubjectPart, Tags};

/// An event of any type, which may be addressed to the stream of an aggregate.
///
/// Decisions over several types return these: any event converts to one (`AnyEvent::from(event)`),
/// and [`Addressed::to`] creates one for an aggregate's stream.
pub struct AnyEvent {
    event: Arc<dyn ErasedEvent>,
    address: Option<Address>,
    /// The tags that were added to those of its type.
    added_tags: Tags,
    /// Its encoded form, if it has already been read back.
    encoded: Option<Encoded>,
}

/// The encoded form of an event that was read back.
#[derive(Clone)]
struct Encoded {
    codec: Codec,
    payload: Bytes,
    /// The tags that the event's type gave it before it was read back. A function of tags may have
    /// read what is not recorded.
    tags: Tags,
    /// What of it is data of subjects, by its type, before it was read back.
    subjects: Vec<SubjectPart>,
}

#[derive(Clone)]
struct Address {
    stream: Arc<str>,
    register: fn(&TopicRegistry) -> Result<(), RegistryError>,
}

impl AnyEvent {
    /// Creates an event of the library itself, for one of its streams: no application registers it.
    pub(crate) fn of_the_library<E: Event>(event: E, stream: Arc<str>) -> Self {
        let register = |_: &TopicRegistry| Ok(());
        Self::new(event, Some(Address { stream, register }))
    }

    fn new<E: Event>(event: E, address: Option<Address>) -> Self {
        Self {
            event: Arc::new(event),
            address,
            added_tags: Tags::new(),
            encoded: None,
        }
    }

    /// Returns the name of the stream to which it is addressed, or none.
    pub fn stream(&self) -> Option<&Arc<str>> {
        self.address.as_ref().map(|it| &it.stream)
    }

    /// Returns its type.
    pub fn event_type(&self) -> &'static EventType {
        self.event.event_type()
    }

    /// Adds a tag to those of the event's type. A tag that the event already has is not added
    /// twice.
    ///
    /// Use it if the tag depends on the decision and not on the event; otherwise write `#[event(tag
    /// = "…")]` on the type, so that no decision can forget the tag. The limits of tags are checked
    /// when the event is recorded.
    ///
    /// ```
    /// # use retold::prelude::*;
    /// # #[derive(Event, Serialize, Deserialize)]
    /// # enum RoomEvent { Booked }
    /// # #[derive(Aggregate, Clone, Default)]
    /// # #[aggregate(event = RoomEvent, key = u32)]
    /// # struct Room;
    /// # impl Apply<RoomEvent> for Room { fn apply(&mut self, _: &RoomEvent) {} }
    /// let room = Id::<Room>::new(12);
    /// let event = RoomEvent::Booked.to(&room).tag("campaign:spring");
    /// assert!(event.tags().contains("campaign:spring"));
    /// ```
    #[must_use = "the tag is in the returned event"]
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.added_tags.insert(tag.into());
        self
    }

    /// Returns the tags that are recorded with it.
    pub fn tags(&self) -> Tags {
        let mut tags = self.own_tags();
        tags.extend(self.added_tags.iter().cloned());
        tags
    }

    /// Returns what of it is data of subjects.
    pub fn subjects(&self) -> Vec<SubjectPart> {
        match &self.encoded {
            Some(encoded) => encoded.subjects.clone(),
            None => self.event.subjects(),
        }
    }

    fn own_tags(&self) -> Tags {
        match &self.encoded {
            Some(encoded) => encoded.tags.clone(),
            None => self.event.tags(),
        }
    }

    /// Returns the event, if it is of this Rust type. An event addressed to an aggregate is of the
    /// aggregate's event type.
    pub fn downcast_ref<E: Event>(&self) -> Option<&E> {
        (*self.event).as_any().downcast_ref()
    }

    /// Registers the event's type, and the type of the aggregate that it is addressed to.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] if another type has one of their names.
    pub fn register(&self, registry: &TopicRegistry) -> Result<(), RegistryError> {
        match &self.address {
            Some(address) => (address.register)(registry),
            None => self.event.register(registry),
        }
    }

    /// Returns its content as bytes, and the event that is decoded from them, with the same address
    /// and tags. An event that this codec has already read back is not encoded again.
    pub(super) fn encode_and_decode(&self, codec: Codec) -> Result<(Bytes, Self), RoundTripError> {
        let address = self.address.clone();
        if let Some(encoded) = &self.encoded
            && encoded.codec == codec
        {
            let read_back = Self {
                event: Arc::clone(&self.event),
                address,
                added_tags: self.added_tags.clone(),
                encoded: Some(encoded.clone()),
            };
            return Ok((encoded.payload.clone(), read_back));
        }
        let (payload, event) = self.event.encode_and_decode(codec)?;
        let encoded = Encoded {
            codec,
            payload: payload.clone(),
            tags: self.own_tags(),
            subjects: self.subjects(),
        };
        let read_back = Self {
            event,
            address,
            added_tags: self.added_tags.clone(),
            encoded: Some(encoded),
        };
        Ok((payload, read_back))
    }
}

impl fmt::Debug for AnyEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyEvent")
            .field("topic", &self.event_type().topic)
            .field("stream", &self.stream())
            .finish_non_exhaustive()
    }
}

impl<E: Event> From<E> for AnyEvent {
    fn from(event: E) -> Self {
        Self::new(event, None)
    }
}

/// The operations of an [`Event`] that [`AnyEvent`] needs, independent of its type.
trait ErasedEvent: Send + Sync + 'static {
    fn event_type(&self) -> &'static EventType;
    fn tags(&self) -> Tags;
    fn subjects(&self) -> Vec<SubjectPart>;
    fn encode_and_decode(
        &self,
        codec: Codec,
    ) -> Result<(Bytes, Arc<dyn ErasedEvent>), RoundTripError>;
    fn register(&self, registry: &TopicRegistry) -> Result<(), RegistryError>;
    fn as_any(&self) -> &dyn Any;
}

impl<E: Event> ErasedEvent for E {
    fn event_type(&self) -> &'static EventType {
        Event::event_type(self)
    }

    fn tags(&self) -> Tags {
        Event::tags(self)
    }

    fn subjects(&self) -> Vec<SubjectPart> {
        Event::subjects(self)
    }

    fn encode_and_decode(
        &self,
        codec: Codec,
    ) -> Result<(Bytes, Arc<dyn ErasedEvent>), RoundTripError> {
        let (payload, event) = codec.encode_and_decode(self)?;
        Ok((payload, Arc::new(event)))
    }

    fn register(&self, registry: &TopicRegistry) -> Result<(), RegistryError> {
        registry.register_event::<E>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Addresses events to aggregates, in decisions over several types.
pub trait Addressed: Event {
    /// Addresses this event to the stream of an aggregate. The aggregate's event type must be this
    /// type, or an enum that joins it with others.
    fn to<A: Aggregate>(self, id: &Id<A>) -> AnyEvent
    where
        Self: Into<A::Event>,
    {
        let address = Address {
            stream: id.stream().into(),
            register: TopicRegistry::register_aggregate::<A>,
        };
        AnyEvent::new::<A::Event>(self.into(), Some(address))
    }
}

impl<E: Event> Addressed for E {}

impl Decision<AnyEvent> for AnyEvent {
    type Refusal = Infallible;

    fn decided(self, events: &mut Vec<AnyEvent>) -> Result<(), Infallible> {
        events.push(self);
        Ok(())
    }
}

impl<E: Event> Decision<AnyEvent> for E {
    type Refusal = Infallible;

    fn decided(self, events: &mut Vec<AnyEvent>) -> Result<(), Infallible> {
        events.push(self.into());
        Ok(())
    }

    fn may_have(topic: &str) -> bool {
        E::index_of_topic(topic).is_some()
    }
}
