//! `retold verify --retell`: checks that the program can decode all events of the logs and fold all
//! aggregates.

use std::sync::Arc;

use indicatif::ProgressBar;
use retold::application::{LogCheck, LogFinding};
use retold::system::OpenSystem;
use serde::Serialize;

use super::{TICK, progress};
use crate::failure::CommandFailure;
use crate::output::{Output, Record, counted};
use crate::table::Column;

/// The result of decoding and folding the logs.
pub(super) struct LogsRead(Vec<LogCheck>);

impl LogsRead {
    /// Checks the logs of a system: all, or one.
    pub(super) async fn of(open: &OpenSystem, log: Option<&str>) -> Result<Self, CommandFailure> {
        let bar = progress(ProgressBar::new_spinner(), "{spinner} {wide_msg}");
        bar.set_message("decoding and folding the logs");
        bar.enable_steady_tick(TICK);
        let checks = match log {
            Some(log) => vec![open.check_log(log).await?],
            None => open.check_logs().await?,
        };
        bar.finish_and_clear();
        Ok(Self(checks))
    }

    pub(super) fn finding_count(&self) -> u64 {
        self.0.iter().map(|check| check.finding_count).sum()
    }

    /// Prints the findings.
    pub(super) fn show(&self, output: &mut Output) -> Result<(), CommandFailure> {
        let findings = self.0.iter().flat_map(|check| {
            let of_log = check.findings.iter();
            of_log.map(|finding| Unread::new(&check.log, finding))
        });
        let findings: Vec<_> = findings.collect();
        if findings.is_empty() {
            return Ok(());
        }
        output.new_table();
        output.line("")?;
        output.records(&findings)
    }

    /// Returns the result as a sentence.
    pub(super) fn sentence(&self) -> String {
        let events: u64 = self.0.iter().map(|check| check.events).sum();
        let aggregates: u64 = self.0.iter().map(|check| check.aggregates).sum();
        match self.finding_count() {
            0 => format!(
                "The program decodes all {} and folds all {}.",
                counted(events, "event", "events"),
                counted(aggregates, "aggregate", "aggregates")
            ),
            count => format!(
                "The program cannot decode all events or fold all aggregates: {}.",
                counted(count, "finding", "findings")
            ),
        }
    }
}

/// An event that the program cannot decode, or an aggregate that it cannot fold.
#[derive(Debug, Serialize)]
struct Unread {
    log: Arc<str>,
    place: String,
    topic: Option<Arc<str>>,
    reason: String,
}

impl Unread {
    fn new(log: &Arc<str>, finding: &LogFinding) -> Self {
        Self {
            log: Arc::clone(log),
            place: finding.place.clone(),
            topic: finding.topic.clone(),
            reason: finding.reason.clone(),
        }
    }
}

impl Record for Unread {
    const COLUMNS: &'static [Column] = &[
        Column::name("LOG"),
        Column::text("PLACE"),
        Column::name("TOPIC"),
        Column::text("REASON"),
    ];

    fn cells(&self) -> Vec<String> {
        let topic = self.topic.as_deref().unwrap_or("-");
        let reason = self.reason.lines().collect::<Vec<_>>().join("; ");
        vec![
            self.log.to_string(),
            self.place.clone(),
            topic.into(),
            reason,
        ]
    }
}
