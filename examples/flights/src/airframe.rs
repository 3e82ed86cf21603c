//! The airframe: an aircraft from the perspective of mechanics and planners.
//!
//! It is an aggregate of the application `aircraft`, one per tail number, and receives the events
//! of the flights log that concern the aircraft, in the order of that log. Like
//! [`flight`](crate::flight), it is pure. It refuses nothing, because the events it receives have
//! already happened. Events that make no sense to it have no effect.

use retold::prelude::*;

use crate::minutes::{minutes_after, minutes_from};

/// Flight time in minutes between inspections: 100 hours, as required by 14 CFR 91.409 (b) for
/// aircraft that carry passengers for hire and have no inspection program of their own.
pub const INSPECTION_MINUTES: i64 = 100 * 60;

/// Arrival delay, in minutes, from which the next leg of the aircraft is at risk. This is twice the
/// delay that counts as late for passengers: a timetable absorbs smaller delays.
pub const LATE_LANDING_MINUTES: i64 = 30;

/// Minutes on the ground between two legs, for unloading, refueling, cleaning and boarding.
/// Airlines plan half an hour to an hour for narrow-body aircraft, which are the majority.
pub const TURNAROUND_MINUTES: i64 = 45;

/// Maximum number of planned legs that an airframe remembers. When there are more, the earliest is
/// dropped. No aircraft of January has more than five within the time in which flights are
/// announced.
pub const UPCOMING_LEGS_MAX: usize = 16;

/// A leg was planned for the aircraft.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.LegPlanned", tag = "aircraft:{aircraft}")]
pub struct LegPlanned {
    /// Tail number.
    pub aircraft: String,
    /// Id of the flight.
    pub flight: String,
    /// Code of the airport it departs from.
    pub origin: String,
    /// Planned departure.
    pub departs_at: Timestamp,
}

/// A planned leg was dropped.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.LegDropped", tag = "aircraft:{aircraft}")]
pub struct LegDropped {
    /// Tail number.
    pub aircraft: String,
    /// Id of the flight.
    pub flight: String,
}

/// The aircraft took off.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.TookOff", tag = "aircraft:{aircraft}")]
pub struct TookOff {
    /// Tail number.
    pub aircraft: String,
    /// Id of the flight.
    pub flight: String,
    /// Time of departure.
    pub at: Timestamp,
    /// Planned departure.
    pub planned_at: Timestamp,
}

/// The aircraft landed at its destination.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.Landed", tag = "aircraft:{aircraft}")]
pub struct Landed {
    /// Tail number.
    pub aircraft: String,
    /// Id of the flight.
    pub flight: String,
    /// Code of the destination airport.
    pub airport: String,
    /// Time of arrival.
    pub at: Timestamp,
    /// Minutes since departure.
    pub air_minutes: i64,
    /// Minutes behind plan; negative if it was early.
    pub delay_minutes: i64,
}

/// The aircraft landed elsewhere. The time is unknown, so this leg does not count towards the
/// flight time.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.LandedElsewhere", tag = "aircraft:{aircraft}")]
pub struct LandedElsewhere {
    /// Tail number.
    pub aircraft: String,
    /// Id of the flight.
    pub flight: String,
}

/// An inspection became due because of the flight time.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.InspectionDue", tag = "aircraft:{aircraft}")]
pub struct InspectionDue {
    /// Tail number.
    pub aircraft: String,
    /// Number of the inspection, from 1: one per [`INSPECTION_MINUTES`].
    pub number: i64,
    /// Total flight time in minutes.
    pub minutes_flown: i64,
}

/// The aircraft is so late that its next leg is unlikely to depart as planned.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Airframe.LegAtRisk")]
#[event(tag = "aircraft:{aircraft}", tag = "flight:{flight}")]
pub struct LegAtRisk {
    /// Tail number.
    pub aircraft: String,
    /// Id of the flight at risk.
    pub flight: String,
    /// Planned departure.
    pub departs_at: Timestamp,
    /// Earliest time at which the aircraft can be ready for it.
    pub ready_at: Timestamp,
}

/// The events of an airframe.
#[derive(Event, Clone, Debug, PartialEq, Eq)]
#[event(join)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a new event should fail to compile where airframes are read"
)]
pub enum AirframeEvent {
    /// A leg was planned.
    LegPlanned(LegPlanned),
    /// A planned leg was dropped.
    LegDropped(LegDropped),
    /// The aircraft took off.
    TookOff(TookOff),
    /// It landed at its destination.
    Landed(Landed),
    /// It landed elsewhere.
    LandedElsewhere(LandedElsewhere),
    /// An inspection became due.
    InspectionDue(InspectionDue),
    /// Its next leg is at risk.
    LegAtRisk(LegAtRisk),
}

