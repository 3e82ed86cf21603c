//! A log as it was at a position, followed by events that are not recorded yet: the state on which
//! a policy decides.
//!
//! A follower that covers several upstream events by one append shows each policy the log just
//! before the append, plus the effects of the events before it. A retelling shows a log as it was.
//! Both read through another recorder up to a position, and continue with events in memory. Nothing
//! is written, and reads that the past cannot serve (names of streams, checkpoints) are rejected.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::application::Past;
use crate::recording::limits::Limits;
use crate::recording::{
    Append, Appended, BoxFuture, Checkpoint, Direction, EventId, FollowerKey, Head, LogId, LogRead,
    Page, PageEnd, Position, RangeRead, RecordError, RecordedRange, Recorder, StoredEvent,
    StoredSnapshot, StreamEntry, StreamRead, Version, prove_checkpoint,
};

/// A recorder's log up to a position, followed by events that are not recorded yet.
pub(crate) struct PastRecorder {
    recorder: Arc<dyn Recorder>,
    /// The last event of the recorder's log that is shown, and the known versions of streams there.
    shown: Mutex<ShownPart>,
    /// The events after it. Their positions are consecutive, from the one after `until`.
    pending: Vec<StoredEvent>,
    /// Versions up to which streams are shown. They override `until`.
    versions: HashMap<Arc<str>, Option<Version>>,
    /// The last snapshot that was returned for each stream, so that a caller can find out what a
    /// state was loaded from.
    snapshots_given: Mutex<BTreeMap<Arc<str>, Version>>,
}

/// How much of a log is shown, if it is shown event after event from its beginning.
#[derive(Default)]
struct ShownPart {
    until: Option<Checkpoint>,
    /// Last versions of streams among the events that were passed; none if the log was not shown
    /// from its beginning.
    passed: Option<Passed>,
}

/// Last versions of streams, as far as they are remembered.
#[derive(Default)]
struct Passed {
    versions: HashMap<Arc<str>, Version>,
    /// Whether some were forgotten, so that a stream that is missing here may still have events.
    has_gaps: bool,
}

/// Streams whose snapshots are remembered. When the limit is exceeded, all are forgotten.
const SNAPSHOTS_REMEMBERED_MAX: usize = 10_000;
/// Streams whose versions are remembered. When the limit is exceeded, all are forgotten. A
/// forgotten version is searched for, with a logarithmic number of reads.
const VERSIONS_REMEMBERED_MAX: usize = 100_000;

impl Passed {
    fn remember(&mut self, stream: &str, version: Version) {
        if let Some(known) = self.versions.get_mut(stream) {
            *known = version;
            return;
        }
        if self.versions.len() == VERSIONS_REMEMBERED_MAX {
            self.versions.clear();
            self.has_gaps = true;
        }
        self.versions.insert(stream.into(), version);
    }
}

impl PastRecorder {
    /// Shows the log up to and including this event, which the log has.
    pub(crate) fn new(
        recorder: Arc<dyn Recorder>,
        until: Option<Checkpoint>,
        pending: Vec<StoredEvent>,
    ) -> Self {
        let shown = ShownPart {
            until,
            passed: None,
        };
        Self {
            recorder,
            shown: Mutex::new(shown),
            pending,
            versions: HashMap::new(),
            snapshots_given: Mutex::default(),
        }
    }

    /// Shows the log before its first event; [`pass`](Self::pass) then shows it event after event.
    /// Reads of a stream read no more than what is shown of it, even if the log has much more.
    pub(crate) fn before_all(recorder: Arc<dyn Recorder>) -> Self {
        let past = Self::new(recorder, None, Vec::new());
        past.shown().passed = Some(Passed::default());
        past
    }

    /// Shows streams up to these versions, as they were when they were read; `pending` continues
    /// from there.
    ///
    /// A cached stream may be older than the log, and one that was read later may be newer. The
    /// append's conditions detect both, and until then the policy sees one history.
    pub(crate) fn with_versions<'a>(
        mut self,
        versions: impl Iterator<Item = (&'a Arc<str>, Option<Version>)>,
    ) -> Self {
        self.versions = versions
            .map(|(stream, version)| (Arc::clone(stream), version))
            .collect();
        self
    }

    /// Returns whether an event of a stream is shown.
    fn is_shown(&self, stream: &str, event: &StoredEvent) -> bool {
        match self.versions.get(stream) {
            Some(last) => event.version() <= *last,
            None => Some(event.position()) <= self.until(),
        }
    }

