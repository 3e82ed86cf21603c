//! Snapshots: put, got, dropped. Hints, beside the history.

use retold_core::domain::clock::Timestamp;
use retold_core::recording::encoding::Encoding;
use retold_core::recording::error::{Corrupt, RecordError};
use retold_core::recording::identity::{LogId, Version};
use retold_core::recording::limits::SNAPSHOTS_PER_STREAM_MAX;
use retold_core::recording::snapshot::StoredSnapshot;
use tokio_postgres::{Error, Row};

use super::error::of_statement;
use super::log::Born;
use super::names::possible;
use super::pool::Pooled;

const PUT: &str = "SELECT \"retold\".put_snapshot($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const NEWEST: &str = "SELECT version, state_type, revision, time, encoding, payload, checksum
    FROM \"retold\".snapshot WHERE log = $1 AND stream = $2 AND version <= $3
    ORDER BY version DESC LIMIT 1";
const DROP: &str = "DELETE FROM \"retold\".snapshot WHERE log = $1 AND stream = $2";

const KEPT_MAX: i32 = SNAPSHOTS_PER_STREAM_MAX as i32;

/// Keeps a snapshot in place of one of the same version; drops the lowest of too many.
pub(crate) async fn put(
    mut connection: Pooled,
    log: Born,
    snapshot: &StoredSnapshot,
) -> Result<(), RecordError> {
    let version = snapshot.version.get().to_be_bytes();
    let put = connection
        .rows(
            "putting a snapshot",
            PUT,
            &[
                &log.key,
                &&*snapshot.stream,
                &&version[..],
                &&*snapshot.state_type,
                &snapshot.revision.cast_signed(),
                &snapshot.time.as_micros(),
                &snapshot.encoding.as_str(),
                &&snapshot.payload[..],
                &snapshot.checksum(log.id).cast_signed(),
                &KEPT_MAX,
            ],
        )
        .await;
    put.map(drop)
}

/// The snapshot of the highest version, up to and with `until` if given.
pub(crate) async fn newest(
    mut connection: Pooled,
    log: Born,
    stream: &str,
    until: Option<Version>,
) -> Result<Option<StoredSnapshot>, RecordError> {
    const WHAT: &str = "reading a snapshot";
    let Some(stream) = possible(stream) else {
        return Ok(None);
    };
    let until = until.map_or(u64::MAX, Version::get).to_be_bytes();
    let found = connection
        .row(WHAT, NEWEST, &[&log.key, &stream, &&until[..]])
        .await;
    match found? {
        Some(row) => snapshot(&row, stream, log.id).map_err(|error| of_statement(WHAT, error))?,
        None => Ok(None),
    }
}

/// The snapshot in a row; none if it is not what was put.
fn snapshot(
    row: &Row,
    stream: &str,
    log: LogId,
) -> Result<Result<Option<StoredSnapshot>, RecordError>, Error> {
    let corrupt = |what: &str| Corrupt::new(format!("snapshot of {stream}"), what).into();
    let version: &[u8] = row.try_get(0)?;
    let number = version.try_into().map_or(0, u64::from_be_bytes);
    let Some(version) = Version::new(number) else {
        return Ok(Err(corrupt("its version is none")));
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
    log: i32,
    stream: &str,
) -> Result<(), RecordError> {
    let Some(stream) = possible(stream) else {
        return Ok(());
    };
    let dropped = connection
        .rows("dropping snapshots", DROP, &[&log, &stream])
        .await;
    dropped.map(drop)
}
