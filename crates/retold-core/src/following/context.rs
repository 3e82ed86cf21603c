//! The context of a policy: everything that a policy can see and do besides the event it processes.
//!
//! Every read becomes a condition of the append that the follower records, and every decision is
//! recorded in one append with the processed range that covers the event. Time and ids are
//! functions of the event. So a policy that uses no other input does the same whenever and wherever
//! it processes the event on the same state.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::batch::{Batch, Draft};
use super::caused::caused_by;
use super::deadline::{Deadline, cancelling, timer};
use super::derived_id::{IdSeed, Purpose};
use super::past_recorder::PastRecorder;
use crate::application::{Application, Error, ExecuteError, Folded, Model, Reach, Result};
use crate::domain::{Aggregate, Decision, Id, Timestamp};
use crate::health::RunningCell;
use crate::mapping::{AnyEvent, Envelope, Mapper};
use crate::recording::{
    AppendPlace, Checkpoint, Condition, EventId, ExpectedVersion, FollowerKey, LogId, NewEvent,
    Origin, Position, Recorder, StoredEvent, StreamRead, Version,
};

/// Everything that a policy can see and do besides the event it processes.
///
/// It reads aggregates and queries of the follower's own application, including the follower's
/// earlier decisions, and decides on them. Every read becomes a condition: if the state changes
/// before the effects are recorded, nothing is recorded and the policy is called again.
pub struct Context {
    application: Application,
    pub(crate) batch: Batch,
    cause: Cause,
    freshness: Freshness,
    ids: IdSeed,
    events_decided: u64,
    ids_asked: u64,
    /// Metadata of effects, computed for the first one.
    metadata: Option<Bytes>,
    /// The first error of the store, if there was one. Decisions after it are not recorded, even if
    /// the policy ignores it.
    failed: Option<Error>,
    /// Set while the policy waits for the store, if a runner watches it.
    running: Option<RunningCell>,
}

/// The event that a policy processes, and the follower that processes it.
#[derive(Clone)]
pub(crate) struct Cause {
    pub(crate) event: StoredEvent,
    /// Name of the application whose log the event is in.
    pub(crate) upstream: Arc<str>,
    pub(crate) log: LogId,
    pub(crate) follower: FollowerKey,
    /// The follower key from which ids are derived.
    pub(crate) key_of_ids: FollowerKey,
    pub(crate) policy_version: u32,
    /// The event that resumes it, if it was parked.
    pub(crate) resumed: Option<EventId>,
}

/// How recent the states that are decided on must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Cached states are accepted: the append checks them.
    Judged,
    /// A cached state was stale.
    Newest,
}

impl Context {
    pub(crate) fn new(
        application: Application,
        batch: Batch,
        cause: Cause,
        freshness: Freshness,
    ) -> Self {
        let ids = IdSeed::new(
            cause.key_of_ids.as_str(),
            cause.log,
            cause.event.position(),
            cause.resumed,
            cause.event.time(),
        );
        Self {
            application,
            batch,
            cause,
            freshness,
            ids,
            events_decided: 0,
            ids_asked: 0,
            metadata: None,
            failed: None,
            running: None,
        }
    }

    /// Reports to this cell when the policy waits for the store.
    #[must_use]
    pub(crate) fn watched(mut self, running: &RunningCell) -> Self {
        self.running = Some(running.clone());
        self
    }

    /// Marks the policy as waiting for the store until the returned value is dropped.
    fn reading(&self) -> Option<impl Drop + Send + use<>> {
        self.running.as_ref().map(RunningCell::reading)
    }

    /// Returns the batch with the decisions, and the error of the store, if there was one.
    pub(crate) fn into_batch(self) -> (Batch, Option<Error>) {
        (self.batch, self.failed)
    }

    /// Returns the mapper that decodes events of the follower's application and of those it
    /// follows.
    pub(crate) fn mapper(&self) -> &Mapper {
        self.application.mapper()
    }

    /// Returns the event that is processed, as it is stored.
    pub fn cause(&self) -> &StoredEvent {
        &self.cause.event
    }

    /// Returns the name of the follower's own application.
    pub fn application(&self) -> &str {
        self.application.name()
    }

    /// Returns the name of the application whose event it is.
    pub fn upstream(&self) -> &str {
        &self.cause.upstream
    }

