//! Decisions over models: read, decide, append; retry if what was read has changed.

use std::collections::HashSet;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::sync::Arc;

use tracing::Instrument;

use super::command_id::CommandId;
use super::commit::repeated;
use super::error::{Error, ExecuteError, Result};
use super::execute::refused;
use super::handle::{Application, yield_once};
use super::model::{Model, Reach};
use super::recorded::{Outcome, Recorded};
use super::scope::{Scope, reused};
use super::stamp::Stamp;
use super::telemetry;
use super::turns::{Overtaken, Turn, contended, contended_by};
use crate::domain::Decision;
use crate::mapping::AnyEvent;
use crate::recording::{
    Append, Appended, BoxFuture, Checkpoint, Condition, Conflict, Invalid, StoredEvent,
};

/// A future that decides on a model. See [`Application::decide`].
#[must_use = "a decision does nothing unless awaited"]
pub struct Decide<'a, M, F, D> {
    application: &'a Application,
    model: M,
    decide: F,
    command: Option<CommandId>,
    /// Why it can never be executed, if it was built incorrectly.
    pub(super) fault: Option<Invalid>,
    decision: PhantomData<fn() -> D>,
}

impl Application {
    /// Decides on a model: reads it, decides on its state, and records the decision if nothing that
    /// was read has changed in the meantime. If it has, reads the new events and decides again, up
    /// to the application's number of retries.
    ///
    /// A decision consists of events of any types. An event addressed to an aggregate, with
    /// `event.to(&id)` ([`Addressed::to`](crate::mapping::Addressed::to)), is recorded in its
    /// stream; other events have no stream. A decision can write to streams that it did not read.
    ///
    /// `decide` is called at least once, and must depend only on the state. A refusal, and a
    /// decision without events, is returned only if all states that it was based on are as of the
    /// same state of the log.
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// use retold::application::fold_of;
    ///
    /// /// The names that are taken, by any dog.
    /// #[derive(Clone, Default)]
    /// struct Names(Vec<String>);
    ///
    /// impl Apply<DogEvent> for Names {
    ///     fn apply(&mut self, event: &DogEvent) {
    ///         if let DogEvent::Registered { name } = event {
    ///             self.0.push(name.clone());
    ///         }
    ///     }
    /// }
    ///
    /// let rex = Id::<Dog>::new(Uuid::now_v7());
    /// let recorded = school
    ///     .decide(fold_of::<Names, DogEvent>(), |names| {
    ///         let is_free = !names.0.iter().any(|it| it == "Rex");
    ///         is_free.then(|| DogEvent::Registered { name: "Rex".into() }.to(&rex))
    ///     })
    ///     .await?;
    /// assert_eq!(school.get(rex).await?.state.name, "Rex");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The refusal, as [`ExecuteError::Refused`]. [`Error::Conflict`] if the retries are used up;
    /// the errors of [`view`](Self::view) and [`settle`](Self::settle).
    pub fn decide<M, F, D>(&self, model: M, decide: F) -> Decide<'_, M, F, D>
    where
        M: Model,
        F: Fn(&M::State) -> D,
        D: Decision<AnyEvent>,
    {
        Decide {
            application: self,
            model,
            decide,
            command: None,
            fault: None,
            decision: PhantomData,
        }
    }
}

impl<M, F, D> Decide<'_, M, F, D> {
    /// Sets the command id: if the decision is sent again, it records nothing and returns what it
    /// recorded the first time. A decision that recorded nothing is decided again.
    pub fn command_id(mut self, id: impl Into<CommandId>) -> Self {
        self.command = Some(id.into());
        self
    }
}

impl<'a, M, F, D> IntoFuture for Decide<'a, M, F, D>
where
    M: Model + 'a,
    F: Fn(&M::State) -> D + Send + 'a,
    D: Decision<AnyEvent> + 'a,
{
    type Output = Result<Recorded, ExecuteError<D::Refusal>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let span = tracing::debug_span!(
            "retold.decide",
            log = self.application.name(),
            command = self.command.as_ref().map(CommandId::as_str),
        );
        let Self {
            application,
            model,
            decide,
            command,
            fault,
            ..
        } = self;
        if let Some(fault) = fault {
            return Box::pin(async { Err(fault.into()) });
        }
        Box::pin(run(application, model, decide, command).instrument(span))
    }
}

