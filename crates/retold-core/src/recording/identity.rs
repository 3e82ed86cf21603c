//! Identity of events, logs and places: ids, positions, versions, checkpoints.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Creates an id from this uuid.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Returns the id's uuid.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

uuid_newtype! {
    /// Identifies an event; unique in its log.
    EventId
}

uuid_newtype! {
    /// Identifies a log, independently of its name. It is assigned when the log is created, and
    /// never changes.
    LogId
}

macro_rules! counted_from_one {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// The first place, number 1.
            pub const FIRST: Self = Self(NonZeroU64::MIN);

            /// Returns the place with this number; none for 0, because counting starts at 1.
            pub const fn new(number: u64) -> Option<Self> {
                match NonZeroU64::new(number) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// Returns the number, which is at least 1.
            pub const fn get(self) -> u64 {
                self.0.get()
            }

            /// Returns the place that is `count` places later; saturates at `u64::MAX`, which no
            /// store reaches.
            #[must_use]
            pub const fn plus(self, count: u64) -> Self {
                Self(self.0.saturating_add(count))
            }

            /// Returns the next place.
            #[must_use]
            pub const fn next(self) -> Self {
                self.plus(1)
            }

            /// Returns the number of a place, or 0 if there is none.
            pub const fn number(place: Option<Self>) -> u64 {
                match place {
                    Some(place) => place.get(),
                    None => 0,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counted_from_one! {
    /// The place of an event in its log, counted in events from 1, in commit order.
    ///
    /// Positions have no gaps, in any store: a reader that has read up to position `p` has read
    /// every event that will ever be at or before `p`.
    Position
}

counted_from_one! {
    /// The place of an event in its stream, counted in events from 1, without gaps.
    ///
    /// A stream without events has no version.
    Version
}

/// A position with the id of the event there. It proves that two logs, or one log at two times,
/// share one history. An empty log has no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The position in the log.
    pub position: Position,
    /// The id of the event at that position.
    pub event_id: EventId,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.position, self.event_id)
    }
}
