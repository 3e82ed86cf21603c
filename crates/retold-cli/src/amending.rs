//! `retold delete`, `reopen`, `erase`, `amend` and `forget`: change recorded events, each time with
//! an event that records who did it and why.
//!
//! Each command first looks, with the store opened for reading only, and shows what it would do.
//! After a confirmation it opens the store for writing and acts through [`Amender`]; at the end it
//! removes what is left of the old content in the files of the store.

pub(crate) mod amend;
pub(crate) mod delete;
pub(crate) mod erase;
pub(crate) mod forget;
pub(crate) mod purge;

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;

use clap::builder::NonEmptyStringValueParser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use retold::application::{AmendProgress, Amended, Amender};
use retold::prelude::Application;
use retold::recording::{ErasedParts, EventId, LogRead, Position, Recorder, Store, StoredEvent};
use serde::Serialize;

use crate::failure::CommandFailure;
use crate::opening;
use crate::output::{Report, counted};

/// The store and the log whose events are amended.
#[derive(Debug, clap::Args)]
pub(crate) struct AmendingTarget {
    /// The store, for example sqlite:flights.db
    url: String,
    /// The name of the log
    log: String,
}

/// Who amends events, why, and how carefully.
#[derive(Debug, clap::Args)]
pub(crate) struct Amending {
    /// Why; it is recorded in the log
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
    /// Who does it; it is recorded in the log. Default: the user that runs the command
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    by: Option<String>,
    /// Only check and show what would be done
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Leave what remains of the old content in the files of the store
    #[arg(long)]
    no_purge: bool,
}

/// What is erased besides payloads.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Parts {
    /// Erase tags too: queries by tag no longer find the events
    #[arg(long)]
    tags: bool,
    /// Erase metadata too
    #[arg(long)]
    metadata: bool,
}

impl Parts {
    fn erased(self) -> ErasedParts {
        ErasedParts::PAYLOAD.tags(self.tags).metadata(self.metadata)
    }
}

impl AmendingTarget {
    /// Opens the log for reading. Refuses a name that does not exist.
    async fn look(&self) -> Result<Arc<dyn Recorder>, CommandFailure> {
        let store = opening::store(&self.url).await?;
        opening::log(&*store, &self.url, &self.log).await
    }

    /// Opens the store and the log for writing. Both must exist.
    async fn for_writing(&self) -> Result<(Arc<dyn Store>, Application), CommandFailure> {
        let store = opening::writable(&self.url).await?;
        let builder = Application::builder(&*self.log).store(Arc::clone(&store));
        Ok((store, builder.open().await?))
    }

    /// Opens the application of the log for reading only, for a dry run.
    async fn for_reading(&self) -> Result<Application, CommandFailure> {
        let store = opening::store(&self.url).await?;
        opening::application(&store, &self.log).await
    }
}

/// The operating system's name of the user, where the environment has it.
fn user() -> Option<String> {
    let names = ["USER", "LOGNAME", "USERNAME"];
    let mut users = names.iter().filter_map(|name| std::env::var(name).ok());
    users.find(|user| !user.trim().is_empty())
}

impl Amending {
    fn by(&self) -> Result<String, CommandFailure> {
        self.by.clone().or_else(user).ok_or_else(|| {
            CommandFailure::Usage(
                "the environment does not have the name of the user; say who does it with --by"
                    .into(),
            )
        })
    }

    fn amender(&self, application: &Application) -> Result<Amender, CommandFailure> {
        Ok(application.amender(self.by()?, &*self.reason)?)
    }

    /// Asks whether to do this, unless the command line says so. Returns false for a dry run.
    fn is_confirmed(&self, what: &str) -> Result<bool, CommandFailure> {
        if self.dry_run {
            return Ok(false);
        }
        if self.yes {
            return Ok(true);
        }
        if !io::stdin().is_terminal() {
            return Err(CommandFailure::Usage(format!(
                "it cannot be undone; add --yes to do it, or --dry-run to only check it. {what}"
            )));
        }
        let mut terminal = io::stderr();
        write!(terminal, "{what}\nIt cannot be undone. Do it? [y/N] ")?;
        terminal.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => Ok(true),
            _ => Err(CommandFailure::Failed("nothing was done".into())),
        }
    }

    /// Removes what is left in the files of the store, and completes the report.
    async fn finish(
        &self,
        store: &dyn Store,
        mut report: AmendingReport,
    ) -> Result<AmendingReport, CommandFailure> {
        if !self.no_purge {
            match store.purge().await {
                Ok(purged) => {
                    report.purged = Some(purged.is_complete());
                    report.remains = purged.remains;
                }
                // The amendment is recorded, so this is not a failure of the command.
                Err(error) => {
                    report.purged = Some(false);
                    report.remains = vec![format!(
                        "the purge failed ({error}); repeat it with `retold purge`"
                    )];
                }
            }
        }
        Ok(report)
    }
}

