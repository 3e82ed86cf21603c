//! `retold demo`: on a few flights, for people and for programs, resumed, interrupted, and on a
//! store with a changed log.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::command::run;
use crate::forging::replace_in_payloads;

/// Four flights of one aircraft, the second of which leaves before the first has landed, one that
/// is cancelled, and a row that is none.
const FLIGHTS: &str = "\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,\
tailnum,origin,dest,air_time,distance,hour,minute,time_hour
2013,1,1,912,915,-3,1219,1231,-12,UA,1601,N38403,EWR,MIA,162,1085,9,15,2013-01-01T14:00:00Z
2013,1,1,1202,1207,-5,1645,1702,-17,UA,1663,N38403,EWR,SJU,188,1608,12,7,2013-01-01T17:00:00Z
2013,1,2,517,515,2,830,819,11,UA,1545,N38403,EWR,IAH,227,1400,5,15,2013-01-02T10:00:00Z
2013,1,3,517,515,2,NA,819,NA,UA,1545,N38403,EWR,IAH,NA,1400,5,15,2013-01-03T10:00:00Z
2013,1,1,NA,1630,NA,NA,1815,NA,EV,4308,N18120,EWR,RDU,NA,416,16,30,2013-01-01T21:00:00Z
2013,1,1,NA
";

/// The report, without the parts that differ from run to run.
const REPORT: &str = "\
Three applications: aircraft follows flights, notices follows both. One caller
  sends all commands to a system in memory, then 64 callers send them to a
  system on SQLite.

flights  5 by 2 aircraft:
store    …

RUN             COMMANDS   FLIGHTS  AIRCRAFT NOTICES   EFFECTS SECONDS EVENTS/S
one thread            15        14        12       5        17
many threads          15        14        12       5        17

Departures refused because the aircraft was in the air, recorded without it: 1.
Flaws in the input: 2; --json lists them by kind.
line 7: CSV error: record 6 (line: 7, byte: 606): found record with 4 fields,
  but the previous record has 19 fields

The view that a projection keeps in SQLite (late: 15 minutes or more):
  AIRLINE                      FLIGHTS  CANCELLED  DIVERTED  ON TIME  MEAN DELAY
  UA United Air Lines Inc.           4          0         1  100.0 %    -6.0 min
  EV ExpressJet Airlines Inc.        1          1         0        -           -
  all                                5          1         1  100.0 %    -6.0 min

Retold in … s, each follower on its own, and the first run as a whole: 57
  events processed again, 51 effects equal, 0 differences.
Compared in … s, flights and aircraft by tail number, without the times that
  the clock gives: 2 aircraft, 24 events, 0 differences.
Notices are not compared: notices follows two logs and may process them in any
  order. The runs have 5 events and 5.
Opened again, the store reads back equal: 34 events; the view equals what the
  logs give.

One thread in memory and many threads on SQLite recorded the same: 2 aircraft,
  24 events, 0 differences.

Next (the code is in examples/flights/src):
  retold demo --store sqlite:flights.db
  retold follower list sqlite:flights.db
  retold verify sqlite:flights.db --retell
  retold events sqlite:flights.db aircraft --tag aircraft:N14228 --limit 12
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

/// Removes the parts that differ from run to run: seconds, rates and paths.
fn lasting(report: &str) -> String {
    let mut lasting = String::new();
    for line in report.lines() {
        let line = line.replace(env!("CARGO_BIN_EXE_retold"), "retold");
        let is_run = line.starts_with("one thread ") || line.starts_with("many threads ");
        let seconds = line.split_once(" in ").and_then(|(before, after)| {
            let (_, after) = after.split_once(" s, ")?;
            Some(format!("{before} in … s, {after}"))
        });
        let line = match seconds {
            Some(line) => line,
            None if is_run => line[..line.len() - "     0.0    5,143".len()].to_owned(),
            None if line.starts_with("store ") => "store    …".to_owned(),
            None if line.starts_with("flights ") => line.rsplit_once(' ').unwrap().0.to_owned(),
            None => line,
        };
        lasting += &line;
        lasting.push('\n');
    }
    lasting
}

