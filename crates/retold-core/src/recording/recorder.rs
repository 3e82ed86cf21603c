//! The recorder: append and read operations of one log, over one database.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

#[allow(unused_imports, reason = "the docs of the contract link to it")]
use super::amendment::{Amendment, DELETED_TOPIC, REOPENED_TOPIC, Replacement};
use super::append::{Append, Appended};
#[allow(unused_imports, reason = "the docs of the contract link to it")]
use super::error::{Conflict, RecordError};
use super::fault::Invalid;
use super::identity::{Checkpoint, EventId, LogId, Position, Version};
use super::limits::{Limits, PAGE_EVENTS_MAX, PAGE_NAMES_MAX, check_name, check_page_limit};
use super::processed_range::{FollowerKey, RecordedRange};
use super::query::Query;
use super::snapshot::StoredSnapshot;
use super::stored_event::StoredEvent;

/// A boxed future: the return type of trait methods that must work with `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One log: append and read operations.
///
/// The trait is dyn-compatible and contains only what differs between databases. A recorder is
/// shared by reference between tasks and threads, and stays usable after every error. Every method
/// that accesses the store may also fail with [`RecordError::Replaced`] (rule 21).
///
/// # Contract
///
/// Each rule has a test of the same name in the crate `retold-conformance`, which every store runs.
///
/// 1. `append_is_atomic`: all events, their streams, the processed ranges and the amendments are
///    recorded, or nothing, even after a crash.
/// 2. `append_is_judged_in_one_order`: first the checks that do not depend on the log
///    ([`Append::check`]); then, with processed ranges, the processed ranges
///    ([`Conflict::Checkpoint`]); without processed ranges, an exact repeat (rule 5); then an id
///    already in the log ([`Conflict::EventId`]; of several, the first in the order of the append);
///    then the conditions in their order; then deleted streams (rule 28); then the amendments in
///    their order (rule 25).
/// 3. `append_checks_stream_versions`: of two appends that expect the same version of a stream and
///    write to it, at most one is recorded.
/// 4. `append_checks_queries`: the query has the meaning defined by [`Query`]. `after` is
///    exclusive; if absent, all events count. An `after` beyond the head is `Invalid`, once the
///    condition is checked. An append is not compared with its own events. The head is that just
///    before the append, including earlier appends of its group.
/// 5. `a_repeated_append_records_nothing`: an append with events and without processed ranges,
///    whose ids are exactly those of one recorded append in the same order, is
///    [`Repeated`](Appended::Repeated) with the recorded positions; contents are not compared. An
///    append with processed ranges never counts as a repeat: resent, it fails with
///    [`Conflict::Checkpoint`]. Ids are unique in a log.
/// 6. `versions_have_no_gaps`, `positions_have_no_gaps`: positions are in commit order, and an
///    append's positions are consecutive.
/// 7. `a_tailing_reader_never_skips`: a reader that only reads forward sees everything that is
///    committed, in one order.
/// 8. `a_read_says_how_far_it_went`: every page has a checkpoint up to which the log was read; see
///    [`Page::read_to`].
/// 9. `a_read_sees_what_was_acknowledged` before it began, through any handle in any process.
/// 10. `nothing_is_seen_before_it_is_durable`: not by readers, hints or caches, and not as the
///     reason for a conflict or a repeat.
/// 11. `an_append_fails_alone`: an error of one append of a group affects only that append.
/// 12. `ranges_join`: `after` is the `to` of the previous processed range of the same follower and
///     upstream, whether recorded or earlier in this append; the first may start anywhere.
///     Otherwise the append fails with [`Conflict::Checkpoint`], including its events. The history
///     of processed ranges is stored, each processed range with the head of the log before its
///     append; see [`RecordedRange`]. An append of only processed ranges also increases the append
///     count.
/// 13. `acknowledged_events_survive_reopen`: they also survive a kill of the process at any moment.
/// 14. `a_retry_settles_the_unknown`: after `OutcomeUnknown`, resending the same append until it
///     returns positions, a repeat or a conflict gives the final outcome. Dropping the future of an
///     append does not cancel the append; its outcome is then unknown.
/// 15. `logs_are_isolated`: logs in one store do not affect each other.
/// 16. `limits_are_enforced`: a call that exceeds a limit fails with a clear error before anything
///     is written.
/// 17. `unknown_is_empty`: an unknown stream or log reads as empty.
/// 18. `memory_is_the_model`: random operations give the same results on the store and in memory.
/// 19. `topics_are_listed_and_counted`: the list has each topic that an event of the log has or had
///     before an amendment, exactly once, and no other. Every page and head reports the number of
///     topics in the state that it shows, so that a reader that selects by topic notices a new one.
///     A topic, once recorded, stays in the list.
/// 20. `a_read_proves_its_place`: a page after a checkpoint shows a state of the log in which the
///     event of the checkpoint is at its position and, in a read of a stream, also at its version.
///     Otherwise the read fails with [`Diverged`](RecordError::Diverged) and returns nothing.
/// 21. `a_recorder_never_serves_another_log`: every call of a recorder refers to the log that had
///     the name when the recorder opened it. If the name now refers to another log or to none, or
///     another log has replaced it in the store, the call fails with
///     [`Replaced`](RecordError::Replaced), and nothing is read or written. This is checked in the
///     statement or transaction that reads or writes.
/// 22. `append_checks_the_events_of_streams`: a condition on a stream's version may name the event
///     that has that version. It holds only if that event has that version; the event may be from
///     an earlier append of the same group. Otherwise [`Conflict::Stream`] contains the event that
///     has the version.
/// 23. `append_checks_the_count_of_topics`: the compared count is that just before the append,
///     including earlier appends of its group; topics that the append itself adds do not count.
/// 24. `amendments_are_recorded_with_their_events`: an [`Amendment`] is made with the events of its
///     append or not at all. In each stream that it changes, the append has an event whose topic is
///     one of [these](super::amendment::is_amendment_record); for an event without a stream, any
///     event with such a topic. A repeated append (rule 5) amends nothing again.
/// 25. `amendments_are_judged_last`: an amendment that does not hold is
///     [`Conflict::Amendment`], judged against the log just before the append, including earlier
///     appends of its group and earlier amendments of the append; the events of the append do not
///     count. Events that record amendments are never amended, and an erased event is not replaced.
/// 26. `an_amendment_changes_only_what_it_names`: of an event that it names, payload, and tags and
///     metadata if they are named, or everything that a [`Replacement`] has; nothing else of that
///     event or of others. Reads, queries and conditions see the new content at once, and only
///     that.
/// 27. `amended_streams_lose_their_snapshots`: the commit of an amendment drops all snapshots of
///     the streams that it changes. A snapshot of a version below that of the last event of the
///     stream that records an amendment is not stored; the call succeeds.
/// 28. `a_deleted_stream_takes_no_events`: a stream whose last event has the topic
///     [`DELETED_TOPIC`] is deleted. An append with an event in it is
///     [`Conflict::Deleted`], unless the first one in that stream has the topic [`REOPENED_TOPIC`]
///     or [`DELETED_TOPIC`]. Earlier appends of its group count.
pub trait Recorder: Send + Sync {
    /// Returns the name of the log.
    fn log_name(&self) -> &str;

