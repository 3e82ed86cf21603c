//! `retold logs`: lists the logs of a store.

use std::sync::Arc;

use retold::prelude::Timestamp;
use retold::recording::{LogEntry, LogId, LogRead, Position, Store};
use serde::Serialize;

use crate::failure::{CommandFailure, CommandVerdict};
use crate::opening;
use crate::output::{Output, Record, note};
use crate::table::Column;

/// Number of logs that are printed at once.
const PAGE: usize = 100;

/// List the logs of a store: name, number of events and appends, time of the last event, id.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArguments {
    /// The store, for example sqlite:flights.db
    url: String,
}

#[derive(Debug, Serialize)]
struct LogRecord {
    log: Arc<str>,
    id: LogId,
    events: u64,
    appends: u64,
    /// The time of the last event.
    last_time: Option<Timestamp>,
}

impl Record for LogRecord {
    const COLUMNS: &'static [Column] = &[
        Column::name("LOG"),
        Column::number("EVENTS"),
        Column::number("APPENDS"),
        Column::time("LAST TIME"),
        Column::name("ID"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.log.to_string(),
            self.events.to_string(),
            self.appends.to_string(),
            self.last_time
                .map_or_else(|| "-".into(), |it| it.to_string()),
            self.id.to_string(),
        ]
    }
}

pub(crate) async fn run(
    arguments: LogsArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let store = opening::store(&arguments.url).await?;
    let logs = opening::logs(&*store).await?;
    if logs.is_empty() {
        note("the store has no logs yet");
    }
    for logs in logs.chunks(PAGE) {
        let mut records = Vec::with_capacity(logs.len());
        for log in logs {
            records.push(look(&*store, log).await?);
        }
        output.records(&records)?;
    }
    Ok(CommandVerdict::Fine)
}

async fn look(store: &dyn Store, log: &LogEntry) -> Result<LogRecord, CommandFailure> {
    let recorder = store.open_read_only(&log.name).await?;
    let head = recorder.head().await?;
    let last = recorder
        .read_log(LogRead::new().backward().limit(1))
        .await?;
    Ok(LogRecord {
        log: log.name.clone(),
        id: log.id,
        events: Position::number(head.position()),
        appends: head.append_count,
        last_time: last.events.first().map(|event| event.time()),
    })
}
