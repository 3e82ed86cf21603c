//! Decision models: what a decision reads, and what must not have changed when it is recorded.

use std::cmp::{max_by_key, min_by_key};
use std::future::ready;
use std::sync::Arc;

use super::cache::Folded;
use super::error::Result;
use super::handle::Application;
use crate::domain::aggregate::Aggregate;
use crate::domain::id::Id;
use crate::recording::condition::{Condition, ExpectedVersion};
use crate::recording::identity::{Mark, Position, Version};
use crate::recording::recorder::BoxFuture;
use crate::recording::stored_event::StoredEvent;

/// What a decision reads, and so what must not have changed when it is recorded.
///
/// An [`Id`] is a model: the state of its aggregate, the default one if nothing is recorded of it, on
/// condition that its stream is still at the version that was read. A
/// [`fold_of`](super::fold::fold_of) is one: a state folded over the events of some types and tags,
/// on condition that no other such event came. Tuples of up to six models, vectors and options of
/// models are models, so that a decision names exactly what it depends on, and nothing else makes it
/// conflict.
///
/// Few will implement it: compose those that are there.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a model to decide on",
    label = "not a model",
    note = "use an `Id`, a `fold_of::<State, Event>()`, or a tuple (of up to 6), a `Vec` or an `Option` of these"
)]
pub trait Model: Send + Sync {
    /// What the decision sees.
    type State: Send + Sync;

    /// How far the state has been read.
    type Place: Send + Sync;

    /// State and place before anything is read.
    fn begin(&self) -> (Self::State, Self::Place);

    /// Takes in the events that the state has not seen: all there are, or those up to and with the
    /// position `until`. On an error, state and place are as of some earlier read.
    fn read_on<'a>(
        &'a self,
        application: &'a Application,
        state: &'a mut Self::State,
        place: &'a mut Self::Place,
        until: Option<Position>,
    ) -> BoxFuture<'a, Result<ReadTo>>;

    /// Adds what must hold for a decision on what was read.
    fn conditions(&self, place: &Self::Place, conditions: &mut Vec<Condition>);
}

/// How far the reads of a model went: each of its states is that of the log at the least of these
/// marks, at the farthest, or between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadTo(Option<Ends>);

/// Marks of reads; none stands for an empty log, before the first position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    least: Option<Mark>,
    most: Option<Mark>,
}

impl ReadTo {
    /// Of a model that reads nothing.
    pub const NOTHING: Self = Self(None);

    /// Of a single read, which went to this mark; none if the log was empty then.
    pub const fn one(mark: Option<Mark>) -> Self {
        Self(Some(Ends {
            least: mark,
            most: mark,
        }))
    }

    /// Of these reads and others.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let (Some(one), Some(two)) = (self.0, other.0) else {
            return Self(self.0.or(other.0));
        };
        let number = |mark: &Option<Mark>| Position::number(mark.map(|mark| mark.position));
        Self(Some(Ends {
            least: min_by_key(one.least, two.least, number),
            most: max_by_key(one.most, two.most, number),
        }))
    }

    /// Whether all states are of one state of the log.
    pub fn is_one(&self) -> bool {
        self.0.is_none_or(|ends| ends.least == ends.most)
    }

    /// The mark of the read that went farthest; none if the log was empty, or nothing was read.
    pub fn mark(&self) -> Option<Mark> {
        self.0.and_then(|ends| ends.most)
    }
}

impl<A: Aggregate> Model for Id<A> {
    type State = A;
    /// The last version that was read.
    type Place = Option<Version>;

    fn begin(&self) -> (A, Option<Version>) {
        (A::default(), None)
    }

    fn read_on<'a>(
        &'a self,
        application: &'a Application,
        state: &'a mut A,
        place: &'a mut Option<Version>,
        until: Option<Position>,
    ) -> BoxFuture<'a, Result<ReadTo>> {
        Box::pin(async move {
            let stream: Arc<str> = self.stream().into();
            let (folded, read_to) = match until {
                None => application.load_with_head(&stream).await?,
                Some(until) => {
                    // The cache may be newer.
                    application.register::<A>()?;
                    let mut folded = Folded {
                        state: Arc::new(state.clone()),
                        version: *place,
                    };
                    let goes_on = |stored: &StoredEvent| stored.position() <= until;
                    let read_to = application
                        .fold_while(&stream, &mut folded, None, goes_on)
                        .await?;
                    (folded, read_to)
                }
            };
            if folded.version != *place {
                *state = Arc::unwrap_or_clone(folded.state);
                *place = folded.version;
            }
            Ok(ReadTo::one(read_to))
        })
    }

    fn conditions(&self, place: &Option<Version>, conditions: &mut Vec<Condition>) {
        let expected = ExpectedVersion::seen(*place);
        conditions.push(Condition::stream_at(self.stream(), expected));
    }
}