    /// Returns the limits of this recorder.
    fn limits(&self) -> Limits;

    /// Returns the id of the log; none if the log does not exist yet, which is possible only for a
    /// recorder that was opened for reading.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn log_id(&self) -> BoxFuture<'_, Result<Option<LogId>, RecordError>>;

    /// Records an append as a whole, or nothing.
    ///
    /// Concurrent appends are committed in groups. Each is checked separately against the log,
    /// including the earlier appends of its group, and each gets its own result once the group is
    /// durable. Dropping the future does not cancel the append.
    ///
    /// # Errors
    ///
    /// Any [`RecordError`]; each variant documents the state of the log after it. `Invalid` also
    /// from a recorder that was opened only for reading.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>>;

    /// Reads a page of the log.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0, a query beyond the limits, or an `until` that lies before
    /// `after` in the direction of reading; `Diverged` if the log does not have the checkpoint
    /// after which to read (rule 20); `Unavailable`, `Corrupt`. An `after` that is only a position
    /// and lies beyond the head is no error: the page is then empty and complete.
    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>>;

    /// Reads a page of a stream.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0, a bad name, or an `until` that lies before `after` in the
    /// direction of reading; `Diverged` if the stream does not have the checkpoint after which to
    /// read at its version (rule 20); `Unavailable`, `Corrupt`.
    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>>;

    /// Returns the event with this id, or none.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>>;

    /// Returns the end of the log.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>>;

    /// Returns the names and versions of the streams whose names begin with `prefix` (all, if it is
    /// empty) and come after the name `after`, in byte order; at most `limit`, and at most
    /// [`PAGE_NAMES_MAX`]. An empty page is the end.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0; `Unavailable`, `Corrupt`.
    fn streams<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>, RecordError>>;

