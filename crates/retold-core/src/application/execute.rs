//! Commands on one aggregate: load, decide, append; retry after a conflict.

use std::future::{IntoFuture, poll_fn};
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::Poll;

use tracing::Instrument;

use super::cache::Folded;
use super::command_id::CommandId;
use super::commit::Commit;
use super::error::{Error, ExecuteError, Result};
use super::handle::Application;
use super::lanes::{Entered, Fate, Offer, Seen};
use super::limits::LANE_LOOKS_MAX;
use super::recorded::Recorded;
use super::repository::absent;
use super::stamp::Stamp;
use super::telemetry;
use super::turns::{Turn, contended_stream};
use crate::domain::{Aggregate, Decision, Id};
use crate::recording::{
    Append, Appended, BoxFuture, Condition, Conflict, Corrupt, ExpectedVersion, Version,
};

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
        let target = Target {
            application: self.application,
            stream: self.id.stream().into(),
            absent: self.absent,
            command: self.command,
            seen: self.seen,
        };
        let span = tracing::debug_span!(
            "retold.execute",
            log = target.application.name(),
            stream = %target.stream,
            command = target.command.as_ref().map(CommandId::as_str),
        );
        let run = run(target, self.decide);
        if span.is_disabled() {
            Box::pin(run)
        } else {
            Box::pin(run.instrument(span))
        }
    }
}

