//! The airframe: an aircraft as its mechanics and planners see it, with its events and its rules.
//!
//! It is an aggregate of the application `aircraft`, one for each tail number, and is told what the
//! log of flights says of that aircraft, in that order. Like [`flight`](crate::flight) it is pure.
//! It refuses nothing, for what it is told has happened; what makes no sense to it causes nothing.

use retold::prelude::*;

use crate::minutes::{minutes_after, minutes_from};

/// Minutes in the air after which an inspection falls due: 100 hours, as 14 CFR 91.409 (b) has it for
/// aircraft that carry passengers for hire and have no programme of their own.
pub const INSPECTION_MINUTES: i64 = 100 * 60;

/// An aircraft that lands this many minutes behind its plan, or more, endangers what it is to fly
/// next. Twice what counts as late for passengers: timetables have room for the rest.
pub const LATE_LANDING_MINUTES: i64 = 30;

/// Minutes that an aircraft stands between two legs, to unload, refuel, clean and board: airlines plan
/// half an hour to an hour for the narrow ones, which most are.
pub const TURNAROUND_MINUTES: i64 = 45;

/// Most legs that an airframe looks ahead to; of more, the earliest is forgotten. No aircraft of
/// January has more than five in the time in which flights are announced.
pub const UPCOMING_LEGS_MAX: usize = 16;

/// It is to fly a leg.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.LegPlanned", tag = "aircraft:{aircraft}")]
pub struct LegPlanned {
    /// Tail number.
    pub aircraft: String,
    /// Id of the flight.
    pub flight: String,
    /// Code of the airport it departs from.
    pub origin: String,
    /// When it is to depart.
    pub departs_at: Timestamp,
}

/// It is not to fly a leg after all.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.LegDropped", tag = "aircraft:{aircraft}")]
pub struct LegDropped {
    /// Tail number.
    pub aircraft: String,
    /// Id of the flight.
    pub flight: String,
}

/// It left the ground.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.TookOff", tag = "aircraft:{aircraft}")]
pub struct TookOff {
    /// Tail number.
    pub aircraft: String,
    /// Id of the flight.
    pub flight: String,
    /// When.
    pub at: Timestamp,
    /// When it was to depart.
    pub planned_at: Timestamp,
}

/// It landed where it was bound for.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.Landed", tag = "aircraft:{aircraft}")]
pub struct Landed {
    /// Tail number.
    pub aircraft: String,
    /// Id of the flight.
    pub flight: String,
    /// Code of the airport.
    pub airport: String,
    /// When.
    pub at: Timestamp,
    /// Minutes since it left.
    pub air_minutes: i64,
    /// Minutes behind the plan; negative if it was early.
    pub delay_minutes: i64,
}

/// It landed elsewhere; when is not known, so this leg adds nothing to the time it has flown.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.LandedElsewhere", tag = "aircraft:{aircraft}")]
pub struct LandedElsewhere {
    /// Tail number.
    pub aircraft: String,
    /// Id of the flight.
    pub flight: String,
}

/// It has flown so long that it must be inspected.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.InspectionDue", tag = "aircraft:{aircraft}")]
pub struct InspectionDue {
    /// Tail number.
    pub aircraft: String,
    /// Which inspection it is, from 1: one for each [`INSPECTION_MINUTES`].
    pub number: i64,
    /// Minutes in the air, ever.
    pub minutes_flown: i64,
}

/// It is so late that its next leg cannot well depart as planned.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.LegAtRisk")]
#[event(tag = "aircraft:{aircraft}", tag = "flight:{flight}")]
pub struct LegAtRisk {
    /// Tail number.
    pub aircraft: String,
    /// Id of the flight that is at risk.
    pub flight: String,
    /// When it is to depart.
    pub departs_at: Timestamp,
    /// When the aircraft can be ready for it at the earliest.
    pub ready_at: Timestamp,
}

/// What can happen to an airframe.
#[derive(Event, Clone, Debug, PartialEq, Eq)]
#[event(join)]
#[allow(
    clippy::exhaustive_enums,
    reason = "whoever reads airframes wants to know of a new event"
)]
pub enum AirframeEvent {
    /// It is to fly a leg.
    LegPlanned(LegPlanned),
    /// It is not to fly a leg after all.
    LegDropped(LegDropped),
    /// It left the ground.
    TookOff(TookOff),
    /// It landed where it was bound for.
    Landed(Landed),
    /// It landed elsewhere.
    LandedElsewhere(LandedElsewhere),
    /// It must be inspected.
    InspectionDue(InspectionDue),
    /// Its next leg cannot well depart as planned.
    LegAtRisk(LegAtRisk),
}

