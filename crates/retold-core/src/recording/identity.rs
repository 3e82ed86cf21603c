//! What names an event, a log and a place: ids, positions, versions, marks.

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
            /// The id with this uuid.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The id's uuid.
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
    /// Names an event; unique in its log.
    EventId
}

uuid_newtype! {
    /// Names a log for as long as it lives, whatever its name: given at its birth, never changed.
    LogId
}

macro_rules! counted_from_one {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// The first.
            pub const FIRST: Self = Self(NonZeroU64::MIN);

            /// The place with this number; none for 0, for counting starts at 1.
            pub const fn new(number: u64) -> Option<Self> {
                match NonZeroU64::new(number) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// The number, from 1.
            pub const fn get(self) -> u64 {
                self.0.get()
            }

            /// The place `count` after this one; stays at `u64::MAX`, which no store reaches.
            #[must_use]
            pub const fn plus(self, count: u64) -> Self {
                Self(self.0.saturating_add(count))
            }

            /// The next place.
            #[must_use]
            pub const fn next(self) -> Self {
                self.plus(1)
            }

            /// The number of a place, or 0 where there is none.
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
    /// Place of an event in its log, counted in events from 1, in the order of commit.
    ///
    /// Positions have no gaps, in every store: whoever has read up to position `p` has read
    /// everything that will ever be at or before `p`.
    Position
}

counted_from_one! {
    /// Place of an event in its stream, counted in events from 1, without gaps.
    ///
    /// A stream without events has no version.
    Version
}

/// A position with the id of the event there: proof that two logs, or two times, speak of the same
/// history. An empty log has no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// Where in the log.
    pub position: Position,
    /// Which event is there.
    pub event_id: EventId,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.position, self.event_id)
    }
}
