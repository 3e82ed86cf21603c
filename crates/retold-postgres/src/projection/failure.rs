//! The reasons why the upkeep of a view fails: a failure of the server, or a refusal; and which
//! errors of handlers are caused by their event.

use std::error::Error as StdError;
use std::sync::Arc;

use retold_core::projection::{BoxError, ProjectionError};
use retold_core::recording::RecordError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::error::{Described, is_of_rights, of_statement_on_views};

/// The operation, for messages.
const WHAT: &str = "keeping a view";

/// Why the upkeep of a view failed. The transaction must be rolled back.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The server failed, or the connection to it.
    Postgres(Error),
    /// A handler failed with an error that its event did not cause.
    Place(BoxError),
    /// The operation is refused.
    Refused(ProjectionError),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Postgres(error)
    }
}

impl Halt {
    /// Returns this as a recorder's error, or as that of a projection.
    pub(crate) fn into_error(self) -> Result<ProjectionError, RecordError> {
        match self {
            Self::Refused(error) => Ok(error),
            Self::Place(error) => Err(RecordError::unavailable(WHAT, Boxed(error))),
            Self::Postgres(error) if is_of_rights(&error) => Err(RecordError::invalid(format!(
                "{WHAT}: {}; grant the role the missing right, such as CREATE on the schema for \
                 views",
                Described::new(error)
            ))),
            Self::Postgres(error) => Err(of_statement_on_views(WHAT, error)),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Boxed(#[source] BoxError);

/// Whether a statement failed only because of an earlier one: another had failed in the
/// transaction, or the transaction was ended and later statements are not allowed to write.
pub(super) fn is_of_an_earlier_one(error: &Error) -> bool {
    error.code().is_some_and(|it| {
        *it == SqlState::IN_FAILED_SQL_TRANSACTION || *it == SqlState::READ_ONLY_SQL_TRANSACTION
    })
}

/// Returns the server's error from an error and its causes.
pub(super) fn of_server(error: &BoxError) -> Option<&Error> {
    let first: &(dyn StdError + 'static) = &**error;
    let mut causes = std::iter::successors(Some(first), |&error| error.source());
    causes.find_map(|cause| cause.downcast_ref::<Error>())
}

/// Returns the error for which an event is poison. An error of the place, such as a full disk or a
/// cut connection, is not one: it would poison every event.
pub(super) fn poison(error: BoxError) -> Result<Arc<dyn StdError + Send + Sync>, Halt> {
    match of_server(&error) {
        Some(cause) if is_of_the_place(cause) => Err(Halt::Place(error)),
        Some(cause) if cause.as_db_error().is_some() => {
            // The driver's text leaves the server's message to its source.
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

/// Whether the error is about the server, the connection or other transactions, and not about the
/// event.
fn is_of_the_place(error: &Error) -> bool {
    let Some(code) = error.code() else {
        // The driver's own errors: a parameter of another type is the handler's fault, all others
        // are the connection's.
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

/// Whether a prepared statement refers to tables that have been replaced.
pub(super) fn is_outdated(error: &Error) -> bool {
    let code = error.code();
    let plan = error
        .as_db_error()
        .is_some_and(|it| it.message().starts_with("cached plan"));
    code == Some(&SqlState::INVALID_SQL_STATEMENT_NAME)
        || (code == Some(&SqlState::FEATURE_NOT_SUPPORTED) && plan)
}
