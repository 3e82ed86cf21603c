//! The recorder: one log's append and reads, over one database.
//!

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::append::{Append, Appended};
#[allow(unused_imports, reason = "the contract names it")]
use super::error::{Conflict, RecordError};
use super::fault::Invalid;
use super::identity::{EventId, LogId, Mark, Position, Version};
use super::limits::{Limits, PAGE_EVENTS_MAX, PAGE_NAMES_MAX, check_name, check_page_limit};
use super::query::Query;
use super::snapshot::StoredSnapshot;
use super::stored_event::StoredEvent;
use super::stretch::{FollowerKey, RecordedStretch};

/// A future in a box: what methods of traits return that must be usable as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One log: append and reads.
///
/// The trait is dyn-compatible and holds only what databases do differently. A recorder is shared by
/// reference between tasks and threads; it stays usable after every error. Every method that asks the
/// store may also fail with [`RecordError::Replaced`] (rule 21).
///
/// # Contract
///
/// Every rule is a test of the same name in the crate `retold-conformance`, which every store
/// runs.
///
/// 1. `append_is_atomic`: all events, their streams and the stretches, or nothing; also after a
///    crash.
/// 2. `append_is_judged_in_one_order`: first what needs no look at the log ([`Append::check`]);
///    then, with stretches, the stretches ([`Conflict::Checkpoint`]); without stretches, an exact
///    repeat (rule 5); then an id already in the log ([`Conflict::EventId`]; of several, the first
///    in the order of the append); then the conditions in their order.
/// 3. `append_checks_stream_versions`: of two appends that expect the same version of a stream and
///    write to it, at most one records.
/// 4. `append_checks_queries`: the query means what [`Query`] says; `after` is exclusive, absent it
///    means "ever", beyond the head it is `Invalid` when its turn comes; an append is not compared
///    with itself. The head is that just before the append, with what was before it in its group.
/// 5. `a_repeated_append_records_nothing`: an append with events and without stretches, whose ids
///    are those of one recorded append, all of them and in its order, is
///    [`Repeated`](Appended::Repeated) with its positions; contents are not compared. An append with
///    stretches is never repeated: sent again it is [`Conflict::Checkpoint`]. Ids are unique in a
///    log.
/// 6. `versions_have_no_gaps`, `positions_have_no_gaps`: positions are in the order of commit, an
///    append's positions are consecutive.
/// 7. `a_tailing_reader_never_skips`: whoever only reads forward sees everything that is committed,
///    in one order.
/// 8. `a_read_says_how_far_it_went`: see [`Page::read_to`].
/// 9. `a_read_sees_what_was_acknowledged` before it began, through any handle of any process.
/// 10. `nothing_is_seen_before_it_is_durable`: not by readers, hints or caches, and not as the reason
///     of a conflict or a repeat.
/// 11. `an_append_fails_alone`: an error of one member of a group reaches only that member.
/// 12. `stretches_join`: `after` is the `to` of the previous stretch of its follower and upstream,
///     recorded or earlier in this append; the first may start anywhere; else
///     [`Conflict::Checkpoint`], and the events with it. The history of stretches is kept with the
///     head before their append; see [`RecordedStretch`]. An append of stretches only counts too:
///     it moves the append count.
/// 13. `acknowledged_events_survive_reopen`, and a kill at any moment.
/// 14. `a_retry_settles_the_unknown`: after `OutcomeUnknown` the same append, sent again and again
///     until positions, a repeat or a conflict, gives the final answer. A dropped append future
///     withdraws nothing and counts as unknown.
/// 15. `logs_are_isolated`: logs in one store see nothing of each other.
/// 16. `limits_are_enforced`: a clear error before anything is written.
/// 17. `unknown_is_empty`: an unknown stream or log reads as empty.
/// 18. `memory_is_the_model`: random operations give the same answers on the store and in memory.
/// 19. `topics_are_listed_and_counted`: the list has each topic that an event of the log has, once, and
///     no other. Every page and head says how many there are in the state that it shows, so that a reader
///     by topics notices one that it does not know. A topic, once recorded, stays in the list.
/// 20. `a_read_proves_its_place`: a page after a mark is of a state of the log in which the event of the
///     mark is at its place: at its position, and in a read of a stream at its version too. Else the
///     read is [`Diverged`](RecordError::Diverged) and gives nothing.
/// 21. `a_recorder_never_serves_another_log`: every call of a recorder is about the log whose id the
///     name had when the recorder met it. If the name leads to another log or to none, or another log
///     has its place in the store, the call is [`Replaced`](RecordError::Replaced), and nothing is read
///     or written. This is checked in the statement or transaction that reads or writes.
/// 22. `append_checks_the_events_of_streams`: a condition on a stream's version may name the event that
///     has that version. It holds only if that event has it; also where an earlier append of the same
///     group wrote the event. Else [`Conflict::Stream`] gives the event that is there.
/// 23. `append_checks_the_count_of_topics`: the count is that just before the append, with what was
///     before it in its group; topics that the append itself brings are not counted.
pub trait Recorder: Send + Sync {
    /// Name of the log.
    fn log_name(&self) -> &str;

