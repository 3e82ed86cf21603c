//! The flight: the main aggregate of this example.
//!
//! It is pure: it uses no clock and no store. Its rules decide which events are recorded. Recorded
//! events are folded into the state that the next decision uses.

use retold::prelude::*;

use crate::minutes::minutes_from;

/// The flight was announced, with its plan.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Flight.Scheduled")]
#[event(tag = "carrier:{carrier}", tag = "aircraft:{aircraft}")]
#[event(tag = "airport:{origin}", tag = "airport:{destination}")]
pub struct Scheduled {
    /// Code of the airline, such as `UA`.
    pub carrier: String,
    /// Number of the flight.
    pub number: u32,
    /// Code of the departure airport.
    pub origin: String,
    /// Code of the destination airport.
    pub destination: String,
    /// Tail number of the planned aircraft, if it is known.
    pub aircraft: Option<String>,
    /// Planned departure.
    pub departs_at: Timestamp,
    /// Planned arrival.
    pub arrives_at: Timestamp,
}

/// The flight departed, with this delay.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Flight.Departed")]
#[event(
    tag = "carrier:{carrier}",
    tag = "aircraft:{aircraft}",
    tag = "airport:{origin}"
)]
pub struct Departed {
    /// Code of the airline.
    pub carrier: String,
    /// Number of the flight.
    pub number: u32,
    /// Code of the departure airport.
    pub origin: String,
    /// Tail number of the aircraft, if it is known.
    pub aircraft: Option<String>,
    /// Time of departure.
    pub at: Timestamp,
    /// Minutes behind plan; negative if it left early.
    pub delay_minutes: i64,
}

/// The flight landed at its destination, with this delay.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Flight.Arrived")]
#[event(
    tag = "carrier:{carrier}",
    tag = "aircraft:{aircraft}",
    tag = "airport:{destination}"
)]
pub struct Arrived {
    /// Code of the airline.
    pub carrier: String,
    /// Code of the destination airport.
    pub destination: String,
    /// Tail number of the aircraft, if it is known.
    pub aircraft: Option<String>,
    /// Time of arrival.
    pub at: Timestamp,
    /// Minutes behind plan; negative if it was early.
    pub delay_minutes: i64,
}

/// The flight was canceled before departure.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Flight.Cancelled")]
#[event(
    tag = "carrier:{carrier}",
    tag = "aircraft:{aircraft}",
    tag = "airport:{origin}"
)]
pub struct Cancelled {
    /// Code of the airline.
    pub carrier: String,
    /// Code of the planned departure airport.
    pub origin: String,
    /// Tail number of the planned aircraft, if it is known. Older logs do not contain it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aircraft: Option<String>,
}

/// The flight landed elsewhere.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Flight.Diverted")]
#[event(
    tag = "carrier:{carrier}",
    tag = "aircraft:{aircraft}",
    tag = "airport:{destination}"
)]
pub struct Diverted {
    /// Code of the airline.
    pub carrier: String,
    /// Code of the planned destination.
    pub destination: String,
    /// Tail number of the aircraft, if it is known.
    pub aircraft: Option<String>,
    /// Time at which it finally reached its destination; `None` if it did not.
    pub reached_at: Option<Timestamp>,
}

/// The events of a flight.
#[derive(Event, Clone, Debug, PartialEq, Eq)]
#[event(join)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a new event should fail to compile where flights are read"
)]
pub enum FlightEvent {
    /// It was announced.
    Scheduled(Scheduled),
    /// It departed.
    Departed(Departed),
    /// It landed at its destination.
    Arrived(Arrived),
    /// It was canceled.
    Cancelled(Cancelled),
    /// It landed elsewhere.
    Diverted(Diverted),
}

