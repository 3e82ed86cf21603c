//! Whole minutes between instants, the unit of timetables.

use retold::prelude::Timestamp;

const MICROS_PER_MINUTE: i64 = 60_000_000;

/// Returns the instant `minutes` after `instant`, or before it if negative. Saturates at the last
/// instant.
pub fn minutes_after(instant: Timestamp, minutes: i64) -> Timestamp {
    let micros = minutes.saturating_mul(MICROS_PER_MINUTE);
    Timestamp::from_micros(instant.as_micros().saturating_add(micros))
}

/// Returns the minutes from one instant to another, rounded down; negative if the other is earlier.
pub fn minutes_from(one: Timestamp, other: Timestamp) -> i64 {
    let micros = other.as_micros().saturating_sub(one.as_micros());
    micros.div_euclid(MICROS_PER_MINUTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_can_be_negative() {
        let departure: Timestamp = "2013-01-01T23:59:00Z".parse().unwrap();
        let arrival = minutes_after(departure, 2);
        assert_eq!(arrival.to_string(), "2013-01-02T00:01:00Z");
        assert_eq!(minutes_from(departure, arrival), 2);
        assert_eq!(minutes_from(arrival, departure), -2);
        assert_eq!(minutes_after(arrival, -2), departure);
    }
}