    /// What this recorder accepts.
    fn limits(&self) -> Limits;

    /// Id of the log; none for a log that is not born, which only a read-only opening meets.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn log_id(&self) -> BoxFuture<'_, Result<Option<LogId>, RecordError>>;

    /// Records an append as a whole, or nothing.
    ///
    /// Concurrent appends are committed in groups, each judged by itself against the log with those
    /// before it, each answered by itself once the group is durable. Dropping the future withdraws
    /// nothing.
    ///
    /// # Errors
    ///
    /// All of [`RecordError`]; each says what is true of the log then. `Invalid` from a recorder that
    /// was opened for reading only.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>>;

    /// Reads a page of the log.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0, a query beyond the limits, or an `until` that lies before `after`
    /// in the direction of reading; `Diverged` if the log does not have the mark to read after (rule
    /// 20); `Unavailable`, `Corrupt`. An `after` beyond the head that is a bare position is no error:
    /// nothing is there, the page is empty and complete.
    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>>;

    /// Reads a page of a stream.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0, a bad name, or an `until` that lies before `after` in the
    /// direction of reading; `Diverged` if the stream does not have the mark to read after at its
    /// version (rule 20); `Unavailable`, `Corrupt`.
    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>>;

    /// The event with this id, or none.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>>;

    /// The log's end.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>>;

    /// Names and versions of the streams whose names begin with `prefix` (all, if it is empty), in
    /// the order of the bytes of their names, after the name `after`; at most `limit`, at most
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

    /// The topics that events of the log have, in the order of their bytes, after the topic `after`; at
    /// most `limit`, at most [`PAGE_NAMES_MAX`]. An empty page is the end.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0; `Unavailable`, `Corrupt`.
    fn topics<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<str>>, RecordError>>;

    /// End of the last stretch of this follower over this upstream, or none.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn checkpoint<'a>(
        &'a self,
        follower: &'a FollowerKey,
        upstream: LogId,
    ) -> BoxFuture<'a, Result<Option<Mark>, RecordError>>;

    /// A page of the history of stretches, in the order of commit.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0; `Unavailable`, `Corrupt`.
    fn stretches(
        &self,
        read: StretchRead,
    ) -> BoxFuture<'_, Result<Vec<RecordedStretch>, RecordError>>;

    /// Waits until more appends are recorded than `append_count`, and returns how many are. The count
    /// comes from [`Head::append_count`] or from the last call. Returns a lower count too: then the log
    /// was restored from an older copy, and the next read after a mark tells.
    ///
    /// Wakes on a hint and falls back to polling at an interval the store names. May be dropped at
    /// any time.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    fn changed_since(&self, append_count: u64) -> BoxFuture<'_, Result<u64, RecordError>>;

    /// Keeps a snapshot, in place of one of the same stream and version. Of more than
    /// [`SNAPSHOTS_PER_STREAM_MAX`](super::limits::SNAPSHOTS_PER_STREAM_MAX) the one of the lowest
    /// version is dropped.
    ///
    /// # Errors
    ///
    /// `Invalid`, `Unavailable`. A snapshot is a hint: whoever could not put one goes on.
    fn put_snapshot(&self, snapshot: StoredSnapshot) -> BoxFuture<'_, Result<(), RecordError>>;

    /// The snapshot of the highest version, up to and with `until` if given, or none.
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
    /// `Unavailable`; `Invalid` from a recorder that was opened for reading only.
    fn drop_snapshots<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<(), RecordError>>;
}

