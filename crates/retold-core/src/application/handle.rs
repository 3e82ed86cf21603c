//! The handle of an open application: one log, with the resources of its commands and reads.

use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Instant;

use tracing::Instrument;

use super::cache::Cache;
use super::command_id::EventIds;
use super::conductor::Conductor;
use super::error::{Error, Result};
use super::lanes::Lanes;
use super::limits::SETTLE_ATTEMPTS_MAX;
use super::past::Own;
use super::publish::{Bus, Commits};
use super::reports::Reports;
use super::selection::TypedWatches;
use super::telemetry;
use super::topic_watch::TopicWatch;
use super::turns::Turns;
use crate::domain::{Clock, IdSource, SUBJECT_FORGOTTEN_TOPIC, Timestamp};
use crate::mapping::{EventReader, Mapper, TopicRegistry};
#[cfg(feature = "protection")]
use crate::protection::Protection;
use crate::recording::{
    AMENDED_TOPIC, AmendmentConflict, Append, Appended, BoxFuture, Checkpoint, Conflict,
    DELETED_TOPIC, ERASED_TOPIC, EventId, ExpectedVersion, Failure, Head, LogId, LogRead, Metadata,
    Page, Position, Query, QueryItem, RecordError, Recorder, Store, StoredEvent,
};

/// A page that was read by topics.
pub(super) struct ReadByTopics {
    pub(super) page: Page,
    /// The query, with the topics that no registered type has.
    pub(super) query: Query,
    /// Whether events of the log were ever amended.
    pub(super) has_amendments: bool,
}

/// A named log with its aggregates: executes commands and reads back what was recorded.
///
/// A clone is the same application and is cheap; give every task its own. Many applications can be
/// open at once, also in one store: an unused handle takes a few hundred bytes.
#[derive(Clone)]
pub struct Application {
    pub(super) core: Arc<Core>,
    /// Metadata of every event recorded through this handle.
    pub(super) metadata: Option<Arc<Metadata>>,
    /// Hooks around the commands of this handle; `None` unless a runner conducts them.
    pub(super) conductor: Option<Arc<dyn Conductor>>,
}

/// The state that all clones of a handle share.
pub(super) struct Core {
    pub(super) recorder: Arc<dyn Recorder>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) retries: u32,
    pub(super) cache: Arc<Cache>,
    pub(super) lanes: Lanes,
    pub(super) turns: Turns,
    pub(super) bus: Bus,
    pub(super) mapper: Mapper,
    /// How the recorder protects the log; `None` also if the store was protected before.
    #[cfg(feature = "protection")]
    pub(super) protection: Option<Protection>,
    pub(super) registry: Arc<TopicRegistry>,
    pub(super) reports: Reports,
    /// What is known about the log's topics.
    pub(super) topics: Arc<Mutex<TopicWatch>>,
    pub(super) typed_watches: Arc<TypedWatches>,
    /// The store of the log, for opening other logs in it; `None` if a recorder was given.
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) access: OpenPurpose,
    /// Stream types with a state that was unfit for a snapshot, so that each is logged once.
    pub(super) unfit_for_snapshots: Mutex<HashSet<&'static str>>,
    pub(super) declared: Arc<DeclaredTypes>,
    /// The application whose log the recorder shows as it was; `None` if the recorder shows the log
    /// itself.
    pub(super) own: Option<Own>,
}

/// The types that an application declares, for checking a log against them.
#[derive(Clone, Default)]
pub(super) struct DeclaredTypes {
    pub(super) readers: Vec<EventReader>,
    pub(super) aggregates: Vec<DeclaredAggregate>,
}

/// An aggregate type that an application declares.
#[derive(Clone)]
pub(super) struct DeclaredAggregate {
    pub(super) stream_type: &'static str,
    /// Checks a stream of the type up to and including a position.
    pub(super) check: CheckStream,
}

pub(super) type CheckStream =
    for<'a> fn(&'a Application, &'a Arc<str>, Position) -> BoxFuture<'a, Result<StreamCheck>>;

/// The result of checking a stream.
#[derive(Debug, Default)]
pub(super) struct StreamCheck {
    /// Number of snapshots compared.
    pub(super) snapshots: u64,
    /// Whether it cannot be folded because some of its content was erased.
    pub(super) is_erased: bool,
    /// Places and reasons.
    pub(super) findings: Vec<(String, String)>,
}

/// The purpose for which a log is opened.
#[derive(Clone, Copy, Debug)]
pub(super) enum OpenPurpose {
    Write,
    ReadOnly,
}

impl Application {
    /// Name of the application and of its log.
    pub fn name(&self) -> &str {
        self.core.recorder.log_name()
    }

    /// Returns the recorder of the application's log, for operations that the application does not
    /// offer.
    pub fn recorder(&self) -> &Arc<dyn Recorder> {
        &self.core.recorder
    }

