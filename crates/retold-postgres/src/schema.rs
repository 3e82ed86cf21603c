//! The tables and functions of a store: made where they are missing, refused where they are not ours.

use retold_core::recording::error::{Invalid, RecordError};
use tokio_postgres::{Error, Transaction};

use super::connection::{Connection, in_schema};
use super::error::of_statement;
use super::place::Place;

/// The version of the schema that this program writes and reads.
pub const SCHEMA_VERSION: i32 = 1;

const SCHEMA: &str = include_str!("schema.sql");

/// Guards the making of schemas: an arbitrary number, the same for all.
const SCHEMA_LOCK: i64 = 0x7265_746f_6c64;

/// The SQL that makes the schema of a store, for those whose role may not.
pub fn schema_sql(schema: &str) -> String {
    let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
    let text = in_schema(SCHEMA, &quoted);
    format!("CREATE SCHEMA IF NOT EXISTS {quoted};\n{text}")
}

/// Makes what is missing.
///
/// # Errors
///
/// `Invalid` for a schema of another version, a server that is too old or keeps no UTF-8, or a role
/// that may not make the schema; `Unavailable`.
pub(crate) async fn make(connection: &mut Connection, place: &Place) -> Result<(), RecordError> {
    const WHAT: &str = "making the schema of the store";
    check_encoding(connection).await?;
    if check_version(connection, place).await? {
        return Ok(());
    }
    let failed = |error: Error| {
        let may_not = error.code().is_some_and(|it| it.code() == "42501");
        if may_not {
            return RecordError::invalid(format!(
                "the role may not make the schema {:?}; let one that may run the SQL that \
                 `retold_postgres::schema_sql` gives",
                place.schema
            ));
        }
        of_statement(WHAT, error)
    };
    let transaction = connection.client.transaction().await.map_err(failed)?;
    make_in(&transaction, place).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    check_version(connection, place).await.map(drop)
}

async fn make_in(transaction: &Transaction<'_>, place: &Place) -> Result<(), Error> {
    let lock = "SELECT pg_advisory_xact_lock($1)";
    transaction.execute(lock, &[&SCHEMA_LOCK]).await?;
    // Somebody else may have made it just now.
    let exists = transaction.query_one(EXISTS, &[&place.schema]).await?;
    if exists.try_get(0)? {
        return Ok(());
    }
    transaction.batch_execute(&schema_sql(&place.schema)).await
}

const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_tables
    WHERE schemaname = $1 AND tablename = 'schema_version')";

/// Whether the schema is there, of our version.
///
/// # Errors
///
/// `Invalid` for another version; `Unavailable`.
pub(crate) async fn check_version(
    connection: &mut Connection,
    place: &Place,
) -> Result<bool, RecordError> {
    const WHAT: &str = "looking for the schema of the store";
    let failed = |error| of_statement(WHAT, error);
    let exists = connection.row(WHAT, EXISTS, &[&place.schema]).await?;
    let exists = exists
        .map(|row| row.try_get(0))
        .transpose()
        .map_err(failed)?;
    if exists != Some(true) {
        return Ok(false);
    }
    let sql = "SELECT version FROM \"retold\".schema_version";
    let versions = connection.rows(WHAT, sql, &[]).await?;
    let versions: Result<Vec<i32>, _> = versions.iter().map(|row| row.try_get(0)).collect();
    match versions.map_err(failed)?.as_slice() {
        [SCHEMA_VERSION] => Ok(true),
        others => Err(Invalid::new(format!(
            "the schema {:?} is of the version {others:?}, and this program knows {SCHEMA_VERSION} \
             only",
            place.schema
        ))
        .into()),
    }
}

async fn check_encoding(connection: &mut Connection) -> Result<(), RecordError> {
    const WHAT: &str = "asking the server for its encoding";
    let sql = "SELECT current_setting('server_encoding')";
    let Some(row) = connection.row(WHAT, sql, &[]).await? else {
        return Ok(());
    };
    let encoding: &str = row.try_get(0).map_err(|error| of_statement(WHAT, error))?;
    if encoding != "UTF8" {
        return Err(RecordError::invalid(format!(
            "the database keeps texts in the encoding {encoding}; the store needs UTF8"
        )));
    }
    Ok(())
}