/// The end of a log, as one state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The last event; none if the log is empty.
    pub mark: Option<Mark>,
    /// How many appends are recorded, those with stretches only among them.
    pub append_count: u64,
    /// How many topics its events have; see [`Recorder::topics`].
    pub topic_count: u64,
}

impl Head {
    /// Position of the last event.
    pub fn position(&self) -> Option<Position> {
        self.mark.map(|mark| mark.position)
    }
}

/// A stream and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Name of the stream.
    pub name: Arc<str>,
    /// Version of its last event.
    pub version: Version,
}

/// Which way a read goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Direction {
    /// In the order of recording.
    #[default]
    Forward,
    /// Last event first.
    Backward,
}

impl Direction {
    /// Whether `until` lies before `after` in this direction, so that nothing could be between.
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

/// Which events of a log to read: by default all, forward, [`PAGE_EVENTS_MAX`] a page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRead {
    /// Only events that match.
    pub query: Query,
    /// Begin just after this position in the direction of reading; without it, at the end of the log
    /// where the direction begins.
    pub after: Option<Position>,
    /// Id of the event that must be at `after`; see [`after_mark`](Self::after_mark).
    pub after_event: Option<EventId>,
    /// Read up to and with this position; without it, to where the direction ends.
    pub until: Option<Position>,
    /// Which way.
    pub direction: Direction,
    /// Most events on the page; at most [`PAGE_EVENTS_MAX`] count.
    pub limit: usize,
}

impl LogRead {
    /// All events, forward.
    pub fn new() -> Self {
        Self::of(Query::All)
    }

    /// The events that match, forward.
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

    /// The event at this position alone.
    pub fn at(position: Position) -> Self {
        let before = Position::new(position.get() - 1);
        Self::new().after(before).until(position).limit(1)
    }

    /// After this position, whatever event is there.
    #[must_use]
    pub fn after(mut self, after: impl Into<Option<Position>>) -> Self {
        self.after = after.into();
        self.after_event = None;
        self
    }

    /// After this mark, which an earlier read gave: the page is given only if the event of the mark is
    /// at its position (rule 20). With none, from where the direction begins.
    ///
    /// Whoever reads on reads after a mark. A log that is restored from an older copy hands out its
    /// positions again, and whoever knows a position only would pass over what is new below it.
    #[must_use]
    pub fn after_mark(mut self, mark: impl Into<Option<Mark>>) -> Self {
        let mark = mark.into();
        self.after = mark.map(|mark| mark.position);
        self.after_event = mark.map(|mark| mark.event_id);
        self
    }

    /// The mark that the log must have, if the read begins after one.
    pub fn mark(&self) -> Option<Mark> {
        let (position, event_id) = self.after.zip(self.after_event)?;
        Some(Mark { position, event_id })
    }

    /// Up to and with this position.
    #[must_use]
    pub fn until(mut self, until: impl Into<Option<Position>>) -> Self {
        self.until = until.into();
        self
    }

    /// Last event first.
    #[must_use]
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// At most this many events.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Checks the read and returns the number of events its page may have. Every recorder calls this
    /// first.
    ///
    /// # Errors
    ///
    /// [`Invalid`] that says what is wrong.
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
        "the {what} to read until lies before the one to read after, in the direction of reading"
    ))
}

/// Which events of a stream to read: by default all, forward, [`PAGE_EVENTS_MAX`] a page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamRead {
    /// Name of the stream.
    pub stream: Arc<str>,
    /// Begin just after this version in the direction of reading.
    pub after: Option<Version>,
    /// The event that must have the version `after`; see [`after_mark`](Self::after_mark).
    pub after_mark: Option<Mark>,
    /// Read up to and with this version.
    pub until: Option<Version>,
    /// Which way.
    pub direction: Direction,
    /// Most events on the page; at most [`PAGE_EVENTS_MAX`] count.
    pub limit: usize,
}

impl StreamRead {
    /// The whole stream, forward.
    pub fn new(stream: impl Into<Arc<str>>) -> Self {
        Self {
            stream: stream.into(),
            after: None,
            after_mark: None,
            until: None,
            direction: Direction::Forward,
            limit: PAGE_EVENTS_MAX,
        }
    }

    /// After this version, whatever event has it.
    #[must_use]
    pub fn after(mut self, after: impl Into<Option<Version>>) -> Self {
        self.after = after.into();
        self.after_mark = None;
        self
    }

