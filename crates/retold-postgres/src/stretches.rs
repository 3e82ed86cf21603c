//! Stretches as they are read: a checkpoint, the history. They are recorded with appends.

use retold_core::recording::error::{Corrupt, RecordError};
use retold_core::recording::identity::{EventId, LogId, Mark, Position};
use retold_core::recording::recorder::StretchRead;
use retold_core::recording::stretch::{FollowerKey, RecordedStretch, Stretch};
use tokio_postgres::{Error, Row};

use super::error::of_statement;
use super::names::possible;
use super::pool::Pooled;

const CHECKPOINT: &str = "SELECT to_position, to_id FROM \"retold\".stretch
    WHERE log = $1 AND follower = $2 AND upstream = $3 ORDER BY ordinal + 0 DESC LIMIT 1";

const HISTORY: &str = "SELECT to_position, to_id, ordinal, follower, upstream, after, edition, head
    FROM \"retold\".stretch WHERE log = $1 AND ordinal > $2
    AND ($4::text IS NULL OR follower = $4) AND ($5::uuid IS NULL OR upstream = $5)
    ORDER BY ordinal LIMIT $3";
const HISTORY_OF_FOLLOWER: &str = "SELECT to_position, to_id, ordinal, follower, upstream, after,
    edition, head FROM \"retold\".stretch WHERE log = $1 AND ordinal > $2
    AND follower = $4 AND ($5::uuid IS NULL OR upstream = $5)
    ORDER BY ordinal LIMIT $3";

/// End of the last stretch of a follower over an upstream.
pub(crate) async fn checkpoint(
    mut connection: Pooled,
    log: i32,
    follower: &FollowerKey,
    upstream: LogId,
) -> Result<Option<Mark>, RecordError> {
    const WHAT: &str = "reading a checkpoint";
    let Some(follower) = possible(follower.as_str()) else {
        return Ok(None);
    };
    let found = connection
        .row(WHAT, CHECKPOINT, &[&log, &follower, &upstream.uuid()])
        .await;
    let Some(row) = found? else {
        return Ok(None);
    };
    let mark = mark(&row).map_err(|error| of_statement(WHAT, error))?;
    mark.map(Some).ok_or_else(|| beyond("a checkpoint"))
}

/// A page of the history.
pub(crate) async fn read(
    mut connection: Pooled,
    log: i32,
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
        .rows(WHAT, sql, &[&log, &after, &limit, &follower, &upstream])
        .await;
    let rows = rows?;
    let stretches = rows.iter().map(|row| {
        let read = recorded(row).map_err(|error| of_statement(WHAT, error))?;
        read.ok_or_else(|| beyond("a stretch"))
    });
    stretches.collect()
}

fn beyond(what: &str) -> RecordError {
    Corrupt::new(what, "it ends at position 0, and positions count from 1").into()
}

fn position(number: i64) -> Option<Position> {
    Position::new(number.cast_unsigned())
}

/// A mark in the first two columns.
fn mark(row: &Row) -> Result<Option<Mark>, Error> {
    let event_id = EventId::new(row.try_get(1)?);
    let position = position(row.try_get(0)?);
    Ok(position.map(|position| Mark { position, event_id }))
}

fn recorded(row: &Row) -> Result<Option<RecordedStretch>, Error> {
    let Some(to) = mark(row)? else {
        return Ok(None);
    };
    let follower = FollowerKey::new(row.try_get::<_, &str>(3)?);
    let after: Option<i64> = row.try_get(5)?;
    let head: Option<i64> = row.try_get(7)?;
    let edition: i32 = row.try_get(6)?;
    let stretch = Stretch::new(
        follower,
        LogId::new(row.try_get(4)?),
        after.and_then(position),
        to,
    );
    let ordinal: i64 = row.try_get(2)?;
    Ok(Some(RecordedStretch::new(
        ordinal.cast_unsigned(),
        stretch.edition(edition.cast_unsigned()),
        head.and_then(position),
    )))
}
