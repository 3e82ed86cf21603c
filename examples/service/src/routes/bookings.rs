//! `/bookings`: requesting seats, canceling, and reading the result.

use std::sync::Arc;

use axum::extract::{Path, State};
use retold::prelude::Uuid;
use serde::Serialize;

use crate::answer::Answer;
use crate::booking::{Booking, Request, Status};
use crate::desk::Desk;
use crate::office::BOOKINGS;
use crate::problem::{Problem, of_command};
use crate::request::{After, Body, IdempotencyKey, IfMatch, id_of};
use crate::ticket::Tickets;

/// A booking, as a response.
#[derive(Serialize)]
pub(super) struct BookingBody {
    booking: Uuid,
    #[serde(flatten)]
    request: Request,
    status: Status,
    seat_numbers: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// The tickets of a booking, as a response.
#[derive(Serialize)]
pub(super) struct TicketsBody {
    booking: Uuid,
    seat_numbers: Vec<u32>,
    issued: u32,
    is_void: bool,
}

/// `POST /bookings`. The id of a booking is derived from the request's key, so a repeated request,
/// to any instance, refers to the same booking.
pub(super) async fn ask(
    State(desk): State<Arc<Desk>>,
    key: IdempotencyKey,
    Body(request): Body<Request>,
) -> Result<Answer<BookingBody>, Problem> {
    let id = key.new_id();
    let ask = |booking: &Booking| booking.ask(&request);
    let command = desk.bookings.execute_or_create(id, ask);
    let command = match key.command("ask") {
        Some(key) => command.command_id(key),
        None => command,
    };
    let recorded = command.await.map_err(|error| of_command(error, None))?;
    let booking = desk.bookings.get::<Booking>(id).await?;
    if booking.state.request() != Some(&request) {
        return Err(Problem::key_reused());
    }
    let answer = Answer::of(body(id, &booking.state)?).version(booking.version);
    let location = format!("/bookings/{id}");
    Ok(answer
        .recorded(BOOKINGS, &recorded)
        .made(location, &recorded))
}

/// `GET /bookings/{id}`. With a token, it waits for the effects: the decision of the show.
pub(super) async fn booking(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    After(token): After,
) -> Result<Answer<BookingBody>, Problem> {
    let id = id_of(&id)?;
    desk.wait_for_caused(token).await?;
    read(&desk, id).await
}

/// `POST /bookings/{id}/cancel`.
pub(super) async fn cancel(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    key: IdempotencyKey,
    IfMatch(seen): IfMatch,
) -> Result<Answer<BookingBody>, Problem> {
    let id = id_of(&id)?;
    let command = desk
        .bookings
        .execute(id, |booking: &Booking| booking.cancel());
    let command = match key.command("cancel") {
        Some(key) => command.command_id(key),
        None => command,
    };
    let command = match seen {
        Some(version) => command.at(version),
        None => command,
    };
    let recorded = command.await.map_err(|error| of_command(error, seen))?;
    Ok(read(&desk, id).await?.recorded(BOOKINGS, &recorded))
}

/// `GET /bookings/{id}/tickets`. Another application issues the tickets, so a client that has just
/// booked sends the token and waits.
pub(super) async fn tickets(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    After(token): After,
) -> Result<Answer<TicketsBody>, Problem> {
    let id = id_of(&id)?;
    desk.wait_for_caused(token).await?;
    let Some(tickets) = desk.tickets.find::<Tickets>(id).await? else {
        return Err(Problem::not_found(format!(
            "no tickets have been issued for the booking {id}"
        )));
    };
    let body = TicketsBody {
        booking: id,
        seat_numbers: tickets.state.seats().to_vec(),
        issued: tickets.state.issued(),
        is_void: tickets.state.is_void(),
    };
    Ok(Answer::of(body).version(tickets.version))
}

async fn read(desk: &Desk, id: Uuid) -> Result<Answer<BookingBody>, Problem> {
    match desk.bookings.find::<Booking>(id).await? {
        Some(booking) => Ok(Answer::of(body(id, &booking.state)?).version(booking.version)),
        None => Err(absent(id)),
    }
}

fn body(id: Uuid, booking: &Booking) -> Result<BookingBody, Problem> {
    let request = booking.request().ok_or_else(|| absent(id))?;
    Ok(BookingBody {
        booking: id,
        request: request.clone(),
        status: booking.status(),
        seat_numbers: booking.seats().to_vec(),
        why: booking.why().map(str::to_owned),
    })
}

fn absent(id: Uuid) -> Problem {
    Problem::not_found(format!("there is no booking {id}"))
}
