//! What requests say in headers, queries, paths and bodies, read so that a mistake is answered by a
//! [`Problem`] that says what to write instead.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use retold::application::CommandId;
use retold::prelude::Uuid;
use retold::recording::identity::Version;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::limits::KEY_SIZE_MAX;
use crate::problem::Problem;
use crate::token::Token;

/// Names the token of a request.
pub const AFTER_HEADER: &str = "retold-after";

/// Names the token of an answer.
pub const POSITION_HEADER: &str = "retold-position";

const KEY_HEADER: &str = "idempotency-key";

/// A body of JSON.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = axum::Json::from_request(request, state).await;
        let axum::Json(body) = read.map_err(|rejection: JsonRejection| {
            // A body that is JSON but not what was expected is a bad request here too: 422 is what the
            // domain says.
            let status = match rejection.status() {
                StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
                other => other,
            };
            Problem::new(status, "bad-request", rejection.body_text())
        })?;
        Ok(Self(body))
    }
}

/// The key of a request, so that what it commands is recorded once however often it is sent.
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
                "the Idempotency-Key has {} bytes; send a fresh UUID, and the same one when you send the request again",
                key.len()
            ))),
        }
    }
}

impl IdempotencyKey {
    /// An id for what the request makes: the same whenever it is sent, by whichever instance; a fresh
    /// one without a key.
    pub fn new_id(&self) -> Uuid {
        match &self.0 {
            Some(key) => CommandId::from(format!("id/{key}")).event_id(0).uuid(),
            None => Uuid::now_v7(),
        }
    }

    /// The id of a command: of what it does, and the key. A key that was sent with another command to the
    /// same address is another id, or the second would be taken for a repetition of the first.
    pub fn command(&self, command: &str) -> Option<CommandId> {
        let key = self.0.as_ref()?;
        Some(CommandId::from(format!("{command}/{key}")))
    }
}

/// The version that the client saw, from the `ETag` of an earlier answer.
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
                "If-Match is {text:?}; send one ETag as an answer gave it, as in \"3\""
            ))),
        }
    }
}

impl IfMatch {
    /// The version, of a request that must name one.
    ///
    /// # Errors
    ///
    /// 428 (RFC 6585), with what to do.
    pub fn required(self) -> Result<Version, Problem> {
        self.0.ok_or_else(|| {
            Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "precondition-required",
                "say in If-Match which version you saw; GET it, and send the ETag of the answer",
            )
        })
    }
}

/// Up to where the answer must know the logs: the header `Retold-After`, or `after` in the query.
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

/// Where a page of a list begins: behind this id, `behind` in the query.
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
/// 404: what has no id is not there.
pub fn id_of(text: &str) -> Result<Uuid, Problem> {
    let parsed = text.parse();
    parsed.map_err(|_| Problem::not_found(format!("{text:?} is no id; ids of bookings are UUIDs")))
}

/// The text of a header that is given once at most.
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
        Problem::bad_request(format!("the header {name} has other than ASCII characters"))
    })?;
    Ok(Some(text.trim()))
}
