//! `retold verify --retell`: the logs of the flights, intact and changed with SQL, and stores of
//! other systems.

use std::sync::Arc;

use retold::recording::{Amendment, Append, ERASED_TOPIC, ErasedParts, LogRead, Query};
use retold::system::{Infrastructure, Runner, SingleThread};
use retold_flights::input::Input;
use retold_flights::replay::replay;
use retold_flights::system::{FLIGHTS, system};
use rusqlite::Connection;

use crate::command::{objects, run};
use crate::forging::{change_log_id, replace_in_payloads};
use crate::shop::with_poison;
use crate::store::{Place, event};

const FLIGHTS_CSV: &str = "\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,\
tailnum,origin,dest,air_time,distance,hour,minute,time_hour
2013,1,1,600,500,60,700,600,60,UA,1,N1,EWR,BOS,40,200,5,0,2013-01-01T10:00:00Z
2013,1,1,929,929,0,1030,1030,0,UA,2,N1,EWR,BOS,40,200,9,29,2013-01-01T14:00:00Z
2013,1,1,NA,1500,NA,NA,1600,NA,UA,4,N1,EWR,BOS,NA,200,15,0,2013-01-01T20:00:00Z
";

/// Creates a store in which the flights' system has processed three flights of one aircraft.
fn with_flights() -> Place {
    let place = Place::new();
    let store = place.open();
    let flights = Input::read("day.csv", FLIGHTS_CSV.as_bytes())
        .unwrap()
        .flights;
    place.block_on(async {
        let runner = SingleThread::start(&system(), &Infrastructure::new(store)).await?;
        let app = runner.application(FLIGHTS)?;
        replay(&app, flights.into(), 1, Arc::default()).await?;
        Ok::<_, retold::Error>(())
    });
    place
}

#[test]
fn intact_logs_are_equal() {
    let place = with_flights();
    let url = place.url();
    let text = run(&["verify", &url, "--retell"]).fine();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 10, "{text}");
    assert!(lines[4].starts_with("aircraft\tmovements@1\t"), "{text}");
    assert!(lines[4].ends_with("\t0\tequal"), "{text}");
    assert!(lines[5].starts_with("notices\trisks@1\t"), "{text}");
    assert_eq!(lines[7], "No problems found.");
    assert!(
        lines[8].ends_with("events again and found no differences."),
        "{text}"
    );
    assert!(lines[9].starts_with("The program decodes all "), "{text}");

    let objects = run(&["verify", &url, "--retell=whole", "--json"]).objects();
    assert_eq!(objects.len(), 6);
    assert_eq!(objects[3]["follower"], "movements@1");
    assert_eq!(objects[3]["difference"], serde_json::Value::Null);
    assert!(
        objects[3]["processed"].as_u64().unwrap() >= 8,
        "{objects:?}"
    );
    assert_eq!(objects[5]["schedule"], "whole");
    let processed = |index: usize| objects[index]["processed"].as_u64().unwrap();
    assert_eq!(processed(5), processed(3) + processed(4));

    let objects = run(&["verify", &url, "notices", "--retell", "--json"]).objects();
    assert_eq!(objects.len(), 2);
    assert_eq!(objects[1]["follower"], "risks@1");
}

/// Goal: an effect that the policies do not decide is found, and both sides are shown. Method:
/// change the airport of landings in the log of aircraft, which no index contains.
#[test]
fn a_changed_effect_is_different() {
    let place = with_flights();
    let db = Connection::open(place.path()).unwrap();
    let guard = "SELECT sql FROM sqlite_schema WHERE name = 'event_never_changes'";
    let guard: String = db.query_row(guard, [], |row| row.get(0)).unwrap();
    db.execute_batch("DROP TRIGGER event_never_changes")
        .unwrap();
    let airport = |name| format!("\"airport\":\"{name}\"");
    assert!(replace_in_payloads(&db, &airport("BOS"), &airport("LGA")) > 0);
    db.execute_batch(&guard).unwrap();
    drop(db);
    let url = place.url();

    let out = run(&["verify", &url, "--retell=whole"]);

    assert_eq!(out.code, Some(1), "{out:?}");
    for part in [
        "\tdifferent\n",
        "movements@1 of aircraft differs: ",
        "processing Flight.Arrived at ",
        "  recorded: at position ",
        "\"airport\":\"LGA\"",
        "\"airport\":\"BOS\"",
        "The whole system, as one schedule",
        "Retelling found problems: 2 findings, shown above.",
    ] {
        assert!(out.out.contains(part), "{part:?} is not in\n{}", out.out);
    }
    let out = run(&["verify", &url, "aircraft", "--retell", "--json"]);
    assert_eq!(out.code, Some(1));
    let difference = &objects(&out.out)[1]["difference"];
    assert_eq!(difference["cause"]["topic"], "Flight.Arrived", "{out:?}");
    assert!(difference["recorded"]["position"].is_u64(), "{difference}");
    run(&["verify", &url]).fine();
}

