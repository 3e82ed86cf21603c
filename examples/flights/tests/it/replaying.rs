//! Tests of the replay: flights as commands from concurrent callers, on memory and on a durable
//! store.

use std::sync::Arc;

use retold::application::ExecuteError;
use retold::prelude::*;
use retold_flights::aircraft::{depart, in_air};
use retold_flights::fingerprint::Fingerprint;
use retold_flights::flight::{Flight, Phase, Refusal, Scheduled};
use retold_flights::input::Input;
use retold_flights::on_time::{OnTime, Punctuality};
use retold_flights::record::FlightRecord;
use retold_flights::replay::{Outcome, Progress, command_count, replay};

const CALLERS: usize = 16;

/// The flights of the first days of January.
fn first_days(days: i8) -> Arc<[FlightRecord]> {
    let january = Input::january().unwrap();
    let flights = january.flights.into_iter();
    flights.filter(|flight| flight.day.day() <= days).collect()
}

async fn open(url: &str) -> Application {
    Application::open("flights", url).await.unwrap()
}

async fn replay_all(app: &Application, flights: &Arc<[FlightRecord]>) -> Outcome {
    let progress = Arc::new(Progress::default());
    let outcome = replay(app, Arc::clone(flights), CALLERS, Arc::clone(&progress))
        .await
        .unwrap();
    assert_eq!(
        (progress.commands(), progress.events()),
        (outcome.commands, outcome.events)
    );
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_january_is_recorded_completely() {
    let flights = first_days(1);
    let app = open("memory:first-of-january").await;

    let outcome = replay_all(&app, &flights).await;

    // Counted independently: 842 flights; 4 canceled, 7 diverted; one departure while in the air.
    assert_eq!(outcome.aircraft_in_air, 1);
    let doubt = outcome.doubts.first().unwrap();
    assert_eq!(doubt.flight, "UA-1663-2013-01-01-EWR");
    assert_eq!(
        doubt.refusal.to_string(),
        "N38403 is in the air, as UA 1601"
    );
    assert!(outcome.refused.is_empty() && !outcome.is_stopped);
    assert_eq!(outcome.events, command_count(&flights));
    assert_eq!(outcome.commands, outcome.events + 1);

    let total = OnTime::read(&app).await.unwrap().total();
    assert_eq!(
        (total.scheduled, total.departed, total.cancelled),
        (842, 838, 4)
    );
    assert_eq!((total.arrived, total.diverted), (831, 7));
    let (_, united) = OnTime::read(&app)
        .await
        .unwrap()
        .carriers()
        .find(|(carrier, _)| *carrier == "UA")
        .map(|(carrier, it)| (carrier.to_owned(), *it))
        .unwrap();
    assert_eq!(united.scheduled, 165);

    let flight = app.get::<Flight>("UA-1545-2013-01-01-EWR").await.unwrap();
    assert_eq!(flight.state.phase(), &Phase::Arrived);
}

/// All of January. Another program computed the expected values from the CSV.
#[tokio::test(flavor = "multi_thread")]
async fn january_is_recorded_completely() {
    let flights: Arc<[FlightRecord]> = Input::january().unwrap().flights.into();
    let app = open("memory:january").await;

    let outcome = replay_all(&app, &flights).await;

    assert_eq!(outcome.events, 80_491);
    assert_eq!(outcome.aircraft_in_air, 9);
    assert!(outcome.refused.is_empty(), "{:?}", outcome.refused);
    let total = Punctuality {
        scheduled: 27_004,
        departed: 26_483,
        cancelled: 521,
        diverted: 85,
        arrived: 26_398,
        on_time: 20_197,
        delay_minutes_sum: 161_819,
    };
    assert_eq!(OnTime::read(&app).await.unwrap().total(), total);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_replay_records_nothing_twice() {
    let flights = first_days(1);
    let app = open("memory:replayed-again").await;
    let begun: Arc<[FlightRecord]> = flights.iter().take(300).cloned().collect();
    let first = replay_all(&app, &begun).await;

    let second = replay_all(&app, &flights).await;

    assert_eq!(first.events + second.events, command_count(&flights));
    assert_eq!(second.refused.get("already-scheduled"), Some(&300));
    let events = Fingerprint::of(&app.log()).await.unwrap().count;
    assert_eq!(events, command_count(&flights));
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_events_are_read_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flights.db");
    check_reopening(&format!("sqlite:{}", path.display())).await;
    check_reopening(&xtask::postgres_server::database()).await;
}

async fn check_reopening(url: &str) {
    let flights = first_days(1);
    let app = open(url).await;
    let outcome = replay_all(&app, &flights).await;
    let before = Fingerprint::of(&app.log()).await.unwrap();
    let on_time = OnTime::read(&app).await.unwrap();
    drop(app);

    let reopened = open(url).await;

    let after = Fingerprint::of(&reopened.log()).await.unwrap();
    assert_eq!(before, after);
    assert_eq!(after.count, outcome.events);
    assert_eq!(OnTime::read(&reopened).await.unwrap(), on_time);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_replay_can_be_resumed() {
    let flights = first_days(1);
    let app = open("memory:stopped").await;
    let progress = Arc::new(Progress::default());
    progress.stop();
    let stopped = replay(&app, Arc::clone(&flights), CALLERS, progress);
    let stopped = stopped.await.unwrap();
    assert!(stopped.is_stopped);
    assert_eq!(stopped.events, 0);

    let outcome = replay_all(&app, &flights).await;
    assert_eq!(outcome.events, command_count(&flights));
}

#[tokio::test]
async fn flaws_that_break_a_rule_are_refused_and_counted() {
    let columns = "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,\
                   arr_delay,carrier,flight,tailnum,origin,dest,air_time,minute,time_hour";
    let rows = [
        // A landing before the departure; then the same flight again; then one with equal origin
        // and destination.
        "2013,1,1,500,500,0,459,600,-61,UA,1,N1,EWR,BOS,NA,0,2013-01-01T10:00:00Z",
        "2013,1,1,500,500,0,600,600,0,UA,1,N2,EWR,BOS,NA,0,2013-01-01T10:00:00Z",
        "2013,1,1,500,500,0,600,600,0,UA,2,NA,EWR,EWR,NA,0,2013-01-01T10:00:00Z",
    ];
    let csv = format!("{columns}\n{}\n", rows.join("\n"));
    let flights = Input::read("flaws.csv", csv.as_bytes()).unwrap().flights;
    let app = open("memory:flaws").await;
    let progress = Arc::default();

    // One caller, so that the order is determined: the order of the input, for itineraries of equal
    // length.
    let outcome = replay(&app, flights.into(), 1, progress).await.unwrap();

    let refused: Vec<_> = outcome.refused.into_iter().collect();
    assert_eq!(
        refused,
        [
            ("already-departed", 1),
            ("already-scheduled", 1),
            ("ends-where-it-begins", 1),
            ("landed-before-departure", 1),
            ("not-scheduled", 2),
        ]
    );
    // The arrival in the second row is a valid one for the flight of the first row.
    assert_eq!(outcome.events, 3);
}

fn plan(number: u32) -> Scheduled {
    Scheduled {
        carrier: "UA".into(),
        number,
        origin: "EWR".into(),
        destination: "IAH".into(),
        aircraft: Some("N1".into()),
        departs_at: "2013-01-01T10:00:00Z".parse().unwrap(),
        arrives_at: "2013-01-01T12:00:00Z".parse().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_concurrent_departures_of_an_aircraft_is_recorded() {
    let app = open("memory:one-aircraft").await;
    let at: Timestamp = "2013-01-01T10:00:00Z".parse().unwrap();
    let ids: Vec<Id<Flight>> = (1..=20)
        .map(|number| Id::from(format!("UA-{number}")))
        .collect();
    for (number, id) in (1..).zip(&ids) {
        app.execute_or_create(id, |flight| flight.schedule(plan(number)))
            .await
            .unwrap();
    }

    let mut tasks = tokio::task::JoinSet::new();
    for id in ids {
        let app = app.clone();
        tasks.spawn(async move { depart(&app, &id, "N1", at).await });
    }
    let answers = tasks.join_all().await;

    let departed = answers.iter().filter(|it| it.is_ok()).count();
    let refused = answers
        .iter()
        .filter(|it| {
            matches!(
                it,
                Err(ExecuteError::Refused(Refusal::AircraftInAir { .. }))
            )
        })
        .count();
    assert_eq!((departed, refused), (1, 19));
    let in_air = app.view(in_air("N1")).await.unwrap().state;
    assert!(in_air.flight().is_some());
}
