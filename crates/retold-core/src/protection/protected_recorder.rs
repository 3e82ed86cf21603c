//! The layer that protects a store: seals what is recorded, and opens what is read.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::compression::Compression;
use super::key_ring::KeyRing;
use super::plain_events::PlainEvents;
use super::sealing::{
    Joined, SEALING_OVERHEAD_MAX, SealedPlace, Sealing, Unwrapped, UnwrappedContent, metadata_key,
    snapshot_key_id,
};
use super::subject_keys::{KeyFound, SubjectKeys};
use crate::domain::Timestamp;
use crate::recording::limits::{Limits, PAGE_SIZE_MAX};
use crate::recording::{
    Append, Appended, BoxFuture, Corrupt, Direction, EventId, LogId, LogRead, Page, PageEnd,
    Position, RecordError, Recorder, RecorderLayer, SealFault, Store, StoreLayer, StoredEvent,
    StoredSnapshot, StreamRead, Version,
};

mod appending;

/// How a program protects what its stores keep: compression, encryption, and keys of subjects.
///
/// Give it to an application with `ApplicationBuilder::protection`, to all applications of a system
/// with `Infrastructure::protection`, or to a [store](Self::store). What is stored says how it is
/// read, so a log may have events of several keys and of several compressions. With
/// [keys](Self::keys), events of the program that are not encrypted are refused, unless
/// [`reading_plain_until`](Self::reading_plain_until) or [`reading_plain`](Self::reading_plain)
/// admits them. Stream names, tags, topics, times and ids are never encrypted.
///
/// ```
/// use retold::prelude::*;
/// use retold::protection::{Compression, KeyRing, Protection, SecretKey};
/// use retold::recording::LogRead;
///
/// # #[derive(Event, Serialize, Deserialize)]
/// # enum DogEvent { Registered { name: String } }
/// # #[derive(Aggregate, Clone, Default)]
/// # #[aggregate(event = DogEvent)]
/// # struct Dog { name: String }
/// # impl Apply<DogEvent> for Dog {
/// #     fn apply(&mut self, event: &DogEvent) {
/// #         let DogEvent::Registered { name } = event;
/// #         self.name = name.clone();
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = KeyRing::new(SecretKey::generate("2026-11")?);
/// let protection = Protection::new().compression(Compression::zstd()).keys(keys);
/// let store = retold::open_store("memory:protected").await?;
/// let builder = Application::builder("school").store(store.clone());
/// let school = builder.protection(protection).open().await?;
/// let fido = school.create::<Dog>(DogEvent::Registered { name: "Fido".into() }).await?;
/// assert_eq!(school.get(fido).await?.state.name, "Fido");
///
/// // The store has no more than this.
/// let log = store.open_read_only("school").await?;
/// let stored = log.read_log(LogRead::new()).await?.events.remove(0);
/// assert_eq!(stored.encoding_text(), "json@2026-11");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Protection {
    sealing: Arc<Sealing>,
    subjects: Option<Arc<SubjectKeys>>,
    plain: PlainEvents,
}

