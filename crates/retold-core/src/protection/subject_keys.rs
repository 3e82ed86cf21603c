//! The keys of subjects, kept as events of a log of their own.
//!
//! Each subject has a stream, `retold.subject/SUBJECT`: its keys, encrypted with the key of the
//! program that writes, and that it was forgotten or readmitted. The id of a key is the id of its
//! event, so the event is found without a search. To forget a subject, one append erases the
//! payloads of its key events and records that it was forgotten; it also erases the key of the
//! snapshots, which contain what was folded.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::sync::Cache;
use tokio::sync::{Mutex as AwaitedMutex, OnceCell};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::envelope::{Belonging, open, seal};
use super::key::{KEY_SIZE, KeyError, SecretKey, fill_random, hex, read_hex};
use super::key_ring::KeyRing;
use super::subject_stream::{
    ForgottenRecord, KEY_TOPIC, READMITTED_TOPIC, SNAPSHOT_KEY_TOPIC, SNAPSHOT_STREAM,
    SubjectState, SubjectStream, WrappedKey, check_subject, forgetting, json, stream_of,
};
use crate::domain::{Clock, SUBJECT_FORGOTTEN_TOPIC, SystemClock};
use crate::recording::{
    Append, Checkpoint, Corrupt, EventId, LogRead, NewEvent, PageEnd, Query, QueryItem,
    RecordError, Recorder, Store, StoredEvent, StreamRead,
};

/// Maximum number of keys of subjects in memory; others are read again.
const KEYS_KEPT_MAX: usize = 10_000;

/// How often an append to the log of keys is tried while others change the same stream, or its
/// outcome is unknown.
const ATTEMPTS_MAX: usize = 10;

/// Events on a page of the stream of a subject.
const PAGE_EVENTS: usize = 100;

/// The keys of subjects, in a log of a store.
pub struct SubjectKeys {
    store: Arc<dyn Store>,
    log: Arc<str>,
    keys: KeyRing,
    recorder: OnceCell<Arc<dyn Recorder>>,
    /// How many times reading what others recorded has begun.
    refreshes: AtomicU64,
    /// Held while what others recorded is read.
    refreshed: AwaitedMutex<Refreshed>,
    by_subject: Cache<Arc<str>, SubjectKey>,
    by_id: Cache<Uuid, KeyFound>,
    snapshot_key: Mutex<Option<SubjectKey>>,
    forgets: Arc<AtomicU64>,
}

/// How far the log of keys was read.
#[derive(Default)]
struct Refreshed {
    /// The number of the last refresh that succeeded.
    number: u64,
    append_count: Option<u64>,
    read_to: Option<Checkpoint>,
}

/// A key with the id of its event.
#[derive(Clone)]
pub(super) struct SubjectKey {
    pub(super) id: Uuid,
    pub(super) key: SecretKey,
}

/// What the log has of a key.
#[derive(Clone)]
pub(super) enum KeyFound {
    Key(SecretKey),
    /// It was erased.
    Destroyed,
    /// There is no event with its id.
    Missing,
    /// The program does not have the key that it is encrypted with.
    Locked(Arc<str>),
}

/// The result of forgetting a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forgotten {
    /// The name of the subject.
    pub subject: Arc<str>,
    /// How many times it has been forgotten.
    pub count: u64,
    /// How many keys this call destroyed; 0 if it had been forgotten before, or had no key.
    pub keys_destroyed: u64,
    /// Whether this call recorded it.
    pub is_new: bool,
    /// The event in the log of keys that records it.
    pub record: EventId,
}

impl SubjectKeys {
    /// Keeps the keys in this log of a store, which is created when it is first needed, and
    /// encrypts them with the writing key of the key ring.
    pub fn new(store: Arc<dyn Store>, log: impl Into<Arc<str>>, keys: KeyRing) -> Self {
        Self {
            store,
            log: log.into(),
            keys,
            recorder: OnceCell::new(),
            refreshes: AtomicU64::new(0),
            refreshed: AwaitedMutex::default(),
            by_subject: Cache::new(KEYS_KEPT_MAX),
            by_id: Cache::new(KEYS_KEPT_MAX),
            snapshot_key: Mutex::default(),
            forgets: Arc::default(),
        }
    }

