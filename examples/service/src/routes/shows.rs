//! `/shows`: announcing, reading and renaming a show, and its guest list.

use std::sync::Arc;

use axum::extract::{Path, State};
use retold::application::{Loaded, Recorded};
use retold::prelude::Uuid;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::desk::Desk;
use crate::guest_list::Line;
use crate::limits::PAGE_LINES_MAX;
use crate::office::SHOWS;
use crate::problem::{Problem, of_command};
use crate::request::{After, Behind, Body, IdempotencyKey, IfMatch};
use crate::show::Show;

/// A show, as a response.
#[derive(Serialize)]
pub(super) struct ShowBody {
    show: String,
    title: String,
    seats: u32,
    free: u32,
}

/// The body of an announcement.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Announcement {
    title: String,
    seats: u32,
}

/// The body of a renaming.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Renaming {
    title: String,
}

/// The guest list of a show, or a page of it.
#[derive(Serialize)]
pub(super) struct GuestsBody {
    bookings: Vec<Line>,
    /// The value of `behind` for the next page; `None` on the last.
    next: Option<Uuid>,
}

/// `PUT /shows/{show}`. A repeated request is 200, with any key.
pub(super) async fn announce(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
    key: IdempotencyKey,
    Body(requested): Body<Announcement>,
) -> Result<Answer<ShowBody>, Problem> {
    let announce = |show: &Show| show.announce(&name, &requested.title, requested.seats);
    let command = desk.shows.execute_or_create(name.as_str(), announce);
    let command = match key.command("announce") {
        Some(key) => command.command_id(key),
        None => command,
    };
    let recorded = command.await.map_err(|error| of_command(error, None))?;
    let is_that =
        |show: &Show| show.title() == Some(&requested.title) && show.seats() == requested.seats;
    check_repeated(&desk, &name, &recorded, is_that).await?;
    let answer = read(&desk, &name).await?.recorded(SHOWS, &recorded);
    Ok(answer.made(format!("/shows/{}", encoded(&name)), &recorded))
}

/// `GET /shows/{show}`.
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
    After(token): After,
) -> Result<Answer<ShowBody>, Problem> {
    desk.wait_for_caused(token).await?;
    read(&desk, &name).await
}

/// `PATCH /shows/{show}`. Two concurrent renamings would overwrite each other unnoticed, so the
/// version is required.
pub(super) async fn rename(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
    key: IdempotencyKey,
    seen: IfMatch,
    Body(requested): Body<Renaming>,
) -> Result<Answer<ShowBody>, Problem> {
    let seen = seen.required()?;
    let rename = |show: &Show| show.rename(&requested.title);
    let command = desk.shows.execute(name.as_str(), rename).at(seen);
    let command = match key.command("rename") {
        Some(key) => command.command_id(key),
        None => command,
    };
    let recorded = command
        .await
        .map_err(|error| of_command(error, Some(seen)))?;
    let is_that = |show: &Show| show.title() == Some(&requested.title);
    check_repeated(&desk, &name, &recorded, is_that).await?;
    Ok(read(&desk, &name).await?.recorded(SHOWS, &recorded))
}

/// `GET /shows/{show}/bookings`.
pub(super) async fn bookings(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
    After(token): After,
    Behind(behind): Behind,
) -> Result<Answer<GuestsBody>, Problem> {
    desk.wait_for_view(token).await?;
    let bookings = desk
        .guests
        .read(|guests| guests.page(&name, behind, PAGE_LINES_MAX));
    let last = bookings.last().map(|line| line.booking);
    Ok(Answer::of(GuestsBody {
        next: last.filter(|_| bookings.len() == PAGE_LINES_MAX),
        bookings,
    }))
}

/// Checks that an earlier request with the same key recorded what this one requests.
async fn check_repeated(
    desk: &Desk,
    name: &str,
    recorded: &Recorded,
    is_that: impl Fn(&Show) -> bool,
) -> Result<(), Problem> {
    let (true, Some(version)) = (recorded.is_repeated(), recorded.version) else {
        return Ok(());
    };
    let then = desk.shows.get_at::<Show>(name, version).await?;
    match is_that(&then.state) {
        true => Ok(()),
        false => Err(Problem::key_reused()),
    }
}

async fn read(desk: &Desk, name: &str) -> Result<Answer<ShowBody>, Problem> {
    let found: Option<Loaded<Show>> = desk.shows.find(name).await?;
    let announced = found.as_ref().and_then(|it| Some((it, it.state.title()?)));
    let Some((loaded, title)) = announced else {
        return Err(Problem::not_found(format!(
            "there is no show {name:?}; announce it with PUT"
        )));
    };
    let body = ShowBody {
        show: name.into(),
        title: title.into(),
        seats: loaded.state.seats(),
        free: loaded.state.free(),
    };
    Ok(Answer::of(body).version(loaded.version))
}

/// Returns the name as a path segment (RFC 3986, section 3.3), with all but unreserved characters
/// encoded.
fn encoded(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(encode).collect()
}
