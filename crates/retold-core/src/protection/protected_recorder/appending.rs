//! How a protected recorder seals appends.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::ProtectedRecorder;
use crate::domain::{SubjectExtent, SubjectPart};
use crate::protection::sealing::{PartKeys, SealedPlace, UnwrappedContent};
use crate::recording::{Amendment, Append, EventId, NewEvent, RecordError};

impl ProtectedRecorder {
    /// Returns the append as it is stored.
    pub(super) async fn sealed(&self, append: &Append) -> Result<Append, RecordError> {
        let mut keys = self.keys_of(append).await?;
        let mut events = Vec::with_capacity(append.new_events().len());
        for (index, event) in append.new_events().iter().enumerate() {
            events.push(self.sealed_event(event, keys.remove(&index).unwrap_or_default())?);
        }
        let mut amendments = Vec::with_capacity(append.amendments().len());
        for amendment in append.amendments() {
            amendments.push(self.sealed_amendment(amendment).await?);
        }
        let mut sealed = Append::of(events).conditions(append.all_conditions().iter().cloned());
        for range in append.processed_ranges() {
            sealed = sealed.processed_range(range.clone());
        }
        for amendment in amendments {
            sealed = sealed.amendment(amendment);
        }
        Ok(sealed)
    }

    /// Returns the keys for the parts of subjects, by the index of their event. An event of a
    /// forgotten subject has the marker of no keys if it is recorded already: the append is then a
    /// repeat, of which contents do not count.
    async fn keys_of(&self, append: &Append) -> Result<HashMap<usize, EventKeys>, RecordError> {
        let mut all = HashMap::new();
        let events = append.new_events().iter().enumerate();
        let with_subjects = events.filter(|(_, event)| !event.subjects.is_empty());
        let with_subjects: Vec<_> = with_subjects.collect();
        let Some(subjects) = self.protection.subjects.as_ref() else {
            // The recorder refuses them, and says what is missing.
            return Ok(all);
        };
        if with_subjects.is_empty() {
            return Ok(all);
        }
        subjects.refresh().await?;
        for (index, event) in with_subjects {
            let mut keys = EventKeys::default();
            let mut seen: BTreeSet<&Arc<str>> = BTreeSet::new();
            for part in &event.subjects {
                let is_whole = part.extent == SubjectExtent::Whole;
                if !seen.insert(&part.subject) && is_whole {
                    continue;
                }
                match subjects.key_for(&part.subject).await? {
                    Some(key) => keys.parts.push(PartKeys {
                        part: part.clone(),
                        key,
                    }),
                    None => {
                        self.expect_recorded(event, part).await?;
                        keys.is_forgotten = true;
                    }
                }
            }
            all.insert(index, keys);
        }
        Ok(all)
    }

    /// Checks that an event of a forgotten subject is one that was recorded before.
    async fn expect_recorded(
        &self,
        event: &NewEvent,
        part: &SubjectPart,
    ) -> Result<(), RecordError> {
        if self.inner.event(event.id).await?.is_some() {
            return Ok(());
        }
        Err(RecordError::invalid(format!(
            "nothing is recorded: the event {:?} has data of the subject {:?}, which was \
             forgotten; to record data of it again, readmit it: `SubjectKeys::readmit`, or \
             `retold forget --readmit`",
            event.topic, part.subject
        )))
    }

    fn sealed_event(&self, event: &NewEvent, keys: EventKeys) -> Result<NewEvent, RecordError> {
        let place = SealedPlace {
            id: event.id,
            topic: &event.topic,
            stream: event.stream.as_deref(),
            revision: event.revision,
        };
        let sealing = &self.protection.sealing;
        let mut sealed = event.clone();
        if let Some(metadata) = sealing.metadata(place, &event.metadata)? {
            sealed.metadata = metadata;
        }
        if self.protection.subjects.is_some() {
            sealed.subjects.clear();
        }
        if keys.is_forgotten {
            sealed.payload = None;
        }
        let Some(payload) = sealed.payload.as_deref() else {
            return Ok(sealed);
        };
        if !keys.parts.is_empty() && !place.is_protected() {
            return Err(RecordError::invalid(format!(
                "the event {:?} of the library cannot have data of subjects",
                event.topic
            )));
        }
        let stored = sealing.payload(place, &event.encoding, payload, &keys.parts)?;
        if let Some((encoding, payload)) = stored {
            sealed.encoding = encoding;
            sealed.payload = Some(payload);
        }
        Ok(sealed)
    }

    /// Returns an amendment as it is stored. A replaced event stays data of the subjects whose data
    /// it was.
    async fn sealed_amendment(&self, amendment: &Amendment) -> Result<Amendment, RecordError> {
        let mut sealed = amendment.clone();
        let Amendment::ReplaceEvent {
            event,
            stream,
            replacement,
        } = &mut sealed
        else {
            return Ok(sealed);
        };
        let place = SealedPlace {
            id: *event,
            topic: &replacement.topic,
            stream: stream.as_deref(),
            revision: replacement.revision,
        };
        let parts = self.parts_of_recorded(*event).await?;
        let sealing = &self.protection.sealing;
        let (encoding, payload) = (&replacement.encoding, &replacement.payload);
        let stored = sealing.payload(place, encoding, payload, &parts)?;
        if let Some((encoding, payload)) = stored {
            replacement.encoding = encoding;
            replacement.payload = payload;
        }
        Ok(sealed)
    }

    /// Returns the parts of a recorded event, with their keys.
    async fn parts_of_recorded(&self, id: EventId) -> Result<Vec<PartKeys>, RecordError> {
        let (Some(subjects), Some(stored)) =
            (&self.protection.subjects, self.inner.event(id).await?)
        else {
            return Ok(Vec::new());
        };
        let size_max = self.inner.limits().payload_size;
        let Some(Ok(unwrapped)) = self.protection.unwrap(&stored, size_max) else {
            return Ok(Vec::new());
        };
        let UnwrappedContent::Parts(_, parts) = &unwrapped.content else {
            return Ok(Vec::new());
        };
        subjects.refresh().await?;
        let found = self
            .found(subjects, parts.iter().flat_map(|part| &part.keys))
            .await?;
        let keys = self.protection.sealing.keys_of_parts(
            SealedPlace::of(&stored),
            &unwrapped,
            size_max,
            |id| found.get(id).cloned(),
        );
        keys.map_err(|fault| {
            RecordError::invalid(format!("the event {id} cannot be replaced: {fault}"))
        })
    }
}

/// The keys of an event that has data of subjects.
#[derive(Default)]
struct EventKeys {
    parts: Vec<PartKeys>,
    /// One of its subjects was forgotten after it was recorded.
    is_forgotten: bool,
}
