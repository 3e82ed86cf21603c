//! Itineraries: the steps of one aircraft, in order of time.
//!
//! Commands about one aircraft must be sent in order; commands about different aircraft need not
//! be. The input is therefore divided by tail number. A flight without a tail number is an
//! itinerary of its own.

use std::cmp::Reverse;
use std::collections::HashMap;

use retold::prelude::Timestamp;

use crate::minutes::minutes_after;
use crate::record::{FlightRecord, Outcome};

/// Minutes before the planned departure at which a flight is announced with its aircraft: half a
/// day. Timetables are published earlier, but the aircraft is assigned overnight.
pub const ANNOUNCED_AHEAD_MINUTES: i64 = 12 * 60;

/// Indexes of the flights of one aircraft.
pub type Itinerary = Vec<u32>;

/// Divides flights by aircraft. The longest itineraries come first, so that no long one is left at
/// the end.
///
/// # Panics
///
/// If there are more flights than fit into a `u32`.
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
    // A stable sort preserves the order of the input among equals.
    itineraries.sort_by_key(|itinerary| Reverse(itinerary.len()));
    itineraries
}

/// A step of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a new step should fail to compile where steps are replayed"
)]
pub enum Step {
    /// It was announced.
    Schedule,
    /// It was canceled.
    Cancel,
    /// It departed.
    Depart(Timestamp),
    /// It landed elsewhere.
    Divert(Option<Timestamp>),
    /// It landed.
    Arrive(Timestamp),
}

impl Step {
    /// Returns the name of the step in command ids.
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

/// Returns the steps of an itinerary in order of time, each with its flight.
///
/// The input does not contain the times of announcements and cancellations. A flight is announced
/// [`ANNOUNCED_AHEAD_MINUTES`] before its planned departure (or before its departure, if that was
/// earlier), so that a late aircraft can know its next leg. It is canceled at its planned
/// departure. The landing time of a diverted flight is unknown too, unless it reached its
/// destination; otherwise the diversion follows immediately after the departure, so that a guess
/// never causes a refusal.
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
                // A landing before the departure still follows the departure: the flight refuses
                // it.
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
    // A stable sort preserves the order of a flight's steps within the same minute.
    steps.sort_by_key(|(at, turn, ..)| (*at, *turn));
    steps
        .into_iter()
        .map(|(.., flight, step)| (flight, step))
        .collect()
}

/// Order within the same minute: an aircraft that lands may then depart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Landing,
    Leaving,
}
