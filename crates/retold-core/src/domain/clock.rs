//! Time: timestamps, and the clock that returns the current one.
//!
//! Commands get their time from an injected [`Clock`], so that tests, retellings and simulations
//! decide what "now" is.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant, in whole microseconds since 1970-01-01T00:00:00Z; earlier ones are negative.
///
/// All supported databases store microseconds without loss. A timestamp is printed, parsed and
/// serialized as RFC 3339 in UTC. Years before 0, for which RFC 3339 has no form, are written as in
/// ISO 8601. Outside the years -9999 to 9999 it is printed, parsed and serialized as
/// `N us since 1970`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// Follows the microseconds of an instant outside the calendar's range.
const OUTSIDE_CALENDAR: &str = " us since 1970";

impl Timestamp {
    /// Returns the instant `micros` microseconds after 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Returns this instant plus `duration`, or the last possible instant if that is beyond it.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros_of(duration)))
    }

    /// Returns this instant minus `duration`, or the first possible instant if that is before it.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros_of(duration)))
    }
}

fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self(micros_of(since)),
            Err(before) => Self(-micros_of(before.duration())),
        }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339; an instant outside the years -9999 to 9999 is printed as its microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => fmt::Display::fmt(&time, f),
            Err(_) => write!(f, "{}{OUTSIDE_CALENDAR}", self.0),
        }
    }
}

/// A text is not a timestamp as defined by RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time such as 2013-01-01T05:17:00Z")]
pub struct ParseTimestampError {
    text: String,
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(time.as_microsecond()));
        }
        let micros = text.strip_suffix(OUTSIDE_CALENDAR);
        match micros.and_then(|it| it.parse().ok()) {
            Some(micros) => Ok(Self(micros)),
            None => Err(ParseTimestampError { text: text.into() }),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Gives an application the current time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the current time. It may stand still or jump in either direction; Retold does not
    /// rely on it to advance.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// A clock that stands still until it is set or advanced, for tests.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Returns a clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_micros()))
    }

    /// Sets the clock to `now`, forward or back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::SeqCst);
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().saturating_add(duration));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_and_parse() {
        let time: Timestamp = "2013-01-01T05:17:00.000001Z".parse().unwrap();
        assert_eq!(time.as_micros(), 1_357_017_420_000_001);
        assert_eq!(time.to_string(), "2013-01-01T05:17:00.000001Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn timestamps_outside_the_calendar_still_print() {
        let far = Timestamp::from_micros(i64::MAX).saturating_add(Duration::from_secs(1));
        assert_eq!(far.to_string(), format!("{} us since 1970", i64::MAX));
        // A recorded instant must stay readable.
        for instant in [far, Timestamp::from_micros(i64::MIN)] {
            let text = serde_json::to_string(&instant).unwrap();
            assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), instant);
        }
    }
}
