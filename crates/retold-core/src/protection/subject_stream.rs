//! The streams of the log of keys: what their events say, and the append that forgets a subject.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{Clock, SUBJECT_FORGOTTEN_TOPIC, SystemClock};
use crate::recording::limits::check_name;
use crate::recording::{
    Amendment, Append, Condition, ERASED_TOPIC, ErasedParts, EventId, NewEvent, RecordError,
    StoredEvent, Version,
};

/// Maximum size of the name of a subject, in bytes.
pub const SUBJECT_SIZE_MAX: usize = 200;

pub(super) const KEY_TOPIC: &str = "retold.subject-key";
pub(super) const READMITTED_TOPIC: &str = "retold.subject-readmitted";
pub(super) const SNAPSHOT_KEY_TOPIC: &str = "retold.snapshot-key";
/// The stream of the key of snapshots.
pub(super) const SNAPSHOT_STREAM: &str = "retold.snapshots/key";
const STREAM_TYPE: &str = "retold.subject";

/// Whether the data of a subject can be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubjectState {
    /// The log of keys has nothing of it; the first event that has its data makes a key.
    #[default]
    New,
    /// It has a key.
    Known,
    /// It was forgotten: events with its data are refused.
    Forgotten,
    /// It was forgotten, and its data can be recorded again; the first event that has some makes a
    /// new key.
    Readmitted,
}

/// The content of an event with a key.
#[derive(Serialize, Deserialize)]
pub(super) struct WrappedKey {
    /// The encrypted key, as hexadecimal digits.
    pub(super) key: String,
    /// The id of the key with which it is encrypted.
    pub(super) wrapped_by: String,
}

/// The content of the event that a subject was forgotten.
#[derive(Serialize, Deserialize)]
pub(super) struct ForgottenRecord {
    pub(super) subject: Arc<str>,
    count: u64,
    /// The ids of the keys that were destroyed, of the subject and of snapshots.
    pub(super) keys: Vec<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The record of an erased event, in the form that applications give it.
#[derive(Serialize)]
struct ErasedRecord<'a> {
    by: &'a str,
    reason: &'a str,
    which: ErasedEvent,
    parts: ErasedRecordParts,
}

#[derive(Serialize)]
struct ErasedEvent {
    event: EventId,
}

#[derive(Serialize)]
struct ErasedRecordParts {
    tags: bool,
    metadata: bool,
}

/// What the stream of a subject, or that of the key of snapshots, says.
#[derive(Default)]
pub(super) struct SubjectStream {
    pub(super) state: SubjectState,
    pub(super) version: Option<Version>,
    last: Option<EventId>,
    /// The keys whose payloads are there.
    pub(super) keys: Vec<EventId>,
    /// The event with the newest key.
    pub(super) newest: Option<StoredEvent>,
    /// How many times it was forgotten.
    pub(super) forgotten: u64,
    /// The event that records it.
    pub(super) record: Option<EventId>,
}

impl SubjectStream {
    /// Takes in the next event of the stream.
    pub(super) fn take_in(&mut self, event: &StoredEvent) {
        self.version = event.version();
        self.last = Some(event.id());
        match event.topic() {
            KEY_TOPIC | SNAPSHOT_KEY_TOPIC if !event.is_erased() => {
                self.keys.push(event.id());
                self.newest = Some(event.clone());
                self.state = SubjectState::Known;
            }
            SUBJECT_FORGOTTEN_TOPIC => {
                self.forgotten += 1;
                self.record = Some(event.id());
                self.state = SubjectState::Forgotten;
            }
            READMITTED_TOPIC => self.state = SubjectState::Readmitted,
            _ => {}
        }
    }

    /// Returns the condition that the stream is as it was read.
    pub(super) fn condition(&self, stream: &Arc<str>) -> Condition {
        Condition::stream_read(Arc::clone(stream), self.version, self.last)
    }
}

/// Returns the append that forgets a subject: it erases the keys in its stream and in that of the
/// key of snapshots.
pub(super) fn forgetting(
    id: EventId,
    subject: &Arc<str>,
    [found, snapshots]: [&SubjectStream; 2],
    reason: Option<&str>,
) -> Append {
    let now = SystemClock.now();
    let streams: [Arc<str>; 2] = [stream_of(subject).into(), SNAPSHOT_STREAM.into()];
    let keys = found.keys.iter().chain(&snapshots.keys);
    let record = ForgottenRecord {
        subject: Arc::clone(subject),
        count: found.forgotten + 1,
        keys: keys.map(|key| key.uuid()).collect(),
        reason: reason.map(str::to_owned),
    };
    let recorded = NewEvent::new(id, SUBJECT_FORGOTTEN_TOPIC, json(&record));
    let mut append = Append::of([recorded.stream(Arc::clone(&streams[0])).time(now)]);
    for (stream, found) in streams.iter().zip([found, snapshots]) {
        append = append.condition(found.condition(stream));
        for event in &found.keys {
            let record = ErasedRecord {
                by: "retold",
                reason: &format!("{subject} was forgotten"),
                which: ErasedEvent { event: *event },
                parts: ErasedRecordParts {
                    tags: true,
                    metadata: true,
                },
            };
            let record = NewEvent::new(EventId::new(Uuid::now_v7()), ERASED_TOPIC, json(&record));
            append = append.event(record.stream(Arc::clone(stream)).time(now));
            append = append.amendment(Amendment::EraseEvent {
                event: *event,
                stream: Some(Arc::clone(stream)),
                parts: ErasedParts::ALL,
            });
        }
    }
    append
}

/// Returns the name of the stream of a subject.
pub(super) fn stream_of(subject: &str) -> String {
    format!("{STREAM_TYPE}/{subject}")
}

/// Checks the name of a subject.
pub(super) fn check_subject(subject: &str) -> Result<(), RecordError> {
    check_name("name of a subject", subject)?;
    match subject.len() {
        ..=SUBJECT_SIZE_MAX => Ok(()),
        size => Err(RecordError::invalid(format!(
            "the name of a subject has {size} bytes; at most {SUBJECT_SIZE_MAX} are allowed"
        ))),
    }
}

/// Returns the content of an event of the log of keys.
pub(super) fn json<T: Serialize>(record: &T) -> Bytes {
    serde_json::to_vec(record)
        .expect("a record of texts is JSON")
        .into()
}