async fn run<M, F, D>(
    application: &Application,
    model: M,
    decide: F,
    command: Option<CommandId>,
) -> Result<Recorded, ExecuteError<D::Refusal>>
where
    M: Model,
    F: Fn(&M::State) -> D,
    D: Decision<AnyEvent>,
{
    if let Some(command) = &command {
        command.check()?;
    }
    application.before_command().await;
    let (mut state, mut place) = model.begin();
    let named = command.map(|command| Named {
        scope: scope_of(&model, &place),
        command,
    });
    let mut retries = 0;
    let mut turn: Option<Arc<Turn>> = None;
    let mut overtaken = None;
    let mut reach = Reach::Cached;
    loop {
        if let Some(before) = application.decided_before(named.as_ref()).await? {
            before.check(&model, &decide)?;
            return Ok(before.recorded(application).await?);
        }
        let read = model.read_on(application, &mut state, &mut place, reach);
        let mut is_one = read.await?.is_one();
        // Whether the command id was looked up after the state was read.
        let mut is_looked_up = named.is_none();
        let events = loop {
            match decide_on(&decide, &state, is_one) {
                Some(Ok(events)) if !events.is_empty() => break events,
                Some(Ok(_)) if is_looked_up => return Ok(Recorded::nothing(None, None)),
                Some(Err(refusal)) if is_looked_up => return Err(refused(refusal)),
                Some(_) | None => {}
            }
            if !is_one {
                application
                    .read_as_one(&model, &mut state, &mut place)
                    .await?;
                is_one = true;
                continue;
            }
            // The command may have nothing to do because a duplicate of it was already recorded.
            if let Some(before) = application.decided_before(named.as_ref()).await? {
                before.check(&model, &decide)?;
                return Ok(before.recorded(application).await?);
            }
            is_looked_up = true;
        };
        let mut conditions = Vec::new();
        model.conditions(&place, &mut conditions);
        if turn.is_none() {
            let turns = &application.core.turns;
            let mut conditions = conditions.iter();
            turn = conditions.find_map(|it| turns.of_overtaken(|| contended_by(it)));
            if turn.is_some() {
                // Commands that were just woken get the turn first.
                yield_once().await;
            }
        }
        let committed = match &turn {
            None => {
                application
                    .commit_any(events, conditions, named.clone())
                    .await
            }
            Some(turn) => {
                let (owned, named) = (application.clone(), named.clone());
                let work = || async move { owned.commit_any(events, conditions, named).await };
                match turn.take(work) {
                    Ok(taken) => taken.await,
                    Err(other) => {
                        other.await;
                        continue;
                    }
                }
            }
        };
        let (conflict, contended) = match committed? {
            Ok((recorded, events)) => {
                if recorded.outcome == Outcome::Recorded {
                    model.remember(application, &state, &place, &events).await;
                    application.after_commit().await;
                    return Ok(recorded);
                }
                // Events with the same ids existed already: those of this command, or of another
                // one.
                if let Some(before) = application.decided_before(named.as_ref()).await? {
                    before.check(&model, &decide)?;
                }
                return Ok(recorded);
            }
            Err(beaten) => beaten,
        };
        if retries == application.core.retries {
            let Some(before) = application.decided_before(named.as_ref()).await? else {
                return Err(conflict.into());
            };
            before.check(&model, &decide)?;
            return Ok(before.recorded(application).await?);
        }
        retries += 1;
        let turn = turn.get_or_insert_with(|| application.core.turns.of(contended));
        overtaken.get_or_insert_with(|| Overtaken::new(turn));
        turn.wait().await;
        reach = Reach::Newest;
        telemetry::count(telemetry::RETRIES);
    }
}

/// What was recorded under a command id.
struct Before<'a> {
    named: &'a Named,
    first: StoredEvent,
}

impl Before<'_> {
    /// Checks that this decision recorded it, as far as that can be known: by the events that the
    /// type of the decision can have. A decision that reads nothing depends on nothing, so it is
    /// made again and compared by the topic of its first event. The content is not compared,
    /// because it may have a new id or time.
    fn check<M, F, D>(&self, model: &M, decide: &F) -> Result<()>
    where
        M: Model,
        F: Fn(&M::State) -> D,
        D: Decision<AnyEvent>,
    {
        let topic = self.first.topic();
        let mut is_same = D::may_have(topic);
        let (state, place) = model.begin();
        let mut conditions = Vec::new();
        model.conditions(&place, &mut conditions);
        if is_same && conditions.is_empty() {
            let mut events = Vec::new();
            let decided = decide(&state).decided(&mut events);
            // If it is refused now or has no events, its earlier events are unknown.
            if let (Ok(()), Some(event)) = (decided, events.first()) {
                is_same = event.event_type().has_topic(topic);
            }
        }
        match is_same {
            true => Ok(()),
            false => Err(reused(&self.named.command, &self.first, None)),
        }
    }

    async fn recorded(&self, application: &Application) -> Result<Recorded> {
        let last = match self.first.place().count {
            1 => None,
            count => {
                let id = self.named.command.event_id(u64::from(count) - 1);
                application.core.recorder.event(id).await?
            }
        };
        telemetry::count(telemetry::REPEATS);
        let last = last.as_ref().unwrap_or(&self.first);
        Ok(repeated(&self.first, Some(last), None, None))
    }
}

