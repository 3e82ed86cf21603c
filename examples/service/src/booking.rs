//! Bookings: what a guest asks for, and what came of it. Pure code.

use retold::prelude::*;

use crate::show::{SHOW_NAME_SIZE_MAX, is_show_name};

/// Most seats of one booking: larger parties are to talk to the office.
pub const BOOKING_SEATS_MAX: u32 = 10;

/// What a guest asks for.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Name of the show.
    pub show: String,
    /// Who comes.
    pub guest: String,
    /// How many seats.
    pub seats: u32,
}

/// What happens to a booking.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum BookingEvent {
    /// A guest asked for seats.
    Requested {
        /// For what.
        request: Request,
    },
    /// The show has reserved seats.
    Confirmed {
        /// The numbers of the seats.
        seats: Vec<u32>,
    },
    /// The show has turned it away.
    Declined {
        /// Why, for people.
        why: String,
    },
    /// The guest does not come.
    Cancelled {
        /// Name of the show, for whoever is to free the seats.
        show: String,
    },
}

/// What came of a booking.
#[derive(Serialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// The show has not answered yet.
    #[default]
    Requested,
    /// It has seats.
    Confirmed,
    /// It has none.
    Declined,
    /// The guest does not come.
    Cancelled,
}

/// A booking.
#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = BookingEvent)]
pub struct Booking {
    request: Option<Request>,
    status: Status,
    seats: Vec<u32>,
    why: Option<String>,
}

impl Apply<BookingEvent> for Booking {
    fn apply(&mut self, event: &BookingEvent) {
        match event {
            BookingEvent::Requested { request } => self.request = Some(request.clone()),
            BookingEvent::Confirmed { seats } => {
                self.status = Status::Confirmed;
                self.seats.clone_from(seats);
            }
            BookingEvent::Declined { why } => {
                self.status = Status::Declined;
                self.why = Some(why.clone());
            }
            BookingEvent::Cancelled { .. } => {
                self.status = Status::Cancelled;
                self.seats.clear();
            }
        }
    }
}

/// Why a booking is not made or cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BookingRefusal {
    /// No seats, or too many.
    #[error("a booking is for 1 to {BOOKING_SEATS_MAX} seats; for more, write to the office")]
    PartySize,
    /// Nobody is said to come.
    #[error("a booking has the name of a guest")]
    NoGuest,
    /// A name that no show can have.
    #[error("the name of a show has 1 to {SHOW_NAME_SIZE_MAX} bytes, without control characters")]
    NoSuchName,
    /// The booking was made for something else.
    #[error("the booking is there already, for something else")]
    RequestedOtherwise,
    /// There are no seats to give back.
    #[error("the booking was declined, there is nothing to cancel")]
    WasDeclined,
}

impl Booking {
    /// Asks for seats. Asked again it changes nothing.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub fn ask(&self, request: &Request) -> Result<Option<BookingEvent>, BookingRefusal> {
        if !(1..=BOOKING_SEATS_MAX).contains(&request.seats) {
            return Err(BookingRefusal::PartySize);
        }
        if request.guest.trim().is_empty() {
            return Err(BookingRefusal::NoGuest);
        }
        if !is_show_name(&request.show) {
            return Err(BookingRefusal::NoSuchName);
        }
        match &self.request {
            None => Ok(Some(BookingEvent::Requested {
                request: request.clone(),
            })),
            Some(known) if known == request => Ok(None),
            Some(_) => Err(BookingRefusal::RequestedOtherwise),
        }
    }

    /// Takes the seats that the show has reserved; none are taken once the guest has cancelled, and the
    /// show learns of that by itself.
    pub fn confirm(&self, seats: &[u32]) -> Option<BookingEvent> {
        (self.status == Status::Requested).then(|| BookingEvent::Confirmed {
            seats: seats.to_vec(),
        })
    }

    /// Takes it that the show has turned it away.
    pub fn decline(&self, why: &str) -> Option<BookingEvent> {
        (self.status == Status::Requested).then(|| BookingEvent::Declined { why: why.into() })
    }

    /// Cancels it. Said again it changes nothing.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub fn cancel(&self) -> Result<Option<BookingEvent>, BookingRefusal> {
        match (self.status, &self.request) {
            (Status::Declined, _) => Err(BookingRefusal::WasDeclined),
            (Status::Requested | Status::Confirmed, Some(request)) => {
                Ok(Some(BookingEvent::Cancelled {
                    show: request.show.clone(),
                }))
            }
            _ => Ok(None),
        }
    }

    /// What the guest asked for; none of a booking that is not made yet.
    pub fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// What came of it.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The numbers of its seats.
    pub fn seats(&self) -> &[u32] {
        &self.seats
    }

    /// Why it was declined, if it was.
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }
}
