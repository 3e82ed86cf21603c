//! Tests of the rules of a notice: made once, withdrawn if the flight is on time, in any order of
//! events.

use retold::prelude::*;
use retold::testing::given;
use retold_flights::notice::{
    CameTrue, Closed, Going, Made, Notice, NoticeEvent, NoticePhase, Withdrawn,
};
use retold_flights::on_time::LATE_MINUTES;

const FLIGHT: &str = "UA-2-2013-01-01-EWR";

fn made() -> Made {
    Made {
        flight: FLIGHT.into(),
        aircraft: "N14228".into(),
        departs_at: "2013-01-01T15:29:00Z".parse().unwrap(),
        ready_at: "2013-01-01T15:30:00Z".parse().unwrap(),
    }
}

fn withdrawn() -> NoticeEvent {
    let flight = FLIGHT.into();
    Withdrawn { flight }.into()
}

fn closed() -> NoticeEvent {
    let flight = FLIGHT.into();
    Closed { flight }.into()
}

fn came_true(delay_minutes: Option<i64>) -> NoticeEvent {
    let flight = FLIGHT.into();
    CameTrue {
        flight,
        delay_minutes,
    }
    .into()
}

fn departed(delay_minutes: i64) -> Going {
    Going::Departed { delay_minutes }
}

#[test]
fn a_notice_is_made_once() {
    given::<Notice>([])
        .when(|notice| notice.make(made()))
        .then(made())
        .then_state(|notice| assert_eq!(notice.phase(), NoticePhase::Standing))
        .and()
        .when(|notice| notice.make(made()))
        .then_nothing();
}

#[test]
fn the_outcome_of_the_flight_closes_its_notice() {
    let table = [
        (vec![], departed(0), Some(closed())),
        (vec![], departed(300), Some(closed())),
        (vec![], Going::Cancelled, Some(closed())),
        (vec![made().into()], departed(-5), Some(withdrawn())),
        (
            vec![made().into()],
            departed(LATE_MINUTES - 1),
            Some(withdrawn()),
        ),
        (
            vec![made().into()],
            departed(LATE_MINUTES),
            Some(came_true(Some(LATE_MINUTES))),
        ),
        (vec![made().into()], Going::Cancelled, Some(came_true(None))),
        (vec![closed()], departed(0), None),
        (vec![made().into(), withdrawn()], departed(0), None),
        (vec![made().into(), came_true(None)], Going::Cancelled, None),
    ];
    for (events, going, expected) in table {
        given::<Notice>(events)
            .when(|notice| notice.close(FLIGHT, going))
            .then(expected);
    }
}

#[test]
fn no_notice_is_made_for_a_departed_flight() {
    for gone in [
        vec![closed()],
        vec![made().into(), withdrawn()],
        vec![made().into(), came_true(None)],
    ] {
        given::<Notice>(gone)
            .when(|notice| notice.make(made()))
            .then_nothing();
    }
}

#[test]
fn events_are_recorded_under_stable_names() {
    let topics: Vec<_> = NoticeEvent::topics().collect();
    assert_eq!(
        topics,
        [
            "Notice.Made",
            "Notice.Withdrawn",
            "Notice.CameTrue",
            "Notice.Closed"
        ]
    );
}
