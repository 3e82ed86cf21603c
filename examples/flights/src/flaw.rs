//! Flaws of the input: irregularities with their names, counts and remedies.
//!
//! Real data is never clean. No row is dropped or repaired silently: every row becomes commands, or
//! is counted here as unreadable, with its line and the reason.

use std::collections::BTreeMap;
use std::fmt;

/// A property of a row that a reader of the results should know about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Flaw {
    /// The row cannot be understood.
    Unreadable,
    /// Another row has the same carrier, number, day and origin.
    FlightRepeated,
    /// Another row has the same carrier, number and day, but another origin.
    NumberRepeated,
    /// The UTC hour of the scheduled departure does not match its local hour.
    HourDisagrees,
    /// The departure is not the scheduled departure plus the delay.
    DepartureDisagrees,
    /// The arrival is not the scheduled arrival plus the delay.
    ArrivalDisagrees,
    /// The time in the air is not positive, or longer than the time from departure to arrival.
    AirTimeImpossible,
    /// The flight did not land after its departure.
    ArrivalBeforeDeparture,
    /// It departed, and was neither canceled nor arrived as planned.
    DepartedWithoutArrival,
    /// It has no tail number.
    NoTailNumber,
    /// A time of day is written as 2400.
    MidnightAs2400,
    /// It departed on the day after the scheduled one.
    DepartedAfterMidnight,
    /// It landed on the day after its departure, in local calendars.
    ArrivedAfterMidnight,
}

impl Flaw {
    /// Returns a machine-readable name in kebab case.
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

    /// Returns how the input handles it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Unreadable => "omitted; see the lines below",
            Self::FlightRepeated => "sent and refused: it is scheduled already",
            Self::NumberRepeated => "two flights: the origin is part of a flight's id",
            Self::HourDisagrees => "taken from the UTC instant",
            Self::DepartureDisagrees => "computed as scheduled time plus delay",
            Self::ArrivalDisagrees => "computed as scheduled time plus delay",
            Self::AirTimeImpossible => "not used: arrivals have their own times",
            Self::ArrivalBeforeDeparture => "sent and refused by the flight",
            Self::DepartedWithoutArrival => "treated as diverted",
            Self::NoTailNumber => "replayed separately; no aircraft to check",
            Self::MidnightAs2400 => "read as 0000",
            Self::DepartedAfterMidnight => "dated by the delay instead of the time of day",
            Self::ArrivedAfterMidnight => "dated as the first such time after departure",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "unreadable row",
            Self::FlightRepeated => "flight repeated on the same day",
            Self::NumberRepeated => "number repeated on the same day, from another airport",
            Self::HourDisagrees => "local hour and UTC hour disagree",
            Self::DepartureDisagrees => "departure and its delay disagree",
            Self::ArrivalDisagrees => "arrival and its delay disagree",
            Self::AirTimeImpossible => "impossible time in the air",
            Self::ArrivalBeforeDeparture => "arrived before it departed",
            Self::DepartedWithoutArrival => "departed but did not arrive as planned",
            Self::NoTailNumber => "no tail number",
            Self::MidnightAs2400 => "midnight written as 2400",
            Self::DepartedAfterMidnight => "departed on the day after the scheduled one",
            Self::ArrivedAfterMidnight => "arrived on the day after its departure",
        })
    }
}

/// A row that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct UnreadableRow {
    /// Line of the file, from 1, which is the header.
    pub line: u64,
    /// The problem.
    pub problem: String,
}

/// Maximum number of unreadable rows that are kept with their reasons. Further ones are only
/// counted.
pub const UNREADABLE_KEPT_MAX: usize = 10;

/// Counts of flaws.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    counts: BTreeMap<Flaw, u64>,
    unreadable: Vec<UnreadableRow>,
}

impl Flaws {
    /// Adds one to the count of a flaw.
    pub fn count(&mut self, flaw: Flaw) {
        *self.counts.entry(flaw).or_default() += 1;
    }

    /// Counts an unreadable row and keeps it if it is one of the first [`UNREADABLE_KEPT_MAX`].
    pub fn count_unreadable(&mut self, row: UnreadableRow) {
        self.count(Flaw::Unreadable);
        if self.unreadable.len() < UNREADABLE_KEPT_MAX {
            self.unreadable.push(row);
        }
    }

    /// Returns the count of a flaw.
    pub fn of(&self, flaw: Flaw) -> u64 {
        self.counts.get(&flaw).copied().unwrap_or_default()
    }

    /// Returns all counted flaws, the most serious ones first.
    pub fn iter(&self) -> impl Iterator<Item = (Flaw, u64)> {
        self.counts.iter().map(|(flaw, count)| (*flaw, *count))
    }

    /// Returns the first rows that cannot be understood, with the reasons.
    pub fn unreadable(&self) -> &[UnreadableRow] {
        &self.unreadable
    }
}
