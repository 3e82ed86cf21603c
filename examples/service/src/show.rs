//! Shows: the seats of a house and the bookings that hold them. Pure code.
//!
//! This is the only place that decides whether a seat is free. Bookings request seats through their
//! events, and shows decide through theirs; see [`office`](crate::office).

use std::collections::BTreeMap;

use retold::prelude::*;

/// Maximum number of seats of a house. The state of a show contains each seat.
pub const HOUSE_SEATS_MAX: u32 = 10_000;

/// Maximum size of the name of a show, in bytes of UTF-8. Names become part of stream names, which
/// have at most 255.
pub const SHOW_NAME_SIZE_MAX: usize = 100;

/// Returns whether a show may have this name: it must be readable and contain no control
/// characters. Requests with other names are refused immediately, so no follower receives one.
pub fn is_show_name(name: &str) -> bool {
    let is_something = !name.trim().is_empty() && name.len() <= SHOW_NAME_SIZE_MAX;
    is_something && !name.chars().any(char::is_control)
}

/// The events of a show.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum ShowEvent {
    /// The show was announced and can be booked.
    Announced {
        /// The title.
        title: String,
        /// Number of seats, which are numbered from 1.
        seats: u32,
    },
    /// The show was renamed.
    Renamed {
        /// The new title.
        title: String,
    },
    /// A booking got these seats.
    Reserved {
        /// Id of the booking.
        booking: Uuid,
        /// The seat numbers.
        seats: Vec<u32>,
    },
    /// A booking was declined.
    TurnedAway {
        /// Id of the booking.
        booking: Uuid,
        /// The reason, for people.
        why: String,
    },
    /// The seats of a booking are free again.
    Released {
        /// Id of the booking.
        booking: Uuid,
    },
}

/// A show, identified by its name in URLs.
#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = ShowEvent, key = String)]
pub struct Show {
    title: Option<String>,
    seats: u32,
    /// The booking of each occupied seat.
    taken: BTreeMap<u32, Uuid>,
}

impl Apply<ShowEvent> for Show {
    fn apply(&mut self, event: &ShowEvent) {
        match event {
            ShowEvent::Announced { title, seats } => {
                self.title = Some(title.clone());
                self.seats = *seats;
            }
            ShowEvent::Renamed { title } => self.title = Some(title.clone()),
            ShowEvent::Reserved { booking, seats } => {
                self.taken
                    .extend(seats.iter().map(|seat| (*seat, *booking)));
            }
            ShowEvent::TurnedAway { .. } => {}
            ShowEvent::Released { booking } => self.taken.retain(|_, owner| owner != booking),
        }
    }
}

/// Reasons for refusing to announce or rename a show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShowRefusal {
    /// It was announced with another title or number of seats.
    #[error("the show is announced already, with other details; rename it, or choose another name")]
    AnnouncedOtherwise,
    /// The house has no seats, or too many.
    #[error("a house must have 1 to {HOUSE_SEATS_MAX} seats")]
    NoSuchHouse,
    /// It was never announced; bookings for it were declined.
    #[error("the show has not been announced")]
    NotAnnounced,
    /// The name is invalid.
    #[error(
        "the name of a show must have 1 to {SHOW_NAME_SIZE_MAX} bytes without control characters"
    )]
    NoSuchName,
    /// The title has no letters.
    #[error("the title must not be empty")]
    NoTitle,
}

impl Show {
    /// Announces the show. A repeated announcement changes nothing.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub fn announce(
        &self,
        name: &str,
        title: &str,
        seats: u32,
    ) -> Result<Option<ShowEvent>, ShowRefusal> {
        if !is_show_name(name) {
            return Err(ShowRefusal::NoSuchName);
        }
        check_title(title)?;
        if !(1..=HOUSE_SEATS_MAX).contains(&seats) {
            return Err(ShowRefusal::NoSuchHouse);
        }
        match &self.title {
            None => Ok(Some(ShowEvent::Announced {
                title: title.into(),
                seats,
            })),
            Some(known) if known == title && self.seats == seats => Ok(None),
            Some(_) => Err(ShowRefusal::AnnouncedOtherwise),
        }
    }

    /// Renames the show. Its current title changes nothing.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub fn rename(&self, title: &str) -> Result<Option<ShowEvent>, ShowRefusal> {
        check_title(title)?;
        let known = self.title.as_ref().ok_or(ShowRefusal::NotAnnounced)?;
        Ok((known != title).then(|| ShowEvent::Renamed {
            title: title.into(),
        }))
    }

    /// Reserves the free seats with the lowest numbers for a booking, or declines it.
    pub fn reserve(&self, booking: Uuid, seats: u32) -> ShowEvent {
        let free = (1..=self.seats).filter(|seat| !self.taken.contains_key(seat));
        let found: Vec<u32> = free.take(seats as usize).collect();
        if self.title.is_some() && found.len() == seats as usize {
            return ShowEvent::Reserved {
                booking,
                seats: found,
            };
        }
        let why = match self.title {
            Some(_) => format!("{} seats are left", found.len()),
            None => "there is no such show".into(),
        };
        ShowEvent::TurnedAway { booking, why }
    }

    /// Frees the seats of a booking, if it has any.
    pub fn release(&self, booking: Uuid) -> Option<ShowEvent> {
        let mut owners = self.taken.values();
        owners
            .any(|owner| *owner == booking)
            .then_some(ShowEvent::Released { booking })
    }

    /// Returns the title; `None` if the show has not been announced.
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// Returns the number of seats.
    pub fn seats(&self) -> u32 {
        self.seats
    }

    /// Returns the number of free seats.
    pub fn free(&self) -> u32 {
        let taken = u32::try_from(self.taken.len()).unwrap_or(u32::MAX);
        self.seats.saturating_sub(taken)
    }
}

fn check_title(title: &str) -> Result<(), ShowRefusal> {
    match title.trim().is_empty() {
        true => Err(ShowRefusal::NoTitle),
        false => Ok(()),
    }
}
