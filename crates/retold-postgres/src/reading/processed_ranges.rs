//! Reads processed ranges: a checkpoint, the history. Appends record them.

use retold_core::recording::{
    Checkpoint, Corrupt, EventId, FollowerKey, LogId, Position, ProcessedRange, RangeRead,
    RecordError, RecordedRange,
};
use tokio_postgres::{Error, Row};

use crate::birth::replaced;
use crate::error::of_statement;
use crate::log::Met;
use crate::names::possible;
use crate::range_checksum::RangeChecksum;
use crate::server::pool::Pooled;

/// A statement about the processed ranges of a log: returns the selected ones, or an empty row if
/// there are none; no row if the log does not exist.
macro_rules! of_log {
    ($id:literal, $restricted:literal) => {
        concat!(
            "SELECT s.* FROM \"retold\".log l LEFT JOIN LATERAL (SELECT ",
            columns!(),
            $restricted,
            ") s ON true WHERE l.key = $1 AND l.id = ",
            $id
        )
    };
}

macro_rules! columns {
    () => {
        "ordinal, to_position, to_id, follower, upstream, after, edition, head, with_events, \
         checksum, to_checksum FROM \"retold\".stretch WHERE log = $1"
    };
}

const CHECKPOINT: &str = of_log!(
    "$4",
    " AND follower = $2 AND upstream = $3 ORDER BY ordinal + 0 DESC LIMIT 1"
);
const HISTORY: &str = of_log!(
    "$6",
    " AND ordinal > $2 AND ($4::text IS NULL OR follower = $4)
    AND ($5::uuid IS NULL OR upstream = $5) ORDER BY ordinal LIMIT $3"
);
const HISTORY_OF_FOLLOWER: &str = of_log!(
    "$6",
    " AND ordinal > $2 AND follower = $4 AND ($5::uuid IS NULL OR upstream = $5)
    ORDER BY ordinal LIMIT $3"
);

/// Returns the end of the last processed range of a follower over an upstream.
pub(crate) async fn checkpoint(
    mut connection: Pooled,
    log: Met<'_>,
    follower: &FollowerKey,
    upstream: LogId,
) -> Result<Option<Checkpoint>, RecordError> {
    const WHAT: &str = "reading a checkpoint";
    let Some(follower) = possible(follower.as_str()) else {
        return Ok(None);
    };
    let upstream = upstream.uuid();
    let found = connection
        .row(
            WHAT,
            CHECKPOINT,
            &[&log.key(), &follower, &upstream, &log.id()],
        )
        .await?;
    let Some(row) = found else {
        return Err(replaced(&mut connection, log).await);
    };
    if is_empty(&row).map_err(|error| of_statement(WHAT, error))? {
        return Ok(None);
    }
    let last = recorded(&row, log.born.id).map_err(|error| of_statement(WHAT, error))?;
    Ok(Some(last?.range.to))
}

/// Returns a page of the history.
pub(crate) async fn read(
    mut connection: Pooled,
    log: Met<'_>,
    read: &RangeRead,
    limit: usize,
) -> Result<Vec<RecordedRange>, RecordError> {
    const WHAT: &str = "reading processed ranges";
    let after = i64::try_from(read.after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let upstream = read.upstream.map(LogId::uuid);
    let follower = read.follower.as_ref().map(FollowerKey::as_str);
    let (sql, follower) = match follower.map(possible) {
        None => (HISTORY, None),
        Some(Some(follower)) => (HISTORY_OF_FOLLOWER, Some(follower)),
        Some(None) => return Ok(Vec::new()),
    };
    let rows = connection
        .rows(
            WHAT,
            sql,
            &[&log.key(), &after, &limit, &follower, &upstream, &log.id()],
        )
        .await?;
    match rows.first().map(is_empty).transpose() {
        Ok(None) => return Err(replaced(&mut connection, log).await),
        Ok(Some(true)) => return Ok(Vec::new()),
        Ok(Some(false)) => {}
        Err(error) => return Err(of_statement(WHAT, error)),
    }
    let ranges = rows.iter().map(|row| {
        let read = recorded(row, log.born.id).map_err(|error| of_statement(WHAT, error))?;
        Ok(read?)
    });
    ranges.collect()
}

/// Whether a row stands for no processed range.
fn is_empty(row: &Row) -> Result<bool, Error> {
    Ok(row.try_get::<_, Option<i64>>(0)?.is_none())
}

fn position(number: i64) -> Option<Position> {
    Position::new(number.cast_unsigned())
}

/// Returns the processed range in a row, if it is the one that was recorded.
fn recorded(row: &Row, log: LogId) -> Result<Result<RecordedRange, Corrupt>, Error> {
    let ordinal: i64 = row.try_get(0)?;
    let event_id = EventId::new(row.try_get(2)?);
    let Some(to) = position(row.try_get(1)?) else {
        let what = "it ends at position 0, and positions count from 1";
        return Ok(Err(Corrupt::new(
            format!("processed range {ordinal}"),
            what,
        )));
    };
    let to = Checkpoint {
        position: to,
        event_id,
    };
    let follower = FollowerKey::new(row.try_get::<_, &str>(3)?);
    let after: Option<i64> = row.try_get(5)?;
    let policy_version: i32 = row.try_get(6)?;
    let head: Option<i64> = row.try_get(7)?;
    let with_events: bool = row.try_get(8)?;
    let range = ProcessedRange::new(
        follower,
        LogId::new(row.try_get(4)?),
        after.and_then(position),
        to,
    );
    let recorded = RecordedRange::new(
        ordinal.cast_unsigned(),
        range.policy_version(policy_version.cast_unsigned()),
        head.and_then(position),
    );
    let checksum = RangeChecksum {
        whole: row.try_get(9)?,
        to: row.try_get(10)?,
    };
    let checked = checksum.check(log, &recorded, with_events);
    Ok(checked.map(|()| recorded))
}