/// An aircraft, by its tail number.
#[derive(Aggregate, Clone, Debug, Default, PartialEq, Eq)]
#[aggregate(event = AirframeEvent, key = String)]
pub struct Airframe {
    /// By planned departure.
    upcoming: Vec<Leg>,
    place: Place,
    legs_flown: u64,
    minutes_flown: i64,
    inspections_due: i64,
}

/// A leg that is to be flown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leg {
    flight: String,
    origin: String,
    departs_at: Timestamp,
    risk: Risk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Risk {
    None,
    Told,
}

/// Where an airframe is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// Nobody knows: it has not flown yet, or landed elsewhere.
    #[default]
    Unknown,
    /// It is in the air.
    InAir {
        /// Id of the flight.
        flight: String,
        /// When it left.
        since: Timestamp,
    },
    /// It stands where it landed.
    OnGround {
        /// Code of the airport.
        airport: String,
        /// When it landed.
        since: Timestamp,
        /// Minutes that the leg took which brought it there.
        air_minutes: i64,
        /// Minutes behind its plan that it was; negative if it was early.
        delay_minutes: i64,
    },
}

impl Place {
    /// When an aircraft that stands here and is late can be ready to depart from `origin` at the
    /// earliest; none if it is not late.
    ///
    /// One that stands at another airport has to come there first: legs between are not in a log that
    /// knows departures from New York only. The way back is taken to last as long as the way out, and
    /// another turnaround.
    fn late_ready_at(&self, origin: &str) -> Option<Timestamp> {
        let Self::OnGround {
            airport,
            since,
            air_minutes,
            delay_minutes,
        } = self
        else {
            return None;
        };
        if *delay_minutes < LATE_LANDING_MINUTES {
            return None;
        }
        let way_minutes = match airport == origin {
            true => 0,
            false => air_minutes.saturating_add(TURNAROUND_MINUTES),
        };
        let minutes = TURNAROUND_MINUTES.saturating_add(way_minutes);
        Some(minutes_after(*since, minutes))
    }
}

impl Airframe {
    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Ids of the flights that it is to fly, the next one first.
    pub fn upcoming(&self) -> impl Iterator<Item = &str> {
        self.upcoming.iter().map(|leg| &*leg.flight)
    }

    /// How many legs it has flown.
    pub fn legs_flown(&self) -> u64 {
        self.legs_flown
    }

    /// Minutes that it was in the air, as far as they are known.
    pub fn minutes_flown(&self) -> i64 {
        self.minutes_flown
    }

    /// How many inspections have fallen due.
    pub fn inspections_due(&self) -> i64 {
        self.inspections_due
    }

    /// Takes in that it is to fly a leg; one that comes next may be at risk from the start.
    pub fn plan(&self, planned: LegPlanned) -> (LegPlanned, Option<LegAtRisk>) {
        let leg = Leg::of(&planned);
        let is_next = self
            .upcoming
            .first()
            .is_none_or(|next| leg.departs_at < next.departs_at);
        let at_risk = match is_next {
            true => at_risk(&planned.aircraft, &self.place, &leg),
            false => None,
        };
        (planned, at_risk)
    }

    /// Takes in that a leg was cancelled; what comes after it may be at risk in its place. Nothing, if
    /// the leg is not one of its own.
    pub fn drop_leg(&self, dropped: LegDropped) -> Option<(LegDropped, Option<LegAtRisk>)> {
        let is_dropped = |leg: &&Leg| leg.flight == dropped.flight;
        self.upcoming.iter().find(is_dropped)?;
        let next = self.upcoming.iter().find(|leg| !is_dropped(leg));
        let at_risk = next.and_then(|next| at_risk(&dropped.aircraft, &self.place, next));
        Some((dropped, at_risk))
    }