    /// Returns the last version that is shown of a stream of the recorder's log, if it is known or
    /// can be found without reading later events.
    async fn last_version(&self, stream: &str) -> Result<Option<Option<Version>>, RecordError> {
        if let Some(last) = self.versions.get(stream) {
            return Ok(Some(*last));
        }
        match &self.shown().passed {
            None => return Ok(None),
            Some(passed) => match passed.versions.get(stream) {
                Some(version) => return Ok(Some(Some(*version))),
                None if !passed.has_gaps => return Ok(Some(None)),
                None => {}
            },
        }
        let last = self.search(stream).await?;
        if let (Some(last), Some(passed)) = (last, &mut self.shown().passed) {
            passed.remember(stream, last);
        }
        Ok(Some(last))
    }

    /// Searches for the last version that is shown of a stream: doubles a version until it is not
    /// shown, then bisects.
    async fn search(&self, stream: &str) -> Result<Option<Version>, RecordError> {
        let (mut shown, mut beyond) = (0, 1);
        while self.is_version_shown(stream, beyond).await? {
            shown = beyond;
            beyond = beyond.saturating_mul(2);
        }
        while beyond - shown > 1 {
            let middle = shown + (beyond - shown) / 2;
            match self.is_version_shown(stream, middle).await? {
                true => shown = middle,
                false => beyond = middle,
            }
        }
        Ok(Version::new(shown))
    }

    async fn is_version_shown(&self, stream: &str, version: u64) -> Result<bool, RecordError> {
        let read = StreamRead::new(stream)
            .after(Version::new(version - 1))
            .until(Version::new(version))
            .limit(1);
        let page = self.recorder.read_stream(read).await?;
        Ok(page
            .events
            .first()
            .is_some_and(|event| self.is_shown(stream, event)))
    }

    /// Returns the version of the last snapshot of this stream that was returned, if there was one.
    pub(crate) fn snapshot_given(&self, stream: &str) -> Option<Version> {
        self.snapshots().get(stream).copied()
    }

