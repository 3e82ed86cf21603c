//! Airports and their time zones, which convert the local times of the input to instants.

use std::collections::HashMap;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use retold::prelude::Timestamp;

use crate::input::InputError;

const AIRPORTS_CSV: &str = include_str!("../data/airports.csv");

/// The POSIX rule of each time zone in `airports.csv`. Daylight saving time in the United States
/// has not changed since 2007, so the program needs no time zone database and gives the same
/// results everywhere.
const ZONE_RULES: [(&str, &str); 8] = [
    ("America/New_York", "EST5EDT,M3.2.0,M11.1.0"),
    ("America/Chicago", "CST6CDT,M3.2.0,M11.1.0"),
    ("America/Denver", "MST7MDT,M3.2.0,M11.1.0"),
    ("America/Phoenix", "MST7"),
    ("America/Los_Angeles", "PST8PDT,M3.2.0,M11.1.0"),
    ("America/Anchorage", "AKST9AKDT,M3.2.0,M11.1.0"),
    ("America/Puerto_Rico", "AST4"),
    ("Pacific/Honolulu", "HST10"),
];

/// The destinations of flights from New York City in 2013, with their time zones.
#[derive(Debug)]
pub struct Airports(HashMap<String, TimeZone>);

impl Airports {
    /// Reads the airports that are built into the program.
    ///
    /// # Errors
    ///
    /// [`InputError`] if the built-in file is damaged.
    pub fn built_in() -> Result<Self, InputError> {
        let zones: HashMap<_, _> = ZONE_RULES
            .iter()
            .map(|(name, rule)| Ok((*name, TimeZone::posix(rule)?)))
            .collect::<Result<_, jiff::Error>>()
            .map_err(|error| InputError::Damaged("the time zone rules".into(), error.into()))?;
        let damaged = |problem: String| InputError::Damaged("airports.csv".into(), problem.into());
        let mut airports = HashMap::new();
        for row in csv::Reader::from_reader(AIRPORTS_CSV.as_bytes()).into_deserialize() {
            let (code, _, zone): (String, String, String) =
                row.map_err(|error| damaged(error.to_string()))?;
            let zone = zones.get(&*zone).ok_or_else(|| {
                damaged(format!(
                    "{code} is in {zone}, a zone without a rule in this program"
                ))
            })?;
            airports.insert(code, zone.clone());
        }
        Ok(Self(airports))
    }

    /// Returns the time zone of the airport with this code, or `None` if the code is unknown.
    pub fn zone(&self, code: &str) -> Option<&TimeZone> {
        self.0.get(code)
    }
}

/// Returns the first instant after `after` at which clocks in `zone` show `time`, or `None` if the
/// calendar ends before that.
///
/// This interprets an arrival's time of day. The input lacks the day, and a flight may land after
/// midnight, but no flight lasts a day.
pub fn next_time_of_day(after: Timestamp, time: Time, zone: &TimeZone) -> Option<Timestamp> {
    let today = day_in(after, zone)?;
    let tomorrow = today.tomorrow().ok()?;
    for day in [today, tomorrow, tomorrow.tomorrow().ok()?] {
        let moment = zone.to_ambiguous_timestamp(day.to_datetime(time));
        // When daylight saving time ends, a time of day occurs twice and can mean either instant.
        for candidate in [moment.earlier().ok()?, moment.later().ok()?] {
            let candidate = Timestamp::from_micros(candidate.as_microsecond());
            if candidate > after {
                return Some(candidate);
            }
        }
    }
    None
}

/// Returns the calendar day in `zone` at `instant`, or `None` outside the calendar.
pub fn day_in(instant: Timestamp, zone: &TimeZone) -> Option<Date> {
    let instant = jiff::Timestamp::from_microsecond(instant.as_micros()).ok()?;
    Some(zone.to_datetime(instant).date())
}

/// Returns the time of day in `zone` at `instant`, or `None` outside the calendar.
pub fn time_of_day_in(instant: Timestamp, zone: &TimeZone) -> Option<Time> {
    let instant = jiff::Timestamp::from_microsecond(instant.as_micros()).ok()?;
    Some(zone.to_datetime(instant).time())
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;

    use super::*;

    #[track_caller]
    fn check(after: &str, hour: i8, minute: i8, airport: &str, expected: &str) {
        let airports = Airports::built_in().unwrap();
        let zone = airports.zone(airport).unwrap();
        let found = next_time_of_day(after.parse().unwrap(), time(hour, minute, 0, 0), zone);
        assert_eq!(found.unwrap().to_string(), expected);
    }

    #[test]
    fn an_earlier_time_of_day_means_the_next_day() {
        check("2013-01-01T10:17:00Z", 8, 30, "IAH", "2013-01-01T14:30:00Z");
        check("2013-01-02T03:50:00Z", 0, 10, "MIA", "2013-01-02T05:10:00Z");
        check(
            "2013-01-01T13:57:00Z",
            14,
            44,
            "HNL",
            "2013-01-02T00:44:00Z",
        );
        check("2013-01-01T13:57:00Z", 8, 57, "LGA", "2013-01-02T13:57:00Z");
    }

    #[test]
    fn daylight_saving_time_follows_the_airport() {
        check("2013-07-01T10:00:00Z", 9, 0, "PHX", "2013-07-01T16:00:00Z");
        check("2013-07-01T10:00:00Z", 9, 0, "DEN", "2013-07-01T15:00:00Z");
        check("2013-03-10T04:00:00Z", 3, 30, "BOS", "2013-03-10T07:30:00Z");
        // 1:30 occurs twice on this day.
        check("2013-11-03T04:50:00Z", 1, 30, "BOS", "2013-11-03T05:30:00Z");
        check("2013-11-03T05:50:00Z", 1, 30, "BOS", "2013-11-03T06:30:00Z");
    }
}
