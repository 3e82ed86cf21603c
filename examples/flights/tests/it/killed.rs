//! Processes that run the system on one file are killed at random: nothing shows of it in the logs.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use retold_flights::input::Input;
use retold_flights::kills::{Kills, check, child as work, expected, run};

/// How often a process is killed.
const KILLS: usize = 120;
/// Processes that run the system, beside the one that feeds it.
const NODES: usize = 3;
/// Rows of January that are fed; so many that each process gets to work before it is killed.
const ROWS: usize = 2_500;

/// The child: does its work until it is killed. A test of its own so that the test binary can be the
/// child; without a parent it does nothing.
#[test]
fn child() {
    work();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_processes_leave_no_trace() {
    let seed = crate::seed();
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("rows.csv");
    let january = concat!(env!("CARGO_MANIFEST_DIR"), "/data/january.csv.gz");
    let january = BufReader::new(GzDecoder::new(File::open(january).unwrap()));
    // The first line names the columns.
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
