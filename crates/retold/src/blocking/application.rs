//! The blocking application: each call is that of the asynchronous one, waited for.

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
/// A clone is the same application and costs next to nothing; give every thread its own.
#[derive(Clone, Debug)]
pub struct Application {
    asynchronous: application::Application,
}

/// Gives an application its blocking face.
pub trait BlockingFace {
    /// The same application, for code that is not asynchronous.
    fn blocking(&self) -> Application;
}

impl BlockingFace for application::Application {
    fn blocking(&self) -> Application {
        self.clone().into()
    }
}

impl From<application::Application> for Application {
    fn from(asynchronous: application::Application) -> Self {
        Self { asynchronous }
    }
}

impl Application {
    /// Opens the application of this name with its log in the store at this URL; see
    /// [`store_url`](crate::store_url) for what is understood. The log is born if it does not exist.
    ///
    /// To choose more than that, build it: `Application::builder(name)…open().wait()?.blocking()`, with
    /// the asynchronous [`Application`](application::Application).
    ///
    /// # Errors
    ///
    /// `Invalid` for a URL or a name that is not understood, or a file that is no store of this
    /// version; `Unavailable`, `Corrupt`.
    pub fn open(name: &str, url: &str) -> Result<Self> {
        let opened = <application::Application as OpenApplication>::open(name, url);
        Ok(opened.wait()?.into())
    }

    /// The same application, for asynchronous code.
    pub fn asynchronous(&self) -> &application::Application {
        &self.asynchronous
    }

    /// Name of the application and of its log.
    pub fn name(&self) -> &str {
        self.asynchronous.name()
    }

    /// A handle that records this metadata with every event, in place of what this handle records.
    #[must_use]
    pub fn with(&self, metadata: Metadata) -> Self {
        self.asynchronous.with(metadata).into()
    }

