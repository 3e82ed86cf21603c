//! The notice that passengers get when their flight is at risk.
//!
//! It is an aggregate of the application `notices`, one per flight. One log reports that a leg is
//! at risk, another how the leg went, in any order; the notice refuses neither. In every order, no
//! notice stays open for a flight that departed on time.

use retold::prelude::*;

use crate::on_time::LATE_MINUTES;

/// Passengers were notified that their flight may be late.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Notice.Made")]
#[event(tag = "aircraft:{aircraft}", tag = "flight:{flight}")]
pub struct Made {
    /// Id of the flight.
    pub flight: String,
    /// Tail number of the late aircraft.
    pub aircraft: String,
    /// Planned departure of the flight.
    pub departs_at: Timestamp,
    /// Earliest time at which the aircraft can be ready.
    pub ready_at: Timestamp,
}

/// The notice was withdrawn: the flight departed on time.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Notice.Withdrawn", tag = "flight:{flight}")]
pub struct Withdrawn {
    /// Id of the flight.
    pub flight: String,
}

/// The flight was late, or canceled.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Notice.CameTrue", tag = "flight:{flight}")]
pub struct CameTrue {
    /// Id of the flight.
    pub flight: String,
    /// Departure delay in minutes; `None` if the flight was canceled.
    pub delay_minutes: Option<i64>,
}

/// The flight departed or was canceled without a notice, and none will follow.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Notice.Closed", tag = "flight:{flight}")]
pub struct Closed {
    /// Id of the flight.
    pub flight: String,
}

/// The events of a notice.
#[derive(Event, Clone, Debug, PartialEq, Eq)]
#[event(join)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a new event should fail to compile where notices are read"
)]
pub enum NoticeEvent {
    /// The notice was made.
    Made(Made),
    /// It was withdrawn.
    Withdrawn(Withdrawn),
    /// It came true.
    CameTrue(CameTrue),
    /// It will not be made.
    Closed(Closed),
}

/// How a flight went that was waiting to depart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third case")]
pub enum Going {
    /// It departed with this delay.
    Departed {
        /// Minutes behind plan; negative if it was early.
        delay_minutes: i64,
    },
    /// It was canceled.
    Cancelled,
}

/// The notice of a flight, whether it was made or not.
#[derive(Aggregate, Clone, Debug, Default, PartialEq, Eq)]
#[aggregate(event = NoticeEvent, key = String)]
pub struct Notice {
    phase: NoticePhase,
}

/// The phases of a notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoticePhase {
    /// Not made, but it can be.
    #[default]
    Possible,
    /// Made, and the flight has not departed.
    Standing,
    /// Withdrawn, because the flight departed on time.
    Withdrawn,
    /// Came true.
    CameTrue,
    /// Not made, and it will not be.
    Closed,
}

impl Notice {
    /// Returns the phase.
    pub fn phase(&self) -> NoticePhase {
        self.phase
    }

    /// Notifies passengers that their flight is at risk: once, and not after departure.
    pub fn make(&self, notice: Made) -> Option<Made> {
        (self.phase == NoticePhase::Possible).then_some(notice)
    }

    /// Closes the notice according to how the flight went. A departure less than [`LATE_MINUTES`]
    /// behind plan is on time, as for arrivals.
    pub fn close(&self, flight: &str, going: Going) -> Option<NoticeEvent> {
        let flight = flight.to_owned();
        let is_on_time = |minutes: i64| minutes < LATE_MINUTES;
        match (self.phase, going) {
            (NoticePhase::Possible, _) => Some(Closed { flight }.into()),
            (NoticePhase::Standing, Going::Departed { delay_minutes }) => {
                Some(match is_on_time(delay_minutes) {
                    true => Withdrawn { flight }.into(),
                    false => came_true(flight, Some(delay_minutes)),
                })
            }
            (NoticePhase::Standing, Going::Cancelled) => Some(came_true(flight, None)),
            (NoticePhase::Withdrawn | NoticePhase::CameTrue | NoticePhase::Closed, _) => None,
        }
    }
}

fn came_true(flight: String, delay_minutes: Option<i64>) -> NoticeEvent {
    CameTrue {
        flight,
        delay_minutes,
    }
    .into()
}

impl Apply<NoticeEvent> for Notice {
    fn apply(&mut self, event: &NoticeEvent) {
        self.phase = match event {
            NoticeEvent::Made(_) => NoticePhase::Standing,
            NoticeEvent::Withdrawn(_) => NoticePhase::Withdrawn,
            NoticeEvent::CameTrue(_) => NoticePhase::CameTrue,
            NoticeEvent::Closed(_) => NoticePhase::Closed,
        };
    }
}
