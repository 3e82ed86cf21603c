//! `retold verify`: whether a store keeps what the recorder's contract promises; and whether its logs are
//! the story that their system tells ([`retelling`]).

mod reading;
mod retelling;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use retold::recording::error::Corrupt;
use retold::recording::recorder::Recorder;
use retold::recording::store::Store;
use retold::recording::verify::{Progress, Report, Stage, verify_log};
use serde::Serialize;

use crate::built_in;
use crate::failure::{Failure, Verdict};
use crate::opening;
use crate::output::{Output, Record};
use crate::table::Column;
use reading::Reading;
use retelling::{Retell, Retelling};

/// How often something moves while nothing can be counted.
const TICK: Duration = Duration::from_millis(100);

/// Checks a store: that the file is whole, that positions and versions have no gaps, that appends are
/// there as a whole, and that every index says what the events say.
///
/// Reads everything and changes nothing. Ends with exit code 1 if something is wrong.
///
/// With --retell the followers of the demonstration's system are asked once more what they decide, on
/// the logs as they were then, and must come to what is recorded, event by event. The program also
/// reads every event and folds every aggregate, and shows what it cannot read.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The store, as in sqlite:flights.db
    url: String,
    /// Only this log and what the file says of itself
    log: Option<String>,
    /// Retells the logs too
    #[arg(
        long, value_name = "HOW", num_args = 0..=1, require_equals = true,
        default_missing_value = "followers"
    )]
    retell: Option<Retell>,
}

const AFTER_HELP: &str = "\
Policies are code, so this command retells the demonstration's system only. For yours a program or
a test of your own does it, with `retold::system::retelling`. What another edition of a follower
recorded, what is parked and what is erased is taken as it is, and counted as FACTS.

Examples:
  retold verify sqlite:flights.db
  retold verify sqlite:flights.db --retell              each follower by itself, in parallel
  retold verify sqlite:flights.db --retell=whole        and all of them by one schedule, on memory
  retold verify sqlite:flights.db aircraft --retell     only the followers of this log";

#[derive(Debug, Serialize)]
struct Finding {
    /// None for what concerns the store as a whole.
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
        // What a database says may have several lines; a record is one.
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
    stretches: u64,
    finding_count: u64,
}

impl Verified {
    fn new(log: Arc<str>, report: &Report) -> Self {
        Self {
            log,
            events: report.events,
            streams: report.streams,
            topics: report.topics,
            tags: report.tags,
            stretches: report.stretches,
            finding_count: report.finding_count,
        }
    }
}

impl Record for Verified {
    const COLUMNS: &'static [Column] = &[
        Column::name("LOG"),
        Column::number("EVENTS"),
        Column::number("STREAMS"),
        Column::number("TOPICS"),
        Column::number("TAGS"),
        Column::number("STRETCHES"),
        Column::number("FINDINGS"),
    ];

    fn cells(&self) -> Vec<String> {
        let counts = [
            self.events,
            self.streams,
            self.topics,
            self.tags,
            self.stretches,
            self.finding_count,
        ];
        let counts = counts.iter().map(u64::to_string);
        std::iter::once(self.log.to_string())
            .chain(counts)
            .collect()
    }
}

pub(crate) async fn run(arguments: Arguments, output: &mut Output) -> Result<Verdict, Failure> {
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
            let Arguments { url, log, .. } = &arguments;
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
            let reading = Reading::of(&open, arguments.log.as_deref()).await?;
            reading.show(output)?;
            Some((retelling, reading))
        }
    };
    conclude(output, &checked, retold.as_ref())
}

/// What checking logs came to.
struct Checked {
    finding_count: u64,
    /// Those that are shown: of each log the first.
    findings: Vec<Finding>,
    verified: Vec<Verified>,
}

async fn check(store: &dyn Store, logs: Vec<Arc<str>>) -> Result<Checked, Failure> {
    let bar = progress(ProgressBar::new_spinner(), "{spinner} {wide_msg}");
    bar.set_message("the file as a whole");
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
    fn show(&self, output: &mut Output) -> Result<(), Failure> {
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
    retold: Option<&(Retelling, Reading)>,
) -> Result<Verdict, Failure> {
    output.line("")?;
    let count = checked.finding_count;
    match count {
        0 => output.line("Nothing wrong was found.")?,
        _ => {
            let more = match count - checked.findings.len() as u64 {
                0 => String::new(),
                more => format!(" ({more} more than are shown)"),
            };
            output.line(&format!(
                "{count} findings{more}. Keep a copy of the store before anything else is done with it."
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
    match count == 0 && is_fine {
        true => Ok(Verdict::Fine),
        false => Ok(Verdict::Found),
    }
}

async fn verify(recorder: &dyn Recorder, bar: &ProgressBar) -> Result<Report, Failure> {
    let log = recorder.log_name().to_owned();
    let report = verify_log(recorder, &mut |progress: Progress| {
        let stage = match progress.stage {
            Stage::Events => "events",
            Stage::Streams => "streams",
            Stage::Topics => "topics",
            Stage::Tags => "tags",
            Stage::Stretches => "stretches",
            _ => "more",
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

/// On the error output, and only if that is a terminal.
fn progress(bar: ProgressBar, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("the template is right");
    bar.with_style(style)
}
