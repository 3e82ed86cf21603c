//! Seals and opens single events and snapshots.
//!
//! Writing: split off the data of subjects and encrypt it with their keys, or compress; then
//! encrypt with the key of the program. Reading: the reverse. The encoding that is stored names
//! every step: `codec[.parts][+zstd][@key]`.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::compression::{Compression, ZSTD};
use super::envelope::{Belonging, ENVELOPE_OVERHEAD, open, seal};
use super::key::{KEY_ID_SIZE_MAX, KeyError, SecretKey};
use super::key_ring::KeyRing;
use super::parts::{FieldCodec, PARTS_SUFFIX, PartKind, SealedPart, read_parts, write_parts};
use super::subject_keys::{KeyFound, SubjectKey};
use crate::domain::SubjectPart;
use crate::recording::limits::RESERVED_PREFIX;
use crate::recording::{
    Encoding, EventId, RecordError, SEALED, SealFault, StoredEvent, StoredSnapshot,
};

mod splitting;

use splitting::{PlainPart, split};

/// By how much an event becomes larger at most, if it is encrypted, in bytes: an envelope each for
/// payload and metadata, the id of a key, and parts of two subjects. An event with more subjects
/// may exceed a limit of its store, which then refuses it.
pub(super) const SEALING_OVERHEAD_MAX: usize =
    4 * ENVELOPE_OVERHEAD + 2 + KEY_ID_SIZE_MAX + 2 * (2 + 2 * 16 + 4);

/// The topic of a timer's event, which has the content of a user's event.
const SCHEDULED_TOPIC: &str = "retold.scheduled";

const PREFIX_OF_SNAPSHOT_KEYS: &str = "snapshot.";

/// Whether a part was compressed before it was encrypted.
const PLAIN: u8 = 0;
const COMPRESSED: u8 = 1;

/// How content is protected.
#[derive(Clone, Debug, Default)]
pub(super) struct Sealing {
    pub(super) compression: Option<Compression>,
    pub(super) keys: Option<KeyRing>,
}

/// The event that content belongs to.
#[derive(Clone, Copy)]
pub(super) struct SealedPlace<'a> {
    pub(super) id: EventId,
    pub(super) topic: &'a str,
    pub(super) stream: Option<&'a str>,
    pub(super) revision: u32,
}

/// A part of an event and the keys of its subjects.
pub(super) struct PartKeys {
    pub(super) part: SubjectPart,
    pub(super) key: SubjectKey,
}

/// Content after the key of the program and the compression were removed.
pub(super) struct Unwrapped {
    pub(super) codec: String,
    pub(super) content: UnwrappedContent,
}

pub(super) enum UnwrappedContent {
    Whole(Vec<u8>),
    /// The rest, and the parts of subjects.
    Parts(Vec<u8>, Vec<SealedPart>),
}

/// Content as its codec wrote it.
pub(super) enum Joined {
    All(Vec<u8>),
    /// Without the fields of subjects that were forgotten.
    WithoutForgotten(Vec<u8>),
    /// Its subject was forgotten.
    Forgotten,
}

impl<'a> SealedPlace<'a> {
    pub(super) fn of(stored: &'a StoredEvent) -> Self {
        Self {
            id: stored.id(),
            topic: stored.topic(),
            stream: stored.stream(),
            revision: stored.revision(),
        }
    }

    /// Whether the content of such events is protected: that of the library's events is not,
    /// because programs without keys read them, except those of timers.
    pub(super) fn is_protected(&self) -> bool {
        !self.topic.starts_with(RESERVED_PREFIX) || self.topic == SCHEDULED_TOPIC
    }

    fn belonging(&self, purpose: &str, encoding: &str) -> Belonging {
        Belonging::new(purpose)
            .with(self.id.uuid().as_bytes())
            .with(self.topic.as_bytes())
            .with_option(self.stream.map(str::as_bytes))
            .with(&self.revision.to_le_bytes())
            .with(encoding.as_bytes())
    }