/// Finds the event that an argument names by its position or its id.
async fn event(
    recorder: &dyn Recorder,
    log: &str,
    named: &NamedEvent,
) -> Result<StoredEvent, CommandFailure> {
    let (found, what) = match named {
        NamedEvent::At(position) => {
            let mut page = recorder.read_log(LogRead::at(*position)).await?;
            (page.events.pop(), format!("at position {position}"))
        }
        NamedEvent::Id(id) => (recorder.event(*id).await?, format!("with the id {id}")),
    };
    found.ok_or_else(|| CommandFailure::Failed(format!("the log {log:?} has no event {what}")))
}

/// An event, by its position or its id.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NamedEvent {
    At(Position),
    Id(EventId),
}

fn named_event(text: &str) -> Result<NamedEvent, String> {
    if let Ok(number) = text.parse() {
        let position = Position::new(number).ok_or("positions count from 1")?;
        return Ok(NamedEvent::At(position));
    }
    let id = text
        .parse()
        .map_err(|_| "write the position of an event, or its id")?;
    Ok(NamedEvent::Id(id))
}

/// Describes an event for a question.
fn described(event: &StoredEvent) -> String {
    let place = match event.stream().zip(event.version()) {
        Some((stream, version)) => format!(", version {version} of {stream}"),
        None => String::new(),
    };
    format!(
        "the event {} at position {}{place}",
        event.topic(),
        event.position()
    )
}

/// Returns the amender with a bar at the terminal that shows how far the erasure of a stream has
/// come.
fn with_progress(amender: Amender) -> Amender {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{pos}/{len} versions {wide_bar} {eta}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    amender.on_progress(move |progress: AmendProgress| {
        bar.set_length(progress.until.get());
        bar.set_position(progress.version.get());
        if progress.version >= progress.until {
            bar.finish_and_clear();
        }
    })
}

/// What a command did, or would do.
#[derive(Debug, Serialize)]
struct AmendingReport {
    action: AmendingAction,
    log: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventId>,
    /// The number of events that were or would be erased or replaced.
    events: u64,
    dry_run: bool,
    /// The position of the event that records it.
    recorded_at: Option<Position>,
    /// Whether nothing of the old content is left in the files of the store; none if that was not
    /// tried.
    purged: Option<bool>,
    remains: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum AmendingAction {
    Delete,
    Reopen,
    Erase,
    Amend,
}

impl AmendingReport {
    fn new(action: AmendingAction, target: &AmendingTarget, amended: Amended) -> Self {
        Self {
            action,
            log: target.log.clone(),
            stream: None,
            event: None,
            events: amended.events,
            dry_run: amended.record.is_none(),
            recorded_at: amended.record.map(|record| record.position),
            purged: None,
            remains: Vec::new(),
        }
    }

    fn stream(mut self, stream: Option<&str>) -> Self {
        self.stream = stream.map(str::to_owned);
        self
    }

    fn event(mut self, event: EventId) -> Self {
        self.event = Some(event);
        self
    }

    fn dry_run(mut self, is_dry_run: bool) -> Self {
        self.dry_run = is_dry_run;
        self
    }
}

impl Report for AmendingReport {
    fn lines(&self) -> Vec<String> {
        let events = counted(self.events, "event", "events");
        let place = match (&self.stream, self.event) {
            (_, Some(event)) => format!("The event {event} of {}", self.log),
            (Some(stream), None) => format!("The stream {stream} of {}", self.log),
            (None, None) => self.log.clone(),
        };
        let done = match (self.action, self.dry_run) {
            (AmendingAction::Delete, false) => format!("was deleted: {events} erased"),
            (AmendingAction::Delete, true) => format!("would be deleted: {events} erased"),
            (AmendingAction::Reopen, false) => "takes events again".into(),
            (AmendingAction::Reopen, true) => "would take events again".into(),
            (AmendingAction::Erase, false) => format!("was erased: {events}"),
            (AmendingAction::Erase, true) => format!("would be erased: {events}"),
            (AmendingAction::Amend, false) => "was replaced".into(),
            (AmendingAction::Amend, true) => "would be replaced".into(),
        };
        let recorded = self
            .recorded_at
            .map_or_else(String::new, |it| format!(", recorded at position {it}"));
        let mut lines = vec![format!("{place} {done}{recorded}.")];
        match self.purged {
            Some(true) => lines.push(
                "The old content is no longer in the files of the store. Backups, replicas and \
                 copies may still have it."
                    .into(),
            ),
            Some(false) => {
                lines.push("Some of the old content is still in the files of the store:".into());
                lines.extend(self.remains.iter().map(|it| format!("  {it}")));
            }
            None => {}
        }
        lines
    }
}
