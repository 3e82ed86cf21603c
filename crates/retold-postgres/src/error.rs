//! Maps PostgreSQL's errors to the recorder's: the one place that decides whether a caller can
//! repeat an append as if nothing had happened.

use std::io;
use std::sync::Arc;

use retold_core::recording::{Corrupt, RecordError};
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};
use tokio_postgres::types::WrongType;

/// Reasons why the store itself refuses something, in the form of a driver's error.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the append queue is full and nothing was committed in time")]
    QueueFull,
    #[error("all connections stayed in use")]
    NoConnection,
    #[error("the server did not respond in time")]
    Silent,
    #[error("error connecting to server: {0}")]
    Unreachable(Arc<io::Error>),
    #[error(
        "the server's wait for its standby was cancelled: the append is recorded on this server \
         and perhaps nowhere else; send it again to wait again"
    )]
    NotReplicated,
    #[error("the task that writes stopped before it returned a result")]
    WriterStopped,
    #[error("it does not exist; open the store for writing once to create it")]
    NoSchema,
    #[error(
        "recorded events were amended, or the schema was replaced, each time that the append was \
         sent"
    )]
    KeptChanging,
    #[error("the log was missing after it was created")]
    NotBorn,
    #[error("none of the servers can be used: {failures}")]
    NoServer {
        failures: String,
        /// Whether waiting may fix one of them.
        may_pass: bool,
    },
    #[error("the inline projections of the log are behind, because others append without them")]
    ViewsBehind,
    #[error(
        "the server is a standby that has replayed the log only up to {head}, and {position} was \
         read before; read again. If this persists, the standby does not replay, or its primary \
         was restored from an older copy"
    )]
    StandbyBehind { position: u64, head: u64 },
    #[error(
        "the server is a standby that has not yet replayed the creation of the log; read \
        again"
    )]
    StandbyBeforeBirth,
}

impl Refusal {
    /// Returns the reason why the store refused, if the store itself did.
    pub(crate) fn of(error: &RecordError) -> Option<&Self> {
        use std::error::Error as _;
        match error {
            RecordError::Unavailable(failure) => failure.source()?.downcast_ref(),
            _ => None,
        }
    }
}

/// Maps the error of a statement that only reads, or that can safely be repeated.
pub(crate) fn of_statement(what: &str, error: Error) -> RecordError {
    if error.as_db_error().is_some_and(is_missing) || is_of_changed_type(&error) {
        return Corrupt::new(what, describe(&error)).into();
    }
    of_statement_on_views(what, error)
}

/// Maps the error of a statement on tables of a view, which are created and dropped with its
/// versions.
pub(crate) fn of_statement_on_views(what: &str, error: Error) -> RecordError {
    if error.as_db_error().is_some_and(is_damage) {
        return Corrupt::new(what, describe(&error)).into();
    }
    RecordError::unavailable(what, Described::new(error))
}

/// Maps the error of a group's statement.
///
/// An error of the severity `ERROR` ends the transaction before it commits: a failure after the
/// commit record was written ends the connection or the server. So only such an error is certain;
/// if the connection was cut, or ended by the server, the commit may have succeeded.
pub(crate) fn of_group(error: Error) -> RecordError {
    const WHAT: &str = "appending";
    match error.as_db_error() {
        Some(found) if is_damage(found) || is_missing(found) => {
            Corrupt::new(WHAT, describe(&error)).into()
        }
        None if is_of_changed_type(&error) => Corrupt::new(WHAT, describe(&error)).into(),
        Some(found) if is_certain(found) => RecordError::unavailable(WHAT, Described::new(error)),
        _ => RecordError::outcome_unknown(WHAT, Described::new(error)),
    }
}

/// Whether the error may be caused by the content of one append of a group, so that the others must
/// be tried without it.
pub(crate) fn is_of_content(error: &Error) -> bool {
    error.as_db_error().is_some_and(|found| {
        let class = found.code().code().get(..2);
        is_certain(found) && matches!(class, Some("22" | "23" | "54"))
    })
}

