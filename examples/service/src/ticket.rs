//! Tickets: what a guest shows at the entrance. Pure code.

use retold::prelude::*;

/// The events of the tickets of a booking.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum TicketsEvent {
    /// A ticket was issued for each of these seats.
    Issued {
        /// The seat numbers.
        seats: Vec<u32>,
    },
    /// The tickets became invalid.
    Voided,
}

/// The tickets of one booking, under its id.
#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = TicketsEvent)]
pub struct Tickets {
    seats: Vec<u32>,
    /// Number of times they were issued, which is one.
    issued: u32,
    is_void: bool,
}

impl Apply<TicketsEvent> for Tickets {
    fn apply(&mut self, event: &TicketsEvent) {
        match event {
            TicketsEvent::Issued { seats } => {
                self.seats.clone_from(seats);
                self.issued += 1;
            }
            TicketsEvent::Voided => self.is_void = true,
        }
    }
}

impl Tickets {
    /// Returns the numbers of the seats, each with a ticket.
    pub fn seats(&self) -> &[u32] {
        &self.seats
    }

    /// Returns how many times they were issued.
    pub fn issued(&self) -> u32 {
        self.issued
    }

    /// Returns whether they are invalid.
    pub fn is_void(&self) -> bool {
        self.is_void
    }
}
