//! Problems: every answer that is not what was asked for, as `application/problem+json` (RFC 9457).
//!
//! The library's errors are decisions for the caller; here each becomes the status that tells an HTTP
//! client the same. What a client may do about it is in `detail`; what only the operator can mend is
//! logged, and the client learns no more than that.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use retold::Error;
use retold::application::ExecuteError;
use retold::recording::error::Conflict;
use retold::recording::identity::Version;
use retold::runner::{ViewWaitError, WaitError};
use serde::Serialize;

use crate::booking::BookingRefusal;
use crate::limits::{RETRY_AFTER, RETRY_AFTER_HALT};
use crate::show::ShowRefusal;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    /// Names the kind of problem for programs.
    kind: &'static str,
    detail: String,
    retry_after: Option<Duration>,
    etag: Option<Version>,
}

/// What RFC 9457 calls the problem details.
#[derive(Serialize)]
struct Details<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// A problem of this kind, with what is wrong and what to do about it.
    pub fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            detail: detail.into(),
            retry_after: None,
            etag: None,
        }
    }

    /// The request is not understood.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// The service cannot do it now.
    pub fn unavailable(kind: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, detail).retry_after(RETRY_AFTER)
    }

    /// The key of the request was sent before, with another one.
    pub fn key_reused() -> Self {
        let detail = "this Idempotency-Key was sent before, with another request; send a fresh one with each";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail)
    }

    /// After how long the client is to come again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What the library reports when the version named in `If-Match` is not the one there is.
    #[must_use]
    pub fn of_precondition(error: Error) -> Self {
        let Error::Conflict(Conflict::Stream { actual, .. }) = error else {
            return error.into();
        };
        let detail = match actual {
            Some(version) => format!("it is at version {version} now; read it, then decide again"),
            None => "there is no such thing yet".into(),
        };
        Self {
            etag: actual,
            ..Self::new(StatusCode::PRECONDITION_FAILED, "version-conflict", detail)
        }
    }

    fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a request failed");
        let detail = "the service failed; its log says why";
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
            // In whole seconds (RFC 9110, section 10.2.3), of which none would be no wait.
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
            // The retries did not suffice: many want the same.
            Error::Conflict(_) => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                "others changed it meanwhile, again and again; nothing was recorded, send it again",
            )
            .retry_after(RETRY_AFTER),
            Error::Unavailable(failure) => {
                tracing::warn!(%failure, "the store is unavailable");
                Self::unavailable(
                    "unavailable",
                    "the store is busy or cannot be reached; send it again later, a command with the same Idempotency-Key",
                )
            }
            Error::OutcomeUnknown { failure, .. } => {
                tracing::error!(%failure, "an outcome is unknown");
                Self::unavailable(
                    "outcome-unknown",
                    "it may be recorded or not; send it again with the same Idempotency-Key, and it is recorded once",
                )
            }
            Error::CommandIdReused { .. } => Self::key_reused(),
            Error::NotFound { .. } => Self::not_found("there is no such thing"),
            Error::Invalid(invalid) => Self::bad_request(invalid.to_string()),
            other => Self::internal(&other),
        }
    }
}

impl From<WaitError> for Problem {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Retold(error) => error.into(),
            WaitError::Halted { .. } => {
                tracing::warn!(%error, "a request waits for a follower that does not go on");
                Self::unavailable("halted", error.to_string()).retry_after(RETRY_AFTER_HALT)
            }
            other => Self::unavailable("not-yet", other.to_string()),
        }
    }
}

impl From<ViewWaitError> for Problem {
    fn from(error: ViewWaitError) -> Self {
        match error {
            ViewWaitError::Stopped(_) => {
                tracing::warn!(%error, "a request waits for a view that does not go on");
                let detail = "the view does not go on; somebody has to look";
                Self::unavailable("halted", detail).retry_after(RETRY_AFTER_HALT)
            }
            ViewWaitError::Timeout { .. } => Self::unavailable("not-yet", error.to_string()),
            other => Self::internal(&other),
        }
    }
}

/// A refusal of the domain, as HTTP tells it.
pub trait Refusal: std::fmt::Display {
    /// 409 if it depends on what was before, 422 if it would never be granted.
    fn status(&self) -> StatusCode;

    /// Names it for programs.
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

/// Of a command that named a version or not; a conflict means another thing in each case.
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

    use retold::recording::error::Failure;

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
    fn errors_become_what_clients_can_do() {
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
        let invalid = retold::recording::error::Invalid::new("too long".into());
        check(Error::Invalid(invalid), 400, false);
    }
}
