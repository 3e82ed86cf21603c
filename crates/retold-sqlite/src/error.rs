//! Converts SQLite's errors to the recorder's: the one place that decides whether a caller may
//! resend an append as if nothing had happened.

use retold_core::recording::{Corrupt, RecordError};
use rusqlite::{Error, ErrorCode};

/// A reason why the store itself refuses an operation, in place of a driver's error.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "the append queue is full ({QUEUE_LENGTH_MAX} waiting) and nothing was committed in time",
        QUEUE_LENGTH_MAX = crate::limits::QUEUE_LENGTH_MAX
    )]
    QueueFull,
    #[error("the log has as many events as a log of this store can have")]
    LogFull,
    #[error("the store has the maximum number of logs")]
    StoreFull,
    #[error("all connections for reading are in use")]
    NoReader,
    #[error("the writer stopped before it returned an outcome")]
    WriterStopped,
    #[error("another append of its group could not be committed")]
    GroupFailed,
    #[error("the database ended the transaction before it was complete")]
    TransactionEnded,
    #[error(
        "the file was removed or renamed since it was opened; nothing is written or read \
         until it is opened again"
    )]
    FileGone,
    #[error(
        "another file is at this path than the one that was opened; nothing is written or \
         read until it is opened again"
    )]
    FileReplaced,
    #[error(
        "the write-ahead log of the file (its name with -wal) was removed or replaced since it \
         was opened; nothing is written or read until the file is opened again"
    )]
    WalReplaced,
    #[error(
        "another program writes to the file, and this process cannot follow it because it may not \
         write in the folder of the file, where SQLite keeps the files by which programs \
         coordinate; give it the right to write there and to the file, or copy the file, and open \
         it again"
    )]
    FileChanged,
}

/// For lookups that return the driver's errors: the stored data is not what was written.
pub(crate) fn damaged(what: impl Into<String>) -> Error {
    Error::FromSqlConversionFailure(0, rusqlite::types::Type::Null, what.into().into())
}

/// For an error of the recorder that requires a rollback: passes it through functions that return
/// the driver's errors, until [`before_commit`] returns it.
pub(crate) fn carried(error: RecordError) -> Error {
    Error::ToSqlConversionFailure(Box::new(error))
}

/// For an error of a lookup by which an append is judged: damage is the answer to the append. Any
/// other error ends the transaction, because SQLite may have rolled it back already: it does so
/// when a read fails or memory is short (`isSpecialError` in `sqlite3VdbeHalt`).
///
/// # Errors
///
/// Any that is not damage.
pub(crate) fn answered(error: RecordError) -> Result<RecordError, Error> {
    match error {
        RecordError::Corrupt(_) => Ok(error),
        other => Err(carried(other)),
    }
}

/// Whether another connection holds a lock that this one needs, so that waiting helps.
pub(crate) fn is_busy(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// Whether the cause is the environment and not the statement, so that the same statement may
/// succeed once that is repaired.
pub(crate) fn is_of_the_place(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::OutOfMemory
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
        )
    )
}

/// Whether an error of the recorder is caused by one that [is busy](is_busy).
pub(crate) fn is_caused_by_busy(error: &RecordError) -> bool {
    let first: &dyn std::error::Error = error;
    let mut causes = std::iter::successors(Some(first), |error| error.source());
    causes.any(|cause| cause.downcast_ref().is_some_and(is_busy))
}

/// Converts an error outside of a commit: nothing was written, or the transaction is rolled back.
pub(crate) fn before_commit(what: &str, error: Error) -> RecordError {
    if let Error::ToSqlConversionFailure(cause) = &error
        && let Some(carried) = cause.downcast_ref::<RecordError>()
    {
        return carried.clone();
    }
    if let Error::FromSqlConversionFailure(_, rusqlite::types::Type::Null, damage) = &error {
        return Corrupt::new(what, damage.to_string()).into();
    }
    if is_foreign_schema(&error) {
        let found = format!(
            "{error}: the tables of the file are not those of a store any more: another program \
             has changed them; restore the file from a backup"
        );
        return Corrupt::new(what, found).into();
    }
    if is_corruption(&error) {
        return Corrupt::new(what, error.to_string()).into();
    }
    RecordError::unavailable(what, error)
}

