//! Commands on one aggregate.

use std::future::IntoFuture;
use std::marker::PhantomData;
use std::sync::Arc;

use super::cache::Folded;
use super::command::{Command, Named, Need, Pass, boxed, run};
use super::command_id::CommandId;
use super::error::{ExecuteError, Result};
use super::handle::Application;
use super::lanes::Entered;
use super::recorded::Recorded;
use super::repository::absent;
use super::scope::Scope;
use super::stamp::Stamp;
use super::turns::{Turn, contended_stream};
use crate::domain::{Aggregate, Decision, Id};
use crate::recording::{
    Append, BoxFuture, Checkpoint, Condition, Conflict, EventId, ExpectedVersion, Positions,
    Version,
};

mod in_lane;

/// A future that executes a command on one aggregate. See [`Application::execute`].
#[must_use = "a command does nothing unless awaited"]
pub struct Execute<'a, A: Aggregate, F, D> {
    application: &'a Application,
    id: Id<A>,
    decide: F,
    absent: Absent,
    command: Option<CommandId>,
    seen: Option<Option<Version>>,
    decision: PhantomData<fn() -> D>,
}

/// What a command does with an aggregate without events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// Fails with `NotFound`.
    NotFound,
    /// Decides on the default.
    Default,
}

impl Application {
    /// Executes a command on an aggregate: loads it, decides on its state, and records the decision
    /// if the aggregate has not changed in the meantime. If it has, decides again on the new state,
    /// up to the application's number of retries.
    ///
    /// `decide` is called at least once, each time on a newer state, and must depend on nothing
    /// else. A refusal, and a decision without events, is returned only for the newest state.
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// /// A rule of the domain as a pure function: returns the event, or a refusal.
    /// impl Dog {
    ///     fn add_trick(&self, trick: &str) -> Result<DogEvent, TooManyTricks> {
    ///         match self.tricks.len() {
    ///             0..3 => Ok(DogEvent::TrickAdded { trick: trick.into() }),
    ///             _ => Err(TooManyTricks),
    ///         }
    ///     }
    /// }
    ///
    /// #[derive(Debug, thiserror::Error)]
    /// #[error("a dog learns three tricks")]
    /// struct TooManyTricks;
    ///
    /// let recorded = school.execute(fido, |dog: &Dog| dog.add_trick("roll over")).await?;
    /// assert_eq!(recorded.version.map(|it| it.get()), Some(2));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The refusal, as [`ExecuteError::Refused`]. [`Error::NotFound`] if the aggregate has no
    /// events; [`Error::Conflict`] if the retries are used up; [`Error::OutcomeUnknown`]; the
    /// errors of [`get`](Self::get) and [`settle`](Self::settle).
    ///
    /// [`Error::NotFound`]: super::error::Error::NotFound
    /// [`Error::Conflict`]: super::error::Error::Conflict
    /// [`Error::OutcomeUnknown`]: super::error::Error::OutcomeUnknown
    pub fn execute<A, F, D>(&self, id: impl Into<Id<A>>, decide: F) -> Execute<'_, A, F, D>
    where
        A: Aggregate,
        F: Fn(&A) -> D,
        D: Decision<A::Event>,
    {
        self.command(id.into(), decide, Absent::NotFound)
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
        self.command(id.into(), decide, Absent::Default)
    }

    fn command<A: Aggregate, F, D>(
        &self,
        id: Id<A>,
        decide: F,
        absent: Absent,
    ) -> Execute<'_, A, F, D> {
        Execute {
            application: self,
            id,
            decide,
            absent,
            command: None,
            seen: None,
            decision: PhantomData,
        }
    }
}

impl<A: Aggregate, F, D> Execute<'_, A, F, D> {
    /// Sets the command id: if the command is sent again, it records nothing and returns what it
    /// recorded the first time. A command that recorded nothing is decided again.
    pub fn command_id(mut self, id: impl Into<CommandId>) -> Self {
        self.command = Some(id.into());
        self
    }

    /// Executes the command only if the aggregate is still at this version, the one on which the
    /// caller decided; with `None`, only if it has no events. Otherwise the conflict is returned
    /// without a retry. A command that is repeated under its id still succeeds.
    pub fn at(mut self, version: impl Into<Option<Version>>) -> Self {
        self.seen = Some(version.into());
        self
    }
}

