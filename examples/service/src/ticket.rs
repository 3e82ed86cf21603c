//! Tickets: what a guest shows at the door. Pure code.

use retold::prelude::*;

/// What happens to the tickets of a booking.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum TicketsEvent {
    /// There is one for each of these seats.
    Issued {
        /// The numbers of the seats.
        seats: Vec<u32>,
    },
    /// They open no door any more.
    Voided,
}

/// The tickets of one booking, under its id.
#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = TicketsEvent)]
pub struct Tickets {
    seats: Vec<u32>,
    /// How often they were issued, which is once.
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
    /// The numbers of the seats, each with a ticket.
    pub fn seats(&self) -> &[u32] {
        &self.seats
    }

    /// How often they were issued.
    pub fn issued(&self) -> u32 {
        self.issued
    }

    /// Whether they open no door any more.
    pub fn is_void(&self) -> bool {
        self.is_void
    }
}