/// Whether SQLite rejects a statement of this crate because a table, column or index that it names
/// is missing or different. The statements are constant and fit the schema, so nothing else causes
/// this code; a conflict with another statement has another code.
fn is_foreign_schema(error: &Error) -> bool {
    let (Error::SqliteFailure(error, _) | Error::SqlInputError { error, .. }) = error else {
        return false;
    };
    error.extended_code & 0xff == rusqlite::ffi::SQLITE_ERROR
}

/// Converts an error from `COMMIT`, after which the transaction was rolled back.
///
/// The frame that makes a transaction valid is the last one written to the write-ahead log. If the
/// commit was refused (busy, read-only) or ran out of space, that frame is incomplete in the file,
/// and certainly nothing was recorded. After any other error, above all of a sync, the frame may be
/// complete: this process has discarded it, but a process that recovers the file after a crash may
/// find it.
pub(crate) fn of_commit(error: Error) -> RecordError {
    const WHAT: &str = "committing";
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::ReadOnly
            | ErrorCode::ConstraintViolation,
        ) => RecordError::unavailable(WHAT, error),
        _ => RecordError::outcome_unknown(WHAT, error),
    }
}

fn is_corruption(error: &Error) -> bool {
    match error {
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::QueryReturnedNoRows
        | Error::Utf8Error(..) => true,
        _ => matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::ConstraintViolation
            )
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqlite(code: i32) -> Error {
        Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
    }

    /// A write that may have happened must never be reported as not recorded.
    #[test]
    fn only_certain_failures_of_a_commit_are_unavailable() {
        use rusqlite::ffi::{
            SQLITE_BUSY, SQLITE_CORRUPT, SQLITE_FULL, SQLITE_IOERR, SQLITE_IOERR_FSYNC,
            SQLITE_NOMEM, SQLITE_READONLY,
        };
        for code in [SQLITE_BUSY, SQLITE_FULL, SQLITE_READONLY] {
            assert!(matches!(
                of_commit(sqlite(code)),
                RecordError::Unavailable(_)
            ));
        }
        for code in [
            SQLITE_IOERR,
            SQLITE_IOERR_FSYNC,
            SQLITE_NOMEM,
            SQLITE_CORRUPT,
        ] {
            assert!(matches!(
                of_commit(sqlite(code)),
                RecordError::OutcomeUnknown(_)
            ));
        }
    }

    #[test]
    fn damaged_files_are_corrupt_and_others_unavailable() {
        use rusqlite::ffi::{SQLITE_CORRUPT, SQLITE_FULL, SQLITE_IOERR, SQLITE_NOTADB};
        for code in [SQLITE_CORRUPT, SQLITE_NOTADB] {
            let error = before_commit("reading", sqlite(code));
            assert!(matches!(error, RecordError::Corrupt(_)), "{error}");
        }
        for code in [SQLITE_FULL, SQLITE_IOERR] {
            let error = before_commit("reading", sqlite(code));
            assert!(matches!(error, RecordError::Unavailable(_)), "{error}");
        }
    }

    /// SQLite reports statements that it cannot prepare in two forms, with and without an offset.
    #[test]
    fn statements_that_do_not_fit_the_schema_are_corrupt() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        let schema = "CREATE TABLE log (key INTEGER PRIMARY KEY); CREATE VIEW tag AS SELECT 1";
        conn.execute_batch(schema).unwrap();
        for sql in [
            "SELECT * FROM event",
            "SELECT name FROM log",
            "SELECT key FROM log INDEXED BY log_name WHERE key = 1",
            "INSERT INTO log VALUES (1, 2)",
            "INSERT INTO tag VALUES (1)",
        ] {
            let error = before_commit("reading", conn.prepare(sql).map(drop).unwrap_err());
            assert!(matches!(error, RecordError::Corrupt(_)), "{sql}: {error}");
            assert!(error.to_string().contains("another program"), "{error}");
        }
    }
}
