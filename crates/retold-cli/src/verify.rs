//! `retold verify`: checks that a store satisfies the recorder's contract, and with `--retell` that
//! its logs are what the policies of their system decide ([`retelling`]).

mod reading;
mod retelling;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use retold::recording::{
    Corrupt, Recorder, Store, VerifyProgress, VerifyReport, VerifyStage, verify_log,
};
use serde::Serialize;

use crate::failure::{CommandFailure, CommandVerdict};
use crate::output::{Output, Record, counted};
use crate::table::Column;
use crate::{built_in, opening};
use reading::LogsRead;
use retelling::{Retell, Retelling};

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Check a store: the file is intact, positions and versions have no gaps, appends are complete,
/// and every index agrees with the events.
///
/// The command reads everything and changes nothing. Its exit code is 1 if it finds a problem.
///
/// With --retell, the policies of the demonstration's system decide again, on the logs as they were
/// then, and every effect is compared with the recorded one. The command also decodes every event
/// and folds every aggregate.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct VerifyArguments {
    /// The store, for example sqlite:flights.db
    url: String,
    /// Check only this log and the file
    log: Option<String>,
    /// Also retell the logs
    #[arg(
        long, value_name = "HOW", num_args = 0..=1, require_equals = true,
        default_missing_value = "followers"
    )]
    retell: Option<Retell>,
}

const AFTER_HELP: &str = "\
Policies are code, so this command can retell only the demonstration's system. To retell your own \
system, use `retold::retelling` in a program or a test. Effects of another policy_version of a \
follower, parked events and erased events are not compared; the column NOT COMPARED counts them.

Examples:
  retold verify sqlite:flights.db
  retold verify sqlite:flights.db --retell
  retold verify sqlite:flights.db --retell=whole
  retold verify sqlite:flights.db aircraft --retell";

#[derive(Debug, Serialize)]
struct Finding {
    /// None for a finding that concerns the whole store.
    log: Option<Arc<str>>,
    place: String,
    finding: String,
}

impl Finding {
    fn new(log: Option<&Arc<str>>, corrupt: &Corrupt) -> Self {
        Self {
            log: log.cloned(),
            place: corrupt.place().to_owned(),
            finding: corrupt.what().to_owned(),
        }
    }
}

impl Record for Finding {
    const COLUMNS: &'static [Column] = &[
        Column::name("LOG"),
        Column::text("PLACE"),
        Column::text("FINDING"),
    ];

    fn cells(&self) -> Vec<String> {
        let log = self.log.as_deref().unwrap_or("-");
        // A message of the database may have several lines.
        let finding = self.finding.lines().collect::<Vec<_>>().join("; ");
        vec![log.into(), self.place.clone(), finding]
    }
}

#[derive(Debug, Serialize)]
struct Verified {
    log: Arc<str>,
    events: u64,
    streams: u64,
    topics: u64,
    tags: u64,
    processed_ranges: u64,
    finding_count: u64,
    erased: u64,
    deleted_streams: u64,
}

impl Verified {
    fn new(log: Arc<str>, report: &VerifyReport) -> Self {
        Self {
            log,
            events: report.events,
            erased: report.erased,
            deleted_streams: report.deleted,
            streams: report.streams,
            topics: report.topics,
            tags: report.tags,
            processed_ranges: report.ranges,
            finding_count: report.finding_count,
        }
    }
}

impl Record for Verified {
    const COLUMNS: &'static [Column] = &[
        Column::name("LOG"),
        Column::number("EVENTS"),
        Column::number("ERASED"),
        Column::number("STREAMS"),
        Column::number("DELETED"),
        Column::number("TOPICS"),
        Column::number("TAGS"),
        Column::number("RANGES"),
        Column::number("FINDINGS"),
    ];

    fn cells(&self) -> Vec<String> {
        let counts = [
            self.events,
            self.erased,
            self.streams,
            self.deleted_streams,
            self.topics,
            self.tags,
            self.processed_ranges,
            self.finding_count,
        ];
        let counts = counts.iter().map(u64::to_string);
        std::iter::once(self.log.to_string())
            .chain(counts)
            .collect()
    }
}

