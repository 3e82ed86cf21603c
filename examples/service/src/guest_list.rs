//! The view: who comes to which show, folded from the log of bookings.
//!
//! It is kept in memory, so it is the same on every store, and is built anew when the service starts. To
//! keep it in SQLite, give the projection tables (`retold::sqlite::SqliteViews`); nothing else changes.

use std::collections::BTreeMap;
use std::ops::Bound;

use retold::prelude::*;
use retold::system::memory_view::MemoryView;
use retold::system::projection::Projection;

use crate::booking::{Booking, BookingEvent, Status};
use crate::office::BOOKINGS;

/// Name of the view.
pub const GUEST_LIST: &str = "guest list";

/// Version of the view: raised when it is folded otherwise.
const VERSION: u32 = 1;

/// Who comes to which show.
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
    /// Who comes.
    pub guest: String,
    /// How many seats were asked for.
    pub seats: u32,
    /// What came of it.
    pub status: Status,
}

impl GuestList {
    /// The bookings of a show in the order of their ids, behind one of them if one is given.
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

/// What folds the log of bookings into the list.
pub fn guest_list() -> Projection<MemoryView<GuestList>> {
    let projection = Projection::new(GUEST_LIST, VERSION, BOOKINGS);
    projection.on::<BookingEvent>(|list: &mut GuestList, logged| {
        if let Some(booking) = logged.aggregate::<Booking>() {
            list.take(*booking.key(), &logged.event);
        }
        Ok(())
    })
}
