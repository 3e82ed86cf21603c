//! An event as a log returns it.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::encoding::Encoding;
use super::fault::Corrupt;
use super::identity::{Checkpoint, EventId, Position, Version};
use super::metadata::Metadata;
use super::new_event::NewEvent;
use super::origin::Origin;
use super::seal_fault::SealFault;
use crate::domain::Timestamp;

/// The first byte of encrypted bytes.
pub(crate) const SEALED: u8 = 1;

/// The place of an event in the append that recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppendPlace {
    /// The number of events before it in the append.
    pub index: u32,
    /// The total number of events in the append.
    pub count: u32,
}

/// The number of parts of an event's buffer before its payload.
pub(super) const TEXTS_COUNT: usize = 6;

/// An event as a log returns it. It never changes except by an [amendment](super::Amendment), which
/// may erase or replace its content.
///
/// All texts and bytes are slices of one buffer, so reading costs one allocation per event and a
/// clone costs none; origin and metadata are decoded on demand.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredEvent {
    position: Position,
    id: EventId,
    version: Option<Version>,
    place: AppendPlace,
    revision: u32,
    time: Timestamp,
    recorded_at: Timestamp,
    erased: bool,
    /// Whether fields of its content are missing because their subject was forgotten.
    has_forgotten_fields: bool,
    /// Why its content could not be opened, if it could not.
    fault: Option<Arc<SealFault>>,
    /// Ends of the parts in `buffer`, in the order: stream, topic, tags, encoding, origin,
    /// metadata; the payload is the rest.
    ends: [u32; TEXTS_COUNT],
    buffer: Bytes,
}

/// The data from which a store builds a [`StoredEvent`], borrowed from its own buffers.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a store must set every field")]
pub struct StoredEventParts<'a> {
    /// The place in the log.
    pub position: Position,
    /// The event's id.
    pub id: EventId,
    /// The name and version of its stream, or none.
    pub stream: Option<(&'a str, Version)>,
    /// The place in its append.
    pub place: AppendPlace,
    /// The stable name of its type.
    pub topic: &'a str,
    /// The version number of the type's shape.
    pub revision: u32,
    /// The tags as packed by [`pack_tags`].
    pub tags: &'a [u8],
    /// The time of the decision.
    pub time: Timestamp,
    /// The time of recording, by the wall clock.
    pub recorded_at: Timestamp,
    /// The text of [`Origin::to_text`].
    pub origin: &'a str,
    /// The bytes of the metadata.
    pub metadata: &'a [u8],
    /// The text of the encoding.
    pub encoding: &'a str,
    /// The payload, or none if it was erased.
    pub payload: Option<&'a [u8]>,
}

/// Packs tags into the bytes that stores keep with an event: for each tag, its length in one byte
/// and its text, in sorted order.
pub fn pack_tags<'a>(tags: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut packed = Vec::new();
    for tag in tags {
        let size = u8::try_from(tag.len()).expect("the append was checked against the limits");
        packed.push(size);
        packed.extend_from_slice(tag.as_bytes());
    }
    packed
}

/// Returns whether these bytes are the output of [`pack_tags`] for some sorted set of tags.
fn is_packed_tags(mut packed: &[u8]) -> bool {
    let mut last: &[u8] = &[];
    while let Some((&size, rest)) = packed.split_first() {
        let Some((tag, rest)) = rest.split_at_checked(usize::from(size)) else {
            return false;
        };
        if tag <= last || std::str::from_utf8(tag).is_err() {
            return false;
        }
        last = tag;
        packed = rest;
    }
    true
}

