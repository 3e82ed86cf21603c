//! Amendments: the only way to change recorded events, as a part of an append.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::encoding::Encoding;
use super::fault::Invalid;
use super::identity::{EventId, Version};
use super::limits::{
    AMENDMENTS_MAX, ERASED_EVENTS_MAX, Limits, TAGS_MAX, check_name, check_payload_size,
};
use super::new_event::{NewEvent, lacks_subject_keys};
use super::stored_event::{StoredEvent, StoredEventParts, pack_tags};
use crate::domain::SubjectPart;

/// The topic of the event that records that events were erased.
pub const ERASED_TOPIC: &str = "retold.erased";
/// The topic of the event that records that an event was replaced.
pub const AMENDED_TOPIC: &str = "retold.amended";
/// The topic of the event that closes a stream; see rule 28 of the
/// [contract](super::Recorder#contract).
pub const DELETED_TOPIC: &str = "retold.deleted";
/// The topic of the event that opens a deleted stream again.
pub const REOPENED_TOPIC: &str = "retold.reopened";

/// Returns whether events of this topic record amendments: these events are never amended, and a
/// fold of the stream that has not seen them is out of date.
pub fn is_amendment_record(topic: &str) -> bool {
    matches!(
        topic,
        ERASED_TOPIC | AMENDED_TOPIC | DELETED_TOPIC | REOPENED_TOPIC
    )
}

/// A change of recorded events.
///
/// Position, id, stream, version, place in the append, time, time of recording and origin of an
/// event never change. Nothing changes silently: an append with amendments has an event that
/// records them, in every stream that they change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Amendment {
    /// Erases one event.
    EraseEvent {
        /// The event.
        event: EventId,
        /// Its stream, or none.
        stream: Option<Arc<str>>,
        /// What is erased in addition to the payload.
        parts: ErasedParts,
    },
    /// Erases the events of a stream, except those that record amendments.
    EraseStream {
        /// The stream.
        stream: Arc<str>,
        /// Begin after this version; without it, with the first.
        after: Option<Version>,
        /// Erase up to and including this version.
        until: Version,
        /// What is erased in addition to the payloads.
        parts: ErasedParts,
    },
    /// Replaces the content of one event.
    ReplaceEvent {
        /// The event.
        event: EventId,
        /// Its stream, or none.
        stream: Option<Arc<str>>,
        /// The new content.
        replacement: Replacement,
    },
}

/// What is erased of an event in addition to its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErasedParts {
    /// The tags: queries by tag no longer find the event.
    pub tags: bool,
    /// The metadata.
    pub metadata: bool,
}

impl ErasedParts {
    /// Only the payload.
    pub const PAYLOAD: Self = Self {
        tags: false,
        metadata: false,
    };
    /// The payload, the tags and the metadata.
    pub const ALL: Self = Self {
        tags: true,
        metadata: true,
    };

    /// Sets whether the tags are erased.
    #[must_use]
    pub const fn tags(mut self, are_erased: bool) -> Self {
        self.tags = are_erased;
        self
    }

    /// Sets whether the metadata are erased.
    #[must_use]
    pub const fn metadata(mut self, are_erased: bool) -> Self {
        self.metadata = are_erased;
        self
    }

    /// Returns whether an event has anything that these parts name.
    fn are_left_in(self, event: &StoredEvent) -> bool {
        !event.is_erased()
            || (self.tags && !event.packed_tags().is_empty())
            || (self.metadata && !event.metadata_bytes().is_empty())
    }
}

/// The new content of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replacement {
    /// The stable name of its type.
    pub topic: Cow<'static, str>,
    /// The version number of the type's shape, from 1.
    pub revision: u32,
    /// The labels by which queries select it.
    pub tags: BTreeSet<Arc<str>>,
    /// How the payload is encoded.
    pub encoding: Encoding,
    /// The encoded content.
    pub payload: Bytes,
    /// What of the content is data of subjects; none if it is the same as in the replaced event. A
    /// recorder takes only that: the layer that encrypts with the keys of subjects removes these.
    pub subjects: Option<Vec<SubjectPart>>,
}

impl Replacement {
    /// Creates a replacement that has topic, revision, tags and encoding of `event`, another
    /// payload, and data of the same subjects.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](super::Corrupt) if the encoding of the event is damaged.
    pub fn of(event: &StoredEvent, payload: impl Into<Bytes>) -> Result<Self, super::Corrupt> {
        Ok(Self {
            topic: event.topic().to_owned().into(),
            revision: event.revision(),
            tags: event.tags().map(Arc::from).collect(),
            encoding: event.encoding()?,
            payload: payload.into(),
            subjects: None,
        })
    }

