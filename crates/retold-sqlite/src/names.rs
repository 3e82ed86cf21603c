//! The names behind the numbers in rows, as one reading connection has met them.
//!
//! A name's number never changes once it is committed, so what is kept here stays true, whoever
//! writes. Bounded: two tables of fixed size, where a newcomer takes the place of another.

use std::sync::Arc;

use rusqlite::Connection;

/// Stream names kept by a reading connection; a power of two.
const STREAMS_KEPT: usize = 1 << 14;
/// Topics kept by a reading connection; a power of two.
const TOPICS_KEPT: usize = 1 << 10;

/// Names that were met.
#[derive(Debug)]
pub(crate) struct Names {
    streams: Kept,
    topics: Kept,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            streams: Kept::of("SELECT name FROM stream WHERE key = ?1", STREAMS_KEPT),
            topics: Kept::of("SELECT name FROM topic WHERE key = ?1", TOPICS_KEPT),
        }
    }
}

impl Names {
    /// Name of the stream and of the topic with these keys.
    pub(crate) fn stream_and_topic(
        &mut self,
        conn: &Connection,
        stream: Option<i64>,
        topic: i64,
    ) -> rusqlite::Result<(Option<&str>, &str)> {
        let stream = match stream {
            Some(key) => Some(self.streams.name(conn, key)?),
            None => None,
        };
        Ok((stream, self.topics.name(conn, topic)?))
    }
}

/// Names of one kind by the last bits of their keys.
#[derive(Debug)]
struct Kept {
    select: &'static str,
    count_max: usize,
    /// Empty until the first name is met.
    names: Vec<Option<(i64, Arc<str>)>>,
}

impl Kept {
    fn of(select: &'static str, count_max: usize) -> Self {
        Self {
            select,
            count_max,
            names: Vec::new(),
        }
    }

    fn name(&mut self, conn: &Connection, key: i64) -> rusqlite::Result<&str> {
        if self.names.is_empty() {
            self.names.resize(self.count_max, None);
        }
        let index = usize::try_from(key.unsigned_abs()).unwrap_or(0) & (self.count_max - 1);
        let kept = &mut self.names[index];
        let is_kept = kept.as_ref().is_some_and(|(known, _)| *known == key);
        if !is_kept {
            let name: String = conn
                .prepare_cached(self.select)?
                .query_row([key], |row| row.get(0))?;
            *kept = Some((key, name.into()));
        }
        let (_, name) = kept.as_ref().expect("it was met or put in just now");
        Ok(name)
    }
}
