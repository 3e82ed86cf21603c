//! The blocking application: each call waits for that of the asynchronous one.

use std::convert::Infallible;

use super::wait::Wait;
use crate::application::{
    self, Aggregates, Commits, Create, Decide, Execute, Loaded, LogReader, Logged, Model, Result,
    Selection, View,
};
use crate::domain::{Aggregate, Decision, Event, Id, Timestamp};
use crate::mapping::AnyEvent;
use crate::open::OpenApplication;
use crate::recording::{Append, Appended, Head, LogId, Metadata, Version};
use crate::uuid::Uuid;

/// A named log with its aggregates, for code that is not asynchronous. See the [module](super).
///
/// A clone is the same application and costs almost nothing; give every thread its own.
#[derive(Clone, Debug)]
pub struct BlockingApplication {
    asynchronous: application::Application,
}

/// Converts an application to its blocking form.
pub trait BlockingExt {
    /// Returns the same application, for code that is not asynchronous.
    fn blocking(&self) -> BlockingApplication;
}

impl BlockingExt for application::Application {
    fn blocking(&self) -> BlockingApplication {
        self.clone().into()
    }
}

impl From<application::Application> for BlockingApplication {
    fn from(asynchronous: application::Application) -> Self {
        Self { asynchronous }
    }
}

impl BlockingApplication {
    /// Opens the application of this name with its log in the store at this URL; see
    /// [`store_url`](crate::store_url) for the accepted forms. The log is created if it does not
    /// exist.
    ///
    /// To choose other options, build it:
    /// `BlockingApplication::builder(name)…open().wait()?.blocking()`, with the asynchronous
    /// [`BlockingApplication`](application::Application).
    ///
    /// # Errors
    ///
    /// `Invalid` for a URL or a name that is not accepted, or a file that is not a store of this
    /// version; `Unavailable`, `Corrupt`.
    pub fn open(name: &str, url: &str) -> Result<Self> {
        let opened = <application::Application as OpenApplication>::open(name, url);
        Ok(opened.wait()?.into())
    }

    /// Returns the same application, for asynchronous code.
    pub fn asynchronous(&self) -> &application::Application {
        &self.asynchronous
    }

    /// Returns the name of the application and of its log.
    pub fn name(&self) -> &str {
        self.asynchronous.name()
    }

    /// Returns a handle that records this metadata with every event, in place of this handle's
    /// metadata.
    #[must_use]
    pub fn with(&self, metadata: Metadata) -> Self {
        self.asynchronous.with(metadata).into()
    }

