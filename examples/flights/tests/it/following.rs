//! Tests of the aircraft and notices that follow flights, in different schedules.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use retold::domain::ManualClock;
use retold::open_store;
use retold::prelude::*;
use retold::projection::ProjectionPipeline;
use retold::recording::{MemoryStore, Store};
use retold::retelling::{compare, events_by_key, first_difference, retell, retell_whole};
use retold::sqlite::{SqliteStore, SqliteViews};
use retold::system::{Infrastructure, OpenSystem, Opening, Phase, Runner, SingleThread, Step};
use retold_flights::airframe::{Airframe, Place};
use retold_flights::flight::FlightEvent;
use retold_flights::input::Input;
use retold_flights::itinerary::itineraries;
use retold_flights::notice::{Notice, NoticePhase};
use retold_flights::on_time::OnTime;
use retold_flights::on_time_view::{keep_on_time, read_on_time};
use retold_flights::record::FlightRecord;
use retold_flights::replay::{command_count, replay, replay_itineraries};
use retold_flights::system::{AIRCRAFT, FLIGHTS, NOTICES, system};

const COLUMNS: &str = "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,\
                       arr_delay,carrier,flight,tailnum,origin,dest,air_time,minute,time_hour";

/// A memory store with a clock that stands still, so that every run has the same times.
fn memory() -> Infrastructure {
    let clock = ManualClock::new("2013-01-01T00:00:00Z".parse().unwrap());
    Infrastructure::new(Arc::new(MemoryStore::new())).clock(Arc::new(clock))
}

async fn start() -> SingleThread {
    SingleThread::start(&system(), &memory()).await.unwrap()
}

async fn assert_caught_up(runner: &dyn Runner) {
    for status in runner.status().await {
        assert_eq!(status.phase, Phase::CaughtUp, "{status:?}");
        assert!(status.last_error.is_none(), "{status:?}");
    }
}

async fn run(flights: &Arc<[FlightRecord]>) -> SingleThread {
    let runner = start().await;
    let app = runner.application(FLIGHTS).unwrap();
    replay(&app, Arc::clone(flights), 1, Arc::default())
        .await
        .unwrap();
    assert_caught_up(&runner).await;
    runner
}

/// Counts the domain events of each topic.
async fn count_by_topic(open: &OpenSystem, application: &str) -> BTreeMap<String, u64> {
    let app = open.application(application).unwrap();
    let mut counts = BTreeMap::new();
    let events = app.log().stored().read().collect().await.unwrap();
    for event in events {
        if !event.topic().starts_with("retold.") {
            *counts.entry(event.topic().to_owned()).or_default() += 1;
        }
    }
    counts
}

fn counts(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let counts = expected.iter();
    counts
        .map(|(topic, it)| ((*topic).to_owned(), *it))
        .collect()
}

fn first_of_january() -> Arc<[FlightRecord]> {
    let flights = Input::january().unwrap().flights.into_iter();
    flights.filter(|flight| flight.day.day() == 1).collect()
}