impl StoredEvent {
    /// For stores: returns the parts of the event.
    pub fn parts(&self) -> StoredEventParts<'_> {
        StoredEventParts {
            position: self.position,
            id: self.id,
            stream: self.stream().zip(self.version),
            place: self.place,
            topic: self.topic(),
            revision: self.revision,
            tags: self.packed_tags(),
            time: self.time,
            recorded_at: self.recorded_at,
            origin: self.origin_text(),
            metadata: self.metadata_bytes(),
            encoding: self.encoding_text(),
            payload: self.payload(),
        }
    }

    /// For stores: builds an event from the database's data.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the tags are not validly packed, or the parts are larger than any event can
    /// be.
    pub fn from_parts(parts: &StoredEventParts<'_>) -> Result<Self, Corrupt> {
        let corrupt = |what: &str| Corrupt::new(format!("event at {}", parts.position), what);
        if !is_packed_tags(parts.tags) {
            return Err(corrupt("its tags are not a sorted list of texts"));
        }
        let pieces: [&[u8]; 7] = [
            parts.stream.map_or("", |(name, _)| name).as_bytes(),
            parts.topic.as_bytes(),
            parts.tags,
            parts.encoding.as_bytes(),
            parts.origin.as_bytes(),
            parts.metadata,
            parts.payload.unwrap_or(&[]),
        ];
        let size = pieces.iter().map(|piece| piece.len()).sum();
        if u32::try_from(size).is_err() {
            return Err(corrupt("it is larger than any event can be"));
        }
        let mut buffer = BytesMut::with_capacity(size);
        let mut ends = [0; TEXTS_COUNT];
        for (index, piece) in pieces.iter().enumerate() {
            buffer.put_slice(piece);
            if let Some(end) = ends.get_mut(index) {
                *end = u32::try_from(buffer.len()).expect("the whole buffer fits");
            }
        }
        Ok(Self {
            position: parts.position,
            id: parts.id,
            version: parts.stream.map(|(_, version)| version),
            place: parts.place,
            revision: parts.revision,
            time: parts.time,
            recorded_at: parts.recorded_at,
            erased: parts.payload.is_none(),
            has_forgotten_fields: false,
            fault: None,
            ends,
            buffer: buffer.freeze(),
        })
    }

    /// For stores that keep events in memory: builds the stored event from `event` and the values
    /// that the log assigns.
    pub fn from_new(
        event: &NewEvent,
        position: Position,
        version: Option<Version>,
        place: AppendPlace,
        recorded_at: Timestamp,
    ) -> Self {
        let stream = event.stream.as_deref().zip(version);
        assert_eq!(
            stream.is_some(),
            event.stream.is_some(),
            "an event of a stream has a version"
        );
        let parts = StoredEventParts {
            position,
            id: event.id,
            stream,
            place,
            topic: &event.topic,
            revision: event.revision,
            tags: &pack_tags(event.tags.iter().map(|tag| &**tag)),
            time: event.time,
            recorded_at,
            origin: &event.origin.to_text(),
            metadata: &event.metadata,
            encoding: event.encoding.as_str(),
            payload: event.payload.as_deref(),
        };
        Self::from_parts(&parts).expect("the append was checked against the limits")
    }

    /// For layers that store content in another form: returns the event with this content.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the parts are larger than any event can be.
    pub fn with_content(
        &self,
        encoding: &str,
        metadata: &[u8],
        payload: Option<&[u8]>,
    ) -> Result<Self, Corrupt> {
        let mut parts = self.parts();
        parts.encoding = encoding;
        parts.metadata = metadata;
        parts.payload = payload;
        Self::from_parts(&parts)
    }

    /// For layers: notes why the content could not be opened.
    #[must_use]
    pub fn with_seal_fault(mut self, fault: SealFault) -> Self {
        self.fault = Some(Arc::new(fault));
        self
    }

    /// For layers: notes that fields are missing because their subject was forgotten.
    #[must_use]
    pub fn with_forgotten_fields(mut self) -> Self {
        self.has_forgotten_fields = true;
        self
    }

    /// Returns why its content could not be opened; none if it was opened, or is stored as a codec
    /// wrote it.
    pub fn seal_fault(&self) -> Option<&SealFault> {
        self.fault.as_deref()
    }

    /// Returns whether fields of its content are missing because their subject was forgotten.
    pub fn has_forgotten_fields(&self) -> bool {
        self.has_forgotten_fields
    }

    fn part(&self, index: usize) -> &[u8] {
        let start = if index == 0 {
            0
        } else {
            self.ends[index - 1] as usize
        };
        let end = self
            .ends
            .get(index)
            .map_or(self.buffer.len(), |end| *end as usize);
        &self.buffer[start..end]
    }

    fn text(&self, index: usize) -> &str {
        std::str::from_utf8(self.part(index)).expect("it was built from a text")
    }

    /// Returns everything before the payload as one piece, and the ends of its parts.
    pub(super) fn texts(&self) -> (&[u8], &[u32; TEXTS_COUNT]) {
        let end = self.ends[TEXTS_COUNT - 1] as usize;
        (&self.buffer[..end], &self.ends)
    }

    /// Returns the place in the log.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Returns the event's id.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Returns position and id.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            position: self.position,
            event_id: self.id,
        }
    }

    /// Returns the name of its stream, or none.
    pub fn stream(&self) -> Option<&str> {
        self.version.map(|_| self.text(0))
    }

    /// Returns the place in its stream; none if it has no stream.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Returns the place in its append.
    pub fn place(&self) -> AppendPlace {
        self.place
    }

    /// Returns the stable name of its type.
    pub fn topic(&self) -> &str {
        self.text(1)
    }

    /// Returns the version number of the type's shape, from 1.
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// Returns its tags, sorted.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        let mut packed = self.part(2);
        std::iter::from_fn(move || {
            let (&size, rest) = packed.split_first()?;
            let (tag, rest) = rest.split_at(usize::from(size));
            packed = rest;
            Some(std::str::from_utf8(tag).expect("packed tags are texts"))
        })
    }

    /// Returns whether it has this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags().any(|it| it == tag)
    }

    /// For stores: returns its tags as packed by [`pack_tags`].
    pub fn packed_tags(&self) -> &[u8] {
        self.part(2)
    }

    /// Returns the time of the decision, by the clock of the application or of its cause.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Returns the time of recording by the store's wall clock, for people and for measuring lag.
    /// No decision depends on it.
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    /// Returns how the payload was encoded.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the stored text is not a valid encoding.
    pub fn encoding(&self) -> Result<Encoding, Corrupt> {
        let text = self.encoding_text();
        if text == Encoding::JSON.as_str() {
            return Ok(Encoding::JSON);
        }
        Encoding::parse(text.to_owned()).map_err(|error| self.corrupt(error))
    }

    /// Returns the text of the encoding, for example `json+zstd`.
    pub fn encoding_text(&self) -> &str {
        self.text(3)
    }

    /// Returns the reason why it is in the log.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the stored text is not a valid origin.
    pub fn origin(&self) -> Result<Origin, Corrupt> {
        Origin::from_text(self.origin_text()).map_err(|error| self.corrupt(error))
    }

    /// Returns the text of the origin; empty for a command.
    pub fn origin_text(&self) -> &str {
        self.text(4)
    }

    /// Returns its metadata.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the stored bytes are not valid metadata, or are encrypted and could not be
    /// opened.
    pub fn metadata(&self) -> Result<Metadata, Corrupt> {
        if self.has_sealed_metadata() {
            return Err(self.corrupt(
                "its metadata is encrypted, and does not open with the keys of this program",
            ));
        }
        Metadata::from_bytes(self.metadata_bytes()).map_err(|error| self.corrupt(error))
    }

    /// Returns whether the metadata is encrypted. No JSON begins with the first byte of an
    /// envelope.
    pub fn has_sealed_metadata(&self) -> bool {
        self.metadata_bytes().first() == Some(&SEALED)
    }

    /// Returns the bytes of the metadata as stored.
    pub fn metadata_bytes(&self) -> &[u8] {
        self.part(5)
    }

    /// Returns the encoded content; none if it was erased.
    pub fn payload(&self) -> Option<&[u8]> {
        (!self.erased).then(|| self.part(6))
    }

    /// Returns the payload without copying it; none if it was erased.
    pub fn payload_bytes(&self) -> Option<Bytes> {
        (!self.erased).then(|| self.buffer.slice(self.ends[5] as usize..))
    }

    /// Returns whether its payload was erased.
    pub fn is_erased(&self) -> bool {
        self.erased
    }

    /// Returns the size that counts toward the limits, in bytes: payload and metadata.
    pub fn size(&self) -> usize {
        self.buffer.len() - self.ends[4] as usize
    }

    fn corrupt(&self, error: impl fmt::Display) -> Corrupt {
        Corrupt::new(
            format!("event {} at {}", self.id, self.position),
            error.to_string(),
        )
    }
}

