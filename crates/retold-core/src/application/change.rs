//! Changing several aggregates in one append: load, change, save.

use std::collections::HashSet;
use std::convert::Infallible;
use std::ops::Deref;

use super::decide::Decide;
use super::handle::Application;
use super::model::Model;
use crate::domain::{Aggregate, Decision, Id};
use crate::mapping::{Addressed, AnyEvent, Mapper};
use crate::recording::{Condition, Invalid};

/// An aggregate that is being changed. Dereferences to its state and applies the events that are
/// recorded on it.
#[derive(Debug)]
pub struct Draft<A: Aggregate> {
    id: Id<A>,
    state: A,
    /// As they will be read back, if they can be recorded.
    events: Vec<AnyEvent>,
    mapper: Mapper,
}

impl<A: Aggregate> Draft<A> {
    /// The aggregate's id.
    pub fn id(&self) -> &Id<A> {
        &self.id
    }

    /// Records a decision. The state applies the events at once, as they will be read from the log;
    /// the log gets them together with everything else that the change records. If the decision can
    /// be refused, handle the refusal first: `account.record(account.withdraw(5)?)`.
    pub fn record(&mut self, decision: impl Decision<A::Event, Refusal = Infallible>) {
        let mut decided = Vec::new();
        let Ok(()) = decision.decided(&mut decided);
        for event in decided {
            let event = event.to(&self.id);
            // If it cannot be read back, recording the change fails with that error.
            let event = self.mapper.read_back(&event).unwrap_or(event);
            if let Some(event) = event.downcast_ref() {
                self.state.apply(event);
            }
            self.events.push(event);
        }
    }
}

impl<A: Aggregate> Deref for Draft<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.state
    }
}

/// The aggregates of a change: an [`Id`], a tuple of up to six, or a vector.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name aggregates to change",
    label = "not ids of aggregates",
    note = "use an `Id`, a tuple (of up to 6) or a `Vec` of ids"
)]
pub trait Aggregates: Model + Clone {
    /// The drafts that the change is made on.
    type Drafts;

    /// Returns drafts of these states, which apply events as this mapper reads them.
    fn drafts(&self, state: &Self::State, mapper: &Mapper) -> Self::Drafts;

    /// Adds the events that were recorded on drafts, each addressed to the stream of its aggregate.
    fn recorded(drafts: Self::Drafts, events: &mut Vec<AnyEvent>);
}

impl<A: Aggregate> Aggregates for Id<A> {
    type Drafts = Draft<A>;

    fn drafts(&self, state: &A, mapper: &Mapper) -> Draft<A> {
        Draft {
            id: self.clone(),
            state: state.clone(),
            events: Vec::new(),
            mapper: mapper.clone(),
        }
    }

    fn recorded(draft: Draft<A>, events: &mut Vec<AnyEvent>) {
        events.extend(draft.events);
    }
}

impl<T: Aggregates> Aggregates for Vec<T> {
    type Drafts = Vec<T::Drafts>;

    fn drafts(&self, states: &Vec<T::State>, mapper: &Mapper) -> Vec<T::Drafts> {
        let drafts = self.iter().zip(states);
        drafts.map(|(id, state)| id.drafts(state, mapper)).collect()
    }

    fn recorded(drafts: Vec<T::Drafts>, events: &mut Vec<AnyEvent>) {
        for draft in drafts {
            T::recorded(draft, events);
        }
    }
}

macro_rules! tuples_of_aggregates {
    ($(($($name:ident $index:tt),+))*) => {$(
        impl<$($name: Aggregates),+> Aggregates for ($($name,)+) {
            type Drafts = ($($name::Drafts,)+);

            fn drafts(&self, state: &Self::State, mapper: &Mapper) -> Self::Drafts {
                ($(self.$index.drafts(&state.$index, mapper),)+)
            }

            fn recorded(drafts: Self::Drafts, events: &mut Vec<AnyEvent>) {
                $($name::recorded(drafts.$index, events);)+
            }
        }
    )*};
}

tuples_of_aggregates! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}

fn check_once_each(ids: &impl Aggregates) -> Result<(), Invalid> {
    let mut conditions = Vec::new();
    ids.conditions(&ids.begin().1, &mut conditions);
    let mut seen = HashSet::new();
    for condition in &conditions {
        if let Condition::StreamAt { stream, .. } = condition
            && !seen.insert(stream)
        {
            return Err(Invalid::new(format!(
                "a change names {stream:?} twice; name it once and record all of its events there"
            )));
        }
    }
    Ok(())
}

/// The result of a change: the events of all drafts, or a refusal.
type Changed<R> = Result<Vec<AnyEvent>, R>;

impl Application {
    /// Loads aggregates, changes them, and records all changes in one append, on the condition that
    /// none of the aggregates has changed in the meantime. If one has, loads and changes them
    /// again, up to the application's number of retries. An aggregate without events starts as its
    /// default.
    ///
    /// `change` gets a [`Draft`] of each aggregate, records decisions on them, and returns `()`, a
    /// `Result` whose error is a refusal, or events in addition to those of the drafts. It is
    /// called at least once and must depend only on the drafts.
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// # let rex = school.create::<Dog>(DogEvent::Registered { name: "Rex".into() }).await?;
    /// // Both learn it, or neither does.
    /// school
    ///     .change((fido, rex), |(fido, rex)| {
    ///         fido.record(DogEvent::TrickAdded { trick: "fetch".into() });
    ///         rex.record(DogEvent::TrickAdded { trick: "fetch".into() });
    ///     })
    ///     .await?;
    /// assert_eq!(school.get(rex).await?.state.tricks, ["fetch"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`decide`](Self::decide); [`Error::Invalid`](super::error::Error::Invalid) if an
    /// aggregate is named twice: each of its drafts could satisfy a rule that both together break.
    #[allow(
        clippy::type_complexity,
        reason = "a closure has no name, and an alias for the rest would hide it"
    )]
    pub fn change<I, F, D>(
        &self,
        ids: I,
        change: F,
    ) -> Decide<'_, I, impl Fn(&I::State) -> Changed<D::Refusal>, Changed<D::Refusal>>
    where
        I: Aggregates,
        F: Fn(&mut I::Drafts) -> D,
        D: Decision<AnyEvent>,
    {
        let drafted = ids.clone();
        let fault = check_once_each(&ids).err();
        let mapper = self.mapper();
        let mut decide = self.decide(ids, move |states: &I::State| {
            let mut drafts = drafted.drafts(states, mapper);
            let mut others = Vec::new();
            change(&mut drafts).decided(&mut others)?;
            let mut events = Vec::new();
            I::recorded(drafts, &mut events);
            events.append(&mut others);
            Ok(events)
        });
        decide.fault = fault;
        decide
    }
}