    /// What metadata belongs to: not the topic and the revision, which an amendment may replace.
    fn belonging_of_metadata(&self, key: &str) -> Belonging {
        Belonging::new("retold metadata")
            .with(self.id.uuid().as_bytes())
            .with_option(self.stream.map(str::as_bytes))
            .with(key.as_bytes())
    }
}

impl Sealing {
    /// Returns the content as it is stored, and its encoding; none if it is stored as it is.
    pub(super) fn payload(
        &self,
        place: SealedPlace<'_>,
        encoding: &Encoding,
        payload: &[u8],
        parts: &[PartKeys],
    ) -> Result<Option<(Encoding, Bytes)>, RecordError> {
        let is_plain = encoding.compression().is_none() && encoding.key_id().is_none();
        if !place.is_protected() || !is_plain {
            return Ok(None);
        }
        let codec = encoding.codec();
        let mut text = codec.to_owned();
        let mut content = None;
        if parts.is_empty() {
            let compressed = self.compressed(Some(place.topic), payload);
            if compressed.is_some() {
                text.push_str("+zstd");
            }
            content = compressed;
        } else {
            text.push_str(PARTS_SUFFIX);
            content.replace(self.with_parts(place, codec, payload, parts)?);
        }
        if let Some(keys) = &self.keys {
            let key = keys.writing();
            text.push('@');
            text.push_str(key.id());
            let belonging = place.belonging("retold payload", &text);
            let plain = content.as_deref().unwrap_or(payload);
            content = Some(seal(key, &belonging, plain).map_err(sealing_failed)?);
        }
        let Some(content) = content else {
            return Ok(None);
        };
        Ok(Some((Encoding::parse(text)?, content.into())))
    }

    fn compressed(&self, topic: Option<&str>, content: &[u8]) -> Option<Vec<u8>> {
        self.compression.as_ref()?.compress(topic, content)
    }

    /// Returns the payload with the data of subjects in encrypted parts.
    fn with_parts(
        &self,
        place: SealedPlace<'_>,
        codec: &str,
        payload: &[u8],
        parts: &[PartKeys],
    ) -> Result<Vec<u8>, RecordError> {
        let (kinds, rest) = split(codec, place.topic, payload, parts)?;
        let mut sealed_parts = Vec::with_capacity(kinds.len());
        for PlainPart { kind, keys, plain } in kinds {
            let mut sealed = match self.compressed(Some(place.topic), &plain) {
                Some(compressed) => [&[COMPRESSED][..], &compressed].concat(),
                None => [&[PLAIN][..], &plain].concat(),
            };
            let mut ids = Vec::with_capacity(keys.len());
            for (index, key) in keys.iter().enumerate() {
                let belonging = part_belonging(place, codec, kind, index, key.id);
                sealed = seal(&key.key, &belonging, &sealed).map_err(sealing_failed)?;
                ids.push(key.id);
            }
            sealed_parts.push(SealedPart {
                kind,
                keys: ids,
                sealed,
            });
        }
        Ok(write_parts(&rest, &sealed_parts))
    }

    /// Returns metadata as it is stored; none if it is stored as it is.
    pub(super) fn metadata(
        &self,
        place: SealedPlace<'_>,
        metadata: &[u8],
    ) -> Result<Option<Bytes>, RecordError> {
        let Some(keys) = &self.keys else {
            return Ok(None);
        };
        if metadata.is_empty() || metadata.first() == Some(&SEALED) {
            return Ok(None);
        }
        let key = keys.writing();
        let belonging = place.belonging_of_metadata(key.id());
        let sealed = seal(key, &belonging, metadata).map_err(sealing_failed)?;
        let size = u8::try_from(key.id().len()).expect("the id of a key is short");
        let stored = [&[SEALED, size], key.id().as_bytes(), &sealed].concat();
        Ok(Some(stored.into()))
    }