/// One aircraft and its day, with results computed by hand.
#[tokio::test]
async fn a_late_aircraft_puts_its_next_leg_at_risk() {
    let rows = [
        // 5:00 to 6:00, an hour late: ready again in Newark at 7:00 + 45 + 60 + 45 minutes = 9:30.
        "2013,1,1,600,500,60,700,600,60,UA,1,N1,EWR,BOS,40,0,2013-01-01T10:00:00Z",
        // 9:29 is one minute too early, but the flight leaves on time.
        "2013,1,1,929,929,0,1030,1030,0,UA,2,N1,EWR,BOS,40,29,2013-01-01T14:00:00Z",
        // Nothing is late now. Then the aircraft is 35 minutes late: ready at 14:35 + 45 + 95 + 45
        // = 17:40.
        "2013,1,1,1300,1300,0,1435,1400,35,UA,3,N1,EWR,BOS,40,0,2013-01-01T18:00:00Z",
        // Canceled, so the next leg is at risk instead.
        "2013,1,1,NA,1500,NA,NA,1600,NA,UA,4,N1,EWR,BOS,NA,0,2013-01-01T20:00:00Z",
        // Departed late.
        "2013,1,1,1745,1730,15,1830,1830,0,UA,5,N1,EWR,BOS,40,30,2013-01-01T22:00:00Z",
        // Without a tail number, it concerns no aircraft.
        "2013,1,1,600,500,60,700,600,60,UA,6,NA,EWR,BOS,40,0,2013-01-01T10:00:00Z",
    ];
    let csv = format!("{COLUMNS}\n{}\n", rows.join("\n"));
    let flights = Input::read("day.csv", csv.as_bytes()).unwrap().flights;

    let runner = run(&flights.into()).await;

    let aircraft = runner.application(AIRCRAFT).unwrap();
    let log = aircraft.log().stored().read().collect().await.unwrap();
    let recorded: Vec<_> = log
        .iter()
        .filter(|event| event.has_tag("aircraft:N1"))
        .map(|event| {
            let payload: serde_json::Value =
                serde_json::from_slice(event.payload().unwrap()).unwrap();
            let flight = payload["flight"].as_str().unwrap();
            let topic = event.topic().trim_start_matches("Airframe.");
            format!("{topic} {}", &flight[..4])
        })
        .collect();
    assert_eq!(
        recorded,
        [
            // Announced half a day ahead.
            "LegPlanned UA-1",
            "LegPlanned UA-2",
            "LegPlanned UA-3",
            "LegPlanned UA-4",
            "LegPlanned UA-5",
            "TookOff UA-1",
            "Landed UA-1",
            "LegAtRisk UA-2",
            "TookOff UA-2",
            "Landed UA-2",
            "TookOff UA-3",
            "Landed UA-3",
            "LegAtRisk UA-4",
            "LegDropped UA-4",
            "LegAtRisk UA-5",
            "TookOff UA-5",
            "Landed UA-5",
        ]
    );
    let airframe = aircraft.get::<Airframe>("N1").await.unwrap().state;
    assert_eq!(airframe.legs_flown(), 4);
    assert_eq!(airframe.minutes_flown(), 60 + 61 + 95 + 45);
    assert!(matches!(airframe.place(), Place::OnGround { airport, .. } if airport == "BOS"));

    let notices = runner.application(NOTICES).unwrap();
    let expected = [
        (1, NoticePhase::Closed),
        (2, NoticePhase::Withdrawn),
        (3, NoticePhase::Closed),
        (4, NoticePhase::CameTrue),
        (5, NoticePhase::CameTrue),
        (6, NoticePhase::Closed),
    ];
    for (number, phase) in expected {
        let notice = notices.get::<Notice>(format!("UA-{number}-2013-01-01-EWR"));
        let notice = notice.await.unwrap().state;
        assert_eq!(notice.phase(), phase, "UA {number}");
    }
    assert_is_retold(runner.open_system()).await;
}

/// The results of a busy day. Another program computed the expected values from the same rows and
/// rules: 842 flights, all with a tail number, 4 of them canceled and 7 diverted. One departed
/// without its aircraft, which was in the air, so there is one takeoff and landing less than in
/// flights.
#[tokio::test]
async fn the_system_processes_the_first_of_january() {
    let flights = first_of_january();

    let runner = run(&flights).await;

    let open = runner.open_system();
    let events: u64 = count_by_topic(open, FLIGHTS).await.values().sum();
    assert_eq!(events, command_count(&flights));
    let aircraft = [
        ("Airframe.LegPlanned", 842),
        ("Airframe.LegDropped", 4),
        ("Airframe.TookOff", 837),
        ("Airframe.Landed", 830),
        ("Airframe.LandedElsewhere", 7),
        ("Airframe.LegAtRisk", 24),
    ];
    assert_eq!(count_by_topic(open, AIRCRAFT).await, counts(&aircraft));
    // Each flight at risk has its notice; six of them departed on time nevertheless.
    let notices = [
        ("Notice.Made", 24),
        ("Notice.Withdrawn", 6),
        ("Notice.CameTrue", 18),
        ("Notice.Closed", 842 - 24),
    ];
    assert_eq!(count_by_topic(open, NOTICES).await, counts(&notices));
    assert_is_retold(open).await;
}

/// Goal: each aircraft has the same history for any order and number of concurrent callers.
#[tokio::test(flavor = "multi_thread")]
async fn each_aircraft_has_one_history_in_every_schedule() {
    let flights = first_of_january();
    let expected = run(&flights).await;
    for application in [FLIGHTS, AIRCRAFT] {
        let by_aircraft = events_by_key(expected.open_system(), application).await;
        // One caller per tail number of the day.
        assert_eq!(by_aircraft.unwrap().unwrap().len(), 649);
    }
    let seed = crate::seed();
    for (round, callers) in [1, 2, 16].into_iter().enumerate() {
        let mut itineraries = itineraries(&flights);
        itineraries.sort_by_cached_key(|itinerary| {
            let mut hasher = DefaultHasher::new();
            (seed, round, itinerary).hash(&mut hasher);
            hasher.finish()
        });
        let runner = start().await;
        let app = runner.application(FLIGHTS).unwrap();
        let flights = Arc::clone(&flights);
        replay_itineraries(&app, flights, itineraries.into(), callers, Arc::default())
            .await
            .unwrap();
        assert_caught_up(&runner).await;
        assert_same_histories(expected.open_system(), runner.open_system()).await;
        assert_is_retold(runner.open_system()).await;
    }
    let difference = first_difference(expected.open_system(), seed)
        .await
        .unwrap();
    assert!(difference.is_none(), "{}", difference.unwrap());
}