    /// Returns the topics that events of the log have and that come after the topic `after`, in
    /// byte order; at most `limit`, and at most [`PAGE_NAMES_MAX`]. An empty page is the end.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0; `Unavailable`, `Corrupt`.
    fn topics<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<str>>, RecordError>>;

    /// Returns the end of the last processed range of this follower over this upstream, or none.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn checkpoint<'a>(
        &'a self,
        follower: &'a FollowerKey,
        upstream: LogId,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, RecordError>>;

    /// Returns a page of the history of processed ranges, in commit order.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0; `Unavailable`, `Corrupt`.
    fn processed_ranges(
        &self,
        read: RangeRead,
    ) -> BoxFuture<'_, Result<Vec<RecordedRange>, RecordError>>;

    /// Waits until the number of recorded appends differs from `append_count`, and returns it. Pass
    /// [`Head::append_count`] or the result of the previous call. A lower number means that the log
    /// was restored from an older copy; the next read after a checkpoint then reports it.
    ///
    /// Wakes on a hint and falls back to polling at an interval that the store defines. The future
    /// can be dropped at any time.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn changed_since(&self, append_count: u64) -> BoxFuture<'_, Result<u64, RecordError>>;

    /// Stores a snapshot, replacing one of the same stream and version. If there are more than
    /// [`SNAPSHOTS_PER_STREAM_MAX`](super::limits::SNAPSHOTS_PER_STREAM_MAX), the one of the lowest
    /// version is dropped.
    ///
    /// # Errors
    ///
    /// `Invalid`, `Unavailable`. A snapshot is only an optimization: a caller can ignore the error.
    fn put_snapshot(&self, snapshot: StoredSnapshot) -> BoxFuture<'_, Result<(), RecordError>>;

    /// Returns the snapshot of this stream with the highest version, up to and including `until` if
    /// given; none if there is none.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn snapshot<'a>(
        &'a self,
        stream: &'a str,
        until: Option<Version>,
    ) -> BoxFuture<'a, Result<Option<StoredSnapshot>, RecordError>>;

    /// Drops all snapshots of a stream.
    ///
    /// # Errors
    ///
    /// `Unavailable`; `Invalid` from a recorder that was opened only for reading.
    fn drop_snapshots<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<(), RecordError>>;
}

/// Checks that a log has the event of this checkpoint at its position, by rule 20: the store proves
/// it, so that a replica that lags does not seem to have diverged.
///
/// # Errors
///
/// `Diverged` if the log does not have it; the errors of [`Recorder::read_log`].
pub(crate) async fn prove_checkpoint(
    recorder: &dyn Recorder,
    checkpoint: Checkpoint,
) -> Result<(), RecordError> {
    let proof = LogRead::new()
        .after_checkpoint(checkpoint)
        .until(checkpoint.position);
    recorder.read_log(proof.limit(1)).await.map(drop)
}

/// The end of a log, as one consistent state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The last event; none if the log is empty.
    pub checkpoint: Option<Checkpoint>,
    /// The number of recorded appends, including those of only processed ranges.
    pub append_count: u64,
    /// The number of topics that the events have; see [`Recorder::topics`].
    pub topic_count: u64,
}

impl Head {
    /// Returns the position of the last event.
    pub fn position(&self) -> Option<Position> {
        self.checkpoint.map(|checkpoint| checkpoint.position)
    }
}

/// A stream and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Name of the stream.
    pub name: Arc<str>,
    /// Version of its last event.
    pub version: Version,
    /// Whether it is deleted: its last event is one with the topic
    /// [`DELETED_TOPIC`](super::amendment::DELETED_TOPIC).
    pub is_deleted: bool,
}

/// The direction of a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third variant")]
pub enum Direction {
    /// In the order of recording.
    #[default]
    Forward,
    /// Last event first.
    Backward,
}

impl Direction {
    /// Returns whether `until` lies before `after` in this direction, so that nothing can lie
    /// between.
    fn is_turned<T: Ord>(self, after: Option<T>, until: Option<T>) -> bool {
        match (after, until) {
            (Some(after), Some(until)) => match self {
                Self::Forward => until < after,
                Self::Backward => after < until,
            },
            _ => false,
        }
    }
}

/// Which events of a log to read: by default all, forward, [`PAGE_EVENTS_MAX`] per page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRead {
    /// Only events that match.
    pub query: Query,
    /// Begin just after this position in the direction of reading. Without it, a forward read
    /// begins with the first event of the log, and a backward read with the last.
    pub after: Option<Position>,
    /// Id of the event that must be at `after`; see [`after_checkpoint`](Self::after_checkpoint).
    pub after_event: Option<EventId>,
    /// Read up to and including this position; without it, to the end of the log in that direction.
    pub until: Option<Position>,
    /// The direction of reading.
    pub direction: Direction,
    /// Maximum number of events on the page; reduced to [`PAGE_EVENTS_MAX`] if higher.
    pub limit: usize,
}