    fn check(&self, limits: &Limits) -> Result<(), Invalid> {
        check_name("topic", &self.topic)?;
        if is_amendment_record(&self.topic) {
            return Err(Invalid::new(format!(
                "an event cannot be replaced by a record of an amendment, {:?}",
                self.topic
            )));
        }
        if let Some(part) = self.subjects.iter().flatten().next() {
            return Err(lacks_subject_keys(&self.topic, part));
        }
        if self.revision == 0 {
            return Err(Invalid::new(format!(
                "{} has revision 0; revisions start at 1",
                self.topic
            )));
        }
        if self.tags.len() > TAGS_MAX {
            return Err(Invalid::new(format!(
                "an event has {} tags; at most {TAGS_MAX} are allowed",
                self.tags.len()
            )));
        }
        self.tags
            .iter()
            .try_for_each(|tag| check_name("tag", tag))?;
        check_payload_size(self.payload.len(), limits)
    }
}

impl Amendment {
    /// Returns the stream of the events that it changes; none for an event without a stream.
    pub fn stream(&self) -> Option<&Arc<str>> {
        match self {
            Self::EraseEvent { stream, .. } | Self::ReplaceEvent { stream, .. } => stream.as_ref(),
            Self::EraseStream { stream, .. } => Some(stream),
        }
    }

    /// Returns the event that it names by its id; none if it names a stream.
    pub fn event(&self) -> Option<EventId> {
        match self {
            Self::EraseEvent { event, .. } | Self::ReplaceEvent { event, .. } => Some(*event),
            Self::EraseStream { .. } => None,
        }
    }

    /// Returns the number of versions of a stream that it names; 0 if it names an event by its id.
    fn version_count(&self) -> u64 {
        match self {
            Self::EraseStream { after, until, .. } => {
                until.get().saturating_sub(Version::number(*after))
            }
            Self::EraseEvent { .. } | Self::ReplaceEvent { .. } => 0,
        }
    }

    /// Returns the number of bytes of payload that it records.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::ReplaceEvent { replacement, .. } => replacement.payload.len(),
            Self::EraseEvent { .. } | Self::EraseStream { .. } => 0,
        }
    }

    /// For stores: returns the event as it is after the amendment; none if the amendment passes
    /// over it. `event` is one that the amendment names, as it is in the log or after the earlier
    /// amendments of the append.
    ///
    /// # Errors
    ///
    /// [`AmendmentConflict`] if the event cannot be amended in this way.
    pub fn amended(&self, event: &StoredEvent) -> Result<Option<StoredEvent>, AmendmentConflict> {
        let is_record = is_amendment_record(event.topic());
        let by_id = |stream: &Option<Arc<str>>| {
            if event.stream() != stream.as_deref() {
                return Err(AmendmentConflict::OtherStream);
            }
            match is_record {
                true => Err(AmendmentConflict::Record),
                false => Ok(()),
            }
        };
        match self {
            Self::EraseEvent { stream, parts, .. } => {
                by_id(stream)?;
                match parts.are_left_in(event) {
                    true => Ok(Some(without(event, *parts))),
                    false => Err(AmendmentConflict::Erased),
                }
            }
            Self::EraseStream { parts, .. } => {
                let is_changed = !is_record && parts.are_left_in(event);
                Ok(is_changed.then(|| without(event, *parts)))
            }
            Self::ReplaceEvent {
                stream,
                replacement,
                ..
            } => {
                by_id(stream)?;
                match event.is_erased() {
                    true => Err(AmendmentConflict::Erased),
                    false => Ok(Some(with_content(event, replacement))),
                }
            }
        }
    }

    fn check(&self, limits: &Limits) -> Result<(), Invalid> {
        if let Some(stream) = self.stream() {
            check_name("stream name", stream)?;
        }
        match self {
            Self::EraseEvent { .. } => Ok(()),
            Self::EraseStream { .. } => match self.version_count() {
                0 => Err(Invalid::new(
                    "an amendment erases the events of a stream up to a version that does not lie \
                     after the version after which it begins"
                        .into(),
                )),
                _ => Ok(()),
            },
            Self::ReplaceEvent { replacement, .. } => replacement.check(limits),
        }
    }
}

/// Returns the event without its payload and without these parts.
fn without(event: &StoredEvent, erased: ErasedParts) -> StoredEvent {
    let mut parts = event.parts();
    parts.payload = None;
    if erased.tags {
        parts.tags = &[];
    }
    if erased.metadata {
        parts.metadata = &[];
    }
    StoredEvent::from_parts(&parts).expect("it is a part of a good event")
}

/// Returns the event with another content.
fn with_content(event: &StoredEvent, content: &Replacement) -> StoredEvent {
    let tags = pack_tags(content.tags.iter().map(|tag| &**tag));
    let parts = StoredEventParts {
        topic: &content.topic,
        revision: content.revision,
        tags: &tags,
        encoding: content.encoding.as_str(),
        payload: Some(&content.payload),
        ..event.parts()
    };
    StoredEvent::from_parts(&parts).expect("the append was checked against the limits")
}

