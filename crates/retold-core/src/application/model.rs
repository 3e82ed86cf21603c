//! Decision models: what a decision reads, and what must not change before it is recorded.

use std::cmp::{max_by_key, min_by_key};
use std::future::ready;
use std::sync::Arc;

use super::cache::Folded;
use super::error::Result;
use super::handle::Application;
use crate::domain::{Aggregate, Id};
use crate::mapping::AnyEvent;
use crate::recording::{BoxFuture, Checkpoint, Condition, Position, StoredEvent, Version};

/// What a decision reads, and so what must not change before it is recorded.
///
/// An [`Id`] is a model: the state of its aggregate, or the default if it has no events, on the
/// condition that its stream is still at the version that was read. A
/// [`fold_of`](super::fold::fold_of) is a model: a state folded over the events of some types and
/// tags, on the condition that no other such event was recorded. `()` reads nothing. Tuples of up
/// to six models, vectors and options of models are models too. In this way a decision names
/// exactly what it depends on, and nothing else causes a conflict.
///
/// You rarely need to implement this trait: compose the existing models.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a model to decide on",
    label = "not a model",
    note = "use an `Id`, a `fold_of::<State, Event>()`, or a tuple (of up to 6), a `Vec` or an \
            `Option` of these"
)]
pub trait Model: Send + Sync {
    /// The input of the decision.
    type State: Send + Sync;

    /// How far the state has been read.
    type Place: Send + Sync;

    /// Returns the state and the place from which reading starts.
    fn begin(&self) -> (Self::State, Self::Place);

    /// Applies the events that the state has not seen, as far as `reach` says. After an error, the
    /// state and the place are as of some earlier read.
    fn read_on<'a>(
        &'a self,
        application: &'a Application,
        state: &'a mut Self::State,
        place: &'a mut Self::Place,
        reach: Reach,
    ) -> BoxFuture<'a, Result<ReadTo>>;

    /// Adds the conditions for a decision on what was read.
    fn conditions(&self, place: &Self::Place, conditions: &mut Vec<Condition>);

    /// Called with the events that were recorded on the conditions of this model, as they will be
    /// read and with their checkpoints, so that it can cache the states of streams for the next
    /// command. Does nothing by default.
    fn remember<'a>(
        &'a self,
        _application: &'a Application,
        _state: &'a Self::State,
        _place: &'a Self::Place,
        _events: &'a [(AnyEvent, Checkpoint)],
    ) -> BoxFuture<'a, ()> {
        Box::pin(ready(()))
    }
}

/// How far to read a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a model of a user must handle all")]
pub enum Reach {
    /// Everything, except that an aggregate in the application's cache need not be read, because
    /// the append checks whether the cached state was the newest.
    Cached,
    /// Everything.
    Newest,
    /// The events up to and including this position. A state that has seen more stays as it is.
    UpTo(Position),
}

/// How far the reads of a model reached. It holds two checkpoints, and each state of the model is
/// as of a state of the log between them, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadTo(Reads);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    /// Nothing was read.
    None,
    /// Some state was not read now and may be old.
    Old,
    /// Read up to these checkpoints; `None` stands for an empty log, before the first position.
    Between(Option<Checkpoint>, Option<Checkpoint>),
}

impl ReadTo {
    /// The value for a model that reads nothing.
    pub const NOTHING: Self = Self(Reads::None);

    /// The value for a model that relies on a cached state, which may be old.
    pub const CACHED: Self = Self(Reads::Old);

    /// Returns the value for a single read up to this checkpoint; `None` if the log was empty.
    pub const fn one(checkpoint: Option<Checkpoint>) -> Self {
        Self(Reads::Between(checkpoint, checkpoint))
    }

    /// Combines these reads with others.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let number = |checkpoint: &Option<Checkpoint>| {
            Position::number(checkpoint.map(|checkpoint| checkpoint.position))
        };
        Self(match (self.0, other.0) {
            (reads, Reads::None) | (Reads::None, reads) => reads,
            (Reads::Old, _) | (_, Reads::Old) => Reads::Old,
            (Reads::Between(least, most), Reads::Between(other_least, other_most)) => {
                Reads::Between(
                    min_by_key(least, other_least, number),
                    max_by_key(most, other_most, number),
                )
            }
        })
    }

    /// Returns whether all states were read now and are as of the same state of the log.
    pub fn is_one(&self) -> bool {
        match self.0 {
            Reads::None => true,
            Reads::Old => false,
            Reads::Between(least, most) => least == most,
        }
    }

    /// Returns the checkpoint of the latest read; `None` if the log was empty, nothing was read, or
    /// a cached state was used.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        match self.0 {
            Reads::None | Reads::Old => None,
            Reads::Between(_, most) => most,
        }
    }
}

