//! Why the upkeep of a view does not do what it was asked: a server that failed, or a refusal; and which
//! errors of handlers are those of their event.

use std::error::Error as StdError;
use std::sync::Arc;

use retold_core::projection::{BoxError, ProjectionError};
use retold_core::recording::RecordError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::error::{Described, of_statement_on_views};

/// What was being done.
const WHAT: &str = "keeping a view";

/// Why the upkeep did not do what it was asked. The transaction is to be rolled back.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The server failed, or the connection to it.
    Postgres(Error),
    /// A handler failed with what is no fault of its event.
    Place(BoxError),
    /// It is not to be done.
    Refused(ProjectionError),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Postgres(error)
    }
}

impl Halt {
    /// As a recorder's error, or that of a projection.
    pub(crate) fn into_error(self) -> Result<ProjectionError, RecordError> {
        match self {
            Self::Refused(error) => Ok(error),
            Self::Place(error) => Err(RecordError::unavailable(WHAT, Boxed(error))),
            Self::Postgres(error) if may_not(&error) => Err(RecordError::invalid(format!(
                "{WHAT}: {}; grant the role what it lacks, as CREATE on the schema for views",
                Described::new(error)
            ))),
            Self::Postgres(error) => Err(of_statement_on_views(WHAT, error)),
        }
    }
}

/// Whether the role lacks a right.
fn may_not(error: &Error) -> bool {
    error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Boxed(#[source] BoxError);

/// Whether a statement failed only for what was done before it: another had failed in the transaction,
/// or the transaction is ended, and what comes after it may not write.
pub(super) fn is_of_an_earlier_one(error: &Error) -> bool {
    error.code().is_some_and(|it| {
        *it == SqlState::IN_FAILED_SQL_TRANSACTION || *it == SqlState::READ_ONLY_SQL_TRANSACTION
    })
}

/// The server's error among an error and its causes.
pub(super) fn of_server(error: &BoxError) -> Option<&Error> {
    let first: &(dyn StdError + 'static) = &**error;
    let mut causes = std::iter::successors(Some(first), |&error| error.source());
    causes.find_map(|cause| cause.downcast_ref::<Error>())
}

/// What an event is poison for; an error of the place, as a full disk or a connection that was cut, is
/// none: it would poison every event.
pub(super) fn poison(error: BoxError) -> Result<Arc<dyn StdError + Send + Sync>, Halt> {
    match of_server(&error) {
        Some(cause) if is_of_the_place(cause) => Err(Halt::Place(error)),
        Some(cause) if cause.as_db_error().is_some() => {
            // The driver's text leaves to its source what the server said.
            let text = crate::error::describe(cause);
            let said = error.to_string();
            Ok(match said == cause.to_string() {
                true => BoxError::from(text).into(),
                false => BoxError::from(format!("{said}: {text}")).into(),
            })
        }
        _ => Ok(error.into()),
    }
}

/// Whether the error says something of the server, the connection or other transactions, and nothing of
/// the event.
fn is_of_the_place(error: &Error) -> bool {
    let Some(code) = error.code() else {
        // The driver's own: a parameter of another type is the handler's, all else is the connection's.
        return error.is_closed() || is_of_transport(error);
    };
    is_outdated(error)
        || matches!(
            code.code().get(..2),
            Some("08" | "40" | "53" | "55" | "57" | "58" | "XX")
        )
}

fn is_of_transport(error: &Error) -> bool {
    let source = error.source();
    source.is_some_and(|it| it.downcast_ref::<std::io::Error>().is_some())
}

/// Whether a statement that was prepared once is of tables that are others now.
pub(super) fn is_outdated(error: &Error) -> bool {
    let code = error.code();
    let plan = error
        .as_db_error()
        .is_some_and(|it| it.message().starts_with("cached plan"));
    code == Some(&SqlState::INVALID_SQL_STATEMENT_NAME)
        || (code == Some(&SqlState::FEATURE_NOT_SUPPORTED) && plan)
}