    /// Returns the mapper, which converts the application's events to bytes and back.
    pub fn mapper(&self) -> &Mapper {
        &self.core.mapper
    }

    /// Returns the registry of topics and their types. A type that was not registered at startup is
    /// registered at its first use.
    pub fn registry(&self) -> &TopicRegistry {
        &self.core.registry
    }

    pub(crate) fn shared_registry(&self) -> &Arc<TopicRegistry> {
        &self.core.registry
    }

    /// Reads a page that includes the events of topics that no registered type has.
    pub(super) async fn read_by_topics(&self, read: LogRead) -> Result<ReadByTopics, RecordError> {
        let core = &self.core;
        let lock = || core.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let mut watch = lock().clone();
        let query = read.query.clone();
        let page = watch.read(&*core.recorder, &core.registry, read).await;
        let query = watch.widened(&query);
        let has_amendments = watch.has_amendments();
        *lock() = watch;
        Ok(ReadByTopics {
            page: page?,
            query,
            has_amendments,
        })
    }

    /// Returns whether events were amended, or a subject was forgotten, after one checkpoint, up to
    /// another.
    pub(super) async fn is_amended_between(
        &self,
        after: Checkpoint,
        until: Option<Checkpoint>,
    ) -> Result<bool> {
        if until.is_none_or(|until| until.position <= after.position) {
            return Ok(false);
        }
        let amended = [
            ERASED_TOPIC,
            AMENDED_TOPIC,
            DELETED_TOPIC,
            SUBJECT_FORGOTTEN_TOPIC,
        ];
        let records = amended.into_iter().fold(QueryItem::new(), QueryItem::topic);
        let read = LogRead::of(Query::item(records))
            .after(after.position)
            .until(until.map(|until| until.position))
            .limit(1);
        Ok(!self.core.recorder.read_log(read).await?.events.is_empty())
    }

    /// Returns the position of the last event that deleted a stream, if there is one.
    pub(super) async fn last_deletion(&self, stream: &str) -> Result<Option<Position>> {
        let item = QueryItem::new().stream(stream).topic(DELETED_TOPIC);
        let read = LogRead::of(Query::item(item)).backward().limit(1);
        let page = self.core.recorder.read_log(read).await?;
        Ok(page.events.first().map(StoredEvent::position))
    }

    /// Reads which subjects were forgotten, in any process, so that no cached state has their data.
    /// Does nothing for an application without subjects.
    pub(super) async fn see_forgotten(&self) -> Result<()> {
        #[cfg(feature = "protection")]
        if let Some(subjects) = self.core.protection.as_ref().and_then(Protection::subjects) {
            subjects.refresh().await?;
        }
        Ok(())
    }

