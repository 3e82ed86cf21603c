//! The writer's transaction, as its members see it: lookups that use the writer's memory.
//!
//! It holds SQLite's write lock from before the first lookup, so nothing that an append is judged
//! by can change before it is committed.

use std::sync::Arc;

use retold_core::domain::Timestamp;
use retold_core::recording::{Checkpoint, EventId, RecordError};
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::birth::check_birth;
use crate::error::answered;
use crate::file::connection::data_version;
use crate::file::known::{Known, KnownLog, KnownStream, Label};
use crate::file::log::{Born, Log};
use crate::file::names::{label_key, stream_key};
use crate::file::seq::LogKey;
use crate::file::{head, schema, topics};
use crate::reading::matches::Span;
use crate::reading::page::log_events;

/// A write transaction that is open.
pub(crate) struct Transaction<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) known: &'a mut Known,
    /// The wall clock, read once for all members.
    pub(crate) now: Timestamp,
}

impl<'a> Transaction<'a> {
    /// Enters a transaction that `conn` has begun: discards memory that others may have made
    /// invalid.
    pub(crate) fn enter(conn: &'a Connection, known: &'a mut Known) -> rusqlite::Result<Self> {
        let data_version = data_version(conn)?;
        if known.data_version != Some(data_version) {
            schema::check_version(conn)?;
            known.forget();
            known.data_version = Some(data_version);
        }
        if known.greatest_id.is_none() {
            known.greatest_id = greatest_id(conn)?;
        }
        let now = std::time::SystemTime::now().into();
        Ok(Self { conn, known, now })
    }

    /// Returns the place in the file of a log that is written to, after checking its identity.
    ///
    /// # Errors
    ///
    /// [`RecordError::Replaced`]; `Corrupt` if its last event is not what was recorded.
    pub(crate) fn meet(&mut self, log: &Log) -> rusqlite::Result<Result<Born, RecordError>> {
        let born = log.birth();
        self.known.trim();
        let is_known = |it: &KnownLog| it.born == born && it.name == log.name;
        if !self.known.log(born.key).is_some_and(is_known) {
            if let Err(replaced) = check_birth(self.conn, &log.name, born)? {
                return Ok(Err(replaced));
            }
            let head = head::read(self.conn, born.key)?;
            if let Some(checkpoint) = head.checkpoint {
                // New events are recorded after the last one in any case, so it must be what was
                // recorded.
                let seq = born.key.seq(checkpoint.position.get());
                let span = Span {
                    first: seq,
                    last: seq,
                };
                if let Err(error) = log_events(self.conn, born, span, 1) {
                    return answered(error).map(Err);
                }
            }
            self.known.learn_log(&log.name, born, head);
        }
        Ok(Ok(born))
    }

    /// Called after a part of the transaction was rolled back: discards what was read in it, and
    /// reads the log again.
    pub(crate) fn forget_log_after_rollback(
        &mut self,
        name: &Arc<str>,
        born: Born,
    ) -> rusqlite::Result<()> {
        let data_version = self.known.data_version;
        self.known.forget();
        self.known.data_version = data_version;
        self.known.greatest_id = greatest_id(self.conn)?;
        let head = head::read(self.conn, born.key)?;
        self.known.learn_log(name, born, head);
        Ok(())
    }

    /// The end of the log, as its next append finds it.
    pub(crate) fn log_head(&mut self, log: LogKey) -> Option<Checkpoint> {
        self.known.log_mut(log).head
    }

    /// Returns the end of a stream.
    pub(crate) fn stream(&mut self, log: LogKey, name: &Arc<str>) -> rusqlite::Result<KnownStream> {
        if let Some(known) = self.known.stream(log, name) {
            return Ok(known);
        }
        let key = stream_key(self.conn, log, name)?;
        let end = match key {
            Some(key) => Some(head::checked_stream_end(self.conn, key)?),
            None => None,
        };
        let stream = KnownStream {
            key,
            version: end.map_or(0, |end| end.version),
            last: end.map(|end| end.id),
            is_deleted: end.is_some_and(|end| end.is_deleted),
        };
        self.known.learn_stream(log, name, stream);
        Ok(stream)
    }

    /// Returns the number of topics of the log, as its next append finds it.
    pub(crate) fn topic_count(&mut self, log: LogKey) -> rusqlite::Result<u64> {
        if let Some(count) = self.known.log_mut(log).topic_count {
            return Ok(count);
        }
        let count = topics::count(self.conn, log)?;
        self.known.log_mut(log).topic_count = Some(count);
        Ok(count)
    }

    /// Returns the key of a topic or tag, creating it if there is none.
    pub(crate) fn label_key(
        &mut self,
        log: LogKey,
        label: Label,
        name: &str,
    ) -> rusqlite::Result<i64> {
        if let Some(key) = self.known.label(log, label, name) {
            return Ok(key);
        }
        let key = match label_key(self.conn, log, label, name)? {
            Some(key) => key,
            None => {
                let insert = match label {
                    Label::Topic => "INSERT INTO topic (log, name) VALUES (?1, ?2)",
                    Label::Tag => "INSERT INTO tag (log, name) VALUES (?1, ?2)",
                };
                let mut insert = self.conn.prepare_cached(insert)?;
                let key = insert.insert(params![log.0, name])?;
                if label == Label::Topic
                    && let Some(count) = &mut self.known.log_mut(log).topic_count
                {
                    *count += 1;
                }
                key
            }
        };
        self.known.learn_label(log, label, name, key);
        Ok(key)
    }
}

/// Returns the greatest id of all events, or the least id for an empty file.
fn greatest_id(conn: &Connection) -> rusqlite::Result<Option<EventId>> {
    let greatest: Option<[u8; 16]> = conn
        .prepare_cached("SELECT max(id) FROM event")?
        .query_row([], |row| row.get(0))?;
    Ok(Some(EventId::new(
        greatest.map_or(Uuid::nil(), Uuid::from_bytes),
    )))
}
