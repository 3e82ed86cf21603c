//! How a protected recorder seals appends.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::ProtectedRecorder;
use crate::domain::{SubjectExtent, SubjectPart};
use crate::protection::parts::{FieldCodec, PARTS_SUFFIX};
use crate::protection::sealing::{PartKeys, SealedPlace, UnwrappedContent};
use crate::protection::subject_keys::SubjectKeys;
use crate::recording::{Amendment, Append, EventId, NewEvent, RecordError, Replacement, SealFault};

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
            let (parts, forgotten) = keys_for(subjects, &event.subjects).await?;
            let is_forgotten = forgotten.is_some();
            if let Some(part) = forgotten
                && self.inner.event(event.id).await?.is_none()
            {
                return Err(is_of_forgotten(&event.topic, part));
            }
            all.insert(
                index,
                EventKeys {
                    parts,
                    is_forgotten,
                },
            );
        }
        Ok(all)
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
        check_place(place, &keys.parts)?;
        let stored = sealing.payload(place, &event.encoding, payload, &keys.parts)?;
        if let Some((encoding, payload)) = stored {
            sealed.encoding = encoding;
            sealed.payload = Some(payload);
        }
        Ok(sealed)
    }

    /// Returns an amendment as it is stored. A replaced event stays data of the subjects whose data
    /// it was, unless the replacement names others.
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
        let parts = match (&self.protection.subjects, &replacement.subjects) {
            // The recorder refuses them, and says what is missing.
            (None, Some(_)) => Vec::new(),
            (Some(subjects), Some(named)) => {
                subjects.refresh().await?;
                let (parts, forgotten) = keys_for(subjects, named).await?;
                if let Some(part) = forgotten {
                    return Err(is_of_forgotten(&replacement.topic, part));
                }
                parts
            }
            (_, None) => self.parts_of_recorded(*event, replacement).await?,
        };
        if self.protection.subjects.is_some() {
            replacement.subjects = None;
        }
        let place = SealedPlace {
            id: *event,
            topic: &replacement.topic,
            stream: stream.as_deref(),
            revision: replacement.revision,
        };
        check_place(place, &parts)?;
        let sealing = &self.protection.sealing;
        let (encoding, payload) = (&replacement.encoding, &replacement.payload);
        let stored = sealing.payload(place, encoding, payload, &parts)?;
        if let Some((encoding, payload)) = stored {
            replacement.encoding = encoding;
            replacement.payload = payload;
        }
        Ok(sealed)
    }

    /// Returns the parts of a recorded event, with their keys, for another content.
    async fn parts_of_recorded(
        &self,
        id: EventId,
        replacement: &Replacement,
    ) -> Result<Vec<PartKeys>, RecordError> {
        let Some(stored) = self.inner.event(id).await? else {
            return Ok(Vec::new());
        };
        let Some(subjects) = &self.protection.subjects else {
            let has_parts = stored.encoding()?.codec().ends_with(PARTS_SUFFIX);
            return match has_parts && !stored.is_erased() {
                true => Err(RecordError::invalid(format!(
                    "the event {id} cannot be replaced: {}",
                    SealFault::SubjectKeysMissing
                ))),
                false => Ok(Vec::new()),
            };
        };
        let size_max = self.inner.limits().payload_size;
        let Some(Ok(unwrapped)) = self.protection.unwrap(&stored, size_max) else {
            return Ok(Vec::new());
        };
        let UnwrappedContent::Parts(rest, parts) = &unwrapped.content else {
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
        let keys = keys.map_err(|fault| {
            RecordError::invalid(format!("the event {id} cannot be replaced: {fault}"))
        })?;
        check_known_fields(&keys, (&unwrapped.codec, rest), replacement)?;
        Ok(keys)
    }
}

/// Returns the keys of subjects for parts, and a part whose subject was forgotten, if there is one.
async fn keys_for<'p>(
    subjects: &SubjectKeys,
    named: &'p [SubjectPart],
) -> Result<(Vec<PartKeys>, Option<&'p SubjectPart>), RecordError> {
    let (mut keys, mut forgotten) = (Vec::new(), None);
    let mut seen: BTreeSet<&Arc<str>> = BTreeSet::new();
    for part in named {
        let is_whole = part.extent == SubjectExtent::Whole;
        if !seen.insert(&part.subject) && is_whole {
            continue;
        }
        match subjects.key_for(&part.subject).await? {
            Some(key) => keys.push(PartKeys {
                part: part.clone(),
                key,
            }),
            None => forgotten = Some(part),
        }
    }
    Ok((keys, forgotten))
}

fn is_of_forgotten(topic: &str, part: &SubjectPart) -> RecordError {
    RecordError::invalid(format!(
        "nothing is recorded: the event {topic:?} has data of the subject {:?}, which was \
         forgotten; to record data of it again, readmit it: `SubjectKeys::readmit`, or `retold \
         forget --readmit`",
        part.subject
    ))
}

/// Checks that an event with data of subjects is one whose content is encrypted.
fn check_place(place: SealedPlace<'_>, parts: &[PartKeys]) -> Result<(), RecordError> {
    if parts.is_empty() || place.is_protected() {
        return Ok(());
    }
    Err(RecordError::invalid(format!(
        "the event {:?} of the library cannot have data of subjects",
        place.topic
    )))
}

/// Checks that the replaced event says of every field of the new content whether it is data of a
/// subject: a field that it does not have would be stored where forgetting does not reach it.
/// `rest` is the content of the replaced event without the data of subjects, with its codec.
fn check_known_fields(
    parts: &[PartKeys],
    (codec, rest): (&str, &[u8]),
    replacement: &Replacement,
) -> Result<(), RecordError> {
    let of_fields = |it: &PartKeys| match &it.part.extent {
        SubjectExtent::Field { name, .. } => Some(name.to_string()),
        SubjectExtent::Whole => None,
    };
    let mut known: Vec<String> = parts.iter().filter_map(of_fields).collect();
    let field_codec = FieldCodec::named(replacement.encoding.codec());
    if parts
        .iter()
        .any(|it| it.part.extent == SubjectExtent::Whole)
    {
        return Ok(());
    }
    let of_rest = FieldCodec::named(codec)?.names(rest);
    known.extend(of_rest.into_iter().flatten());
    let names = field_codec?.names(&replacement.payload).unwrap_or_default();
    match names.iter().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => Err(RecordError::invalid(format!(
            "the event is not replaced: it has fields that are data of a subject, and it is not \
             known whether the new field {name:?} is; replace it in a program that has its type: \
             `Amender::replace_by`"
        ))),
    }
}

/// The keys of an event that has data of subjects.
#[derive(Default)]
struct EventKeys {
    parts: Vec<PartKeys>,
    /// One of its subjects was forgotten after it was recorded.
    is_forgotten: bool,
}
