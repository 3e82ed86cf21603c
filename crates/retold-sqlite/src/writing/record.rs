//! Records an append that was judged, in as few steps as it has rows.

use retold_core::recording::checksum::{Content, Numbers};
use retold_core::recording::{
    Append, AppendPlace, Checkpoint, DELETED_TOPIC, NewEvent, Position, Positions,
    is_amendment_record, pack_tags,
};
use rusqlite::params;

use crate::file::known::{KnownStream, Label};
use crate::file::log::Born;
use crate::file::seq::{LogKey, Seq};
use crate::reading::processed_ranges;
use crate::transaction::Transaction;

/// With a conflict rule that never undoes only one statement, SQLite needs no statement journal.
/// The table's trigger would otherwise require one; a row that exists already ends the transaction
/// anyway.
const INSERT_EVENT: &str = "INSERT OR ROLLBACK INTO event VALUES
    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

impl Transaction<'_> {
    /// Writes the append and returns its positions.
    pub(crate) fn record(&mut self, born: Born, append: &Append) -> rusqlite::Result<Positions> {
        let log = born.key;
        let events = append.new_events();
        let head = self.log_head(log).map(|checkpoint| checkpoint.position);
        let first = head.map_or(Position::FIRST, Position::next);
        let append_number = self.known.log_mut(log).append_count + 1;
        let count = u32::try_from(events.len()).expect("the append was checked against the limits");
        for (index, event) in (0..).zip(events) {
            let position = first.plus(u64::from(index));
            let place = AppendPlace { index, count };
            self.record_event(born, position, append_number, place, event)?;
        }
        for range in append.processed_ranges() {
            processed_ranges::record(self.conn, born, range, head, !events.is_empty())?;
        }
        if events.is_empty() {
            processed_ranges::count_eventless(self.conn, log, append_number)?;
        }
        let known = self.known.log_mut(log);
        known.append_count = append_number;
        if let Some(last) = events.last() {
            known.head = Some(Checkpoint {
                position: first.plus(u64::from(count) - 1),
                event_id: last.id,
            });
            let greatest = events.iter().map(|event| event.id).max();
            self.known.greatest_id = self.known.greatest_id.max(greatest);
        }
        Ok(Positions::new(first, u64::from(count)))
    }

    fn record_event(
        &mut self,
        born: Born,
        position: Position,
        append_number: u64,
        place: AppendPlace,
        event: &NewEvent,
    ) -> rusqlite::Result<()> {
        let log = born.key;
        let seq = log.seq(position.get());
        let (stream, version) = self.next_version(log, event)?.unzip();
        let topic = self.label_key(log, Label::Topic, &event.topic)?;
        let tags = pack_tags(event.tags.iter().map(|tag| &**tag));
        let origin = event.origin.to_text();
        let checksum = Content::of_new(born.id, event, place, &tags, &origin).seal(Numbers {
            position: position.get().cast_signed(),
            version: version.unwrap_or(0),
            recorded_at: self.now.as_micros(),
            append_number: append_number.cast_signed(),
        });
        self.conn.prepare_cached(INSERT_EVENT)?.execute(params![
            seq,
            event.id.uuid().as_bytes(),
            append_number.cast_signed(),
            place.index,
            place.count,
            stream,
            version,
            topic,
            event.revision,
            event.time.as_micros(),
            self.now.as_micros(),
            event.encoding.as_str(),
            origin,
            tags,
            &event.metadata[..],
            checksum.payload.cast_signed(),
            checksum.event.cast_signed(),
            event.payload.as_deref(),
        ])?;
        self.record_tags(log, seq, event)
    }

    fn record_tags(&mut self, log: LogKey, seq: Seq, event: &NewEvent) -> rusqlite::Result<()> {
        for tag in &event.tags {
            let key = self.label_key(log, Label::Tag, tag)?;
            self.conn
                .prepare_cached("INSERT INTO event_tag VALUES (?1, ?2)")?
                .execute([key, seq])?;
        }
        Ok(())
    }

    /// Returns the key of the event's stream and the event's version in it.
    fn next_version(
        &mut self,
        log: LogKey,
        event: &NewEvent,
    ) -> rusqlite::Result<Option<(i64, i64)>> {
        let Some(name) = &event.stream else {
            return Ok(None);
        };
        let there = self.stream(log, name)?;
        let key = match there.key {
            Some(key) => key,
            None => self
                .conn
                .prepare_cached("INSERT INTO stream (log, name) VALUES (?1, ?2)")?
                .insert(params![log.0, &**name])?,
        };
        let version = there.version + 1;
        let stream = KnownStream {
            key: Some(key),
            version,
            last: Some(event.id),
            is_deleted: event.topic == DELETED_TOPIC,
        };
        self.known.learn_stream(log, name, stream);
        if is_amendment_record(&event.topic) {
            self.conn
                .prepare_cached("INSERT OR REPLACE INTO last_record VALUES (?1, ?2)")?
                .execute([key, version.cast_signed()])?;
        }
        Ok(Some((key, version.cast_signed())))
    }
}
