//! Problems: error responses, as `application/problem+json` (RFC 9457).
//!
//! The library's errors are decisions for the caller. Here, each is mapped to the status with the
//! same meaning for an HTTP client. The `detail` says what the client can do. Errors that only the
//! operator can fix are logged, and the client gets no details.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use retold::Error;
use retold::application::ExecuteError;
use retold::recording::{Conflict, Version};
use retold::system::WaitError;
use serde::Serialize;

use crate::booking::BookingRefusal;
use crate::limits::{RETRY_AFTER, RETRY_AFTER_HALT};
use crate::show::ShowRefusal;

/// An error response.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    /// Identifies the kind of problem for programs.
    kind: &'static str,
    detail: String,
    retry_after: Option<Duration>,
    etag: Option<Version>,
}

/// The "problem details" of RFC 9457.
#[derive(Serialize)]
struct Details<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// Creates a problem of this kind. The detail says what is wrong and what to do.
    pub fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            detail: detail.into(),
            retry_after: None,
            etag: None,
        }
    }

    /// The request is malformed.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// The resource does not exist.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// The service cannot process the request now.
    pub fn unavailable(kind: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, detail).retry_after(RETRY_AFTER)
    }

    /// The idempotency key was used before, for another request.
    pub fn key_reused() -> Self {
        let detail =
            "this Idempotency-Key was used for another request; use a new key for each request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail)
    }

    /// Sets the time after which the client should retry.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Maps the error of a command whose `If-Match` did not match.
    #[must_use]
    pub fn of_precondition(error: Error) -> Self {
        let Error::Conflict(Conflict::Stream { actual, .. }) = error else {
            return error.into();
        };
        let detail = match actual {
            Some(version) => format!("it is at version {version} now; read it and decide again"),
            None => "it does not exist yet".into(),
        };
        Self {
            etag: actual,
            ..Self::new(StatusCode::PRECONDITION_FAILED, "version-conflict", detail)
        }
    }

    fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a request failed");
        let detail = "internal error; see the log of the service";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let details = Details {
            r#type: format!("/problems/{}", self.kind),
            title: self.status.canonical_reason().unwrap_or(self.kind),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let mut response = (self.status, axum::Json(details)).into_response();
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, content_type);
        if let Some(wait) = self.retry_after {
            // In whole seconds (RFC 9110, section 10.2.3), and at least one, because zero means no
            // wait.
            headers.insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        }
        if let Some(version) = self.etag
            && let Ok(etag) = HeaderValue::try_from(format!("\"{version}\""))
        {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            // All retries hit a conflict.
            Error::Conflict(_) => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                "concurrent requests kept changing it; nothing was recorded, retry",
            )
            .retry_after(RETRY_AFTER),
            Error::Unavailable(failure) => {
                tracing::warn!(%failure, "the store is unavailable");
                Self::unavailable(
                    "unavailable",
                    "the store is busy or unreachable; retry later with the same Idempotency-Key",
                )
            }
            Error::OutcomeUnknown { failure, .. } => {
                tracing::error!(%failure, "the outcome of an append is unknown");
                Self::unavailable(
                    "outcome-unknown",
                    "the outcome is unknown; retry with the same Idempotency-Key to record it once",
                )
            }
            Error::CommandIdReused { .. } => Self::key_reused(),
            Error::NotFound { .. } => Self::not_found("it does not exist"),
            Error::Invalid(invalid) => Self::bad_request(invalid.to_string()),
            other => Self::internal(&other),
        }
    }
}

impl From<WaitError> for Problem {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Failed(error) => error.into(),
            WaitError::Halted { .. } => {
                tracing::warn!(%error, "a request waits for a stopped follower");
                Self::unavailable("halted", error.to_string()).retry_after(RETRY_AFTER_HALT)
            }
            WaitError::View(failure) if !failure.is_retriable() => {
                tracing::warn!(%failure, "a request waits for a stopped view");
                let detail = "the view has stopped; an operator has to fix it";
                Self::unavailable("halted", detail).retry_after(RETRY_AFTER_HALT)
            }
            other => Self::unavailable("not-yet", other.to_string()),
        }
    }
}

/// A refusal of the domain, as an HTTP response.
pub trait Refusal: std::fmt::Display {
    /// Returns 409 if the refusal depends on earlier events, and 422 if the request would never be
    /// granted.
    fn status(&self) -> StatusCode;

    /// Returns the kind of problem, for programs.
    fn kind(&self) -> &'static str;
}

impl Refusal for BookingRefusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::PartySize | Self::NoGuest | Self::RequestedOtherwise | Self::NoSuchName => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::WasDeclined => StatusCode::CONFLICT,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::PartySize => "party-size",
            Self::NoGuest => "no-guest",
            Self::NoSuchName => "no-such-name",
            Self::RequestedOtherwise => "requested-otherwise",
            Self::WasDeclined => "was-declined",
        }
    }
}

impl Refusal for ShowRefusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchHouse | Self::NoTitle | Self::NoSuchName => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::AnnouncedOtherwise | Self::NotAnnounced => StatusCode::CONFLICT,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::NoSuchHouse => "no-such-house",
            Self::NoTitle => "no-title",
            Self::NoSuchName => "no-such-name",
            Self::AnnouncedOtherwise => "announced-otherwise",
            Self::NotAnnounced => "not-announced",
        }
    }
}

/// Maps the error of a command. A conflict has a different meaning if the command named a version.
pub fn of_command<R: Refusal>(error: ExecuteError<R>, seen: Option<Version>) -> Problem {
    match (error, seen) {
        (ExecuteError::Refused(refusal), _) => {
            Problem::new(refusal.status(), refusal.kind(), refusal.to_string())
        }
        (ExecuteError::Retold(error), Some(_)) => Problem::of_precondition(error),
        (ExecuteError::Retold(error), None) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use retold::recording::Failure;

    use super::*;

    #[track_caller]
    fn check(error: Error, status: u16, retries: bool) {
        let response = Problem::from(error).into_response();
        assert_eq!(response.status().as_u16(), status);
        let headers = response.headers();
        assert_eq!(headers.contains_key(header::RETRY_AFTER), retries);
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn errors_map_to_statuses_for_clients() {
        let failure = || Failure::new("recording", io::Error::other("the disk is full"));
        check(Error::Unavailable(failure()), 503, true);
        let unknown = Error::OutcomeUnknown {
            failure: failure(),
            append: None,
            is_repeatable: true,
        };
        check(unknown, 503, true);
        let absent = Error::NotFound {
            stream: "Booking/1".into(),
            version: None,
            time: None,
        };
        check(absent, 404, false);
        let invalid = retold::recording::Invalid::new("too long".into());
        check(Error::Invalid(invalid), 400, false);
    }
}
