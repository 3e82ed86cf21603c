//! The bugs in amending recorded events, which break the rules 24 to 28.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use retold_core::recording::{
    Amendment, Append, Appended, Conflict, ErasedParts, EventId, NewEvent, REOPENED_TOPIC,
    RecordError, StoredSnapshot, Version,
};
use uuid::Uuid;

use super::broken::{Bug, Log, Result};

/// The same append with other amendments.
fn with_amendments(append: &Append, amendments: impl IntoIterator<Item = Amendment>) -> Append {
    let rest = Append::of(append.new_events().iter().cloned())
        .conditions(append.all_conditions().iter().cloned());
    let ranges = append.processed_ranges().iter().cloned();
    let rest = ranges.fold(rest, Append::processed_range);
    amendments.into_iter().fold(rest, Append::amendment)
}

/// Rule 24: the record is recorded, and nothing is amended.
#[derive(Default)]
pub(super) struct AmendmentsIgnored;

impl Bug for AmendmentsIgnored {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        log.append(with_amendments(&append, [])).await
    }
}

/// Rule 24: the amendments are made before the append, and stay if it is refused.
#[derive(Default)]
pub(super) struct AmendedFirst;

impl Bug for AmendedFirst {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        if !append.all_conditions().is_empty() && !append.amendments().is_empty() {
            let records = append.new_events().iter().map(|event| {
                let mut record = event.clone();
                record.id = EventId::new(Uuid::from_u128(event.id.uuid().as_u128() + 5_000));
                record
            });
            let alone = append.amendments().iter().cloned();
            let alone = alone.fold(Append::of(records), Append::amendment);
            log.append(alone).await?;
        }
        log.append(append).await
    }
}

/// Rule 25: an amendment that does not hold is left out.
#[derive(Default)]
pub(super) struct LenientAmendments;

impl Bug for LenientAmendments {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        match log.append(append.clone()).await {
            Err(RecordError::Conflict(Conflict::Amendment { amendment, .. })) => {
                let holding = append.amendments().iter().enumerate();
                let holding = holding.filter(|(index, _)| *index != amendment);
                let holding = holding.map(|(_, it)| it.clone());
                log.append(with_amendments(&append, holding)).await
            }
            other => other,
        }
    }
}

/// Rule 26: everything is erased, whichever parts are named.
#[derive(Default)]
pub(super) struct ErasesAll;

impl Bug for ErasesAll {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        let all = append.amendments().iter().cloned().map(|mut amendment| {
            if let Amendment::EraseEvent { parts, .. } | Amendment::EraseStream { parts, .. } =
                &mut amendment
            {
                *parts = ErasedParts::ALL;
            }
            amendment
        });
        log.append(with_amendments(&append, all)).await
    }
}

/// Rule 27: the snapshot that was there before an amendment is still returned.
#[derive(Default)]
pub(super) struct SnapshotsKept {
    kept: Mutex<HashMap<Arc<str>, StoredSnapshot>>,
}

impl Bug for SnapshotsKept {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        for stream in append.amendments().iter().filter_map(Amendment::stream) {
            if let Some(snapshot) = log.snapshot(stream, None).await? {
                self.kept.lock().unwrap().insert(stream.clone(), snapshot);
            }
        }
        log.append(append).await
    }

    async fn snapshot(
        &self,
        log: &Log,
        stream: &str,
        until: Option<Version>,
    ) -> Result<Option<StoredSnapshot>> {
        let found = log.snapshot(stream, until).await?;
        Ok(found.or_else(|| self.kept.lock().unwrap().get(stream).cloned()))
    }
}

/// Rule 28: an append to a deleted stream reopens it.
#[derive(Default)]
pub(super) struct DeletedTakesEvents;

impl Bug for DeletedTakesEvents {
    async fn append(&self, log: &Log, append: Append) -> Result<Appended> {
        match log.append(append.clone()).await {
            Err(RecordError::Conflict(Conflict::Deleted { stream, record })) => {
                let id = record.event_id.uuid().as_u128() + 7_000_000;
                let id = EventId::new(Uuid::from_u128(id));
                let reopened = NewEvent::new(id, REOPENED_TOPIC, "{}").stream(stream);
                log.append(Append::of([reopened])).await?;
                log.append(append).await
            }
            other => other,
        }
    }
}
