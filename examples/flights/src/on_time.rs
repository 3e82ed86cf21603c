//! The punctuality of the airlines: a fold over the log of flights.

use std::collections::BTreeMap;

use retold::application::fold_of;
use retold::prelude::*;

use crate::flight::FlightEvent;

/// Arrival delay, in minutes, from which a flight is late, as the Department of Transportation
/// defines it.
pub const LATE_MINUTES: i64 = 15;

/// Counts of the flights of one airline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Punctuality {
    /// Announced flights.
    pub scheduled: u64,
    /// Departed flights.
    pub departed: u64,
    /// Canceled flights.
    pub cancelled: u64,
    /// Flights that landed elsewhere.
    pub diverted: u64,
    /// Flights that landed at their destination.
    pub arrived: u64,
    /// Arrivals less than [`LATE_MINUTES`] behind plan.
    pub on_time: u64,
    /// Sum of the arrival delays in minutes; early arrivals count as negative.
    pub delay_minutes_sum: i64,
}

impl Punctuality {
    /// Returns the share of arrivals that were on time, from 0 to 1; `None` without arrivals.
    pub fn on_time_share(&self) -> Option<f64> {
        (self.arrived > 0).then(|| self.on_time as f64 / self.arrived as f64)
    }

    /// Returns the mean arrival delay in minutes; `None` without arrivals.
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
    /// Returns the codes of the airlines with their punctuality, sorted by code.
    pub fn carriers(&self) -> impl Iterator<Item = (&str, &Punctuality)> {
        self.0.iter().map(|(carrier, it)| (&**carrier, it))
    }

    /// Returns the totals of all airlines.
    pub fn total(&self) -> Punctuality {
        let mut total = Punctuality::default();
        self.0.values().for_each(|it| total.add(it));
        total
    }

    fn of(&mut self, carrier: &str) -> &mut Punctuality {
        // Avoids copying the code, because most events are of a known airline.
        if !self.0.contains_key(carrier) {
            self.0.insert(carrier.into(), Punctuality::default());
        }
        self.0.get_mut(carrier).expect("it was just inserted")
    }

    /// Reads the punctuality of all recorded flights.
    ///
    /// # Errors
    ///
    /// As for [`Application::view`].
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
