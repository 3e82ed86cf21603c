//! Leases: which process does some work for now, by the clock of the database's host.

use std::time::Duration;

use retold_core::domain::Timestamp;
use retold_core::recording::limits::LEASE_CLOCK_BACK_MAX;
use retold_core::recording::{Corrupt, Lease, RecordError};
use tokio_postgres::{Error, Row};

use crate::error::of_statement;
use crate::names::{bound, possible};
use crate::server::pool::Pooled;

const ACQUIRE: &str = "SELECT name, holder, term, since, renewed_at, ends_at FROM \
    \"retold\".acquire_lease($1, $2, $3, $4)";
const RELEASE: &str =
    "UPDATE \"retold\".lease SET ends_at = least(ends_at, \"retold\".now_micros())
    WHERE name = $1 AND holder = $2";
const PAGE: &str = "SELECT name, holder, term, since, renewed_at, ends_at FROM \"retold\".lease
    WHERE name >= $1 AND ($2::text IS NULL OR name > $2) AND starts_with(name, $1)
    ORDER BY name LIMIT $3";
const NOW: &str = "SELECT \"retold\".now_micros()";

/// Longest time to live of a lease, in microseconds: some hundred thousand years, so that its end
/// fits the number.
const TIME_TO_LIVE_MAX: i64 = i64::MAX / 2;

/// [`LEASE_CLOCK_BACK_MAX`] in microseconds.
const CLOCK_BACK_MAX: i64 = LEASE_CLOCK_BACK_MAX.as_micros() as i64;

/// Takes or renews a lease if no other holder has it; returns its resulting state.
pub(crate) async fn acquire(
    mut connection: Pooled,
    name: &str,
    holder: &str,
    time_to_live: Duration,
) -> Result<Lease, RecordError> {
    const WHAT: &str = "taking a lease";
    let micros = i64::try_from(time_to_live.as_micros()).unwrap_or(TIME_TO_LIVE_MAX);
    let micros = micros.min(TIME_TO_LIVE_MAX);
    let found = connection
        .row(WHAT, ACQUIRE, &[&name, &holder, &micros, &CLOCK_BACK_MAX])
        .await;
    match found? {
        Some(row) => lease(&row).map_err(|error| of_statement(WHAT, error)),
        None => Err(Corrupt::new("the lease", "it is missing after it was taken").into()),
    }
}

/// Gives a lease back, if this holder has it.
pub(crate) async fn release(
    mut connection: Pooled,
    name: &str,
    holder: &str,
) -> Result<(), RecordError> {
    let released = connection
        .rows("giving a lease back", RELEASE, &[&name, &holder])
        .await;
    released.map(drop)
}

/// Returns a page of leases in the order of their names.
pub(crate) async fn read(
    mut connection: Pooled,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Lease>, RecordError> {
    const WHAT: &str = "reading leases";
    let Some(prefix) = possible(prefix) else {
        return Ok(Vec::new());
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = connection
        .rows(WHAT, PAGE, &[&prefix, &after.map(bound), &limit])
        .await;
    let leases = rows?;
    let leases = leases.iter().map(lease);
    let leases: Result<_, _> = leases.collect();
    leases.map_err(|error| of_statement(WHAT, error))
}

/// Returns the time by the clock of the database's host.
pub(crate) async fn now(mut connection: Pooled) -> Result<Timestamp, RecordError> {
    const WHAT: &str = "reading the clock";
    match connection.row(WHAT, NOW, &[]).await? {
        Some(row) => row
            .try_get(0)
            .map(Timestamp::from_micros)
            .map_err(|error| of_statement(WHAT, error)),
        None => Err(Corrupt::new("the clock", "it returned nothing").into()),
    }
}

fn lease(row: &Row) -> Result<Lease, Error> {
    Ok(Lease {
        name: row.try_get::<_, &str>(0)?.into(),
        holder: row.try_get::<_, &str>(1)?.into(),
        term: row.try_get::<_, i64>(2)?.cast_unsigned(),
        since: Timestamp::from_micros(row.try_get(3)?),
        renewed_at: Timestamp::from_micros(row.try_get(4)?),
        ends_at: Timestamp::from_micros(row.try_get(5)?),
    })
}
