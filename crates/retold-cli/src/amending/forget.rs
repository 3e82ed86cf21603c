//! `retold forget`: forgets a subject, or readmits it.

use std::sync::Arc;

use retold::prelude::Application;
use retold::protection::{Protection, SubjectKeys, SubjectState};
use retold::recording::Store;
use serde::Serialize;

use super::Amending;
use crate::failure::{CommandFailure, CommandVerdict};
use crate::keys;
use crate::opening;
use crate::output::{Output, Report, counted};

/// Forget a subject: destroy its keys, so that its data in all logs of a store cannot be read.
///
/// The logs must have been recorded with keys of subjects. Every log of the store gets an event
/// with the topic retold.subject-forgotten, for projections and followers. New events with data of
/// the subject are refused until it is readmitted. If the command fails or is interrupted, repeat
/// it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ForgetArguments {
    /// The store, for example sqlite:shop.db
    url: String,
    /// The name of the subject, for example customer:17
    subject: String,
    /// Record it only in this log; repeat it for several. Default: all logs of the store
    #[arg(long, value_name = "LOG")]
    log: Vec<String>,
    /// Admit a forgotten subject again; what was forgotten stays forgotten
    #[arg(long)]
    readmit: bool,
    #[command(flatten)]
    amending: Amending,
}

const EXAMPLES: &str = "\
Examples:
  retold forget sqlite:shop.db customer:17 --key-file keys --reason \"request 4711\" --dry-run
  retold forget sqlite:shop.db customer:17 --key-file keys --reason \"request 4711\"";

pub(crate) async fn run(
    arguments: ForgetArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    if !keys::are_given() {
        return Err(CommandFailure::Usage(
            "the keys are missing; give them with --key-file or in RETOLD_KEYS".into(),
        ));
    }
    let looking = opening::raw(&arguments.url).await?;
    let subjects = subject_keys(&looking)?;
    // Reports first that the log of keys is absent.
    opening::log(&*looking, &arguments.url, subjects.log_name()).await?;
    let state = subjects.state(&arguments.subject).await?;
    check(&arguments, state, subjects.log_name())?;
    let logs = logs(&arguments, &looking, subjects.log_name()).await?;
    let what = what(&arguments, state, &logs);
    let mut report = ForgettingReport {
        subject: arguments.subject.clone(),
        readmitted: arguments.readmit,
        was_forgotten: state == SubjectState::Forgotten,
        dry_run: arguments.amending.dry_run,
        keys_destroyed: 0,
        logs,
        purged: None,
        remains: Vec::new(),
    };
    if !arguments.amending.is_confirmed(&what)? {
        output.report(&report)?;
        return Ok(CommandVerdict::Fine);
    }
    let store = opening::writable_raw(&arguments.url).await?;
    let subjects = subject_keys(&store)?;
    if arguments.readmit {
        report.was_forgotten = subjects.readmit(&arguments.subject).await?;
        output.report(&report)?;
        return Ok(CommandVerdict::Fine);
    }
    let reason = format!(
        "{} (by {})",
        arguments.amending.reason,
        arguments.amending.by()?
    );
    let forgotten = subjects.forget(&arguments.subject, Some(&reason)).await?;
    report.keys_destroyed = forgotten.keys_destroyed;
    for log in &report.logs {
        let builder = Application::builder(&**log).store(Arc::clone(&store));
        let application = builder.protection(Protection::new()).open().await?;
        application.record_forgotten(&forgotten).await?;
    }
    if !arguments.amending.no_purge {
        let purged = store.purge().await?;
        report.purged = Some(purged.is_complete());
        report.remains = purged.remains;
    }
    output.report(&report)?;
    Ok(CommandVerdict::Fine)
}

fn subject_keys(store: &Arc<dyn Store>) -> Result<SubjectKeys, CommandFailure> {
    keys::subject_keys(store)
        .ok_or_else(|| CommandFailure::Usage("the keys of the log are missing".into()))
}

/// Checks that there is something to do.
fn check(
    arguments: &ForgetArguments,
    state: SubjectState,
    key_log: &str,
) -> Result<(), CommandFailure> {
    let subject = &arguments.subject;
    match (state, arguments.readmit) {
        (SubjectState::New, _) => Err(CommandFailure::Failed(format!(
            "there is no subject {subject:?} in the log of keys {key_log:?}, so no event has its \
             data. Check the name; `retold streams {} {key_log}` lists the subjects",
            opening::shown(&arguments.url)
        ))),
        (SubjectState::Known | SubjectState::Readmitted, true) => Err(CommandFailure::Failed(
            format!("{subject} is not forgotten; nothing was done"),
        )),
        _ => Ok(()),
    }
}

/// Returns the logs in which it is recorded.
async fn logs(
    arguments: &ForgetArguments,
    store: &Arc<dyn Store>,
    key_log: &str,
) -> Result<Vec<String>, CommandFailure> {
    for log in &arguments.log {
        opening::log(&**store, &arguments.url, log).await?;
    }
    if !arguments.log.is_empty() || arguments.readmit {
        return Ok(arguments.log.clone());
    }
    let all = opening::logs(&**store).await?;
    let names = all.iter().map(|log| log.name.to_string());
    Ok(names.filter(|name| name != key_log).collect())
}

fn what(arguments: &ForgetArguments, state: SubjectState, logs: &[String]) -> String {
    let subject = &arguments.subject;
    if arguments.readmit {
        return format!("New events with data of {subject} will be recorded again.");
    }
    let logs = opening::listed(logs.iter().map(String::as_str));
    match state {
        SubjectState::Forgotten => {
            format!("{subject} was forgotten before; what is missing in {logs} will be completed.")
        }
        _ => format!("The data of {subject} in {logs} will be unreadable."),
    }
}

/// What the command did, or would do.
#[derive(Debug, Serialize)]
struct ForgettingReport {
    subject: String,
    readmitted: bool,
    was_forgotten: bool,
    dry_run: bool,
    keys_destroyed: u64,
    /// The logs that record it.
    logs: Vec<String>,
    purged: Option<bool>,
    remains: Vec<String>,
}

impl Report for ForgettingReport {
    fn lines(&self) -> Vec<String> {
        let subject = &self.subject;
        let done = match (self.readmitted, self.dry_run) {
            (true, true) => "would be readmitted".into(),
            (true, false) => "was readmitted".into(),
            (false, true) => "would be forgotten".into(),
            (false, false) => format!(
                "was forgotten: {} destroyed",
                counted(self.keys_destroyed, "key", "keys")
            ),
        };
        let before = match self.was_forgotten {
            true => " (it had been forgotten before)",
            false => "",
        };
        let mut lines = vec![format!("{subject} {done}{before}.")];
        if !self.readmitted {
            let record = if self.dry_run {
                "would record"
            } else {
                "record"
            };
            let logs = opening::listed(self.logs.iter().map(String::as_str));
            lines.push(format!("Logs that {record} it: {logs}."));
        }
        match self.purged {
            Some(true) => lines.push(
                "The keys are no longer in the files of the store. Backups, replicas and copies \
                 may still have them."
                    .into(),
            ),
            Some(false) => {
                lines.push("Some of the keys may still be in the files of the store:".into());
                lines.extend(self.remains.iter().map(|it| format!("  {it}")));
            }
            None => {}
        }
        lines
    }
}