    /// Returns the id of the aggregate of type `A` that the event belongs to; none if the event
    /// does not belong to an aggregate of that type.
    pub fn aggregate<A: Aggregate>(&self) -> Option<Id<A>> {
        Id::of_stream(self.cause.event.stream()?)
    }

    /// Returns when the event was decided: the only time that a policy should use.
    pub fn time(&self) -> Timestamp {
        self.cause.event.time()
    }

    /// Returns a new unique id. When the event is processed again, the same calls return the same
    /// ids.
    pub fn next_id(&mut self) -> Uuid {
        let ordinal = self.ids_asked;
        self.ids_asked += 1;
        self.ids.id(Purpose::Asked, ordinal)
    }

    /// Returns an aggregate of the follower's own application, or none if it has no events or is
    /// deleted.
    ///
    /// # Errors
    ///
    /// As [`Application::get`], without [`Error::NotFound`].
    pub async fn find<A: Aggregate>(&mut self, id: impl Into<Id<A>>) -> Result<Option<A>> {
        let stream: Arc<str> = id.into().stream().into();
        let draft = self.draft::<A>(&stream).await?;
        let is_there = draft.folded.version.is_some() && !draft.folded.is_deleted;
        Ok(is_there.then(|| A::clone(&draft.folded.state)))
    }

    /// Returns an aggregate of the follower's own application.
    ///
    /// # Errors
    ///
    /// As [`Application::get`]. The absence of the aggregate is a condition too.
    pub async fn get<A: Aggregate>(&mut self, id: impl Into<Id<A>>) -> Result<A> {
        let id = id.into();
        let stream: Arc<str> = id.stream().into();
        let draft = self.draft::<A>(&stream).await?;
        draft.folded.check_not_deleted(&stream)?;
        match draft.folded.version {
            Some(_) => Ok(A::clone(&draft.folded.state)),
            None => Err(not_found(&id)),
        }
    }

    /// Decides on an aggregate of the follower's own application. Returns how many events were
    /// decided.
    ///
    /// The state on which a refusal is based is a condition too: if a policy handles a refusal and
    /// continues, and the state changes before the effects are recorded, the policy is called
    /// again.
    ///
    /// # Errors
    ///
    /// The refusal, as [`ExecuteError::Refused`]; [`Error::NotFound`] if the aggregate has no
    /// events; the errors of [`find`](Self::find).
    pub async fn execute<A, D>(
        &mut self,
        id: impl Into<Id<A>>,
        decide: impl FnOnce(&A) -> D + Send,
    ) -> Result<usize, ExecuteError<D::Refusal>>
    where
        A: Aggregate,
        D: Decision<A::Event>,
    {
        let id = id.into();
        let stream: Arc<str> = id.stream().into();
        let draft = self.draft::<A>(&stream).await?;
        draft.folded.check_not_deleted(&stream)?;
        if draft.folded.version.is_none() {
            return Err(not_found(&id).into());
        }
        self.decide_on_draft(&stream, decide)
    }

    /// As [`execute`](Self::execute), but an aggregate without events is decided on in its default
    /// state.
    ///
    /// An id that contains external text may not be a valid stream name. Validate such text where
    /// it enters the system, because a policy that fails stops its follower or parks the event.
    ///
    /// # Errors
    ///
    /// As for [`execute`](Self::execute), without [`Error::NotFound`].
    pub async fn execute_or_create<A, D>(
        &mut self,
        id: impl Into<Id<A>>,
        decide: impl FnOnce(&A) -> D + Send,
    ) -> Result<usize, ExecuteError<D::Refusal>>
    where
        A: Aggregate,
        D: Decision<A::Event>,
    {
        let stream: Arc<str> = id.into().stream().into();
        let draft = self.draft::<A>(&stream).await?;
        draft.folded.check_not_deleted(&stream)?;
        self.decide_on_draft(&stream, decide)
    }

