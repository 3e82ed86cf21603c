//! Readers for event types, independent of the Rust type: for checking a log against the types of a
//! program.

use std::any::TypeId;
use std::fmt;

use super::codec::Codec;
use super::error::MappingError;
use super::json_difference::{Arrays, json_difference};
use super::mapper::Mapper;
use crate::domain::{Decoded, Event, EventType};
use crate::recording::{NewEvent, StoredEvent};

/// Checks whether stored events can be read as those of a type.
#[derive(Clone, Copy)]
pub(crate) struct EventReader {
    type_id: TypeId,
    types: &'static [EventType],
    read: fn(&Mapper, &StoredEvent) -> Result<(), MappingError>,
    is_same: fn(&Mapper, &StoredEvent, &NewEvent) -> bool,
}

impl EventReader {
    /// Creates the reader of events of type `E`.
    pub(crate) fn of<E: Event>() -> Self {
        Self {
            type_id: TypeId::of::<E>(),
            types: E::TYPES,
            read: |mapper, stored| mapper.read::<E>(stored).map(drop),
            is_same: is_same::<E>,
        }
    }

    /// Returns whether both read the same type.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.type_id == other.type_id
    }

    /// Returns the types of the events.
    pub(crate) fn types(&self) -> &'static [EventType] {
        self.types
    }

    /// Returns the present and former topics of the type.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.types.iter().flat_map(EventType::topics)
    }

    /// Returns whether a recorded event of any shape is read as the same event as a new one.
    pub(crate) fn is_same(&self, mapper: &Mapper, stored: &StoredEvent, new: &NewEvent) -> bool {
        (self.is_same)(mapper, stored, new)
    }

    /// Reads an event.
    ///
    /// # Errors
    ///
    /// As [`Mapper::read`].
    pub(crate) fn read(&self, mapper: &Mapper, stored: &StoredEvent) -> Result<(), MappingError> {
        (self.read)(mapper, stored)
    }
}

/// Returns whether both are read as one event of type `E`, with the same topic and content.
fn is_same<E: Event>(mapper: &Mapper, stored: &StoredEvent, new: &NewEvent) -> bool {
    let content = |read: Result<Decoded<E>, MappingError>| {
        let event = read.ok()?.single().ok()?;
        let payload = Codec::Json.encode(&event).ok()?;
        Some((event.event_type().topic, payload))
    };
    let recorded = content(mapper.read(stored));
    let decided = content(mapper.read_new(new, stored.position()));
    recorded.zip(decided).is_some_and(|(one, other)| {
        one.0 == other.0 && json_difference(&one.1, &other.1, Arrays::Ordered).is_none()
    })
}

impl fmt::Debug for EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.topics()).finish()
    }
}
