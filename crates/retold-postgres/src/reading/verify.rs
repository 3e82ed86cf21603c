//! Checks of a schema that no read of a log makes: the indexes stored next to events, and counts.
//!
//! [`verify_log`](retold_core::recording::verify_log) checks what reads return (positions,
//! versions, places in appends, indexes against events, processed ranges), for every store alike.

use std::sync::Arc;

use retold_core::recording::limits::FINDINGS_MAX;
use retold_core::recording::{
    AMENDED_TOPIC, Corrupt, DELETED_TOPIC, ERASED_TOPIC, REOPENED_TOPIC, RecordError,
};
use tokio_postgres::{Error, Row};

use crate::error::of_statement;
use crate::server::connection::Parameters;
use crate::server::pool::Pool;

const WHAT: &str = "verifying the schema of the store";

/// Tables whose rows belong to a log: the first column of their primary key is the log's key.
macro_rules! next_log_of {
    ($table:literal) => {
        (
            $table,
            concat!(
                "SELECT n.log, EXISTS (SELECT FROM \"retold\".log l WHERE l.key = n.log) FROM \
                 (SELECT log FROM \"retold\".",
                $table,
                " WHERE log > $1 ORDER BY log LIMIT 1) n"
            ),
        )
    };
}

const LOGS_OF_ROWS: [(&str, &str); 7] = [
    next_log_of!("event"),
    next_log_of!("event_tag"),
    next_log_of!("stream_record"),
    next_log_of!("former_topic"),
    next_log_of!("stretch"),
    next_log_of!("snapshot"),
    next_log_of!("presence"),
];

/// Logs whose counts differ from their rows.
const COUNTS: &str = "SELECT l.name, l.position, l.stretch_count, e.position, s.ordinal
    FROM \"retold\".log l,
    LATERAL (SELECT coalesce((SELECT x.position FROM \"retold\".event x WHERE x.log = l.key
        ORDER BY x.position DESC LIMIT 1), 0)) AS e (position),
    LATERAL (SELECT coalesce((SELECT x.ordinal FROM \"retold\".stretch x WHERE x.log = l.key
        ORDER BY x.ordinal DESC LIMIT 1), 0)) AS s (ordinal)
    WHERE l.position <> e.position OR l.stretch_count <> s.ordinal";

/// Blocks of bits after one, in order: whether each has the bits that the indexes give, and whether
/// the previous block exists.
const BLOCKS: &str = "SELECT p.log, p.kind, p.name, p.block,
    p.bits = \"retold\".presence_bits(p.log, p.kind, p.name, p.block),
    p.block = 0 OR EXISTS (SELECT FROM \"retold\".presence b WHERE b.log = p.log AND b.kind = p.kind
        AND b.name = p.name AND b.block = p.block - 1)
    FROM (SELECT * FROM \"retold\".presence a
        WHERE (a.log, a.kind, a.name, a.block) > ($1, $2, $3, $4)
        ORDER BY a.log, a.kind, a.name, a.block LIMIT 64) p
    ORDER BY p.log, p.kind, p.name, p.block";

/// A page of the table of streams with a record of an amendment: whether each row names one.
const STREAM_RECORDS: &str = "SELECT p.log, p.stream, EXISTS (
        SELECT FROM (SELECT e.topic FROM \"retold\".event e WHERE e.log = p.log
            AND e.stream = p.stream AND e.version BETWEEN p.version AND p.version
            ORDER BY e.version LIMIT 1) x WHERE x.topic = p.topic
    ) FROM (SELECT * FROM \"retold\".stream_record r WHERE (r.log, r.stream) > ($1, $2)
        ORDER BY r.log, r.stream LIMIT 1000) p ORDER BY p.log, p.stream";

/// A page of the events with a topic of such records: whether the table names it or a later one.
const RECORDS: &str = "SELECT p.log, p.stream, p.stream IS NULL OR EXISTS (
        SELECT FROM (SELECT r.version FROM \"retold\".stream_record r WHERE r.log = p.log
            AND r.stream = p.stream ORDER BY r.stream LIMIT 1) x WHERE x.version >= p.version
    ), p.position FROM (
        SELECT e.log, e.stream, e.version, e.position FROM \"retold\".event e
        WHERE e.topic = $1 AND (e.log, e.position + 0) > ($2, $3)
        ORDER BY e.log, e.position + 0 LIMIT 1000
    ) p ORDER BY p.log, p.position";

/// Checks the schema. Returns the problems found, at most [`FINDINGS_MAX`].
///
/// # Errors
///
/// `Unavailable` if it cannot be read.
pub(crate) async fn verify(pool: &Arc<Pool>) -> Result<Vec<Corrupt>, RecordError> {
    let mut found = Vec::new();
    for check in [
        logs_of_rows(pool, &mut found).await,
        counts(pool, &mut found).await,
        stream_records(pool, &mut found).await,
        records(pool, &mut found).await,
        blocks(pool, &mut found).await,
    ] {
        match check {
            Err(RecordError::Corrupt(finding)) => found.push(finding),
            other => other?,
        }
    }
    found.truncate(FINDINGS_MAX);
    Ok(found)
}

fn failed(error: Error) -> RecordError {
    of_statement(WHAT, error)
}

