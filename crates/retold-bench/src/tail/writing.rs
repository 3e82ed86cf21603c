//! A writing process: tasks that append, each in its own lane, and count acknowledged events.

use std::sync::Arc;

use retold::recording::{
    Append, Appended, Condition, ExpectedVersion, LogId, NewEvent, RecordError, Recorder, Store,
};
use retold::uuid::Uuid;

use super::lane::{LANES_PER_WRITER, event_id};
use crate::contender::Result;

/// One in this many appends has many events, so that pages end within an append.
const LARGE_EVERY: u64 = 100;
/// Number of events of such an append.
const LARGE_EVENTS: u64 = 50;
/// One in this many appends is preceded by a refused one, for which positions are reserved and not
/// used.
const REFUSED_EVERY: u64 = 16;
/// Number of streams of a lane.
const STREAMS: u64 = 50;

/// Opens the log again.
pub(super) async fn open_log(store: &Arc<dyn Store>, log: &str) -> Result<Arc<dyn Recorder>> {
    Ok(store.open(log, LogId::new(Uuid::now_v7())).await?)
}

/// Makes this many appends, and prints the number of acknowledged events of each lane.
pub(super) async fn write(url: &str, log: &str, writer: u32, appends: u64) -> Result<()> {
    let store = retold::open_store(url).await?;
    let recorder = open_log(&store, log).await?;
    let lanes = u64::from(LANES_PER_WRITER);
    let tasks: Vec<_> = (0..LANES_PER_WRITER)
        .map(|task| {
            // The first lanes do the remainder.
            let share = appends / lanes + u64::from(u64::from(task) < appends % lanes);
            let lane = writer * LANES_PER_WRITER + task;
            tokio::spawn(write_lane(recorder.clone(), lane, share))
        })
        .collect();
    let mut acknowledged = Vec::new();
    for task in tasks {
        acknowledged.push(task.await??.to_string());
    }
    println!("acknowledged {}", acknowledged.join(" "));
    Ok(())
}

async fn write_lane(recorder: Arc<dyn Recorder>, lane: u32, appends: u64) -> Result<u64> {
    let mut number = 0;
    for turn in 0..appends {
        if turn % REFUSED_EVERY == REFUSED_EVERY - 1 {
            let none = Condition::stream_at(stream(lane, 0), ExpectedVersion::None);
            let refused = append(lane, number, 3).condition(none);
            let Err(RecordError::Conflict(_)) = settle(&recorder, refused).await else {
                return Err("an append was recorded that should have been refused".into());
            };
        }
        let events = match turn % LARGE_EVERY {
            50 => LARGE_EVENTS,
            _ => 1,
        };
        settle(&recorder, append(lane, number, events)).await?;
        number += events;
    }
    Ok(number)
}

fn stream(lane: u32, number: u64) -> String {
    format!("thing/{lane}-{}", number % STREAMS)
}

fn append(lane: u32, first: u64, events: u64) -> Append {
    Append::of((first..first + events).map(|number| {
        NewEvent::new(
            event_id(lane, number),
            "Thing.Changed",
            r#"{"by":"a task"}"#,
        )
        .stream(stream(lane, number))
    }))
}

/// Sends an append until its outcome is known.
async fn settle(
    recorder: &Arc<dyn Recorder>,
    append: Append,
) -> std::result::Result<Appended, RecordError> {
    loop {
        match recorder.append(append.clone()).await {
            Err(RecordError::OutcomeUnknown(_) | RecordError::Unavailable(_)) => {
                tokio::task::yield_now().await;
            }
            result => return result,
        }
    }
}
