//! From PostgreSQL's errors to the recorder's: the one place that decides whether a caller may send an
//! append again as if nothing had happened.

use std::io;
use std::sync::Arc;

use retold_core::recording::{Corrupt, RecordError};
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity};

/// Why the store does not do something of its own accord, as a driver's error would say it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("appends wait already and none of them was committed in time")]
    QueueFull,
    #[error("all connections stayed in use")]
    NoConnection,
    #[error("the server did not answer in time")]
    Silent,
    #[error("error connecting to server: {0}")]
    Unreachable(Arc<io::Error>),
    #[error(
        "the server's wait for its standby was cancelled: this is recorded here and perhaps nowhere else; \
         sent again, it waits again"
    )]
    NotReplicated,
    #[error("the task that writes stopped before it answered")]
    WriterStopped,
    #[error("it is not there; open the store for writing once, which makes it")]
    NoSchema,
    #[error("the log was not there after it was born")]
    NotBorn,
    #[error("none of the servers can be used: {failures}")]
    NoServer {
        failures: String,
        /// Whether waiting may mend one of them.
        may_pass: bool,
    },
    #[error("the inline projections of the log are behind, for others append without them")]
    ViewsBehind,
    #[error(
        "the server is a standby that has replayed the log up to {head} only, and {position} was read before; \
         read again. If this lasts, the standby does not replay, or its primary was restored from an older copy"
    )]
    StandbyBehind { position: u64, head: u64 },
    #[error("the server is a standby that has not replayed the birth of the log yet; read again")]
    StandbyBeforeBirth,
}

impl Refusal {
    /// Why the store refused, if it did so of its own accord.
    pub(crate) fn of(error: &RecordError) -> Option<&Self> {
        use std::error::Error as _;
        match error {
            RecordError::Unavailable(failure) => failure.source()?.downcast_ref(),
            _ => None,
        }
    }
}

/// Of an error of a statement that only reads, or that may simply be done again.
pub(crate) fn of_statement(what: &str, error: Error) -> RecordError {
    if error.as_db_error().is_some_and(is_missing) {
        return Corrupt::new(what, describe(&error)).into();
    }
    of_statement_on_views(what, error)
}

/// Of an error of a statement that has to do with tables of a view, which come and go with its versions.
pub(crate) fn of_statement_on_views(what: &str, error: Error) -> RecordError {
    if error.as_db_error().is_some_and(is_damage) {
        return Corrupt::new(what, describe(&error)).into();
    }
    RecordError::unavailable(what, Described::new(error))
}

/// Of an error that the statement of a group gave.
///
/// An error of the severity `ERROR` ends the transaction before it commits: what fails once the commit
/// record is on its way ends the connection or the server. So only such an error is certain; of a
/// connection that was cut, or ended by the server, the commit may have come through.
pub(crate) fn of_group(error: Error) -> RecordError {
    const WHAT: &str = "appending";
    match error.as_db_error() {
        Some(found) if is_damage(found) || is_missing(found) => {
            Corrupt::new(WHAT, describe(&error)).into()
        }
        Some(found) if is_certain(found) => RecordError::unavailable(WHAT, Described::new(error)),
        _ => RecordError::outcome_unknown(WHAT, Described::new(error)),
    }
}

/// Whether the error may come from what one append of a group brings, so that the others are to be
/// tried without it.
pub(crate) fn is_of_content(error: &Error) -> bool {
    error.as_db_error().is_some_and(|found| {
        let class = found.code().code().get(..2);
        is_certain(found) && matches!(class, Some("22" | "23" | "54"))
    })
}

fn is_certain(error: &DbError) -> bool {
    error.parsed_severity() == Some(Severity::Error)
}

/// Classes of errors by which the server says that its files are damaged.
fn is_damage(error: &DbError) -> bool {
    matches!(error.code().code(), "XX001" | "XX002")
}

/// Codes by which the server says that a table, a column or a function of the store is not there: something
/// else dropped or changed it, and no waiting brings it back.
fn is_missing(error: &DbError) -> bool {
    matches!(error.code().code(), "3F000" | "42P01" | "42703" | "42883")
}

/// A driver's error that says in its text what the server said: its own leaves that to its source.
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

/// What the server or the system said, in one line, and what to do.
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

/// What to do about errors that somebody has to do something about.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "25006" => {
            "the server only reads, as a standby does: name the primary, or all servers and \
             target_session_attrs=read-write"
        }
        "28000" | "28P01" => {
            "check the user and the password (of the URL, PGPASSWORD or the password file), and the \
             server's pg_hba.conf"
        }
        "42501" => {
            "the role has not the rights for this: `retold schema postgres` prints the roles of a \
             reader and of a writer with their grants"
        }
        "3F000" | "42P01" | "42703" | "42883" => {
            "something else dropped or changed what the store had made: restore it from a backup"
        }
        "53100" => "give the server's disk more room; it goes on by itself then",
        "53300" => {
            "each opening of a store has up to connections_max connections and two more: lower that, \
             or raise the server's max_connections"
        }
        "55P03" => "another transaction holds the log; pg_stat_activity tells whose",
        _ => return None,
    })
}