impl Protection {
    /// Protects nothing, and reads what was compressed without a dictionary.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses payloads and snapshots.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        Arc::make_mut(&mut self.sealing).compression = Some(compression);
        self
    }

    /// Encrypts payloads, metadata and snapshots.
    ///
    /// From then on, an event that is not encrypted cannot be decoded, because a program without
    /// the keys may have recorded it. The events of the library are plain, except the planned
    /// events of timers.
    #[must_use]
    pub fn keys(mut self, keys: KeyRing) -> Self {
        Arc::make_mut(&mut self.sealing).keys = Some(keys);
        self
    }

    /// Also reads the events of a log that are not encrypted up to this position: the end of the
    /// log when its encryption began.
    #[must_use]
    pub fn reading_plain_until(mut self, log: impl Into<Arc<str>>, position: Position) -> Self {
        self.plain.read_until(log.into(), position);
        self
    }

    /// Also reads all events that are not encrypted, in every log: while other programs still
    /// record without keys, and for tools. Anyone who can write to the store can then add events.
    #[must_use]
    pub fn reading_plain(mut self) -> Self {
        self.plain.read_all();
        self
    }

    /// Encrypts data of subjects with keys of their own, so that it can be forgotten. Applications
    /// that share subjects share the [`SubjectKeys`].
    #[must_use]
    pub fn subject_keys(mut self, subjects: Arc<SubjectKeys>) -> Self {
        self.subjects = Some(subjects);
        self
    }

    /// Returns the keys of subjects, if they were set.
    pub fn subjects(&self) -> Option<&Arc<SubjectKeys>> {
        self.subjects.as_ref()
    }

    /// Counts the subjects that this process has seen forgotten.
    pub(crate) fn forgets(&self) -> Arc<AtomicU64> {
        let forgets = self.subjects.as_ref().map(|it| Arc::clone(it.forgets()));
        forgets.unwrap_or_default()
    }

    /// Returns a store that protects what is recorded in this one.
    ///
    /// An application whose events have data of subjects also needs
    /// `ApplicationBuilder::protection` (instead of this): only then do its cached states not
    /// outlive a subject that is forgotten.
    pub fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(ProtectedStore {
            inner: store,
            protection: self.clone(),
        })
    }

    /// Returns a recorder that protects what is recorded in this one.
    pub fn recorder(&self, recorder: Arc<dyn Recorder>) -> Arc<dyn Recorder> {
        Arc::new(ProtectedRecorder {
            inner: recorder,
            protection: self.clone(),
        })
    }

    /// Opens an event with keys that are in memory. For code that reads below the recorder, such as
    /// projections that take part in appends. An event that is not encrypted is returned as it is.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the opened event is larger than any can be.
    pub fn opened(&self, stored: &StoredEvent) -> Result<StoredEvent, Corrupt> {
        if !is_sealed(stored) {
            return Ok(stored.clone());
        }
        let unwrapped = self.unwrap(stored, Limits::DEFAULT.payload_size);
        let known = |id: &Uuid| self.subjects.as_ref()?.known(id);
        self.rebuilt(stored, unwrapped, Limits::DEFAULT.payload_size, known)
    }

    /// Removes what needs no key of a subject; none if the event has no payload.
    fn unwrap(
        &self,
        stored: &StoredEvent,
        size_max: usize,
    ) -> Option<Result<Unwrapped, SealFault>> {
        let payload = stored.payload()?;
        Some(self.sealing.unwrap(stored, payload, size_max))
    }

    /// Returns the event with its content as a codec wrote it. If that is not possible, the event
    /// as it is stored, with the reason.
    fn rebuilt(
        &self,
        stored: &StoredEvent,
        unwrapped: Option<Result<Unwrapped, SealFault>>,
        size_max: usize,
        found: impl Fn(&Uuid) -> Option<KeyFound>,
    ) -> Result<StoredEvent, Corrupt> {
        let opened_metadata = self.sealing.opened_metadata(stored);
        let metadata = opened_metadata
            .as_deref()
            .unwrap_or_else(|| stored.metadata_bytes());
        let joined = match unwrapped {
            None => return stored.with_content(stored.encoding_text(), metadata, None),
            Some(Err(fault)) => Err(fault),
            Some(Ok(unwrapped)) => {
                let codec = unwrapped.codec.clone();
                let place = SealedPlace::of(stored);
                let joined = self.sealing.join(place, unwrapped, size_max, found);
                joined.map(|joined| (codec, joined))
            }
        };
        match joined {
            Ok((codec, Joined::All(payload))) => {
                stored.with_content(&codec, metadata, Some(&payload))
            }
            Ok((codec, Joined::WithoutForgotten(payload))) => {
                let opened = stored.with_content(&codec, metadata, Some(&payload))?;
                Ok(opened.with_forgotten_fields())
            }
            Ok((codec, Joined::Forgotten)) => stored.with_content(&codec, metadata, None),
            Err(fault) => {
                let text = stored.encoding_text();
                let opened = stored.with_content(text, metadata, stored.payload())?;
                Ok(opened.with_seal_fault(fault))
            }
        }
    }
}

/// Returns whether payload and metadata of an event are encrypted, as far as it has any.
fn is_encrypted(stored: &StoredEvent) -> bool {
    let has_plain_metadata = !stored.metadata_bytes().is_empty() && !stored.has_sealed_metadata();
    stored.encoding_text().contains('@') && !has_plain_metadata
}

/// Returns whether anything of an event is compressed or encrypted. An erased payload is not.
fn is_sealed(stored: &StoredEvent) -> bool {
    let is_plain = |text: &str| text.bytes().all(|byte| !matches!(byte, b'@' | b'+' | b'.'));
    stored.has_sealed_metadata() || (!stored.is_erased() && !is_plain(stored.encoding_text()))
}

/// A recorder that seals and opens.
struct ProtectedRecorder {
    inner: Arc<dyn Recorder>,
    protection: Protection,
}

/// What is done once for all events of one read.
#[derive(Default)]
struct OneRead {
    /// Whether it is known which subjects others forgot: a key that another process destroyed is
    /// not used anymore.
    is_refreshed: bool,
    /// The keys of the program that the key ring was asked for.
    asked: BTreeSet<String>,
}

