//! The system: three applications that follow each other, with their policies.
//!
//! ```text
//! bookings --reservations--> shows --answers--> bookings --issuing--> tickets
//! ```
//!
//! A guest requests seats; the show reserves them or declines; the booking records the result;
//! tickets are issued for it. This module does not depend on HTTP, a database or threads.

use retold::prelude::Uuid;
use retold::recording::Invalid;
use retold::system::{Context, Follower, System};

use crate::booking::{Booking, BookingEvent};
use crate::show::{Show, ShowEvent};
use crate::ticket::{Tickets, TicketsEvent};

/// Name of the application, and of the log, of bookings.
pub const BOOKINGS: &str = "bookings";

/// Name of the application, and of the log, of shows.
pub const SHOWS: &str = "shows";

/// Name of the application, and of the log, of tickets.
pub const TICKETS: &str = "tickets";

/// Builds the system.
///
/// # Errors
///
/// None in practice, because the definition is fixed.
pub fn ticket_office() -> Result<System, Invalid> {
    let reservations = Follower::new("reservations").follows(BOOKINGS).on(reserve);
    let answers = Follower::new("answers").follows(SHOWS).on(answer);
    let issuing = Follower::new("issuing").follows(BOOKINGS).on(issue);
    System::new("ticket office")
        .application(BOOKINGS, |app| app.aggregate::<Booking>().follower(answers))
        .application(SHOWS, |app| app.aggregate::<Show>().follower(reservations))
        .application(TICKETS, |app| app.aggregate::<Tickets>().follower(issuing))
        .build()
}

/// Returns the key of the booking that the event belongs to. An event of another stream is a bug,
/// and the error stops the follower: returning `Ok` instead would skip the event silently.
fn booking_of(context: &Context) -> retold::Result<Uuid> {
    match context.aggregate::<Booking>() {
        Some(booking) => Ok(*booking.key()),
        None => Err(retold::Error::Refused(
            "the event is not in the stream of a booking".into(),
        )),
    }
}

/// Shows follow bookings.
async fn reserve(event: &BookingEvent, context: &mut Context) -> retold::Result<()> {
    let booking = booking_of(context)?;
    match event {
        BookingEvent::Requested { request } => {
            let seats = request.seats;
            let reserve = |show: &Show| show.reserve(booking, seats);
            context
                .execute_or_create(request.show.as_str(), reserve)
                .await?;
        }
        BookingEvent::Cancelled { show } => {
            let release = |show: &Show| show.release(booking);
            context.execute_or_create(show.as_str(), release).await?;
        }
        BookingEvent::Confirmed { .. } | BookingEvent::Declined { .. } => {}
    }
    Ok(())
}

/// Bookings follow shows.
async fn answer(event: &ShowEvent, context: &mut Context) -> retold::Result<()> {
    match event {
        ShowEvent::Reserved { booking, seats } => {
            let confirm = |booking: &Booking| booking.confirm(seats);
            context.execute(*booking, confirm).await?;
        }
        ShowEvent::TurnedAway { booking, why } => {
            let decline = |booking: &Booking| booking.decline(why);
            context.execute(*booking, decline).await?;
        }
        ShowEvent::Announced { .. } | ShowEvent::Renamed { .. } | ShowEvent::Released { .. } => {}
    }
    Ok(())
}

/// Tickets follow bookings.
async fn issue(event: &BookingEvent, context: &mut Context) -> retold::Result<()> {
    let booking = booking_of(context)?;
    match event {
        BookingEvent::Confirmed { seats } => {
            let issue = |_: &Tickets| TicketsEvent::Issued {
                seats: seats.clone(),
            };
            context.execute_or_create(booking, issue).await?;
        }
        BookingEvent::Cancelled { .. } => {
            // A booking that was canceled before it was confirmed has no tickets.
            if context.find::<Tickets>(booking).await?.is_some() {
                context
                    .execute(booking, |_: &Tickets| TicketsEvent::Voided)
                    .await?;
            }
        }
        BookingEvent::Requested { .. } | BookingEvent::Declined { .. } => {}
    }
    Ok(())
}
