//! The mapper: converts an event into a recorder's input, and a recorder's output into an event.
//!
//! Writing: encode, and read back. Reading: decode, convert to the present shape
//! (`upcasting.rs`). Compression and encryption happen below, in a layer (`protection`) around the
//! recorder, so that everything above the recorder sees payloads as a codec wrote them.

use std::any::type_name;
use std::sync::Arc;

use bytes::Bytes;

use super::any_event::AnyEvent;
use super::codec::{Codec, RoundTripError};
use super::error::{MappingError, StoredEventPlace};
use super::upcasting::{read_erased, read_opened};
use crate::domain::{Decoded, Event, EventType, SubjectPart, Tags, Timestamp};
#[cfg(feature = "protection")]
use crate::protection::Protection;
use crate::recording::limits::RESERVED_PREFIX;
use crate::recording::{AppendPlace, EventId, NewEvent, Origin, Position, Recorder, StoredEvent};

/// Converts events for the recorder, and back. It has no state except its settings. A clone is
/// cheap.
#[derive(Clone, Debug, Default)]
pub struct Mapper {
    codec: Codec,
    /// Codecs of the program that it reads besides `codec` and the built-in ones.
    others: Option<Arc<[Codec]>>,
    #[cfg(feature = "protection")]
    protection: Option<Protection>,
}

/// The data that is recorded with an event's content and does not come from its type.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a caller must set every field")]
pub struct Envelope {
    /// The event's id.
    pub id: EventId,
    /// The stream it belongs to, or none; shared by the events of one append.
    pub stream: Option<Arc<str>>,
    /// The time of the decision.
    pub time: Timestamp,
    /// The reason why it is recorded.
    pub origin: Origin,
    /// [`Metadata`](crate::recording::Metadata) as bytes.
    pub metadata: Bytes,
}

impl Envelope {
    /// Creates the envelope of a command's event, without stream and metadata.
    pub fn new(id: EventId, time: Timestamp) -> Self {
        Self {
            id,
            stream: None,
            time,
            origin: Origin::Command,
            metadata: Bytes::new(),
        }
    }
}

impl Mapper {
    /// Creates a mapper that writes with this codec. It reads what this codec and the built-in ones
    /// wrote. Events of the library are always written as JSON.
    pub const fn new(codec: Codec) -> Self {
        Self {
            codec,
            others: None,
            #[cfg(feature = "protection")]
            protection: None,
        }
    }

    /// Also opens what is compressed or encrypted, with the keys that are in memory. Only code that
    /// reads below the application needs it, such as projections that take part in appends: an
    /// application's recorder opens what it returns.
    #[cfg(feature = "protection")]
    #[must_use]
    pub fn protection(mut self, protection: Protection) -> Self {
        self.protection = Some(protection);
        self
    }

    /// Returns whether this mapper opens what is compressed or encrypted.
    pub(crate) fn is_protected(&self) -> bool {
        #[cfg(feature = "protection")]
        return self.protection.is_some();
        #[cfg(not(feature = "protection"))]
        false
    }

    /// Returns the recorder with its events opened; none if this mapper opens nothing. Reading
    /// fetches the keys that are not in memory.
    pub(crate) fn opening(&self, recorder: &Arc<dyn Recorder>) -> Option<Arc<dyn Recorder>> {
        #[cfg(feature = "protection")]
        if let Some(protection) = &self.protection {
            return Some(protection.recorder(Arc::clone(recorder)));
        }
        let _ = recorder;
        None
    }

    /// Returns the event with its content as a codec wrote it, as far as its keys are in memory.
    pub(crate) fn opened(&self, stored: &StoredEvent) -> StoredEvent {
        #[cfg(feature = "protection")]
        if let Some(protection) = &self.protection
            && let Ok(opened) = protection.opened(stored)
        {
            return opened;
        }
        stored.clone()
    }

