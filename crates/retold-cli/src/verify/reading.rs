//! `retold verify --retell`: whether the program can read and fold all of the logs, shown beside the
//! retelling.

use std::sync::Arc;

use indicatif::ProgressBar;
use retold::application::log_check::{LogCheck, LogFinding};
use retold::system::OpenSystem;
use serde::Serialize;

use super::{TICK, progress};
use crate::failure::Failure;
use crate::output::{Output, Record};
use crate::table::Column;

/// What reading and folding the logs came to.
pub(super) struct Reading(Vec<LogCheck>);

impl Reading {
    /// Checks the logs of a system: all, or one.
    pub(super) async fn of(open: &OpenSystem, log: Option<&str>) -> Result<Self, Failure> {
        let bar = progress(ProgressBar::new_spinner(), "{spinner} {wide_msg}");
        bar.set_message("reading and folding the logs");
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

    /// Shows the findings, if there are any.
    pub(super) fn show(&self, output: &mut Output) -> Result<(), Failure> {
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

    /// What it came to, in a sentence.
    pub(super) fn sentence(&self) -> String {
        let events: u64 = self.0.iter().map(|check| check.events).sum();
        let aggregates: u64 = self.0.iter().map(|check| check.aggregates).sum();
        match self.finding_count() {
            0 => format!(
                "The program reads all of it: {events} events, and {aggregates} aggregates are folded."
            ),
            1 => "The program cannot read or fold all of it: 1 finding.".into(),
            count => format!("The program cannot read or fold all of it: {count} findings."),
        }
    }
}

/// What the program cannot read or fold.
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
        Column::text("NOT READ BECAUSE"),
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
