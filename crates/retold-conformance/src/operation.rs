//! Calls of a recorder as values: generated at random, executed on a store and on the memory log,
//! compared, and executed again in shorter sequences.

use std::sync::Arc;

use super::scene::{AppendOutcome, LOG, outcome, without_wall_clock};
use retold_core::domain::Timestamp;
use retold_core::recording::Append;
use retold_core::recording::MemoryLog;
use retold_core::recording::RecordError;
use retold_core::recording::StoredEvent;
use retold_core::recording::StoredSnapshot;
use retold_core::recording::limits::Limits;
use retold_core::recording::{Checkpoint, EventId, LogId, Version};
use retold_core::recording::{FollowerKey, RecordedRange};
use retold_core::recording::{Head, LogRead, Page, RangeRead, Recorder, StreamEntry, StreamRead};

/// One call of a recorder's method.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Append(Append),
    ReadLog(LogRead),
    ReadStream(StreamRead),
    Event(EventId),
    Head,
    Streams {
        prefix: String,
        after: Option<String>,
        limit: usize,
    },
    Topics {
        after: Option<String>,
        limit: usize,
    },
    Checkpoint(FollowerKey, LogId),
    Ranges(RangeRead),
    PutSnapshot(StoredSnapshot),
    Snapshot(String, Option<Version>),
    DropSnapshots(String),
    /// Continues with another handle; calls nothing.
    Reopen,
}

/// The answer, without the times of recording and error texts, in which stores differ.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Append(AppendOutcome),
    Page(Page),
    Event(Option<StoredEvent>),
    Head(Head),
    Streams(Vec<StreamEntry>),
    Topics(Vec<Arc<str>>),
    Checkpoint(Option<Checkpoint>),
    Ranges(Vec<RecordedRange>),
    Snapshot(Option<StoredSnapshot>),
    Done,
    Invalid,
    /// The log does not have this checkpoint; the checkpoint that it has in its place.
    Diverged(Checkpoint, Option<Checkpoint>),
    /// The store failed, which no operation here causes.
    Failed(String),
}

fn answered<T>(result: Result<T, RecordError>, answer: impl FnOnce(T) -> Answer) -> Answer {
    match result {
        Ok(value) => answer(value),
        Err(RecordError::Invalid(_)) => Answer::Invalid,
        Err(RecordError::Diverged {
            checkpoint, found, ..
        }) => Answer::Diverged(checkpoint, found),
        Err(error) => Answer::Failed(error.to_string()),
    }
}

fn page(mut page: Page) -> Answer {
    page.events = page.events.iter().map(without_wall_clock).collect();
    Answer::Page(page)
}

fn event(event: Option<StoredEvent>) -> Answer {
    Answer::Event(event.as_ref().map(without_wall_clock))
}

impl Operation {
    /// Executes the operation on a recorder.
    pub(super) async fn ask(&self, log: &dyn Recorder) -> Answer {
        match self.clone() {
            Self::Append(append) => Answer::Append(outcome(log.append(append).await)),
            Self::ReadLog(read) => answered(log.read_log(read).await, page),
            Self::ReadStream(read) => answered(log.read_stream(read).await, page),
            Self::Event(id) => answered(log.event(id).await, event),
            Self::Head => answered(log.head().await, Answer::Head),
            Self::Streams {
                prefix,
                after,
                limit,
            } => {
                let streams = log.streams(&prefix, after.as_deref(), limit).await;
                answered(streams, Answer::Streams)
            }
            Self::Topics { after, limit } => {
                let topics = log.topics(after.as_deref(), limit).await;
                answered(topics, Answer::Topics)
            }
            Self::Checkpoint(follower, upstream) => {
                let checkpoint = log.checkpoint(&follower, upstream).await;
                answered(checkpoint, Answer::Checkpoint)
            }
            Self::Ranges(read) => answered(log.processed_ranges(read).await, Answer::Ranges),
            Self::PutSnapshot(snapshot) => {
                answered(log.put_snapshot(snapshot).await, |()| Answer::Done)
            }
            Self::Snapshot(stream, until) => {
                answered(log.snapshot(&stream, until).await, Answer::Snapshot)
            }
            Self::DropSnapshots(stream) => {
                answered(log.drop_snapshots(&stream).await, |()| Answer::Done)
            }
            Self::Reopen => Answer::Done,
        }
    }

    /// Executes the operation on the memory log, which gives the expected answer.
    pub(super) fn ask_model(&self, log: &mut MemoryLog, limits: &Limits) -> Answer {
        match self.clone() {
            Self::Append(append) => {
                Answer::Append(outcome(log.append(&append, limits, Timestamp::default())))
            }
            Self::ReadLog(read) => answered(log.read_log(LOG, &read), page),
            Self::ReadStream(read) => answered(log.read_stream(LOG, &read), page),
            Self::Event(id) => event(log.event(id).cloned()),
            Self::Head => Answer::Head(log.head()),
            Self::Streams {
                prefix,
                after,
                limit,
            } => answered(
                log.streams(&prefix, after.as_deref(), limit),
                Answer::Streams,
            ),
            Self::Topics { after, limit } => {
                answered(log.topics(after.as_deref(), limit), Answer::Topics)
            }
            Self::Checkpoint(follower, upstream) => {
                Answer::Checkpoint(log.checkpoint(&follower, upstream))
            }
            Self::Ranges(read) => answered(log.processed_ranges(&read), Answer::Ranges),
            Self::PutSnapshot(snapshot) => {
                answered(log.put_snapshot(snapshot, limits), |()| Answer::Done)
            }
            Self::Snapshot(stream, until) => {
                Answer::Snapshot(log.snapshot(&stream, until).cloned())
            }
            Self::DropSnapshots(stream) => {
                log.drop_snapshots(&stream);
                Answer::Done
            }
            Self::Reopen => Answer::Done,
        }
    }
}