/// How far a stream was read: to which version, and to which event of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamPlace {
    version: Option<Version>,
    checkpoint: Option<Checkpoint>,
    /// How many subjects were seen forgotten when it was read.
    forgets: u64,
}

impl StreamPlace {
    fn of<A>(folded: &Folded<A>) -> Self {
        Self {
            version: folded.version,
            checkpoint: folded.checkpoint,
            forgets: folded.forgets,
        }
    }

    fn folded<A: Clone>(self, state: &A) -> Folded<A> {
        Folded {
            state: Arc::new(state.clone()),
            version: self.version,
            checkpoint: self.checkpoint,
            is_deleted: false,
            forgets: self.forgets,
        }
    }
}

impl<A: Aggregate> Model for Id<A> {
    type State = A;
    type Place = StreamPlace;

    fn begin(&self) -> (A, StreamPlace) {
        (A::default(), StreamPlace::default())
    }

    fn read_on<'a>(
        &'a self,
        application: &'a Application,
        state: &'a mut A,
        place: &'a mut StreamPlace,
        reach: Reach,
    ) -> BoxFuture<'a, Result<ReadTo>> {
        Box::pin(async move {
            let stream: Arc<str> = self.stream().into();
            application.see_forgotten().await?;
            let cached = match reach {
                // It may have been reopened since it was cached as deleted.
                Reach::Cached => {
                    let cached = application.core.cache.get(&stream);
                    cached.filter(|folded: &Folded<A>| !folded.is_deleted)
                }
                Reach::Newest | Reach::UpTo(_) => None,
            };
            let (folded, read_to) = match (cached, reach) {
                (Some(folded), _) => (folded, ReadTo::CACHED),
                (None, Reach::UpTo(until)) => {
                    // The cache may be ahead of `until`.
                    application.register::<A>()?;
                    // A state with data of a subject that was forgotten since is read again.
                    let mut folded = match place.forgets == application.core.cache.forgets() {
                        true => place.folded(state),
                        false => Folded {
                            forgets: application.core.cache.forgets(),
                            ..Folded::default()
                        },
                    };
                    let continues = |stored: &StoredEvent| stored.position() <= until;
                    let read_to = application
                        .fold_while(&stream, &mut folded, None, continues)
                        .await?;
                    (folded, ReadTo::one(read_to))
                }
                (None, Reach::Cached) => {
                    let (folded, head) = application.load_uncached(&stream).await?;
                    (folded, ReadTo::one(head))
                }
                (None, Reach::Newest) => {
                    let (folded, head) = application.load_with_head(&stream).await?;
                    (folded, ReadTo::one(head))
                }
            };
            let folded = folded.not_deleted(&stream)?;
            let read = StreamPlace::of(&folded);
            if read != *place {
                *state = Arc::unwrap_or_clone(folded.state);
                *place = read;
            }
            Ok(read_to)
        })
    }

    fn conditions(&self, place: &StreamPlace, conditions: &mut Vec<Condition>) {
        let event = place.checkpoint.map(|checkpoint| checkpoint.event_id);
        conditions.push(Condition::stream_read(self.stream(), place.version, event));
    }

    fn remember<'a>(
        &'a self,
        application: &'a Application,
        state: &'a A,
        place: &'a StreamPlace,
        events: &'a [(AnyEvent, Checkpoint)],
    ) -> BoxFuture<'a, ()> {
        let stream: Arc<str> = self.stream().into();
        let to_stream = |it: &&(AnyEvent, Checkpoint)| it.0.stream() == Some(&stream);
        let own: Vec<&A::Event> = events
            .iter()
            .filter(to_stream)
            .filter_map(|(event, _)| event.downcast_ref())
            .collect();
        if own.is_empty() || own.len() != events.iter().filter(to_stream).count() {
            return Box::pin(ready(()));
        }
        let last = events
            .iter()
            .rfind(to_stream)
            .map(|(_, checkpoint)| *checkpoint);
        let cached = application.core.cache.peek::<A>(&stream);
        let base = cached.filter(|it| StreamPlace::of(it) == *place);
        let base = base.unwrap_or_else(|| place.folded(state));
        Box::pin(async move {
            application.remember(&stream, base, own, last).await;
        })
    }
}