impl<'a, A, F, D> IntoFuture for Execute<'a, A, F, D>
where
    A: Aggregate,
    F: Fn(&A) -> D + Send + 'a,
    D: Decision<A::Event> + 'a,
{
    type Output = Result<Recorded, ExecuteError<D::Refusal>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let stream: Arc<str> = self.id.stream().into();
        let span = tracing::debug_span!(
            "retold.execute",
            log = self.application.name(),
            %stream,
            command = self.command.as_ref().map(CommandId::as_str),
        );
        let scope = || Scope::stream(&stream);
        let mut command = OneAggregate {
            application: self.application,
            named: self.command.map(|id| Named { id, scope: scope() }),
            stream,
            absent: self.absent,
            seen: self.seen,
            decide: self.decide,
            lane: None,
            folded: None,
            decision: PhantomData,
        };
        boxed(async move { run(&mut command).await }, span)
    }
}

/// A command on one aggregate while it is executed.
struct OneAggregate<'a, A: Aggregate, F, D> {
    application: &'a Application,
    named: Option<Named>,
    stream: Arc<str>,
    absent: Absent,
    /// The version that the caller requires, if there is one.
    seen: Option<Option<Version>>,
    decide: F,
    lane: Option<Entered<'a, A>>,
    /// The state that was read last, with the events of an append that was recorded.
    folded: Option<Folded<A>>,
    decision: PhantomData<fn() -> D>,
}

/// What was decided, until it is recorded.
enum Change<A: Aggregate> {
    /// Events after the state that was read, as they will be read.
    Events(Vec<A::Event>),
    /// The state after a prediction, whose version was `before`.
    State {
        before: Option<Version>,
        next: Folded<A>,
    },
}

impl<A, F, D> Command for OneAggregate<'_, A, F, D>
where
    A: Aggregate,
    F: Fn(&A) -> D + Send,
    D: Decision<A::Event>,
{
    type Event = A::Event;
    type Refusal = D::Refusal;
    type Kept = Change<A>;

    fn application(&self) -> &Application {
        self.application
    }

    fn named(&self) -> Option<&Named> {
        self.named.as_ref()
    }

    fn retries_max(&self) -> u32 {
        match self.seen {
            None => self.application.core.retries,
            Some(_) => 0,
        }
    }

    async fn read(&mut self, need: Need) -> Result<bool> {
        self.application.see_forgotten().await?;
        let forgets = self.application.core.cache.forgets();
        let known = self.folded.take().filter(|it| it.forgets == forgets);
        if need <= Need::Newer
            && let Some(cached) = self.cached(known.as_ref())
            && self.seen.is_none_or(|seen| cached.version >= seen)
        {
            self.folded = Some(cached);
            return Ok(false);
        }
        let known = known.or_else(|| self.application.core.cache.peek(&self.stream));
        let (folded, _) = self.application.load_from(&self.stream, known).await?;
        self.folded = Some(folded.not_deleted(&self.stream)?);
        Ok(true)
    }

    fn decide(&mut self) -> Result<Vec<A::Event>, ExecuteError<D::Refusal>> {
        self.decide_on(self.folded())
    }

    fn about(&self) -> (Option<Arc<str>>, Option<Version>) {
        let version = self.folded.as_ref().and_then(|it| it.version);
        (Some(Arc::clone(&self.stream)), version)
    }

    async fn turn(&mut self) -> Option<Arc<Turn>> {
        self.pending_turn()
    }

    fn encode(&mut self, events: Vec<A::Event>) -> Result<(Append, Change<A>)> {
        let folded = self.folded();
        let (append, events) = self.append_after(folded.version, folded.last(), &events)?;
        Ok((append, Change::Events(events)))
    }

    async fn remember(&mut self, kept: Change<A>, _: Positions, last: Option<Checkpoint>) {
        let (application, stream) = (self.application, &self.stream);
        self.folded = Some(match kept {
            Change::Events(events) => {
                // Moved, so that applying the events does not clone the state.
                let base = self.folded.take().unwrap_or_default();
                application.remember(stream, base, &events, last).await
            }
            Change::State { before, mut next } => {
                next.checkpoint = last;
                application.keep_state(stream, before, &next).await;
                next
            }
        });
    }

    fn overtaken(&mut self, conflict: &Conflict) -> Option<Arc<Turn>> {
        if self.lane.is_none() {
            self.lane = self.application.core.lanes.enter(&self.stream);
        }
        let turn = self.pending_turn();
        let (_, version) = self.about();
        // The log was restored since the state was read.
        let is_ahead = matches!(conflict, Conflict::Stream { actual, .. } if *actual < version);
        // In the lane, the command decides on a prediction.
        let uses_lane = turn.is_none() && self.lane.is_some();
        if is_ahead || uses_lane {
            self.folded = None;
        }
        turn
    }

    async fn pass(&mut self) -> Result<Pass> {
        // A command for one version only does not wait for others.
        if self.lane.is_none() && self.seen.is_none() {
            self.lane = self.application.core.lanes.enter_existing(&self.stream);
        }
        if self.folded.is_some() || self.pending_turn().is_some() {
            return Ok(Pass::NoLane);
        }
        let Some(lane) = self.lane.take() else {
            return Ok(Pass::NoLane);
        };
        // Boxed, so that the futures of commands that need no lane stay small.
        let pass = Box::pin(self.pass_in(&lane)).await;
        self.lane = Some(lane);
        pass
    }
}