/// Checks everything about the amendments of an append that does not depend on the log.
pub(super) fn check_amendments(
    amendments: &[Amendment],
    events: &[NewEvent],
    limits: &Limits,
) -> Result<(), Invalid> {
    if amendments.len() > AMENDMENTS_MAX {
        return Err(Invalid::new(format!(
            "an append has {} amendments; at most {AMENDMENTS_MAX} are allowed",
            amendments.len()
        )));
    }
    let version_counts = amendments.iter().map(Amendment::version_count);
    let version_count = version_counts.fold(0, u64::saturating_add);
    if version_count > ERASED_EVENTS_MAX {
        return Err(Invalid::new(format!(
            "an append erases {version_count} versions of streams; at most {ERASED_EVENTS_MAX} are \
             allowed: use several appends"
        )));
    }
    let mut seen = HashSet::new();
    for (index, amendment) in amendments.iter().enumerate() {
        amendment.check(limits)?;
        if let Some(event) = amendment.event()
            && !seen.insert(event)
        {
            return Err(Invalid::new(format!(
                "two amendments of an append change the event {event}; only one is allowed"
            )));
        }
        let stream = amendment.stream();
        let is_recorded = events.iter().any(|event| {
            is_amendment_record(&event.topic)
                && (stream.is_none() || event.stream.as_ref() == stream)
        });
        if !is_recorded {
            let place = stream.map_or("".into(), |stream| format!(" in the stream {stream:?}"));
            return Err(Invalid::new(format!(
                "amendment {index} is not recorded by an event{place} with the topic \
                 {ERASED_TOPIC:?}, {AMENDED_TOPIC:?}, {DELETED_TOPIC:?} or {REOPENED_TOPIC:?}"
            )));
        }
    }
    Ok(())
}