    /// Id of the log; none for one that is not born, which only a read-only application meets.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub fn log_id(&self) -> Result<Option<LogId>> {
        self.asynchronous.log_id().wait()
    }

    /// The log's end.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub fn head(&self) -> Result<Head> {
        self.asynchronous.head().wait()
    }

    /// Creates an aggregate under a fresh key, when it is waited for. See
    /// [`create`](application::Application::create).
    pub fn create<A: Aggregate<Key: From<Uuid>>>(
        &self,
        decision: impl Decision<A::Event, Refusal = Infallible>,
    ) -> Create<'_, A> {
        self.asynchronous.create(decision)
    }

    /// Executes a command on an aggregate, when it is waited for: loads it, decides, records, and
    /// again if others were faster. See [`execute`](application::Application::execute).
    pub fn execute<A, F, D>(&self, id: impl Into<Id<A>>, decide: F) -> Execute<'_, A, F, D>
    where
        A: Aggregate,
        F: Fn(&A) -> D,
        D: Decision<A::Event>,
    {
        self.asynchronous.execute(id, decide)
    }

    /// As [`execute`](Self::execute), but an aggregate of which nothing is recorded is decided on as
    /// its default.
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

    /// Decides on what a model shows, when it is waited for: reads it, decides, records, and again if
    /// what was read has changed. See [`decide`](application::Application::decide).
    pub fn decide<M, F, D>(&self, model: M, decide: F) -> Decide<'_, M, F, D>
    where
        M: Model,
        F: Fn(&M::State) -> D,
        D: Decision<AnyEvent>,
    {
        self.asynchronous.decide(model, decide)
    }

    /// Changes several aggregates in one append, when it is waited for. See
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

    /// The aggregate as it is now.
    ///
    /// # Errors
    ///
    /// `NotFound` if nothing is recorded of it; `Mapping` if one of its events cannot be read;
    /// `Registry`, `Unavailable`, `Corrupt`.
    pub fn get<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<Loaded<A>> {
        self.asynchronous.get(id).wait()
    }

    /// The aggregate as it is now, or none if nothing is recorded of it.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), without `NotFound`.
    pub fn find<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<Option<Loaded<A>>> {
        self.asynchronous.find(id).wait()
    }

    /// The aggregate as it was at a version.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); `NotFound` also if it has no such version yet.
    pub fn get_at<A: Aggregate>(
        &self,
        id: impl Into<Id<A>>,
        version: Version,
    ) -> Result<Loaded<A>> {
        self.asynchronous.get_at(id, version).wait()
    }

    /// The aggregate as it was at a time: before the first of its events that was decided later.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); `NotFound` also if it had no events then.
    pub fn get_as_of<A: Aggregate>(
        &self,
        id: impl Into<Id<A>>,
        time: Timestamp,
    ) -> Result<Loaded<A>> {
        self.asynchronous.get_as_of(id, time).wait()
    }

    /// What a model shows, without deciding on it, as of one state of the log.
    ///
    /// # Errors
    ///
    /// `Mapping` if an event cannot be read; `Invalid` for a query beyond the limits; `Registry`,
    /// `Unavailable`, `Corrupt`.
    pub fn view<M: Model>(&self, model: M) -> Result<View<M>> {
        self.asynchronous.view(model).wait()
    }

    /// The ids of the aggregates of a type, in the order of the bytes of their streams' names.
    ///
    /// For types with very many, go by pages: `asynchronous().aggregates::<A>().next_page().wait()`.
    ///
    /// # Errors
    ///
    /// `Invalid` if a stream of the type has a name that is no key of it; `Registry`, `Unavailable`,
    /// `Corrupt`.
    pub fn aggregates<A: Aggregate>(&self) -> Result<Vec<Id<A>>> {
        self.asynchronous.aggregates().collect().wait()
    }

    /// Takes a snapshot of the aggregate as it is now, and returns its version.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); `Invalid` if the aggregate's type has no rule for snapshots, or the state
    /// does not become JSON.
    pub fn take_snapshot<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<Version> {
        self.asynchronous.take_snapshot(id).wait()
    }

    /// Takes a snapshot of the aggregate as it was at a version.
    ///
    /// # Errors
    ///
    /// As [`take_snapshot`](Self::take_snapshot); `NotFound` also if it has no such version yet.
    pub fn take_snapshot_at<A: Aggregate>(
        &self,
        id: impl Into<Id<A>>,
        version: Version,
    ) -> Result<()> {
        self.asynchronous.take_snapshot_at(id, version).wait()
    }

    /// Drops all snapshots of the aggregate; nothing is lost but time.
    ///
    /// # Errors
    ///
    /// `Unavailable`; `Invalid` if the application was opened for reading only.
    pub fn drop_snapshots<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<()> {
        self.asynchronous.drop_snapshots(id).wait()
    }

    /// Sends an append until its outcome is known. See
    /// [`settle`](application::Application::settle).
    ///
    /// # Errors
    ///
    /// `OutcomeUnknown` if it is still unknown; `Conflict`, `Unavailable`, `Invalid`, `Corrupt`: it is
    /// not recorded and will not be.
    pub fn settle(&self, append: Append) -> Result<Appended> {
        self.asynchronous.settle(append).wait()
    }

    /// A reader of the application's log. What it selects is read by
    /// [`wait_each`](super::WaitEach::wait_each), or at once: `log().stored().read().collect().wait()`.
    pub fn log(&self) -> LogReader {
        self.asynchronous.log()
    }

    /// The events of type `E` in the application's log:
    /// `events::<E>().read().events().wait_each()` for those that are there,
    /// `events::<E>().subscribe().wait()?.wait_each()` for those and what comes.
    pub fn events<E: Event>(&self) -> Selection<Logged<E>> {
        self.asynchronous.events()
    }

    /// Commits of this application's handles in this process, from now on.
    pub fn commits(&self) -> Commits {
        self.asynchronous.commits()
    }
}
