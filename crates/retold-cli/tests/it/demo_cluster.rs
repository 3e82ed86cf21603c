//! `retold demo --cluster`: several processes on one store, some of which are killed, record the
//! same as one thread.

use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};
use xtask::postgres_server::PostgresServer;

use crate::command::run;

/// The server of all tests, which ends with the process.
static SERVER: LazyLock<PostgresServer> =
    LazyLock::new(|| PostgresServer::start().unwrap_or_else(|error| panic!("{error}")));

/// Runs these tests one at a time, because each starts several processes.
pub(crate) static TURN: Mutex<()> = Mutex::new(());

/// Number of flights that take long enough for some kills.
const FLIGHTS: &str = "1000";
/// Options for several kills.
const KILLS: [&str; 2] = ["--kill-every", "1.2"];
/// Minimum number of kills.
const KILLS_MIN: u64 = 3;

/// Runs it with kills, and checks its report. Prints the seed.
#[track_caller]
fn check_equal(url: &str, times: &[&str]) -> Value {
    let mut arguments = vec!["demo", "--json", "--cluster", "3", "--url", url];
    arguments.extend(["--flights-max", FLIGHTS]);
    arguments.extend(times);
    let seed = std::env::var("RETOLD_SEED").ok();
    if let Some(seed) = &seed {
        arguments.extend(["--seed", seed]);
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let objects = run(&arguments).objects();
    drop(turn);
    let object = objects[0].clone();
    eprintln!("to repeat: RETOLD_SEED={}", object["seed"]);
    assert_eq!(object["is_equal"], true, "{object}");
    assert_eq!(object["retold"]["differences"], json!([]));
    assert_eq!(object["retold"]["whole"]["is_same"], true);
    assert_eq!(object["compared"]["difference"], Value::Null);
    assert_eq!(object["views"], 3);
    assert_eq!(object["views_that_differ"], 0);
    object
}

#[track_caller]
fn check_killed(object: &Value) {
    let kills = object["cluster"]["kills"].as_u64().unwrap();
    assert!(kills >= KILLS_MIN, "{object}");
    let by_node = object["cluster"]["kills_by_node"].as_object().unwrap();
    assert!(by_node.values().all(|it| it.as_u64() > Some(0)), "{object}");
}

#[test]
fn killed_processes_on_postgres_record_the_same() {
    let url = SERVER.url("postgres");
    let object = check_equal(&format!("{url}&schema=killed"), &KILLS);
    check_killed(&object);
    assert_eq!(object["cluster"]["ended_by_themselves"], 0, "{object}");
    assert!(object["store"].as_str().unwrap().contains("schema=killed"));

    let again = run(&[
        "demo",
        "--cluster",
        "3",
        "--url",
        &format!("{url}&schema=killed"),
    ]);
    again.check_refused(2, "name another file, or another schema");
}

#[test]
fn killed_processes_on_sqlite_record_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flights.db");
    let url = format!("sqlite:{}", path.to_str().unwrap());
    check_killed(&check_equal(&url, &KILLS));
}

#[test]
fn processes_that_are_stopped_past_their_leases_record_the_same() {
    let url = SERVER.url("postgres");
    let sleeps = ["--kill-every", "10", "--freeze-every", "1.5"];
    let object = check_equal(&format!("{url}&schema=slept"), &sleeps);
    assert!(
        object["cluster"]["sleeps"].as_u64().unwrap() > 0,
        "{object}"
    );
}

#[test]
fn missing_arguments_are_named() {
    run(&["demo", "--cluster", "3"]).check_refused(2, "add --url postgres://USER@HOST/DATABASE");
    let memory = run(&["demo", "--cluster", "3", "--url", "memory:flights"]);
    memory.check_refused(2, "in the memory of one process");
    run(&["demo", "--kill-every", "3"]).check_refused(2, "--cluster <N>");
    run(&["demo", "--cluster", "0"]).check_refused(2, "--cluster <N>");
    let never = run(&[
        "demo",
        "--cluster",
        "2",
        "--url",
        "sqlite:x",
        "--kill-every",
        "0",
    ]);
    never.check_refused(2, "more than 0");
    run(&["demo-node", "--name", "one"]).check_refused(2, "retold demo --cluster N");
}
