//! Decisions over models: read, decide, append; retry if what was read has changed.

use std::collections::HashSet;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::sync::Arc;

use super::command::{Command, Named, Need, boxed, run};
use super::command_id::CommandId;
use super::error::{ExecuteError, Result};
use super::handle::{Application, yield_once};
use super::model::{Model, Reach};
use super::recorded::Recorded;
use super::scope::Scope;
use super::stamp::Stamp;
use super::turns::{Overtaken, Turn, contended, contended_by};
use crate::domain::Decision;
use crate::mapping::AnyEvent;
use crate::recording::{
    Append, BoxFuture, Checkpoint, Condition, Conflict, Invalid, Positions, StoredEvent,
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
    ///
    /// [`Error::Conflict`]: super::error::Error::Conflict
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
        let (state, place) = model.begin();
        let mut decision = OverModel {
            application,
            named: None,
            model,
            decide,
            state,
            place,
            turn: None,
            overtaken: None,
            decision: PhantomData,
        };
        decision.named = command.map(|id| Named {
            id,
            scope: Scope::of_conditions(&decision.conditions()),
        });
        boxed(async move { run(&mut decision).await }, span)
    }
}

/// A decision over a model while it is executed.
struct OverModel<'a, M: Model, F, D> {
    application: &'a Application,
    named: Option<Named>,
    model: M,
    decide: F,
    state: M::State,
    place: M::Place,
    /// The turn that it takes, once it or another decision was overtaken on the same thing.
    turn: Option<Arc<Turn>>,
    overtaken: Option<Overtaken>,
    decision: PhantomData<fn() -> D>,
}

impl<M, F, D> OverModel<'_, M, F, D>
where
    M: Model,
    F: Fn(&M::State) -> D,
    D: Decision<AnyEvent>,
{
    /// The conditions for a decision on what was read.
    fn conditions(&self) -> Vec<Condition> {
        conditions(&self.model, &self.place)
    }

    fn decide_on(&self, state: &M::State) -> Result<Vec<AnyEvent>, D::Refusal> {
        let mut events = Vec::new();
        (self.decide)(state).decided(&mut events)?;
        Ok(events)
    }
}

impl<M, F, D> Command for OverModel<'_, M, F, D>
where
    M: Model,
    F: Fn(&M::State) -> D + Send,
    D: Decision<AnyEvent>,
{
    type Event = AnyEvent;
    type Refusal = D::Refusal;
    /// The append, which has the ids of the events, and the events as they will be read.
    type Kept = (Append, Vec<AnyEvent>);

    fn application(&self) -> &Application {
        self.application
    }

    fn named(&self) -> Option<&Named> {
        self.named.as_ref()
    }

    /// Compares the events that the type of the decision can have. A decision that reads nothing
    /// depends on nothing, so it is made again and compared by the topic of its first event. The
    /// content is not compared, because it may have a new id or time.
    fn recognize(&mut self, first: &StoredEvent) -> bool {
        let topic = first.topic();
        let mut is_same = D::may_have(topic);
        let (state, place) = self.model.begin();
        if is_same && conditions(&self.model, &place).is_empty() {
            // If it is refused now or has no events, its earlier events are unknown.
            if let Some(event) = self
                .decide_on(&state)
                .ok()
                .as_ref()
                .and_then(|it| it.first())
            {
                is_same = event.event_type().has_topic(topic);
            }
        }
        is_same
    }

    async fn read(&mut self, need: Need) -> Result<bool> {
        let (application, model) = (self.application, &self.model);
        let (state, place) = (&mut self.state, &mut self.place);
        let reach = match need {
            Need::Cached => Reach::Cached,
            // Whether the cached states are newer is not known.
            Need::Newer | Need::Newest => Reach::Newest,
            Need::One => {
                application.read_as_one(model, state, place).await?;
                return Ok(true);
            }
        };
        let read_to = model.read_on(application, state, place, reach).await?;
        Ok(read_to.is_one())
    }

    fn decide(&mut self) -> Result<Vec<AnyEvent>, ExecuteError<D::Refusal>> {
        self.decide_on(&self.state).map_err(ExecuteError::Refused)
    }

    async fn turn(&mut self) -> Option<Arc<Turn>> {
        let turns = &self.application.core.turns;
        if self.turn.is_none() && turns.are_used() {
            let of_overtaken = |it: &Condition| turns.of_overtaken(|| contended_by(it));
            self.turn = self.conditions().iter().find_map(of_overtaken);
            if self.turn.is_some() {
                // Commands that were just woken get the turn first.
                yield_once().await;
            }
        }
        self.turn.clone()
    }

    fn encode(&mut self, events: Vec<AnyEvent>) -> Result<(Append, (Append, Vec<AnyEvent>))> {
        let (id, scope) = self.named.as_ref().map(|it| (&it.id, &it.scope)).unzip();
        let (new, events) = Stamp::new(self.application, id, scope).of_any(&events)?;
        let append = Append::of(new).conditions(one_a_stream(self.conditions()));
        Ok((append.clone(), (append, events)))
    }

    async fn remember(
        &mut self,
        (append, events): (Append, Vec<AnyEvent>),
        positions: Positions,
        _: Option<Checkpoint>,
    ) {
        let ids = append.new_events().iter().map(|event| event.id);
        let checkpoints = positions.iter().zip(ids);
        let checkpoints = checkpoints.map(|(position, event_id)| Checkpoint { position, event_id });
        let events: Vec<_> = events.into_iter().zip(checkpoints).collect();
        let (state, place) = (&self.state, &self.place);
        let remembered = self.model.remember(self.application, state, place, &events);
        remembered.await;
    }

    fn overtaken(&mut self, conflict: &Conflict) -> Option<Arc<Turn>> {
        let contended = contended(conflict, &one_a_stream(self.conditions()));
        let turns = &self.application.core.turns;
        let turn = self.turn.get_or_insert_with(|| turns.of(contended));
        self.overtaken.get_or_insert_with(|| Overtaken::new(turn));
        Some(Arc::clone(turn))
    }
}

fn conditions<M: Model>(model: &M, place: &M::Place) -> Vec<Condition> {
    let mut conditions = Vec::new();
    model.conditions(place, &mut conditions);
    conditions
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
