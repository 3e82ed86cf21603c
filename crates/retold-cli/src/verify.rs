//! `retold verify`: whether a store keeps what the recorder's contract promises.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use retold::recording::error::Corrupt;
use retold::recording::recorder::Recorder;
use retold::recording::verify::{Progress, Report, Stage, verify_log};
use serde::Serialize;

use crate::failure::{Failure, Verdict};
use crate::opening;
use crate::output::{Output, Record};
use crate::table::Column;

/// How often something moves while nothing can be counted.
const TICK: Duration = Duration::from_millis(100);

/// Checks a store: that the file is whole, that positions and versions have no gaps, that appends are
/// there as a whole, and that every index says what the events say.
///
/// Reads everything and changes nothing. Ends with exit code 1 if something is wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The store, as in sqlite:flights.db
    url: String,
    /// Only this log and what the file says of itself
    log: Option<String>,
}

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

    let bar = progress(ProgressBar::new_spinner(), "{spinner} {wide_msg}");
    bar.set_message("the file as a whole");
    bar.enable_steady_tick(TICK);
    let of_store = store.verify().await?;
    bar.finish_and_clear();
    let mut finding_count = of_store.len() as u64;
    let mut findings: Vec<Finding> = of_store.iter().map(|it| Finding::new(None, it)).collect();
    let mut verified = Vec::with_capacity(logs.len());
    let bar = progress(
        ProgressBar::new(0),
        "{bar:32} {human_pos}/{human_len} {wide_msg}",
    );
    for log in logs {
        let recorder = store.open_read_only(&log).await?;
        let report = verify(&*recorder, &bar).await?;
        finding_count += report.finding_count;
        findings.extend(
            report
                .findings
                .iter()
                .map(|it| Finding::new(Some(&log), it)),
        );
        verified.push(Verified::new(log, &report));
    }
    bar.finish_and_clear();

    if !findings.is_empty() {
        output.records(&findings)?;
        output.line("")?;
        output.new_table();
    }
    output.records(&verified)?;
    conclude(output, finding_count, findings.len() as u64)
}

fn conclude(output: &mut Output, count: u64, shown: u64) -> Result<Verdict, Failure> {
    output.line("")?;
    if count == 0 {
        output.line("Nothing wrong was found.")?;
        return Ok(Verdict::Fine);
    }
    let more = match count - shown {
        0 => String::new(),
        more => format!(" ({more} more than are shown)"),
    };
    output.line(&format!(
        "{count} findings{more}. Keep a copy of the store before anything else is done with it."
    ))?;
    Ok(Verdict::Found)
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
