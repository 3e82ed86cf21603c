//! Flaws of the input: what is odd about it, by name, how often, and what was done about it.
//!
//! Real data is never clean. Nothing of it is dropped or repaired in silence: every row becomes
//! commands, or is counted here as unreadable, with its line and the reason.

use std::collections::BTreeMap;
use std::fmt;

/// Something about a row that a reader of the results should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Flaw {
    /// The row could not be understood.
    Unreadable,
    /// Another row has the same carrier, number, day and origin.
    FlightRepeated,
    /// Another row has the same carrier, number and day, but another origin.
    NumberRepeated,
    /// The hour of the scheduled departure in UTC is not its local hour.
    HourDisagrees,
    /// The time of departure is not the scheduled one and the delay.
    DepartureDisagrees,
    /// The time of arrival is not the scheduled one and the delay.
    ArrivalDisagrees,
    /// The time in the air is not positive, or longer than from departure to arrival.
    AirTimeImpossible,
    /// The flight landed before it departed, or as it did.
    ArrivalBeforeDeparture,
    /// It departed, and neither arrived as planned nor was cancelled.
    DepartedWithoutArrival,
    /// It has no tail number.
    NoTailNumber,
    /// A time of day is given as 2400.
    MidnightAs2400,
    /// It departed on the day after the one it was scheduled for.
    DepartedAfterMidnight,
    /// It landed on the day after its departure, by local calendars.
    ArrivedAfterMidnight,
}

impl Flaw {
    /// A name for programs, in kebab case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::FlightRepeated => "flight-repeated",
            Self::NumberRepeated => "number-repeated",
            Self::HourDisagrees => "hour-disagrees",
            Self::DepartureDisagrees => "departure-disagrees",
            Self::ArrivalDisagrees => "arrival-disagrees",
            Self::AirTimeImpossible => "air-time-impossible",
            Self::ArrivalBeforeDeparture => "arrival-before-departure",
            Self::DepartedWithoutArrival => "departed-without-arrival",
            Self::NoTailNumber => "no-tail-number",
            Self::MidnightAs2400 => "midnight-as-2400",
            Self::DepartedAfterMidnight => "departed-after-midnight",
            Self::ArrivedAfterMidnight => "arrived-after-midnight",
        }
    }

    /// What was done about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Unreadable => "left out; see the lines below",
            Self::FlightRepeated => "sent all the same, and refused: it is scheduled already",
            Self::NumberRepeated => "two flights: the origin is part of a flight's id",
            Self::HourDisagrees => "taken from the instant in UTC",
            Self::DepartureDisagrees => "taken as the scheduled time and the delay",
            Self::ArrivalDisagrees => "taken as the scheduled time and the delay",
            Self::AirTimeImpossible => "not used: arrivals come from their own times",
            Self::ArrivalBeforeDeparture => "sent all the same, and refused by the flight",
            Self::DepartedWithoutArrival => "taken as diverted",
            Self::NoTailNumber => "replayed by itself; no aircraft to ask about",
            Self::MidnightAs2400 => "taken as 0000",
            Self::DepartedAfterMidnight => "dated by the delay, not by the time of day",
            Self::ArrivedAfterMidnight => "dated as the first such time after the departure",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "unreadable row",
            Self::FlightRepeated => "flight repeated on its day",
            Self::NumberRepeated => "number repeated on a day, from another airport",
            Self::HourDisagrees => "local hour and hour in UTC disagree",
            Self::DepartureDisagrees => "departure and its delay disagree",
            Self::ArrivalDisagrees => "arrival and its delay disagree",
            Self::AirTimeImpossible => "impossible time in the air",
            Self::ArrivalBeforeDeparture => "arrived before it departed",
            Self::DepartedWithoutArrival => "departed, did not arrive as planned",
            Self::NoTailNumber => "no tail number",
            Self::MidnightAs2400 => "midnight written 2400",
            Self::DepartedAfterMidnight => "departed on the day after the scheduled one",
            Self::ArrivedAfterMidnight => "arrived on the day after its departure",
        })
    }
}

/// A row that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct UnreadableRow {
    /// Line of the file, from 1, which is the line of column names.
    pub line: u64,
    /// What is wrong with it.
    pub problem: String,
}

/// Most unreadable rows that are kept with their reasons; beyond it they are only counted.
pub const UNREADABLE_KEPT_MAX: usize = 10;

/// Flaws, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    counts: BTreeMap<Flaw, u64>,
    unreadable: Vec<UnreadableRow>,
}

impl Flaws {
    /// Counts a flaw once more.
    pub fn count(&mut self, flaw: Flaw) {
        *self.counts.entry(flaw).or_default() += 1;
    }

    /// Counts an unreadable row; keeps it, if it is one of the first [`UNREADABLE_KEPT_MAX`].
    pub fn count_unreadable(&mut self, row: UnreadableRow) {
        self.count(Flaw::Unreadable);
        if self.unreadable.len() < UNREADABLE_KEPT_MAX {
            self.unreadable.push(row);
        }
    }

    /// How often a flaw was counted.
    pub fn of(&self, flaw: Flaw) -> u64 {
        self.counts.get(&flaw).copied().unwrap_or_default()
    }

    /// All flaws that were counted, the graver ones first.
    pub fn iter(&self) -> impl Iterator<Item = (Flaw, u64)> {
        self.counts.iter().map(|(flaw, count)| (*flaw, *count))
    }

    /// The first rows that could not be understood, and why.
    pub fn unreadable(&self) -> &[UnreadableRow] {
        &self.unreadable
    }
}
