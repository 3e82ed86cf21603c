//! How punctual the airlines were: a fold over the log of flights.

use std::collections::BTreeMap;

use retold::application::fold::fold_of;
use retold::prelude::*;

use crate::flight::FlightEvent;

/// A flight is late that arrives this many minutes behind its plan, or more: so the Department of
/// Transportation counts.
pub const LATE_MINUTES: i64 = 15;

/// The flights of an airline, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Punctuality {
    /// Flights that were announced.
    pub scheduled: u64,
    /// Flights that left.
    pub departed: u64,
    /// Flights that did not.
    pub cancelled: u64,
    /// Flights that landed elsewhere.
    pub diverted: u64,
    /// Flights that landed where they were bound for.
    pub arrived: u64,
    /// Those of them that were less than [`LATE_MINUTES`] behind their plan.
    pub on_time: u64,
    /// Sum of their delays in minutes; early arrivals count negative.
    pub delay_minutes_sum: i64,
}

impl Punctuality {
    /// Share of the arrivals that were on time, from 0 to 1; none if nobody arrived.
    pub fn on_time_share(&self) -> Option<f64> {
        (self.arrived > 0).then(|| self.on_time as f64 / self.arrived as f64)
    }

    /// Mean delay of the arrivals, in minutes; none if nobody arrived.
    pub fn mean_delay_minutes(&self) -> Option<f64> {
        (self.arrived > 0).then(|| self.delay_minutes_sum as f64 / self.arrived as f64)
    }

    fn add(&mut self, other: &Self) {
        self.scheduled += other.scheduled;
        self.departed += other.departed;
        self.cancelled += other.cancelled;
        self.diverted += other.diverted;
        self.arrived += other.arrived;
        self.on_time += other.on_time;
        self.delay_minutes_sum += other.delay_minutes_sum;
    }
}

/// The punctuality of every airline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnTime(BTreeMap<String, Punctuality>);

impl OnTime {
    /// The airlines' codes and their punctuality, in the order of the codes.
    pub fn carriers(&self) -> impl Iterator<Item = (&str, &Punctuality)> {
        self.0.iter().map(|(carrier, it)| (&**carrier, it))
    }

    /// All airlines together.
    pub fn total(&self) -> Punctuality {
        let mut total = Punctuality::default();
        self.0.values().for_each(|it| total.add(it));
        total
    }

    fn of(&mut self, carrier: &str) -> &mut Punctuality {
        // Most events are of an airline that is known: no need to copy its code.
        if !self.0.contains_key(carrier) {
            self.0.insert(carrier.into(), Punctuality::default());
        }
        self.0.get_mut(carrier).expect("it was just put there")
    }

    /// The punctuality of all flights that are recorded.
    ///
    /// # Errors
    ///
    /// As [`Application::view`].
    pub async fn read(app: &Application) -> retold::Result<Self> {
        Ok(app.view(fold_of::<Self, FlightEvent>()).await?.state)
    }
}

impl FromIterator<(String, Punctuality)> for OnTime {
    fn from_iter<I: IntoIterator<Item = (String, Punctuality)>>(carriers: I) -> Self {
        Self(carriers.into_iter().collect())
    }
}

impl Apply<FlightEvent> for OnTime {
    fn apply(&mut self, event: &FlightEvent) {
        match event {
            FlightEvent::Scheduled(it) => self.of(&it.carrier).scheduled += 1,
            FlightEvent::Departed(it) => self.of(&it.carrier).departed += 1,
            FlightEvent::Cancelled(it) => self.of(&it.carrier).cancelled += 1,
            FlightEvent::Diverted(it) => self.of(&it.carrier).diverted += 1,
            FlightEvent::Arrived(it) => {
                let carrier = self.of(&it.carrier);
                carrier.arrived += 1;
                carrier.on_time += u64::from(it.delay_minutes < LATE_MINUTES);
                carrier.delay_minutes_sum += it.delay_minutes;
            }
        }
    }
}