/// Whether a type of the statement's parameters no longer exists: the schema was dropped, and
/// perhaps created again, after the statement was prepared. The parameters were not even read.
pub(crate) fn is_of_dropped_type(error: &Error) -> bool {
    error.as_db_error().is_some_and(|found| {
        // The server has no code of its own for this.
        is_certain(found)
            && found.code() == &SqlState::INTERNAL_ERROR
            && found.routine() == Some("getTypeBinaryInputInfo")
    })
}

/// Whether recorded events were amended while the statement of a group compared them with its
/// conditions: it wrote nothing, and the group is sent again.
pub(crate) fn is_of_amended_events(error: &Error) -> bool {
    let found = error.as_db_error();
    found.is_some_and(|it| is_certain(it) && it.code() == &SqlState::T_R_SERIALIZATION_FAILURE)
}

/// Whether the role lacks a right.
pub(crate) fn is_of_rights(error: &Error) -> bool {
    error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

fn is_certain(error: &DbError) -> bool {
    error.parsed_severity() == Some(Severity::Error)
}

/// Whether the server reports, by the class of the error, that its files are damaged.
fn is_damage(error: &DbError) -> bool {
    matches!(error.code().code(), "XX001" | "XX002")
}

/// Whether the server reports, by the code of the error, that a table, a column, a function or a
/// type of the store is missing or different: something else dropped or changed it, and waiting
/// does not bring it back. A server that refuses a connection uses one of these codes for a setting
/// that it does not know.
fn is_missing(error: &DbError) -> bool {
    is_certain(error)
        && matches!(
            error.code().code(),
            "3F000" | "42P01" | "42703" | "42704" | "42804" | "42883"
        )
}

/// Whether the driver did not send a parameter, because the statement has another type for it than
/// this program: something else changed a type of the store.
fn is_of_changed_type(error: &Error) -> bool {
    use std::error::Error as _;
    error.source().is_some_and(|it| it.is::<WrongType>())
}

/// Returns the code of the server's error that made a call unavailable, if there is one.
pub(crate) fn code_of(error: &RecordError) -> Option<&SqlState> {
    use std::error::Error as _;
    let RecordError::Unavailable(failure) = error else {
        return None;
    };
    let described: &Described = failure.source()?.downcast_ref()?;
    described.source.code()
}

/// A driver's error that shows the server's message; the driver's own error leaves it to its
/// source.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Described {
    text: String,
    pub(crate) source: Error,
}

impl Described {
    pub(crate) fn new(error: Error) -> Self {
        Self {
            text: describe(&error),
            source: error,
        }
    }
}

/// Returns the message of the server or the system in one line, with advice.
pub(crate) fn describe(error: &Error) -> String {
    use std::error::Error as _;
    match (error.as_db_error(), error.source()) {
        (Some(found), _) => {
            let code = found.code().code();
            let mut text = format!("{} ({code})", found.message());
            if let Some(detail) = found.detail() {
                text = format!("{text}: {detail}");
            }
            if let Some(advice) = advice(code) {
                text = format!("{text}; {advice}");
            }
            text
        }
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// Returns advice for errors that need an operator.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "25006" => {
            "the server is read-only, as a standby is: name the primary, or all servers and \
             target_session_attrs=read-write"
        }
        "28000" | "28P01" => {
            "check the user and the password (of the URL, PGPASSWORD or the password file), and \
             the server's pg_hba.conf"
        }
        "42501" => {
            "the role lacks the rights for this: `retold schema postgres` prints the roles of a \
             reader, a writer and an amender with their grants"
        }
        "3F000" | "42P01" | "42703" | "42704" | "42804" | "42883" => {
            "something else dropped or changed a table, function or type of the store: restore it \
             from a backup"
        }
        "53100" => "free some disk space on the server; the store then resumes by itself",
        "53300" => {
            "each open store has up to connections_max connections and two more: lower that, or \
             raise the server's max_connections"
        }
        "55P03" => "another transaction holds the log; pg_stat_activity shows which",
        _ => return None,
    })
}
