//! Readers for event types, independent of the Rust type: for checking a log against the types of a
//! program.

use std::any::TypeId;
use std::fmt;

use super::error::MappingError;
use super::mapper::Mapper;
use crate::domain::{Event, EventType};
use crate::recording::StoredEvent;

/// Checks whether stored events can be read as those of a type.
#[derive(Clone, Copy)]
pub(crate) struct EventReader {
    type_id: TypeId,
    types: &'static [EventType],
    read: fn(&Mapper, &StoredEvent) -> Result<(), MappingError>,
}

impl EventReader {
    /// Creates the reader of events of type `E`.
    pub(crate) fn of<E: Event>() -> Self {
        Self {
            type_id: TypeId::of::<E>(),
            types: E::TYPES,
            read: |mapper, stored| mapper.decode::<E>(stored).map(drop),
        }
    }

    /// Returns whether both read the same type.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.type_id == other.type_id
    }

    /// Returns the present and former topics of the type.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.types.iter().flat_map(EventType::topics)
    }

    /// Reads an event.
    ///
    /// # Errors
    ///
    /// As [`Mapper::decode`].
    pub(crate) fn read(&self, mapper: &Mapper, stored: &StoredEvent) -> Result<(), MappingError> {
        (self.read)(mapper, stored)
    }
}

impl fmt::Debug for EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.topics()).finish()
    }
}