    /// Returns the id of the log; `None` if the log does not exist yet, which is possible only for
    /// a read-only application.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn log_id(&self) -> Result<Option<LogId>> {
        Ok(self.core.recorder.log_id().await?)
    }

    /// Returns the log's end.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn head(&self) -> Result<Head> {
        Ok(self.core.recorder.head().await?)
    }

    /// Returns a handle that records this metadata with every event, instead of this handle's
    /// metadata: for example the user and the correlation id. Set it once per request.
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// let request = school.with(Metadata::new().with("user", "ann").with_correlation_id("42"));
    /// request.execute(fido, |_| DogEvent::TrickAdded { trick: "fetch".into() }).await?;
    ///
    /// let last = school.events::<DogEvent>().read().backward().first().await?;
    /// let last = last.expect("it was recorded");
    /// assert_eq!(last.metadata()?.correlation_id(), Some("42"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with(&self, metadata: Metadata) -> Self {
        Self {
            core: self.core.clone(),
            metadata: (!metadata.is_empty()).then(|| Arc::new(metadata)),
            conductor: self.conductor.clone(),
        }
    }

    /// Returns the current time of the application's clock.
    pub fn now(&self) -> Timestamp {
        self.core.clock.now()
    }

    /// Returns a fresh event id.
    pub fn next_event_id(&self) -> EventId {
        EventId::new(self.core.ids.next_id())
    }

    /// Subscribes to the commits made through this handle and its clones, from now on and within
    /// this process.
    pub fn commits(&self) -> Commits {
        self.core.bus.subscribe(self.core.mapper.clone())
    }

    /// Sends an append until its outcome is known: it is sent again while the recorder reports that
    /// the outcome is unknown, at most [`SETTLE_ATTEMPTS_MAX`] times in total. If it is recorded,
    /// the subscribers in this process are notified.
    ///
    /// Use it for your own append, or to settle the one in an [`Error::OutcomeUnknown`]. An append
    /// that fails because the store is unavailable is not retried: the core has no timer to wait
    /// with, and the caller knows that nothing was recorded.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if it is still unknown, including when a later attempt conflicts
    /// because the stream has not reached the expected version yet: an earlier attempt that is
    /// pending may still succeed. [`Error::Conflict`], [`Error::Unavailable`], [`Error::Invalid`],
    /// [`Error::Corrupt`]: it is not recorded and will not be.
    pub async fn settle(&self, append: Append) -> Result<Appended> {
        let (appended, _) = self.send(append).await?;
        self.after_commit().await;
        Ok(appended)
    }

    /// As [`settle`](Self::settle), for events that were just decided. If their ids are fresh, only
    /// an attempt of the same call can have recorded them.
    pub(super) async fn settle_new(&self, append: Append, ids: EventIds) -> Result<Appended> {
        let mut sent = self.send(append).await;
        if let Err(Error::OutcomeUnknown { is_repeatable, .. }) = &mut sent {
            // Without a command id, repeating the command would make another append.
            *is_repeatable = ids == EventIds::OfCommand;
        }
        match sent? {
            (Appended::Repeated(positions), None) if ids == EventIds::Fresh => {
                Err(Error::invalid(format!(
                    "nothing was recorded: the id source returned ids that events in {:?} from \
                     position {} already have; two sources with the same seed must not serve one \
                     log",
                    self.name(),
                    Position::number(positions.first()),
                )))
            }
            (appended, _) => Ok(appended),
        }
    }

    /// Sends an append until its outcome is known. Also returns the failure of the last attempt
    /// that left it unknown, if there was one.
    async fn send(&self, append: Append) -> Result<(Appended, Option<Failure>)> {
        let begun = Instant::now();
        let mut unknown = None;
        let span = telemetry::append_span(self.name(), &append);
        let settled = self
            .send_until_known(&append, &mut unknown)
            .instrument(span.clone())
            .await;
        metrics::histogram!(telemetry::APPEND_SECONDS).record(begun.elapsed());
        match settled {
            Ok(appended) => {
                // A repeat after an unknown attempt means that the attempt was recorded.
                if unknown.is_some() || matches!(appended, Appended::Recorded(_)) {
                    let positions = appended.positions();
                    telemetry::count(telemetry::APPENDS);
                    metrics::counter!(telemetry::EVENTS).increment(positions.count());
                    telemetry::report_recorded(&span, &append, positions);
                    self.core.bus.publish(&append, positions);
                }
                Ok((appended, unknown))
            }
            Err(RecordError::Conflict(conflict)) => {
                telemetry::count(telemetry::CONFLICTS);
                if let Conflict::Stream { stream, actual, .. } = &conflict
                    && may_pass(&conflict)
                {
                    // The cached state may be from before the log was restored.
                    self.core.cache.forget_beyond(stream, *actual);
                }
                Err(conflict.into())
            }
            // A failure after an unknown attempt says nothing about that attempt.
            Err(error) => Err(match unknown {
                Some(failure) => Error::OutcomeUnknown {
                    failure,
                    append: Some(append),
                    is_repeatable: true,
                },
                None => error.into(),
            }),
        }
    }

    /// Sends an append until its outcome is known or the attempts are used up. `unknown` is set to
    /// the last failure that left it unknown.
    async fn send_until_known(
        &self,
        append: &Append,
        unknown: &mut Option<Failure>,
    ) -> Result<Appended, RecordError> {
        let mut attempts = 1;
        loop {
            match self.core.recorder.append(append.clone()).await {
                Err(RecordError::OutcomeUnknown(failure)) => *unknown = Some(failure),
                Err(RecordError::Conflict(conflict)) if !may_pass(&conflict) => {
                    return Err(conflict.into());
                }
                Err(error) if unknown.is_none() => return Err(error),
                Err(_) => {}
                Ok(appended) => return Ok(appended),
            }
            if let Some(failure) = unknown
                && attempts == SETTLE_ATTEMPTS_MAX
            {
                return Err(RecordError::OutcomeUnknown(failure.clone()));
            }
            attempts += 1;
            telemetry::count(telemetry::SETTLES);
            yield_once().await;
        }
    }
}

/// Returns whether the conflict may end when the log grows. Such a conflict does not rule out an
/// earlier attempt: one that is still pending may succeed.
fn may_pass(conflict: &Conflict) -> bool {
    match conflict {
        Conflict::Stream {
            expected, actual, ..
        } => match expected {
            ExpectedVersion::None => false,
            ExpectedVersion::Exists => true,
            ExpectedVersion::At(version) => *actual < Some(*version),
        },
        // It may be reopened.
        Conflict::Deleted { .. } => true,
        Conflict::Amendment { reason, .. } => matches!(
            reason,
            AmendmentConflict::Missing | AmendmentConflict::BeyondStream
        ),
        _ => false,
    }
}

/// Lets other tasks of the thread run for one round.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("name", &self.name())
            .field("metadata", &self.metadata)
            .field("cache_size", &self.core.cache.size())
            .field("retries", &self.core.retries)
            .finish_non_exhaustive()
    }
}
