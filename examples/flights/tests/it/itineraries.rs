//! Tests of itineraries: one per aircraft, with its steps in order of time.

use retold_flights::input::Input;
use retold_flights::itinerary::{Step, itineraries, steps};

const COLUMNS: &str = "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,\
                       arr_delay,carrier,flight,tailnum,origin,dest,air_time,minute,time_hour";

fn read(rows: &[&str]) -> Input {
    let csv = format!("{COLUMNS}\n{}\n", rows.join("\n"));
    Input::read("test.csv", csv.as_bytes()).unwrap()
}

#[test]
fn flights_are_divided_by_aircraft() {
    let input = read(&[
        "2013,1,1,NA,500,NA,NA,600,NA,UA,1,N1,EWR,BOS,NA,0,2013-01-01T10:00:00Z",
        "2013,1,1,NA,500,NA,NA,600,NA,UA,2,NA,EWR,BOS,NA,0,2013-01-01T10:00:00Z",
        "2013,1,1,NA,500,NA,NA,600,NA,UA,3,N2,EWR,BOS,NA,0,2013-01-01T10:00:00Z",
        "2013,1,1,NA,500,NA,NA,600,NA,UA,4,NA,EWR,BOS,NA,0,2013-01-01T10:00:00Z",
        "2013,1,1,NA,500,NA,NA,600,NA,UA,5,N2,EWR,BOS,NA,0,2013-01-01T10:00:00Z",
    ]);
    assert_eq!(
        itineraries(&input.flights),
        [vec![2, 4], vec![0], vec![1], vec![3]]
    );
    assert_eq!(itineraries(&[]), Vec::<Vec<u32>>::new());
}

#[track_caller]
fn check(rows: &[&str], expected: &[(u32, &str)]) {
    let input = read(rows);
    let itinerary = (0..).take(rows.len()).collect();
    let steps: Vec<_> = steps(&itinerary, &input.flights)
        .into_iter()
        .map(|(flight, step)| (flight.number, name(step)))
        .collect();
    assert_eq!(steps, expected);
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Schedule => "schedule",
        Step::Cancel => "cancel",
        Step::Depart(_) => "depart",
        Step::Divert(_) => "divert",
        Step::Arrive(_) => "arrive",
    }
}

#[test]
fn steps_are_in_order_of_time() {
    // The first flight comes second because it is late. The second lands in the minute in which it
    // departs.
    check(
        &[
            "2013,1,1,900,500,240,1000,600,240,UA,1,N1,EWR,BOS,40,0,2013-01-01T10:00:00Z",
            "2013,1,1,530,530,0,900,900,0,UA,2,N1,EWR,BOS,40,30,2013-01-01T10:00:00Z",
        ],
        &[
            (1, "schedule"),
            (2, "schedule"),
            (2, "depart"),
            (2, "arrive"),
            (1, "depart"),
            (1, "arrive"),
        ],
    );
}

#[test]
fn a_diverted_flight_frees_its_aircraft_immediately_unless_the_time_is_known() {
    check(
        &[
            "2013,1,1,500,500,0,NA,600,NA,UA,1,N1,EWR,BOS,NA,0,2013-01-01T10:00:00Z",
            "2013,1,1,530,530,0,900,600,NA,UA,2,N1,EWR,BOS,NA,30,2013-01-01T10:00:00Z",
            "2013,1,1,NA,600,NA,NA,700,NA,UA,3,N1,EWR,BOS,NA,0,2013-01-01T11:00:00Z",
        ],
        &[
            (1, "schedule"),
            (2, "schedule"),
            (3, "schedule"),
            (1, "depart"),
            (1, "divert"),
            (2, "depart"),
            (3, "cancel"),
            (2, "divert"),
        ],
    );
}

#[test]
fn a_flight_is_announced_half_a_day_ahead() {
    check(
        &[
            "2013,1,1,NA,500,NA,NA,600,NA,UA,1,N1,EWR,BOS,NA,0,2013-01-01T10:00:00Z",
            "2013,1,1,NA,1659,NA,NA,1800,NA,UA,2,N1,EWR,BOS,NA,59,2013-01-01T21:00:00Z",
            "2013,1,1,NA,1701,NA,NA,1800,NA,UA,3,N1,EWR,BOS,NA,1,2013-01-01T22:00:00Z",
        ],
        &[
            (1, "schedule"),
            (2, "schedule"),
            (1, "cancel"),
            (3, "schedule"),
            (2, "cancel"),
            (3, "cancel"),
        ],
    );
}

#[test]
fn a_landing_before_the_departure_is_sent_after_it() {
    check(
        &["2013,1,1,500,500,0,459,600,-61,UA,1,N1,EWR,BOS,NA,0,2013-01-01T10:00:00Z"],
        &[(1, "schedule"), (1, "depart"), (1, "arrive")],
    );
}
