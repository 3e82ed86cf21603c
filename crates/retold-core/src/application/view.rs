//! Views: models that are read without a decision.

use std::future::ready;
use std::sync::Arc;

use super::error::{Error, Result};
use super::handle::Application;
use super::model::{Model, Reach, ReadTo};
use crate::mapping::AnyEvent;
use crate::recording::{BoxFuture, Checkpoint, Condition};

/// A model's state, as of one state of the log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct View<M: Model> {
    /// The fold of the model's events.
    pub state: M::State,
    /// The last event of the log that the state may have seen: a token for checking later whether
    /// anything was recorded since. `None` if the log was empty.
    pub read_to: Option<Checkpoint>,
    /// Name of the log that was read.
    log: Arc<str>,
    model: M,
    place: M::Place,
}

impl Application {
    /// Reads a model without deciding on it. All its states are as of the same state of the log.
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// // An id is a model, and so are a fold over a query and tuples of models.
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
    /// [`Error::Mapping`] if an event cannot be read; [`Error::Invalid`] for a query beyond the
    /// limits; [`Error::Registry`], [`Error::Unavailable`], [`Error::Corrupt`].
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

    /// Reads the events that the state has not seen, so that all of it is as of the same state of
    /// the log, and returns the checkpoint of that state.
    pub(super) async fn read_as_one<M: Model>(
        &self,
        model: &M,
        state: &mut M::State,
        place: &mut M::Place,
    ) -> Result<Option<Checkpoint>> {
        let read_to = model.read_on(self, state, place, Reach::Newest).await?;
        let checkpoint = read_to.checkpoint();
        if let (false, Some(checkpoint)) = (read_to.is_one(), checkpoint) {
            // The states that were read first catch up with the latest read.
            let reach = Reach::UpTo(checkpoint.position);
            model.read_on(self, state, place, reach).await?;
        }
        Ok(checkpoint)
    }
}

/// A view is also a model. A decision on it reads only what was recorded since the view was read,
/// and depends on everything that the view depends on. To decide often on a growing model, keep a
/// view of it, decide on `&view`, and refresh the view from time to time. A decision through an
/// application whose log has another name is `Invalid`, because a read of one log does not apply to
/// another.
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
        events: &'a [(AnyEvent, Checkpoint)],
    ) -> BoxFuture<'a, ()> {
        self.model.remember(application, state, place, events)
    }
}

impl<M: Model> View<M> {
    /// Updates the view to the current state of the log. Reads only what was recorded since.
    ///
    /// # Errors
    ///
    /// As [`Application::view`]; [`Error::Invalid`] for an application whose log has another name;
    /// [`Error::Diverged`] if the log no longer contains what the view has read: then create a new
    /// view. After any other error, the parts of the view may be as of different states of the log
    /// until it is refreshed again.
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
            "the view is of the log {:?} and does not apply to {:?}; view the model there",
            self.log,
            application.name()
        )))
    }
}
