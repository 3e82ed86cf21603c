//! A store that turns a sound library into one with a bug: it changes the appends and reads that
//! followers make.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use retold::recording::{
    Append, Appended, BoxFuture, Condition, Conflict, LogId, LogRead, NewEvent, Origin, Page,
    Positions, ProcessedRange, RecordError, Recorder, RecorderLayer, Store, StoreLayer,
};

/// The bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    /// Effects first, then the processed range in an append of its own.
    CheckpointAfter,
    /// The processed range first, then its effects.
    CheckpointBefore,
    /// Effects are recorded as if a caller had requested them.
    OriginLost,
    /// Reads are not conditions of the append.
    ReadsUnconditional,
    /// After a conflict the same effects are sent again, with the present checkpoint.
    RetryWithoutReading,
    /// Work for which the store is unavailable is considered done.
    SkipAfterError,
    /// An append with an unknown outcome is considered recorded.
    UnknownIsSuccess,
    /// Some pages of a log leave out their first event.
    ReaderSkips,
    /// Of several effects the last is left out.
    EffectDropped,
    /// Followers record their results although something in their own record has changed meanwhile.
    FenceDropped,
    /// A partition skips an event that it should have processed.
    PartitionSkips,
}

pub(super) struct BrokenStore {
    sound: Arc<dyn Store>,
    bug: Bug,
}

impl BrokenStore {
    pub(super) fn new(sound: Arc<dyn Store>, bug: Bug) -> Self {
        Self { sound, bug }
    }

    fn broken(&self, sound: Arc<dyn Recorder>) -> Arc<dyn Recorder> {
        Arc::new(BrokenRecorder {
            sound,
            bug: self.bug,
            has_conflicted: AtomicBool::new(false),
        })
    }
}

// Reads through a read-only handle are not changed.
impl StoreLayer for BrokenStore {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.sound
    }

    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move { Ok(self.broken(self.sound.open(log, birth).await?)) })
    }
}

struct BrokenRecorder {
    sound: Arc<dyn Recorder>,
    bug: Bug,
    has_conflicted: AtomicBool,
}

/// An append with these parts instead.
fn append_of(events: &[NewEvent], conditions: &[Condition], ranges: &[ProcessedRange]) -> Append {
    let append = Append::of(events.iter().cloned()).conditions(conditions.iter().cloned());
    ranges.iter().cloned().fold(append, Append::processed_range)
}

fn is_written(append: &Append, stream: &str) -> bool {
    let mut events = append.new_events().iter();
    events.any(|event| event.stream.as_deref() == Some(stream))
}

impl BrokenRecorder {
    async fn append_broken(&self, append: Append) -> Result<Appended, RecordError> {
        let (events, conditions, ranges) = (
            append.new_events(),
            append.all_conditions(),
            append.processed_ranges(),
        );
        let has_both = !events.is_empty() && !ranges.is_empty();
        match self.bug {
            Bug::CheckpointAfter if has_both => {
                let effects = append_of(events, conditions, &[]);
                let done = self.sound.append(effects).await?;
                self.sound.append(append_of(&[], &[], ranges)).await?;
                Ok(done)
            }
            Bug::CheckpointBefore if has_both => {
                let range = append_of(&[], conditions, ranges);
                self.sound.append(range).await?;
                self.sound.append(append_of(events, &[], &[])).await
            }
            Bug::OriginLost if has_both => {
                let events = events.iter().cloned();
                let events: Vec<_> = events.map(|event| event.origin(Origin::Command)).collect();
                self.sound
                    .append(append_of(&events, conditions, ranges))
                    .await
            }
            Bug::ReadsUnconditional if !ranges.is_empty() => {
                let conditions: Vec<_> = conditions
                    .iter()
                    .filter(|condition| match condition {
                        Condition::StreamAt { stream, .. } => {
                            stream.starts_with("retold.follower") || !is_written(&append, stream)
                        }
                        _ => false,
                    })
                    .cloned()
                    .collect();
                self.sound
                    .append(append_of(events, &conditions, ranges))
                    .await
            }
            Bug::RetryWithoutReading if has_both => self.retry_without_reading(append).await,
            Bug::SkipAfterError if has_both => match self.sound.append(append).await {
                Err(RecordError::Unavailable(_)) => Ok(Appended::Recorded(Positions::NONE)),
                other => other,
            },
            Bug::UnknownIsSuccess => match self.sound.append(append).await {
                Err(RecordError::OutcomeUnknown(_)) => Ok(Appended::Recorded(Positions::NONE)),
                other => other,
            },
            Bug::EffectDropped if has_both && events.len() > 1 => {
                let events = &events[..events.len() - 1];
                self.sound
                    .append(append_of(events, conditions, ranges))
                    .await
            }
            Bug::FenceDropped if !ranges.is_empty() => {
                let is_kept = |condition: &&Condition| {
                    !matches!(condition, Condition::StreamAt { stream, .. }
                        if stream.starts_with("retold.follower"))
                };
                let conditions: Vec<_> = conditions.iter().filter(is_kept).cloned().collect();
                self.sound
                    .append(append_of(events, &conditions, ranges))
                    .await
            }
            Bug::PartitionSkips if has_both && ranges[0].follower.as_str().ends_with("/1") => {
                self.sound.append(append_of(&[], conditions, ranges)).await
            }
            _ => self.sound.append(append).await,
        }
    }

    /// Makes a conflicting append fit: the processed range begins at the checkpoint, and there are
    /// no conditions.
    async fn retry_without_reading(&self, append: Append) -> Result<Appended, RecordError> {
        match self.sound.append(append.clone()).await {
            Err(RecordError::Conflict(Conflict::Stream { stream, .. }))
                if !stream.starts_with("retold.") => {}
            other => return other,
        }
        let own = append.all_conditions().first().cloned();
        let own: Vec<_> = own.into_iter().collect();
        self.sound
            .append(append_of(
                append.new_events(),
                &own,
                append.processed_ranges(),
            ))
            .await
    }
}

impl RecorderLayer for BrokenRecorder {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.sound
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        Box::pin(self.append_broken(append))
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            let mut page = self.sound.read_log(read).await?;
            // Every other page, and only if it has several events: a hole, not a late event.
            let is_bad = self.bug == Bug::ReaderSkips && page.events.len() > 1;
            if is_bad && !self.has_conflicted.swap(true, Ordering::Relaxed) {
                page.events.remove(0);
            }
            Ok(page)
        })
    }
}
