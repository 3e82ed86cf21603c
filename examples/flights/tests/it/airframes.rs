//! Tests of the rules of an airframe: legs, landings and delays.

use retold::prelude::*;
use retold::testing::{AggregateCase, given};
use retold_flights::airframe::{
    Airframe, AirframeEvent, Arrival, INSPECTION_MINUTES, InspectionDue, Landed, LandedElsewhere,
    LegAtRisk, LegDropped, LegPlanned, Place, TookOff, UPCOMING_LEGS_MAX,
};

const AIRCRAFT: &str = "N14228";

fn at(time: &str) -> Timestamp {
    format!("2013-01-01T{time}:00Z").parse().unwrap()
}

fn planned(flight: &str, origin: &str, departs_at: &str) -> LegPlanned {
    LegPlanned {
        aircraft: AIRCRAFT.into(),
        flight: flight.into(),
        origin: origin.into(),
        departs_at: at(departs_at),
    }
}

fn dropped(flight: &str) -> LegDropped {
    LegDropped {
        aircraft: AIRCRAFT.into(),
        flight: flight.into(),
    }
}

fn took_off(flight: &str, planned_at: &str, departed_at: &str) -> TookOff {
    TookOff {
        aircraft: AIRCRAFT.into(),
        flight: flight.into(),
        at: at(departed_at),
        planned_at: at(planned_at),
    }
}

fn arrival(landed_at: &str, delay_minutes: i64) -> Arrival<'static> {
    Arrival {
        aircraft: AIRCRAFT,
        airport: "IAH",
        at: at(landed_at),
        delay_minutes,
    }
}

fn landed(flight: &str, landed_at: &str, air_minutes: i64, delay_minutes: i64) -> Landed {
    Landed {
        aircraft: AIRCRAFT.into(),
        flight: flight.into(),
        airport: "IAH".into(),
        at: at(landed_at),
        air_minutes,
        delay_minutes,
    }
}

fn at_risk(flight: &str, departs_at: &str, ready_at: &str) -> LegAtRisk {
    LegAtRisk {
        aircraft: AIRCRAFT.into(),
        flight: flight.into(),
        departs_at: at(departs_at),
        ready_at: at(ready_at),
    }
}

/// Returns an airframe that departed for Houston at 10:00 with these planned legs.
fn in_air_before(legs: &[LegPlanned]) -> AggregateCase<Airframe> {
    let legs = legs.iter().cloned().map(AirframeEvent::from);
    given(legs.chain([took_off("UA-1", "10:00", "10:00").into()]))
}

#[test]
fn legs_are_flown_in_the_order_of_their_plan() {
    given::<Airframe>([])
        .when(|airframe| airframe.plan(planned("UA-2", "EWR", "15:00")))
        .then(planned("UA-2", "EWR", "15:00"))
        .and()
        .when(|airframe| airframe.plan(planned("UA-1", "EWR", "10:00")))
        .then(planned("UA-1", "EWR", "10:00"))
        .and()
        .when(|airframe| airframe.plan(planned("UA-3", "EWR", "20:00")))
        .then(planned("UA-3", "EWR", "20:00"))
        .then_state(|airframe| {
            assert_eq!(
                airframe.upcoming().collect::<Vec<_>>(),
                ["UA-1", "UA-2", "UA-3"]
            );
        })
        .and()
        .when(|_| took_off("UA-2", "15:00", "15:20"))
        .then(took_off("UA-2", "15:00", "15:20"))
        .then_state(|airframe| {
            // The first leg was passed over.
            assert_eq!(airframe.upcoming().collect::<Vec<_>>(), ["UA-3"]);
            let place = Place::InAir {
                flight: "UA-2".into(),
                since: at("15:20"),
            };
            assert_eq!(airframe.place(), &place);
        });
}

#[test]
fn an_airframe_remembers_a_limited_number_of_legs() {
    let legs = (0..=UPCOMING_LEGS_MAX).map(|it| {
        let leg = planned(&format!("UA-{it}"), "EWR", &format!("{it:02}:00"));
        AirframeEvent::from(leg)
    });
    let airframe = given::<Airframe>(legs);
    airframe.then_state(|airframe| {
        assert_eq!(airframe.upcoming().count(), UPCOMING_LEGS_MAX);
        assert_eq!(airframe.upcoming().next(), Some("UA-1"));
    });
}

#[test]
fn hours_are_counted_from_take_off_to_landing() {
    in_air_before(&[])
        .when(|airframe| airframe.land("UA-1", arrival("14:30", 11)))
        .then(landed("UA-1", "14:30", 270, 11))
        .then_state(|airframe| {
            assert_eq!((airframe.legs_flown(), airframe.minutes_flown()), (1, 270));
        });
}

#[test]
fn a_landing_elsewhere_adds_no_hours() {
    let elsewhere = || LandedElsewhere {
        aircraft: AIRCRAFT.into(),
        flight: "UA-1".into(),
    };
    in_air_before(&[])
        .when(|airframe| airframe.land_elsewhere(elsewhere()))
        .then(elsewhere())
        .then_state(|airframe| {
            assert_eq!((airframe.legs_flown(), airframe.minutes_flown()), (1, 0));
            assert_eq!(airframe.place(), &Place::Unknown);
        });
}

#[test]
fn a_landing_of_another_flight_is_ignored() {
    in_air_before(&[])
        .when(|airframe| airframe.land("UA-2", arrival("14:30", 11)))
        .then_nothing();
    given::<Airframe>([])
        .when(|airframe| airframe.land("UA-1", arrival("14:30", 11)))
        .then_nothing();
    given::<Airframe>([])
        .when(|airframe| {
            airframe.land_elsewhere(LandedElsewhere {
                aircraft: AIRCRAFT.into(),
                flight: "UA-1".into(),
            })
        })
        .then_nothing();
}