async fn run<A, F, D>(target: Target<'_>, decide: F) -> Result<Recorded, ExecuteError<D::Refusal>>
where
    A: Aggregate,
    F: Fn(&A) -> D,
    D: Decision<A::Event>,
{
    if let Some(command) = &target.command {
        command.check()?;
    }
    target.application.before_command().await;
    let core = &target.application.core;
    let mut decide = decide;
    let mut known = None;
    let mut retries = 0;
    // A command for one version only does not wait for others.
    let mut lane = match target.seen {
        None => core.lanes.enter_existing(&target.stream),
        Some(_) => None,
    };
    loop {
        if let Some(repeated) = target.repeated().await? {
            return Ok(repeated);
        }
        let turn = target.turn();
        if let (Some(lane), None, None) = (&lane, &known, &turn) {
            // Boxed, so that the futures of commands that need no lane stay small.
            let conflict = match Box::pin(target.pass(lane, &mut decide)).await? {
                Passage::Recorded(recorded) => return Ok(recorded),
                Passage::Before => return target.recorded_before().await,
                Passage::Again => continue,
                Passage::Alone => {
                    let folded = target.application.load_again(&target.stream).await?;
                    known = Some(Basis {
                        folded,
                        fresh: true,
                    });
                    continue;
                }
                Passage::Overtaken(conflict) => conflict,
            };
            if retries == core.retries {
                return target.unless_repeated(conflict.into()).await;
            }
            retries += 1;
            telemetry::count(telemetry::RETRIES);
            continue;
        }
        let mut basis: Basis<A> = match known.take() {
            Some(basis) => basis,
            None => target.basis().await?,
        };
        // Whether the command id was looked up after the state was read.
        let mut is_looked_up = target.command.is_none();
        let events = loop {
            if let Err(error) = target.check(&mut basis).await {
                return target.unless_repeated(error).await;
            }
            let is_new_enough = match decide_on(&basis, &decide) {
                None => false,
                Some(Ok(events)) if !events.is_empty() => break events,
                Some(Ok(_)) if is_looked_up => return Ok(target.nothing(basis.folded.version)),
                Some(Err(refusal)) if is_looked_up => return Err(refused(refusal)),
                Some(_) => true,
            };
            if !is_new_enough {
                target.renew(&mut basis).await?;
                continue;
            }
            // The command may have nothing to do because a duplicate of it was already recorded.
            if let Some(repeated) = target.repeated().await? {
                return Ok(repeated);
            }
            is_looked_up = true;
        };
        let Some(commit) = target.commit(&mut basis, events, turn.as_ref()).await? else {
            known = Some(basis);
            continue;
        };
        let conflict = match commit {
            Commit::Recorded(recorded) => return Ok(recorded),
            Commit::Before => return target.recorded_before().await,
            Commit::Conflict(conflict) => conflict,
        };
        if target.seen.is_some() || retries == core.retries {
            return target.unless_repeated(conflict.into()).await;
        }
        retries += 1;
        telemetry::count(telemetry::RETRIES);
        if lane.is_none() {
            lane = core.lanes.enter(&target.stream);
        }
        let Some(turn) = target.turn() else {
            continue;
        };
        turn.wait().await;
        if is_ahead(&basis, &conflict) {
            basis.folded = Folded::default();
        }
        target.renew(&mut basis).await?;
        known = Some(basis);
    }
}

/// Returns whether the state has seen more than the log has, because the log was restored since.
fn is_ahead<A>(basis: &Basis<A>, conflict: &Conflict) -> bool {
    matches!(conflict, Conflict::Stream { actual, .. } if *actual < basis.folded.version)
}

/// A state to decide on, and whether it was just read as the newest.
struct Basis<A> {
    folded: Folded<A>,
    fresh: bool,
}

/// Decides on a state. Returns `None` if the result has no events and the state may be old: a
/// cached state is not enough for a refusal or an empty decision.
fn decide_on<A, D>(
    basis: &Basis<A>,
    decide: impl Fn(&A) -> D,
) -> Option<Result<Vec<A::Event>, D::Refusal>>
where
    A: Aggregate,
    D: Decision<A::Event>,
{
    let mut events = Vec::new();
    let decided = decide(&basis.folded.state).decided(&mut events);
    let is_final = basis.fresh || (decided.is_ok() && !events.is_empty());
    is_final.then(|| decided.map(|()| events))
}

/// The error for a command whose events are recorded while its first event is not found.
fn unfound(stream: &str) -> Error {
    let what = "events of a command are recorded, but its first event is not found by its id";
    Corrupt::new(format!("stream {stream:?}"), what).into()
}

/// The result of a command in a lane.
enum Passage {
    Recorded(Recorded),
    /// Events of the same command are already in the log, and those count.
    Before,
    /// It was decided on a state that was not recorded, but not because of a conflict.
    Again,
    /// It must be decided on the newest state, not on a prediction.
    Alone,
    /// Appends from outside the lane were recorded first.
    Overtaken(Conflict),
}

/// Counts a refusal.
pub(super) fn refused<R>(refusal: R) -> ExecuteError<R> {
    telemetry::count(telemetry::REFUSALS);
    ExecuteError::Refused(refusal)
}

/// A command without its decision function.
struct Target<'a> {
    application: &'a Application,
    stream: Arc<str>,
    absent: Absent,
    command: Option<CommandId>,
    /// The version that the caller requires, if there is one.
    seen: Option<Option<Version>>,
}

