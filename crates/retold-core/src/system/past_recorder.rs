//! A log as it was at a position, with events that are to be recorded there: what a policy decides on.
//!
//! A follower that covers several upstream events by one append shows each policy the log just before
//! the append plus the effects of those before it; a retelling shows a log as it was. Both are reads
//! over another recorder that stop at a position and go on with events in memory. Nothing is written
//! by it, and what it cannot say of the past (names of streams, checkpoints) it refuses to say.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::recording::append::{Append, Appended};
use crate::recording::error::RecordError;
use crate::recording::identity::{EventId, LogId, Mark, Position, Version};
use crate::recording::limits::Limits;
use crate::recording::recorder::{
    BoxFuture, Direction, Head, LogRead, Page, PageEnd, Recorder, StreamEntry, StreamRead,
    StretchRead,
};
use crate::recording::snapshot::StoredSnapshot;
use crate::recording::stored_event::StoredEvent;
use crate::recording::stretch::{FollowerKey, RecordedStretch};

/// A recorder's log up to a position, followed by events that are not recorded yet.
pub(super) struct PastRecorder {
    recorder: Arc<dyn Recorder>,
    /// Number of the last position that is shown of the recorder's log; 0 for none.
    until: AtomicU64,
    /// What follows it; their positions follow each other from the one after `until`.
    pending: Vec<StoredEvent>,
    /// Versions up to which streams are shown, whatever `until` says of them.
    versions: HashMap<Arc<str>, Option<Version>>,
    /// The snapshots that were given last, by stream, for those who must say what a state began with.
    snapshots_given: Mutex<BTreeMap<Arc<str>, Version>>,
}

/// Streams whose snapshots are remembered; one more, and all are forgotten.
const SNAPSHOTS_REMEMBERED_MAX: usize = 10_000;

impl PastRecorder {
    /// The log up to and with this position, which it has.
    pub(super) fn new(
        recorder: Arc<dyn Recorder>,
        until: Option<Position>,
        pending: Vec<StoredEvent>,
    ) -> Self {
        Self {
            recorder,
            until: AtomicU64::new(Position::number(until)),
            pending,
            versions: HashMap::new(),
            snapshots_given: Mutex::default(),
        }
    }

    /// With streams that are shown up to these versions, as they were when they were read; `pending`
    /// goes on from there.
    ///
    /// One of a cache may be older than the log, one that was read later newer. Either is noticed when
    /// the append is judged, and until then the policy sees one history.
    pub(super) fn with_versions<'a>(
        mut self,
        versions: impl Iterator<Item = (&'a Arc<str>, Option<Version>)>,
    ) -> Self {
        self.versions = versions
            .map(|(stream, version)| (Arc::clone(stream), version))
            .collect();
        self
    }

    /// Whether an event of a stream is shown.
    fn is_shown(&self, stream: &str, event: &StoredEvent) -> bool {
        match self.versions.get(stream) {
            Some(last) => event.version() <= *last,
            None => Some(event.position()) <= self.until(),
        }
    }

    /// Version of the snapshot of this stream that was given last, if one was.
    pub(super) fn snapshot_given(&self, stream: &str) -> Option<Version> {
        self.snapshots().get(stream).copied()
    }