    /// Returns the payload of an event without encryption by the key of the program and without
    /// compression. `size_max` bounds it.
    pub(super) fn unwrap(
        &self,
        stored: &StoredEvent,
        payload: &[u8],
        size_max: usize,
    ) -> Result<Unwrapped, SealFault> {
        let damaged = |reason: &str| SealFault::Damaged {
            reason: reason.into(),
        };
        let text = stored.encoding_text();
        let encoding = stored.encoding();
        let encoding = encoding.map_err(|_| damaged("its encoding has no valid form"))?;
        let mut content = payload.to_vec();
        if let Some(id) = encoding.key_id() {
            let key = self.key(id)?;
            let belonging = SealedPlace::of(stored).belonging("retold payload", text);
            content = open(&key, &belonging, &content).ok_or_else(|| not_authentic(id))?;
        }
        content = match encoding.compression() {
            None => content,
            Some(ZSTD) => self.decompressed(&content, size_max)?,
            Some(other) => {
                let reason = format!("this program does not know the compression {other:?}");
                return Err(SealFault::NotDecompressed {
                    reason: reason.into(),
                });
            }
        };
        let codec = encoding.codec();
        Ok(match codec.strip_suffix(PARTS_SUFFIX) {
            None => Unwrapped {
                codec: codec.into(),
                content: UnwrappedContent::Whole(content),
            },
            Some(codec) => {
                let parts = read_parts(&content);
                let (rest, parts) = parts.ok_or_else(|| damaged("its parts cannot be read"))?;
                Unwrapped {
                    codec: codec.into(),
                    content: UnwrappedContent::Parts(rest.to_vec(), parts),
                }
            }
        })
    }

    fn key(&self, id: &str) -> Result<SecretKey, SealFault> {
        let known = self.keys.as_ref().and_then(|keys| keys.known(id));
        known.ok_or_else(|| SealFault::KeyMissing { key: id.into() })
    }

    fn decompressed(&self, content: &[u8], size_max: usize) -> Result<Vec<u8>, SealFault> {
        let content = Compression::decompress(self.compression.as_ref(), content, size_max);
        content.map_err(|reason| SealFault::NotDecompressed {
            reason: reason.into(),
        })
    }

    /// Joins the parts of an event. `found` returns what is known of a key of a subject.
    pub(super) fn join(
        &self,
        place: SealedPlace<'_>,
        unwrapped: Unwrapped,
        size_max: usize,
        found: impl Fn(&Uuid) -> Option<KeyFound>,
    ) -> Result<Joined, SealFault> {
        let codec = &unwrapped.codec;
        let (rest, parts) = match unwrapped.content {
            UnwrappedContent::Whole(content) => return Ok(Joined::All(content)),
            UnwrappedContent::Parts(rest, parts) => (rest, parts),
        };
        let mut opened = vec![rest];
        let mut has_forgotten = false;
        for part in &parts {
            match self.part(place, codec, part, size_max, &found)? {
                None if part.kind == PartKind::Whole => return Ok(Joined::Forgotten),
                None => has_forgotten = true,
                Some(content) if part.kind == PartKind::Whole => {
                    return Ok(Joined::All(content));
                }
                Some(fields) => opened.push(fields),
            }
        }
        let damaged = |reason: &str| SealFault::Damaged {
            reason: reason.into(),
        };
        let fields = FieldCodec::named(codec).map_err(|error| damaged(error.reason()))?;
        let opened: Vec<&[u8]> = opened.iter().map(Vec::as_slice).collect();
        let joined = fields.join(&opened);
        let joined = joined.ok_or_else(|| damaged("a part of it has no fields"))?;
        Ok(match has_forgotten {
            false => Joined::All(joined),
            true => Joined::WithoutForgotten(joined),
        })
    }

