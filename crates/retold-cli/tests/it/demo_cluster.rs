//! `retold demo --cluster`: several processes on one store, some of them killed, told as one story; and
//! what it says if it cannot be told.

use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};
use xtask::postgres_server::PostgresServer;

use crate::command::run;

/// The server of the run. Its end comes with that of the process.
static SERVER: LazyLock<PostgresServer> =
    LazyLock::new(|| PostgresServer::start().unwrap_or_else(|error| panic!("{error}")));

/// One at a time: each is several processes, and their times are promised to a machine of two cores.
pub(crate) static TURN: Mutex<()> = Mutex::new(());

/// Flights of the first days of January that take long enough for some kills.
const FLIGHTS: &str = "1000";
/// So often that there are some.
const KILLS: [&str; 2] = ["--kill-every", "1.2"];
/// Fewest kills that count.
const KILLS_MIN: u64 = 3;

/// Runs it with kills, and checks what it says of itself. Tells the seed in the object.
#[track_caller]
fn check_one_story(url: &str, times: &[&str]) -> Value {
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
    let told = objects[0].clone();
    eprintln!("to repeat: RETOLD_SEED={}", told["seed"]);
    assert_eq!(told["is_one_story"], true, "{told}");
    assert_eq!(told["retold"]["differences"], json!([]));
    assert_eq!(told["retold"]["whole"]["is_same"], true);
    assert_eq!(told["compared"]["difference"], Value::Null);
    assert_eq!(told["views"], 3);
    assert_eq!(told["views_that_differ"], 0);
    told
}

#[track_caller]
fn check_killed(told: &Value) {
    let kills = told["cluster"]["kills"].as_u64().unwrap();
    assert!(kills >= KILLS_MIN, "{told}");
    let by_node = told["cluster"]["kills_by_node"].as_object().unwrap();
    assert!(by_node.values().all(|it| it.as_u64() > Some(0)), "{told}");
}

#[test]
fn killed_processes_on_postgres_tell_one_story() {
    let url = SERVER.url("postgres");
    let told = check_one_story(&format!("{url}&schema=killed"), &KILLS);
    check_killed(&told);
    assert_eq!(told["cluster"]["ended_by_themselves"], 0, "{told}");
    assert!(told["store"].as_str().unwrap().contains("schema=killed"));

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
fn killed_processes_on_sqlite_tell_one_story() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flights.db");
    let url = format!("sqlite:{}", path.to_str().unwrap());
    check_killed(&check_one_story(&url, &KILLS));
}

#[test]
fn processes_that_sleep_past_their_leases_tell_one_story() {
    let url = SERVER.url("postgres");
    let sleeps = ["--kill-every", "10", "--freeze-every", "1.5"];
    let told = check_one_story(&format!("{url}&schema=slept"), &sleeps);
    assert!(told["cluster"]["sleeps"].as_u64().unwrap() > 0, "{told}");
}

#[test]
fn what_is_needed_is_said() {
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
