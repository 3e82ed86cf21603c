//! The flight: the aggregate of this example, with its events and its rules.
//!
//! All of it is pure: no clock, no store. What happened becomes an event once the flight's rules let
//! it; what was recorded is folded into the state that the next decision looks at.

use retold::prelude::*;

use crate::minutes::minutes_from;

/// It was announced, with its times as planned.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Flight.Scheduled")]
#[event(tag = "carrier:{carrier}", tag = "aircraft:{aircraft}")]
#[event(tag = "airport:{origin}", tag = "airport:{destination}")]
pub struct Scheduled {
    /// Code of the airline, such as `UA`.
    pub carrier: String,
    /// Number of the flight.
    pub number: u32,
    /// Code of the airport it departs from.
    pub origin: String,
    /// Code of the airport it is bound for.
    pub destination: String,
    /// Tail number of the aircraft that is to fly it, if it is known.
    pub aircraft: Option<String>,
    /// When it is to depart.
    pub departs_at: Timestamp,
    /// When it is to arrive.
    pub arrives_at: Timestamp,
}

/// It left, so many minutes later than planned.
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
    /// Code of the airport it left.
    pub origin: String,
    /// Tail number of the aircraft that flies it, if it is known.
    pub aircraft: Option<String>,
    /// When it left.
    pub at: Timestamp,
    /// Minutes behind the plan; negative if it left early.
    pub delay_minutes: i64,
}

/// It landed where it was bound for, so many minutes later than planned.
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
    /// Code of the airport it came to.
    pub destination: String,
    /// Tail number of the aircraft that flew it, if it is known.
    pub aircraft: Option<String>,
    /// When it landed.
    pub at: Timestamp,
    /// Minutes behind the plan; negative if it was early.
    pub delay_minutes: i64,
}

/// It will not depart.
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
    /// Code of the airport it would have left.
    pub origin: String,
    /// Tail number of the aircraft that was to fly it, if it is known. Logs of old do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aircraft: Option<String>,
}

/// It landed elsewhere.
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
    /// Code of the airport it was bound for.
    pub destination: String,
    /// Tail number of the aircraft that flew it, if it is known.
    pub aircraft: Option<String>,
    /// When it came to where it was bound for after all; none if it did not.
    pub reached_at: Option<Timestamp>,
}

/// What can happen to a flight.
#[derive(Event, Clone, Debug, PartialEq, Eq)]
#[event(join)]
#[allow(
    clippy::exhaustive_enums,
    reason = "whoever reads flights wants to know of a new event"
)]
pub enum FlightEvent {
    /// It was announced.
    Scheduled(Scheduled),
    /// It left.
    Departed(Departed),
    /// It landed where it was bound for.
    Arrived(Arrived),
    /// It will not depart.
    Cancelled(Cancelled),
    /// It landed elsewhere.
    Diverted(Diverted),
}

/// Why something cannot have happened to a flight.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The flight is not known.
    #[error("the flight is not scheduled")]
    NotScheduled,
    /// The flight is known.
    #[error("the flight is scheduled already")]
    AlreadyScheduled,
    /// A flight goes somewhere else.
    #[error("the flight ends where it begins")]
    EndsWhereItBegins,
    /// The plan lands the flight before it leaves.
    #[error("the flight is to arrive before it departs")]
    PlannedBackwards,
    /// What is cancelled does not fly.
    #[error("the flight is cancelled")]
    Cancelled,
    /// A flight departs once.
    #[error("the flight has departed already")]
    AlreadyDeparted,
    /// What has not left cannot land.
    #[error("the flight has not departed")]
    NotDeparted,
    /// A flight ends once.
    #[error("the flight has landed already")]
    AlreadyLanded,
    /// Nobody lands before leaving.
    #[error("the flight cannot land at {landed_at}: it departed at {departed_at}")]
    LandedBeforeDeparture {
        /// When it left.
        departed_at: Timestamp,
        /// When it is said to have landed.
        landed_at: Timestamp,
    },
    /// Nobody flies twice at once.
    #[error("{aircraft} is in the air, as {flight}")]
    AircraftInAir {
        /// Tail number of the aircraft.
        aircraft: String,
        /// Airline and number of the flight that it is flying.
        flight: String,
    },
}

impl Refusal {
    /// A name for programs, in kebab case.
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

/// How far a flight has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// It is on the ground, or nobody has heard of it.
    #[default]
    Waiting,
    /// It is in the air.
    InAir {
        /// When it left.
        departed_at: Timestamp,
        /// Who flies it, if it is known.
        aircraft: Option<String>,
    },
    /// It is where it was bound for.
    Arrived,
    /// It is elsewhere.
    Diverted,
    /// It will not fly.
    Cancelled,
}

/// The id of a flight: the same number may leave on the same day from two airports.
pub fn flight_id(carrier: &str, number: u32, day: jiff::civil::Date, origin: &str) -> Id<Flight> {
    Id::from(format!("{carrier}-{number}-{day}-{origin}"))
}

impl Flight {
    /// The plan; none if nobody has announced the flight.
    pub fn plan(&self) -> Option<&Scheduled> {
        self.plan.as_ref()
    }

    /// How far it has come.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Announces the flight.
    ///
    /// # Errors
    ///
    /// If it is known, or the plan is none that a flight could keep to.
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

    /// Leaves, flown by this aircraft, if it is known which.
    ///
    /// Whether the aircraft is free is not for the flight to know: see [`aircraft`](crate::aircraft).
    ///
    /// # Errors
    ///
    /// If it is not waiting to depart.
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

    /// Lands where it was bound for.
    ///
    /// # Errors
    ///
    /// If it is not in the air, or left later than it is said to have landed.
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

    /// Lands elsewhere, and perhaps comes to where it was bound for after all.
    ///
    /// # Errors
    ///
    /// If it is not in the air, or left later than it is said to have come there.
    pub fn divert(&self, reached_at: Option<Timestamp>) -> Result<Diverted, Refusal> {
        let (plan, aircraft) = self.landing(reached_at)?;
        Ok(Diverted {
            carrier: plan.carrier.clone(),
            destination: plan.destination.clone(),
            aircraft,
            reached_at,
        })
    }

    /// Calls the flight off.
    ///
    /// # Errors
    ///
    /// If it is not waiting to depart.
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

    /// The plan and the aircraft of a flight that can land, at this time if it is known.
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
