//! Shows: how many seats a house has, and who has them. Pure code.
//!
//! The only place that knows whether a seat is free. Bookings ask by their events, and shows answer by
//! theirs; see [`office`](crate::office).

use std::collections::BTreeMap;

use retold::prelude::*;

/// Most seats of a house: each is kept in the state of its show.
pub const HOUSE_SEATS_MAX: u32 = 10_000;

/// Longest name of a show, in bytes of UTF-8: names are part of names of streams, which have 255.
pub const SHOW_NAME_SIZE_MAX: usize = 100;

/// Whether a show may have this name: something to read, without control characters. What is asked of
/// any other name is refused where it is asked, so that no follower meets it.
pub fn is_show_name(name: &str) -> bool {
    let is_something = !name.trim().is_empty() && name.len() <= SHOW_NAME_SIZE_MAX;
    is_something && !name.chars().any(char::is_control)
}

/// What happens to a show.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum ShowEvent {
    /// It can be booked from now on.
    Announced {
        /// What it is called.
        title: String,
        /// How many seats the house has, numbered from 1.
        seats: u32,
    },
    /// It is called otherwise from now on.
    Renamed {
        /// What it is called.
        title: String,
    },
    /// A booking got these seats.
    Reserved {
        /// Which booking.
        booking: Uuid,
        /// The numbers of the seats.
        seats: Vec<u32>,
    },
    /// A booking got no seats.
    TurnedAway {
        /// Which booking.
        booking: Uuid,
        /// Why, for people.
        why: String,
    },
    /// The seats of a booking are free again.
    Released {
        /// Which booking.
        booking: Uuid,
    },
}

/// A show, by the name it has in addresses.
#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = ShowEvent, key = String)]
pub struct Show {
    title: Option<String>,
    seats: u32,
    /// Whose each seat is that is not free.
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

/// Why a show is not announced or renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShowRefusal {
    /// It was announced with other words or seats.
    #[error(
        "the show is announced already, otherwise than you say; rename it, or choose another name"
    )]
    AnnouncedOtherwise,
    /// A house of no seats, or of too many.
    #[error("a house has 1 to {HOUSE_SEATS_MAX} seats")]
    NoSuchHouse,
    /// Bookings for it were turned away, but nobody has announced it.
    #[error("the show is not announced")]
    NotAnnounced,
    /// A name that no show can have.
    #[error("the name of a show has 1 to {SHOW_NAME_SIZE_MAX} bytes, without control characters")]
    NoSuchName,
    /// A title without letters.
    #[error("a show has a title")]
    NoTitle,
}

impl Show {
    /// Announces it under its name. Said again it changes nothing.
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

    /// Calls it otherwise. The title that it has changes nothing.
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

    /// Gives the free seats of the lowest numbers to a booking, or turns it away.
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

    /// What it is called; none if it is not announced.
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// How many seats the house has.
    pub fn seats(&self) -> u32 {
        self.seats
    }

    /// How many of them are nobody's.
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
