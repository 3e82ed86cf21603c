//! Amendments of recorded events, judged and made in the transaction of the append, before its
//! events are recorded.
//!
//! Each event is read and checked before it is changed, so an amendment never hides damage. What
//! an event had before stays in unused parts of the files until a
//! [purge](super::group::Writing::purge) removes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use retold_core::recording::checksum::{Content, Numbers};
use retold_core::recording::{
    Amendment, AmendmentConflict, Append, Conflict, Corrupt, RecordError, StoredEvent, Version,
};
use rusqlite::{Connection, params};

use crate::file::known::Label;
use crate::file::log::Born;
use crate::file::names::label_key;
use crate::file::seq::{LogKey, Seq};
use crate::file::topics::Topics;
use crate::reading::event_row::{EventRow, row_at};
use crate::reading::page::position_of;
use crate::reading::snapshots;
use crate::transaction::Transaction;

/// Why an append is not recorded.
enum Stop {
    /// The database failed: the transaction must be rolled back.
    Sqlite(rusqlite::Error),
    /// The error for the caller.
    Refused(RecordError),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<RecordError> for Stop {
    fn from(error: RecordError) -> Self {
        Self::Refused(error)
    }
}

impl From<Corrupt> for Stop {
    fn from(error: Corrupt) -> Self {
        Self::Refused(error.into())
    }
}

/// What the amendments of an append have changed so far.
#[derive(Default)]
struct Amended {
    topics: Topics,
    /// Streams that have an amended event.
    streams: BTreeSet<Arc<str>>,
    /// Tags that an event lost.
    lost_tags: BTreeSet<Arc<str>>,
}

impl Transaction<'_> {
    /// Makes the amendments of an append. If they are refused, some of them may have been made: the
    /// caller rolls them back.
    pub(super) fn amend(
        &mut self,
        born: Born,
        append: &Append,
    ) -> rusqlite::Result<Result<(), RecordError>> {
        let amendments = append.amendments();
        if amendments.is_empty() {
            return Ok(Ok(()));
        }
        let log = born.key.0;
        self.conn
            .prepare_cached("INSERT OR IGNORE INTO amending VALUES (?1)")?
            .execute([log])?;
        let made = match self.amend_all(born, amendments) {
            Ok(()) => Ok(()),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Sqlite(error)) => return Err(error),
        };
        self.conn
            .prepare_cached("DELETE FROM amending WHERE log = ?1")?
            .execute([log])?;
        Ok(made)
    }

    fn amend_all(&mut self, born: Born, amendments: &[Amendment]) -> Result<(), Stop> {
        let mut amended = Amended::default();
        for (index, amendment) in amendments.iter().enumerate() {
            let conflict = |reason| {
                let amendment = index;
                Stop::Refused(Conflict::Amendment { amendment, reason }.into())
            };
            for seq in self.named_by(born, amendment, conflict)? {
                let row = row_at(self.conn, &mut amended.topics, born, seq)?;
                check_is_named(&row.event, amendment)?;
                let changed = amendment.amended(&row.event).map_err(conflict)?;
                if let Some(changed) = changed {
                    self.change(born, seq, &row, &changed, &mut amended)?;
                }
            }
        }
        for stream in &amended.streams {
            snapshots::drop_all(self.conn, born.key, stream)?;
        }
        for tag in &amended.lost_tags {
            self.drop_tag_without_events(born.key, tag)?;
        }
        Ok(())
    }

    /// Returns the places of the events that an amendment names, in the order of the log.
    fn named_by(
        &mut self,
        born: Born,
        amendment: &Amendment,
        conflict: impl Fn(AmendmentConflict) -> Stop,
    ) -> Result<Vec<Seq>, Stop> {
        let Amendment::EraseStream {
            stream,
            after,
            until,
            ..
        } = amendment
        else {
            let event = amendment.event();
            let event = event.ok_or_else(|| {
                RecordError::invalid("an amendment is of a kind that this store does not know")
            })?;
            let position = position_of(self.conn, born.key, event)?;
            let position = position.ok_or_else(|| conflict(AmendmentConflict::Missing))?;
            return Ok(vec![born.key.seq(position.get())]);
        };
        let there = self.stream(born.key, stream)?;
        let key = match there.key {
            Some(key) if there.version >= until.get() => key,
            _ => return Err(conflict(AmendmentConflict::BeyondStream)),
        };
        let after = Version::number(*after);
        let seqs = seqs_of_stream(self.conn, key, after, until.get())?;
        if seqs.len() as u64 == until.get() - after {
            return Ok(seqs);
        }
        let what = "the index of streams does not have all of its versions";
        Err(Corrupt::new(format!("stream {stream:?}"), what).into())
    }

    /// Writes an event as it is after an amendment.
    fn change(
        &mut self,
        born: Born,
        seq: Seq,
        EventRow {
            event: before,
            append_number,
        }: &EventRow,
        after: &StoredEvent,
        amended: &mut Amended,
    ) -> Result<(), Stop> {
        if before.topic() != after.topic() {
            let topic = self.label_key(born.key, Label::Topic, after.topic())?;
            self.conn
                .prepare_cached(CHANGE_TOPIC)?
                .execute([seq, topic])?;
        }
        let checksum = Content::of_stored(born.id, after).seal(Numbers {
            position: before.position().get().cast_signed(),
            version: before.version().map_or(0, Version::get).cast_signed(),
            recorded_at: before.recorded_at().as_micros(),
            append_number: *append_number,
        });
        let changed = self.conn.prepare_cached(CHANGE)?.execute(params![
            seq,
            after.revision(),
            after.encoding_text(),
            after.packed_tags(),
            after.metadata_bytes(),
            after.payload(),
            checksum.payload.cast_signed(),
            checksum.event.cast_signed(),
        ])?;
        check_is_one(changed, before)?;
        self.change_tags(born.key, seq, before, after, amended)?;
        if let Some(stream) = before.stream()
            && !amended.streams.contains(stream)
        {
            amended.streams.insert(stream.into());
        }
        Ok(())
    }

    /// Changes the index of tags from an event's former tags to its present ones.
    fn change_tags(
        &mut self,
        log: LogKey,
        seq: Seq,
        before: &StoredEvent,
        after: &StoredEvent,
        amended: &mut Amended,
    ) -> Result<(), Stop> {
        for tag in before.tags().filter(|tag| !after.has_tag(tag)) {
            let deleted = match self.tag_key(log, tag)? {
                Some(key) => self
                    .conn
                    .prepare_cached("DELETE FROM event_tag WHERE tag = ?1 AND seq = ?2")?
                    .execute([key, seq])?,
                None => 0,
            };
            check_is_one(deleted, before)?;
            if !amended.lost_tags.contains(tag) {
                amended.lost_tags.insert(tag.into());
            }
        }
        for tag in after.tags().filter(|tag| !before.has_tag(tag)) {
            let key = self.label_key(log, Label::Tag, tag)?;
            self.conn
                .prepare_cached("INSERT INTO event_tag VALUES (?1, ?2)")?
                .execute([key, seq])?;
        }
        Ok(())
    }

    fn tag_key(&self, log: LogKey, tag: &str) -> rusqlite::Result<Option<i64>> {
        match self.known.label(log, Label::Tag, tag) {
            Some(key) => Ok(Some(key)),
            None => label_key(self.conn, log, Label::Tag, tag),
        }
    }

    /// Removes the text of a tag, unless another event has it.
    fn drop_tag_without_events(&mut self, log: LogKey, tag: &str) -> rusqlite::Result<()> {
        let Some(key) = self.tag_key(log, tag)? else {
            return Ok(());
        };
        let deleted = self.conn.prepare_cached(DROP_TAG)?.execute([key])?;
        if deleted > 0 {
            self.known.forget_tag(log, tag);
        }
        Ok(())
    }
}