/// Decides on a state. Returns `None` if the result has no events and the states are not known to
/// be as of one newest state of the log: they may be old, or may never have existed together.
fn decide_on<S, D: Decision<AnyEvent>>(
    decide: impl Fn(&S) -> D,
    state: &S,
    is_one: bool,
) -> Option<Result<Vec<AnyEvent>, D::Refusal>> {
    let mut events = Vec::new();
    let decided = decide(state).decided(&mut events);
    let is_final = is_one || (decided.is_ok() && !events.is_empty());
    is_final.then(|| decided.map(|()| events))
}

/// A command id and its scope.
#[derive(Clone)]
struct Named {
    command: CommandId,
    scope: Scope,
}

/// The scope of a decision over a model, as far as it is known before anything is read.
fn scope_of<M: Model>(model: &M, place: &M::Place) -> Scope {
    let mut conditions = Vec::new();
    model.conditions(place, &mut conditions);
    Scope::of_conditions(&conditions)
}

/// The result of committing a decision: what was recorded, or the conflict and what was contended.
type Committed = std::result::Result<(Recorded, Vec<(AnyEvent, Checkpoint)>), (Conflict, u64)>;

impl Application {
    /// Returns what was recorded under this command id, if there is one, by a command with the same
    /// scope.
    async fn decided_before<'a>(&self, named: Option<&'a Named>) -> Result<Option<Before<'a>>> {
        let Some(named) = named else {
            return Ok(None);
        };
        let Some(first) = self.first_of(&named.command).await? else {
            return Ok(None);
        };
        named.scope.check(&named.command, &first)?;
        Ok(Some(Before { named, first }))
    }

    /// Records events of any types under conditions. Returns them as they will be read, with their
    /// checkpoints, or the conflict and what was contended.
    async fn commit_any(
        &self,
        events: Vec<AnyEvent>,
        conditions: Vec<Condition>,
        named: Option<Named>,
    ) -> Result<Committed> {
        let (command, scope) = match &named {
            Some(Named { command, scope }) => (Some(command), Some(scope)),
            None => (None, None),
        };
        let (new, events) = Stamp::new(self, command, scope).of_any(&events)?;
        let append = Append::of(new).conditions(one_a_stream(conditions));
        let sent = append.clone();
        match self.settle_new(append, command).await {
            Ok(appended) => {
                let positions = appended.positions();
                let ids = sent.new_events().iter().map(|event| event.id);
                let checkpoints = positions
                    .iter()
                    .zip(ids)
                    .map(|(position, event_id)| Checkpoint { position, event_id });
                let events: Vec<_> = events.into_iter().zip(checkpoints).collect();
                let recorded = Recorded {
                    stream: None,
                    version: None,
                    positions,
                    checkpoint: events.last().map(|(_, checkpoint)| *checkpoint),
                    outcome: match (appended, command) {
                        (Appended::Repeated(_), Some(_)) => Outcome::Repeated,
                        _ => Outcome::Recorded,
                    },
                };
                Ok(Ok((recorded, events)))
            }
            Err(Error::Conflict(conflict)) => {
                let contended = contended(&conflict, sent.all_conditions());
                Ok(Err((conflict, contended)))
            }
            Err(error) => Err(error),
        }
    }
}

/// Removes further conditions on a stream that already has one, from models that read it twice. The
/// first one is kept; it holds only if the others do. The same applies to the count of topics.
fn one_a_stream(mut conditions: Vec<Condition>) -> Vec<Condition> {
    let mut seen = HashSet::new();
    let mut is_counted = false;
    conditions.retain(|condition| match condition {
        Condition::StreamAt { stream, .. } => seen.insert(stream.clone()),
        Condition::NoneMatch { .. } => true,
        Condition::TopicCount { .. } => !std::mem::replace(&mut is_counted, true),
    });
    conditions
}
