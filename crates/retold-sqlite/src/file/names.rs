//! Keys of names: the numbers that represent a stream, topic or tag in the file.

use rusqlite::{Connection, OptionalExtension, params};

use super::known::Label;
use super::seq::LogKey;

/// Returns the key of a stream, if it has events.
pub(crate) fn stream_key(
    conn: &Connection,
    log: LogKey,
    name: &str,
) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT key FROM stream WHERE log = ?1 AND name = ?2")?
        .query_row(params![log.0, name], |row| row.get(0))
        .optional()
}

/// Returns the key of a topic or tag, if an event has it.
pub(crate) fn label_key(
    conn: &Connection,
    log: LogKey,
    label: Label,
    name: &str,
) -> rusqlite::Result<Option<i64>> {
    let select = match label {
        Label::Topic => "SELECT key FROM topic WHERE log = ?1 AND name = ?2",
        Label::Tag => "SELECT key FROM tag WHERE log = ?1 AND name = ?2",
    };
    conn.prepare_cached(select)?
        .query_row(params![log.0, name], |row| row.get(0))
        .optional()
}
