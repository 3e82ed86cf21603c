//! Bookings: a guest's request for seats and its result. Pure code.

use retold::prelude::*;

use crate::show::{SHOW_NAME_SIZE_MAX, is_show_name};

/// Maximum number of seats in one booking. Larger parties contact the office.
pub const BOOKING_SEATS_MAX: u32 = 10;

/// A guest's request.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Name of the show.
    pub show: String,
    /// Name of the guest.
    pub guest: String,
    /// Number of seats.
    pub seats: u32,
}

/// The events of a booking.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum BookingEvent {
    /// A guest requested seats.
    Requested {
        /// The request.
        request: Request,
    },
    /// The show has reserved seats.
    Confirmed {
        /// The seat numbers.
        seats: Vec<u32>,
    },
    /// The show has declined the booking.
    Declined {
        /// The reason, for people.
        why: String,
    },
    /// The guest canceled the booking.
    Cancelled {
        /// Name of the show, so that its follower can free the seats.
        show: String,
    },
}

/// The state of a booking.
#[derive(Serialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// The show has not decided yet.
    #[default]
    Requested,
    /// The booking has seats.
    Confirmed,
    /// The show declined the booking.
    Declined,
    /// The guest canceled the booking.
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

/// Reasons for refusing to make or cancel a booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BookingRefusal {
    /// No seats, or too many.
    #[error("a booking has 1 to {BOOKING_SEATS_MAX} seats; for more, contact the office")]
    PartySize,
    /// The name of the guest is empty.
    #[error("the name of the guest must not be empty")]
    NoGuest,
    /// The name of the show is invalid.
    #[error(
        "the name of a show must have 1 to {SHOW_NAME_SIZE_MAX} bytes without control characters"
    )]
    NoSuchName,
    /// The booking was made before, for a different request.
    #[error("the booking exists already, with other details")]
    RequestedOtherwise,
    /// The booking was declined, so there are no seats to free.
    #[error("the booking was declined, so it cannot be canceled")]
    WasDeclined,
}

impl Booking {
    /// Requests seats. A repeated request changes nothing.
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

    /// Records the seats that the show has reserved, unless the guest has canceled in the meantime;
    /// the show then learns of the cancellation from its event.
    pub fn confirm(&self, seats: &[u32]) -> Option<BookingEvent> {
        (self.status == Status::Requested).then(|| BookingEvent::Confirmed {
            seats: seats.to_vec(),
        })
    }

    /// Records that the show has declined the booking.
    pub fn decline(&self, why: &str) -> Option<BookingEvent> {
        (self.status == Status::Requested).then(|| BookingEvent::Declined { why: why.into() })
    }

    /// Cancels the booking. A repeated cancellation changes nothing.
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

    /// Returns the guest's request; `None` if the booking does not exist yet.
    pub fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// Returns the state.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Returns the seat numbers.
    pub fn seats(&self) -> &[u32] {
        &self.seats
    }

    /// Returns the reason, if the booking was declined.
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }
}