    fn snapshots(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Version>> {
        // Nothing is left half-changed under this lock.
        self.snapshots_given
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the log up to and with a later position, which it has.
    pub(super) fn move_to(&self, until: Option<Position>) {
        self.until.store(Position::number(until), Ordering::SeqCst);
    }

    fn until(&self) -> Option<Position> {
        Position::new(self.until.load(Ordering::SeqCst))
    }

    /// The event that is shown last, none if nothing is.
    async fn last(&self) -> Result<Option<Mark>, RecordError> {
        if let Some(event) = self.pending.last() {
            return Ok(Some(event.mark()));
        }
        self.recorded_last().await
    }

    async fn recorded_last(&self) -> Result<Option<Mark>, RecordError> {
        let Some(until) = self.until() else {
            return Ok(None);
        };
        Ok(self.recorder.read_log(LogRead::at(until)).await?.read_to)
    }

    /// Checks the mark that a read begins after, and takes it off the read: it may be of an event that
    /// is not recorded yet.
    async fn prove_position(&self, read: &mut LogRead) -> Result<(), RecordError> {
        let Some(mark) = read.mark() else {
            return Ok(());
        };
        read.after_event = None;
        let mut pending = self.pending.iter().map(StoredEvent::mark);
        let found = match pending.find(|it| it.position == mark.position) {
            Some(found) => Some(found),
            None if Some(mark.position) > self.until() => None,
            None => {
                let page = self.recorder.read_log(LogRead::at(mark.position)).await?;
                page.events.first().map(StoredEvent::mark)
            }
        };
        RecordError::check_mark(self.log_name(), mark, found)
    }

    /// As [`prove_position`](Self::prove_position), of a read of a stream.
    async fn prove_version(&self, read: &mut StreamRead) -> Result<(), RecordError> {
        let Some((version, mark)) = read.mark() else {
            return Ok(());
        };
        read.after_mark = None;
        let is_meant = |event: &&StoredEvent| {
            event.stream() == Some(&*read.stream) && event.version() == Some(version)
        };
        let found = match self.pending.iter().find(is_meant) {
            Some(event) => Some(event.mark()),
            None => {
                let before = Version::new(version.get() - 1);
                let at = StreamRead::new(Arc::clone(&read.stream))
                    .after(before)
                    .until(version)
                    .limit(1);
                let page = self.recorder.read_stream(at).await?;
                page.events.first().map(StoredEvent::mark)
            }
        };
        RecordError::check_mark(self.log_name(), mark, found)
    }

    async fn log_forward(&self, read: LogRead, limit: usize) -> Result<Page, RecordError> {
        let until = self.until();
        let mut events = Vec::new();
        let mut read_to = None;
        let mut topics = 0;
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
            topics = page.topic_count;
            events = page.events;
        }
        let goes_on = |event: &&StoredEvent| {
            Some(event.position()) > read.after
                && read.until.is_none_or(|until| event.position() <= until)
        };
        for event in self.pending.iter().filter(goes_on) {
            if read.query.matches(event) {
                events.push(event.clone());
                if events.len() == limit {
                    let read_to = events.last().map(StoredEvent::mark);
                    return Ok(Page::new(events, read_to, PageEnd::Full).topic_count(topics));
                }
            }
            read_to = Some(event.mark());
        }
        if read_to.is_none() {
            read_to = self.last().await?;
        }
        Ok(Page::new(events, read_to, PageEnd::Complete).topic_count(topics))
    }

    async fn log_backward(&self, read: LogRead, limit: usize) -> Result<Page, RecordError> {
        let head = self.last().await?;
        let goes_on = |event: &&StoredEvent| {
            read.after.is_none_or(|after| event.position() < after)
                && Some(event.position()) >= read.until
                && read.query.matches(event)
        };
        let pending = self.pending.iter().rev().filter(goes_on);
        let mut events: Vec<_> = pending.take(limit).cloned().collect();
        if events.len() == limit {
            return Ok(Page::new(events, head, PageEnd::Full));
        }
        let Some(until) = self.until() else {
            return Ok(Page::new(events, head, PageEnd::Complete));
        };
        let beyond = until.next();
        let after = read.after.map_or(beyond, |after| after.min(beyond));
        let mut end = PageEnd::Complete;
        if read.until.is_none_or(|until| until <= after) {
            let recorded = LogRead {
                after: Some(after),
                limit: limit - events.len(),
                ..read
            };
            let page = self.recorder.read_log(recorded).await?;
            events.extend(page.events);
            end = page.end;
        }
        Ok(Page::new(events, head, end))
    }

    async fn stream_page(&self, read: StreamRead, limit: usize) -> Result<Page, RecordError> {
        let is_past = |event: &StoredEvent| self.is_shown(&read.stream, event);
        let may_have_events = match self.versions.get(&read.stream) {
            Some(last) => last.is_some(),
            None => self.until().is_some(),
        };
        let forward = read.direction == Direction::Forward;
        let pending = self.pending.iter().filter(|event| {
            event.stream() == Some(&*read.stream) && is_within(&read, event.version())
        });
        let mut events = Vec::new();
        if !forward {
            events.extend(pending.clone().rev().take(limit).cloned());
        }
        let mut rest = StreamRead {
            limit,
            ..read.clone()
        };
        while events.len() < limit && may_have_events {
            let page = self.recorder.read_stream(rest.clone()).await?;
            let last = page.events.last().and_then(StoredEvent::version);
            let is_cut = forward && page.events.last().is_some_and(|it| !is_past(it));
            events.extend(page.events.into_iter().filter(is_past));
            if page.end == PageEnd::Complete || is_cut {
                break;
            }
            // A backward page may have been all of the future, a forward one is full.
            if forward {
                let read_to = events.last().map(StoredEvent::mark);
                return Ok(Page::new(events, read_to, PageEnd::Full));
            }
            rest = rest.after(last);
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
            (true, PageEnd::Full) => events.last().map(StoredEvent::mark),
            _ => self.last().await?,
        };
        Ok(Page::new(events, read_to, end))
    }

    fn refuse<T: Send + 'static>(&self, what: &str) -> BoxFuture<'_, Result<T, RecordError>> {
        let error = RecordError::invalid(format!(
            "a policy sees the log {:?} as it was, and {what} is not part of that; it reads aggregates and queries, which become conditions of what it records",
            self.log_name()
        ));
        Box::pin(async { Err(error) })
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
            let mark = self.last().await?;
            let append_count = Position::number(mark.map(|mark| mark.position));
            Ok(Head {
                mark,
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

    /// Those of the log as it is now, which has all that it had.
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
    ) -> BoxFuture<'a, Result<Option<Mark>, RecordError>> {
        self.refuse("a checkpoint")
    }

    fn stretches(
        &self,
        _: StretchRead,
    ) -> BoxFuture<'_, Result<Vec<RecordedStretch>, RecordError>> {
        self.refuse("the history of stretches")
    }

    fn changed_since(&self, _: u64) -> BoxFuture<'_, Result<u64, RecordError>> {
        self.refuse("what comes next")
    }

    fn put_snapshot(&self, _: StoredSnapshot) -> BoxFuture<'_, Result<(), RecordError>> {
        // A snapshot is a hint; one that is not put is missed by nobody.
        Box::pin(async { Ok(()) })
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a str,
        until: Option<Version>,
    ) -> BoxFuture<'a, Result<Option<StoredSnapshot>, RecordError>> {
        Box::pin(async move {
            let Some(snapshot) = self.recorder.snapshot(stream, until).await? else {
                return Ok(None);
            };
            // One of the future is of no use; whether this is one tells the event at its version.
            let before = Version::new(snapshot.version.get() - 1);
            let read = StreamRead::new(stream)
                .after(before)
                .until(snapshot.version)
                .limit(1);
            let page = self.recorder.read_stream(read).await?;
            let is_past = page
                .events
                .first()
                .is_some_and(|event| self.is_shown(stream, event));
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