/// An aircraft, identified by its tail number.
#[derive(Aggregate, Clone, Debug, Default, PartialEq, Eq)]
#[aggregate(event = AirframeEvent, key = String)]
pub struct Airframe {
    /// Sorted by planned departure.
    upcoming: Vec<Leg>,
    place: Place,
    legs_flown: u64,
    minutes_flown: i64,
    inspections_due: i64,
}

/// A planned leg.
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
    Reported,
}

/// The location of an airframe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// Unknown: it has not flown yet, or it landed elsewhere.
    #[default]
    Unknown,
    /// In the air.
    InAir {
        /// Id of the flight.
        flight: String,
        /// Time of departure.
        since: Timestamp,
    },
    /// On the ground where it landed.
    OnGround {
        /// Code of the airport.
        airport: String,
        /// Time of arrival.
        since: Timestamp,
        /// Duration of the leg that ended here, in minutes.
        air_minutes: i64,
        /// Delay of that leg, in minutes; negative if it was early.
        delay_minutes: i64,
    },
}

impl Place {
    /// Returns the earliest time at which an aircraft that is late and on the ground can be ready
    /// to depart from `origin`; `None` if it is not late.
    ///
    /// An aircraft at another airport has to fly there first. The log contains departures from New
    /// York only, so that leg is not in it. It is assumed to take as long as the leg to the
    /// airport, plus another turnaround.
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
    /// Returns the location.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Returns the ids of the planned flights, the next one first.
    pub fn upcoming(&self) -> impl Iterator<Item = &str> {
        self.upcoming.iter().map(|leg| &*leg.flight)
    }

    /// Returns the number of legs flown.
    pub fn legs_flown(&self) -> u64 {
        self.legs_flown
    }

    /// Returns the total flight time in minutes, as far as it is known.
    pub fn minutes_flown(&self) -> i64 {
        self.minutes_flown
    }

    /// Returns the number of inspections that have become due.
    pub fn inspections_due(&self) -> i64 {
        self.inspections_due
    }

    /// Decides on a newly planned leg. If it is the next one, it may be at risk immediately.
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

    /// Decides on a canceled leg. The leg after it may be at risk instead. Decides on no events if
    /// the leg is not planned for this aircraft.
    pub fn drop_leg(&self, dropped: LegDropped) -> Option<(LegDropped, Option<LegAtRisk>)> {
        let is_dropped = |leg: &&Leg| leg.flight == dropped.flight;
        self.upcoming.iter().find(is_dropped)?;
        let next = self.upcoming.iter().find(|leg| !is_dropped(leg));
        let at_risk = next.and_then(|next| at_risk(&dropped.aircraft, &self.place, next));
        Some((dropped, at_risk))
    }

    /// Decides on a landing at the destination. An inspection may become due, and the next leg may
    /// be at risk. Decides on no events if the aircraft is not flying this flight.
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

    /// Decides on a landing elsewhere. Decides on no events if the aircraft is not flying this
    /// flight.
    pub fn land_elsewhere(&self, landed: LandedElsewhere) -> Option<LandedElsewhere> {
        self.flying_since(&landed.flight).map(|_| landed)
    }

    fn flying_since(&self, flying: &str) -> Option<Timestamp> {
        match &self.place {
            Place::InAir { flight, since } if flight == flying => Some(*since),
            _ => None,
        }
    }

    /// Inserts a planned leg in the order of departures.
    fn insert(&mut self, leg: Leg) {
        let later = |it: &Leg| it.departs_at <= leg.departs_at;
        let index = self.upcoming.partition_point(later);
        self.upcoming.insert(index, leg);
        if self.upcoming.len() > UPCOMING_LEGS_MAX {
            self.upcoming.remove(0);
        }
    }
}

/// A flight that landed at its destination.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "policies construct it")]
pub struct Arrival<'a> {
    /// Tail number.
    pub aircraft: &'a str,
    /// Code of the airport.
    pub airport: &'a str,
    /// Time of arrival.
    pub at: Timestamp,
    /// Minutes behind plan; negative if it was early.
    pub delay_minutes: i64,
}

/// The pure rule: a leg is at risk if its departure is planned before the late aircraft can be
/// ready. Reported once per leg.
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
                // Legs are flown in the planned order. A leg that was passed over is flown by
                // another aircraft or not at all.
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
                    leg.risk = Risk::Reported;
                }
            }
        }
    }
}