impl LogRead {
    /// Reads all events, forward.
    pub fn new() -> Self {
        Self::of(Query::All)
    }

    /// Reads the events that match, forward.
    pub fn of(query: Query) -> Self {
        Self {
            query,
            after: None,
            after_event: None,
            until: None,
            direction: Direction::Forward,
            limit: PAGE_EVENTS_MAX,
        }
    }

    /// Reads only the event at this position.
    pub fn at(position: Position) -> Self {
        let before = Position::new(position.get() - 1);
        Self::new().after(before).until(position).limit(1)
    }

    /// Begins after this position, no matter which event is there.
    #[must_use]
    pub fn after(mut self, after: impl Into<Option<Position>>) -> Self {
        self.after = after.into();
        self.after_event = None;
        self
    }

    /// Begins after this checkpoint, which an earlier read returned: the page is returned only if
    /// the event of the checkpoint is at its position (rule 20). Without a checkpoint, the read
    /// begins with the first event in its direction.
    ///
    /// A reader that continues an earlier read uses a checkpoint. A log that is restored from an
    /// older copy reuses its positions, and a reader that knows only a position would skip new
    /// events below it.
    #[must_use]
    pub fn after_checkpoint(mut self, checkpoint: impl Into<Option<Checkpoint>>) -> Self {
        let checkpoint = checkpoint.into();
        self.after = checkpoint.map(|checkpoint| checkpoint.position);
        self.after_event = checkpoint.map(|checkpoint| checkpoint.event_id);
        self
    }

    /// Returns the checkpoint that the log must have; none if the read does not begin after a
    /// checkpoint.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let (position, event_id) = self.after.zip(self.after_event)?;
        Some(Checkpoint { position, event_id })
    }

    /// Reads up to and including this position.
    #[must_use]
    pub fn until(mut self, until: impl Into<Option<Position>>) -> Self {
        self.until = until.into();
        self
    }

    /// Reads the last event first.
    #[must_use]
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// Reads at most this number of events.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Checks the read and returns the maximum number of events on its page. Every recorder calls
    /// this first.
    ///
    /// # Errors
    ///
    /// [`Invalid`] with the reason.
    pub fn check(&self) -> Result<usize, Invalid> {
        self.query.check()?;
        if self.direction.is_turned(self.after, self.until) {
            return Err(turned("position"));
        }
        check_page_limit(self.limit, PAGE_EVENTS_MAX)
    }
}

impl Default for LogRead {
    fn default() -> Self {
        Self::new()
    }
}

fn turned(what: &str) -> Invalid {
    Invalid::new(format!(
        "the {what} `until` lies before the {what} `after`, in the direction of reading"
    ))
}

/// Which events of a stream to read: by default all, forward, [`PAGE_EVENTS_MAX`] per page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamRead {
    /// Name of the stream.
    pub stream: Arc<str>,
    /// Begin just after this version in the direction of reading.
    pub after: Option<Version>,
    /// The event that must have the version `after`; see
    /// [`after_checkpoint`](Self::after_checkpoint).
    pub after_checkpoint: Option<Checkpoint>,
    /// Read up to and including this version.
    pub until: Option<Version>,
    /// The direction of reading.
    pub direction: Direction,
    /// Maximum number of events on the page; reduced to [`PAGE_EVENTS_MAX`] if higher.
    pub limit: usize,
}

impl StreamRead {
    /// Reads the whole stream, forward.
    pub fn new(stream: impl Into<Arc<str>>) -> Self {
        Self {
            stream: stream.into(),
            after: None,
            after_checkpoint: None,
            until: None,
            direction: Direction::Forward,
            limit: PAGE_EVENTS_MAX,
        }
    }

    /// Begins after this version, no matter which event has it.
    #[must_use]
    pub fn after(mut self, after: impl Into<Option<Version>>) -> Self {
        self.after = after.into();
        self.after_checkpoint = None;
        self
    }

    /// Begins after this version. If a checkpoint is given, the page is returned only if the event
    /// of the checkpoint has that version in the stream (rule 20). Without a version, the read
    /// begins with the first event in its direction.
    #[must_use]
    pub fn after_checkpoint(
        mut self,
        version: Option<Version>,
        checkpoint: Option<Checkpoint>,
    ) -> Self {
        self.after = version;
        self.after_checkpoint = checkpoint.filter(|_| version.is_some());
        self
    }

