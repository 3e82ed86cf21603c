//! `retold demo`: on a few flights, told for people and for programs, gone on with, and interrupted.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::command::run;

/// Four flights of one aircraft, the second of which leaves before the first has landed, one that is
/// cancelled, and a row that is none.
const FLIGHTS: &str = "\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour
2013,1,1,912,915,-3,1219,1231,-12,UA,1601,N38403,EWR,MIA,162,1085,9,15,2013-01-01T14:00:00Z
2013,1,1,1202,1207,-5,1645,1702,-17,UA,1663,N38403,EWR,SJU,188,1608,12,7,2013-01-01T17:00:00Z
2013,1,2,517,515,2,830,819,11,UA,1545,N38403,EWR,IAH,227,1400,5,15,2013-01-02T10:00:00Z
2013,1,3,517,515,2,NA,819,NA,UA,1545,N38403,EWR,IAH,NA,1400,5,15,2013-01-03T10:00:00Z
2013,1,1,NA,1630,NA,NA,1815,NA,EV,4308,N18120,EWR,RDU,NA,416,16,30,2013-01-01T21:00:00Z
2013,1,1,NA
";

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("flights.csv"), FLIGHTS).unwrap();
    folder
}

fn data(folder: &TempDir) -> String {
    path(folder.path(), "flights.csv")
}

fn store(folder: &TempDir) -> String {
    format!("sqlite:{}", path(folder.path(), "flights.db"))
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn it_is_told_for_people() {
    let folder = folder();
    let told = run(&["demo", "--data", &data(&folder)]).fine();
    for line in [
        "flights   5 by 2 aircraft: ",
        "(removed at the end; keep it with --store sqlite:PATH)",
        "Recorded 14 events of 15 commands in ",
        "Departures refused: 1, because",
        "  UA-1663-2013-01-01-EWR: N38403 is in the air, as UA 1601",
        "departed, did not arrive as planned        1  taken as diverted",
        "  line 7: ",
        "  UA  United Air Lines Inc.",
        "Opened again, the store reads the same: 14 events, SHA-256 ",
        " demo --store sqlite:flights.db",
        " events sqlite:flights.db flights --tag aircraft:N14228 --limit 12",
    ] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
    let temporary = told
        .lines()
        .find(|line| line.starts_with("store "))
        .unwrap();
    let file = temporary.split("sqlite:").nth(1).unwrap();
    let file = file.split(' ').next().unwrap();
    assert!(!Path::new(file).exists(), "{file} is left");
}

#[test]
fn it_is_told_for_programs_in_one_object() {
    let folder = folder();
    let objects = run(&["demo", "--json", "--data", &data(&folder)]).objects();
    assert_eq!(objects.len(), 1);
    let told = &objects[0];
    assert_eq!(told["flights"], 5);
    assert_eq!(told["events_recorded"], 14);
    assert_eq!(told["departures_while_in_air"], 1);
    assert_eq!(
        told["flaws"],
        json!({"unreadable": 1, "departed-without-arrival": 1})
    );
    assert_eq!(told["total"]["scheduled"], 5);
    assert_eq!(told["total"]["cancelled"], 1);
    assert_eq!(told["total"]["diverted"], 1);
    assert_eq!(told["total"]["arrived"], 3);
    assert_eq!(told["total"]["on_time"], 3);
    assert_eq!(told["total"]["delay_minutes_sum"], -18);
    assert_eq!(told["carriers"][1]["name"], "United Air Lines Inc.");
    assert_eq!(told["reads_the_same"], true);
}

#[test]
fn what_it_records_can_be_looked_into_and_gone_on_with() {
    let folder = folder();
    let (data, store) = (data(&folder), store(&folder));
    run(&["demo", "--data", &data, "--store", &store]).fine();

    let again = run(&["demo", "--json", "--data", &data, "--store", &store]).objects();
    assert_eq!(again[0]["events_recorded"], 0);
    assert_eq!(again[0]["events_in_log"], 14);
    assert_eq!(again[0]["refused"]["already-scheduled"], 5);

    let of_aircraft = [
        "events",
        &store,
        "flights",
        "--tag",
        "aircraft:N38403",
        "--json",
    ];
    let events = run(&of_aircraft).objects();
    // Four plans; of the second flight nothing else, as its aircraft is in doubt.
    assert_eq!(events.len(), 10);
    let last = run(&[
        "events",
        &store,
        "flights",
        "--stream",
        "Flight/UA-1545-2013-01-03-EWR",
    ]);
    assert!(last.fine().contains("Flight.Diverted"));
    run(&["verify", &store]).fine();
}

#[test]
fn a_temporary_store_is_kept_if_that_is_asked_for() {
    let folder = folder();
    let objects = run(&["demo", "--json", "--keep", "--data", &data(&folder)]).objects();
    let url = objects[0]["store"].as_str().unwrap();
    run(&["verify", url]).fine();
    let file = Path::new(url.strip_prefix("sqlite:").unwrap());
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let folder = folder();
    let demo = |arguments: &[&str]| run(&[&["demo"], arguments].concat());
    demo(&["--data", "missing.csv"]).check_refused(1, "cannot read missing.csv");
    let other = path(folder.path(), "dogs.csv");
    fs::write(&other, "name\nFido\n").unwrap();
    demo(&["--data", &other]).check_refused(1, "has no column \"year\"");
    demo(&["--store", "flights.db"]).check_refused(1, "flights.db");
    demo(&["--store", "sqlite:missing/folder/flights.db"]).check_refused(1, "missing/folder");
    demo(&["--concurrency", "0"]).check_refused(2, "--concurrency");
    demo(&["--keep", "--store", "sqlite:x.db"]).check_refused(2, "--keep");
}

/// Goal: Ctrl-C leaves a good store, and the same command goes on with it. Method: replay January,
/// interrupt it once something is recorded, and go on with a few flights.
#[cfg(unix)]
#[test]
fn interrupted_it_leaves_a_good_store() {
    let folder = folder();
    let store = store(&folder);
    let mut demo = crate::command::retold(&["demo", "--store", &store])
        .spawn()
        .unwrap();
    let has_events = || {
        let logs = run(&["logs", &store, "--json"]);
        logs.code == Some(0) && logs.objects().iter().any(|log| log["events"] != 0)
    };
    while !has_events() {
        let ended = demo.try_wait().unwrap();
        assert_eq!(ended, None, "it ended before it was interrupted");
    }
    let pid = demo.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.unwrap().success());

    let ended = demo.wait_with_output().unwrap();

    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("the store is good; go on with"), "{said}");
    run(&["verify", &store]).fine();
    let on = [
        "demo",
        "--json",
        "--data",
        &data(&folder),
        "--store",
        &store,
    ];
    assert_eq!(run(&on).objects()[0]["reads_the_same"], true);
}