async fn logs_of_rows(pool: &Arc<Pool>, found: &mut Vec<Corrupt>) -> Result<(), RecordError> {
    for (table, sql) in LOGS_OF_ROWS {
        let mut last = i32::MIN;
        while found.len() < FINDINGS_MAX
            && let Some(row) = pool.take().await?.row(WHAT, sql, &[&last]).await?
        {
            last = row.try_get(0).map_err(failed)?;
            let is_there: bool = row.try_get(1).map_err(failed)?;
            if !is_there {
                let place = format!("the table {table}");
                let what = format!(
                    "it has rows of a log with the key {last}, which does not \
                    exist"
                );
                found.push(Corrupt::new(place, what));
            }
        }
    }
    Ok(())
}

async fn counts(pool: &Arc<Pool>, found: &mut Vec<Corrupt>) -> Result<(), RecordError> {
    for row in pool.take().await?.rows(WHAT, COUNTS, &[]).await? {
        found.push(differing_counts(&row).map_err(failed)?);
    }
    Ok(())
}

fn differing_counts(row: &Row) -> Result<Corrupt, Error> {
    let name: &str = row.try_get(0)?;
    let number = |column| row.try_get::<_, i64>(column);
    let what = format!(
        "it counts {} events and {} ranges, but its last event is at {} and its last range \
         is number {}.",
        number(1)?,
        number(2)?,
        number(3)?,
        number(4)?
    );
    Ok(Corrupt::new(format!("the log {name:?}"), what))
}

async fn stream_records(pool: &Arc<Pool>, found: &mut Vec<Corrupt>) -> Result<(), RecordError> {
    let (mut log, mut stream) = (i32::MIN, String::new());
    while found.len() < FINDINGS_MAX {
        let mut connection = pool.take().await?;
        let parameters: Parameters<'_> = &[&log, &stream];
        let page = connection.rows(WHAT, STREAM_RECORDS, parameters);
        let page = page.await?;
        for row in &page {
            found.extend(differing_record(row).map_err(failed)?);
        }
        let Some(last) = page.last() else {
            break;
        };
        log = last.try_get(0).map_err(failed)?;
        stream = last.try_get(1).map_err(failed)?;
    }
    Ok(())
}

async fn records(pool: &Arc<Pool>, found: &mut Vec<Corrupt>) -> Result<(), RecordError> {
    for topic in [ERASED_TOPIC, AMENDED_TOPIC, DELETED_TOPIC, REOPENED_TOPIC] {
        let (mut log, mut position) = (i32::MIN, 0_i64);
        while found.len() < FINDINGS_MAX {
            let mut connection = pool.take().await?;
            let parameters: Parameters<'_> = &[&topic, &log, &position];
            let page = connection.rows(WHAT, RECORDS, parameters);
            let page = page.await?;
            for row in &page {
                found.extend(differing_record(row).map_err(failed)?);
            }
            let Some(last) = page.last() else {
                break;
            };
            log = last.try_get(0).map_err(failed)?;
            position = last.try_get(3).map_err(failed)?;
        }
    }
    Ok(())
}

fn differing_record(row: &Row) -> Result<Option<Corrupt>, Error> {
    let is_right: bool = row.try_get(2)?;
    if is_right {
        return Ok(None);
    }
    let place = format!(
        "the stream {:?} of the log with the key {} in the table stream_record",
        row.try_get::<_, Option<&str>>(1)?.unwrap_or_default(),
        row.try_get::<_, i32>(0)?,
    );
    let what = "it does not have the last event of the stream that records an amendment";
    Ok(Some(Corrupt::new(place, what)))
}

async fn blocks(pool: &Arc<Pool>, found: &mut Vec<Corrupt>) -> Result<(), RecordError> {
    let (mut log, mut kind, mut name, mut block) = (i32::MIN, i8::MIN, String::new(), -1_i64);
    while found.len() < FINDINGS_MAX {
        let page = pool
            .take()
            .await?
            .rows(WHAT, BLOCKS, &[&log, &kind, &name, &block])
            .await?;
        if page.is_empty() {
            break;
        }
        for row in &page {
            found.extend(differing_block(row).map_err(failed)?);
        }
        if let Some(last) = page.last() {
            let place = (|| {
                Ok((
                    last.try_get(0)?,
                    last.try_get(1)?,
                    last.try_get(2)?,
                    last.try_get(3)?,
                ))
            })();
            (log, kind, name, block) = place.map_err(failed)?;
        }
    }
    Ok(())
}

fn differing_block(row: &Row) -> Result<Option<Corrupt>, Error> {
    let is_right: bool = row.try_get(4)?;
    let joins: bool = row.try_get(5)?;
    let what = match (is_right, joins) {
        (true, true) => return Ok(None),
        (false, _) => "its bits differ from the index",
        (true, false) => "the block before it is missing",
    };
    let kind = match u8::from_ne_bytes(row.try_get::<_, i8>(1)?.to_ne_bytes()) {
        b't' => "tag",
        _ => "topic",
    };
    let place = format!(
        "block {} of the {kind} {:?} of the log with the key {} in the table presence",
        row.try_get::<_, i64>(3)?,
        row.try_get::<_, &str>(2)?,
        row.try_get::<_, i32>(0)?,
    );
    Ok(Some(Corrupt::new(place, what)))
}