/// Without the topic, so that SQLite does not write the index of topics.
const CHANGE: &str = "UPDATE event SET revision = ?2, encoding = ?3, tags = ?4, metadata = ?5,
    payload = ?6, payload_checksum = ?7, checksum = ?8 WHERE seq = ?1";
const CHANGE_TOPIC: &str = "UPDATE event SET topic = ?2 WHERE seq = ?1";
const DROP_TAG: &str = "DELETE FROM tag WHERE key = ?1
    AND NOT EXISTS (SELECT 1 FROM event_tag WHERE tag = ?1)";
const SEQS_OF_STREAM: &str = "SELECT seq FROM event INDEXED BY event_stream
    WHERE stream = ?1 AND version > ?2 AND version <= ?3 ORDER BY version";

/// Returns the places of a stream's events after a version, up to and including another, in order.
fn seqs_of_stream(
    conn: &Connection,
    stream: i64,
    after: u64,
    until: u64,
) -> rusqlite::Result<Vec<Seq>> {
    let [after, until] = [after, until].map(|it| i64::try_from(it).unwrap_or(i64::MAX));
    conn.prepare_cached(SEQS_OF_STREAM)?
        .query_map([stream, after, until], |row| row.get(0))?
        .collect()
}

/// Checks that an event which an index found for an amendment is one that the amendment names.
fn check_is_named(event: &StoredEvent, amendment: &Amendment) -> Result<(), Corrupt> {
    let is_named = match amendment {
        Amendment::EraseStream {
            stream,
            after,
            until,
            ..
        } => {
            event.stream() == Some(stream)
                && event.version() > *after
                && event.version() <= Some(*until)
        }
        by_id => by_id.event() == Some(event.id()),
    };
    match is_named {
        true => Ok(()),
        false => Err(Corrupt::new(
            place_of(event),
            "an index leads to it for another id or another version of a stream",
        )),
    }
}

/// Checks that a statement changed the one row that belongs to an event.
fn check_is_one(changed: usize, event: &StoredEvent) -> Result<(), Corrupt> {
    match changed {
        1 => Ok(()),
        _ => Err(Corrupt::new(
            place_of(event),
            "the index of tags does not have it under each of its tags",
        )),
    }
}

fn place_of(event: &StoredEvent) -> String {
    format!("event {} at {}", event.id(), event.position())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::schema::check_plan;

    #[test]
    fn amended_events_are_found_by_index() {
        check_plan(SEQS_OF_STREAM);
        check_plan(CHANGE);
        check_plan("DELETE FROM event_tag WHERE tag = ?1 AND seq = ?2");
    }
}