/// Fetches a key of the program that is not in memory.
async fn fetched(keys: &KeyRing, id: &str) -> Result<(), RecordError> {
    let key = keys.key(id).await;
    key.map_err(|error| RecordError::unavailable(format!("fetching the key {id:?}"), error))?;
    Ok(())
}

impl ProtectedRecorder {
    async fn found<'a>(
        &self,
        subjects: &SubjectKeys,
        ids: impl Iterator<Item = &'a Uuid>,
    ) -> Result<HashMap<Uuid, KeyFound>, RecordError> {
        let mut found = HashMap::new();
        for id in ids {
            if !found.contains_key(id) {
                found.insert(*id, subjects.by_id(*id).await?);
            }
        }
        Ok(found)
    }

    /// Fetches the keys of the program that an event needs and that are not in memory.
    async fn fetch_keys(
        &self,
        stored: &StoredEvent,
        reading: &mut OneRead,
    ) -> Result<(), RecordError> {
        let Some(keys) = &self.protection.sealing.keys else {
            return Ok(());
        };
        let of_payload = stored.encoding_text().split_once('@').map(|(_, id)| id);
        let of_metadata = metadata_key(stored.metadata_bytes()).map(|(id, _)| id);
        for id in of_payload.into_iter().chain(of_metadata) {
            if reading.asked.contains(id) {
                continue;
            }
            fetched(keys, id).await?;
            reading.asked.insert(id.to_owned());
        }
        Ok(())
    }

    /// Opens the next event of a read.
    async fn open(
        &self,
        stored: &mut StoredEvent,
        reading: &mut OneRead,
    ) -> Result<(), RecordError> {
        if self.refuses(stored) {
            *stored = stored.clone().with_seal_fault(SealFault::NotEncrypted);
            return Ok(());
        }
        if !is_sealed(stored) {
            return Ok(());
        }
        let size_max = self.inner.limits().payload_size;
        self.fetch_keys(stored, reading).await?;
        let unwrapped = self.protection.unwrap(stored, size_max);
        let mut found = HashMap::new();
        if let (Some(Ok(unwrapped)), Some(subjects)) = (&unwrapped, &self.protection.subjects)
            && let UnwrappedContent::Parts(_, parts) = &unwrapped.content
        {
            if !reading.is_refreshed {
                subjects.refresh().await?;
                reading.is_refreshed = true;
            }
            let ids = parts.iter().flat_map(|part| &part.keys);
            found = self.found(subjects, ids).await?;
        }
        let found = |id: &Uuid| found.get(id).cloned();
        *stored = self
            .protection
            .rebuilt(stored, unwrapped, size_max, found)?;
        Ok(())
    }

    /// Returns whether an event should be encrypted and is not.
    fn refuses(&self, stored: &StoredEvent) -> bool {
        let protection = &self.protection;
        protection.sealing.keys.is_some()
            && !stored.is_erased()
            && SealedPlace::of(stored).is_protected()
            && !is_encrypted(stored)
            && !protection
                .plain
                .is_read(self.inner.log_name(), stored.position())
    }

    /// Opens the events of a page. It ends earlier than in the store if its opened events are too
    /// large together.
    async fn opened(&self, mut page: Page, direction: Direction) -> Result<Page, RecordError> {
        let count = page.events.len();
        let mut reading = OneRead::default();
        let mut size = 0;
        for index in 0..count {
            self.open(&mut page.events[index], &mut reading).await?;
            size += page.events[index].size();
            if size > PAGE_SIZE_MAX && index + 1 < count {
                page.events.truncate(index + 1);
                page.end = PageEnd::Full;
                if direction == Direction::Forward {
                    page.read_to = page.events.last().map(StoredEvent::checkpoint);
                }
                break;
            }
        }
        Ok(page)
    }

    async fn opened_snapshot(
        &self,
        snapshot: StoredSnapshot,
    ) -> Result<Option<StoredSnapshot>, RecordError> {
        let key_id = snapshot.encoding.key_id();
        let mut snapshot_key = None;
        if let Some(id) = key_id.and_then(snapshot_key_id) {
            let Some(subjects) = &self.protection.subjects else {
                return Ok(None);
            };
            subjects.refresh().await?;
            match subjects.by_id(id).await? {
                KeyFound::Key(key) => snapshot_key = Some(key),
                // A subject was forgotten since.
                KeyFound::Destroyed | KeyFound::Missing | KeyFound::Locked(_) => return Ok(None),
            }
        } else if let (Some(id), Some(keys)) = (key_id, &self.protection.sealing.keys) {
            fetched(keys, id).await?;
        }
        if self.protection.subjects.is_some() && snapshot_key.is_none() {
            // It was taken before the application had subjects, and may have data of one.
            return Ok(None);
        }
        if self.protection.sealing.keys.is_some() && key_id.is_none() {
            // It was taken before the log was encrypted, or by a program without the keys.
            return Ok(None);
        }
        let (stream, version) = (Arc::clone(&snapshot.stream), snapshot.version.get());
        let opened = self.protection.sealing.opened_snapshot(
            self.inner.log_name(),
            snapshot,
            snapshot_key.as_ref(),
            self.inner.limits().payload_size,
        );
        match opened {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(fault) => {
                tracing::warn!(%stream, version, %fault, "a snapshot is ignored");
                Ok(None)
            }
        }
    }
}