/// Reasons why an event cannot have happened to a flight.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The flight has not been announced.
    #[error("the flight is not scheduled")]
    NotScheduled,
    /// The flight has been announced already.
    #[error("the flight is scheduled already")]
    AlreadyScheduled,
    /// Origin and destination are the same.
    #[error("the origin and the destination are the same")]
    EndsWhereItBegins,
    /// The planned arrival is not after the planned departure.
    #[error("the planned arrival is not after the planned departure")]
    PlannedBackwards,
    /// A canceled flight does not depart.
    #[error("the flight is canceled")]
    Cancelled,
    /// A flight departs once.
    #[error("the flight has departed already")]
    AlreadyDeparted,
    /// A flight that has not departed cannot land.
    #[error("the flight has not departed")]
    NotDeparted,
    /// A flight lands once.
    #[error("the flight has landed already")]
    AlreadyLanded,
    /// A flight cannot land before its departure.
    #[error("the flight cannot land at {landed_at}: it departed at {departed_at}")]
    LandedBeforeDeparture {
        /// Time of departure.
        departed_at: Timestamp,
        /// Reported time of landing.
        landed_at: Timestamp,
    },
    /// An aircraft cannot fly two flights at the same time.
    #[error("{aircraft} is in the air, as {flight}")]
    AircraftInAir {
        /// Tail number of the aircraft.
        aircraft: String,
        /// Airline and number of the flight in the air.
        flight: String,
    },
}

impl Refusal {
    /// Returns a machine-readable name in kebab case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotScheduled => "not-scheduled",
            Self::AlreadyScheduled => "already-scheduled",
            Self::EndsWhereItBegins => "ends-where-it-begins",
            Self::PlannedBackwards => "planned-backwards",
            Self::Cancelled => "cancelled",
            Self::AlreadyDeparted => "already-departed",
            Self::NotDeparted => "not-departed",
            Self::AlreadyLanded => "already-landed",
            Self::LandedBeforeDeparture { .. } => "landed-before-departure",
            Self::AircraftInAir { .. } => "aircraft-in-air",
        }
    }
}

/// A flight: one departure of one number on one day.
#[derive(Aggregate, Clone, Debug, Default, PartialEq, Eq)]
#[aggregate(event = FlightEvent, key = String)]
pub struct Flight {
    plan: Option<Scheduled>,
    phase: Phase,
}

/// The phases of a flight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// On the ground, or not announced.
    #[default]
    Waiting,
    /// In the air.
    InAir {
        /// Time of departure.
        departed_at: Timestamp,
        /// Tail number of the aircraft, if it is known.
        aircraft: Option<String>,
    },
    /// Landed at its destination.
    Arrived,
    /// Landed elsewhere.
    Diverted,
    /// Canceled.
    Cancelled,
}

/// Returns the id of a flight. It includes the origin, because a number may depart from two
/// airports on the same day.
pub fn flight_id(carrier: &str, number: u32, day: jiff::civil::Date, origin: &str) -> Id<Flight> {
    Id::from(format!("{carrier}-{number}-{day}-{origin}"))
}

impl Flight {
    /// Returns the plan; `None` if the flight has not been announced.
    pub fn plan(&self) -> Option<&Scheduled> {
        self.plan.as_ref()
    }

    /// Returns the phase.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Announces the flight.
    ///
    /// # Errors
    ///
    /// If the flight has been announced already, or the plan is impossible.
    pub fn schedule(&self, plan: Scheduled) -> Result<Scheduled, Refusal> {
        if self.plan.is_some() {
            return Err(Refusal::AlreadyScheduled);
        }
        if plan.origin == plan.destination {
            return Err(Refusal::EndsWhereItBegins);
        }
        if plan.arrives_at <= plan.departs_at {
            return Err(Refusal::PlannedBackwards);
        }
        Ok(plan)
    }