impl<A, F, D> OneAggregate<'_, A, F, D>
where
    A: Aggregate,
    F: Fn(&A) -> D,
    D: Decision<A::Event>,
{
    fn folded(&self) -> &Folded<A> {
        let folded = self.folded.as_ref();
        folded.expect("a command decides after it has read, and appends after it has decided")
    }

    /// Returns the cached state, unless the command knows it already.
    fn cached(&self, known: Option<&Folded<A>>) -> Option<Folded<A>> {
        let cache = &self.application.core.cache;
        match known {
            None => cache.get(&self.stream),
            Some(known) => {
                let cached = cache.peek(&self.stream);
                cached.filter(|it: &Folded<A>| it.version > known.version)
            }
        }
    }

    /// Decides on a state, if there is one to decide on, at the version that the caller requires.
    fn decide_on(&self, folded: &Folded<A>) -> Result<Vec<A::Event>, ExecuteError<D::Refusal>> {
        if folded.version.is_none() && self.absent == Absent::NotFound {
            return Err(absent(Arc::clone(&self.stream), None).into());
        }
        if let Some(seen) = self.seen
            && folded.version != seen
        {
            return Err(ExecuteError::from(Conflict::Stream {
                stream: Arc::clone(&self.stream),
                expected: ExpectedVersion::seen(seen),
                actual: folded.version,
                other: None,
            }));
        }
        let mut events = Vec::new();
        let decided = (self.decide)(&folded.state).decided(&mut events);
        decided.map_err(ExecuteError::Refused)?;
        Ok(events)
    }

    /// Returns the append of these events after a version of the stream, whose event has the id
    /// `last`, and the events as they will be read.
    fn append_after(
        &self,
        version: Option<Version>,
        last: Option<EventId>,
        events: &[A::Event],
    ) -> Result<(Append, Vec<A::Event>)> {
        let id = self.named.as_ref().map(|named| &named.id);
        // The stream of the events shows the scope.
        let stamp = Stamp::new(self.application, id, None);
        let (new, events) = stamp.of_stream(&self.stream, events)?;
        let condition = Condition::stream_read(Arc::clone(&self.stream), version, last);
        Ok((Append::of(new).condition(condition), events))
    }

    /// Returns the turn of decisions over models that were overtaken on this stream, if there are
    /// any. Those have to read first, so commands append one after the other while one of them
    /// waits.
    fn pending_turn(&self) -> Option<Arc<Turn>> {
        let turns = &self.application.core.turns;
        turns.of_overtaken(|| contended_stream(&self.stream))
    }
}