    // No change under these locks can be left incomplete.
    fn snapshots(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Version>> {
        self.snapshots_given
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self) -> MutexGuard<'_, ShownPart> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows one more event of the log: the one after the last that is shown.
    pub(crate) fn pass(&self, event: &StoredEvent) {
        let mut shown = self.shown();
        shown.until = Some(event.checkpoint());
        if let (Some(stream), Some(version)) = (event.stream(), event.version())
            && let Some(passed) = &mut shown.passed
        {
            passed.remember(stream, version);
        }
    }

    fn until(&self) -> Option<Position> {
        self.shown().until.map(|checkpoint| checkpoint.position)
    }

    /// Returns the last event that is shown; none if there is none.
    fn last(&self) -> Option<Checkpoint> {
        let pending = self.pending.last().map(StoredEvent::checkpoint);
        pending.or_else(|| self.shown().until)
    }

    /// Checks the checkpoint that a read begins after, and removes it from the read, because its
    /// event may not be recorded yet.
    async fn prove_position(&self, read: &mut LogRead) -> Result<(), RecordError> {
        let Some(checkpoint) = read.checkpoint() else {
            return Ok(());
        };
        read.after_event = None;
        let mut pending = self.pending.iter().map(StoredEvent::checkpoint);
        let found = match pending.find(|it| it.position == checkpoint.position) {
            Some(found) => Some(found),
            None if Some(checkpoint.position) > self.until() => None,
            // The log proves it: a replica that lags has not diverged.
            None => {
                prove_checkpoint(&*self.recorder, checkpoint).await?;
                Some(checkpoint)
            }
        };
        RecordError::check_checkpoint(self.log_name(), checkpoint, found)
    }

    /// As [`prove_position`](Self::prove_position), for a read of a stream.
    async fn prove_version(&self, read: &mut StreamRead) -> Result<(), RecordError> {
        let Some((version, checkpoint)) = read.checkpoint() else {
            return Ok(());
        };
        read.after_checkpoint = None;
        let is_meant = |event: &&StoredEvent| {
            event.stream() == Some(&*read.stream) && event.version() == Some(version)
        };
        let found = match self.pending.iter().find(is_meant) {
            Some(event) => Some(event.checkpoint()),
            None => {
                let proof = StreamRead::new(Arc::clone(&read.stream))
                    .after_checkpoint(Some(version), Some(checkpoint))
                    .until(version)
                    .limit(1);
                self.recorder.read_stream(proof).await?;
                Some(checkpoint)
            }
        };
        RecordError::check_checkpoint(self.log_name(), checkpoint, found)
    }

    async fn log_forward(&self, read: LogRead, limit: usize) -> Result<Page, RecordError> {
        let until = self.until();
        let mut events = Vec::new();
        let mut read_to = None;
        let mut topics = None;
        let recorded_until = read.until.min(until).or(until);
        if read.after < recorded_until {
            let recorded = LogRead {
                until: recorded_until,
                limit,
                ..read.clone()
            };
            let page = self.recorder.read_log(recorded).await?;
            if page.end == PageEnd::Full {
                return Ok(page);
            }
            read_to = page.read_to;
            topics = Some(page.topic_count);
            events = page.events;
        }
        let topics = self.topic_count(topics).await?;
        let continues = |event: &&StoredEvent| {
            Some(event.position()) > read.after
                && read.until.is_none_or(|until| event.position() <= until)
        };
        for event in self.pending.iter().filter(continues) {
            if read.query.matches(event) {
                events.push(event.clone());
                if events.len() == limit {
                    let read_to = events.last().map(StoredEvent::checkpoint);
                    return Ok(Page::new(events, read_to, PageEnd::Full).topic_count(topics));
                }
            }
            read_to = Some(event.checkpoint());
        }
        if read_to.is_none() {
            read_to = self.last();
        }
        Ok(Page::new(events, read_to, PageEnd::Complete).topic_count(topics))
    }

    async fn log_backward(&self, read: LogRead, limit: usize) -> Result<Page, RecordError> {
        let head = self.last();
        let continues = |event: &&StoredEvent| {
            read.after.is_none_or(|after| event.position() < after)
                && Some(event.position()) >= read.until
                && read.query.matches(event)
        };
        let pending = self.pending.iter().rev().filter(continues);
        let mut events: Vec<_> = pending.take(limit).cloned().collect();
        if events.len() == limit {
            let topics = self.topic_count(None).await?;
            return Ok(Page::new(events, head, PageEnd::Full).topic_count(topics));
        }
        let Some(until) = self.until() else {
            let topics = self.topic_count(None).await?;
            return Ok(Page::new(events, head, PageEnd::Complete).topic_count(topics));
        };
        let beyond = until.next();
        let after = read.after.map_or(beyond, |after| after.min(beyond));
        let (mut end, mut topics) = (PageEnd::Complete, None);
        if read.until.is_none_or(|until| until <= after) {
            let recorded = LogRead {
                after: Some(after),
                limit: limit - events.len(),
                ..read
            };
            let page = self.recorder.read_log(recorded).await?;
            events.extend(page.events);
            (end, topics) = (page.end, Some(page.topic_count));
        }
        let topics = self.topic_count(topics).await?;
        Ok(Page::new(events, head, end).topic_count(topics))
    }

    /// Returns how many topics the log has: from a page if one was read, otherwise at present.
    async fn topic_count(&self, counted: Option<u64>) -> Result<u64, RecordError> {
        match counted {
            Some(count) => Ok(count),
            None => Ok(self.recorder.head().await?.topic_count),
        }
    }

    async fn stream_page(&self, read: StreamRead, limit: usize) -> Result<Page, RecordError> {
        let forward = read.direction == Direction::Forward;
        let pending = self.pending.iter().filter(|event| {
            event.stream() == Some(&*read.stream) && is_within(&read, event.version())
        });
        let mut events = Vec::new();
        if !forward {
            events.extend(pending.clone().rev().take(limit).cloned());
        }
        let is_past = |event: &StoredEvent| self.is_shown(&read.stream, event);
        let mut rest = self.recorded_part(&read, limit).await?;
        while let Some(recorded) = rest.take_if(|_| events.len() < limit) {
            let page = self.recorder.read_stream(recorded.clone()).await?;
            let last = page.events.last().and_then(StoredEvent::version);
            let is_cut = forward && page.events.last().is_some_and(|it| !is_past(it));
            events.extend(page.events.into_iter().filter(is_past));
            if page.end == PageEnd::Complete || is_cut {
                break;
            }
            // A backward page may contain only later events that are not shown; a forward page is
            // full.
            if forward {
                let read_to = events.last().map(StoredEvent::checkpoint);
                return Ok(Page::new(events, read_to, PageEnd::Full));
            }
            rest = Some(recorded.after(last));
        }
        if forward {
            events.extend(pending.cloned());
        }
        events.truncate(limit);
        let end = match events.len() == limit {
            true => PageEnd::Full,
            false => PageEnd::Complete,
        };
        let read_to = match (forward, end) {
            (true, PageEnd::Full) => events.last().map(StoredEvent::checkpoint),
            _ => self.last(),
        };
        Ok(Page::new(events, read_to, end))
    }

    /// Returns the part of a read of a stream that must be read from the recorder's log; none if no
    /// part is shown. Ends at the last shown version, if it is known.
    async fn recorded_part(
        &self,
        read: &StreamRead,
        limit: usize,
    ) -> Result<Option<StreamRead>, RecordError> {
        let read = StreamRead {
            limit,
            ..read.clone()
        };
        let Some(last) = self.last_version(&read.stream).await? else {
            return Ok(self.until().map(|_| read));
        };
        let Some(last) = last else {
            return Ok(None);
        };
        Ok(match read.direction {
            Direction::Forward if read.after >= Some(last) => None,
            Direction::Forward => {
                let until = read.until.map_or(last, |until| until.min(last));
                Some(read.until(until))
            }
            Direction::Backward if read.until > Some(last) => None,
            Direction::Backward => {
                let after = last.next();
                let after = read.after.map_or(after, |it| it.min(after));
                Some(read.after(after))
            }
        })
    }

    fn refuse<T: Send + 'static>(&self, what: &str) -> BoxFuture<'_, Result<T, RecordError>> {
        let error = RecordError::invalid(format!(
            "a policy sees the log {:?} as it was, and {what} is not available there; it can read \
             aggregates and queries, which become conditions of what it records",
            self.log_name()
        ));
        Box::pin(async { Err(error) })
    }
}

impl Past for PastRecorder {
    fn is_recorded<'a>(
        &'a self,
        stream: &'a str,
        version: Version,
    ) -> BoxFuture<'a, Result<bool, RecordError>> {
        Box::pin(async move {
            match self.last_version(stream).await? {
                Some(last) => Ok(Some(version) <= last),
                None => self.is_version_shown(stream, version.get()).await,
            }
        })
    }

    fn pending_after(&self, stream: &str) -> Option<Option<Version>> {
        let of_stream = |event: &&StoredEvent| event.stream() == Some(stream);
        let first = self.pending.iter().find(of_stream)?;
        Some(Version::new(Version::number(first.version()) - 1))
    }
}

