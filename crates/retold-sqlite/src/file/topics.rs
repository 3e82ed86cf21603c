//! A cache of topics by their numbers in rows, for one reading connection.
//!
//! A topic's number never changes once it is committed, so cached entries stay valid regardless of
//! who writes, until another file is copied into this one, as a restore does. SQLite counts that as
//! a change of the schema (`sqlite3_backup_step`), and the cache is then cleared. It is bounded: a
//! table of fixed size, where a new entry replaces another. A log has few topics and many streams,
//! so topics are cached here while a stream's name is read with its events.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::schema;
use super::seq::LogKey;

/// Topics cached by a reading connection; a power of two.
const TOPICS_KEPT: usize = 1 << 10;
/// Logs whose number of topics is cached by a reading connection; one more, and all are counted
/// again.
const COUNTS_KEPT: usize = 1 << 10;

/// A cache of topics, indexed by the last bits of their keys.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// Empty until the first topic is read.
    kept: Vec<Option<(i64, Arc<str>)>>,
    counts: Counts,
    schema_version: i64,
}

/// The number of topics of logs. A new topic of any log has a higher key than all earlier ones, so
/// the numbers are valid while the highest key is unchanged.
#[derive(Debug, Default)]
struct Counts {
    highest_key: Option<i64>,
    by_log: HashMap<LogKey, u64>,
}

/// Returns the number of topics of a log.
pub(crate) fn count(conn: &Connection, log: LogKey) -> rusqlite::Result<u64> {
    conn.prepare_cached("SELECT count(*) FROM topic WHERE log = ?1")?
        .query_row([log.0], |row| row.get(0).map(super::head::unsigned))
}

/// Returns a page of a log's topics, in order.
pub(crate) fn list(
    conn: &Connection,
    log: LogKey,
    after: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<Arc<str>>> {
    // The empty text precedes every topic.
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    conn.prepare_cached(LIST)?
        .query_map(params![log.0, after.unwrap_or(""), limit], |row| {
            row.get::<_, String>(0).map(Arc::from)
        })?
        .collect()
}

const LIST: &str = "SELECT name FROM topic WHERE log = ?1 AND name > ?2 ORDER BY name LIMIT ?3";

impl Topics {
    /// Called at the beginning of a read that finds the file changed: clears the cache if the file
    /// may have been replaced since the last one.
    pub(crate) fn begin(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let version = conn
            .prepare_cached("PRAGMA schema_version")?
            .query_row([], |row| row.get(0))?;
        if version != self.schema_version {
            schema::check_readable_version(conn)?;
            self.kept.clear();
            self.counts = Counts::default();
            self.schema_version = version;
        }
        Ok(())
    }

    /// Returns the number of topics of a log, in the state that the connection shows: one step in
    /// an index, unless the file has a new topic.
    pub(crate) fn count(&mut self, conn: &Connection, log: LogKey) -> rusqlite::Result<u64> {
        let highest_key: Option<i64> = conn
            .prepare_cached("SELECT max(key) FROM topic")?
            .query_row([], |row| row.get(0))?;
        let counts = &mut self.counts;
        if counts.highest_key != highest_key || counts.by_log.len() >= COUNTS_KEPT {
            counts.by_log.clear();
            counts.highest_key = highest_key;
        }
        if let Some(count) = counts.by_log.get(&log) {
            return Ok(*count);
        }
        let count = count(conn, log)?;
        counts.by_log.insert(log, count);
        Ok(count)
    }

    /// Returns the name of the topic with this key.
    pub(crate) fn name(&mut self, conn: &Connection, key: i64) -> rusqlite::Result<&str> {
        if self.kept.is_empty() {
            self.kept.resize(TOPICS_KEPT, None);
        }
        let index = usize::try_from(key.unsigned_abs()).unwrap_or(0) & (TOPICS_KEPT - 1);
        let kept = &mut self.kept[index];
        let is_kept = kept.as_ref().is_some_and(|(known, _)| *known == key);
        if !is_kept {
            let name: String = conn
                .prepare_cached("SELECT name FROM topic WHERE key = ?1")?
                .query_row([key], |row| row.get(0))?;
            *kept = Some((key, name.into()));
        }
        let (_, name) = kept.as_ref().expect("it was found or inserted just now");
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::schema::check_plan;

    #[test]
    fn topics_are_listed_and_counted_by_index() {
        check_plan(LIST);
        check_plan("SELECT count(*) FROM topic WHERE log = ?1");
        check_plan("SELECT max(key) FROM topic");
    }
}