    /// Creates an aggregate under an id that is derived from the event.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if nothing was decided; the errors of [`find`](Self::find).
    pub async fn create<A>(
        &mut self,
        decision: impl Decision<A::Event, Refusal = std::convert::Infallible> + Send,
    ) -> Result<Id<A>>
    where
        A: Aggregate<Key: From<Uuid>>,
    {
        let mut events = Vec::new();
        let Ok(()) = decision.decided(&mut events);
        if events.is_empty() {
            return Err(Error::invalid(
                "an aggregate is created by its first event; decide on at least one",
            ));
        }
        let id = Id::<A>::new(self.next_id().into());
        let stream: Arc<str> = id.stream().into();
        self.draft::<A>(&stream).await?;
        self.record_on_draft::<A>(&stream, events)?;
        Ok(id)
    }

    /// Records events of any types, each in the stream that it is addressed to, or in none.
    ///
    /// # Errors
    ///
    /// The refusal, as [`ExecuteError::Refused`]; [`Error::Registry`], [`Error::Mapping`].
    pub fn record<D: Decision<AnyEvent>>(
        &mut self,
        decision: D,
    ) -> Result<usize, ExecuteError<D::Refusal>> {
        let mut events = Vec::new();
        decision
            .decided(&mut events)
            .map_err(ExecuteError::Refused)?;
        Ok(self.record_any(events)?)
    }

    /// Decides on a model (an aggregate, a query, or several of them) of the follower's own
    /// application, as [`Application::decide`] does. Returns how many events were decided.
    ///
    /// # Errors
    ///
    /// The refusal, as [`ExecuteError::Refused`]; the errors of [`Application::view`].
    pub async fn decide<M: Model, D: Decision<AnyEvent>>(
        &mut self,
        model: M,
        decide: impl FnOnce(&M::State) -> D + Send,
    ) -> Result<usize, ExecuteError<D::Refusal>> {
        let state = self.read_model(&model).await?;
        let mut events = Vec::new();
        let decided = decide(&state).decided(&mut events);
        decided.map_err(ExecuteError::Refused)?;
        Ok(self.record_any(events)?)
    }

    /// Reads a model of the follower's own application.
    ///
    /// # Errors
    ///
    /// The errors of [`Application::view`].
    pub async fn view<M: Model>(&mut self, model: M) -> Result<M::State> {
        self.read_model(&model).await
    }

    /// Sets a timer of the follower's own application, replacing a pending one of the same key.
    ///
    /// # Errors
    ///
    /// [`Error::Mapping`] for a bad key, or an event that is not encoded as text.
    pub fn schedule(&mut self, deadline: Deadline) -> Result<()> {
        let mut events = Vec::new();
        let Ok(()) = deadline.decided(&mut events);
        self.record_any(events).map(drop)
    }

    /// Cancels the timer of this key. Returns whether it was pending, which becomes a condition.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a bad key; the errors of [`view`](Self::view).
    pub async fn cancel(&mut self, key: &str) -> Result<bool> {
        let is_pending = self.read_model(&timer(key)).await?.is_some();
        if is_pending {
            self.record_any(vec![cancelling(key)])?;
        }
        Ok(is_pending)
    }

    /// Returns the draft of an aggregate, reading it first if it has not been read.
    async fn draft<A: Aggregate>(&mut self, stream: &Arc<str>) -> Result<&mut Draft<A>> {
        if self.batch.draft::<A>(stream).is_none() {
            let folded = self.load::<A>(stream).await;
            let folded = self.kept(folded)?;
            let read = self.recorded_version(stream, folded.version);
            self.batch.add_draft(stream, read, folded);
        }
        match self.batch.draft(stream) {
            Some(draft) => Ok(draft),
            None => Err(Error::invalid(format!(
                "{stream:?} was read as an aggregate of another type"
            ))),
        }
    }

    async fn load<A: Aggregate>(&mut self, stream: &Arc<str>) -> Result<Folded<A>> {
        let _reading = self.reading();
        if self.batch.written(stream) > 0 || self.batch.version_read(stream).is_some() {
            // Read by a query, or written to without being read: the state must include that.
            let past = self.past().await?;
            let folded = self.application.over_own(past).newest_state(stream).await?;
            return Ok(folded);
        }
        match self.freshness {
            Freshness::Judged => self.application.state_to_be_judged(stream).await,
            Freshness::Newest => self.application.newest_state(stream).await,
        }
    }

