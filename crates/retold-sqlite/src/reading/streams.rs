//! The list of a log's streams.

use retold_core::recording::{DELETED_TOPIC, StreamEntry, Version};
use rusqlite::{Connection, OptionalExtension, params};

use crate::file::head::{stream_version, unsigned};
use crate::file::known::Label;
use crate::file::names::label_key;
use crate::file::seq::LogKey;

/// Returns a page of streams in the order of their names.
pub(crate) fn list(
    conn: &Connection,
    log: LogKey,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<StreamEntry>> {
    let mut select = conn.prepare_cached(
        "SELECT name, key FROM stream
         WHERE log = ?1 AND name >= ?2 AND (?3 IS NULL OR name > ?3) ORDER BY name",
    )?;
    // Without such a topic no stream was deleted, and no event needs to be read.
    let deleted = label_key(conn, log, Label::Topic, DELETED_TOPIC)?;
    // The greater of the two bounds is where the scan of the index begins.
    let from = after.map_or(prefix, |after| after.max(prefix));
    let mut rows = select.query(params![log.0, from, after])?;
    let mut page = Vec::new();
    while page.len() < limit
        && let Some(row) = rows.next()?
    {
        let name: String = row.get(0)?;
        if !name.starts_with(prefix) {
            break;
        }
        let (version, is_deleted) = match deleted {
            Some(topic) => stream_end(conn, row.get(1)?, topic)?,
            None => (stream_version(conn, row.get(1)?)?, false),
        };
        if let Some(version) = Version::new(version) {
            page.push(StreamEntry {
                name: name.into(),
                version,
                is_deleted,
            });
        }
    }
    Ok(page)
}

/// Returns the version of a stream's last event, and whether it has this topic.
fn stream_end(conn: &Connection, stream: i64, topic: i64) -> rusqlite::Result<(u64, bool)> {
    let found = conn
        .prepare_cached(STREAM_END)?
        .query_row([stream, topic], |row| {
            Ok((unsigned(row.get(0)?), row.get(1)?))
        })
        .optional()?;
    Ok(found.unwrap_or((0, false)))
}

const STREAM_END: &str = "SELECT version, topic = ?2 FROM event INDEXED BY event_stream
    WHERE stream = ?1 ORDER BY version DESC LIMIT 1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::schema::check_plan;

    #[test]
    fn ends_of_streams_are_found_by_index() {
        check_plan(STREAM_END);
    }
}