    /// Writes with this codec.
    #[must_use]
    pub fn writing(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Also reads what this codec of the program wrote.
    #[must_use]
    pub fn reading(mut self, codec: Codec) -> Self {
        let others = self.others.iter().flat_map(|it| it.iter().copied());
        self.others = Some(others.chain([codec]).collect());
        self
    }

    /// Returns the codec for events of this type.
    fn codec_for(&self, event_type: &EventType) -> Codec {
        match self.codec {
            Codec::Json => Codec::Json,
            // Programs that do not know the codec also read these.
            _ if event_type.topic.starts_with(RESERVED_PREFIX) => Codec::Json,
            other => other,
        }
    }

    /// Returns the codec of this name.
    fn codec_named(&self, name: &str) -> Option<Codec> {
        Codec::from_name(name).or_else(|| {
            let others = self.others.iter().flat_map(|it| it.iter().copied());
            std::iter::once(self.codec)
                .chain(others)
                .find(|it| it.name() == name)
        })
    }

    /// Returns the event in the recorder's form, and the event that is decoded from it. Apply the
    /// latter to the state, because every later reader will decode the same event.
    ///
    /// # Errors
    ///
    /// [`MappingError::Encode`], or [`MappingError::NotReadBack`] if the event cannot be read back
    /// or differs when read back.
    pub fn encode<E: Event>(
        &self,
        event: &E,
        envelope: Envelope,
    ) -> Result<(NewEvent, E), MappingError> {
        let event_type = event.event_type();
        let codec = self.codec_for(event_type);
        let encoded = codec.encode_and_decode(event);
        let encoded = encoded.map_err(|error| refused(event_type, error))?;
        Ok(seal(
            event_type,
            (event.tags(), event.subjects()),
            codec,
            encoded,
            envelope,
        ))
    }

    /// Like [`encode`](Self::encode), in the stream to which the event is addressed; if it is
    /// addressed to none, in the envelope's stream.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_any(
        &self,
        event: &AnyEvent,
        mut envelope: Envelope,
    ) -> Result<(NewEvent, AnyEvent), MappingError> {
        if let Some(stream) = event.stream() {
            envelope.stream = Some(Arc::clone(stream));
        }
        let event_type = event.event_type();
        let codec = self.codec_for(event_type);
        let encoded = event.encode_and_decode(codec);
        let encoded = encoded.map_err(|error| refused(event_type, error))?;
        let labels = (encoded.1.tags(), encoded.1.subjects());
        Ok(seal(event_type, labels, codec, encoded, envelope))
    }

    /// Returns the event as it will be read after it is recorded. When this codec records it, it is
    /// not encoded again.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub(crate) fn read_back(&self, event: &AnyEvent) -> Result<AnyEvent, MappingError> {
        let encoded = event.encode_and_decode(self.codec_for(event.event_type()));
        encoded
            .map(|(_, read_back)| read_back)
            .map_err(|error| refused(event.event_type(), error))
    }

    /// Returns whether a stored event is an `E`, by its topic.
    pub fn is<E: Event>(&self, stored: &StoredEvent) -> bool {
        E::index_of_topic(stored.topic()).is_some()
    }

    /// Reads the stored event as events of type `E`: usually one. An event of an older shape may be
    /// read as several or none, and so may an event whose content was erased.
    ///
    /// # Errors
    ///
    /// [`MappingError`]: the topic is not one of `E`'s, or the payload was erased and the type does
    /// not declare what it is read as, is encoded in a way that this program cannot decode, has a
    /// newer revision, is not the content of an `E`, or cannot be converted to the present shape.
    pub fn read<E: Event>(&self, stored: &StoredEvent) -> Result<Decoded<E>, MappingError> {
        let index = E::index_of_topic(stored.topic()).ok_or_else(|| unknown_topic::<E>(stored))?;
        if stored.is_erased() {
            return read_erased(stored, index);
        }
        let (codec, payload) = self.open(stored)?;
        read_opened(stored, index, codec, payload)
    }

    /// Reads the stored event as one `E`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); [`MappingError::NotOne`] if it is read as none or as several.
    pub fn decode<E: Event>(&self, stored: &StoredEvent) -> Result<E, MappingError> {
        self.read(stored)?
            .single()
            .map_err(|count| MappingError::NotOne {
                place: stored.into(),
                topic: stored.topic().into(),
                type_name: type_name::<E>(),
                count,
            })
    }

    /// Returns the payload as its codec wrote it, and the codec.
    fn open<'e>(&self, stored: &'e StoredEvent) -> Result<(Codec, &'e [u8]), MappingError> {
        let payload = stored.payload().ok_or_else(|| MappingError::Erased {
            place: stored.into(),
            topic: stored.topic().into(),
        })?;
        let unknown = |what| MappingError::UnknownEncoding {
            place: StoredEventPlace::from(stored),
            topic: stored.topic().into(),
            encoding: stored.encoding_text().into(),
            what,
        };
        if let Some(fault) = stored.seal_fault() {
            return Err(MappingError::Sealed {
                place: stored.into(),
                topic: stored.topic().into(),
                fault: fault.clone(),
            });
        }
        let encoding = stored.encoding().map_err(|_| unknown("form"))?;
        if encoding.key_id().is_some() {
            return Err(unknown("key"));
        }
        if encoding.compression().is_some() {
            return Err(unknown("compression"));
        }
        let codec = self.codec_named(encoding.codec());
        let codec = codec.ok_or_else(|| unknown("codec"))?;
        Ok((codec, payload))
    }

    /// Reads an event that was just recorded at this position as events of type `E`, without
    /// reading it from the log.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_new<E: Event>(
        &self,
        new: &NewEvent,
        position: Position,
    ) -> Result<Decoded<E>, MappingError> {
        // Its version is not known until it is read from the log, so errors show it without its
        // stream.
        let mut alone = new.clone();
        alone.stream = None;
        let place = AppendPlace { index: 0, count: 1 };
        let stored = StoredEvent::from_new(&alone, position, None, place, new.time);
        self.read(&stored)
    }
}