    /// Returns the checkpoint that the stream must have, with its version; none if the read does
    /// not begin after a checkpoint.
    pub fn checkpoint(&self) -> Option<(Version, Checkpoint)> {
        self.after.zip(self.after_checkpoint)
    }

    /// Reads up to and including this version.
    #[must_use]
    pub fn until(mut self, until: impl Into<Option<Version>>) -> Self {
        self.until = until.into();
        self
    }

    /// Reads the last event first.
    #[must_use]
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// Reads at most this number of events.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Checks the read and returns the maximum number of events on its page. Every recorder calls
    /// this first.
    ///
    /// # Errors
    ///
    /// [`Invalid`] with the reason.
    pub fn check(&self) -> Result<usize, Invalid> {
        check_name("stream name", &self.stream)?;
        if self.direction.is_turned(self.after, self.until) {
            return Err(turned("version"));
        }
        check_page_limit(self.limit, PAGE_EVENTS_MAX)
    }
}

/// Which processed ranges to read: by default all, from the first, [`PAGE_NAMES_MAX`] per page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RangeRead {
    /// Only those of this follower.
    pub follower: Option<FollowerKey>,
    /// Only those over this log.
    pub upstream: Option<LogId>,
    /// Begin after the processed range with this ordinal; 0 for the beginning.
    pub after: u64,
    /// Maximum number of processed ranges on the page; reduced to [`PAGE_NAMES_MAX`] if higher.
    pub limit: usize,
}

impl RangeRead {
    /// Reads all processed ranges.
    pub fn new() -> Self {
        Self {
            follower: None,
            upstream: None,
            after: 0,
            limit: PAGE_NAMES_MAX,
        }
    }

    /// Reads only the processed ranges of this follower.
    #[must_use]
    pub fn follower(mut self, follower: FollowerKey) -> Self {
        self.follower = Some(follower);
        self
    }

    /// Reads only the processed ranges over this log.
    #[must_use]
    pub fn upstream(mut self, upstream: LogId) -> Self {
        self.upstream = Some(upstream);
        self
    }

    /// Begins after the processed range with this ordinal.
    #[must_use]
    pub fn after(mut self, ordinal: u64) -> Self {
        self.after = ordinal;
        self
    }

    /// Reads at most this number of processed ranges.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Checks the read and returns the maximum number of processed ranges on its page. Every
    /// recorder calls this first.
    ///
    /// # Errors
    ///
    /// [`Invalid`] with the reason.
    pub fn check(&self) -> Result<usize, Invalid> {
        check_page_limit(self.limit, PAGE_NAMES_MAX)
    }
}

impl Default for RangeRead {
    fn default() -> Self {
        Self::new()
    }
}

/// The reason why a page ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third variant")]
pub enum PageEnd {
    /// The page is full, by its limit or by [`PAGE_SIZE_MAX`](super::limits::PAGE_SIZE_MAX): there
    /// may be more events. Continue after the last event of the page.
    Full,
    /// There was nothing more to read when the page was read.
    Complete,
}

/// A page of events, all from one state of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The events, in the direction of reading.
    pub events: Vec<StoredEvent>,
    /// The checkpoint up to which the read has covered the log; none if the log is empty. For a
    /// forward page this is its last event, if it is full; otherwise the event at `until`, if the
    /// log (or stream) reaches it; otherwise the head of the log. For a backward page it is the
    /// head of the log.
    ///
    /// It advances even if the page has no events, so that nothing is scanned twice. After a
    /// forward read, that of the last page is the correct `after` for a condition on the events
    /// that were read.
    pub read_to: Option<Checkpoint>,
    /// The reason why the page ends.
    pub end: PageEnd,
    /// The number of topics that the events of the whole log have, in the state that the page
    /// shows; see [`Recorder::topics`].
    pub topic_count: u64,
}

impl Page {
    /// For stores: creates a page of these events, of a log without topics.
    pub fn new(events: Vec<StoredEvent>, read_to: Option<Checkpoint>, end: PageEnd) -> Self {
        Self {
            events,
            read_to,
            end,
            topic_count: 0,
        }
    }

    /// For stores: sets the number of topics of the log.
    #[must_use]
    pub fn topic_count(mut self, topics: u64) -> Self {
        self.topic_count = topics;
        self
    }

    /// Returns the position of [`read_to`](Self::read_to).
    pub fn read_to_position(&self) -> Option<Position> {
        self.read_to.map(|checkpoint| checkpoint.position)
    }
}
