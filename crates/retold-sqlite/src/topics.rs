//! The topics behind the numbers in rows, as one reading connection has met them.
//!
//! A topic's number never changes once it is committed, so what is kept here stays true, whoever
//! writes. Bounded: a table of fixed size, where a newcomer takes the place of another. A log has few
//! topics and many streams, so topics are kept here while a stream's name is read with its events.

use std::sync::Arc;

use rusqlite::Connection;

/// Topics kept by a reading connection; a power of two.
const TOPICS_KEPT: usize = 1 << 10;

/// Topics that were met, by the last bits of their keys.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// Empty until the first topic is met.
    kept: Vec<Option<(i64, Arc<str>)>>,
}

impl Topics {
    /// Name of the topic with this key.
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
        let (_, name) = kept.as_ref().expect("it was met or put in just now");
        Ok(name)
    }
}
