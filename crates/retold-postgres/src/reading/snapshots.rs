//! Snapshots: stored, read and dropped. They are hints next to the history.

use retold_core::domain::Timestamp;
use retold_core::recording::limits::SNAPSHOTS_PER_STREAM_MAX;
use retold_core::recording::{Corrupt, Encoding, LogId, RecordError, StoredSnapshot, Version};
use tokio_postgres::{Error, Row};

use crate::birth::replaced;
use crate::error::of_statement;
use crate::log::Met;
use crate::names::possible;
use crate::server::pool::Pooled;

// Each returns no row if the log does not exist.
const PUT: &str = "SELECT \"retold\".put_snapshot(l.key, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    FROM \"retold\".log l WHERE l.key = $1 AND l.id = $11";
/// Returns an empty row if there is none.
const NEWEST: &str = "SELECT s.* FROM \"retold\".log l LEFT JOIN LATERAL (
    SELECT version, state_type, revision, time, encoding, payload, checksum
    FROM \"retold\".snapshot WHERE log = $1 AND stream = $2 AND version <= $3
    ORDER BY version DESC LIMIT 1) s ON true WHERE l.key = $1 AND l.id = $4";
const DROP: &str =
    "WITH l AS MATERIALIZED (SELECT key FROM \"retold\".log WHERE key = $1 AND id = $3),
    dropped AS (DELETE FROM \"retold\".snapshot WHERE log = (SELECT key FROM l) AND stream = $2)
    SELECT key FROM l";

const KEPT_MAX: i32 = SNAPSHOTS_PER_STREAM_MAX as i32;

/// Stores a snapshot, replacing one of the same version; drops the lowest versions beyond the
/// limit.
pub(crate) async fn put(
    mut connection: Pooled,
    log: Met<'_>,
    snapshot: &StoredSnapshot,
) -> Result<(), RecordError> {
    let version = snapshot.version.get().to_be_bytes();
    let put = connection
        .rows(
            "storing a snapshot",
            PUT,
            &[
                &log.key(),
                &&*snapshot.stream,
                &&version[..],
                &&*snapshot.state_type,
                &snapshot.revision.cast_signed(),
                &snapshot.time.as_micros(),
                &snapshot.encoding.as_str(),
                &&snapshot.payload[..],
                &snapshot.checksum(log.born.id).cast_signed(),
                &KEPT_MAX,
                &log.id(),
            ],
        )
        .await?;
    there(&mut connection, log, &put).await
}

/// Returns the snapshot of the highest version, up to and including `until` if given.
pub(crate) async fn newest(
    mut connection: Pooled,
    log: Met<'_>,
    stream: &str,
    until: Option<Version>,
) -> Result<Option<StoredSnapshot>, RecordError> {
    const WHAT: &str = "reading a snapshot";
    let Some(stream) = possible(stream) else {
        return Ok(None);
    };
    let until = until.map_or(u64::MAX, Version::get).to_be_bytes();
    let found = connection
        .row(WHAT, NEWEST, &[&log.key(), &stream, &&until[..], &log.id()])
        .await?;
    match found {
        Some(row) => {
            snapshot(&row, stream, log.born.id).map_err(|error| of_statement(WHAT, error))?
        }
        None => Err(replaced(&mut connection, log).await),
    }
}

/// Checks that the log of a statement with these rows existed.
async fn there(connection: &mut Pooled, log: Met<'_>, rows: &[Row]) -> Result<(), RecordError> {
    match rows.is_empty() {
        true => Err(replaced(connection, log).await),
        false => Ok(()),
    }
}

/// Returns the snapshot in a row; `None` if it is not what was stored.
fn snapshot(
    row: &Row,
    stream: &str,
    log: LogId,
) -> Result<Result<Option<StoredSnapshot>, RecordError>, Error> {
    let corrupt = |what: &str| Corrupt::new(format!("snapshot of {stream}"), what).into();
    let Some(version) = row.try_get::<_, Option<&[u8]>>(0)? else {
        return Ok(Ok(None));
    };
    let number = version.try_into().map_or(0, u64::from_be_bytes);
    let Some(version) = Version::new(number) else {
        return Ok(Err(corrupt("its version is not valid")));
    };
    let state_type: &str = row.try_get(1)?;
    let payload: Vec<u8> = row.try_get(5)?;
    let mut snapshot = StoredSnapshot::new(stream, version, state_type, payload);
    snapshot.revision = row.try_get::<_, i32>(2)?.cast_unsigned();
    snapshot.time = Timestamp::from_micros(row.try_get(3)?);
    match Encoding::parse(row.try_get::<_, String>(4)?) {
        Ok(encoding) => snapshot.encoding = encoding,
        Err(error) => return Ok(Err(corrupt(&error.to_string()))),
    }
    let checksum: i64 = row.try_get(6)?;
    let is_intact = snapshot.is_intact(log, checksum.cast_unsigned());
    Ok(Ok(is_intact.then_some(snapshot)))
}

/// Drops all snapshots of a stream.
pub(crate) async fn drop_all(
    mut connection: Pooled,
    log: Met<'_>,
    stream: &str,
) -> Result<(), RecordError> {
    let Some(stream) = possible(stream) else {
        return Ok(());
    };
    let dropped = connection
        .rows(
            "dropping snapshots",
            DROP,
            &[&log.key(), &stream, &log.id()],
        )
        .await?;
    there(&mut connection, log, &dropped).await
}