/// Checks that no event of an append follows one that deletes its stream.
pub(super) fn check_deletions(events: &[NewEvent]) -> Result<(), Invalid> {
    for (index, event) in events.iter().enumerate() {
        if event.topic != DELETED_TOPIC {
            continue;
        }
        if event.stream.is_none() {
            return Err(Invalid::new(format!(
                "an event {DELETED_TOPIC:?} has no stream; it deletes the stream that it is in"
            )));
        }
        let mut later = events[index + 1..].iter();
        if let Some(later) = later.find(|later| later.stream == event.stream)
            && !opens_deleted_stream(&later.topic)
        {
            return Err(Invalid::new(format!(
                "an append has an event in the stream {:?} after the event that deletes it",
                event.stream.as_deref().unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// Returns whether an event of this topic may be the next of a deleted stream.
pub fn opens_deleted_stream(topic: &str) -> bool {
    matches!(topic, REOPENED_TOPIC | DELETED_TOPIC)
}

/// The reason why an amendment does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AmendmentConflict {
    /// The log has no such event.
    Missing,
    /// The event is not of the stream that the amendment names, or is of a stream and the amendment
    /// names none.
    OtherStream,
    /// The event was erased: nothing is left to erase, and an erased event is not replaced.
    Erased,
    /// The event records an amendment.
    Record,
    /// The stream ends before the version up to which it is to be erased.
    BeyondStream,
}

impl fmt::Display for AmendmentConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the log has no such event",
            Self::OtherStream => "the event is not of the stream that the amendment names",
            Self::Erased => "the event has already been erased",
            Self::Record => {
                "the event records an amendment, and such events are neither erased nor replaced"
            }
            Self::BeyondStream => "the stream ends before the version up to which to erase it",
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::Timestamp;
    use crate::recording::append::Append;
    use crate::recording::identity::Position;
    use crate::recording::stored_event::AppendPlace;

    fn id(number: u128) -> EventId {
        EventId::new(Uuid::from_u128(number))
    }

    fn stored(topic: &'static str) -> StoredEvent {
        let new = NewEvent::new(id(1), topic, "{}")
            .stream("dog/1")
            .tag("brown")
            .metadata("m");
        let place = AppendPlace { index: 0, count: 1 };
        let version = Some(Version::FIRST);
        StoredEvent::from_new(&new, Position::FIRST, version, place, Timestamp::default())
    }

    fn erase(parts: ErasedParts) -> Amendment {
        Amendment::EraseEvent {
            event: id(1),
            stream: Some("dog/1".into()),
            parts,
        }
    }

    #[test]
    fn an_erased_event_has_what_is_not_named() {
        let event = stored("Barked");
        let erased = erase(ErasedParts::PAYLOAD)
            .amended(&event)
            .unwrap()
            .unwrap();
        assert!(erased.is_erased() && erased.has_tag("brown"));
        assert_eq!(erased.metadata_bytes(), b"m");
        assert_eq!(
            erase(ErasedParts::PAYLOAD).amended(&erased),
            Err(AmendmentConflict::Erased)
        );
        let rest = erase(ErasedParts::ALL).amended(&erased).unwrap().unwrap();
        assert_eq!(rest.tags().count(), 0);
        assert!(rest.metadata_bytes().is_empty());
        assert_eq!(
            (rest.topic(), rest.checkpoint()),
            ("Barked", event.checkpoint())
        );
        assert_eq!(
            erase(ErasedParts::ALL).amended(&rest),
            Err(AmendmentConflict::Erased)
        );
    }

    #[test]
    fn records_and_events_of_other_streams_are_not_amended() {
        let amendment = erase(ErasedParts::ALL);
        for topic in [ERASED_TOPIC, AMENDED_TOPIC, DELETED_TOPIC, REOPENED_TOPIC] {
            let found = amendment.amended(&stored(topic));
            assert_eq!(found, Err(AmendmentConflict::Record), "{topic}");
        }
        let other = Amendment::EraseEvent {
            event: id(1),
            stream: None,
            parts: ErasedParts::PAYLOAD,
        };
        let found = other.amended(&stored("Barked"));
        assert_eq!(found, Err(AmendmentConflict::OtherStream));
    }

    #[test]
    fn an_erased_event_is_not_replaced() {
        let event = stored("Barked");
        let replacement = Replacement::of(&event, "[]").unwrap();
        let replace = Amendment::ReplaceEvent {
            event: id(1),
            stream: Some("dog/1".into()),
            replacement: replacement.clone(),
        };
        let replaced = replace.amended(&event).unwrap().unwrap();
        assert_eq!(replaced.payload(), Some(&b"[]"[..]));
        assert_eq!(replaced.metadata_bytes(), event.metadata_bytes());
        let erased = without(&event, ErasedParts::PAYLOAD);
        assert_eq!(replace.amended(&erased), Err(AmendmentConflict::Erased));
    }

    #[track_caller]
    fn invalid(append: Append, part: &str) {
        let message = append.check(&Limits::DEFAULT).unwrap_err().to_string();
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }

    #[test]
    fn amendments_are_recorded_in_their_streams() {
        let record = |topic, stream: &str| NewEvent::new(id(9), topic, "{}").stream(stream);
        let append = |event| Append::of([event]).amendment(erase(ErasedParts::PAYLOAD));
        invalid(append(record("Barked", "dog/1")), "is not recorded");
        invalid(append(record(ERASED_TOPIC, "dog/2")), "\"dog/1\"");
        let good = append(record(ERASED_TOPIC, "dog/1"));
        good.check(&Limits::DEFAULT).unwrap();
        let twice = good.amendment(erase(ErasedParts::ALL));
        invalid(twice, "two amendments");
    }

    #[test]
    fn a_stream_is_erased_in_bounded_parts() {
        let append = || {
            let record = NewEvent::new(id(9), DELETED_TOPIC, "{}");
            Append::of([record.stream("dog/1")])
        };
        let erase = |after, until| {
            let amendment = Amendment::EraseStream {
                stream: "dog/1".into(),
                after: Version::new(after),
                until: Version::new(until).unwrap(),
                parts: ErasedParts::PAYLOAD,
            };
            append().amendment(amendment)
        };
        erase(0, ERASED_EVENTS_MAX).check(&Limits::DEFAULT).unwrap();
        invalid(erase(0, ERASED_EVENTS_MAX + 1), "several appends");
        let parts = [(0, 4_000), (4_000, 8_000), (8_000, ERASED_EVENTS_MAX)];
        let all = parts.map(|(after, until)| erase(after, until).amendments()[0].clone());
        let whole = all.into_iter().fold(append(), Append::amendment);
        whole.check(&Limits::DEFAULT).unwrap();
        let more = erase(0, 1).amendments()[0].clone();
        invalid(whole.amendment(more), "several appends");
        invalid(erase(5, 5), "does not lie after");
        invalid(erase(6, 5), "does not lie after");
    }

    #[test]
    fn nothing_follows_the_end_of_a_stream_in_its_append() {
        let event = |number, topic| NewEvent::new(id(number), topic, "{}").stream("dog/1");
        let deleted = event(1, DELETED_TOPIC);
        invalid(
            Append::of([deleted.clone(), event(2, "Barked")]),
            "after the event that deletes it",
        );
        let reopened = [deleted, event(2, REOPENED_TOPIC), event(3, "Barked")];
        Append::of(reopened).check(&Limits::DEFAULT).unwrap();
        let nowhere = NewEvent::new(id(1), DELETED_TOPIC, "{}");
        invalid(Append::of([nowhere]), "has no stream");
    }
}