impl Target<'_> {
    /// Returns what the command recorded before, if anything.
    async fn repeated(&self) -> Result<Option<Recorded>> {
        match &self.command {
            Some(command) => {
                self.application
                    .recorded_before(command, &self.stream)
                    .await
            }
            None => Ok(None),
        }
    }

    /// Returns `error`, unless the conflict is with an earlier request of the same command: then
    /// returns what that recorded.
    async fn unless_repeated<R>(&self, error: Error) -> Result<Recorded, ExecuteError<R>> {
        if !matches!(error, Error::Conflict(_)) {
            return Err(error.into());
        }
        match self.repeated().await? {
            Some(repeated) => Ok(repeated),
            None => Err(error.into()),
        }
    }

    /// Returns the state to start with: the cached one, or the newest.
    async fn basis<A: Aggregate>(&self) -> Result<Basis<A>> {
        let (folded, fresh) = match self.application.core.cache.get(&self.stream) {
            Some(folded) => (folded, false),
            None => (self.application.load_uncached(&self.stream).await?.0, true),
        };
        Ok(Basis { folded, fresh })
    }

    /// Updates the state to the newest.
    async fn renew<A: Aggregate>(&self, basis: &mut Basis<A>) -> Result<()> {
        let read_on = self
            .application
            .fast_forward(&self.stream, &mut basis.folded);
        match read_on.await {
            Ok(_) => {}
            Err(error @ Error::Diverged { .. }) => {
                self.application.distrust(&self.stream, &error);
                basis.folded = self.application.load_uncached(&self.stream).await?.0;
            }
            Err(error) => return Err(error),
        }
        basis.fresh = true;
        Ok(())
    }

    /// Checks that there is a state to decide on, at the version that the caller requires.
    async fn check<A: Aggregate>(&self, basis: &mut Basis<A>) -> Result<()> {
        if basis.folded.version.is_none() && self.absent == Absent::NotFound {
            return Err(absent(Arc::clone(&self.stream), None));
        }
        if let Some(seen) = self.seen {
            if basis.folded.version < seen && !basis.fresh {
                self.renew(basis).await?;
            }
            if basis.folded.version != seen {
                return Err(Error::Conflict(Conflict::Stream {
                    stream: Arc::clone(&self.stream),
                    expected: ExpectedVersion::seen(seen),
                    actual: basis.folded.version,
                    other: None,
                }));
            }
        }
        Ok(())
    }

    /// Records events that were decided on a state, if this command need not wait for its turn.
    /// Returns `None` if it had to wait; then the state is a newer one.
    async fn commit<A: Aggregate>(
        &self,
        basis: &mut Basis<A>,
        events: Vec<A::Event>,
        turn: Option<&Arc<Turn>>,
    ) -> Result<Option<Commit>> {
        let (application, command) = (self.application, self.command.as_ref());
        let Some(turn) = turn else {
            let commit =
                application.commit(&self.stream, &mut basis.folded, &events, command, None);
            return Ok(Some(commit.await?));
        };
        let taken = turn.take(|| {
            let (application, command) = (application.clone(), command.cloned());
            let stream = Arc::clone(&self.stream);
            // Moved, so that applying the events does not clone the state.
            let mut folded = mem::take(&mut basis.folded);
            async move {
                let commit = application
                    .commit(&stream, &mut folded, &events, command.as_ref(), None)
                    .await;
                (commit, folded)
            }
        });
        match taken {
            Ok(taken) => {
                let (commit, folded) = taken.await;
                basis.folded = folded;
                Ok(Some(commit?))
            }
            Err(other) => {
                other.await;
                match application.core.cache.peek(&self.stream) {
                    Some(newer) => {
                        basis.folded = newer;
                        basis.fresh = false;
                    }
                    None => self.renew(basis).await?,
                }
                Ok(None)
            }
        }
    }

    /// Returns what the command recorded before, which is known to be in the log.
    async fn recorded_before<R>(&self) -> Result<Recorded, ExecuteError<R>> {
        let before = self.repeated().await?;
        before.ok_or_else(|| unfound(&self.stream).into())
    }

    /// Returns the turn of decisions over models that were overtaken on this stream, if there are
    /// any. Those have to read first, so commands append one after the other while one of them
    /// waits.
    fn turn(&self) -> Option<Arc<Turn>> {
        let turns = &self.application.core.turns;
        turns.of_overtaken(|| contended_stream(&self.stream))
    }

    /// Decides in a lane, on its prediction, and waits for the result.
    async fn pass<A, F, D>(&self, lane: &Entered<'_, A>, decide: &mut F) -> Result<Passage>
    where
        A: Aggregate,
        F: Fn(&A) -> D,
        D: Decision<A::Event>,
    {
        let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        let mut looks = 0;
        let (seen, offer) = loop {
            let Some(seen) = lane.look(|| self.reading()).await else {
                return Ok(Passage::Alone);
            };
            let (seen, offer) = match looks {
                LANE_LOOKS_MAX => {
                    let decided = lane.hand_over_locked(&waker, |seen| self.offer(seen, &*decide));
                    match decided {
                        Some(decided) => decided,
                        None => continue,
                    }
                }
                _ => {
                    looks += 1;
                    let offer = self.offer(&seen, &*decide);
                    if offer
                        .as_ref()
                        .is_some_and(|it| !lane.hand_over(&waker, &seen, it))
                    {
                        continue;
                    }
                    (seen, offer)
                }
            };
            match offer {
                Some(offer) => break (seen, offer),
                None => {
                    // The newest state is the one after the pending appends.
                    seen.settled().await;
                    return Ok(Passage::Alone);
                }
            }
        };
        let (fate, answer) = match offer.settled().await {
            Ok(settled) => settled,
            Err(panic) => {
                lane.throw_away(&seen);
                resume_unwind(panic);
            }
        };
        let is_named = self.command.is_some();
        let positions = match answer {
            Ok(Appended::Recorded(positions)) => positions,
            Ok(Appended::Repeated(positions)) if !is_named => positions,
            answer => {
                lane.throw_away(&seen);
                return match answer {
                    Ok(_) => Ok(Passage::Before),
                    Err(Error::Conflict(Conflict::EventId { .. })) if is_named => {
                        Ok(Passage::Before)
                    }
                    Err(Error::Conflict(Conflict::Stream { .. })) if fate == Fate::Failed => {
                        Ok(Passage::Again)
                    }
                    Err(Error::Conflict(conflict)) => Ok(Passage::Overtaken(conflict)),
                    // The decision may be invalid only because it was made on a state that never
                    // existed.
                    Err(Error::Invalid(_)) if seen.settled().await != Fate::Recorded => {
                        Ok(Passage::Again)
                    }
                    Err(error) => Err(error),
                };
            }
        };
        let before = seen.folded.version;
        let Offer { next, last, .. } = offer;
        let recorded = self
            .application
            .keep(&self.stream, before, next, positions, last);
        Ok(Passage::Recorded(recorded.await))
    }

    /// Applies the command to a state: returns an append and the state after it. Returns `None` if
    /// the command does nothing, is refused, or fails; it is then decided on the newest state.
    fn offer<A, F, D>(&self, seen: &Seen<A>, decide: &F) -> Option<Offer<A>>
    where
        A: Aggregate,
        F: Fn(&A) -> D,
        D: Decision<A::Event>,
    {
        if seen.folded.version.is_none() && self.absent == Absent::NotFound {
            return None;
        }
        let decided = || {
            let mut events = Vec::new();
            decide(&seen.folded.state).decided(&mut events).ok()?;
            let stamp = Stamp::new(self.application, self.command.as_ref(), None);
            let (new, events) = stamp.of_stream(&self.stream, &events).ok()?;
            let last = new.last()?.id;
            let mut next = seen.folded.clone();
            events.iter().for_each(|event| next.apply(event));
            Some((new, next, last))
        };
        // A panic on a state that never existed must not surface.
        let (new, next, last) = catch_unwind(AssertUnwindSafe(decided)).ok()??;
        let version = seen.folded.version;
        let condition = Condition::stream_read(Arc::clone(&self.stream), version, seen.last);
        let append = Append::of(new).condition(condition);
        let (application, command) = (self.application.clone(), self.command.clone());
        let is_named = command.is_some();
        let sending = async move { application.settle_new(append, command.as_ref()).await };
        Some(Offer::new(seen, next, last, is_named, sending))
    }

    /// Reads the newest state for all commands in a lane.
    fn reading<A: Aggregate>(&self) -> BoxFuture<'static, Option<Folded<A>>> {
        let (application, stream) = (self.application.clone(), Arc::clone(&self.stream));
        Box::pin(async move { application.load_again(&stream).await.ok() })
    }

    fn nothing(&self, version: Option<Version>) -> Recorded {
        Recorded::nothing(Some(Arc::clone(&self.stream)), version)
    }
}