    /// Returns the id of the log, or `None` if the log does not exist, which happens only in a
    /// read-only application.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub fn log_id(&self) -> Result<Option<LogId>> {
        self.asynchronous.log_id().wait()
    }

    /// Returns the end of the log.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub fn head(&self) -> Result<Head> {
        self.asynchronous.head().wait()
    }

    /// Returns a command that creates an aggregate under a new key, to be run by `wait`. See
    /// [`create`](application::Application::create).
    pub fn create<A: Aggregate<Key: From<Uuid>>>(
        &self,
        decision: impl Decision<A::Event, Refusal = Infallible>,
    ) -> Create<'_, A> {
        self.asynchronous.create(decision)
    }

    /// Returns a command on an aggregate, to be run by `wait`: it loads the aggregate, decides and
    /// records, and retries after a conflict. See [`execute`](application::Application::execute).
    pub fn execute<A, F, D>(&self, id: impl Into<Id<A>>, decide: F) -> Execute<'_, A, F, D>
    where
        A: Aggregate,
        F: Fn(&A) -> D,
        D: Decision<A::Event>,
    {
        self.asynchronous.execute(id, decide)
    }

    /// As [`execute`](Self::execute), but an aggregate without events starts as its default.
    pub fn execute_or_create<A, F, D>(
        &self,
        id: impl Into<Id<A>>,
        decide: F,
    ) -> Execute<'_, A, F, D>
    where
        A: Aggregate,
        F: Fn(&A) -> D,
        D: Decision<A::Event>,
    {
        self.asynchronous.execute_or_create(id, decide)
    }

    /// Returns a decision on a model, to be run by `wait`: it reads the model, decides and records,
    /// and retries if the model has changed. See [`decide`](application::Application::decide).
    pub fn decide<M, F, D>(&self, model: M, decide: F) -> Decide<'_, M, F, D>
    where
        M: Model,
        F: Fn(&M::State) -> D,
        D: Decision<AnyEvent>,
    {
        self.asynchronous.decide(model, decide)
    }

    /// Returns a change of several aggregates in one append, to be run by `wait`. See
    /// [`change`](application::Application::change).
    #[allow(
        clippy::type_complexity,
        reason = "a closure has no name, and a name for the rest would hide it"
    )]
    pub fn change<I, F, D>(
        &self,
        ids: I,
        change: F,
    ) -> Decide<
        '_,
        I,
        impl Fn(&I::State) -> Result<Vec<AnyEvent>, D::Refusal>,
        Result<Vec<AnyEvent>, D::Refusal>,
    >
    where
        I: Aggregates,
        F: Fn(&mut I::Drafts) -> D,
        D: Decision<AnyEvent>,
    {
        self.asynchronous.change(ids, change)
    }

    /// Returns the current state of the aggregate.
    ///
    /// # Errors
    ///
    /// `NotFound` if it has no recorded events; `Mapping` if one of its events cannot be read;
    /// `Registry`, `Unavailable`, `Corrupt`.
    pub fn get<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<Loaded<A>> {
        self.asynchronous.get(id).wait()
    }

    /// Returns the current state of the aggregate, or `None` if it has no recorded events.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get), without `NotFound`.
    pub fn find<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<Option<Loaded<A>>> {
        self.asynchronous.find(id).wait()
    }

    /// Returns the aggregate as it was at a version.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); `NotFound` also if it has no such version yet.
    pub fn get_at<A: Aggregate>(
        &self,
        id: impl Into<Id<A>>,
        version: Version,
    ) -> Result<Loaded<A>> {
        self.asynchronous.get_at(id, version).wait()
    }

    /// Returns the aggregate as it was at a time: the fold of its events before the first one that
    /// was decided later.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); `NotFound` also if it had no events then.
    pub fn get_as_of<A: Aggregate>(
        &self,
        id: impl Into<Id<A>>,
        time: Timestamp,
    ) -> Result<Loaded<A>> {
        self.asynchronous.get_as_of(id, time).wait()
    }

    /// Reads a model without deciding on it. All its states are as of the same state of the log.
    ///
    /// # Errors
    ///
    /// `Mapping` if an event cannot be read; `Invalid` for a query beyond the limits; `Registry`,
    /// `Unavailable`, `Corrupt`.
    pub fn view<M: Model>(&self, model: M) -> Result<View<M>> {
        self.asynchronous.view(model).wait()
    }

    /// Returns the ids of the aggregates of a type, in the byte order of their streams' names.
    ///
    /// For types with very many aggregates, read pages:
    /// `asynchronous().aggregates::<A>().next_page().wait()`.
    ///
    /// # Errors
    ///
    /// `Invalid` if a stream of the type has a name that is not a key of it; `Registry`,
    /// `Unavailable`, `Corrupt`.
    pub fn aggregates<A: Aggregate>(&self) -> Result<Vec<Id<A>>> {
        self.asynchronous.aggregates().collect().wait()
    }

    /// Takes a snapshot of the current state of the aggregate, and returns its version.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); `Invalid` if the aggregate's type has no rule for snapshots, or
    /// if the state cannot be encoded as JSON or differs after decoding.
    pub fn take_snapshot<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<Version> {
        self.asynchronous.take_snapshot(id).wait()
    }

    /// Takes a snapshot of the aggregate as it was at a version.
    ///
    /// # Errors
    ///
    /// As for [`take_snapshot`](Self::take_snapshot); `NotFound` also if it has no such version
    /// yet.
    pub fn take_snapshot_at<A: Aggregate>(
        &self,
        id: impl Into<Id<A>>,
        version: Version,
    ) -> Result<()> {
        self.asynchronous.take_snapshot_at(id, version).wait()
    }

    /// Drops all snapshots of the aggregate. Nothing is lost, because the events are the source of
    /// truth; a later load may take longer.
    ///
    /// # Errors
    ///
    /// `Unavailable`; `Invalid` if the application was opened for reading only.
    pub fn drop_snapshots<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<()> {
        self.asynchronous.drop_snapshots(id).wait()
    }

    /// Resends an append until its outcome is known. See
    /// [`settle`](application::Application::settle).
    ///
    /// # Errors
    ///
    /// `OutcomeUnknown` if it is still unknown; `Conflict`, `Unavailable`, `Invalid`, `Corrupt`:
    /// the append is not recorded and will not be.
    pub fn settle(&self, append: Append) -> Result<Appended> {
        self.asynchronous.settle(append).wait()
    }

    /// Returns a reader of the application's log. Read a selection event by event with
    /// [`wait_each`](super::WaitEach::wait_each), or all events at once:
    /// `log().stored().read().collect().wait()`.
    pub fn log(&self) -> LogReader {
        self.asynchronous.log()
    }

    /// Selects the events of type `E` in the application's log:
    /// `events::<E>().read().events().wait_each()` for the existing ones,
    /// `events::<E>().subscribe().wait()?.wait_each()` for those and future ones.
    pub fn events<E: Event>(&self) -> Selection<Logged<E>> {
        self.asynchronous.events()
    }

    /// Subscribes to the commits of this application's handles in this process, from now on.
    pub fn commits(&self) -> Commits {
        self.asynchronous.commits()
    }
}
