//! A row of the input as a record: a flight with its plan and its outcome.
//!
//! The derivation of instants was chosen by examining all 336,776 rows of 2013, and every row is
//! checked against its other columns:
//!
//! - The scheduled departure is `time_hour`, which is UTC, plus `minute`. It does not use local
//!   times, so neither midnight nor daylight saving time can shift it.
//! - The departure is the scheduled departure plus `dep_delay`. A flight scheduled for 23:50 that
//!   left at 0:20 thus left on the next day. The result always agrees with `dep_time`.
//! - The scheduled arrival is the first instant after the scheduled departure at which clocks at
//!   the destination show `sched_arr_time`. No flight in the data lasts a day.
//! - The arrival is the scheduled arrival plus `arr_delay`, and leaves more time than `air_time`.
//!   It agrees with `arr_time` in all rows but one, whose `arr_time` is in the hour of March that
//!   daylight saving time skipped.
//! - A flight that departed and has no `arr_delay` was diverted, even if it has an `arr_time`: it
//!   landed elsewhere at a time that is not in the data, and `arr_time` is when it finally reached
//!   its destination.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use retold::prelude::Timestamp;
use serde::Deserialize;

use crate::airports::{Airports, day_in, next_time_of_day, time_of_day_in};
use crate::flaw::Flaw;
use crate::minutes::{minutes_after, minutes_from};

/// A flight of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightRecord {
    /// Code of the airline, such as `UA`.
    pub carrier: Arc<str>,
    /// Number of the flight.
    pub number: u32,
    /// Day of the scheduled departure, in the calendar of the origin.
    pub day: Date,
    /// Code of the departure airport.
    pub origin: Arc<str>,
    /// Code of the destination airport.
    pub destination: Arc<str>,
    /// Tail number of the aircraft; `None` if the input has none.
    pub aircraft: Option<Arc<str>>,
    /// Scheduled departure.
    pub departs_at: Timestamp,
    /// Scheduled arrival.
    pub arrives_at: Timestamp,
    /// Outcome of the flight.
    pub outcome: Outcome,
}

/// The outcome of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a new outcome should fail to compile where flights are replayed"
)]
pub enum Outcome {
    /// It did not depart.
    Cancelled,
    /// It departed and landed at its destination.
    Arrived {
        /// Time of departure.
        departed_at: Timestamp,
        /// Time of arrival.
        arrived_at: Timestamp,
    },
    /// It departed and landed elsewhere.
    Diverted {
        /// Time of departure.
        departed_at: Timestamp,
        /// Time at which it finally reached its destination; `None` if it did not.
        reached_at: Option<Timestamp>,
    },
}

/// A row with its columns.
#[derive(Debug, Deserialize)]
pub(crate) struct Row<'r> {
    year: i16,
    month: i8,
    day: i8,
    dep_time: &'r str,
    sched_dep_time: &'r str,
    dep_delay: &'r str,
    arr_time: &'r str,
    sched_arr_time: &'r str,
    arr_delay: &'r str,
    carrier: &'r str,
    flight: u32,
    tailnum: &'r str,
    origin: &'r str,
    dest: &'r str,
    air_time: &'r str,
    minute: i64,
    time_hour: &'r str,
}

/// The columns required by [`Row`].
pub(crate) const COLUMNS: [&str; 17] = [
    "year",
    "month",
    "day",
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "arr_time",
    "sched_arr_time",
    "arr_delay",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "air_time",
    "minute",
    "time_hour",
];

/// Converts rows to records.
#[derive(Debug)]
pub(crate) struct RowReader<'a> {
    airports: &'a Airports,
    /// Codes occur thousands of times and are stored once.
    codes: HashSet<Arc<str>>,
}

impl<'a> RowReader<'a> {
    pub(crate) fn new(airports: &'a Airports) -> Self {
        Self {
            airports,
            codes: HashSet::new(),
        }
    }

    /// Converts a row to a record and adds its flaws to `flaws`.
    ///
    /// # Errors
    ///
    /// A description of the value that cannot be understood.
    pub(crate) fn record(
        &mut self,
        row: &Row<'_>,
        flaws: &mut Vec<Flaw>,
    ) -> Result<FlightRecord, String> {
        let origin_zone = self.zone(row.origin)?;
        let destination_zone = self.zone(row.dest)?;
        let day = Date::new(row.year, row.month, row.day)
            .map_err(|_| format!("{}-{}-{} is not a date", row.year, row.month, row.day))?;

        let departs_at = scheduled_departure(row, day, origin_zone, flaws)?;
        let arrives = time_of_day(
            "sched_arr_time",
            required("sched_arr_time", row.sched_arr_time)?,
            flaws,
        )?;
        let arrives_at = next_time_of_day(departs_at, arrives, destination_zone)
            .ok_or("the scheduled arrival is outside the calendar")?;
        let zones = (origin_zone, destination_zone);
        let outcome = outcome(row, (departs_at, arrives_at), zones, flaws)?;

        let aircraft = present(row.tailnum);
        if aircraft.is_none() {
            flaws.push(Flaw::NoTailNumber);
        }
        Ok(FlightRecord {
            carrier: self.code(required("carrier", row.carrier)?),
            number: row.flight,
            day,
            origin: self.code(row.origin),
            destination: self.code(row.dest),
            aircraft: aircraft.map(|tail| self.code(tail)),
            departs_at,
            arrives_at,
            outcome,
        })
    }