#[test]
fn an_inspection_is_due_every_hundred_hours() {
    let due = |number: i64, minutes_flown: i64| InspectionDue {
        aircraft: AIRCRAFT.into(),
        number,
        minutes_flown,
    };
    // The flight time before, and the inspections that become due after a leg of one hour.
    let table = [
        (INSPECTION_MINUTES - 61, 0, None),
        (INSPECTION_MINUTES - 60, 0, Some((1, INSPECTION_MINUTES))),
        (
            INSPECTION_MINUTES - 1,
            0,
            Some((1, INSPECTION_MINUTES + 59)),
        ),
        (INSPECTION_MINUTES, 1, None),
        (
            2 * INSPECTION_MINUTES - 1,
            1,
            Some((2, 2 * INSPECTION_MINUTES + 59)),
        ),
    ];
    for (flown, inspections, expected) in table {
        let before = (inspections > 0).then(|| due(inspections, inspections * INSPECTION_MINUTES));
        let events = [landed("UA-0", "09:00", flown, 0).into()];
        let events = events.into_iter().chain(before.map(AirframeEvent::from));
        given::<Airframe>(events.chain([took_off("UA-1", "10:00", "10:00").into()]))
            .when_named("lands after an hour", |airframe: &Airframe| {
                airframe.land("UA-1", arrival("11:00", 0))
            })
            .then((
                landed("UA-1", "11:00", 60, 0),
                expected.map(|(number, minutes)| due(number, minutes)),
            ));
    }
}

#[test]
fn a_late_landing_puts_the_next_leg_at_risk() {
    // Landed at 12:00 in Houston after two hours; origin and plan of the next leg.
    let table = [
        // On time, or not late enough.
        (0, "IAH", "12:00", None),
        (29, "IAH", "12:00", None),
        // 45 minutes are needed at the same airport,
        (30, "IAH", "12:44", Some("12:45")),
        (30, "IAH", "12:45", None),
        // and two hours and 45 minutes more at another airport.
        (30, "EWR", "15:29", Some("15:30")),
        (30, "EWR", "15:30", None),
        (200, "EWR", "11:00", Some("15:30")),
    ];
    for (delay_minutes, origin, departs_at, ready_at) in table {
        let later = planned("UA-3", "IAH", "16:00");
        in_air_before(&[later, planned("UA-2", origin, departs_at)])
            .when(|airframe| airframe.land("UA-1", arrival("12:00", delay_minutes)))
            .then((
                landed("UA-1", "12:00", 120, delay_minutes),
                ready_at.map(|ready_at| at_risk("UA-2", departs_at, ready_at)),
            ));
    }
}

#[test]
fn a_leg_that_becomes_the_next_one_is_at_risk_too() {
    let late = || -> Vec<AirframeEvent> {
        vec![
            took_off("UA-1", "09:00", "10:00").into(),
            landed("UA-1", "12:00", 120, 60).into(),
        ]
    };
    given::<Airframe>(late())
        .when(|airframe| airframe.plan(planned("UA-2", "IAH", "12:30")))
        .then((
            planned("UA-2", "IAH", "12:30"),
            at_risk("UA-2", "12:30", "12:45"),
        ))
        .and()
        // It is reported once, and only for the next leg.
        .when(|airframe| airframe.plan(planned("UA-3", "IAH", "12:40")))
        .then(planned("UA-3", "IAH", "12:40"))
        .and()
        .when(|airframe| airframe.drop_leg(dropped("UA-2")))
        .then((dropped("UA-2"), at_risk("UA-3", "12:40", "12:45")))
        .and()
        .when(|airframe| airframe.plan(planned("UA-4", "IAH", "18:00")))
        .then(planned("UA-4", "IAH", "18:00"))
        .and()
        .when(|airframe| airframe.drop_leg(dropped("UA-4")))
        .then(dropped("UA-4"));
}

#[test]
fn a_leg_that_is_not_planned_is_not_dropped() {
    given::<Airframe>([])
        .when(|airframe| airframe.drop_leg(dropped("UA-1")))
        .then_nothing();
    in_air_before(&[planned("UA-1", "EWR", "10:00")])
        .when(|airframe| airframe.drop_leg(dropped("UA-1")))
        .then_nothing();
}

#[test]
fn a_delay_is_carried_to_the_next_take_off_only() {
    given::<Airframe>([
        landed("UA-1", "12:00", 120, 60).into(),
        took_off("UA-2", "12:30", "13:00").into(),
    ])
    .when(|airframe| airframe.plan(planned("UA-3", "IAH", "12:40")))
    .then(planned("UA-3", "IAH", "12:40"));
}

#[test]
fn events_are_recorded_under_stable_names_with_their_tags() {
    let topics: Vec<_> = AirframeEvent::topics().collect();
    assert_eq!(
        topics,
        [
            "Airframe.LegPlanned",
            "Airframe.LegDropped",
            "Airframe.TookOff",
            "Airframe.Landed",
            "Airframe.LandedElsewhere",
            "Airframe.InspectionDue",
            "Airframe.LegAtRisk"
        ]
    );
    let tags = |event: AirframeEvent| {
        event
            .tags()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(tags(dropped("UA-1").into()), ["aircraft:N14228"]);
    assert_eq!(
        tags(at_risk("UA-1", "12:40", "12:45").into()),
        ["aircraft:N14228", "flight:UA-1"]
    );
}
