//! `retold streams`: lists the streams of a log.

use std::sync::Arc;

use retold::recording::{StreamEntry, Version};
use serde::Serialize;

use crate::failure::{CommandFailure, CommandVerdict};
use crate::opening;
use crate::output::{Output, Record, note};
use crate::table::Column;

/// Number of streams that are read and printed at once.
const PAGE: usize = 1_000;

/// List the streams of a log by name, with their versions and whether they are deleted.
#[derive(Debug, clap::Args)]
pub(crate) struct StreamsArguments {
    /// The store, for example sqlite:flights.db
    url: String,
    /// The name of the log
    log: String,
    /// Only streams whose names start with this, for example Flight/
    #[arg(long, default_value = "")]
    prefix: String,
    /// Only streams whose names come after this one
    #[arg(long, value_name = "STREAM")]
    after: Option<String>,
    /// At most this many streams
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

#[derive(Debug, Serialize)]
struct StreamRecord {
    stream: Arc<str>,
    version: Version,
    deleted: bool,
}

impl Record for StreamRecord {
    const COLUMNS: &'static [Column] = &[
        Column::number("VERSION"),
        Column::name("STREAM"),
        Column::text("STATE"),
    ];

    fn cells(&self) -> Vec<String> {
        let state = if self.deleted { "deleted" } else { "-" };
        vec![
            self.version.to_string(),
            self.stream.to_string(),
            state.into(),
        ]
    }
}

impl From<StreamEntry> for StreamRecord {
    fn from(entry: StreamEntry) -> Self {
        Self {
            stream: entry.name,
            version: entry.version,
            deleted: entry.is_deleted,
        }
    }
}

pub(crate) async fn run(
    arguments: StreamsArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let store = opening::store(&arguments.url).await?;
    let recorder = opening::log(&*store, &arguments.url, &arguments.log).await?;
    let mut after: Option<Arc<str>> = arguments.after.as_deref().map(Into::into);
    let mut remaining = arguments.limit.unwrap_or(u64::MAX);
    let mut count = 0_usize;
    while remaining > 0 {
        let limit = usize::try_from(remaining).unwrap_or(PAGE).min(PAGE);
        let page = recorder
            .streams(&arguments.prefix, after.as_deref(), limit)
            .await?;
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        remaining -= page.len() as u64;
        count += page.len();
        let records: Vec<StreamRecord> = page.into_iter().map(Into::into).collect();
        output.records(&records)?;
    }
    if count == 0 {
        note("no stream matches");
    }
    Ok(CommandVerdict::Fine)
}
