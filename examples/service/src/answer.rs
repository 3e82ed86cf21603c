//! Responses: a representation with its version, and the position of the command's events in a log.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use retold::application::{Outcome, Recorded};
use retold::recording::Version;
use serde::Serialize;

use crate::request::POSITION_HEADER;
use crate::token::Token;

/// A successful response.
#[derive(Debug)]
pub struct Answer<T> {
    status: StatusCode,
    body: T,
    version: Option<Version>,
    token: Option<Token>,
    location: Option<String>,
}

impl<T> Answer<T> {
    /// Creates a 200 response with this body.
    pub fn of(body: T) -> Self {
        Self {
            status: StatusCode::OK,
            body,
            version: None,
            token: None,
            location: None,
        }
    }

    /// Sets the `ETag` to the version of the aggregate in the response.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// Sets the position of the command's events in this log, including those of an earlier
    /// request. A command that decided on no events has no position.
    #[must_use]
    pub fn recorded(mut self, log: &str, recorded: &Recorded) -> Self {
        let log = log.to_owned();
        self.token = recorded.position().map(|position| Token { log, position });
        self
    }

    /// Sets the status to 201 if this request recorded the command, or leaves 200 for a repeated
    /// one; and sets the location of the new resource.
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
            // Both are valid header values: log names are those of this service, and paths consist
            // of ids and encoded names.
            if let Some(value) = value.and_then(|it| HeaderValue::try_from(it).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
