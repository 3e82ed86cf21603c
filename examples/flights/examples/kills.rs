//! Runs January through the system in several processes on one SQLite file, kills them at random,
//! and checks that the kills have no visible effect:
//! `cargo run --release -p retold-flights --example kills -- --kills 100`.

use std::process::{Command, Stdio};

use retold_flights::input::Input;
use retold_flights::kills::{Kills, check, child, expected, run};

/// Number of processes that run the system, in addition to the feeder.
const NODES: usize = 3;
/// Argument that marks a child process.
const CHILD: &str = "--child";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().any(|it| it == CHILD) {
        child();
    }
    tokio::runtime::Runtime::new()?.block_on(parent())
}

async fn parent() -> Result<(), Box<dyn std::error::Error>> {
    let kills = Kills {
        kills: argument("--kills")?.unwrap_or(100) as usize,
        nodes: NODES,
        seed: argument("--seed")?.unwrap_or_else(|| u64::from(fastrand::u32(..))),
    };
    println!("{kills:?}");
    let folder = tempfile::tempdir()?;
    let input = folder.path().join("january.csv.gz");
    std::fs::write(&input, include_bytes!("../data/january.csv.gz"))?;
    let expected = expected(Input::open(&input)?.flights.into()).await?;
    let mut events = 0;
    for app in expected.applications() {
        events += app.head().await?.position().map_or(0, |it| it.get());
    }
    let program = std::env::current_exe()?;
    let command = || {
        let mut command = Command::new(&program);
        command.arg(CHILD).stdout(Stdio::null());
        command
    };
    let killed = run(kills, events, folder.path(), &input, &command).await?;
    println!(
        "{} events after {} kills of nodes and {} of the feeder, in {:.1} s",
        killed.events,
        killed.nodes,
        killed.feeders,
        killed.elapsed.as_secs_f64()
    );
    let checked = check(folder.path(), &expected).await?;
    // Each event is retold in two forms: per follower, and in one schedule.
    let rate = (killed.events * 2) as f64 / checked.elapsed.as_secs_f64();
    println!("{}; {rate:.0} events/s", checked.whole);
    Ok(())
}

fn argument(name: &str) -> Result<Option<u64>, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip_while(|it| it != name).skip(1);
    match arguments.next() {
        Some(text) => Ok(Some(
            text.parse()
                .map_err(|error| format!("{name} {text}: {error}"))?,
        )),
        None => Ok(None),
    }
}
