//! Decisions over models: read, decide, append; again if what was read has changed.

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
    Append, Appended, BoxFuture, Condition, Conflict, Invalid, Mark, StoredEvent,
};

/// A decision on a model, to be awaited. See [`Application::decide`].
#[must_use = "a decision does nothing unless awaited"]
pub struct Decide<'a, M, F, D> {
    application: &'a Application,
    model: M,
    decide: F,
    command: Option<CommandId>,
    /// Why it can never be executed, if it was built wrongly.
    pub(super) fault: Option<Invalid>,
    decision: PhantomData<fn() -> D>,
}

impl Application {
    /// Decides on what a model shows: reads it, decides on its state, and records what was decided if
    /// nothing of what was read has changed in between; else reads on and decides again, at most as
    /// often as the application's retries say.
    ///
    /// What is decided are events of any types. An event goes to the stream of an aggregate if it is
    /// addressed to it, `event.to(&id)`
    /// ([`Addressed::to`](crate::mapping::Addressed::to)); else it has no stream. The
    /// streams that are written need not be those that were read.
    ///
    /// `decide` is called once or more, and must depend on nothing but the state. A refusal, and a
    /// decision for nothing, is given on states that are all of one state of the log.
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// use retold::application::fold_of;
    ///
    /// /// Which names are taken, whatever dog has them.
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
    /// The refusal, as [`ExecuteError::Refused`]. [`Error::Conflict`] if the retries did not suffice;
    /// what [`view`](Self::view) and [`settle`](Self::settle) report.
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
    /// Under this id: sent again, the decision records nothing and gives what it recorded the first
    /// time. One that recorded nothing is decided again.
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
        // Whether the command's id was looked up after the state was read.
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
            // It may be its own duplicate that leaves the command nothing to do.
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
                // Those that were woken just now go first.
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
                // Events under the same ids were there: those of this command, or of another one.
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
    /// Checks that it was recorded by this decision, as far as that can be known: by the events that the
    /// type of the decision may come to. A decision that reads nothing is made again, because it depends on
    /// nothing; the topic of its first event counts, not its content, which may have a new id or time.
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
            // One that is refused now, or comes to nothing, does not say what it came to before.
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

/// Decides on a state. None if that comes to no events on states that are not known to be all of one
/// newest state of the log: they may be old, or may never have been true together.
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

/// A command id and what it stands for.
#[derive(Clone)]
struct Named {
    command: CommandId,
    scope: Scope,
}

/// What a decision over a model is about, as far as that is known before anything is read.
fn scope_of<M: Model>(model: &M, place: &M::Place) -> Scope {
    let mut conditions = Vec::new();
    model.conditions(place, &mut conditions);
    Scope::of_conditions(&conditions)
}

/// What committing a decision comes to.
type Committed = std::result::Result<(Recorded, Vec<(AnyEvent, Mark)>), (Conflict, u64)>;

impl Application {
    /// What was recorded under this command id, if one is given and it was: by a command that reads the
    /// same.
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

    /// Records events of any types under conditions, and gives them as they will be read, with their
    /// marks; or says which of the conditions does not hold, and what it was about.
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
                let marks = positions
                    .iter()
                    .zip(ids)
                    .map(|(position, event_id)| Mark { position, event_id });
                let events: Vec<_> = events.into_iter().zip(marks).collect();
                let recorded = Recorded {
                    stream: None,
                    version: None,
                    positions,
                    mark: events.last().map(|(_, mark)| *mark),
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

/// The conditions without those on a stream that has one already: models that read it twice. The one
/// that was read first is kept, and holds only if the others do. The same goes for the count of topics.
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
