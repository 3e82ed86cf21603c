//! Reads stretches: a checkpoint, the history. Appends record them.

use retold_core::recording::{
    Corrupt, EventId, FollowerKey, LogId, Mark, Position, RecordError, RecordedStretch, Stretch,
    StretchRead,
};
use tokio_postgres::{Error, Row};

use crate::birth::replaced;
use crate::error::of_statement;
use crate::log::Met;
use crate::names::possible;
use crate::server::pool::Pooled;
use crate::stretch_checksum::StretchChecksum;

/// A statement about the stretches of a log: returns the selected ones, or an empty row if there
/// are none; no row if the log does not exist.
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

/// Returns the end of the last stretch of a follower over an upstream.
pub(crate) async fn checkpoint(
    mut connection: Pooled,
    log: Met<'_>,
    follower: &FollowerKey,
    upstream: LogId,
) -> Result<Option<Mark>, RecordError> {
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
    Ok(Some(last?.stretch.to))
}

/// Returns a page of the history.
pub(crate) async fn read(
    mut connection: Pooled,
    log: Met<'_>,
    read: &StretchRead,
    limit: usize,
) -> Result<Vec<RecordedStretch>, RecordError> {
    const WHAT: &str = "reading stretches";
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
    let stretches = rows.iter().map(|row| {
        let read = recorded(row, log.born.id).map_err(|error| of_statement(WHAT, error))?;
        Ok(read?)
    });
    stretches.collect()
}

/// Whether a row stands for no stretch.
fn is_empty(row: &Row) -> Result<bool, Error> {
    Ok(row.try_get::<_, Option<i64>>(0)?.is_none())
}

fn position(number: i64) -> Option<Position> {
    Position::new(number.cast_unsigned())
}

/// Returns the stretch in a row, if it is the one that was recorded.
fn recorded(row: &Row, log: LogId) -> Result<Result<RecordedStretch, Corrupt>, Error> {
    let ordinal: i64 = row.try_get(0)?;
    let event_id = EventId::new(row.try_get(2)?);
    let Some(to) = position(row.try_get(1)?) else {
        let what = "it ends at position 0, and positions count from 1";
        return Ok(Err(Corrupt::new(format!("stretch {ordinal}"), what)));
    };
    let to = Mark {
        position: to,
        event_id,
    };
    let follower = FollowerKey::new(row.try_get::<_, &str>(3)?);
    let after: Option<i64> = row.try_get(5)?;
    let edition: i32 = row.try_get(6)?;
    let head: Option<i64> = row.try_get(7)?;
    let with_events: bool = row.try_get(8)?;
    let stretch = Stretch::new(
        follower,
        LogId::new(row.try_get(4)?),
        after.and_then(position),
        to,
    );
    let recorded = RecordedStretch::new(
        ordinal.cast_unsigned(),
        stretch.edition(edition.cast_unsigned()),
        head.and_then(position),
    );
    let checksum = StretchChecksum {
        whole: row.try_get(9)?,
        to: row.try_get(10)?,
    };
    let checked = checksum.check(log, &recorded, with_events);
    Ok(checked.map(|()| recorded))
}