    /// Returns the keys of the parts of an event, for another content of the same form.
    ///
    /// # Errors
    ///
    /// A fault if a part does not open, also because its subject was forgotten.
    pub(super) fn keys_of_parts(
        &self,
        place: SealedPlace<'_>,
        unwrapped: &Unwrapped,
        size_max: usize,
        found: impl Fn(&Uuid) -> Option<KeyFound>,
    ) -> Result<Vec<PartKeys>, SealFault> {
        let UnwrappedContent::Parts(_, parts) = &unwrapped.content else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        for part in parts {
            let opened = self.part(place, &unwrapped.codec, part, size_max, &found)?;
            let opened = opened.ok_or_else(|| SealFault::KeyMissing {
                key: "of a forgotten subject".into(),
            })?;
            let names = match part.kind {
                PartKind::Whole => Vec::new(),
                PartKind::Fields => FieldCodec::named(&unwrapped.codec)
                    .ok()
                    .and_then(|codec| codec.names(&opened))
                    .unwrap_or_default(),
            };
            for id in &part.keys {
                let Some(KeyFound::Key(key)) = found(id) else {
                    return Err(SealFault::SubjectKeysMissing);
                };
                let of = |part| PartKeys {
                    part,
                    key: SubjectKey {
                        id: *id,
                        key: key.clone(),
                    },
                };
                match part.kind {
                    PartKind::Whole => all.push(of(SubjectPart::whole(""))),
                    PartKind::Fields => all.extend(
                        names
                            .iter()
                            .map(|name| of(SubjectPart::field("", name.clone()).may_be_absent())),
                    ),
                }
            }
        }
        Ok(all)
    }

    /// Returns a part decrypted; none if one of its subjects was forgotten.
    fn part(
        &self,
        place: SealedPlace<'_>,
        codec: &str,
        part: &SealedPart,
        size_max: usize,
        found: &impl Fn(&Uuid) -> Option<KeyFound>,
    ) -> Result<Option<Vec<u8>>, SealFault> {
        let mut content = part.sealed.clone();
        for (index, id) in part.keys.iter().enumerate().rev() {
            let key = match found(id) {
                Some(KeyFound::Key(key)) => key,
                Some(KeyFound::Destroyed) => return Ok(None),
                Some(KeyFound::Locked(key)) => return Err(SealFault::KeyMissing { key }),
                Some(KeyFound::Missing) => {
                    let key = format!("{id} of a subject").into();
                    return Err(SealFault::KeyMissing { key });
                }
                None => return Err(SealFault::SubjectKeysMissing),
            };
            let belonging = part_belonging(place, codec, part.kind, index, *id);
            let opened = open(&key, &belonging, &content);
            content = opened.ok_or_else(|| not_authentic(&format!("{id} of a subject")))?;
        }
        match content.split_first() {
            Some((&PLAIN, plain)) => Ok(Some(plain.to_vec())),
            Some((&COMPRESSED, compressed)) => self.decompressed(compressed, size_max).map(Some),
            _ => Err(SealFault::Damaged {
                reason: "a part of it has no valid form".into(),
            }),
        }
    }

    /// Returns the metadata of an event decrypted; none if it is not encrypted, or does not open.
    pub(super) fn opened_metadata(&self, stored: &StoredEvent) -> Option<Vec<u8>> {
        let (id, sealed) = metadata_key(stored.metadata_bytes())?;
        let key = self.key(id).ok()?;
        let belonging = SealedPlace::of(stored).belonging_of_metadata(id);
        open(&key, &belonging, sealed)
    }

