//! The outbox: delivers events to external systems, for example by mail or by a call to another
//! service.
//!
//! A crash undoes the work of a policy and the next attempt repeats it, but mail cannot be
//! recalled. So a policy records that something must be sent, and a program drains these events to
//! the external system: each at least once, in the order of the log, with a stable id by which the
//! receiver recognizes a repeated delivery.

use std::cmp::max_by_key;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::follower::Start;
use super::limits::{FOLLOWER_NAME_SIZE_MAX, OUTBOX_PAGE_EVENTS};
use crate::application::{
    Application, Error, Logged, PersistentFailure, ReportCell, Result, TopicWatch, unknown_topic,
};
use crate::domain::{Decoded, Event};
use crate::mapping::MappingError;
use crate::recording::limits::{QUERY_NAMES_MAX, check_name};
use crate::recording::{
    Append, Checkpoint, Conflict, FollowerKey, Invalid, LogId, LogRead, PageEnd, ProcessedRange,
    Query, QueryItem, StoredEvent, prove_checkpoint,
};

/// Prefix of the names of outboxes in follower keys; no follower's name contains a `/`.
const KEY_PREFIX: &str = "outbox/";

/// Returns whether a follower key is that of an outbox, also if a later version of the library
/// wrote it in another form.
pub(crate) fn is_outbox(key: &FollowerKey) -> bool {
    key.as_str().starts_with(KEY_PREFIX)
}

/// Delivers events of type `E` of an application's own log to an external system.
///
/// If the application declares its types, an event of a topic that it does not know cannot be read,
/// because it may be one of `E` under another name. The events after it are delivered once a
/// program that knows the topic runs, or once this one [skips](Self::pass_over) it. An event whose
/// content was erased is not delivered, unless its type declares what it is then read as.
///
/// Its progress is recorded in the log, under its name. Two programs that drain one outbox at the
/// same time lose nothing and deliver some events twice; runners make sure that only one drains it,
/// with a [`Delivery`](crate::system::Delivery).
///
/// ```
/// use retold::prelude::*;
/// use retold::system::Outbox;
///
/// #[derive(Event, Serialize, Deserialize)]
/// struct MailRequested { to: String }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> retold::Result<()> {
/// let app = Application::open("orders", "memory:outbox").await?;
/// app.decide((), |()| MailRequested { to: "ann".into() }).await?;
///
/// let mut outbox = Outbox::<MailRequested>::open(&app, "mail").await?;
/// let mut sent = Vec::new();
/// while let Some(mail) = outbox.next().await? {
///     // The id is the same if this is sent again after a crash.
///     sent.push((mail.id(), mail.event.to.clone()));
///     outbox.delivered().await?;
/// }
/// assert_eq!(sent[0].1, "ann");
///
/// // A delivered event is not returned again.
/// assert!(Outbox::<MailRequested>::open(&app, "mail").await?.next().await?.is_none());
/// # Ok(())
/// # }
/// ```
pub struct Outbox<E> {
    application: Application,
    key: FollowerKey,
    log: LogId,
    query: Query,
    topics: TopicWatch,
    /// The last delivered event, as recorded.
    checkpoint: Option<Checkpoint>,
    page: VecDeque<Arc<Logged<E>>>,
    /// The end of the page, after which the next page is read.
    page_checkpoint: Option<Checkpoint>,
    /// The event that could not be read, if it is the next one.
    unreadable: Option<Checkpoint>,
    append_count: u64,
    /// Where it reports its failures, for the health of the application's system.
    report: Arc<ReportCell>,
}

impl<E: Event> Outbox<E> {
    /// Opens the outbox with this name at its recorded progress. A new outbox begins at the log's
    /// first event. The name has 1 to [`FOLLOWER_NAME_SIZE_MAX`] bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a bad name, or a log that does not exist; [`Error::Diverged`] if the
    /// log no longer has the events that were delivered; [`Error::Unavailable`],
    /// [`Error::Corrupt`].
    pub async fn open(application: &Application, name: &str) -> Result<Self> {
        Self::open_from(application, name, Start::FirstEvent).await
    }