/// Joins the encoded content with its envelope.
fn seal<E>(
    event_type: &'static EventType,
    (tags, subjects): (Tags, Vec<SubjectPart>),
    codec: Codec,
    (payload, read_back): (Bytes, E),
    envelope: Envelope,
) -> (NewEvent, E) {
    // Built at once: passing it through the steps of a builder would copy it each time.
    let new = NewEvent {
        id: envelope.id,
        stream: envelope.stream,
        topic: event_type.topic.into(),
        revision: event_type.revision,
        tags,
        time: envelope.time,
        origin: envelope.origin,
        metadata: envelope.metadata,
        encoding: codec.encoding(),
        payload: Some(payload),
        subjects,
    };
    (new, read_back)
}

fn refused(event_type: &EventType, error: RoundTripError) -> MappingError {
    let topic = event_type.topic;
    match error {
        RoundTripError::Encode(source) => MappingError::Encode { topic, source },
        RoundTripError::ReadBack(source) => MappingError::NotReadBack {
            topic,
            type_name: event_type.owner_name(),
            source,
        },
    }
}

fn unknown_topic<E: Event>(stored: &StoredEvent) -> MappingError {
    MappingError::UnknownTopic {
        place: stored.into(),
        topic: stored.topic().into(),
        type_name: type_name::<E>(),
        known: E::topics().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use uuid::Uuid;

    use super::*;
    use crate::domain::Aggregate;
    use crate::domain::Apply;
    use crate::domain::Decision;
    use crate::domain::Id;
    use crate::domain::content;
    use crate::mapping::any_event::Addressed;
    use crate::mapping::topic_registry::TopicRegistry;
    use crate::recording::Version;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum DogEvent {
        Registered { name: String },
        Walked,
    }

    impl Event for DogEvent {
        const TYPES: &'static [EventType] = &[
            EventType::of::<Self>("DogEvent.Registered")
                .formerly(&["DogEvent.Born"])
                .revision(2),
            EventType::of::<Self>("DogEvent.Walked"),
        ];

        fn type_index(&self) -> usize {
            match self {
                Self::Registered { .. } => 0,
                Self::Walked => 1,
            }
        }

        fn tags(&self) -> Tags {
            match self {
                Self::Registered { name } => Tags::from([format!("name:{name}").into()]),
                Self::Walked => Tags::new(),
            }
        }

        fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            content::serialize_variant(self, serializer)
        }

        fn deserialize_payload<'de, D: Deserializer<'de>>(
            type_index: usize,
            deserializer: D,
        ) -> Result<Self, D::Error> {
            content::deserialize_variant(type_index, deserializer)
        }
    }

    #[derive(Clone, Default)]
    struct Dog;

    impl Apply<DogEvent> for Dog {
        fn apply(&mut self, _: &DogEvent) {}
    }

    impl Aggregate for Dog {
        type Event = DogEvent;
        type Key = String;
        const TYPE: &'static str = "Dog";
    }

    fn envelope() -> Envelope {
        Envelope {
            stream: Some("Dog/fido".into()),
            metadata: Bytes::from_static(b"{\"user\":\"ann\"}"),
            origin: Origin::Library,
            ..Envelope::new(EventId::new(Uuid::from_u128(7)), Timestamp::from_micros(9))
        }
    }

    fn registered() -> DogEvent {
        DogEvent::Registered {
            name: "Fido".into(),
        }
    }

    fn store(new: &NewEvent) -> StoredEvent {
        let place = AppendPlace { index: 0, count: 1 };
        let version = new.stream.as_ref().and(Version::new(3));
        let position = Position::new(17).unwrap();
        StoredEvent::from_new(new, position, version, place, Timestamp::default())
    }

    #[track_caller]
    fn fails(new: &NewEvent, parts: &[&str]) -> MappingError {
        let error = Mapper::default()
            .decode::<DogEvent>(&store(new))
            .unwrap_err();
        let message = error.to_string();
        for part in ["position 17"].iter().chain(parts) {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
        error
    }

    #[test]
    fn an_event_is_mapped_for_the_recorder_and_back() {
        let mapper = Mapper::default();
        let (new, read_back) = mapper.encode(&registered(), envelope()).unwrap();
        assert_eq!(read_back, registered());
        let expected = NewEvent::new(
            EventId::new(Uuid::from_u128(7)),
            "DogEvent.Registered",
            r#"{"name":"Fido"}"#,
        )
        .stream("Dog/fido")
        .revision(2)
        .tag("name:Fido")
        .time(Timestamp::from_micros(9))
        .origin(Origin::Library)
        .metadata(&b"{\"user\":\"ann\"}"[..]);
        assert_eq!(new, expected);
        assert_eq!(
            mapper.decode::<DogEvent>(&store(&new)).unwrap(),
            registered()
        );
        let (walked, _) = mapper.encode(&DogEvent::Walked, envelope()).unwrap();
        assert_eq!(walked.payload.as_deref(), Some(&b"{}"[..]));
        assert_eq!(
            mapper.decode::<DogEvent>(&store(&walked)).unwrap(),
            DogEvent::Walked
        );
    }

    #[test]
    fn former_topics_and_older_revisions_are_read() {
        let former = NewEvent::new(
            EventId::new(Uuid::nil()),
            "DogEvent.Born",
            r#"{"name":"Fido"}"#,
        );
        let stored = store(&former);
        assert!(Mapper::default().is::<DogEvent>(&stored));
        assert_eq!(
            Mapper::default().decode::<DogEvent>(&stored).unwrap(),
            registered()
        );
    }

    #[test]
    fn a_read_error_says_which_event_and_why() {
        let (good, _) = Mapper::default().encode(&registered(), envelope()).unwrap();
        let with = |change: fn(&mut NewEvent)| {
            let mut new = good.clone();
            change(&mut new);
            new
        };
        fails(
            &with(|it| it.topic = "CatEvent.Born".into()),
            &[
                "version 3 of \"Dog/fido\"",
                "CatEvent.Born",
                "\"DogEvent.Registered\", \"DogEvent.Born\", \"DogEvent.Walked\"",
                "formerly(\"CatEvent.Born\")",
            ],
        );
        fails(&good.clone().erased(), &["erased"]);
        fails(&with(|it| it.revision = 3), &["revision 3", "up to 2"]);
        fails(
            &with(|it| it.payload = Some("{\"nam\":1}".into())),
            &["DogEvent.Registered", "missing field `name`"],
        );
        fails(
            &with(|it| it.payload = Some(r#"{"name":"Fido"} x"#.into())),
            &["trailing characters"],
        );
        for (encoding, what) in [
            ("cbor", "codec"),
            ("json+zstd", "compression"),
            ("json@k1", "key"),
            ("json+", "form"),
        ] {
            let stored = with_encoding(&store(&good), encoding);
            let error = Mapper::default().decode::<DogEvent>(&stored).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains(&format!("does not know the {what}"))
            );
        }
    }

    fn with_encoding(stored: &StoredEvent, encoding: &str) -> StoredEvent {
        use crate::recording::StoredEventParts;

        StoredEvent::from_parts(&StoredEventParts {
            position: stored.position(),
            id: stored.id(),
            stream: stored.stream().zip(stored.version()),
            place: stored.place(),
            topic: stored.topic(),
            revision: stored.revision(),
            tags: stored.packed_tags(),
            time: stored.time(),
            recorded_at: stored.recorded_at(),
            origin: stored.origin_text(),
            metadata: stored.metadata_bytes(),
            encoding,
            payload: stored.payload(),
        })
        .unwrap()
    }

    /// The bytes read may not be the bytes written: any bytes decode to an event or an error.
    #[test]
    fn no_payload_makes_reading_panic() {
        let seed = std::env::var("RETOLD_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| fastrand::u64(..));
        println!("RETOLD_SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (good, _) = Mapper::default().encode(&registered(), envelope()).unwrap();
        for _ in 0..10_000 {
            let mut new = good.clone();
            let mut payload = good.payload.clone().unwrap().to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..payload.len());
                payload[at] = *random
                    .choice(br#"{}[]",:\unae0-9."#)
                    .unwrap_or(&random.u8(..));
            }
            payload.truncate(random.usize(..=payload.len()));
            new.payload = Some(payload.into());
            new.topic = TOPICS[random.usize(..TOPICS.len())].into();
            if let Err(error) = Mapper::default().decode::<DogEvent>(&store(&new)) {
                assert!(error.to_string().contains("position 17"));
            }
        }
    }

    const TOPICS: [&str; 4] = [
        "DogEvent.Registered",
        "DogEvent.Walked",
        "DogEvent.Born",
        "?",
    ];

    fn decide<D: Decision<AnyEvent>>(
        decision: impl Fn(&u32) -> D,
    ) -> Result<Vec<AnyEvent>, D::Refusal> {
        let mut events = Vec::new();
        decision(&1).decided(&mut events).map(|()| events)
    }

    #[test]
    fn closures_over_several_types_infer() {
        let fido = Id::<Dog>::new("fido".into());
        let streams = |events: Vec<AnyEvent>| {
            events
                .iter()
                .map(|it| it.stream().map(ToString::to_string))
                .collect::<Vec<_>>()
        };
        let Ok(events) = decide(|_| DogEvent::Walked);
        assert_eq!(streams(events), [None]);
        let Ok(events) = decide(|_| DogEvent::Walked.to(&fido));
        assert_eq!(streams(events), [Some("Dog/fido".into())]);
        let Ok(events) = decide(|_| (DogEvent::Walked.to(&fido), Some(DogEvent::Walked)));
        assert_eq!(streams(events), [Some("Dog/fido".into()), None]);
        let Ok(events) = decide(|_| [DogEvent::Walked.to(&fido), DogEvent::Walked.into()]);
        assert_eq!(events.len(), 2);
        let refused = decide(|state| {
            if *state == 1 {
                return Err("no walk today");
            }
            Ok(vec![DogEvent::Walked.to(&fido)])
        });
        assert_eq!(refused.unwrap_err(), "no walk today");
        let Ok(events) = decide(|_| ());
        assert!(events.is_empty());
    }

    #[test]
    fn an_addressed_event_is_recorded_in_its_stream() {
        let event = registered().to(&Id::<Dog>::new("rex".into()));
        let (new, read_back) = Mapper::default().encode_any(&event, envelope()).unwrap();
        let (mut expected, _) = Mapper::default().encode(&registered(), envelope()).unwrap();
        expected.stream = Some("Dog/rex".into());
        assert_eq!(new, expected);
        for event in [&event, &read_back] {
            assert_eq!(event.downcast_ref::<DogEvent>(), Some(&registered()));
            assert_eq!(event.stream().map(|it| &**it), Some("Dog/rex"));
        }

        let registry = TopicRegistry::new();
        event.register(&registry).unwrap();
        assert_eq!(registry.topics().len(), 3);
    }
}
