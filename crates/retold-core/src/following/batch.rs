//! The next append of a follower: effects, the reads that they depend on, and the processed ranges
//! of the upstream logs that were processed.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use super::limits::{EFFECTS_PER_APPEND_MAX, EFFECTS_SIZE_MAX, READS_PER_APPEND_MAX};
use crate::application::{Application, Folded};
use crate::domain::Aggregate;
use crate::recording::{
    Append, BoxFuture, Checkpoint, Condition, EventId, LogId, NewEvent, Position, Positions,
    ProcessedRange, Query, Version,
};

/// Effects, reads and processed ranges that will form one append.
#[derive(Default)]
pub(crate) struct Batch {
    events: Vec<NewEvent>,
    /// The streams that were read, with their versions in the log, in the order of reading.
    streams: Vec<StreamReadOf>,
    /// Index of a stream in `streams`.
    read: HashMap<Arc<str>, usize>,
    queries: Vec<(Query, Option<Position>)>,
    /// How many topics the log had when the first query was read.
    topic_count: Option<u64>,
    drafts: HashMap<Arc<str>, Box<dyn AnyDraft>>,
    /// Number of events of the batch in each stream.
    written: HashMap<Arc<str>, u64>,
    ranges: Vec<ProcessedRange>,
    /// The head of the log at which queries are read. None before the first query.
    head: Option<Option<Checkpoint>>,
    size: usize,
    /// Upstream events that were decided, with or without effect.
    causes: usize,
}

/// A stream as it was in the log when it was read.
struct StreamReadOf {
    stream: Arc<str>,
    version: Option<Version>,
    /// Id of the event of that version, if it is known.
    event: Option<EventId>,
}

/// An aggregate with the effects of the batch applied.
pub(crate) struct Draft<A> {
    /// The version that was read from the log.
    pub(crate) read: Option<Version>,
    /// The state after the events of the batch, and the version it will have.
    pub(crate) folded: Folded<A>,
}

/// A [`Draft`] of any type.
pub(crate) trait AnyDraft: Send + Sync {
    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync);

    /// Puts the state into the application's cache, now that its events are recorded. `last` is the
    /// last of them, if it is known.
    fn keep<'a>(
        &'a self,
        application: &'a Application,
        stream: &'a Arc<str>,
        last: Option<Checkpoint>,
    ) -> BoxFuture<'a, ()>;
}

impl<A: Aggregate> AnyDraft for Draft<A> {
    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }

    fn keep<'a>(
        &'a self,
        application: &'a Application,
        stream: &'a Arc<str>,
        last: Option<Checkpoint>,
    ) -> BoxFuture<'a, ()> {
        let mut folded = self.folded.clone();
        folded.checkpoint = last;
        Box::pin(async move { application.keep_state(stream, self.read, &folded).await })
    }
}