    /// After this version; if the mark is given, only if the event of the mark has that version in the
    /// stream (rule 20). Without a version, from where the direction begins.
    #[must_use]
    pub fn after_mark(mut self, version: Option<Version>, mark: Option<Mark>) -> Self {
        self.after = version;
        self.after_mark = mark.filter(|_| version.is_some());
        self
    }

    /// The mark that the stream must have, and at which version, if the read begins after one.
    pub fn mark(&self) -> Option<(Version, Mark)> {
        self.after.zip(self.after_mark)
    }

    /// Up to and with this version.
    #[must_use]
    pub fn until(mut self, until: impl Into<Option<Version>>) -> Self {
        self.until = until.into();
        self
    }

    /// Last event first.
    #[must_use]
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// At most this many events.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Checks the read and returns the number of events its page may have. Every recorder calls this
    /// first.
    ///
    /// # Errors
    ///
    /// [`Invalid`] that says what is wrong.
    pub fn check(&self) -> Result<usize, Invalid> {
        check_name("stream name", &self.stream)?;
        if self.direction.is_turned(self.after, self.until) {
            return Err(turned("version"));
        }
        check_page_limit(self.limit, PAGE_EVENTS_MAX)
    }
}

/// Which stretches to read: by default all, from the first, [`PAGE_NAMES_MAX`] a page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StretchRead {
    /// Only of this follower.
    pub follower: Option<FollowerKey>,
    /// Only over this log.
    pub upstream: Option<LogId>,
    /// After the stretch of this ordinal; 0 for the beginning.
    pub after: u64,
    /// Most stretches on the page; at most [`PAGE_NAMES_MAX`] count.
    pub limit: usize,
}

impl StretchRead {
    /// All stretches.
    pub fn new() -> Self {
        Self {
            follower: None,
            upstream: None,
            after: 0,
            limit: PAGE_NAMES_MAX,
        }
    }

    /// Only of this follower.
    #[must_use]
    pub fn follower(mut self, follower: FollowerKey) -> Self {
        self.follower = Some(follower);
        self
    }

    /// Only over this log.
    #[must_use]
    pub fn upstream(mut self, upstream: LogId) -> Self {
        self.upstream = Some(upstream);
        self
    }

    /// After the stretch of this ordinal.
    #[must_use]
    pub fn after(mut self, ordinal: u64) -> Self {
        self.after = ordinal;
        self
    }

    /// At most this many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Checks the read and returns the number of stretches its page may have. Every recorder calls
    /// this first.
    ///
    /// # Errors
    ///
    /// [`Invalid`] that says what is wrong.
    pub fn check(&self) -> Result<usize, Invalid> {
        check_page_limit(self.limit, PAGE_NAMES_MAX)
    }
}

impl Default for StretchRead {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a page ends where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third")]
pub enum PageEnd {
    /// The page is full, by its limit or by [`PAGE_SIZE_MAX`](super::limits::PAGE_SIZE_MAX): there
    /// may be more, or nothing at all. Read on after its last event.
    Full,
    /// There is nothing more to read, in the state that the page shows.
    Complete,
}

/// Events as a read gives them, all of one state of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The events, in the direction of reading.
    pub events: Vec<StoredEvent>,
    /// How far the read went. Of a forward page: its last event, if it is full; else the event at
    /// `until`, if the log (or stream) reaches so far; else the head of the log. Of a backward page:
    /// the head of the log. None if the log is empty.
    ///
    /// A page that finds nothing still moves it, so that nothing is scanned twice. It is the sound
    /// `after` for a condition on what was read, if the pages were read forward and this is the last.
    pub read_to: Option<Mark>,
    /// Why it ends.
    pub end: PageEnd,
    /// How many topics the events of the whole log have, in the state that the page shows; see
    /// [`Recorder::topics`].
    pub topic_count: u64,
}

impl Page {
    /// For stores: a page of what was read, of a log without topics.
    pub fn new(events: Vec<StoredEvent>, read_to: Option<Mark>, end: PageEnd) -> Self {
        Self {
            events,
            read_to,
            end,
            topic_count: 0,
        }
    }

    /// For stores: of a log with this many topics.
    #[must_use]
    pub fn topic_count(mut self, topics: u64) -> Self {
        self.topic_count = topics;
        self
    }

    /// Position of [`read_to`](Self::read_to).
    pub fn read_to_position(&self) -> Option<Position> {
        self.read_to.map(|mark| mark.position)
    }
}
