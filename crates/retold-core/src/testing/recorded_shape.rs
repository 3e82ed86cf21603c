//! Reading an event as an older program recorded it: for tests of older shapes.

use crate::domain::{Decoded, Event, Timestamp};
use crate::mapping::{Mapper, MappingError};
use crate::recording::{AppendPlace, NewEvent, Position, StoredEvent, Version};

/// Returns what a recorded event is read as. State it as it was recorded: its topic, its revision
/// and its payload, and if a conversion needs them, its stream, tags, time and metadata.
///
/// The event is at position 1 of the log, and at version 1 if it has a stream.
///
/// ```
/// use retold::domain::{PastEvent, Upcast};
/// use retold::prelude::*;
/// use retold::projection::BoxError;
/// use retold::recording::{EventId, NewEvent};
/// use retold::testing::read_recorded;
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(revision = 2, from(1 = DogSoldV1))]
/// struct DogSold { cents: u64 }
///
/// #[derive(Deserialize)]
/// struct DogSoldV1 { euros: u64 }
///
/// impl Upcast<DogSold> for DogSoldV1 {
///     fn upcast(self, _: &PastEvent<'_>) -> Result<DogSold, BoxError> {
///         Ok(DogSold { cents: self.euros.checked_mul(100).ok_or("too expensive")? })
///     }
/// }
///
/// let old = NewEvent::new(EventId::new(Uuid::nil()), "DogSold", r#"{"euros":3}"#);
/// let read = read_recorded::<DogSold>(&old)?.single().unwrap();
/// assert_eq!(read.cents, 300);
/// # Ok::<(), retold::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// As for [`Mapper::read`].
pub fn read_recorded<E: Event>(recorded: &NewEvent) -> Result<Decoded<E>, MappingError> {
    let place = AppendPlace { index: 0, count: 1 };
    let version = recorded.stream.as_ref().map(|_| Version::FIRST);
    let time = Timestamp::default();
    let stored = StoredEvent::from_new(recorded, Position::FIRST, version, place, time);
    Mapper::default().read(&stored)
}