#[test]
fn people_get_a_report() {
    let folder = folder();
    let out = run(&["demo", "--data", &data(&folder)]).fine();
    assert_eq!(lasting(&out), REPORT, "{out}");
    let wide = out.lines().find(|line| {
        let has_path = line.contains("sqlite:") || line.contains(&data(&folder));
        line.chars().count() > 80 && !has_path
    });
    assert_eq!(wide, None);
    let temporary = out.lines().find(|line| line.starts_with("store ")).unwrap();
    assert!(temporary.ends_with(" (removed at the end)"), "{temporary}");
    let file = temporary.split("sqlite:").nth(1).unwrap();
    let file = file.split(' ').next().unwrap();
    assert!(!Path::new(file).exists(), "{file} is left");
}

#[test]
fn programs_get_one_object() {
    let folder = folder();
    let objects = run(&["demo", "--json", "--data", &data(&folder)]).objects();
    assert_eq!(objects.len(), 1);
    let object = &objects[0];
    assert_eq!(object["flights"], 5);
    for run in ["memory", "sqlite"] {
        let run = &object[run];
        assert_eq!(run["commands"], 15);
        assert_eq!(run["events"]["flights"], 14);
        assert_eq!(run["departures_while_in_air"], 1);
        let effects = run["events"]["aircraft"].as_u64().unwrap()
            + run["events"]["notices"].as_u64().unwrap();
        assert_eq!(run["effects"], effects);
    }
    assert_eq!(
        object["doubts"],
        json!(["UA-1663-2013-01-01-EWR: N38403 is in the air, as UA 1601"])
    );
    assert_eq!(
        object["flaws"],
        json!({"unreadable": 1, "departed-without-arrival": 1})
    );
    assert_eq!(object["total"]["scheduled"], 5);
    assert_eq!(object["total"]["cancelled"], 1);
    assert_eq!(object["total"]["diverted"], 1);
    assert_eq!(object["total"]["arrived"], 3);
    assert_eq!(object["total"]["on_time"], 3);
    assert_eq!(object["total"]["delay_minutes_sum"], -18);
    assert_eq!(object["carriers"][1]["name"], "United Air Lines Inc.");
    let followers = object["retold"]["followers"].as_array().unwrap();
    let followers = followers.iter().map(|it| {
        assert_eq!(it["is_same"], true);
        format!(
            "{} {}",
            it["run"].as_str().unwrap(),
            it["follower"].as_str().unwrap()
        )
    });
    assert_eq!(
        followers.collect::<Vec<_>>(),
        [
            "in memory movements@1",
            "in memory risks@1",
            "on SQLite movements@1",
            "on SQLite risks@1"
        ]
    );
    assert_eq!(object["retold"]["whole"]["is_same"], true);
    assert_eq!(object["compared"]["aircraft"], 2);
    assert_eq!(object["compared"]["difference"], serde_json::Value::Null);
    assert_eq!(object["reads_back_equal"], true);
    assert_eq!(object["view_equals_logs"], true);
    assert_eq!(object["is_equal"], true);
}

#[test]
fn its_store_can_be_read_and_resumed() {
    let folder = folder();
    let (data, store) = (data(&folder), store(&folder));
    run(&["demo", "--data", &data, "--store", &store]).fine();

    let again = run(&["demo", "--json", "--data", &data, "--store", &store]).objects();
    assert_eq!(again[0]["sqlite"]["events"]["flights"], 0);
    assert_eq!(again[0]["logs"]["flights"]["events"], 14);
    assert_eq!(again[0]["sqlite"]["refused"]["already-scheduled"], 5);
    assert_eq!(again[0]["compared"], serde_json::Value::Null);
    assert_eq!(again[0]["is_equal"], true);
    let again = run(&["demo", "--data", &data, "--store", &store]).fine();
    assert!(
        again.contains("Not compared: the store had events already"),
        "{again}"
    );

    let of_aircraft = [
        "events",
        &store,
        "flights",
        "--tag",
        "aircraft:N38403",
        "--json",
    ];
    let events = run(&of_aircraft).objects();
    // Four schedules; the second flight has no other event, because its aircraft is in doubt.
    assert_eq!(events.len(), 10);
    let last = run(&[
        "events",
        &store,
        "flights",
        "--stream",
        "Flight/UA-1545-2013-01-03-EWR",
    ]);
    assert!(last.fine().contains("Flight.Diverted"));
    run(&["verify", &store, "--retell=whole"]).fine();
}

