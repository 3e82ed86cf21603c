//! The amendments of an append as parameters of its statement.
//!
//! The events get other checksums, which the server cannot compute: they are read and amended here,
//! and the server replaces them if they are still what was read. They are read without their
//! payloads, because no amendment keeps one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::pin;

use futures_util::TryStreamExt;
use retold_core::recording::checksum::{Checksum, Content, Numbers};
use retold_core::recording::{
    Amendment, Append, EventId, Invalid, LogId, RecordError, StoredEvent, Version,
};
use uuid::Uuid;

use super::parameters::{AmendedEventRow, AmendingParameters, AmendmentRow};
use crate::error::of_statement;
use crate::log::Born;
use crate::reading::page::{OF_IDS, OF_VERSIONS, event_without_payload};
use crate::server::connection::{Connection, Parameters};

const WHAT: &str = "reading the events to amend";
const HEAD: &str = "SELECT position FROM \"retold\".log WHERE key = $1 AND id = $2";

/// Refuses an amendment of a kind that this store does not know.
///
/// # Errors
///
/// `Invalid`, with the index of the amendment.
pub(crate) fn check_amendment_kinds(append: &Append) -> Result<(), Invalid> {
    let is_known = |it: &Amendment| {
        matches!(
            it,
            Amendment::EraseEvent { .. }
                | Amendment::EraseStream { .. }
                | Amendment::ReplaceEvent { .. }
        )
    };
    match append.amendments().iter().position(|it| !is_known(it)) {
        None => Ok(()),
        Some(index) => Err(Invalid::new(format!(
            "amendment {index} is of a kind that this store does not know"
        ))),
    }
}

/// The amendments of an append, and the events that they change, by position.
pub(crate) struct Amending<'a> {
    amendments: &'a [Amendment],
    amended: BTreeMap<u64, AmendedEvent>,
    /// The position up to which the log was read.
    seen: i64,
}

/// An event as the amendments leave it, and what is needed of it as it was.
struct AmendedEvent {
    old: Checksum,
    old_topic: Box<str>,
    old_revision: u32,
    old_encoding: Box<str>,
    old_tags: BTreeSet<Box<str>>,
    had_metadata: bool,
    event: StoredEvent,
}

impl<'a> Amending<'a> {
    /// Prepares the amendments of an append; `None` if it has none.
    ///
    /// # Errors
    ///
    /// `Corrupt` if an event to amend is damaged; `Unavailable`.
    pub(crate) async fn of(
        connection: &mut Connection,
        log: Born,
        append: &'a Append,
    ) -> Result<Option<Self>, RecordError> {
        let amendments = append.amendments();
        if amendments.is_empty() {
            return Ok(None);
        }
        let failed = |error| of_statement(WHAT, error);
        let head: Parameters<'_> = &[&log.key, &log.id.uuid()];
        let head = connection.row(WHAT, HEAD, head).await?;
        // If the log is missing, the statement that appends reports that.
        let head = head.map(|row| row.try_get(0)).transpose().map_err(failed)?;
        let seen = head.unwrap_or(0);
        let mut amended = BTreeMap::new();
        let is_by_id = |it: &Amendment| it.event().is_some();
        for run in amendments.chunk_by(|one, other| is_by_id(one) && is_by_id(other)) {
            read_run(connection, log, run, &mut amended).await?;
        }
        Ok(Some(Self {
            amendments,
            amended,
            seen,
        }))
    }

    /// Returns the parameters for the statement.
    pub(crate) fn parameters(&self, log: LogId) -> AmendingParameters<'_> {
        AmendingParameters {
            amendments: self.amendments.iter().map(amendment_row).collect(),
            amended: self.amended.values().map(|it| it.row(log)).collect(),
            seen_position: self.seen,
        }
    }
}

/// Reads the events of one amendment of a stream, or of several that name an event by its id; no
/// two of those name the same.
async fn read_run(
    connection: &mut Connection,
    log: Born,
    run: &[Amendment],
    amended: &mut BTreeMap<u64, AmendedEvent>,
) -> Result<(), RecordError> {
    if let [
        Amendment::EraseStream {
            stream,
            after,
            until,
            ..
        },
    ] = run
    {
        let first = Version::number(*after).saturating_add(1).cast_signed();
        let last = until.get().cast_signed();
        let parameters: Parameters<'_> = &[&log.key, &&**stream, &first, &last];
        return read_events(connection, log, (OF_VERSIONS, parameters), |event, old| {
            amend(amended, &run[0], &event, old);
        })
        .await;
    }
    let by_id = run.iter().filter_map(|it| Some((it.event()?, it)));
    let by_id: HashMap<EventId, &Amendment> = by_id.collect();
    let ids: Vec<Uuid> = by_id.keys().map(|id| id.uuid()).collect();
    let parameters: Parameters<'_> = &[&log.key, &ids];
    read_events(connection, log, (OF_IDS, parameters), |event, old| {
        if let Some(amendment) = by_id.get(&event.id()) {
            amend(amended, amendment, &event, old);
        }
    })
    .await
}