impl Batch {
    /// Returns whether there is nothing to record.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.ranges.is_empty()
    }

    /// Returns the effects.
    pub(crate) fn events(&self) -> &[NewEvent] {
        &self.events
    }

    /// Returns whether it has effects.
    pub(crate) fn has_effects(&self) -> bool {
        !self.events.is_empty()
    }

    /// Returns how many upstream events were decided in it.
    pub(crate) fn causes(&self) -> usize {
        self.causes
    }

    /// Returns whether anything was read by a query.
    pub(crate) fn has_queries(&self) -> bool {
        !self.queries.is_empty()
    }

    /// Returns whether anything was read.
    pub(crate) fn has_reads(&self) -> bool {
        !self.streams.is_empty() || !self.queries.is_empty()
    }

    /// Counts an upstream event that was decided.
    pub(crate) fn count_cause(&mut self) {
        self.causes += 1;
    }

    /// Returns whether another upstream event might not fit.
    pub(crate) fn is_full(&self) -> bool {
        let reads = self.streams.len() + self.queries.len() + self.ranges.len();
        reads >= READS_PER_APPEND_MAX
            || self.events.len() >= EFFECTS_PER_APPEND_MAX
            || self.size >= EFFECTS_SIZE_MAX
    }

    /// Returns the draft of this stream, if there is one of type `A`.
    pub(crate) fn draft<A: Aggregate>(&mut self, stream: &str) -> Option<&mut Draft<A>> {
        let draft = self.drafts.get_mut(stream)?;
        draft.as_any_mut().downcast_mut()
    }

    /// Adds an aggregate as it is after the events of the batch. `read` is its version in the log,
    /// which becomes a condition, with the event of that version if it is known.
    pub(crate) fn add_draft<A: Aggregate>(
        &mut self,
        stream: &Arc<str>,
        read: Option<Version>,
        folded: Folded<A>,
    ) {
        let event = folded.last().filter(|_| folded.version == read);
        self.add_read(stream, read, event);
        let draft = Draft { read, folded };
        self.drafts.insert(Arc::clone(stream), Box::new(draft));
    }

    /// Drops the draft of a stream that was written to without its draft.
    pub(crate) fn drop_draft(&mut self, stream: &str) {
        self.drafts.remove(stream);
    }

    /// Notes that a stream was read and had this version in the log. The first read counts, because
    /// it holds only if later reads do.
    pub(crate) fn add_read(
        &mut self,
        stream: &Arc<str>,
        version: Option<Version>,
        event: Option<EventId>,
    ) {
        if !self.read.contains_key(stream) {
            self.read.insert(Arc::clone(stream), self.streams.len());
            self.streams.push(StreamReadOf {
                stream: Arc::clone(stream),
                version,
                event,
            });
        }
    }

    /// Returns the version that a stream had in the log when it was read.
    pub(crate) fn version_read(&self, stream: &str) -> Option<Option<Version>> {
        let index = self.read.get(stream)?;
        Some(self.streams[*index].version)
    }

    /// Notes that a query was read up to this position of the log.
    pub(crate) fn add_query(&mut self, query: Query, after: Option<Position>) {
        let known = self.queries.iter().any(|(it, _)| *it == query);
        if !known {
            self.queries.push((query, after));
        }
    }

    /// Notes how many topics the log had when a query was read. The first read counts.
    pub(crate) fn add_topic_count(&mut self, count: u64) {
        self.topic_count.get_or_insert(count);
    }

    /// Returns how many events of the batch are in this stream.
    pub(crate) fn written(&self, stream: &str) -> u64 {
        self.written.get(stream).copied().unwrap_or(0)
    }

    /// Drops the effects from this index on, and the drafts that contain them.
    pub(crate) fn drop_events(&mut self, from: usize) {
        for event in self.events.drain(from..) {
            self.size -= event.size();
            if let Some(stream) = &event.stream {
                self.drafts.remove(stream);
                if let Some(written) = self.written.get_mut(stream) {
                    *written -= 1;
                }
            }
        }
    }

    /// Returns the streams that were read, with their versions in the log.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (&Arc<str>, Option<Version>)> {
        self.streams.iter().map(|read| (&read.stream, read.version))
    }

    /// Adds an effect.
    pub(crate) fn push(&mut self, event: NewEvent) {
        self.size += event.size();
        if let Some(stream) = &event.stream {
            *self.written.entry(Arc::clone(stream)).or_default() += 1;
        }
        self.events.push(event);
    }

    /// Returns the head of the log at which queries are read, if it is fixed.
    pub(crate) fn head(&self) -> Option<Option<Checkpoint>> {
        self.head
    }

    /// Fixes the head of the log at which queries are read.
    pub(crate) fn set_head(&mut self, head: Option<Checkpoint>) {
        self.head = Some(head);
    }

    /// Extends the last processed range if it is of the same upstream, otherwise adds one.
    pub(crate) fn extend_range(
        &mut self,
        upstream: LogId,
        to: Checkpoint,
        begin: impl FnOnce() -> ProcessedRange,
    ) {
        match self.ranges.last_mut() {
            Some(last) if last.upstream == upstream => last.to = to,
            _ => {
                let mut range = begin();
                range.to = to;
                self.ranges.push(range);
            }
        }
    }

    /// Builds the append, on condition of all reads, and of `own` on the follower's own stream.
    pub(crate) fn to_append(&self, follower: &Arc<str>, own: Condition) -> Append {
        let streams = self.streams.iter().filter(|read| read.stream != *follower);
        let streams = streams
            .map(|read| Condition::stream_read(Arc::clone(&read.stream), read.version, read.event));
        let queries = self.queries.iter();
        let queries =
            queries.map(|(query, after)| Condition::none_match_after(query.clone(), *after));
        let topics = self.topic_count.map(Condition::topic_count);
        let append = Append::of(self.events.iter().cloned())
            .condition(own)
            .conditions(streams)
            .conditions(queries)
            .conditions(topics);
        self.ranges
            .iter()
            .cloned()
            .fold(append, Append::processed_range)
    }

    /// Puts the states of changed aggregates into the application's cache, now that they are
    /// recorded at these positions. The next read of each proves it by its last event.
    pub(crate) async fn keep_drafts(&self, application: &Application, positions: Positions) {
        let mut last_events = HashMap::new();
        for (position, event) in positions.iter().zip(&self.events) {
            let event_id = event.id;
            last_events.insert(event.stream.as_ref(), Checkpoint { position, event_id });
        }
        for stream in self.written.keys() {
            match self.drafts.get(stream) {
                Some(draft) => {
                    let last = last_events.get(&Some(stream)).copied();
                    draft.keep(application, stream, last).await;
                }
                // It was written without being folded, so the cached state is older.
                None => application.outdate_state(stream),
            }
        }
    }
}