    /// Returns the name of the log of keys.
    pub fn log_name(&self) -> &str {
        &self.log
    }

    /// Returns the store of the log of keys.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns how many subjects this process has seen forgotten. States that were folded before
    /// the number changed may have data of a forgotten subject.
    pub(super) fn forgets(&self) -> &Arc<AtomicU64> {
        &self.forgets
    }

    async fn recorder(&self) -> Result<&Arc<dyn Recorder>, RecordError> {
        let opening = || async {
            let birth = Uuid::now_v7().into();
            match self.store.open(&self.log, birth).await {
                // A store that was opened only for reading.
                Err(RecordError::Invalid(_)) => self.store.open_read_only(&self.log).await,
                opened => opened,
            }
        };
        self.recorder.get_or_try_init(opening).await
    }

    /// Reads which subjects other processes forgot since the last call, so that their keys are not
    /// used anymore. Calls at the same time share one read.
    ///
    /// # Errors
    ///
    /// The errors of the log of keys.
    pub async fn refresh(&self) -> Result<(), RecordError> {
        let recorder = self.recorder().await?;
        let begun = self.refreshes.load(Ordering::Acquire);
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.number > begun {
            // It began after this call, so it has read everything that was recorded before.
            return Ok(());
        }
        let number = self.refreshes.fetch_add(1, Ordering::AcqRel) + 1;
        self.read_forgotten(recorder, &mut refreshed).await?;
        refreshed.number = number;
        Ok(())
    }

