//! Itineraries: what happened to one aircraft, in order of time.
//!
//! Commands about one aircraft must come in order, those about different ones need not. So the input
//! is divided by tail number; a flight that has none is an itinerary by itself.

use std::cmp::Reverse;
use std::collections::HashMap;

use retold::prelude::Timestamp;

use crate::minutes::minutes_after;
use crate::record::{FlightRecord, Outcome};

/// Minutes before its planned departure at which a flight is announced with its aircraft: half a day.
/// Timetables are older than that, but which aircraft flies is settled overnight.
pub const ANNOUNCED_AHEAD_MINUTES: i64 = 12 * 60;

/// Indexes of the flights of one aircraft.
pub type Itinerary = Vec<u32>;

/// Divides flights by aircraft; the longest itineraries first, so that none is left over at the end.
///
/// # Panics
///
/// If there are more flights than a `u32` counts.
pub fn itineraries(flights: &[FlightRecord]) -> Vec<Itinerary> {
    let mut by_aircraft: HashMap<&str, usize> = HashMap::new();
    let mut itineraries: Vec<Itinerary> = Vec::new();
    for (index, flight) in (0_u32..).zip(flights) {
        let next = itineraries.len();
        let place = match &flight.aircraft {
            Some(aircraft) => *by_aircraft.entry(aircraft).or_insert(next),
            None => next,
        };
        match itineraries.get_mut(place) {
            Some(itinerary) => itinerary.push(index),
            None => itineraries.push(vec![index]),
        }
    }
    // Stable, so that the order is that of the input where nothing else decides.
    itineraries.sort_by_key(|itinerary| Reverse(itinerary.len()));
    itineraries
}

/// One thing that happened to a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "whoever replays steps replays all of them"
)]
pub enum Step {
    /// It was announced.
    Schedule,
    /// It was called off.
    Cancel,
    /// It left.
    Depart(Timestamp),
    /// It landed elsewhere.
    Divert(Option<Timestamp>),
    /// It landed.
    Arrive(Timestamp),
}

impl Step {
    /// What it is called in the ids of commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Cancel => "cancel",
            Self::Depart(_) => "depart",
            Self::Divert(_) => "divert",
            Self::Arrive(_) => "arrive",
        }
    }
}

/// The steps of an itinerary in order of time, each with the flight it belongs to.
///
/// When a flight was announced and when it was cancelled is not in the input. It is announced
/// [`ANNOUNCED_AHEAD_MINUTES`] before it was to depart (or departed, if that was earlier), so that
/// whoever is late can know what comes next, and cancelled when it was to depart. When a diverted flight landed is not in it either,
/// unless it reached its destination; else it comes right after the departure, so that nobody is
/// refused by a guess.
pub fn steps<'f>(
    itinerary: &Itinerary,
    flights: &'f [FlightRecord],
) -> Vec<(&'f FlightRecord, Step)> {
    let mut steps = Vec::new();
    for index in itinerary {
        let Some(flight) = flights.get(*index as usize) else {
            continue;
        };
        let mut push = |at: Timestamp, turn: Turn, step: Step| steps.push((at, turn, flight, step));
        let leaves_at = match flight.outcome {
            Outcome::Cancelled => flight.departs_at,
            Outcome::Arrived { departed_at, .. } | Outcome::Diverted { departed_at, .. } => {
                flight.departs_at.min(departed_at)
            }
        };
        let announced_at = minutes_after(leaves_at, -ANNOUNCED_AHEAD_MINUTES);
        push(announced_at, Turn::Leaving, Step::Schedule);
        match flight.outcome {
            Outcome::Cancelled => push(flight.departs_at, Turn::Leaving, Step::Cancel),
            Outcome::Arrived {
                departed_at,
                arrived_at,
            } => {
                push(departed_at, Turn::Leaving, Step::Depart(departed_at));
                // What landed before it left comes after it all the same: the flight refuses it.
                let (at, turn) = match arrived_at > departed_at {
                    true => (arrived_at, Turn::Landing),
                    false => (departed_at, Turn::Leaving),
                };
                push(at, turn, Step::Arrive(arrived_at));
            }
            Outcome::Diverted {
                departed_at,
                reached_at,
            } => {
                push(departed_at, Turn::Leaving, Step::Depart(departed_at));
                match reached_at {
                    Some(at) => push(at, Turn::Landing, Step::Divert(reached_at)),
                    None => push(departed_at, Turn::Leaving, Step::Divert(None)),
                }
            }
        }
    }
    // Stable: what happened to one flight in the same minute stays in its order.
    steps.sort_by_key(|(at, turn, ..)| (*at, *turn));
    steps
        .into_iter()
        .map(|(.., flight, step)| (flight, step))
        .collect()
}

/// Who is first of those who share a minute: an aircraft that lands may leave again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Landing,
    Leaving,
}
