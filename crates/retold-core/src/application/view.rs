//! Views: what a model shows of the log, without deciding on it.

use std::future::ready;
use std::sync::Arc;

use super::error::{Error, Result};
use super::handle::Application;
use super::model::{Model, Reach, ReadTo};
use crate::mapping::AnyEvent;
use crate::recording::{BoxFuture, Condition, Mark};

/// What a model shows, as of one state of the log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct View<M: Model> {
    /// What the model's events make of its state.
    pub state: M::State,
    /// The last event of the log that the state may have seen: a token for asking later whether
    /// something was recorded since. None if the log was empty.
    pub read_to: Option<Mark>,
    /// Name of the log that it is of.
    log: Arc<str>,
    model: M,
    place: M::Place,
}

impl Application {
    /// Reads a model without deciding on it: all its states are of one state of the log.
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// // An id is a model; so is a fold over a query, and so are tuples of models.
    /// let mut view = school.view(fido).await?;
    /// assert_eq!(view.state.name, "Fido");
    ///
    /// school.execute(fido, |_| DogEvent::TrickAdded { trick: "fetch".into() }).await?;
    /// view.refresh(&school).await?;
    /// assert_eq!(view.state.tricks, ["fetch"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Mapping`] if an event cannot be read;
    /// [`Error::Invalid`] for a query beyond the limits;
    /// [`Error::Registry`], [`Error::Unavailable`],
    /// [`Error::Corrupt`].
    pub async fn view<M: Model>(&self, model: M) -> Result<View<M>> {
        let (mut state, mut place) = model.begin();
        let read_to = self.read_as_one(&model, &mut state, &mut place).await?;
        Ok(View {
            state,
            read_to,
            log: self.name().into(),
            model,
            place,
        })
    }

    /// Takes in what the state has not seen, so that it is of one state of the log, and returns of
    /// which.
    pub(super) async fn read_as_one<M: Model>(
        &self,
        model: &M,
        state: &mut M::State,
        place: &mut M::Place,
    ) -> Result<Option<Mark>> {
        let read_to = model.read_on(self, state, place, Reach::Newest).await?;
        let mark = read_to.mark();
        if let (false, Some(mark)) = (read_to.is_one(), mark) {
            // What went less far catches up with what went farthest.
            let reach = Reach::UpTo(mark.position);
            model.read_on(self, state, place, reach).await?;
        }
        Ok(mark)
    }
}

/// A view is a model too: a decision on it reads only what was recorded since the view was read, and
/// depends on all that the view depends on. Whoever decides often on a model that grows keeps a view
/// of it, decides on `&view`, and refreshes it now and then. On a log of another name it is `Invalid`:
/// what was read of one log says nothing of another.
impl<M> Model for View<M>
where
    M: Model<State: Clone, Place: Clone>,
{
    type State = M::State;
    type Place = M::Place;

    fn begin(&self) -> (M::State, M::Place) {
        (self.state.clone(), self.place.clone())
    }

    fn read_on<'a>(
        &'a self,
        application: &'a Application,
        state: &'a mut M::State,
        place: &'a mut M::Place,
        reach: Reach,
    ) -> BoxFuture<'a, Result<ReadTo>> {
        match self.check_is_of(application) {
            Ok(()) => self.model.read_on(application, state, place, reach),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    fn conditions(&self, place: &M::Place, conditions: &mut Vec<Condition>) {
        self.model.conditions(place, conditions);
    }

    fn remember<'a>(
        &'a self,
        application: &'a Application,
        state: &'a M::State,
        place: &'a M::Place,
        events: &'a [(AnyEvent, Mark)],
    ) -> BoxFuture<'a, ()> {
        self.model.remember(application, state, place, events)
    }
}

impl<M: Model> View<M> {
    /// Brings the view up to now; only what was recorded since is read.
    ///
    /// # Errors
    ///
    /// As [`Application::view`], and [`Error::Invalid`] for an application with a log of another name.
    /// The view is not of one state of the log then, until it is refreshed again. [`Error::Diverged`]
    /// if the log no longer ends at or after what the view has seen; only a new view helps.
    pub async fn refresh(&mut self, application: &Application) -> Result<()> {
        self.check_is_of(application)?;
        let (state, place) = (&mut self.state, &mut self.place);
        let read_to = application.read_as_one(&self.model, state, place).await?;
        self.read_to = read_to;
        Ok(())
    }

    fn check_is_of(&self, application: &Application) -> Result<()> {
        if *self.log == *application.name() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the view is of the log {:?} and says nothing of {:?}; view the model there",
            self.log,
            application.name()
        )))
    }
}
