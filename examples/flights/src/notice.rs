//! The notice: what passengers of a flight are told when it is at risk, with its events and its rules.
//!
//! It is an aggregate of the application `notices`, one for each flight. It is told that a leg is at
//! risk by one log and how the leg went by another, in whatever order, and refuses neither. Whatever
//! the order was, none is left standing for a flight that departed on time.

use retold::prelude::*;

use crate::on_time::LATE_MINUTES;

/// Passengers were told that their flight may be late.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Notice.Made")]
#[event(tag = "aircraft:{aircraft}", tag = "flight:{flight}")]
pub struct Made {
    /// Id of the flight.
    pub flight: String,
    /// Tail number of the aircraft that is late.
    pub aircraft: String,
    /// When the flight is to depart.
    pub departs_at: Timestamp,
    /// When the aircraft can be ready for it at the earliest.
    pub ready_at: Timestamp,
}

/// They were told that it was for nothing: the flight departed on time.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Notice.Withdrawn", tag = "flight:{flight}")]
pub struct Withdrawn {
    /// Id of the flight.
    pub flight: String,
}

/// It was as they were told, or worse.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Notice.CameTrue", tag = "flight:{flight}")]
pub struct CameTrue {
    /// Id of the flight.
    pub flight: String,
    /// Minutes behind its plan that it departed; none if it was cancelled.
    pub delay_minutes: Option<i64>,
}

/// The flight departed or was cancelled without a notice, and none will be made any more.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Notice.Closed", tag = "flight:{flight}")]
pub struct Closed {
    /// Id of the flight.
    pub flight: String,
}

/// What can happen to a notice.
#[derive(Event, Clone, Debug, PartialEq, Eq)]
#[event(join)]
#[allow(
    clippy::exhaustive_enums,
    reason = "whoever reads notices wants to know of a new event"
)]
pub enum NoticeEvent {
    /// It was made.
    Made(Made),
    /// It was withdrawn.
    Withdrawn(Withdrawn),
    /// It came true.
    CameTrue(CameTrue),
    /// It will not be made.
    Closed(Closed),
}

/// How a flight that waited to depart went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Going {
    /// It left, so many minutes behind its plan.
    Departed {
        /// Minutes behind the plan; negative if it was early.
        delay_minutes: i64,
    },
    /// It will not leave.
    Cancelled,
}

/// The notice of a flight, made or not.
#[derive(Aggregate, Clone, Debug, Default, PartialEq, Eq)]
#[aggregate(event = NoticeEvent, key = String)]
pub struct Notice {
    phase: NoticePhase,
}

/// How far a notice has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoticePhase {
    /// There is none, and there may be one.
    #[default]
    Possible,
    /// It is made, and the flight has not departed.
    Standing,
    /// It was for nothing.
    Withdrawn,
    /// It came true.
    CameTrue,
    /// There is none, and there will be none.
    Closed,
}

impl Notice {
    /// How far it has come.
    pub fn phase(&self) -> NoticePhase {
        self.phase
    }

    /// Tells passengers that their flight is at risk: once, and not after it has departed.
    pub fn make(&self, notice: Made) -> Option<Made> {
        (self.phase == NoticePhase::Possible).then_some(notice)
    }

    /// Takes in how the flight went. On time is what departs less than [`LATE_MINUTES`] behind its
    /// plan, as for arrivals.
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