/// Goal: an effect that no policy decides is reported in full, and by the exit code. Method: change
/// an airport in the log of aircraft with SQL, and resume.
#[test]
fn a_changed_effect_is_reported_in_full() {
    let folder = folder();
    let (data, store) = (data(&folder), store(&folder));
    run(&["demo", "--data", &data, "--store", &store]).fine();
    let db = rusqlite::Connection::open(folder.path().join("flights.db")).unwrap();
    db.execute_batch("DROP TRIGGER event_never_changes")
        .unwrap();
    let airport = |name| format!("\"airport\":\"{name}\"");
    assert!(replace_in_payloads(&db, &airport("MIA"), &airport("LGA")) > 0);
    drop(db);

    let out = run(&["demo", "--data", &data, "--store", &store]);

    assert_eq!(out.code, Some(1), "{out:?}");
    for part in [
        "effects equal, 1 difference.",
        "on SQLite: movements@1 of aircraft: ",
        "processing Flight.Arrived at ",
        "\"airport\":\"LGA\"",
        "\"airport\":\"MIA\"",
        "FAILED: the differences are shown above.",
    ] {
        let text = out.out.replace("\n  ", " ");
        assert!(
            out.out.contains(part) || text.contains(part),
            "{part:?} is not in\n{}",
            out.out
        );
    }
}

#[test]
fn a_temporary_store_is_kept_on_request() {
    let folder = folder();
    let objects = run(&["demo", "--json", "--keep", "--data", &data(&folder)]).objects();
    let url = objects[0]["store"].as_str().unwrap();
    run(&["verify", url]).fine();
    let file = Path::new(url.strip_prefix("sqlite:").unwrap());
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn invalid_arguments_are_refused_with_a_reason() {
    let folder = folder();
    let demo = |arguments: &[&str]| run(&[&["demo"], arguments].concat());
    demo(&["--data", "missing.csv"]).check_refused(1, "cannot read missing.csv");
    let other = path(folder.path(), "dogs.csv");
    fs::write(&other, "name\nFido\n").unwrap();
    demo(&["--data", &other]).check_refused(1, "has no column \"year\"");
    demo(&["--store", "flights.db"]).check_refused(1, "flights.db");
    demo(&["--store", "sqlite:missing/folder/flights.db"]).check_refused(1, "missing/folder");
    demo(&["--store", "memory:flights"]).check_refused(2, "--store sqlite:PATH");
    demo(&["--concurrency", "0"]).check_refused(2, "--concurrency");
    demo(&["--keep", "--store", "sqlite:x.db"]).check_refused(2, "--keep");
}

/// Returns flights of as many aircraft, each from Newark to Houston.
fn many_flights(count: u32) -> String {
    let mut csv = FLIGHTS.lines().next().unwrap().to_owned();
    for number in 1..=count {
        let row = format!(
            "\n2013,1,2,517,515,2,830,819,11,UA,{number},\
             N{number},EWR,IAH,227,1400,5,15,2013-01-02T10:00:00Z"
        );
        csv.push_str(&row);
    }
    csv + "\n"
}

/// Goal: Ctrl-C leaves an intact store, and the same command resumes it. Method: replay many
/// flights, interrupt it once something is recorded, and resume with a few.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_an_intact_store() {
    let folder = folder();
    let store = store(&folder);
    let many = path(folder.path(), "many.csv");
    fs::write(&many, many_flights(2_000)).unwrap();
    let mut demo = crate::command::retold(&["demo", "--data", &many, "--store", &store])
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

    let err = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{err}");
    assert!(
        err.contains("the store is intact; to continue, run"),
        "{err}"
    );
    run(&["verify", &store]).fine();
    let resume = [
        "demo",
        "--json",
        "--data",
        &data(&folder),
        "--store",
        &store,
    ];
    assert_eq!(run(&resume).objects()[0]["reads_back_equal"], true);
}