/// Erases the only event of a topic.
fn erase(place: &Place, log: &str, topic: &'static str) {
    let log = place.log(&*place.open(), log);
    let read = LogRead::of(Query::topic(topic));
    let found = place.block_on(log.read_log(read)).events;
    assert_eq!(found.len(), 1, "{found:?}");
    let stream: Arc<str> = found[0].stream().expect("it has a stream").into();
    let amendment = Amendment::EraseEvent {
        event: found[0].id(),
        stream: Some(stream.clone()),
        parts: ErasedParts::PAYLOAD,
    };
    let record = event(900, ERASED_TOPIC, "{}").stream(stream);
    place.block_on(log.append(Append::of([record]).amendment(amendment)));
}

#[test]
fn effects_of_erased_events_are_not_compared() {
    let place = with_flights();
    erase(&place, "flights", "Flight.Cancelled");
    let out = run(&["verify", &place.url(), "aircraft", "--retell"]).fine();
    assert!(
        out.contains("movements@1 of aircraft, not compared: effects of erased events (1)\n"),
        "{out}"
    );
}

#[test]
fn a_failed_retelling_does_not_hide_the_others() {
    let place = with_flights();
    let db = Connection::open(place.path()).unwrap();
    db.execute_batch(
        "DROP TRIGGER log_never_changes; DROP TRIGGER event_never_changes;
         DROP TRIGGER stretch_only_grows;",
    )
    .unwrap();
    change_log_id(&db, "aircraft", uuid::Uuid::nil());
    drop(db);
    let out = run(&["verify", &place.url(), "--retell=whole"]);
    assert_eq!(out.code, Some(1), "{out:?}");
    for part in [
        "aircraft\tmovements@1\t",
        "\tequal\n",
        "\tfailed\n",
        "\nrisks@1 of notices failed: the log \"aircraft\" has been replaced",
    ] {
        assert!(out.out.contains(part), "{part:?} is not in\n{}", out.out);
    }
}

#[test]
fn a_store_of_another_system_is_refused_with_advice() {
    let place = with_poison();
    let url = place.url();
    let other = run(&["verify", &url, "--retell"]);
    other.check_refused(1, "has no log flights, aircraft, notices");
    other.check_refused(1, "retelling::retell(&logs)");
    assert_eq!(other.out, "");

    let place = with_flights();
    let url = place.url();
    run(&["verify", &url, "aircrafts", "--retell"]).check_refused(1, "there is no log");
    run(&["verify", &url, "aircraft", "--retell=whole"]).check_refused(2, "leave out the log");
    run(&["verify", &url, "--retell=some"]).check_refused(2, "followers, whole");
    place.log(&*place.open(), "dogs");
    run(&["verify", &url, "dogs", "--retell"])
        .check_refused(1, "the logs of the system are: flights");
}

#[test]
fn a_follower_that_the_system_does_not_declare_is_refused() {
    let place = with_flights();
    let db = Connection::open(place.path()).unwrap();
    db.execute_batch("DROP TRIGGER stream_never_changes")
        .unwrap();
    let renamed = "UPDATE stream SET name = 'retold.follower/rumours' \
                   WHERE name = 'retold.follower/risks'";
    assert!(db.execute(renamed, []).unwrap() > 0);
    drop(db);
    run(&["verify", &place.url(), "--retell"]).check_refused(
        1,
        "has a follower \"rumours\" that the system \"flights\" does not declare",
    );
}

/// An event that no policy processes is not compared by retelling, but the program must decode it.
#[test]
fn an_event_that_the_program_cannot_decode_is_found() {
    let place = with_flights();
    let url = place.url();
    let notices = place.log(&*place.open(), "notices");
    place.append(&*notices, [event(99, "Notice.Made", "{}")]);
    drop(notices);
    let out = run(&["verify", &url, "notices", "--retell"]);
    assert_eq!(out.code, Some(1), "{out:?}");
    for part in [
        "cannot be read as",
        "missing field",
        "The program cannot decode all events or fold all aggregates: ",
    ] {
        assert!(out.out.contains(part), "{part:?} is not in\n{}", out.out);
    }
}