    /// As [`open`](Self::open), but a new outbox begins at `start`.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub async fn open_from(application: &Application, name: &str, start: Start) -> Result<Self> {
        check_outbox_name(name)?;
        application.registry().register_event::<E>()?;
        let Some(log) = application.log_id().await? else {
            return Err(Error::invalid(format!(
                "the log {:?} does not exist yet, so it has nothing to deliver",
                application.name()
            )));
        };
        let mut outbox = Self {
            application: application.clone(),
            key: FollowerKey::of(&format!("{KEY_PREFIX}{name}"), 1, None),
            log,
            query: topics_of::<E>(),
            topics: TopicWatch::default(),
            checkpoint: None,
            page: VecDeque::new(),
            page_checkpoint: None,
            unreadable: None,
            append_count: 0,
            report: (application.reports()).begin(format!("{}/{name}", application.name())),
        };
        outbox.query.check()?;
        outbox.read_checkpoint().await?;
        if outbox.checkpoint.is_none()
            && start == Start::Now
            && let Some(head) = application.head().await?.checkpoint
        {
            outbox.record(head).await?;
        }
        Ok(outbox)
    }

    /// Returns the next event to deliver, or none if there is nothing to deliver now. Returns the
    /// same event until it is recorded as [`delivered`](Self::delivered).
    ///
    /// # Errors
    ///
    /// [`Error::Mapping`] for an event that cannot be read. It is returned each time, until a
    /// program that can read the event delivers it or this one [skips](Self::pass_over) it.
    /// [`Error::Diverged`] if the log no longer has the events that were delivered, which remains
    /// so until an operator decides what to deliver. [`Error::Replaced`], [`Error::Unavailable`],
    /// [`Error::Corrupt`].
    pub async fn next(&mut self) -> Result<Option<&Logged<E>>> {
        self.read_if_empty().await?;
        Ok(self.page.front().map(|event| &**event))
    }

    /// As [`next`](Self::next), but returns a shared event.
    pub(crate) async fn next_shared(&mut self) -> Result<Option<Arc<Logged<E>>>> {
        self.read_if_empty().await?;
        Ok(self.page.front().cloned())
    }

    async fn read_if_empty(&mut self) -> Result<()> {
        if self.page.is_empty() {
            let read = self.read().await;
            self.announce(&read);
            read?;
        }
        Ok(())
    }

    /// Records that the event that [`next`](Self::next) returned was delivered. If the process
    /// crashes before this method returns, `next` may return the event again. If an event of an
    /// older shape is read as several, it is recorded with the last of them, and
    /// [`Logged::part`] distinguishes them.
    ///
    /// # Errors
    ///
    /// The errors of [`Application::settle`], except conflicts: if another program delivered in the
    /// meantime, this one resumes from that program's progress, and `next` may or may not return
    /// the event again. [`Error::Diverged`] if the log no longer has the event; nothing is recorded
    /// then.
    pub async fn delivered(&mut self) -> Result<()> {
        let Some(event) = self.page.front() else {
            return Ok(());
        };
        let checkpoint = event.checkpoint();
        let follows = |next: &Arc<Logged<E>>| next.checkpoint() == checkpoint;
        if self.page.get(1).is_some_and(follows) {
            // The stored event is delivered when all events are that it is read as.
            self.page.pop_front();
            return Ok(());
        }
        let recorded = self.record(checkpoint).await;
        self.announce(&recorded);
        recorded?;
        let delivered = self.checkpoint.map(|checkpoint| checkpoint.position);
        self.page.retain(|event| Some(event.position()) > delivered);
        Ok(())
    }

    /// Skips the event that [`next`](Self::next) could not read, so that it is never delivered.
    /// Does nothing if there is none.
    ///
    /// # Errors
    ///
    /// As for [`delivered`](Self::delivered).
    pub async fn pass_over(&mut self) -> Result<()> {
        match self.unreadable.take() {
            Some(checkpoint) => self.record(checkpoint).await,
            None => Ok(()),
        }
    }

    /// Waits until there may be more events to deliver.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn changed(&self) -> Result<()> {
        let recorder = self.application.recorder();
        recorder.changed_since(self.append_count).await?;
        Ok(())
    }

    /// Returns the recorded progress: the outbox delivers the events after this checkpoint. None if
    /// no progress is recorded yet.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint
    }

    /// Reports the result of an attempt. A stop is logged at level error once, until the outbox
    /// makes progress.
    fn announce(&self, attempt: &Result<()>) {
        let report = attempt.as_ref().err().map(|error| PersistentFailure {
            is_retriable: error.is_retriable() || matches!(error, Error::OutcomeUnknown { .. }),
            reason: error.to_string(),
        });
        let is_stopped = report.as_ref().is_some_and(|it| !it.is_retriable);
        if self.report.announce(report) && is_stopped {
            let (application, outbox) = (self.application.name(), &self.key);
            let error = attempt.as_ref().err().map(ToString::to_string);
            tracing::error!(application, %outbox, error, "an outbox has stopped");
        }
    }

    /// Reads pages until there is an event to deliver, or no more to read.
    async fn read(&mut self) -> Result<()> {
        while self.read_page().await? == PageEnd::Full && self.page.is_empty() {}
        Ok(())
    }

    async fn read_page(&mut self) -> Result<PageEnd> {
        // Counted before the page is read, so that no change is missed between reading and waiting.
        self.append_count = self.application.head().await?.append_count;
        self.unreadable = None;
        let number =
            |checkpoint: &Option<Checkpoint>| checkpoint.map(|checkpoint| checkpoint.position);
        let after = max_by_key(self.page_checkpoint, self.checkpoint, number);
        let read = LogRead::of(self.query.clone())
            .after_checkpoint(after)
            .limit(OUTBOX_PAGE_EVENTS);
        let (recorder, registry) = (self.application.recorder(), self.application.registry());
        let page = match registry.is_declared() {
            true => self.topics.read(&**recorder, registry, read).await?,
            false => recorder.read_log(read).await?,
        };
        let mut decoded = VecDeque::with_capacity(page.events.len());
        for stored in page.events {
            match self.decoded(&stored) {
                Ok(events) => {
                    decoded.extend(Logged::all(events, &stored).into_iter().map(Arc::new))
                }
                // It cannot be delivered by any program, and must not keep back those after it.
                Err(MappingError::Erased { place, .. }) => {
                    let (log, outbox) = (self.application.name(), &self.key);
                    tracing::warn!(log, %outbox, %place, "an erased event is not delivered");
                }
                // The events before it are delivered first.
                Err(_) if !decoded.is_empty() => {
                    self.page = decoded;
                    return Ok(PageEnd::Full);
                }
                Err(error) => {
                    self.unreadable = Some(stored.checkpoint());
                    return Err(error.into());
                }
            }
        }
        self.page_checkpoint = page.read_to;
        self.page = decoded;
        Ok(page.end)
    }

    fn decoded(&self, stored: &StoredEvent) -> Result<Decoded<E>, MappingError> {
        match E::index_of_topic(stored.topic()) {
            Some(_) => self.application.mapper().read(stored),
            None => Err(unknown_topic(self.application.registry(), stored)),
        }
    }

    async fn record(&mut self, to: Checkpoint) -> Result<()> {
        if Some(to.position) <= self.checkpoint.map(|checkpoint| checkpoint.position) {
            // Another program delivered it, and an error kept this one from noticing.
            return Ok(());
        }
        // The page may have been read before the log was restored from an older copy.
        let proven = prove_checkpoint(&**self.application.recorder(), to).await;
        if let Err(error) = proven.map_err(Error::from) {
            if error.is_diverged() {
                self.page.clear();
            }
            return Err(error);
        }
        let after = self.checkpoint.map(|checkpoint| checkpoint.position);
        let range = ProcessedRange::new(self.key.clone(), self.log, after, to);
        let settled = self
            .application
            .settle(Append::new().processed_range(range));
        match settled.await {
            Ok(_) => {
                self.checkpoint = Some(to);
                Ok(())
            }
            Err(Error::Conflict(Conflict::Checkpoint { .. })) => self.read_checkpoint().await,
            Err(error) => Err(error),
        }
    }

    /// Resumes from the progress that is recorded in the log.
    async fn read_checkpoint(&mut self) -> Result<()> {
        let recorder = Arc::clone(self.application.recorder());
        self.checkpoint = recorder.checkpoint(&self.key, self.log).await?;
        if let Some(checkpoint) = self.checkpoint {
            prove_checkpoint(&*recorder, checkpoint).await?;
        }
        Ok(())
    }
}

/// Checks the name of an outbox.
pub(crate) fn check_outbox_name(name: &str) -> Result<(), Invalid> {
    check_name("name of an outbox", name)?;
    if name.len() > FOLLOWER_NAME_SIZE_MAX {
        return Err(Invalid::new(format!(
            "the name of the outbox {name:?} is {} bytes long; at most {FOLLOWER_NAME_SIZE_MAX} \
             are allowed",
            name.len()
        )));
    }
    Ok(())
}

/// Returns the query of the events of a type, under their present and former topics.
fn topics_of<E: Event>() -> Query {
    let topics: Vec<_> = E::topics().collect();
    let items = topics.chunks(QUERY_NAMES_MAX).map(|topics| {
        let topics = topics.iter();
        topics.fold(QueryItem::new(), |item, topic| item.topic(*topic))
    });
    Query::Items(items.collect())
}

impl<E> fmt::Debug for Outbox<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("key", &self.key)
            .field("checkpoint", &self.checkpoint)
            .finish_non_exhaustive()
    }
}
