//! Amendments of recorded events: judged, and made in the transaction of the append, before its
//! events are recorded.
//!
//! Each event is read and checked before it is changed, so an amendment never hides damage. What
//! an event had before stays in unused parts of the files until a
//! [purge](super::group::Writing::purge) removes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use retold_core::recording::checksum::{Content, Numbers};
use retold_core::recording::{
    Amendment, AmendmentConflict, Append, Conflict, Corrupt, Position, Positions, RecordError,
    StoredEvent, Version,
};
use rusqlite::{Connection, params};

use crate::error::{answered, carried};
use crate::file::known::Label;
use crate::file::log::Born;
use crate::file::names::label_key;
use crate::file::seq::{LogKey, Seq};
use crate::file::topics::Topics;
use crate::projection;
use crate::reading::event_row::{EventRow, row_at};
use crate::reading::page::position_of;
use crate::reading::snapshots;
use crate::transaction::Transaction;

/// What the amendments of an append have changed so far.
#[derive(Default)]
struct Amended {
    topics: Topics,
    /// Streams that have an amended event.
    streams: BTreeSet<Arc<str>>,
    positions: BTreeSet<Position>,
    /// Tags that an event lost.
    lost_tags: BTreeSet<Arc<str>>,
}

impl Transaction<'_> {
    /// Finds the first amendment that does not hold in the log before the append, with the earlier
    /// amendments of the append. Writes nothing.
    pub(super) fn judge_amendments(
        &mut self,
        born: Born,
        amendments: &[Amendment],
    ) -> rusqlite::Result<Option<RecordError>> {
        if amendments.is_empty() {
            return Ok(None);
        }
        let mut topics = Topics::default();
        // The only amendments that may change an event that a later one names by its id.
        let mut of_streams = Vec::new();
        for (index, amendment) in amendments.iter().enumerate() {
            let judged = match amendment {
                Amendment::EraseStream { stream, until, .. } => {
                    of_streams.push(amendment);
                    match self.stream(born.key, stream)?.version < until.get() {
                        true => Err(AmendmentConflict::BeyondStream),
                        false => Ok(()),
                    }
                }
                _ => match self.named_event(born, amendment, &mut topics)? {
                    Ok(Some(event)) => judge_by_id(amendment, &of_streams, event),
                    Ok(None) => Err(AmendmentConflict::Missing),
                    Err(error) => return answered(error).map(Some),
                },
            };
            if let Err(reason) = judged {
                let amendment = index;
                let conflict = Conflict::Amendment { amendment, reason };
                return Ok(Some(conflict.into()));
            }
        }
        Ok(None)
    }

    /// Returns the event that an amendment names by its id, if it is in the log.
    fn named_event(
        &self,
        born: Born,
        amendment: &Amendment,
        topics: &mut Topics,
    ) -> rusqlite::Result<Result<Option<StoredEvent>, RecordError>> {
        let Some(id) = amendment.event() else {
            return Ok(Err(RecordError::invalid(
                "an amendment is of a kind that this store does not know",
            )));
        };
        let Some(position) = position_of(self.conn, born.key, id)? else {
            return Ok(Ok(None));
        };
        let row = row_at(self.conn, topics, born, born.key.seq(position.get()));
        Ok(row.and_then(|row| {
            check_is_named(&row.event, amendment)?;
            Ok(Some(row.event))
        }))
    }

    /// Records an append that was judged, after making its amendments.
    ///
    /// # Errors
    ///
    /// Also if an event is damaged; some amendments may then have been made.
    pub(super) fn amend_and_record(
        &mut self,
        born: Born,
        append: &Append,
    ) -> rusqlite::Result<Positions> {
        if append.amendments().is_empty() {
            return self.record(born, append);
        }
        let log = born.key;
        let head = self.log_head(log).map(|checkpoint| checkpoint.position);
        let listed = self
            .conn
            .prepare_cached("INSERT OR IGNORE INTO amending VALUES (?1, ?2)")?
            .execute([log.0, log.seq(Position::number(head))])?;
        self.amend(born, append)?;
        let positions = self.record(born, append)?;
        // A log that another program has listed stays, so that a verification finds it.
        if listed > 0 {
            self.conn
                .prepare_cached("DELETE FROM amending WHERE log = ?1")?
                .execute([log.0])?;
        }
        Ok(positions)
    }

    fn amend(&mut self, born: Born, append: &Append) -> rusqlite::Result<()> {
        let mut amended = Amended::default();
        for amendment in append.amendments() {
            for seq in self.named_by(born, amendment)? {
                let row = row_at(self.conn, &mut amended.topics, born, seq).map_err(carried)?;
                check_is_named(&row.event, amendment).map_err(corrupt)?;
                let changed = amendment.amended(&row.event);
                let changed = changed.map_err(|reason| {
                    let what = format!("an amendment of it held, and does not any more: {reason}");
                    corrupt(Corrupt::new(place_of(&row.event), what))
                })?;
                if let Some(changed) = changed {
                    self.change(born, seq, &row, &changed, &mut amended)?;
                }
            }
        }
        let is_amended = |position| amended.positions.contains(&position);
        projection::forget_reasons(self.conn, born.id, is_amended)?;
        for stream in &amended.streams {
            snapshots::drop_all(self.conn, born.key, stream)?;
        }
        for tag in &amended.lost_tags {
            self.drop_tag_without_events(born.key, tag)?;
        }
        Ok(())
    }

    /// Returns the places of the events that an amendment names, in the order of the log.
    fn named_by(&mut self, born: Born, amendment: &Amendment) -> rusqlite::Result<Vec<Seq>> {
        let Amendment::EraseStream {
            stream,
            after,
            until,
            ..
        } = amendment
        else {
            let position = match amendment.event() {
                Some(event) => position_of(self.conn, born.key, event)?,
                None => None,
            };
            return Ok(position
                .map(|position| born.key.seq(position.get()))
                .into_iter()
                .collect());
        };
        let key = self.stream(born.key, stream)?.key;
        let after = Version::number(*after);
        let seqs = match key {
            Some(key) => seqs_of_stream(self.conn, key, after, until.get())?,
            None => Vec::new(),
        };
        if seqs.len() as u64 == until.get() - after {
            return Ok(seqs);
        }
        let what = "the index of streams does not have all of its versions";
        Err(corrupt(Corrupt::new(format!("stream {stream:?}"), what)))
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
    ) -> rusqlite::Result<()> {
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
        check_is_one(changed, before).map_err(corrupt)?;
        self.change_tags(born.key, seq, before, after, amended)?;
        amended.positions.insert(before.position());
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
    ) -> rusqlite::Result<()> {
        for tag in before.tags().filter(|tag| !after.has_tag(tag)) {
            let deleted = match self.tag_key(log, tag)? {
                Some(key) => self
                    .conn
                    .prepare_cached("DELETE FROM event_tag WHERE tag = ?1 AND seq = ?2")?
                    .execute([key, seq])?,
                None => 0,
            };
            check_is_one(deleted, before).map_err(corrupt)?;
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

/// Without the topic, so that SQLite does not write the index of topics. As for inserted events,
/// the conflict rule and those of the triggers never undo only one statement: with a journal of
/// each statement, erasing a stream takes twice as long.
const CHANGE: &str =
    "UPDATE OR ROLLBACK event SET revision = ?2, encoding = ?3, tags = ?4, metadata = ?5,
    payload = ?6, payload_checksum = ?7, checksum = ?8 WHERE seq = ?1";
const CHANGE_TOPIC: &str = "UPDATE OR ROLLBACK event SET topic = ?2 WHERE seq = ?1";
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

/// Judges an amendment of an event that it names by its id, after earlier ones of streams.
fn judge_by_id(
    amendment: &Amendment,
    of_streams: &[&Amendment],
    mut event: StoredEvent,
) -> Result<(), AmendmentConflict> {
    for earlier in of_streams {
        if check_is_named(&event, earlier).is_ok()
            && let Some(changed) = earlier.amended(&event)?
        {
            event = changed;
        }
    }
    amendment.amended(&event).map(drop)
}

fn corrupt(error: Corrupt) -> rusqlite::Error {
    carried(error.into())
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