    /// Takes in that it landed where the flight was bound for; an inspection may be due, and the next
    /// leg at risk. Nothing, if it is not flying this flight.
    pub fn land(
        &self,
        flight: &str,
        arrival: Arrival<'_>,
    ) -> Option<(Landed, Option<InspectionDue>, Option<LegAtRisk>)> {
        let since = self.flying_since(flight)?;
        let landed = Landed {
            aircraft: arrival.aircraft.into(),
            flight: flight.into(),
            airport: arrival.airport.into(),
            at: arrival.at,
            air_minutes: minutes_from(since, arrival.at),
            delay_minutes: arrival.delay_minutes,
        };
        let minutes_flown = self.minutes_flown.saturating_add(landed.air_minutes);
        let number = minutes_flown / INSPECTION_MINUTES;
        let inspection = (number > self.inspections_due).then(|| InspectionDue {
            aircraft: arrival.aircraft.into(),
            number,
            minutes_flown,
        });
        let place = Place::after(&landed);
        let next = self.upcoming.first();
        let at_risk = next.and_then(|next| at_risk(arrival.aircraft, &place, next));
        Some((landed, inspection, at_risk))
    }

    /// Takes in that it landed elsewhere. Nothing, if it is not flying this flight.
    pub fn land_elsewhere(&self, landed: LandedElsewhere) -> Option<LandedElsewhere> {
        self.flying_since(&landed.flight).map(|_| landed)
    }

    fn flying_since(&self, flying: &str) -> Option<Timestamp> {
        match &self.place {
            Place::InAir { flight, since } if flight == flying => Some(*since),
            _ => None,
        }
    }

    /// A leg that is planned takes its place in the order of departures.
    fn insert(&mut self, leg: Leg) {
        let later = |it: &Leg| it.departs_at <= leg.departs_at;
        let index = self.upcoming.partition_point(later);
        self.upcoming.insert(index, leg);
        if self.upcoming.len() > UPCOMING_LEGS_MAX {
            self.upcoming.remove(0);
        }
    }
}

/// How a flight ended that landed where it was bound for.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a policy fills in what it knows")]
pub struct Arrival<'a> {
    /// Tail number.
    pub aircraft: &'a str,
    /// Code of the airport.
    pub airport: &'a str,
    /// When it landed.
    pub at: Timestamp,
    /// Minutes behind the plan; negative if it was early.
    pub delay_minutes: i64,
}

/// The pure rule: a leg is at risk that is to depart before a late aircraft can be ready for it. Told
/// once for each leg.
fn at_risk(aircraft: &str, place: &Place, leg: &Leg) -> Option<LegAtRisk> {
    let ready_at = place.late_ready_at(&leg.origin)?;
    (leg.risk == Risk::None && ready_at > leg.departs_at).then(|| LegAtRisk {
        aircraft: aircraft.into(),
        flight: leg.flight.clone(),
        departs_at: leg.departs_at,
        ready_at,
    })
}

impl Leg {
    fn of(planned: &LegPlanned) -> Self {
        Self {
            flight: planned.flight.clone(),
            origin: planned.origin.clone(),
            departs_at: planned.departs_at,
            risk: Risk::None,
        }
    }
}

impl Place {
    fn after(landed: &Landed) -> Self {
        Self::OnGround {
            airport: landed.airport.clone(),
            since: landed.at,
            air_minutes: landed.air_minutes,
            delay_minutes: landed.delay_minutes,
        }
    }
}

impl Apply<AirframeEvent> for Airframe {
    fn apply(&mut self, event: &AirframeEvent) {
        match event {
            AirframeEvent::LegPlanned(planned) => self.insert(Leg::of(planned)),
            AirframeEvent::LegDropped(dropped) => {
                self.upcoming.retain(|leg| leg.flight != dropped.flight);
            }
            AirframeEvent::TookOff(took_off) => {
                self.place = Place::InAir {
                    flight: took_off.flight.clone(),
                    since: took_off.at,
                };
                // Legs are flown in the order of their plan: one that was passed over is flown by
                // another aircraft, if at all.
                self.upcoming.retain(|leg| {
                    leg.flight != took_off.flight && leg.departs_at >= took_off.planned_at
                });
            }
            AirframeEvent::Landed(landed) => {
                self.place = Place::after(landed);
                self.legs_flown += 1;
                self.minutes_flown = self.minutes_flown.saturating_add(landed.air_minutes);
            }
            AirframeEvent::LandedElsewhere(_) => {
                self.place = Place::Unknown;
                self.legs_flown += 1;
            }
            AirframeEvent::InspectionDue(due) => self.inspections_due = due.number,
            AirframeEvent::LegAtRisk(at_risk) => {
                let mut legs = self.upcoming.iter_mut();
                if let Some(leg) = legs.find(|leg| leg.flight == at_risk.flight) {
                    leg.risk = Risk::Told;
                }
            }
        }
    }
}
