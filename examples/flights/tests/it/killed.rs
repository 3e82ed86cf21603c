//! Tests that random kills of processes on one file have no effect on the logs.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use retold_flights::input::Input;
use retold_flights::kills::{Kills, check, child as work, expected, run};

/// Number of kills.
const KILLS: usize = 120;
/// Number of processes that run the system, in addition to the feeder.
const NODES: usize = 3;
/// Number of rows of January to feed. Enough that each process does some work before it is killed.
const ROWS: usize = 2_500;

/// The child process: works until it is killed. It is a test so that the test binary can be the
/// child. Without a parent, it does nothing.
#[test]
fn child() {
    work();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_processes_have_no_visible_effect() {
    let seed = crate::seed();
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("rows.csv");
    let january = concat!(env!("CARGO_MANIFEST_DIR"), "/data/january.csv.gz");
    let january = BufReader::new(GzDecoder::new(File::open(january).unwrap()));
    // The first line is the header.
    let rows = january.lines().take(ROWS + 1);
    let rows: String = rows.map(|row| row.unwrap() + "\n").collect();
    fs::write(&input, rows).unwrap();
    let flights = Input::open(&input).unwrap().flights;
    let expected = expected(flights.into()).await.unwrap();
    let mut events = 0;
    for app in expected.applications() {
        events += app.head().await.unwrap().position().unwrap().get();
    }
    let command = || {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "killed::child", "--test-threads=1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let kills = Kills {
        kills: KILLS,
        nodes: NODES,
        seed,
    };

    let killed = run(kills, events, folder.path(), &input, &command).await;

    let killed = killed.unwrap();
    eprintln!("{killed:?}");
    assert_eq!(killed.nodes + killed.feeders, KILLS);
    let checked = check(folder.path(), &expected).await.unwrap();
    eprintln!("{} in {:?}", checked.whole, checked.elapsed);
}