impl RecorderLayer for ProtectedRecorder {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.inner
    }

    fn limits(&self) -> Limits {
        let mut limits = self.inner.limits();
        if self.protection.sealing.keys.is_some() || self.protection.subjects.is_some() {
            let events = SEALING_OVERHEAD_MAX * limits.append_events;
            limits.payload_size -= SEALING_OVERHEAD_MAX;
            limits.append_size -= events;
        }
        limits
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        Box::pin(async move {
            let size_max = RecorderLayer::limits(self).payload_size;
            let payloads = append
                .new_events()
                .iter()
                .filter_map(|it| it.payload.as_ref());
            if let Some(payload) = payloads.into_iter().find(|it| it.len() > size_max) {
                return Err(RecordError::invalid(format!(
                    "a payload has {} bytes; at most {size_max} are allowed in a protected log",
                    payload.len()
                )));
            }
            let sealed = self.sealed(&append).await?;
            self.inner.append(sealed).await
        })
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            let direction = read.direction;
            self.opened(self.inner.read_log(read).await?, direction)
                .await
        })
    }

    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            let direction = read.direction;
            self.opened(self.inner.read_stream(read).await?, direction)
                .await
        })
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>> {
        Box::pin(async move {
            let mut found = self.inner.event(id).await?;
            if let Some(stored) = &mut found {
                self.open(stored, &mut OneRead::default()).await?;
            }
            Ok(found)
        })
    }

    fn put_snapshot(&self, snapshot: StoredSnapshot) -> BoxFuture<'_, Result<(), RecordError>> {
        Box::pin(async move {
            let key = match &self.protection.subjects {
                Some(subjects) => {
                    // The key comes first: a subject that is forgotten after the check destroys it.
                    let key = subjects.snapshot_key().await?;
                    subjects.refresh().await?;
                    if snapshot.forgets != subjects.forgets().load(Ordering::Acquire) {
                        // The state may have data of a subject that was forgotten since.
                        return Ok(());
                    }
                    Some(key)
                }
                None => None,
            };
            let log = self.inner.log_name();
            let sealed = self.protection.sealing.snapshot(log, snapshot, key)?;
            self.inner.put_snapshot(sealed).await
        })
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a str,
        until: Option<Version>,
    ) -> BoxFuture<'a, Result<Option<StoredSnapshot>, RecordError>> {
        Box::pin(async move {
            match self.inner.snapshot(stream, until).await? {
                Some(snapshot) => self.opened_snapshot(snapshot).await,
                None => Ok(None),
            }
        })
    }
}

impl fmt::Debug for ProtectedRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectedRecorder")
            .field("log", &self.inner.log_name())
            .field("protection", &self.protection)
            .finish()
    }
}

/// A store whose logs are protected, except the log of the keys of subjects.
pub struct ProtectedStore {
    inner: Arc<dyn Store>,
    protection: Protection,
}

impl ProtectedStore {
    fn protected(&self, log: &str, recorder: Arc<dyn Recorder>) -> Arc<dyn Recorder> {
        let subjects = self.protection.subjects.as_ref();
        match subjects.is_some_and(|subjects| subjects.log_name() == log) {
            true => recorder,
            false => self.protection.recorder(recorder),
        }
    }
}

impl StoreLayer for ProtectedStore {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move {
            let opened = self.inner.open(log, birth).await?;
            Ok(self.protected(log, opened))
        })
    }

    fn open_read_only<'a>(
        &'a self,
        log: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move {
            let opened = self.inner.open_read_only(log).await?;
            Ok(self.protected(log, opened))
        })
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, RecordError>> {
        self.inner.now()
    }
}

impl fmt::Debug for ProtectedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectedStore")
            .field("protection", &self.protection)
            .finish_non_exhaustive()
    }
}
