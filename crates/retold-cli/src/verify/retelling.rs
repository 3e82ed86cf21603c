//! `retold verify --retell`: runs the policies of the built-in system again and shows each decision
//! that differs from the recorded one.
//!
//! Each follower is retold in a task of its own, against the logs as it reads them; nothing is
//! written. With `whole`, all logs are also retold in memory, in one schedule.

use std::sync::Arc;

use indicatif::ProgressBar;
use retold::recording::{Checkpoint, Position, Store};
use retold::retelling::{
    Difference, FollowerReport, FollowerRetelling, RetellingProgress, ShownEvent, WholeReport,
    retell_whole,
};
use retold::system::{FollowerOperator, Infrastructure, OpenSystem, Opening, System};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::{TICK, progress};
use crate::failure::CommandFailure;
use crate::opening;
use crate::output::{Output, Record, Report, counted};
use crate::table::Column;

/// What is retold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Retell {
    /// Each follower on its own, in parallel
    Followers,
    /// Also the whole system, in one schedule; memory must hold all its logs
    Whole,
}

/// The result of retelling one generation of a follower.
#[derive(Debug, Serialize)]
struct FollowerRetold {
    log: Arc<str>,
    follower: Arc<str>,
    processed: u64,
    effects: u64,
    covered: u64,
    other_policy_version: u64,
    erased: u64,
    parked: u64,
    #[serde(serialize_with = "as_object")]
    difference: Option<Difference>,
    /// Why the retelling did not finish.
    error: Option<String>,
}

impl Record for FollowerRetold {
    const COLUMNS: &'static [Column] = &[
        Column::name("LOG"),
        Column::name("FOLLOWER"),
        Column::number("PROCESSED"),
        Column::number("EFFECTS"),
        Column::number("COVERED"),
        Column::number("NOT COMPARED"),
        Column::text("RESULT"),
    ];

    fn cells(&self) -> Vec<String> {
        let counts = [
            self.processed,
            self.effects,
            self.covered,
            self.other_policy_version + self.erased + self.parked,
        ];
        let verdict = match (&self.difference, &self.error) {
            (_, Some(_)) => "failed",
            (Some(_), None) => "different",
            (None, None) => "equal",
        };
        let names = [self.log.to_string(), self.follower.to_string()];
        let counts = counts.iter().map(u64::to_string);
        names
            .into_iter()
            .chain(counts)
            .chain([verdict.to_owned()])
            .collect()
    }
}

impl FollowerRetold {
    /// Describes the effects that were not compared; none if all were.
    fn facts(&self) -> Option<String> {
        let counts = [
            (
                self.other_policy_version,
                "processed ranges of another policy version",
            ),
            (self.erased, "effects of erased events"),
            (self.parked, "parked events"),
        ];
        let facts = counts.iter().filter(|(count, _)| *count > 0);
        let facts: Vec<String> = facts.map(|(count, it)| format!("{it} ({count})")).collect();
        let Self { log, follower, .. } = self;
        let facts = (!facts.is_empty()).then(|| facts.join(", "));
        facts.map(|facts| format!("{follower} of {log}, not compared: {facts}"))
    }

    fn new(log: &str, follower: &str, retold: Result<FollowerReport, String>) -> Self {
        let mut row = Self {
            log: log.into(),
            follower: follower.into(),
            processed: 0,
            effects: 0,
            covered: 0,
            other_policy_version: 0,
            erased: 0,
            parked: 0,
            difference: None,
            error: None,
        };
        match retold {
            Err(error) => row.error = Some(error),
            Ok(report) => {
                row.processed = report.processed;
                row.effects = report.effects;
                row.covered = report.covered;
                row.other_policy_version = report.facts.other_policy_version;
                row.erased = report.facts.erased;
                row.parked = report.facts.parked;
                row.difference = report.difference;
            }
        }
        row
    }
}

/// The result of a retelling.
pub(super) struct Retelling {
    followers: Vec<FollowerRetold>,
    /// The result for the whole system, or why it did not finish.
    whole: Option<Result<WholeReport, String>>,
}

