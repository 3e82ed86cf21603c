//! Leases in the file: which process does some work at present, by the clock of this host.

use std::time::Duration;

use retold_core::domain::Timestamp;
use retold_core::recording::{Lease, RecordError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::before_commit;
use crate::file::head::unsigned;

/// Takes or renews a lease unless another holder has it; returns the resulting lease.
pub(crate) fn acquire(
    conn: &Connection,
    name: &str,
    holder: &str,
    time_to_live: Duration,
    now: Timestamp,
) -> rusqlite::Result<Lease> {
    let there = conn
        .prepare_cached(
            "SELECT name, holder, term, since, renewed_at, ends_at FROM lease WHERE name = ?1",
        )?
        .query_row([name], lease)
        .optional()?;
    let taken = match Lease::taken(there.as_ref(), name, holder, time_to_live, now) {
        Some(taken) => taken,
        None => return there.ok_or(rusqlite::Error::QueryReturnedNoRows),
    };
    conn.prepare_cached("INSERT OR REPLACE INTO lease VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            name,
            holder,
            taken.term.cast_signed(),
            taken.since.as_micros(),
            taken.renewed_at.as_micros(),
            taken.ends_at.as_micros()
        ])?;
    Ok(taken)
}

/// Releases a lease, if this holder has it.
pub(crate) fn release(
    conn: &Connection,
    name: &str,
    holder: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE lease SET ends_at = min(ends_at, ?3) WHERE name = ?1 AND holder = ?2",
    )?
    .execute(params![name, holder, now.as_micros()])
    .map(drop)
}

/// Returns a page of leases in the order of their names.
pub(crate) fn read(
    conn: &Connection,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Lease>, RecordError> {
    let read = || {
        let mut select = conn.prepare_cached(
            "SELECT name, holder, term, since, renewed_at, ends_at FROM lease
             WHERE name >= ?1 AND (?2 IS NULL OR name > ?2) ORDER BY name",
        )?;
        let mut rows = select.query(params![prefix, after])?;
        let mut page = Vec::new();
        while page.len() < limit
            && let Some(row) = rows.next()?
        {
            let lease = lease(row)?;
            if !lease.name.starts_with(prefix) {
                break;
            }
            page.push(lease);
        }
        Ok(page)
    };
    read().map_err(|error| before_commit("reading leases", error))
}

fn lease(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease {
        name: row.get::<_, String>(0)?.into(),
        holder: row.get::<_, String>(1)?.into(),
        term: unsigned(row.get(2)?),
        since: Timestamp::from_micros(row.get(3)?),
        renewed_at: Timestamp::from_micros(row.get(4)?),
        ends_at: Timestamp::from_micros(row.get(5)?),
    })
}