    /// Departs with this aircraft, if it is known.
    ///
    /// Whether the aircraft is available is not decided here: see [`aircraft`](crate::aircraft).
    ///
    /// # Errors
    ///
    /// If the flight is not waiting to depart.
    pub fn depart(&self, at: Timestamp, aircraft: Option<&str>) -> Result<Departed, Refusal> {
        let plan = self.plan.as_ref().ok_or(Refusal::NotScheduled)?;
        match self.phase {
            Phase::Waiting => Ok(Departed {
                carrier: plan.carrier.clone(),
                number: plan.number,
                origin: plan.origin.clone(),
                aircraft: aircraft.map(str::to_owned),
                at,
                delay_minutes: minutes_from(plan.departs_at, at),
            }),
            Phase::Cancelled => Err(Refusal::Cancelled),
            Phase::InAir { .. } | Phase::Arrived | Phase::Diverted => Err(Refusal::AlreadyDeparted),
        }
    }

    /// Lands at the destination.
    ///
    /// # Errors
    ///
    /// If the flight is not in the air, or departed after the reported landing.
    pub fn arrive(&self, at: Timestamp) -> Result<Arrived, Refusal> {
        let (plan, aircraft) = self.landing(Some(at))?;
        Ok(Arrived {
            carrier: plan.carrier.clone(),
            destination: plan.destination.clone(),
            aircraft,
            at,
            delay_minutes: minutes_from(plan.arrives_at, at),
        })
    }

    /// Lands elsewhere, and possibly reaches its destination later.
    ///
    /// # Errors
    ///
    /// If the flight is not in the air, or departed after the reported arrival.
    pub fn divert(&self, reached_at: Option<Timestamp>) -> Result<Diverted, Refusal> {
        let (plan, aircraft) = self.landing(reached_at)?;
        Ok(Diverted {
            carrier: plan.carrier.clone(),
            destination: plan.destination.clone(),
            aircraft,
            reached_at,
        })
    }

    /// Cancels the flight.
    ///
    /// # Errors
    ///
    /// If the flight is not waiting to depart.
    pub fn cancel(&self) -> Result<Cancelled, Refusal> {
        let plan = self.plan.as_ref().ok_or(Refusal::NotScheduled)?;
        match self.phase {
            Phase::Waiting => Ok(Cancelled {
                carrier: plan.carrier.clone(),
                origin: plan.origin.clone(),
                aircraft: plan.aircraft.clone(),
            }),
            Phase::Cancelled => Err(Refusal::Cancelled),
            Phase::InAir { .. } | Phase::Arrived | Phase::Diverted => Err(Refusal::AlreadyDeparted),
        }
    }

    /// Returns the plan and the aircraft of a flight that can land at this time, if the time is
    /// known.
    fn landing(&self, at: Option<Timestamp>) -> Result<(&Scheduled, Option<String>), Refusal> {
        let plan = self.plan.as_ref().ok_or(Refusal::NotScheduled)?;
        match &self.phase {
            Phase::InAir {
                departed_at,
                aircraft,
            } => match at {
                Some(landed_at) if landed_at <= *departed_at => {
                    Err(Refusal::LandedBeforeDeparture {
                        departed_at: *departed_at,
                        landed_at,
                    })
                }
                _ => Ok((plan, aircraft.clone())),
            },
            Phase::Waiting => Err(Refusal::NotDeparted),
            Phase::Cancelled => Err(Refusal::Cancelled),
            Phase::Arrived | Phase::Diverted => Err(Refusal::AlreadyLanded),
        }
    }
}

impl Apply<FlightEvent> for Flight {
    fn apply(&mut self, event: &FlightEvent) {
        match event {
            FlightEvent::Scheduled(plan) => self.plan = Some(plan.clone()),
            FlightEvent::Departed(departed) => {
                self.phase = Phase::InAir {
                    departed_at: departed.at,
                    aircraft: departed.aircraft.clone(),
                }
            }
            FlightEvent::Arrived(_) => self.phase = Phase::Arrived,
            FlightEvent::Diverted(_) => self.phase = Phase::Diverted,
            FlightEvent::Cancelled(_) => self.phase = Phase::Cancelled,
        }
    }
}