impl Retelling {
    /// Retells all followers of the system, or those of one log.
    pub(super) async fn of(
        open: &OpenSystem,
        log: Option<&str>,
        how: Retell,
    ) -> Result<Self, CommandFailure> {
        let mut all = FollowerRetelling::all(open).await?;
        all.retain(|it| log.is_none_or(|log| log == it.application()));
        let followers = in_parallel(all).await?;
        let whole = match how {
            Retell::Followers => None,
            Retell::Whole => {
                let bar = progress(ProgressBar::new_spinner(), "{spinner} {wide_msg}");
                bar.set_message("retelling the whole system");
                bar.enable_steady_tick(TICK);
                let report = retell_whole(open).await;
                bar.finish_and_clear();
                Some(report.map_err(|error| error.to_string()))
            }
        };
        Ok(Self { followers, whole })
    }

    /// Returns the number of retellings that found a difference or did not finish.
    pub(super) fn finding_count(&self) -> usize {
        let is_found = |it: &&FollowerRetold| it.difference.is_some() || it.error.is_some();
        let is_whole_found = match &self.whole {
            None => false,
            Some(Err(_)) => true,
            Some(Ok(report)) => report.difference.is_some(),
        };
        self.followers.iter().filter(is_found).count() + usize::from(is_whole_found)
    }

    /// Prints the table, then each difference in full.
    pub(super) fn show(&self, output: &mut Output) -> Result<(), CommandFailure> {
        output.new_table();
        if !self.followers.is_empty() {
            output.line("")?;
            output.records(&self.followers)?;
        }
        for facts in self.followers.iter().filter_map(FollowerRetold::facts) {
            output.line(&facts)?;
        }
        for row in &self.followers {
            let FollowerRetold { log, follower, .. } = row;
            if let Some(difference) = &row.difference {
                output.line(&format!("\n{follower} of {log} differs: {difference}"))?;
            }
            if let Some(error) = &row.error {
                output.line(&format!("\n{follower} of {log} failed: {error}"))?;
            }
        }
        match &self.whole {
            None => Ok(()),
            Some(whole) => output.report(&WholeRetold(whole)),
        }
    }

    /// Returns the result as a sentence.
    pub(super) fn sentence(&self) -> String {
        let processed: u64 = self.followers.iter().map(|it| it.processed).sum();
        match self.finding_count() {
            0 => format!(
                "Retelling processed {} again and found no differences.",
                counted(processed, "event", "events")
            ),
            count => format!(
                "Retelling found problems: {}, shown above.",
                counted(count as u64, "finding", "findings")
            ),
        }
    }
}

/// Retells each follower in a task of its own, and shows a progress bar.
async fn in_parallel(all: Vec<FollowerRetelling>) -> Result<Vec<FollowerRetold>, CommandFailure> {
    let bar = progress(
        ProgressBar::new(0),
        "{bar:32} {human_pos}/{human_len} {wide_msg}",
    );
    bar.set_message("events retold");
    let mut rows: Vec<Option<FollowerRetold>> = Vec::new();
    let mut followed: Vec<RetellingProgress> = Vec::new();
    let mut tasks = JoinSet::new();
    for (index, retelling) in all.into_iter().enumerate() {
        bar.inc_length(retelling.position_count().await?);
        followed.push(retelling.progress());
        rows.push(None);
        tasks.spawn(async move {
            let (log, key) = (retelling.application().to_owned(), retelling.key().clone());
            let retold = retelling.run().await.map_err(|error| error.to_string());
            (index, FollowerRetold::new(&log, key.as_str(), retold))
        });
    }
    let mut interval = tokio::time::interval(TICK);
    while !tasks.is_empty() {
        tokio::select! {
            Some(ended) = tasks.join_next() => {
                let (index, row) = ended.map_err(|error| {
                    CommandFailure::Failed(format!("a retelling was aborted: {error}"))
                })?;
                rows[index] = Some(row);
            }
            _ = interval.tick() => {
                bar.set_position(followed.iter().map(RetellingProgress::covered).sum());
            }
        }
    }
    bar.finish_and_clear();
    Ok(rows.into_iter().flatten().collect())
}