impl<M: Model> Model for &M {
    type State = M::State;
    type Place = M::Place;

    fn begin(&self) -> (M::State, M::Place) {
        M::begin(self)
    }

    fn read_on<'a>(
        &'a self,
        application: &'a Application,
        state: &'a mut M::State,
        place: &'a mut M::Place,
        until: Option<Position>,
    ) -> BoxFuture<'a, Result<ReadTo>> {
        M::read_on(self, application, state, place, until)
    }

    fn conditions(&self, place: &M::Place, conditions: &mut Vec<Condition>) {
        M::conditions(self, place, conditions);
    }
}

/// A model that may be left out: where there is none, the decision sees none and depends on nothing.
impl<M: Model> Model for Option<M> {
    type State = Option<M::State>;
    type Place = Option<M::Place>;

    fn begin(&self) -> (Self::State, Self::Place) {
        self.as_ref().map(M::begin).unzip()
    }

    fn read_on<'a>(
        &'a self,
        application: &'a Application,
        state: &'a mut Self::State,
        place: &'a mut Self::Place,
        until: Option<Position>,
    ) -> BoxFuture<'a, Result<ReadTo>> {
        match (self, state, place) {
            (Some(model), Some(state), Some(place)) => {
                model.read_on(application, state, place, until)
            }
            _ => Box::pin(ready(Ok(ReadTo::NOTHING))),
        }
    }

    fn conditions(&self, place: &Self::Place, conditions: &mut Vec<Condition>) {
        if let (Some(model), Some(place)) = (self, place) {
            model.conditions(place, conditions);
        }
    }
}

/// As many models as there are: the decision sees their states in this order.
impl<M: Model> Model for Vec<M> {
    type State = Vec<M::State>;
    type Place = Vec<M::Place>;

    fn begin(&self) -> (Self::State, Self::Place) {
        self.iter().map(M::begin).unzip()
    }

    fn read_on<'a>(
        &'a self,
        application: &'a Application,
        state: &'a mut Self::State,
        place: &'a mut Self::Place,
        until: Option<Position>,
    ) -> BoxFuture<'a, Result<ReadTo>> {
        Box::pin(async move {
            let mut read_to = ReadTo::NOTHING;
            for ((model, state), place) in self.iter().zip(state).zip(place) {
                read_to = read_to.and(model.read_on(application, state, place, until).await?);
            }
            Ok(read_to)
        })
    }

    fn conditions(&self, place: &Self::Place, conditions: &mut Vec<Condition>) {
        for (model, place) in self.iter().zip(place) {
            model.conditions(place, conditions);
        }
    }
}

macro_rules! tuple_models {
    ($(($($model:ident $index:tt),+))*) => {$(
        impl<$($model: Model),+> Model for ($($model,)+) {
            type State = ($($model::State,)+);
            type Place = ($($model::Place,)+);

            #[allow(non_snake_case, reason = "the names of the types serve as names of the parts")]
            fn begin(&self) -> (Self::State, Self::Place) {
                $(let $model = self.$index.begin();)+
                (($($model.0,)+), ($($model.1,)+))
            }

            fn read_on<'a>(
                &'a self,
                application: &'a Application,
                state: &'a mut Self::State,
                place: &'a mut Self::Place,
                until: Option<Position>,
            ) -> BoxFuture<'a, Result<ReadTo>> {
                Box::pin(async move {
                    let mut read_to = ReadTo::NOTHING;
                    $({
                        let (state, place) = (&mut state.$index, &mut place.$index);
                        let read = self.$index.read_on(application, state, place, until);
                        read_to = read_to.and(read.await?);
                    })+
                    Ok(read_to)
                })
            }

            fn conditions(&self, place: &Self::Place, conditions: &mut Vec<Condition>) {
                $(self.$index.conditions(&place.$index, conditions);)+
            }
        }
    )*};
}

tuple_models! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}
