//! Tests of the system of flights in several processes under simulated faults.
//!
//! Every simulation of a system also checks that the logs retell, and that each aircraft has the
//! same history in another schedule.

use std::sync::Arc;
use std::thread;

use retold::application::ExecuteError;
use retold::prelude::*;
use retold::retelling::SystemSimulation;
use retold::simulation::{Simulation, seeds};
use retold::system::{OpenSystem, System};
use retold_flights::airframe::Airframe;
use retold_flights::flight::{Cancelled, Departed, Flight};
use retold_flights::input::Input;
use retold_flights::itinerary::{itineraries, steps};
use retold_flights::notice::{Notice, NoticePhase};
use retold_flights::on_time::LATE_MINUTES;
use retold_flights::record::FlightRecord;
use retold_flights::replay::send;
use retold_flights::system::{AIRCRAFT, FLIGHTS, NOTICES, system};

/// A rare race occurs in one of hundreds of seeds.
const SEEDS: u64 = 1_000;
/// Threads that share the seeds; one thread would take half a minute.
const THREADS: u64 = 2;

/// Two late aircraft, so that the next leg of each is at risk: one departs on time nevertheless,
/// the other is canceled.
const ROWS: &str = "\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,\
flight,tailnum,origin,dest,air_time,minute,time_hour
2013,1,1,600,500,60,700,600,60,UA,1,N1,EWR,BOS,40,0,2013-01-01T10:00:00Z
2013,1,1,929,929,0,1130,1030,60,UA,2,N1,EWR,BOS,40,29,2013-01-01T14:00:00Z
2013,1,1,600,500,60,700,600,60,B6,1,N2,JFK,BOS,40,0,2013-01-01T10:00:00Z
2013,1,1,NA,800,NA,NA,900,NA,B6,2,N2,JFK,BOS,NA,0,2013-01-01T13:00:00Z
";

/// Sends the steps of one aircraft in order and retries each until it succeeds. A step that was
/// recorded before a crash is refused the second time.
async fn fly(open: OpenSystem, flights: Arc<[FlightRecord]>, itinerary: Vec<u32>) {
    let app = open.application(FLIGHTS).unwrap();
    for (flight, step) in steps(&itinerary, &flights) {
        while let Err(ExecuteError::Retold(_)) = send(app, flight, step).await {}
    }
}

/// Hours are counted once, and no notice is left open that a departure or cancellation should have
/// closed.
async fn check(open: OpenSystem) -> retold::Result<Result<(), String>> {
    let [flights, aircraft, notices] =
        [FLIGHTS, AIRCRAFT, NOTICES].map(|it| open.application(it).unwrap());
    for (tail_number, legs, minutes) in [("N1", 2, 60 + 121), ("N2", 1, 60)] {
        let airframe = aircraft.get::<Airframe>(tail_number).await?.state;
        let flown = (airframe.legs_flown(), airframe.minutes_flown());
        if flown != (legs, minutes) {
            return Ok(Err(format!("{tail_number} flew {flown:?}")));
        }
    }
    let departed = flights.events::<Departed>().read().collect().await?;
    let departed = departed.iter().map(|it| {
        let is_on_time = it.event.delay_minutes < LATE_MINUTES;
        (it.stored.stream(), is_on_time)
    });
    let cancelled = flights.events::<Cancelled>().read().collect().await?;
    let cancelled = cancelled.iter().map(|it| (it.stored.stream(), false));
    for (stream, is_on_time) in departed.chain(cancelled) {
        let flight = stream.and_then(Id::<Flight>::of_stream).unwrap();
        let notice = notices.get::<Notice>(flight.to_string()).await?.state;
        let is_right = match notice.phase() {
            NoticePhase::Closed => true,
            NoticePhase::Withdrawn => is_on_time,
            NoticePhase::CameTrue => !is_on_time,
            _ => false,
        };
        if !is_right {
            return Ok(Err(format!(
                "the notice of {flight} is {:?}",
                notice.phase()
            )));
        }
    }
    Ok(Ok(()))
}

#[test]
fn under_faults_hours_are_counted_once_and_no_notice_stays_open() {
    let flights = Input::read("day.csv", ROWS.as_bytes()).unwrap().flights;
    let flights: Arc<[FlightRecord]> = flights.into();
    let system = system();
    thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                seeds(SEEDS / THREADS, |simulation| {
                    simulate(simulation, &system, &flights)
                });
            });
        }
    });
}

fn simulate(
    simulation: &mut Simulation,
    system: &System,
    flights: &Arc<[FlightRecord]>,
) -> Result<(), String> {
    let mut simulated = SystemSimulation::new(simulation, system)?;
    for (name, itinerary) in ["N1", "N2"].into_iter().zip(itineraries(flights)) {
        let flights = Arc::clone(flights);
        simulated.commands(name, move |open| {
            fly(open, Arc::clone(&flights), itinerary.clone())
        });
    }
    simulated.run()?;
    simulated.outside(check)?
}