pub(crate) async fn run(
    arguments: VerifyArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let store = opening::store(&arguments.url).await?;
    let logs: Vec<Arc<str>> = match &arguments.log {
        Some(log) => {
            opening::log(&*store, &arguments.url, log).await?;
            vec![(**log).into()]
        }
        None => {
            let logs = opening::logs(&*store).await?;
            logs.into_iter().map(|log| log.name).collect()
        }
    };

    let system = match arguments.retell {
        None => None,
        Some(how) => {
            let VerifyArguments { url, log, .. } = &arguments;
            let log = log.as_deref();
            let open = retelling::open(&built_in::system(), &store, url, log, how).await?;
            Some((open, how))
        }
    };

    let checked = check(&*store, logs).await?;
    checked.show(output)?;
    let retold = match system {
        None => None,
        Some((open, how)) => {
            let retelling = Retelling::of(&open, arguments.log.as_deref(), how).await?;
            retelling.show(output)?;
            let reading = LogsRead::of(&open, arguments.log.as_deref()).await?;
            reading.show(output)?;
            Some((retelling, reading))
        }
    };
    conclude(output, &checked, retold.as_ref())
}

/// The result of checking logs.
struct Checked {
    finding_count: u64,
    /// The findings that are shown, the first of each log.
    findings: Vec<Finding>,
    verified: Vec<Verified>,
}

async fn check(store: &dyn Store, logs: Vec<Arc<str>>) -> Result<Checked, CommandFailure> {
    let bar = progress(ProgressBar::new_spinner(), "{spinner} {wide_msg}");
    bar.set_message("the file");
    bar.enable_steady_tick(TICK);
    let of_store = store.verify().await?;
    bar.finish_and_clear();
    let mut checked = Checked {
        finding_count: of_store.len() as u64,
        findings: of_store.iter().map(|it| Finding::new(None, it)).collect(),
        verified: Vec::with_capacity(logs.len()),
    };
    let bar = progress(
        ProgressBar::new(0),
        "{bar:32} {human_pos}/{human_len} {wide_msg}",
    );
    for log in logs {
        let recorder = store.open_read_only(&log).await?;
        let report = verify(&*recorder, &bar).await?;
        checked.finding_count += report.finding_count;
        let findings = report.findings.iter();
        let findings = findings.map(|it| Finding::new(Some(&log), it));
        checked.findings.extend(findings);
        checked.verified.push(Verified::new(log, &report));
    }
    bar.finish_and_clear();
    Ok(checked)
}

impl Checked {
    fn show(&self, output: &mut Output) -> Result<(), CommandFailure> {
        if !self.findings.is_empty() {
            output.records(&self.findings)?;
            output.line("")?;
            output.new_table();
        }
        output.records(&self.verified)
    }
}

fn conclude(
    output: &mut Output,
    checked: &Checked,
    retold: Option<&(Retelling, LogsRead)>,
) -> Result<CommandVerdict, CommandFailure> {
    output.line("")?;
    let count = checked.finding_count;
    match count {
        0 => output.line("No problems found.")?,
        _ => {
            let more = match count - checked.findings.len() as u64 {
                0 => String::new(),
                more => format!(" ({more} of them not shown)"),
            };
            let findings = counted(count, "finding", "findings");
            output.line(&format!(
                "{findings}{more}. Make a copy of the store before you do anything else with it."
            ))?;
        }
    }
    if let Some((retelling, reading)) = retold {
        output.line(&retelling.sentence())?;
        output.line(&reading.sentence())?;
    }
    let is_fine = retold.is_none_or(|(retelling, reading)| {
        retelling.finding_count() == 0 && reading.finding_count() == 0
    });
    Ok(CommandVerdict::fine_if(count == 0 && is_fine))
}

async fn verify(
    recorder: &dyn Recorder,
    bar: &ProgressBar,
) -> Result<VerifyReport, CommandFailure> {
    let log = recorder.log_name().to_owned();
    let report = verify_log(recorder, &mut |progress: VerifyProgress| {
        let stage = match progress.stage {
            VerifyStage::Events => "events",
            VerifyStage::Streams => "streams",
            VerifyStage::Topics => "topics",
            VerifyStage::Tags => "tags",
            VerifyStage::Ranges => "processed ranges",
            _ => "other indexes",
        };
        bar.update(|state| {
            state.set_len(progress.total);
            state.set_pos(progress.done);
        });
        bar.set_message(format!("{stage} of {log}"));
    })
    .await?;
    Ok(report)
}

/// Returns a progress bar on standard error, hidden unless that is a terminal.
fn progress(bar: ProgressBar, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    bar.with_style(style)
}
