//! Measures the speed of a follower on SQLite: `cargo run --release -p retold-bench --example
//! follower_speed`.
//!
//! Prints the time from a command's return until its effect is recorded, and how many upstream
//! events per second are processed from a backlog, each with one small effect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use retold::prelude::*;
use retold::recording::{Checkpoint, LogRead};
use retold::runner::MultiThread;
use retold::sqlite::SqliteStore;
use retold::system::limits::FOLLOW_PAGE_EVENTS;
use retold::system::{Context, Follower, Goal, Infrastructure, Runner, System};

#[derive(Event, Serialize, Deserialize)]
struct Counted {
    number: u64,
}

#[derive(Event, Serialize, Deserialize)]
struct Noted {
    number: u64,
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Counted, key = u64)]
struct Counter;

impl Apply<Counted> for Counter {
    fn apply(&mut self, _: &Counted) {}
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Noted, key = u64)]
struct Note;

impl Apply<Noted> for Note {
    fn apply(&mut self, _: &Noted) {}
}

/// The effects are spread over this many aggregates.
const NOTES: u64 = 100;
/// The number of events of the backlog.
const BACKLOG: u64 = 100_000;
/// The number of commands whose effects are waited for, one after the other.
const COMMANDS: u64 = 1_000;

async fn note(counted: &Counted, context: &mut Context) -> retold::Result<()> {
    let number = counted.number;
    let noted = |_: &Note| Noted { number };
    context.execute_or_create(number % NOTES, noted).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("speed.db"))?;
    let infrastructure = Infrastructure::new(Arc::new(store));
    let batch = std::env::args().nth(1).map_or(Ok(100), |it| it.parse())?;
    let system = System::new("speed")
        .application("counters", |app| app.aggregate::<Counter>())
        .application("notes", |app| {
            let follower = Follower::new("notes").follows("counters");
            app.aggregate::<Note>()
                .follower(follower.on(note).batch(batch))
        })
        .build()?;

    let runner = MultiThread::start(&system, &infrastructure).await?;
    let counters = runner.application("counters")?;
    let patience = Duration::from_secs(60);
    let mut times = Vec::new();
    for number in 0..COMMANDS {
        let counted = move |_: &Counter| Counted { number };
        let recorded = counters.execute_or_create(0, counted).await?;
        let answered = Instant::now();
        let position = recorded.position().ok_or("something is recorded")?;
        runner
            .wait(Goal::processed("counters", position), patience)
            .await?;
        times.push(answered.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100];
    println!(
        "command to effect: p50 {:?}, p90 {:?}, p99 {:?}, longest {:?}",
        at(50),
        at(90),
        at(99),
        times.last().ok_or("there are some")?
    );
    runner.stop().await;

    for first in (0..BACKLOG).step_by(1_000) {
        let counted = |_: &Counter| -> Vec<Counted> {
            let numbers = first..first + 1_000;
            numbers.map(|number| Counted { number }).collect()
        };
        counters.execute_or_create(1, counted).await?;
    }
    let head = counters.head().await?.position().ok_or("it has events")?;
    let (begun, mut after) = (Instant::now(), None);
    while after.is_none_or(|checkpoint: Checkpoint| checkpoint.position < head) {
        let read = LogRead::new()
            .after_checkpoint(after)
            .limit(FOLLOW_PAGE_EVENTS);
        after = counters.recorder().read_log(read).await?.read_to;
    }
    println!("reading the pages alone: {:?}", begun.elapsed());
    let begun = Instant::now();
    let runner = MultiThread::start(&system, &infrastructure).await?;
    runner
        .wait(Goal::processed("counters", head), patience)
        .await?;
    let elapsed = begun.elapsed();
    println!(
        "backlog of {BACKLOG} with batches of {batch}: {elapsed:?}, {:.0} a second",
        BACKLOG as f64 / elapsed.as_secs_f64()
    );
    runner.stop().await;
    Ok(())
}
