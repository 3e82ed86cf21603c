//! Parsing of headers, queries, paths and bodies. An invalid value becomes a [`Problem`] that says
//! what to send instead.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use retold::application::CommandId;
use retold::prelude::Uuid;
use retold::recording::Version;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::limits::KEY_SIZE_MAX;
use crate::problem::Problem;
use crate::token::Token;

/// Header with the token of a request.
pub const AFTER_HEADER: &str = "retold-after";

/// Header with the token of a response.
pub const POSITION_HEADER: &str = "retold-position";

const KEY_HEADER: &str = "idempotency-key";

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = axum::Json::from_request(request, state).await;
        let axum::Json(body) = read.map_err(|rejection: JsonRejection| {
            // A JSON body of the wrong shape is a bad request too: 422 is for refusals of the
            // domain.
            let status = match rejection.status() {
                StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
                other => other,
            };
            Problem::new(status, "bad-request", rejection.body_text())
        })?;
        Ok(Self(body))
    }
}

/// The idempotency key of a request. Its command is recorded once, regardless of how often it is
/// sent.
#[derive(Clone, Debug)]
pub struct IdempotencyKey(Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(text) = single(&parts.headers, KEY_HEADER)? else {
            return Ok(Self(None));
        };
        let key = text.trim_matches('"');
        match (1..=KEY_SIZE_MAX).contains(&key.len()) {
            true => Ok(Self(Some(key.into()))),
            false => Err(Problem::bad_request(format!(
                "the Idempotency-Key has {} bytes; send a new UUID, and the same one in retries",
                key.len()
            ))),
        }
    }
}

impl IdempotencyKey {
    /// Returns the id of the resource that the request creates: derived from the key, so that it is
    /// the same on every instance and in every repetition; random without a key.
    pub fn new_id(&self) -> Uuid {
        match &self.0 {
            Some(key) => CommandId::from(format!("id/{key}")).event_id(0).uuid(),
            None => Uuid::now_v7(),
        }
    }

    /// Returns the command id, derived from the action and the key. The same key with another
    /// action on the same resource must give another id; otherwise the second command would be
    /// treated as a repetition of the first.
    pub fn command(&self, command: &str) -> Option<CommandId> {
        let key = self.0.as_ref()?;
        Some(CommandId::from(format!("{command}/{key}")))
    }
}

/// The version that the client saw, from the `ETag` of an earlier response.
#[derive(Clone, Copy, Debug)]
pub struct IfMatch(pub Option<Version>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(text) = single(&parts.headers, header::IF_MATCH.as_str())? else {
            return Ok(Self(None));
        };
        let quoted = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        let version = quoted.and_then(|number| number.parse().ok().and_then(Version::new));
        match version {
            Some(version) => Ok(Self(Some(version))),
            None => Err(Problem::bad_request(format!(
                "If-Match is {text:?}; send one ETag from a response, such as \"3\""
            ))),
        }
    }
}

impl IfMatch {
    /// Returns the version of a request that must name one.
    ///
    /// # Errors
    ///
    /// 428 (RFC 6585), with the remedy.
    pub fn required(self) -> Result<Version, Problem> {
        self.0.ok_or_else(|| {
            Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "precondition-required",
                "If-Match is required; GET the resource and send the ETag of the response",
            )
        })
    }
}

/// The token up to which the response must include the logs: the header `Retold-After`, or `after`
/// in the query.
#[derive(Clone, Debug)]
pub struct After(pub Option<Token>);

#[derive(Deserialize)]
struct AfterQuery {
    after: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for After {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = query::<AfterQuery, S>(parts, state).await?;
        let header = single(&parts.headers, AFTER_HEADER)?;
        let text = header.or(query.after.as_deref());
        let token = text.map(str::parse).transpose();
        let token = token
            .map_err(|error: crate::token::NoToken| Problem::bad_request(error.to_string()))?;
        Ok(Self(token))
    }
}

/// The id after which a page of a list begins: `behind` in the query.
#[derive(Clone, Copy, Debug)]
pub struct Behind(pub Option<Uuid>);

#[derive(Deserialize)]
struct BehindQuery {
    behind: Option<Uuid>,
}

impl<S: Send + Sync> FromRequestParts<S> for Behind {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = query::<BehindQuery, S>(parts, state).await?;
        Ok(Self(query.behind))
    }
}

async fn query<T: DeserializeOwned, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<T, Problem> {
    let read = Query::from_request_parts(parts, state).await;
    let Query(query) =
        read.map_err(|rejection: QueryRejection| Problem::bad_request(rejection.body_text()))?;
    Ok(query)
}

/// The id in a path.
///
/// # Errors
///
/// 404, because a resource without a valid id does not exist.
pub fn id_of(text: &str) -> Result<Uuid, Problem> {
    let parsed = text.parse();
    parsed.map_err(|_| {
        Problem::not_found(format!("{text:?} is not an id; ids of bookings are UUIDs"))
    })
}

/// Returns the text of a header that may occur at most once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::bad_request(format!(
            "the header {name} is given twice; send one"
        )));
    }
    let text = value.to_str();
    let text = text.map_err(|_| {
        Problem::bad_request(format!("the header {name} contains non-ASCII characters"))
    })?;
    Ok(Some(text.trim()))
}