    /// Returns a snapshot as it is stored. `key` is that of snapshots, if the application has
    /// subjects.
    pub(super) fn snapshot(
        &self,
        log: &str,
        mut snapshot: StoredSnapshot,
        key: Option<SubjectKey>,
    ) -> Result<StoredSnapshot, RecordError> {
        snapshot.forgets = 0;
        if let Some(compressed) = self.compressed(None, &snapshot.payload) {
            snapshot.encoding = Encoding::parse(format!("{}+{ZSTD}", snapshot.encoding))?;
            snapshot.payload = compressed.into();
        }
        let (id, key) = match (key, &self.keys) {
            (Some(key), _) => (format!("{PREFIX_OF_SNAPSHOT_KEYS}{}", key.id), key.key),
            (None, Some(keys)) => (keys.writing().id().to_owned(), keys.writing().clone()),
            (None, None) => return Ok(snapshot),
        };
        snapshot.encoding = Encoding::parse(format!("{}@{id}", snapshot.encoding))?;
        let belonging = belonging_of_snapshot(log, &snapshot);
        let sealed = seal(&key, &belonging, &snapshot.payload).map_err(sealing_failed)?;
        snapshot.payload = sealed.into();
        Ok(snapshot)
    }

    /// Returns a snapshot as it was taken, or why it is of no use. `snapshot_key` is the key of
    /// snapshots that its encoding names, if the application has it.
    pub(super) fn opened_snapshot(
        &self,
        log: &str,
        mut snapshot: StoredSnapshot,
        snapshot_key: Option<&SecretKey>,
        size_max: usize,
    ) -> Result<StoredSnapshot, SealFault> {
        let encoding = snapshot.encoding.clone();
        if let Some(id) = encoding.key_id() {
            let key = match (snapshot_key, snapshot_key_id(id)) {
                (Some(key), _) => key.clone(),
                (None, None) => self.key(id)?,
                (None, Some(_)) => return Err(SealFault::KeyMissing { key: id.into() }),
            };
            let belonging = belonging_of_snapshot(log, &snapshot);
            let opened = open(&key, &belonging, &snapshot.payload);
            snapshot.payload = opened.ok_or_else(|| not_authentic(id))?.into();
        }
        if encoding.compression() == Some(ZSTD) {
            snapshot.payload = self.decompressed(&snapshot.payload, size_max)?.into();
        }
        let codec = encoding.codec().to_owned();
        snapshot.encoding = Encoding::parse(codec).map_err(|error| SealFault::Damaged {
            reason: error.reason().into(),
        })?;
        Ok(snapshot)
    }
}

/// Returns the id of the key of snapshots that an encoding names.
pub(super) fn snapshot_key_id(key: &str) -> Option<Uuid> {
    key.strip_prefix(PREFIX_OF_SNAPSHOT_KEYS)?.parse().ok()
}

/// Returns the id of the key of encrypted metadata, and its envelope.
pub(super) fn metadata_key(metadata: &[u8]) -> Option<(&str, &[u8])> {
    let (&SEALED, rest) = metadata.split_first()? else {
        return None;
    };
    let (&size, rest) = rest.split_first()?;
    let (id, sealed) = rest.split_at_checked(usize::from(size))?;
    Some((std::str::from_utf8(id).ok()?, sealed))
}

fn part_belonging(
    place: SealedPlace<'_>,
    codec: &str,
    kind: PartKind,
    index: usize,
    key: Uuid,
) -> Belonging {
    place
        .belonging("retold part of a subject", codec)
        .with(&[kind.code()])
        .with(&(index as u64).to_le_bytes())
        .with(key.as_bytes())
}

fn belonging_of_snapshot(log: &str, snapshot: &StoredSnapshot) -> Belonging {
    Belonging::new("retold snapshot")
        .with(log.as_bytes())
        .with(snapshot.stream.as_bytes())
        .with(&snapshot.version.get().to_le_bytes())
        .with(snapshot.state_type.as_bytes())
        .with(&snapshot.revision.to_le_bytes())
        .with(snapshot.encoding.as_str().as_bytes())
}

fn not_authentic(key: &str) -> SealFault {
    SealFault::NotAuthentic {
        key: Arc::from(key),
    }
}

fn sealing_failed(error: KeyError) -> RecordError {
    RecordError::unavailable("encrypting an event", error)
}