/// Reads nothing and depends on nothing: for events that are recorded unconditionally.
impl Model for () {
    type State = ();
    type Place = ();

    fn begin(&self) -> ((), ()) {
        ((), ())
    }

    fn read_on<'a>(
        &'a self,
        _: &'a Application,
        (): &'a mut (),
        (): &'a mut (),
        _: Reach,
    ) -> BoxFuture<'a, Result<ReadTo>> {
        Box::pin(ready(Ok(ReadTo::NOTHING)))
    }

    fn conditions(&self, (): &(), _: &mut Vec<Condition>) {}
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
        reach: Reach,
    ) -> BoxFuture<'a, Result<ReadTo>> {
        M::read_on(self, application, state, place, reach)
    }

    fn conditions(&self, place: &M::Place, conditions: &mut Vec<Condition>) {
        M::conditions(self, place, conditions);
    }

    fn remember<'a>(
        &'a self,
        application: &'a Application,
        state: &'a M::State,
        place: &'a M::Place,
        events: &'a [(AnyEvent, Checkpoint)],
    ) -> BoxFuture<'a, ()> {
        M::remember(self, application, state, place, events)
    }
}

/// An optional model: if it is `None`, the decision sees `None` and depends on nothing.
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
        reach: Reach,
    ) -> BoxFuture<'a, Result<ReadTo>> {
        match (self, state, place) {
            (Some(model), Some(state), Some(place)) => {
                model.read_on(application, state, place, reach)
            }
            _ => Box::pin(ready(Ok(ReadTo::NOTHING))),
        }
    }

    fn conditions(&self, place: &Self::Place, conditions: &mut Vec<Condition>) {
        if let (Some(model), Some(place)) = (self, place) {
            model.conditions(place, conditions);
        }
    }

    fn remember<'a>(
        &'a self,
        application: &'a Application,
        state: &'a Self::State,
        place: &'a Self::Place,
        events: &'a [(AnyEvent, Checkpoint)],
    ) -> BoxFuture<'a, ()> {
        match (self, state, place) {
            (Some(model), Some(state), Some(place)) => {
                model.remember(application, state, place, events)
            }
            _ => Box::pin(ready(())),
        }
    }
}

/// Any number of models: the decision sees their states in the same order.
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
        reach: Reach,
    ) -> BoxFuture<'a, Result<ReadTo>> {
        Box::pin(async move {
            let mut read_to = ReadTo::NOTHING;
            for ((model, state), place) in self.iter().zip(state).zip(place) {
                read_to = read_to.and(model.read_on(application, state, place, reach).await?);
            }
            Ok(read_to)
        })
    }

    fn conditions(&self, place: &Self::Place, conditions: &mut Vec<Condition>) {
        for (model, place) in self.iter().zip(place) {
            model.conditions(place, conditions);
        }
    }

    fn remember<'a>(
        &'a self,
        application: &'a Application,
        state: &'a Self::State,
        place: &'a Self::Place,
        events: &'a [(AnyEvent, Checkpoint)],
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for ((model, state), place) in self.iter().zip(state).zip(place) {
                model.remember(application, state, place, events).await;
            }
        })
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
                reach: Reach,
            ) -> BoxFuture<'a, Result<ReadTo>> {
                Box::pin(async move {
                    let mut read_to = ReadTo::NOTHING;
                    $({
                        let (state, place) = (&mut state.$index, &mut place.$index);
                        let read = self.$index.read_on(application, state, place, reach);
                        read_to = read_to.and(read.await?);
                    })+
                    Ok(read_to)
                })
            }

            fn conditions(&self, place: &Self::Place, conditions: &mut Vec<Condition>) {
                $(self.$index.conditions(&place.$index, conditions);)+
            }

            fn remember<'a>(
                &'a self,
                application: &'a Application,
                state: &'a Self::State,
                place: &'a Self::Place,
                events: &'a [(AnyEvent, Checkpoint)],
            ) -> BoxFuture<'a, ()> {
                Box::pin(async move {
                    $({
                        let (state, place) = (&state.$index, &place.$index);
                        self.$index.remember(application, state, place, events).await;
                    })+
                })
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