async fn read_events(
    connection: &mut Connection,
    log: Born,
    (sql, parameters): (&'static str, Parameters<'_>),
    mut take: impl FnMut(StoredEvent, Checksum),
) -> Result<(), RecordError> {
    let ask = async |connection: &mut Connection| {
        let statement = connection.prepared(sql).await?;
        let parameters = parameters.iter().copied();
        connection.client.query_raw(&statement, parameters).await
    };
    let rows = connection.in_time(WHAT, ask).await?;
    let mut rows = pin!(rows);
    loop {
        let next = connection.in_time(WHAT, async |_: &mut _| rows.try_next().await);
        let Some(row) = next.await? else {
            return Ok(());
        };
        let (event, checksum) = event_without_payload(&row, log.id)?;
        take(event, checksum);
    }
}

/// Makes an amendment of an event, as the earlier amendments left it. If it does not hold, the
/// server reports that.
fn amend(
    amended: &mut BTreeMap<u64, AmendedEvent>,
    amendment: &Amendment,
    event: &StoredEvent,
    old: Checksum,
) {
    let position = event.position().get();
    let now = amended.get(&position).map_or(event, |it| &it.event);
    let Ok(Some(after)) = amendment.amended(now) else {
        return;
    };
    match amended.get_mut(&position) {
        Some(there) => there.event = after,
        None => {
            let changed = AmendedEvent {
                old,
                old_topic: event.topic().into(),
                old_revision: event.revision(),
                old_encoding: event.encoding_text().into(),
                old_tags: event.tags().map(Box::from).collect(),
                had_metadata: !event.metadata_bytes().is_empty(),
                event: after,
            };
            amended.insert(position, changed);
        }
    }
}

impl AmendedEvent {
    fn row(&self, log: LogId) -> AmendedEventRow<'_> {
        let event = &self.event;
        let numbers = Numbers {
            position: event.position().get().cast_signed(),
            version: event.version().map_or(0, Version::get).cast_signed(),
            recorded_at: event.recorded_at().as_micros(),
            append_number: 0,
        };
        let sealed = Content::of_stored(log, event).seal(numbers);
        let tags: BTreeSet<&str> = event.tags().collect();
        let old_tags: BTreeSet<&str> = self.old_tags.iter().map(|tag| &**tag).collect();
        AmendedEventRow {
            position: numbers.position,
            old_payload_checksum: self.old.payload.cast_signed(),
            old_checksum: self.old.event.cast_signed(),
            topic: (*event.topic() != *self.old_topic).then(|| event.topic()),
            revision: (event.revision() != self.old_revision)
                .then(|| event.revision().cast_signed()),
            encoding: (*event.encoding_text() != *self.old_encoding).then(|| event.encoding_text()),
            packed_tags: (tags != old_tags).then(|| event.packed_tags()),
            removed_tags: old_tags.difference(&tags).copied().collect(),
            added_tags: tags.difference(&old_tags).copied().collect(),
            without_metadata: self.had_metadata && event.metadata_bytes().is_empty(),
            payload: event.payload(),
            payload_checksum: sealed.payload.cast_signed(),
            checksum: sealed.event.cast_signed(),
        }
    }
}

fn amendment_row(amendment: &Amendment) -> AmendmentRow<'_> {
    let mut row = AmendmentRow {
        event: amendment.event().map(EventId::uuid),
        stream: amendment.stream().map(|it| &**it),
        ..AmendmentRow::default()
    };
    match amendment {
        Amendment::EraseEvent { parts, .. } => {
            row.with_tags = parts.tags;
            row.with_metadata = parts.metadata;
        }
        Amendment::EraseStream {
            after,
            until,
            parts,
            ..
        } => {
            row.after = Some(Version::number(*after).cast_signed());
            row.until = Some(until.get().cast_signed());
            row.with_tags = parts.tags;
            row.with_metadata = parts.metadata;
        }
        Amendment::ReplaceEvent { .. } => row.replaces = true,
        // Refused before it was queued.
        _ => {}
    }
    row
}
