//! The view: the guests of each show, folded from the log of bookings.
//!
//! It is kept in memory, so it is the same for every store and is rebuilt when the service starts.
//! To keep it in SQLite, define tables for the projection (`retold::sqlite::SqliteViews`); nothing
//! else changes.

use std::collections::BTreeMap;
use std::ops::Bound;

use retold::prelude::*;
use retold::projection::{MemoryView, Projection};

use crate::booking::{Booking, BookingEvent, Status};
use crate::office::BOOKINGS;

/// Name of the view.
pub const GUEST_LIST: &str = "guest list";

/// Version of the view. Raise it when you change the fold.
const VERSION: u32 = 1;

/// The guests of each show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestList {
    by_show: BTreeMap<String, BTreeMap<Uuid, Line>>,
    show_of: BTreeMap<Uuid, String>,
}

/// A booking on the list.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// Id of the booking.
    pub booking: Uuid,
    /// Name of the guest.
    pub guest: String,
    /// Number of requested seats.
    pub seats: u32,
    /// State of the booking.
    pub status: Status,
}

impl GuestList {
    /// Returns the bookings of a show, sorted by id, after the given id if there is one.
    pub fn page(&self, show: &str, after: Option<Uuid>, limit: usize) -> Vec<Line> {
        let Some(lines) = self.by_show.get(show) else {
            return Vec::new();
        };
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let lines = lines.range((first, Bound::Unbounded));
        lines.take(limit).map(|(_, line)| line.clone()).collect()
    }

    fn take(&mut self, booking: Uuid, event: &BookingEvent) {
        if let BookingEvent::Requested { request } = event {
            let line = Line {
                booking,
                guest: request.guest.clone(),
                seats: request.seats,
                status: Status::Requested,
            };
            let lines = self.by_show.entry(request.show.clone()).or_default();
            lines.insert(booking, line);
            self.show_of.insert(booking, request.show.clone());
            return;
        }
        let lines = self
            .show_of
            .get(&booking)
            .and_then(|show| self.by_show.get_mut(show));
        if let Some(line) = lines.and_then(|lines| lines.get_mut(&booking)) {
            line.status = match event {
                BookingEvent::Requested { .. } => Status::Requested,
                BookingEvent::Confirmed { .. } => Status::Confirmed,
                BookingEvent::Declined { .. } => Status::Declined,
                BookingEvent::Cancelled { .. } => Status::Cancelled,
            };
        }
    }
}

/// Returns the projection that folds the log of bookings into the list.
pub fn guest_list() -> Projection<MemoryView<GuestList>> {
    let projection = Projection::new(GUEST_LIST, VERSION, BOOKINGS);
    projection.on::<BookingEvent>(|list: &mut GuestList, logged| {
        if let Some(booking) = logged.aggregate::<Booking>() {
            list.take(*booking.key(), &logged.event);
        }
        Ok(())
    })
}
