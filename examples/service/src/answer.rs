//! Answers: a representation with the version it shows, and where in a log the command's events are.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use retold::application::{Outcome, Recorded};
use retold::recording::identity::Version;
use serde::Serialize;

use crate::request::POSITION_HEADER;
use crate::token::Token;

/// An answer with what was asked for.
#[derive(Debug)]
pub struct Answer<T> {
    status: StatusCode,
    body: T,
    version: Option<Version>,
    token: Option<Token>,
    location: Option<String>,
}

impl<T> Answer<T> {
    /// 200, with this.
    pub fn of(body: T) -> Self {
        Self {
            status: StatusCode::OK,
            body,
            version: None,
            token: None,
            location: None,
        }
    }

    /// The version of the aggregate that it shows, as its `ETag`.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// Where in the log of this name the command's events are, also those of an earlier request; of a
    /// command that decided on nothing there are none.
    #[must_use]
    pub fn recorded(mut self, log: &str, recorded: &Recorded) -> Self {
        let log = log.to_owned();
        self.token = recorded.position().map(|position| Token { log, position });
        self
    }

    /// 201 if the command was recorded by this request, 200 if it is repeated; and where to find what it
    /// made.
    #[must_use]
    pub fn made(mut self, location: String, recorded: &Recorded) -> Self {
        if recorded.outcome == Outcome::Recorded {
            self.status = StatusCode::CREATED;
        }
        self.location = Some(location);
        self
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let etag = self.version.map(|version| format!("\"{version}\""));
        let token = self.token.map(|token| token.to_string());
        let position = header::HeaderName::from_static(POSITION_HEADER);
        let values = [
            (header::ETAG, etag),
            (position, token),
            (header::LOCATION, self.location),
        ];
        for (name, value) in values {
            // Log names are those of this service, and paths are made of ids and encoded names.
            if let Some(value) = value.and_then(|it| HeaderValue::try_from(it).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