    fn decide_on_draft<A, D>(
        &mut self,
        stream: &Arc<str>,
        decide: impl FnOnce(&A) -> D,
    ) -> Result<usize, ExecuteError<D::Refusal>>
    where
        A: Aggregate,
        D: Decision<A::Event>,
    {
        let mut events = Vec::new();
        if let Some(draft) = self.batch.draft::<A>(stream) {
            let decided = decide(&draft.folded.state).decided(&mut events);
            decided.map_err(ExecuteError::Refused)?;
        }
        Ok(self.record_on_draft::<A>(stream, events)?)
    }

    fn record_on_draft<A: Aggregate>(
        &mut self,
        stream: &Arc<str>,
        events: Vec<A::Event>,
    ) -> Result<usize> {
        let mut encoded = Vec::with_capacity(events.len());
        for event in &events {
            let envelope = self.envelope(Some(Arc::clone(stream)))?;
            encoded.push(self.application.mapper().encode(event, envelope)?);
        }
        // Pushed only now: if one of them cannot be recorded, none is.
        for (new, read_back) in encoded {
            self.batch.push(new);
            if let Some(draft) = self.batch.draft::<A>(stream) {
                draft.folded.apply(&read_back);
            }
        }
        Ok(events.len())
    }

    fn record_any(&mut self, events: Vec<AnyEvent>) -> Result<usize> {
        let mut encoded = Vec::with_capacity(events.len());
        for event in &events {
            event.register(self.application.registry())?;
            let envelope = self.envelope(None)?;
            let (new, _) = self.application.mapper().encode_any(event, envelope)?;
            encoded.push(new);
        }
        // Pushed only now: if one of them cannot be recorded, none is.
        for new in encoded {
            if let Some(stream) = &new.stream {
                // Its type is not known here, so the draft is read again when it is needed.
                self.batch.drop_draft(stream);
            }
            self.batch.push(new);
        }
        Ok(events.len())
    }

    fn envelope(&mut self, stream: Option<Arc<str>>) -> Result<Envelope> {
        let metadata = match &self.metadata {
            Some(metadata) => metadata.clone(),
            None => {
                let metadata = caused_by(&self.cause.event)?;
                self.metadata = Some(metadata.clone());
                metadata
            }
        };
        let ordinal = self.events_decided;
        self.events_decided += 1;
        Ok(Envelope {
            id: EventId::new(self.ids.id(Purpose::Event, ordinal)),
            stream,
            time: self.time(),
            origin: Origin::Effect {
                follower: self.cause.follower.clone(),
                policy_version: self.cause.policy_version,
                upstream: self.cause.log,
                position: self.cause.event.position(),
                event_id: self.cause.event.id(),
            },
            metadata,
        })
    }

    async fn read_model<M: Model>(&mut self, model: &M) -> Result<M::State> {
        let _reading = self.reading();
        let past = self.past().await?;
        let application = self.application.over_own(past);
        let (mut state, mut place) = model.begin();
        let read = model
            .read_on(&application, &mut state, &mut place, Reach::Newest)
            .await;
        self.kept(read)?;
        let mut conditions = Vec::new();
        model.conditions(&place, &mut conditions);
        self.add_conditions(conditions);
        Ok(state)
    }

    /// Adds the conditions of a model that was read with the effects of this batch, as they apply
    /// to the log without them.
    fn add_conditions(&mut self, conditions: Vec<Condition>) {
        let head = self
            .batch
            .head()
            .flatten()
            .map(|checkpoint| checkpoint.position);
        for condition in conditions {
            match condition {
                Condition::StreamAt {
                    stream,
                    expected,
                    event,
                } => {
                    let version = match expected {
                        ExpectedVersion::None => None,
                        ExpectedVersion::At(version) => {
                            self.recorded_version(&stream, Some(version))
                        }
                        ExpectedVersion::Exists => continue,
                    };
                    // An effect of this batch is not in the log yet.
                    let event = event.filter(|_| self.batch.written(&stream) == 0);
                    self.batch.add_read(&stream, version, event);
                }
                Condition::NoneMatch { query, after } => {
                    self.batch.add_query(query, after.min(head));
                }
                Condition::TopicCount { count } => self.batch.add_topic_count(count),
            }
        }
    }

    /// Returns a stream's version in the log, given its version with the effects of this batch.
    fn recorded_version(&self, stream: &str, version: Option<Version>) -> Option<Version> {
        let written = self.batch.written(stream);
        Version::new(Version::number(version).saturating_sub(written))
    }

