//! Removes old versions of amended rows from the files of the tables.
//!
//! An ordinary VACUUM removes them from the tables and indexes, but leaves their bytes in the free
//! space of pages until new rows take it. So tables of moderate size are rewritten as well. Both
//! keep versions that an open transaction may still read. The planner's statistics have no values
//! of columns that amendments change: they are switched off in the schema.

use retold_core::recording::{Purged, RecordError};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::error::{Refusal, code_of, of_statement};
use crate::limits::{PURGE_LOCK_WAIT_MAX, PURGE_REWRITE_SIZE_MAX, PURGE_WAIT_MAX};
use crate::server::connection::Connection;
use crate::sql_text::quote;

const WHAT: &str = "purging the store";

/// The tables with rows that amendments change or remove.
const TABLES: [&str; 4] = ["event", "event_tag", "presence", "snapshot"];

/// Whether we may vacuum the tables; our name, and the owner's.
const RIGHTS: &str = "SELECT pg_has_role(c.relowner, 'USAGE'), current_user::text,
    pg_get_userbyid(c.relowner)::text
    FROM pg_catalog.pg_class c
    WHERE c.oid = (SELECT v.tableoid FROM \"retold\".schema_version v)";

/// Reports at once, at the end of this statement, what this connection has counted. Otherwise it
/// may count old versions of rows after the VACUUM that removed them.
const COUNT_NOW: &str = "DO 'BEGIN
    IF current_setting(''server_version_num'')::integer >= 150000 THEN
        PERFORM pg_catalog.pg_stat_force_next_flush();
    END IF; END'";

/// The old versions that the last VACUUM could not remove, and the size of the tables.
const STATE: &str = "SELECT sum(pg_stat_get_dead_tuples(c.oid)
        + coalesce(pg_stat_get_dead_tuples(nullif(c.reltoastrelid, 0)), 0))::bigint,
    sum(pg_total_relation_size(c.oid))::bigint
    FROM pg_catalog.pg_class c WHERE c.relnamespace = (
        SELECT o.relnamespace FROM pg_catalog.pg_class o
        WHERE o.oid = (SELECT v.tableoid FROM \"retold\".schema_version v)
    ) AND c.relname = ANY ($1::text[])";

/// How often the tables are vacuumed if old versions seem to be left: other connections may report
/// late what they counted before.
const VACUUMS_MAX: u32 = 2;

/// The columns of which the planner has statistics, though it should not.
const STATISTICS: &str = "SELECT string_agg(format('%I.%I', s.tablename, s.attname), ', ')
    FROM pg_catalog.pg_stats s WHERE s.schemaname = $1
    AND (s.tablename, s.attname) IN (('event', 'tags'), ('event', 'metadata'),
        ('event', 'payload'), ('event_tag', 'tag'), ('presence', 'name'), ('snapshot', 'payload'))";

/// Purges the tables of a store in this schema. The connection is not used again.
///
/// # Errors
///
/// `Unavailable`.
pub(crate) async fn purge(
    connection: &mut Connection,
    schema: &str,
) -> Result<Purged, RecordError> {
    let failed = |error| of_statement(WHAT, error);
    let mut purged = Purged::default().remains(
        "The server's write-ahead log has the removed data until its files are reused; archives of \
         it, backups and standbys have it as long as they are kept.",
    );
    let Some(row) = connection.row(WHAT, RIGHTS, &[]).await? else {
        return Ok(purged);
    };
    let owns_tables: bool = row.try_get(0).map_err(failed)?;
    if !owns_tables {
        let us: &str = row.try_get(1).map_err(failed)?;
        let owner: &str = row.try_get(2).map_err(failed)?;
        return Ok(purged.remains(not_ours(us, owner, schema)));
    }
    if let Some(columns) = with_statistics(connection, schema).await? {
        purged = purged.remains(format!(
            "The statistics of the planner have values of the columns {columns}; see \
             \"What erasing leaves behind\" in the guide."
        ));
    }
    run(connection, COUNT_NOW).await?;
    let mut vacuumed = vacuum(connection, schema).await?;
    let (mut kept, mut size) = state(connection).await?;
    for _ in 1..VACUUMS_MAX {
        if kept > 0 {
            vacuumed = vacuum(connection, schema).await?;
            (kept, size) = state(connection).await?;
        }
    }
    if !vacuumed.is_empty() {
        purged.remains.append(&mut vacuumed);
        return Ok(purged);
    }
    if kept > 0 {
        return Ok(purged.remains(format!(
            "{kept} old versions of rows are still there, because a transaction that began before \
             may read them. Purge again when it has ended: see pg_stat_activity, \
             pg_prepared_xacts and pg_replication_slots."
        )));
    }
    if size > PURGE_REWRITE_SIZE_MAX {
        return Ok(purged.remains(format!(
            "The tables have {size} bytes, too many to rewrite while others wait. The old versions \
             of rows were removed, but the free space of pages has their bytes until new rows take \
             it. To rewrite the tables, while the store is not used, run as the owner: {}",
            statements("VACUUM (FULL, ANALYZE)", schema)
        )));
    }
    rewrite(connection, schema, purged).await
}

/// Vacuums the tables; returns what could not be done.
async fn vacuum(connection: &mut Connection, schema: &str) -> Result<Vec<String>, RecordError> {
    let mut remains = Vec::new();
    for table in TABLES {
        let table = format!("{}.{table}", quote(schema));
        match run(connection, &format!("VACUUM (INDEX_CLEANUP ON) {table}")).await {
            Err(error) if is_of_lock(&error) => {
                remains.push(format!(
                    "The table {table} was not vacuumed, because another statement held a lock on \
                     it; it has the old versions of rows. Purge again."
                ));
            }
            done => done?,
        }
    }
    Ok(remains)
}

/// Rewrites the tables, unless others use them for long.
async fn rewrite(
    connection: &mut Connection,
    schema: &str,
    mut purged: Purged,
) -> Result<Purged, RecordError> {
    connection.is_changed = true;
    let wait = PURGE_LOCK_WAIT_MAX.as_millis();
    run(connection, &format!("SET lock_timeout = {wait}")).await?;
    for table in TABLES {
        let table = format!("{}.{table}", quote(schema));
        match run(connection, &format!("VACUUM (FULL, ANALYZE) {table}")).await {
            Err(error) if is_of_lock(&error) => {
                purged = purged.remains(format!(
                    "The table {table} was not rewritten, because it was in use; the free space of \
                     its pages has bytes of the old versions of rows. Purge again."
                ));
            }
            done => done?,
        }
    }
    Ok(purged)
}

fn not_ours(us: &str, owner: &str, schema: &str) -> String {
    format!(
        "The role {us:?} does not own the tables, so nothing was removed. As the owner, {owner:?}, \
         run: {}",
        statements("VACUUM (INDEX_CLEANUP ON)", schema)
    )
}

/// Returns a statement for all tables, for people.
fn statements(verb: &str, schema: &str) -> String {
    let tables = TABLES.map(|table| format!("{}.{table}", quote(schema)));
    format!("{verb} {};", tables.join(", "))
}

async fn with_statistics(
    connection: &mut Connection,
    schema: &str,
) -> Result<Option<String>, RecordError> {
    let row = connection.row(WHAT, STATISTICS, &[&schema]).await?;
    let columns = row.map(|row| row.try_get(0)).transpose();
    Ok(columns
        .map_err(|error| of_statement(WHAT, error))?
        .flatten())
}

async fn state(connection: &mut Connection) -> Result<(i64, i64), RecordError> {
    let failed = |error| of_statement(WHAT, error);
    let row = connection.row(WHAT, STATE, &[&&TABLES[..]]).await?;
    let Some(row) = row else {
        return Ok((0, 0));
    };
    let kept: Option<i64> = row.try_get(0).map_err(failed)?;
    let size: Option<i64> = row.try_get(1).map_err(failed)?;
    Ok((kept.unwrap_or(0), size.unwrap_or(0)))
}

/// Runs a statement outside a transaction.
async fn run(connection: &mut Connection, sql: &str) -> Result<(), RecordError> {
    let running = connection.client.batch_execute(sql);
    match tokio::time::timeout(PURGE_WAIT_MAX, running).await {
        Ok(done) => done.map_err(|error: Error| of_statement(WHAT, error)),
        Err(_) => {
            connection.is_silent = true;
            Err(RecordError::unavailable(WHAT, Refusal::Silent))
        }
    }
}

/// Whether a lock was not granted in time.
fn is_of_lock(error: &RecordError) -> bool {
    code_of(error) == Some(&SqlState::LOCK_NOT_AVAILABLE)
}