    async fn read_forgotten(
        &self,
        recorder: &Arc<dyn Recorder>,
        refreshed: &mut Refreshed,
    ) -> Result<(), RecordError> {
        let head = recorder.head().await?;
        if refreshed.append_count == Some(head.append_count) {
            return Ok(());
        }
        if refreshed.append_count.is_none() {
            // No key was read before.
            refreshed.read_to = head.checkpoint;
        }
        let item = QueryItem::new().topic(SUBJECT_FORGOTTEN_TOPIC);
        let mut read = LogRead::of(Query::item(item)).after_checkpoint(refreshed.read_to);
        loop {
            let page = match recorder.read_log(read.clone()).await {
                Ok(page) => page,
                Err(error @ RecordError::Diverged { .. }) => {
                    tracing::warn!(%error, "the log of keys was restored; keys are read again");
                    self.drop_keys();
                    *refreshed = Refreshed::default();
                    refreshed.append_count = Some(head.append_count);
                    refreshed.read_to = recorder.head().await?.checkpoint;
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            for event in &page.events {
                self.drop_forgotten(event);
            }
            refreshed.read_to = page.read_to;
            if page.end == PageEnd::Complete {
                break;
            }
            read = read.after_checkpoint(page.read_to);
        }
        refreshed.append_count = Some(head.append_count);
        Ok(())
    }

    /// Drops the keys of the subject that an event says was forgotten.
    fn drop_forgotten(&self, event: &StoredEvent) {
        let record = event
            .payload()
            .map(serde_json::from_slice::<ForgottenRecord>);
        let Some(Ok(record)) = record else {
            return self.drop_keys();
        };
        // Counted first, so that a key that is read meanwhile is not kept.
        self.forgets.fetch_add(1, Ordering::AcqRel);
        self.by_subject.remove(&record.subject);
        for key in record.keys {
            self.by_id.insert(key, KeyFound::Destroyed);
        }
        *self.lock_snapshot_key() = None;
    }

    fn drop_keys(&self) {
        self.forgets.fetch_add(1, Ordering::AcqRel);
        self.by_subject.clear();
        self.by_id.clear();
        *self.lock_snapshot_key() = None;
    }

    fn seen(&self) -> u64 {
        self.forgets.load(Ordering::Acquire)
    }

    fn lock_snapshot_key(&self) -> std::sync::MutexGuard<'_, Option<SubjectKey>> {
        let key = self.snapshot_key.lock();
        key.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the key with which events of this subject are written, and makes one if it has none;
    /// none if the subject was forgotten. Call [`refresh`](Self::refresh) before.
    pub(super) async fn key_for(
        &self,
        subject: &Arc<str>,
    ) -> Result<Option<SubjectKey>, RecordError> {
        check_subject(subject)?;
        let seen = self.seen();
        if let Some(key) = self.by_subject.get(subject) {
            if self.by_id.get(&key.id).is_none() {
                // For projections that take part in the append, which find keys only here.
                self.keep_by_id(key.id, KeyFound::Key(key.key.clone()), seen);
            }
            return Ok(Some(key));
        }
        let stream: Arc<str> = stream_of(subject).into();
        for _ in 0..ATTEMPTS_MAX {
            let found = self.read_subject(&stream).await?;
            if found.state == SubjectState::Forgotten {
                return Ok(None);
            }
            if let Some(event) = &found.newest {
                let key = match self.unwrapped(event).await? {
                    KeyFound::Key(key) => key,
                    KeyFound::Locked(by) => return Err(locked(subject, &by)),
                    // It was erased in the meantime.
                    KeyFound::Destroyed | KeyFound::Missing => continue,
                };
                let id = event.id().uuid();
                return Ok(Some(self.keep(subject, SubjectKey { id, key }, seen)));
            }
            if let Some(key) = self.make_key(KEY_TOPIC, &stream, &found).await? {
                return Ok(Some(self.keep(subject, key, seen)));
            }
        }
        Err(busy(&self.log))
    }

    /// Keeps a key that was read when this many subjects had been seen forgotten. If one was
    /// forgotten since, the key may be that of the subject, and is removed again.
    fn keep(&self, subject: &Arc<str>, key: SubjectKey, seen: u64) -> SubjectKey {
        self.by_subject.insert(Arc::clone(subject), key.clone());
        self.keep_by_id(key.id, KeyFound::Key(key.key.clone()), seen);
        if self.seen() != seen {
            self.by_subject.remove(subject);
        }
        key
    }

    fn keep_by_id(&self, id: Uuid, found: KeyFound, seen: u64) {
        self.by_id.insert(id, found);
        if self.seen() != seen {
            self.by_id.remove(&id);
        }
    }

    /// Returns the key of this id, if it is in memory.
    pub(super) fn known(&self, id: &Uuid) -> Option<KeyFound> {
        self.by_id.get(id)
    }

    /// Returns what the log has of the key of this id. Call [`refresh`](Self::refresh) before.
    pub(super) async fn by_id(&self, id: Uuid) -> Result<KeyFound, RecordError> {
        if let Some(found) = self.by_id.get(&id) {
            return Ok(found);
        }
        let seen = self.seen();
        let event = self.recorder().await?.event(EventId::new(id)).await?;
        let Some(event) = event else {
            return Ok(KeyFound::Missing);
        };
        let found = self.unwrapped(&event).await?;
        if matches!(found, KeyFound::Key(_) | KeyFound::Destroyed) {
            self.keep_by_id(id, found.clone(), seen);
        }
        Ok(found)
    }

    /// Returns the key of snapshots, and makes one if there is none.
    pub(super) async fn snapshot_key(&self) -> Result<SubjectKey, RecordError> {
        if let Some(key) = self.lock_snapshot_key().clone() {
            return Ok(key);
        }
        let seen = self.seen();
        let stream: Arc<str> = SNAPSHOT_STREAM.into();
        for _ in 0..ATTEMPTS_MAX {
            let found = self.read_subject(&stream).await?;
            let key = match &found.newest {
                None => self.make_key(SNAPSHOT_KEY_TOPIC, &stream, &found).await?,
                Some(event) => match self.unwrapped(event).await? {
                    KeyFound::Key(key) => Some(SubjectKey {
                        id: event.id().uuid(),
                        key,
                    }),
                    KeyFound::Locked(by) => return Err(locked("of snapshots", &by)),
                    KeyFound::Destroyed | KeyFound::Missing => None,
                },
            };
            if let Some(key) = key {
                let mut kept = self.lock_snapshot_key();
                if self.seen() == seen {
                    *kept = Some(key.clone());
                }
                drop(kept);
                return Ok(key);
            }
        }
        Err(busy(&self.log))
    }

    /// Records a new key in a stream, and returns it; none if the stream has changed.
    async fn make_key(
        &self,
        topic: &'static str,
        stream: &Arc<str>,
        found: &SubjectStream,
    ) -> Result<Option<SubjectKey>, RecordError> {
        let id = Uuid::now_v7();
        let mut bytes = Zeroizing::new([0; KEY_SIZE]);
        fill_random(&mut *bytes).map_err(unusable)?;
        let by = self.keys.writing();
        let sealed = seal(by, &belonging(id, stream), &*bytes).map_err(unusable)?;
        let wrapped = WrappedKey {
            key: hex(&sealed),
            wrapped_by: by.id().into(),
        };
        let event = NewEvent::new(EventId::new(id), topic, json(&wrapped))
            .stream(Arc::clone(stream))
            .time(SystemClock.now());
        let append = Append::of([event]).condition(found.condition(stream));
        match self.settle(append).await {
            Ok(()) => {
                let key = SecretKey::of_the_library(id.to_string().into(), &bytes);
                Ok(Some(SubjectKey { id, key }))
            }
            Err(RecordError::Conflict(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends an append until its outcome is known.
    async fn settle(&self, append: Append) -> Result<(), RecordError> {
        let recorder = self.recorder().await?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match recorder.append(append.clone()).await {
                Err(RecordError::OutcomeUnknown(_)) if attempts < ATTEMPTS_MAX => {}
                done => return done.map(drop),
            }
        }
    }

    /// Returns the key that an event has.
    async fn unwrapped(&self, event: &StoredEvent) -> Result<KeyFound, RecordError> {
        let corrupt = |what: &str| Corrupt::new(format!("event {}", event.id()), what);
        let Some(payload) = event.payload() else {
            return Ok(KeyFound::Destroyed);
        };
        let wrapped: WrappedKey = serde_json::from_slice(payload)
            .map_err(|error| corrupt(&format!("it is not a key of a subject: {error}")))?;
        let by = self.keys.key(&wrapped.wrapped_by).await;
        let Some(by) = by.map_err(|error| RecordError::unavailable("fetching a key", error))?
        else {
            return Ok(KeyFound::Locked(wrapped.wrapped_by.into()));
        };
        let mut sealed = vec![0; wrapped.key.len() / 2];
        let id = event.id().uuid();
        let stream = event.stream().unwrap_or_default();
        let bytes = match read_hex(&wrapped.key, &mut sealed) {
            true => open(&by, &belonging(id, stream), &sealed).map(Zeroizing::new),
            false => None,
        };
        let bytes = bytes.as_deref().and_then(|it| it.first_chunk::<KEY_SIZE>());
        let Some(bytes) = bytes else {
            let what = format!(
                "the key of a subject does not open with the key {:?}: it was altered or copied, \
                 or another key has this id",
                wrapped.wrapped_by
            );
            return Err(corrupt(&what).into());
        };
        let key = SecretKey::of_the_library(id.to_string().into(), bytes);
        Ok(KeyFound::Key(key))
    }

    /// Reads the stream of a subject, or that of the key of snapshots.
    async fn read_subject(&self, stream: &Arc<str>) -> Result<SubjectStream, RecordError> {
        let recorder = self.recorder().await?;
        let mut found = SubjectStream::default();
        let mut last: Option<Checkpoint> = None;
        loop {
            let read = StreamRead::new(Arc::clone(stream)).limit(PAGE_EVENTS);
            let read = read.after_checkpoint(found.version, last);
            let page = recorder.read_stream(read).await?;
            for event in &page.events {
                found.take_in(event);
                last = Some(event.checkpoint());
            }
            if page.end == PageEnd::Complete {
                return Ok(found);
            }
        }
    }

    /// Returns whether data of this subject can be recorded.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad name; the errors of the log of keys.
    pub async fn state(&self, subject: &str) -> Result<SubjectState, RecordError> {
        check_subject(subject)?;
        let found = self.read_subject(&stream_of(subject).into()).await?;
        Ok(found.state)
    }

    /// Forgets a subject: destroys its keys, and the key of snapshots, in one append that records
    /// it. Events with its data are refused from then on. Forgetting it again does nothing.
    ///
    /// `reason` is recorded for people, so it must not contain data of the subject.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad name; the errors of the log of keys. After one, it may be forgotten or
    /// not: repeat the call.
    pub async fn forget(
        &self,
        subject: &str,
        reason: Option<&str>,
    ) -> Result<Forgotten, RecordError> {
        check_subject(subject)?;
        let subject: Arc<str> = subject.into();
        let stream: Arc<str> = stream_of(&subject).into();
        for _ in 0..ATTEMPTS_MAX {
            let found = self.read_subject(&stream).await?;
            if let (SubjectState::Forgotten, Some(record)) = (found.state, found.record) {
                self.refresh().await?;
                return Ok(Forgotten {
                    subject,
                    count: found.forgotten,
                    keys_destroyed: 0,
                    is_new: false,
                    record,
                });
            }
            let id = EventId::new(Uuid::now_v7());
            let snapshots = self.read_subject(&SNAPSHOT_STREAM.into()).await?;
            let append = forgetting(id, &subject, [&found, &snapshots], reason);
            match self.settle(append).await {
                Ok(()) => {}
                Err(RecordError::Conflict(_)) => continue,
                Err(error) => return Err(error),
            }
            self.refresh().await?;
            // In case nothing was read before, so that the refresh began after it.
            self.by_subject.remove(&subject);
            for key in found.keys.iter().chain(&snapshots.keys) {
                self.by_id.insert(key.uuid(), KeyFound::Destroyed);
            }
            return Ok(Forgotten {
                subject,
                count: found.forgotten + 1,
                keys_destroyed: found.keys.len() as u64,
                is_new: true,
                record: id,
            });
        }
        Err(busy(&self.log))
    }

    /// Admits a forgotten subject again: events with its data are recorded with a new key. What was
    /// forgotten stays forgotten. Does nothing for a subject that is not forgotten. Returns whether
    /// it was.
    ///
    /// # Errors
    ///
    /// As for [`forget`](Self::forget).
    pub async fn readmit(&self, subject: &str) -> Result<bool, RecordError> {
        check_subject(subject)?;
        let stream: Arc<str> = stream_of(subject).into();
        for _ in 0..ATTEMPTS_MAX {
            let found = self.read_subject(&stream).await?;
            if found.state != SubjectState::Forgotten {
                return Ok(false);
            }
            let event = NewEvent::new(EventId::new(Uuid::now_v7()), READMITTED_TOPIC, "{}");
            let event = event.stream(Arc::clone(&stream)).time(SystemClock.now());
            let append = Append::of([event]).condition(found.condition(&stream));
            match self.settle(append).await {
                Err(RecordError::Conflict(_)) => {}
                done => return done.map(|()| true),
            }
        }
        Err(busy(&self.log))
    }
}

/// What a key of a subject belongs to.
fn belonging(id: Uuid, stream: &str) -> Belonging {
    Belonging::new("retold key of a subject")
        .with(id.as_bytes())
        .with(stream.as_bytes())
}

fn unusable(error: KeyError) -> RecordError {
    RecordError::unavailable("making a key", error)
}

fn locked(subject: &str, by: &str) -> RecordError {
    RecordError::invalid(format!(
        "the key {subject:?} is encrypted with the key {by:?}, which this program does not have; \
         add the key to those that it reads with"
    ))
}

fn busy(log: &str) -> RecordError {
    let busy = KeyError::new("others changed the same stream each time; try it again");
    RecordError::unavailable(format!("recording a key in {log:?}"), busy)
}

impl fmt::Debug for SubjectKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectKeys")
            .field("log", &self.log)
            .field("keys", &self.keys)
            .field("forgets", &self.forgets)
            .finish_non_exhaustive()
    }
}