/// Opens the logs of a system in a store for reading only. Refuses a store of another system.
pub(super) async fn open(
    system: &System,
    store: &Arc<dyn Store>,
    url: &str,
    log: Option<&str>,
    how: Retell,
) -> Result<OpenSystem, CommandFailure> {
    let url = &*opening::shown(url);
    let name = system.name();
    let members: Vec<&str> = system.members().iter().map(|it| it.name()).collect();
    let logs = opening::logs(&**store).await?;
    let is_missing = |member: &&&str| !logs.iter().any(|log| *log.name == ***member);
    let missing: Vec<&str> = members.iter().filter(is_missing).copied().collect();
    if !missing.is_empty() {
        return Err(CommandFailure::Failed(other_system(name, url, &missing)));
    }
    match (log, how) {
        (Some(_), Retell::Whole) => {
            return Err(CommandFailure::Usage(
                "--retell=whole needs all logs of the system; leave out the log, or the `=whole`"
                    .into(),
            ));
        }
        (Some(log), Retell::Followers) if !members.contains(&log) => {
            return Err(CommandFailure::Failed(format!(
                "the log {log:?} is not part of the system {name:?}, so its followers cannot be \
                 retold; the logs of the system are: {}",
                opening::listed(members.into_iter())
            )));
        }
        _ => {}
    }
    let infrastructure = Infrastructure::new(Arc::clone(store));
    let open = OpenSystem::open(system, &infrastructure, Opening::ReadOnly).await?;
    for (application, member) in open.applications().iter().zip(system.members()) {
        for follower in FollowerOperator::all(application).await? {
            let mut known = member.followers().iter();
            if !known.any(|it| it.name() == follower.name()) {
                return Err(CommandFailure::Failed(format!(
                    "the log {:?} has a follower {:?} that the system {name:?} does not declare; \
                     {}",
                    member.name(),
                    follower.name(),
                    advice(url)
                )));
            }
        }
    }
    Ok(open)
}

fn other_system(system: &str, url: &str, missing: &[&str]) -> String {
    format!(
        "{url} has no log {}, so it does not contain the system {system:?}; {}",
        opening::listed(missing.iter().copied()),
        advice(url)
    )
}

/// Explains how to retell another system.
fn advice(url: &str) -> String {
    format!(
        "this command contains only the policies of the demonstration's system. Policies are code, \
         so retell your own system in a program or a test:\n\n    \
         use retold::retelling;\n    \
         use retold::system::{{Infrastructure, OpenSystem, Opening}};\n\n    \
         let store = retold::open_store_read_only({url:?}).await?;\n    \
         let logs = OpenSystem::open(&my_system(), &Infrastructure::new(store), \
         Opening::ReadOnly).await?;\n    for report in retelling::retell(&logs).await? {{\n        \
         assert!(report.difference.is_none(), \"{{report}}\");\n    \
         }}"
    )
}

fn as_object<S: serde::Serializer>(
    difference: &Option<Difference>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    difference.as_ref().map(object_of).serialize(serializer)
}

fn object_of(difference: &Difference) -> Value {
    let cause = difference.cause.as_ref().map(|(upstream, checkpoint, topic)| {
        let Checkpoint { position, event_id } = checkpoint;
        json!({"upstream": upstream, "position": position, "event_id": event_id, "topic": topic})
    });
    let read = difference.read.iter().map(|(stream, version, snapshot)| {
        json!({"stream": stream, "version": version, "snapshot_version": snapshot})
    });
    json!({
        "what": difference.what,
        "cause": cause,
        "decided_at": Position::number(difference.decided_at),
        "read": read.collect::<Vec<_>>(),
        "recorded": difference.recorded.as_ref().map(shown),
        "retold": difference.retold.as_ref().map(shown),
    })
}

fn shown(event: &ShownEvent) -> Value {
    let lines = event.lines.iter();
    let mut object: Map<String, Value> = lines
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    object.insert("position".into(), json!(event.position));
    Value::Object(object)
}

/// The result for the whole system.
struct WholeRetold<'a>(&'a Result<WholeReport, String>);

impl Report for WholeRetold<'_> {
    fn lines(&self) -> Vec<String> {
        vec![match self.0 {
            Ok(report) => format!("\nThe whole system, as {report}"),
            Err(error) => format!("\nThe whole system failed: {error}"),
        }]
    }
}

impl Serialize for WholeRetold<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        whole_object(self.0).serialize(serializer)
    }
}

fn whole_object(whole: &Result<WholeReport, String>) -> Value {
    let report = match whole {
        Ok(report) => report,
        Err(error) => return json!({"schedule": "whole", "error": error}),
    };
    let difference = report.difference.as_ref().map(|(log, difference)| {
        let mut object = object_of(difference);
        if let Value::Object(object) = &mut object {
            object.insert("log".into(), json!(log));
        }
        object
    });
    json!({
        "schedule": "whole",
        "inputs": report.inputs,
        "processed": report.processed,
        "effects": report.effects,
        "other_policy_version": report.facts.other_policy_version,
        "erased": report.facts.erased,
        "parked": report.facts.parked,
        "difference": difference,
        "error": null,
    })
}