    /// Returns the application's log with the effects of this batch, at one head for the whole
    /// batch.
    async fn past(&mut self) -> Result<Arc<PastRecorder>> {
        let head = self.settled_head().await;
        let head = self.kept(head)?;
        self.batch.set_head(head);
        let past = self.past_at(head).await;
        self.kept(past)
    }

    async fn settled_head(&self) -> Result<Option<Checkpoint>> {
        match self.batch.head() {
            Some(head) => Ok(head),
            None => Ok(self.application.recorder().head().await?.checkpoint),
        }
    }

    async fn past_at(&self, head: Option<Checkpoint>) -> Result<Arc<PastRecorder>> {
        let recorder = self.application.recorder();
        let pending = self.pending(head).await?;
        let past = PastRecorder::new(Arc::clone(recorder), head, pending);
        Ok(Arc::new(past.with_versions(self.batch.streams())))
    }

    /// Returns the effects of this batch as the log would return them after this event.
    async fn pending(&self, until: Option<Checkpoint>) -> Result<Vec<StoredEvent>> {
        let events = self.batch.events();
        let mut versions: Vec<(Arc<str>, Option<Version>)> = Vec::new();
        let mut pending = Vec::with_capacity(events.len());
        let first = until.map_or(Position::FIRST, |checkpoint| checkpoint.position.next());
        for (index, new) in (0..).zip(events) {
            let version = match &new.stream {
                None => None,
                Some(stream) => {
                    let known = versions.iter().position(|(it, _)| it == stream);
                    let known = match known {
                        Some(known) => known,
                        None => {
                            let version = self.version_at(stream, until).await?;
                            versions.push((Arc::clone(stream), version));
                            versions.len() - 1
                        }
                    };
                    let version = versions[known].1.map_or(Version::FIRST, Version::next);
                    versions[known].1 = Some(version);
                    Some(version)
                }
            };
            let place = AppendPlace { index: 0, count: 1 };
            let position = first.plus(index);
            pending.push(stored(new, position, version, place));
        }
        Ok(pending)
    }

    /// Returns the version of a stream in the log at an event.
    async fn version_at(
        &self,
        stream: &Arc<str>,
        until: Option<Checkpoint>,
    ) -> Result<Option<Version>> {
        if let Some(version) = self.batch.version_read(stream) {
            return Ok(version);
        }
        let past = PastRecorder::new(Arc::clone(self.application.recorder()), until, Vec::new());
        let read = StreamRead::new(Arc::clone(stream)).backward().limit(1);
        let page = past.read_stream(read).await?;
        Ok(page.events.first().and_then(StoredEvent::version))
    }

    /// Remembers an error of the store, so that it is not lost if the policy ignores it.
    fn kept<T>(&mut self, result: Result<T>) -> Result<T> {
        match result {
            Err(error) if is_of_the_store(&error) => {
                let again = copy_of(&error);
                self.failed.get_or_insert(error);
                Err(again)
            }
            other => other,
        }
    }
}

/// Returns whether an error is about the store and not about the policy.
pub(crate) fn is_of_the_store(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable(_) | Error::OutcomeUnknown { .. } | Error::Corrupt(_)
    ) || error.is_diverged()
}

/// Copies the error for the policy; the follower keeps the original.
fn copy_of(error: &Error) -> Error {
    match error {
        Error::Unavailable(failure) => Error::Unavailable(failure.clone()),
        Error::OutcomeUnknown { failure, .. } => Error::Unavailable(failure.clone()),
        Error::Corrupt(corrupt) => Error::Corrupt(corrupt.clone()),
        other => Error::invalid(other.to_string()),
    }
}

fn not_found<A: Aggregate>(id: &Id<A>) -> Error {
    Error::NotFound {
        stream: id.stream().into(),
        version: None,
        time: None,
    }
}

fn stored(
    new: &NewEvent,
    position: Position,
    version: Option<Version>,
    place: AppendPlace,
) -> StoredEvent {
    StoredEvent::from_new(new, position, version, place, new.time)
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("upstream", &self.cause.upstream)
            .field("cause", &self.cause.event.checkpoint())
            .field("follower", &self.cause.follower)
            .finish_non_exhaustive()
    }
}
