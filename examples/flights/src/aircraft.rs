//! A rule that spans several flights: an aircraft is never in the air twice at the same time.
//!
//! A flight is one aggregate and knows nothing about others. Whether an aircraft is available
//! follows from the events of all its flights, which are selected by the tag with its tail number.
//! A departure is decided on both the flight and these events, and is recorded only if neither has
//! changed in the meantime. The event itself belongs to the flight alone.

use retold::application::{CommandId, ExecuteError, Fold, Model, Recorded, fold_of};
use retold::prelude::*;

use crate::flight::{Arrived, Departed, Diverted, Flight, Refusal};

/// The flight that an aircraft is flying, if it is in the air.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InAir(Option<String>);

impl InAir {
    /// Returns airline and number of the flight, such as `UA 1545`; `None` if the aircraft is on
    /// the ground.
    pub fn flight(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// Returns the model that answers whether this aircraft is in the air. It reads takeoffs and
/// landings only.
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

/// The pure decision: combines the rules of the flight and of the aircraft.
///
/// # Errors
///
/// The refusals of the flight, and [`Refusal::AircraftInAir`].
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

/// Records the departure of a flight with an aircraft that must be available.
///
/// # Errors
///
/// As for [`depart_on`].
pub async fn depart(
    app: &Application,
    id: &Id<Flight>,
    aircraft: &str,
    at: Timestamp,
) -> Result<Recorded, ExecuteError<Refusal>> {
    depart_on(app, id, in_air(aircraft), aircraft, at).await
}

/// As [`depart`], with a given model: [`in_air`] itself, or a view of it that was read before, so
/// that only newer events are read.
///
/// # Errors
///
/// The refusals of [`depart_with`] and the errors of [`Application::decide`].
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

/// As [`depart_on`], with a command id, so that the command can be repeated.
///
/// # Errors
///
/// As for [`depart_on`].
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
