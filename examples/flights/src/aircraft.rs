//! The rule that no flight can hold by itself: an aircraft is not in the air twice at once.
//!
//! A flight is one aggregate, and knows nothing of others. Whether an aircraft is free is a question
//! to the events of all flights that it flew, which are found by the tag with its tail number. A
//! departure is decided on both, the flight and that question, and is recorded only if neither has
//! changed in between; yet it is an event of the flight alone.

use retold::application::command_id::CommandId;
use retold::application::error::ExecuteError;
use retold::application::fold::{Fold, fold_of};
use retold::application::model::Model;
use retold::application::recorded::Recorded;
use retold::prelude::*;

use crate::flight::{Arrived, Departed, Diverted, Flight, Refusal};

/// What an aircraft is flying, if it is in the air.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InAir(Option<String>);

impl InAir {
    /// Airline and number of the flight, such as `UA 1545`; none if the aircraft is on the ground.
    pub fn flight(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// The question whether this aircraft is in the air: only what lifts it or brings it down counts.
pub fn in_air(aircraft: &str) -> Fold<InAir> {
    fold_of::<InAir, Departed>()
        .and::<Arrived>()
        .and::<Diverted>()
        .tag(format!("aircraft:{aircraft}"))
}

impl Apply<Departed> for InAir {
    fn apply(&mut self, departed: &Departed) {
        self.0 = Some(format!("{} {}", departed.carrier, departed.number));
    }
}

impl Apply<Arrived> for InAir {
    fn apply(&mut self, _: &Arrived) {
        self.0 = None;
    }
}

impl Apply<Diverted> for InAir {
    fn apply(&mut self, _: &Diverted) {
        self.0 = None;
    }
}

/// The pure decision: the flight's own rules, and the aircraft's.
///
/// # Errors
///
/// What the flight refuses; [`Refusal::AircraftInAir`].
pub fn depart_with(
    flight: &Flight,
    in_air: &InAir,
    aircraft: &str,
    at: Timestamp,
) -> Result<Departed, Refusal> {
    let departed = flight.depart(at, Some(aircraft))?;
    match in_air.flight() {
        Some(other) => Err(Refusal::AircraftInAir {
            aircraft: aircraft.into(),
            flight: other.into(),
        }),
        None => Ok(departed),
    }
}

/// Records the departure of a flight with an aircraft that must be free.
///
/// # Errors
///
/// As [`depart_on`].
pub async fn depart(
    app: &Application,
    id: &Id<Flight>,
    aircraft: &str,
    at: Timestamp,
) -> Result<Recorded, ExecuteError<Refusal>> {
    depart_on(app, id, in_air(aircraft), aircraft, at).await
}

/// The same on a model that is at hand: [`in_air`] itself, or a view of it that was read before, so
/// that only what came since is read.
///
/// # Errors
///
/// What [`depart_with`] refuses; what [`Application::decide`] reports.
pub async fn depart_on(
    app: &Application,
    id: &Id<Flight>,
    in_air: impl Model<State = InAir>,
    aircraft: &str,
    at: Timestamp,
) -> Result<Recorded, ExecuteError<Refusal>> {
    app.decide((id.clone(), in_air), |(flight, in_air)| {
        depart_with(flight, in_air, aircraft, at).map(|departed| departed.to(id))
    })
    .await
}

/// The same under the id of a command, so that it may be sent again.
///
/// # Errors
///
/// As [`depart_on`].
pub async fn depart_once(
    app: &Application,
    id: &Id<Flight>,
    in_air: impl Model<State = InAir>,
    aircraft: &str,
    at: Timestamp,
    command: CommandId,
) -> Result<Recorded, ExecuteError<Refusal>> {
    app.decide((id.clone(), in_air), |(flight, in_air)| {
        depart_with(flight, in_air, aircraft, at).map(|departed| departed.to(id))
    })
    .command_id(command)
    .await
}