    fn zone(&self, airport: &str) -> Result<&'a TimeZone, String> {
        self.airports
            .zone(airport)
            .ok_or_else(|| format!("the time zone of airport {airport:?} is unknown"))
    }

    fn code(&mut self, code: &str) -> Arc<str> {
        match self.codes.get(code) {
            Some(code) => code.clone(),
            None => {
                let code = Arc::<str>::from(code);
                self.codes.insert(code.clone());
                code
            }
        }
    }
}

fn scheduled_departure(
    row: &Row<'_>,
    day: Date,
    zone: &TimeZone,
    flaws: &mut Vec<Flaw>,
) -> Result<Timestamp, String> {
    let hour: Timestamp = row
        .time_hour
        .parse()
        .map_err(|error| format!("time_hour: {error}"))?;
    if !(0..60).contains(&row.minute) {
        return Err(format!("minute {} is not from 0 to 59", row.minute));
    }
    let departs_at = minutes_after(hour, row.minute);
    let sched_dep_time = required("sched_dep_time", row.sched_dep_time)?;
    let local = time_of_day("sched_dep_time", sched_dep_time, flaws)?;
    let agrees =
        day_in(departs_at, zone) == Some(day) && time_of_day_in(departs_at, zone) == Some(local);
    if !agrees {
        flaws.push(Flaw::HourDisagrees);
    }
    Ok(departs_at)
}

/// Returns the outcome of the flight with the `scheduled` departure and arrival.
fn outcome(
    row: &Row<'_>,
    scheduled: (Timestamp, Timestamp),
    zones: (&TimeZone, &TimeZone),
    flaws: &mut Vec<Flaw>,
) -> Result<Outcome, String> {
    let dep_time = present(row.dep_time);
    let arr_time = present(row.arr_time);
    let Some(dep_time) = dep_time else {
        if arr_time.is_some() || present(row.arr_delay).is_some() {
            return Err("it arrived, but has no departure".into());
        }
        return Ok(Outcome::Cancelled);
    };

    let dep_time = time_of_day("dep_time", dep_time, flaws)?;
    let dep_delay = minutes("dep_delay", required("dep_delay", row.dep_delay)?)?;
    let departed_at = minutes_after(scheduled.0, dep_delay);
    if time_of_day_in(departed_at, zones.0) != Some(dep_time) {
        flaws.push(Flaw::DepartureDisagrees);
    } else if day_in(departed_at, zones.0) > day_in(scheduled.0, zones.0) {
        flaws.push(Flaw::DepartedAfterMidnight);
    }

    let arr_time = arr_time
        .map(|it| time_of_day("arr_time", it, flaws))
        .transpose()?;
    let Some(arr_delay) = present(row.arr_delay) else {
        flaws.push(Flaw::DepartedWithoutArrival);
        let reached_at = arr_time.and_then(|it| next_time_of_day(departed_at, it, zones.1));
        return Ok(Outcome::Diverted {
            departed_at,
            reached_at,
        });
    };
    let arr_time = arr_time.ok_or("it has a delay on arrival, but no arrival")?;
    let arrived_at = minutes_after(scheduled.1, minutes("arr_delay", arr_delay)?);
    if time_of_day_in(arrived_at, zones.1) != Some(arr_time) {
        flaws.push(Flaw::ArrivalDisagrees);
    } else if day_in(arrived_at, zones.1) > day_in(departed_at, zones.0) {
        flaws.push(Flaw::ArrivedAfterMidnight);
    }
    if let Some(air_time) = present(row.air_time) {
        let air_time = minutes("air_time", air_time)?;
        if air_time <= 0 || air_time > minutes_from(departed_at, arrived_at) {
            flaws.push(Flaw::AirTimeImpossible);
        }
    }
    if arrived_at <= departed_at {
        flaws.push(Flaw::ArrivalBeforeDeparture);
    }
    Ok(Outcome::Arrived {
        departed_at,
        arrived_at,
    })
}

/// Returns the text, or `None` if it denotes a missing value.
fn present(text: &str) -> Option<&str> {
    (!matches!(text, "" | "NA")).then_some(text)
}

fn required<'r>(column: &str, text: &'r str) -> Result<&'r str, String> {
    present(text).ok_or_else(|| format!("{column} is missing"))
}

fn minutes(column: &str, text: &str) -> Result<i64, String> {
    text.parse()
        .map_err(|_| format!("{column} {text:?} is not a number of minutes"))
}

/// Parses a time of day such as `517` for 5:17; `2400` is midnight.
fn time_of_day(column: &str, text: &str, flaws: &mut Vec<Flaw>) -> Result<Time, String> {
    if text == "2400" {
        flaws.push(Flaw::MidnightAs2400);
        return Ok(Time::midnight());
    }
    let number = text.parse::<u16>().ok().filter(|number| *number < 2400);
    let time = number.and_then(|number| {
        let hour = i8::try_from(number / 100).ok()?;
        let minute = i8::try_from(number % 100).ok()?;
        Time::new(hour, minute, 0, 0).ok()
    });
    time.ok_or_else(|| format!("{column} {text:?} is not a time of day such as 517 or 2359"))
}