impl fmt::Debug for StoredEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredEvent")
            .field("position", &self.position.get())
            .field("id", &self.id)
            .field("stream", &self.stream())
            .field("version", &self.version.map(Version::get))
            .field("place", &self.place)
            .field("topic", &self.topic())
            .field("revision", &self.revision)
            .field("tags", &self.tags().collect::<Vec<_>>())
            .field("time", &self.time)
            .field("recorded_at", &self.recorded_at)
            .field("origin", &self.origin_text())
            .field("metadata", &String::from_utf8_lossy(self.metadata_bytes()))
            .field("encoding", &self.encoding_text())
            .field("payload", &self.payload().map(String::from_utf8_lossy))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> NewEvent {
        NewEvent::new(
            EventId::new(uuid::Uuid::from_u128(5)),
            "Dog.Registered",
            &b"{}"[..],
        )
        .stream("dog/1")
        .tag("b")
        .tag("a")
        .metadata(Metadata::new().with("user", "ann").to_bytes())
    }

    #[test]
    fn a_stored_event_returns_its_parts() {
        let new = event();
        let place = AppendPlace { index: 1, count: 3 };
        let now = Timestamp::from_micros(9);
        let stored = StoredEvent::from_new(
            &new,
            Position::FIRST.next(),
            Some(Version::FIRST),
            place,
            now,
        );
        assert_eq!(stored.checkpoint().position.get(), 2);
        assert_eq!(stored.stream(), Some("dog/1"));
        assert_eq!(stored.version(), Some(Version::FIRST));
        assert_eq!(stored.topic(), "Dog.Registered");
        assert_eq!(stored.tags().collect::<Vec<_>>(), ["a", "b"]);
        assert!(stored.has_tag("b") && !stored.has_tag("c"));
        assert_eq!(stored.encoding().unwrap(), Encoding::JSON);
        assert_eq!(stored.origin().unwrap(), Origin::Command);
        assert_eq!(
            stored.metadata().unwrap(),
            Metadata::new().with("user", "ann")
        );
        assert_eq!(stored.payload(), Some(&b"{}"[..]));
        assert_eq!(stored.payload_bytes().unwrap(), &b"{}"[..]);
        assert_eq!(stored.size(), new.size());
        assert_eq!((stored.place(), stored.recorded_at()), (place, now));
    }

    #[test]
    fn an_erased_event_has_no_payload() {
        let new = event().erased();
        let place = AppendPlace { index: 0, count: 1 };
        let time = Timestamp::default();
        let stored =
            StoredEvent::from_new(&new, Position::FIRST, Some(Version::FIRST), place, time);
        assert!(stored.is_erased());
        assert_eq!(stored.payload(), None);
    }

    #[test]
    fn damaged_tags_are_found() {
        for bad in [
            &[3, b'a'][..],
            &[1, b'b', 1, b'a'],
            &[1, 0xff],
            &[0],
            &[1, b'a', 1, b'a'],
        ] {
            assert!(!is_packed_tags(bad), "{bad:?}");
        }
        assert!(is_packed_tags(&pack_tags(["a", "b"])));
        assert!(is_packed_tags(&[]));
    }
}
