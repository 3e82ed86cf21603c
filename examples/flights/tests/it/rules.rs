//! Tests of the rules of a flight: given its events, a further event is recorded or refused.

use retold::prelude::*;
use retold::testing::given;
use retold_flights::flight::{
    Arrived, Cancelled, Departed, Diverted, Flight, FlightEvent, Phase, Refusal, Scheduled,
    flight_id,
};

fn at(time: &str) -> Timestamp {
    format!("2013-01-01T{time}:00Z").parse().unwrap()
}

fn plan() -> Scheduled {
    Scheduled {
        carrier: "UA".into(),
        number: 1545,
        origin: "EWR".into(),
        destination: "IAH".into(),
        aircraft: Some("N14228".into()),
        departs_at: at("10:15"),
        arrives_at: at("14:19"),
    }
}

fn departed() -> Departed {
    Departed {
        carrier: "UA".into(),
        number: 1545,
        origin: "EWR".into(),
        aircraft: Some("N14228".into()),
        at: at("10:17"),
        delay_minutes: 2,
    }
}

fn arrived() -> Arrived {
    Arrived {
        carrier: "UA".into(),
        destination: "IAH".into(),
        aircraft: Some("N14228".into()),
        at: at("14:30"),
        delay_minutes: 11,
    }
}

fn cancelled() -> Cancelled {
    Cancelled {
        carrier: "UA".into(),
        origin: "EWR".into(),
        aircraft: Some("N14228".into()),
    }
}

fn diverted(reached_at: Option<Timestamp>) -> Diverted {
    Diverted {
        carrier: "UA".into(),
        destination: "IAH".into(),
        aircraft: Some("N14228".into()),
        reached_at,
    }
}

#[test]
fn a_flight_is_scheduled_departs_and_arrives() {
    given::<Flight>([])
        .when(|flight| flight.schedule(plan()))
        .then(plan())
        .and()
        .when(|flight| flight.depart(at("10:17"), Some("N14228")))
        .then(departed())
        .and()
        .when(|flight| flight.arrive(at("14:30")))
        .then(arrived())
        .then_state(|flight| assert_eq!(flight.phase(), &Phase::Arrived));
}

#[test]
fn a_flight_is_scheduled_once_with_a_possible_plan() {
    let schedule = |plan: Scheduled| given::<Flight>([]).when(move |it| it.schedule(plan.clone()));
    given::<Flight>([plan().into()])
        .when(|flight| flight.schedule(plan()))
        .then_refused(Refusal::AlreadyScheduled);
    schedule(Scheduled {
        destination: "EWR".into(),
        ..plan()
    })
    .then_refused(Refusal::EndsWhereItBegins);
    schedule(Scheduled {
        arrives_at: at("10:15"),
        ..plan()
    })
    .then_refused(Refusal::PlannedBackwards);
}

#[test]
fn early_is_a_negative_delay() {
    given::<Flight>([plan().into()])
        .when(|flight| flight.depart(at("10:05"), None))
        .then(Departed {
            aircraft: None,
            at: at("10:05"),
            delay_minutes: -10,
            ..departed()
        });
}

#[test]
fn an_unscheduled_flight_refuses_everything() {
    given::<Flight>([])
        .when(|flight| flight.depart(at("10:17"), None))
        .then_refused(Refusal::NotScheduled);
    given::<Flight>([])
        .when(|flight| flight.arrive(at("14:30")))
        .then_refused(Refusal::NotScheduled);
    given::<Flight>([])
        .when(|flight| flight.divert(None))
        .then_refused(Refusal::NotScheduled);
    given::<Flight>([])
        .when(Flight::cancel)
        .then_refused(Refusal::NotScheduled);
}

#[test]
fn a_flight_departs_once_and_not_if_canceled() {
    let depart = |given_events: Vec<FlightEvent>, refusal: Refusal| {
        given::<Flight>(given_events)
            .when(|flight| flight.depart(at("10:20"), Some("N2")))
            .then_refused(refusal);
    };
    depart(
        vec![plan().into(), departed().into()],
        Refusal::AlreadyDeparted,
    );
    depart(
        vec![plan().into(), departed().into(), arrived().into()],
        Refusal::AlreadyDeparted,
    );
    depart(vec![plan().into(), cancelled().into()], Refusal::Cancelled);
}

#[test]
fn a_departed_flight_cannot_be_canceled() {
    given::<Flight>([plan().into()])
        .when(Flight::cancel)
        .then(cancelled())
        .and()
        .when(Flight::cancel)
        .then_refused(Refusal::Cancelled);
    given::<Flight>([plan().into(), departed().into()])
        .when(Flight::cancel)
        .then_refused(Refusal::AlreadyDeparted);
}

#[test]
fn a_flight_cannot_land_before_departing() {
    given::<Flight>([plan().into()])
        .when(|flight| flight.arrive(at("14:30")))
        .then_refused(Refusal::NotDeparted);
    for landed_at in [at("10:16"), at("10:17")] {
        let refusal = Refusal::LandedBeforeDeparture {
            departed_at: at("10:17"),
            landed_at,
        };
        given::<Flight>([plan().into(), departed().into()])
            .when(|flight| flight.arrive(landed_at))
            .then_refused(refusal.clone());
        given::<Flight>([plan().into(), departed().into()])
            .when(|flight| flight.divert(Some(landed_at)))
            .then_refused(refusal);
    }
}

#[test]
fn a_flight_lands_once() {
    for end in [arrived().into(), diverted(None).into()] {
        let given =
            || given::<Flight>([plan().into(), departed().into(), FlightEvent::clone(&end)]);
        given()
            .when(|flight| flight.arrive(at("14:40")))
            .then_refused(Refusal::AlreadyLanded);
        given()
            .when(|flight| flight.divert(None))
            .then_refused(Refusal::AlreadyLanded);
    }
    given::<Flight>([plan().into(), cancelled().into()])
        .when(|flight| flight.arrive(at("14:30")))
        .then_refused(Refusal::Cancelled);
}

#[test]
fn a_diverted_flight_may_reach_its_destination_later() {
    for reached_at in [None, Some(at("19:00"))] {
        given::<Flight>([plan().into(), departed().into()])
            .when(|flight| flight.divert(reached_at))
            .then(diverted(reached_at))
            .then_state(|flight| assert_eq!(flight.phase(), &Phase::Diverted));
    }
}

#[test]
fn events_are_recorded_under_stable_names_with_their_tags() {
    let topics: Vec<_> = FlightEvent::topics().collect();
    assert_eq!(
        topics,
        [
            "Flight.Scheduled",
            "Flight.Departed",
            "Flight.Arrived",
            "Flight.Cancelled",
            "Flight.Diverted"
        ]
    );
    let tags = |event: FlightEvent| {
        event
            .tags()
            .iter()
            .map(|it| it.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        tags(plan().into()),
        [
            "aircraft:N14228",
            "airport:EWR",
            "airport:IAH",
            "carrier:UA"
        ]
    );
    assert_eq!(
        tags(departed().into()),
        ["aircraft:N14228", "airport:EWR", "carrier:UA"]
    );
    let unknown = Departed {
        aircraft: None,
        ..departed()
    };
    assert_eq!(tags(unknown.into()), ["airport:EWR", "carrier:UA"]);

    let day = jiff::civil::date(2013, 1, 1);
    assert_eq!(
        flight_id("UA", 1545, day, "EWR").stream(),
        "Flight/UA-1545-2013-01-01-EWR"
    );
}
