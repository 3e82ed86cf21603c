//! Views: what a model shows of the log, without deciding on it.

use super::error::Result;
use super::handle::Application;
use super::model::{Model, Reach, ReadTo};
use crate::recording::condition::Condition;
use crate::recording::identity::Mark;
use crate::recording::recorder::BoxFuture;

/// What a model shows, as of one state of the log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct View<M: Model> {
    /// What the model's events make of its state.
    pub state: M::State,
    /// The last event of the log that the state may have seen: a token for asking later whether
    /// something was recorded since. None if the log was empty.
    pub read_to: Option<Mark>,
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
    /// [`Error::Mapping`](super::Error::Mapping) if an event cannot be read;
    /// [`Error::Invalid`](super::Error::Invalid) for a query beyond the limits;
    /// [`Error::Registry`](super::Error::Registry), [`Error::Unavailable`](super::Error::Unavailable),
    /// [`Error::Corrupt`](super::Error::Corrupt).
    pub async fn view<M: Model>(&self, model: M) -> Result<View<M>> {
        let (mut state, mut place) = model.begin();
        let read_to = self.read_as_one(&model, &mut state, &mut place).await?;
        Ok(View {
            state,
            read_to,
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
/// of it, decides on `&view`, and refreshes it now and then.
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
        self.model.read_on(application, state, place, reach)
    }

    fn conditions(&self, place: &M::Place, conditions: &mut Vec<Condition>) {
        self.model.conditions(place, conditions);
    }
}

impl<M: Model> View<M> {
    /// Brings the view up to now; only what was recorded since is read.
    ///
    /// # Errors
    ///
    /// As [`Application::view`]; the view is as of some earlier read then, and may be refreshed
    /// again.
    pub async fn refresh(&mut self, application: &Application) -> Result<()> {
        let (state, place) = (&mut self.state, &mut self.place);
        self.read_to = application.read_as_one(&self.model, state, place).await?;
        Ok(())
    }
}