fn is_within(read: &StreamRead, version: Option<Version>) -> bool {
    match read.direction {
        Direction::Forward => {
            version > read.after && read.until.is_none_or(|it| version <= Some(it))
        }
        Direction::Backward => {
            read.after.is_none_or(|it| version < Some(it)) && version >= read.until
        }
    }
}

impl Recorder for PastRecorder {
    fn log_name(&self) -> &str {
        self.recorder.log_name()
    }

    fn limits(&self) -> Limits {
        self.recorder.limits()
    }

    fn log_id(&self) -> BoxFuture<'_, Result<Option<LogId>, RecordError>> {
        self.recorder.log_id()
    }

    fn append(&self, _: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        self.refuse("writing to it")
    }

    fn read_log(&self, mut read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            let limit = read.check()?;
            self.prove_position(&mut read).await?;
            match read.direction {
                Direction::Forward => self.log_forward(read, limit).await,
                Direction::Backward => self.log_backward(read, limit).await,
            }
        })
    }

    fn read_stream(&self, mut read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            let limit = read.check()?;
            self.prove_version(&mut read).await?;
            self.stream_page(read, limit).await
        })
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>> {
        Box::pin(async move {
            if let Some(event) = self.pending.iter().find(|event| event.id() == id) {
                return Ok(Some(event.clone()));
            }
            let found = self.recorder.event(id).await?;
            Ok(found.filter(|event| Some(event.position()) <= self.until()))
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>> {
        Box::pin(async move {
            let checkpoint = self.last();
            let append_count = Position::number(checkpoint.map(|checkpoint| checkpoint.position));
            Ok(Head {
                checkpoint,
                append_count,
                topic_count: self.recorder.head().await?.topic_count,
            })
        })
    }

    fn streams<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>, RecordError>> {
        self.refuse("a list of streams")
    }

    /// The topics of the present log, which include all earlier ones.
    fn topics<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<str>>, RecordError>> {
        self.recorder.topics(after, limit)
    }

    fn checkpoint<'a>(
        &'a self,
        _: &'a FollowerKey,
        _: LogId,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, RecordError>> {
        self.refuse("a checkpoint")
    }

    fn processed_ranges(
        &self,
        _: RangeRead,
    ) -> BoxFuture<'_, Result<Vec<RecordedRange>, RecordError>> {
        self.refuse("the history of processed ranges")
    }

    fn changed_since(&self, _: u64) -> BoxFuture<'_, Result<u64, RecordError>> {
        self.refuse("what comes next")
    }

    fn put_snapshot(&self, _: StoredSnapshot) -> BoxFuture<'_, Result<(), RecordError>> {
        // A snapshot is a hint, so dropping one loses nothing.
        Box::pin(async { Ok(()) })
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a str,
        until: Option<Version>,
    ) -> BoxFuture<'a, Result<Option<StoredSnapshot>, RecordError>> {
        Box::pin(async move {
            let until = match self.last_version(stream).await? {
                Some(None) => return Ok(None),
                Some(last) => until.min(last).or(last),
                None => until,
            };
            let Some(snapshot) = self.recorder.snapshot(stream, until).await? else {
                return Ok(None);
            };
            // A later snapshot cannot be used; the event at its version shows whether this is one.
            let version = snapshot.version.get();
            let is_past = self.is_version_shown(stream, version).await?;
            if is_past {
                let mut given = self.snapshots();
                if given.len() == SNAPSHOTS_REMEMBERED_MAX {
                    given.clear();
                }
                given.insert(Arc::clone(&snapshot.stream), snapshot.version);
            }
            Ok(is_past.then_some(snapshot))
        })
    }

    fn drop_snapshots<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), RecordError>> {
        self.refuse("dropping snapshots")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::MemoryStore;
    use crate::recording::NewEvent;
    use crate::recording::Store;

    const STREAM: &str = "Dog/fido";

    /// A log with a stream of this many events, and another event before and after each of them.
    async fn log(versions: u64) -> Arc<dyn Recorder> {
        let birth = LogId::new(uuid::Uuid::from_u128(7));
        let recorder = MemoryStore::new().open("dogs", birth).await;
        let recorder = recorder.expect("memory opens");
        for number in 0..=2 * u128::from(versions) {
            let id = EventId::new(uuid::Uuid::from_u128(number + 1));
            let event = NewEvent::new(id, "walked", "{}");
            let event = match number % 2 {
                0 => event,
                _ => event.stream(STREAM),
            };
            let appended = recorder.append(Append::of([event])).await;
            appended.expect("there are no conditions");
        }
        recorder
    }

    async fn versions(past: &PastRecorder, read: StreamRead) -> Vec<u64> {
        let page = past.read_stream(read).await.expect("memory reads");
        let versions = page.events.iter().map(|event| event.version());
        versions.map(Version::number).collect()
    }

    /// The part of a stream that is shown does not depend on whether its version is remembered, was
    /// forgotten, or was never noted.
    #[tokio::test]
    async fn a_stream_is_shown_up_to_the_last_event_that_was_passed() {
        let count = 9;
        let recorder = log(count).await;
        let events = recorder
            .read_log(LogRead::new())
            .await
            .expect("memory reads");
        let passing = PastRecorder::before_all(Arc::clone(&recorder));
        let mut last = 0;
        for event in &events.events {
            passing.pass(event);
            last = event.version().map_or(last, Version::get);
            let forgetful = PastRecorder::before_all(Arc::clone(&recorder));
            forgetful.shown().until = Some(event.checkpoint());
            forgetful.shown().passed = Some(Passed {
                has_gaps: true,
                ..Passed::default()
            });
            let plain =
                PastRecorder::new(Arc::clone(&recorder), Some(event.checkpoint()), Vec::new());
            for past in [&passing, &forgetful, &plain] {
                let read = StreamRead::new(STREAM);
                let all: Vec<_> = (1..=last).collect();
                assert_eq!(versions(past, read.clone()).await, all);
                let backward = read.clone().backward();
                assert_eq!(
                    versions(past, backward.clone().limit(2)).await,
                    all.iter().rev().take(2).copied().collect::<Vec<_>>()
                );
                let from_the_future = backward.after(Version::new(count)).limit(1);
                let before_last = all.iter().rfind(|version| **version < count);
                assert_eq!(versions(past, from_the_future).await.first(), before_last);
                for version in 1..=count {
                    let version = Version::new(version).expect("it is not 0");
                    let is_recorded = past.is_recorded(STREAM, version).await;
                    assert_eq!(is_recorded.expect("memory reads"), version.get() <= last);
                }
            }
        }
        assert_eq!(last, count);
    }
}
