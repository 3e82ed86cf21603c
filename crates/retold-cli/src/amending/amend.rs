//! `retold amend`: replaces the content of one event by what an editor or a file has.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use retold::protection::KEYS_VARIABLE;
use retold::recording::{Encoding, Replacement, StoredEvent};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Amending, AmendingAction, AmendingReport, AmendingTarget, NamedEvent, described, event,
    named_event,
};
use crate::event_record::one_line;
use crate::failure::{CommandFailure, CommandVerdict};
use crate::output::{Output, note};

/// Replace the content of an event: topic, revision, tags and payload.
///
/// The event is edited as JSON in the editor of the environment (VISUAL or EDITOR), or taken from
/// --file. Position, id, stream, version, time, origin and metadata remain. An event with the topic
/// retold.amended records who did it and why, but not the old content. To record that something
/// turned out differently, let the program record a new event instead.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AmendArguments {
    #[command(flatten)]
    target: AmendingTarget,
    /// The event: its position or its id
    #[arg(value_parser = named_event)]
    event: NamedEvent,
    /// Take the content from this file, in the form that the editor shows
    #[arg(long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    amending: Amending,
}

const EXAMPLES: &str = "\
Examples:
  retold amend sqlite:shop.db orders 815 --reason \"typing error\"
  retold amend sqlite:shop.db orders 815 --file content.json --reason typo";

/// The form in which an event is edited.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EditedEvent {
    topic: String,
    revision: u32,
    tags: BTreeSet<Arc<str>>,
    /// As a text, so that numbers stay as they are.
    payload: Box<RawValue>,
}

impl EditedEvent {
    fn of(event: &StoredEvent) -> Result<Self, CommandFailure> {
        let encoding = event.encoding_text();
        let Some(payload) = event.payload() else {
            return Err(CommandFailure::Failed(format!(
                "{} is erased; an erased event is not replaced",
                described(event)
            )));
        };
        if encoding != Encoding::JSON.as_str() {
            return Err(CommandFailure::Failed(format!(
                "{} is encoded as {encoding:?}; only JSON is edited here. Replace it with a \
                 program that has its type and keys: `Amender::replace_by`",
                described(event)
            )));
        }
        let payload = serde_json::from_slice(payload)
            .map_err(|error| CommandFailure::Failed(format!("the payload is not JSON: {error}")))?;
        Ok(Self {
            topic: event.topic().to_owned(),
            revision: event.revision(),
            tags: event.tags().map(Arc::from).collect(),
            payload,
        })
    }

    /// Returns whether the contents are the same, except for white space.
    fn is_same(&self, other: &Self) -> bool {
        let parts = |it: &Self| (it.topic.clone(), it.revision, it.tags.clone());
        let payload = |it: &Self| one_line(it.payload.get()).map(|json| json.get().to_owned());
        parts(self) == parts(other) && payload(self) == payload(other)
    }

    fn from_text(text: &str, origin: &str) -> Result<Self, CommandFailure> {
        serde_json::from_str(text).map_err(|error| {
            CommandFailure::Failed(format!(
                "{origin} is not an event of the form {{\"topic\": …, \"revision\": …, \
                 \"tags\": […], \"payload\": …}}: {error}"
            ))
        })
    }

    fn text(&self) -> Result<String, CommandFailure> {
        let text = serde_json::to_string_pretty(self);
        text.map_err(|error| CommandFailure::Failed(error.to_string()))
    }

    fn replacement(self, event: &StoredEvent) -> Result<Replacement, CommandFailure> {
        let payload = self.payload.get().to_owned();
        let mut replacement = Replacement::of(event, payload)
            .map_err(|error| CommandFailure::Failed(error.to_string()))?;
        replacement.topic = self.topic.into();
        replacement.revision = self.revision;
        replacement.tags = self.tags;
        Ok(replacement)
    }
}

/// Returns the edited text of a file that the user's editor has changed.
fn edit(text: &str) -> Result<String, CommandFailure> {
    let editor = ["VISUAL", "EDITOR"].iter().find_map(|name| {
        let editor = std::env::var(name).ok();
        editor.filter(|editor| !editor.trim().is_empty())
    });
    let Some(editor) = editor else {
        return Err(CommandFailure::Usage(
            "no editor is known; set EDITOR, or give the content with --file".into(),
        ));
    };
    let mut file = tempfile::Builder::new()
        .prefix("retold-event-")
        .suffix(".json")
        .tempfile()?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or_default();
    let mut command = Command::new(program);
    // The editor, and what is started from it, needs no keys.
    command.env_remove(KEYS_VARIABLE);
    let status = command.args(words).arg(file.path()).status();
    match status {
        Ok(status) if status.success() => read(file.path()),
        Ok(status) => Err(CommandFailure::Failed(format!(
            "the editor {program:?} ended with {status}; nothing was done"
        ))),
        Err(error) => Err(CommandFailure::Failed(format!(
            "the editor {program:?} does not start: {error}"
        ))),
    }
}

fn read(path: &Path) -> Result<String, CommandFailure> {
    std::fs::read_to_string(path)
        .map_err(|error| CommandFailure::Failed(format!("cannot read {}: {error}", path.display())))
}

pub(crate) async fn run(
    arguments: AmendArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let (target, amending) = (&arguments.target, &arguments.amending);
    let found = event(&*target.look().await?, &target.log, &arguments.event).await?;
    let before = EditedEvent::of(&found)?;
    let edited = match &arguments.file {
        Some(file) => EditedEvent::from_text(&read(file)?, &file.display().to_string())?,
        None => EditedEvent::from_text(&edit(&before.text()?)?, "the edited text")?,
    };
    if edited.is_same(&before) {
        note("the content is the same; nothing was done");
        return Ok(CommandVerdict::Fine);
    }
    let what = format!(
        "{} of {} will be replaced by:\n{}",
        described(&found),
        target.log,
        edited.text()?
    );
    let replacement = edited.replacement(&found)?;
    let reading = amending
        .amender(&target.for_reading().await?)?
        .dry_run(true);
    let planned = reading
        .replace_event(found.id(), replacement.clone())
        .await?;
    let report = |amended| {
        AmendingReport::new(AmendingAction::Amend, target, amended)
            .stream(found.stream())
            .event(found.id())
    };
    if !amending.is_confirmed(&what)? {
        output.report(&report(planned))?;
        return Ok(CommandVerdict::Fine);
    }
    let (store, application) = target.for_writing().await?;
    // It may have been edited by another person in the meantime.
    let now = application.recorder().event(found.id()).await?;
    if now.as_ref() != Some(&found) {
        return Err(CommandFailure::Failed(format!(
            "{} was amended while it was edited; nothing was done. Run the command again to edit \
             what it has now",
            described(&found)
        )));
    }
    let amended = amending
        .amender(&application)?
        .replace_event(found.id(), replacement)
        .await?;
    let report = amending.finish(&*store, report(amended)).await?;
    output.report(&report)?;
    Ok(CommandVerdict::Fine)
}