async fn assert_same_histories(expected: &OpenSystem, found: &OpenSystem) {
    let difference = compare(expected, found).await.unwrap();
    assert!(difference.is_none(), "{}", difference.unwrap());
}

/// Steps the follower of this application until it has processed everything.
async fn catch_up(open: &OpenSystem, application: &str) {
    let index = open.system().index_of(application).unwrap();
    for (of, mut pipeline) in open.pipelines() {
        if of == index {
            while pipeline.step().await.unwrap() == Step::Moved {}
            pipeline.flush_idle().await.unwrap();
        }
    }
}

/// Goal: followers that lag by a day and process it in batches record the same events per aircraft,
/// and the notices match the docs of the system. Here, all departures are processed before any
/// risk.
#[tokio::test]
async fn a_lagging_follower_makes_no_notice_for_departed_flights() {
    let flights = first_of_january();
    let expected = run(&flights).await;
    let open = OpenSystem::open(&system(), &memory(), Opening::Write)
        .await
        .unwrap();
    let app = open.application(FLIGHTS).unwrap();
    replay(app, Arc::clone(&flights), 1, Arc::default())
        .await
        .unwrap();

    catch_up(&open, NOTICES).await;
    catch_up(&open, AIRCRAFT).await;
    catch_up(&open, NOTICES).await;

    assert_same_histories(expected.open_system(), &open).await;
    let notices = counts(&[("Notice.Closed", 842)]);
    assert_eq!(count_by_topic(&open, NOTICES).await, notices);
    assert_is_retold(&open).await;
}

/// Goal: the recorded logs retell, per follower and as a whole.
async fn assert_is_retold(open: &OpenSystem) {
    for report in retell(open).await.unwrap() {
        assert!(report.difference.is_none(), "{report}");
    }
    let whole = retell_whole(open).await.unwrap();
    assert!(whole.difference.is_none(), "{whole}");
}

/// Goal: the view equals a fold of the log, and the logs retell. Method: once with log and view in
/// one file, once with the log in a server's database.
#[tokio::test]
async fn the_view_in_sqlite_equals_the_fold() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("flights.db")).unwrap();
    let views = store.views();
    the_view_is_the_fold(Arc::new(store), &views).await;
}

#[tokio::test]
async fn the_view_of_a_log_in_postgres_equals_the_fold() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(&xtask::postgres_server::database())
        .await
        .unwrap();
    let views = SqliteViews::open(folder.path().join("views.db")).unwrap();
    the_view_is_the_fold(store, &views).await;
}

async fn the_view_is_the_fold(store: Arc<dyn Store>, views: &SqliteViews) {
    let runner = SingleThread::start(&system(), &Infrastructure::new(store))
        .await
        .unwrap();
    let app = runner.application(FLIGHTS).unwrap();
    let view_store = keep_on_time(views).unwrap();
    let mut pipeline = ProjectionPipeline::new(Arc::clone(app.recorder()), view_store);
    let flights = first_of_january();
    let (begun, rest) = flights.split_at(20);

    for part in [begun, &rest[..20]] {
        replay(&app, part.into(), 4, Arc::default()).await.unwrap();
        pipeline.catch_up().await.unwrap();

        let view = read_on_time(&views.reader().unwrap()).unwrap();
        assert!(view.total().arrived > 0);
        assert_eq!(view, OnTime::read(&app).await.unwrap());
    }
    assert_is_retold(runner.open_system()).await;
}

/// Goal: a log from before cancellations contained their aircraft is read as it was.
#[test]
fn an_old_cancellation_has_no_aircraft() {
    let old = r#"{"carrier":"UA","origin":"EWR"}"#;
    let index = FlightEvent::topics()
        .position(|it| it == "Flight.Cancelled")
        .unwrap();
    let mut json = serde_json::Deserializer::from_str(old);
    let FlightEvent::Cancelled(cancelled) =
        FlightEvent::deserialize_payload(index, &mut json).unwrap()
    else {
        panic!("another event");
    };
    assert_eq!(cancelled.aircraft, None);
    assert_eq!(serde_json::to_string(&cancelled).unwrap(), old);
}
