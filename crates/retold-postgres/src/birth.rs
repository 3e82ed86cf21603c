//! Looks up the key and the id of a log by its name, and builds the error if it is no longer the
//! log that was opened.

use std::sync::Arc;

use retold_core::recording::{LogId, RecordError};
use tokio_postgres::Row;

use crate::error::{Refusal, of_statement};
use crate::log::{Born, Met};
use crate::server::connection::Connection;
use crate::server::standby::is_standby;

const FIND_BIRTH: &str = "SELECT key, id FROM \"retold\".log WHERE name = $1";

/// Returns the key and the id of the log that has this name now.
pub(crate) async fn birth_now(
    connection: &mut Connection,
    name: &str,
) -> Result<Option<Born>, RecordError> {
    const WHAT: &str = "looking for a log";
    let found = connection.row(WHAT, FIND_BIRTH, &[&name]).await?;
    let found = found.as_ref().map(born).transpose();
    found.map_err(|error| of_statement(WHAT, error))
}

/// Returns the error of a statement that did not find its log by key and id.
pub(crate) async fn replaced(connection: &mut Connection, log: Met<'_>) -> RecordError {
    match find_replacement(connection, log).await {
        Ok(error) | Err(error) => error,
    }
}

async fn find_replacement(
    connection: &mut Connection,
    log: Met<'_>,
) -> Result<RecordError, RecordError> {
    let found = birth_now(connection, log.name).await?;
    if found.is_none() && is_standby(connection).await? {
        return Ok(RecordError::unavailable(
            "looking for a log",
            Refusal::StandbyBeforeBirth,
        ));
    }
    Ok(RecordError::Replaced {
        log: Arc::clone(log.name),
        expected: log.born.id,
        found: found.map(|born| born.id),
    })
}

/// Reads the key and the id from the first two columns.
fn born(row: &Row) -> Result<Born, tokio_postgres::Error> {
    Ok(Born {
        key: row.try_get(0)?,
        id: LogId::new(row.try_get(1)?),
    })
}
