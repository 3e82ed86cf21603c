//! `retold schema events`: prints, compares and converts the file in which a program describes its
//! events.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;

use retold::domain::ContentSchemas;
use retold::schema::{
    EventSchemas, FollowerOutline, LOCK_FILE_SIZE_MAX, SchemaChange, TopicSchemas,
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::failure::{CommandFailure, CommandVerdict};
use crate::output::{Output, Record, Report};
use crate::table::Column;

/// Print the events of a program: topics, revisions, and who follows whom.
///
/// A program describes its events in a file, by convention events.lock, which its tests write and
/// check (retold::testing::check_events_lock), or prints `System::schema().to_lock()`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct EventsOfProgram {
    /// The file, or - for the standard input
    #[arg(value_name = "FILE")]
    file: String,

    /// Only this topic; with --json, its schemas
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,

    /// Print what has changed since this older file, and whether the changes are safe
    #[arg(long, value_name = "OLD", conflicts_with_all = ["topic", "asyncapi"])]
    since: Option<String>,

    /// Print an AsyncAPI document: a channel for each log, and who follows it
    #[arg(long, conflicts_with = "topic")]
    asyncapi: bool,

    /// The title of the AsyncAPI document
    #[arg(
        long,
        value_name = "TITLE",
        default_value = "events",
        requires = "asyncapi"
    )]
    title: String,

    /// The version of the program in the AsyncAPI document
    #[arg(
        long,
        value_name = "VERSION",
        default_value = "0",
        requires = "asyncapi"
    )]
    program_version: String,
}

const AFTER_HELP: &str = "\
Examples:
  retold schema events events.lock
  retold schema events events.lock --topic DogEvent.Registered --json
  retold schema events events.lock --asyncapi --title Kennel > kennel.json
  retold schema events events.lock --since yesterday/events.lock

With --since the exit code is 1 if a change is not safe: if recorded events could not be read, or \
older programs could not read new events of the same revision.";

pub(super) fn run(
    arguments: &EventsOfProgram,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let schemas = read(&arguments.file)?;
    if let Some(old) = &arguments.since {
        let comparison = read(old)?.compare(&schemas);
        let changes = Changes {
            breaking: comparison.breaking.iter().map(Change).collect(),
            safe: comparison.safe.iter().map(Change).collect(),
        };
        output.report(&changes)?;
        return Ok(CommandVerdict::fine_if(changes.breaking.is_empty()));
    }
    if arguments.asyncapi {
        let document = schemas.to_asyncapi(&arguments.title, &arguments.program_version);
        let text = serde_json::to_string_pretty(&document)
            .map_err(|error| CommandFailure::Failed(error.to_string()))?;
        output.report(&Document { text, document })?;
        return Ok(CommandVerdict::Fine);
    }
    let is_asked = |topic: &str| arguments.topic.as_deref().is_none_or(|it| it == topic);
    let topics = || {
        let applications = schemas.applications().iter();
        applications.flat_map(|(name, topics)| topics.iter().map(move |topic| (name, topic)))
    };
    let records: Vec<_> = topics()
        .filter(|(_, (topic, _))| is_asked(topic))
        .map(|(application, topic)| TopicRecord::new(&schemas, application, topic))
        .collect();
    if let (Some(topic), true) = (&arguments.topic, records.is_empty()) {
        let known: BTreeSet<_> = topics().map(|(_, (topic, _))| topic.as_str()).collect();
        let known: Vec<_> = known.into_iter().collect();
        return Err(CommandFailure::Usage(format!(
            "{} has no topic {topic:?}; it has {}",
            arguments.file,
            known.join(", ")
        )));
    }
    output.records(&records)?;
    Ok(CommandVerdict::Fine)
}

fn read(file: &str) -> Result<EventSchemas, CommandFailure> {
    let failed = |error: String| CommandFailure::Failed(format!("{file}: {error}"));
    let mut bytes = Vec::new();
    // A file beyond the limit is refused without being read whole.
    let most = LOCK_FILE_SIZE_MAX as u64 + 1;
    let read = match file {
        "-" => std::io::stdin().lock().take(most).read_to_end(&mut bytes),
        file => fs::File::open(file).and_then(|it| it.take(most).read_to_end(&mut bytes)),
    };
    read.map_err(|error| failed(format!("it cannot be read: {error}")))?;
    EventSchemas::from_lock(&bytes).map_err(|error| failed(error.to_string()))
}

#[derive(Serialize)]
struct TopicRecord<'s> {
    application: &'s str,
    topic: &'s str,
    revision: u32,
    state: &'static str,
    former_topics: Vec<&'s str>,
    processed_by: Vec<String>,
    #[serde(serialize_with = "shapes")]
    shapes: &'s BTreeMap<u32, Option<ContentSchemas>>,
    #[serde(serialize_with = "shapes")]
    ahead: &'s BTreeMap<u32, Option<ContentSchemas>>,
    earlier: &'s BTreeMap<u32, Vec<Value>>,
}

impl<'s> TopicRecord<'s> {
    fn new(
        schemas: &'s EventSchemas,
        application: &'s str,
        (topic, shapes): (&'s String, &'s TopicSchemas),
    ) -> Self {
        let followers = schemas.followers().iter();
        let processes =
            |it: &&FollowerOutline| it.upstreams.contains(application) && it.topics.contains(topic);
        Self {
            application,
            topic,
            revision: shapes.revision,
            state: match (shapes.is_retired, shapes.is_past) {
                (true, _) => "retired",
                (false, true) => "past",
                (false, false) => "present",
            },
            former_topics: shapes.former_topics.iter().map(String::as_str).collect(),
            processed_by: followers
                .filter(processes)
                .map(|follower| format!("{}.{}", follower.application, follower.name))
                .collect(),
            shapes: &shapes.shapes,
            ahead: &shapes.ahead,
            earlier: &shapes.earlier,
        }
    }
}

fn shapes<S: Serializer>(
    shapes: &BTreeMap<u32, Option<ContentSchemas>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(shapes.iter().map(|(revision, shape)| {
        let shape = shape.as_ref();
        let shape = shape.map(|it| json!({"written": it.written, "read": it.read}));
        (revision, shape)
    }))
}

impl Record for TopicRecord<'_> {
    const COLUMNS: &'static [Column] = &[
        Column::name("APPLICATION"),
        Column::name("TOPIC"),
        Column::number("REVISION"),
        Column::name("STATE"),
        Column::text("FORMERLY"),
        Column::text("PROCESSED BY"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.application.to_owned(),
            self.topic.to_owned(),
            self.revision.to_string(),
            self.state.to_owned(),
            self.former_topics.join(", "),
            self.processed_by.join(", "),
        ]
    }
}

#[derive(Serialize)]
struct Document {
    #[serde(skip)]
    text: String,
    #[serde(flatten)]
    document: serde_json::Value,
}

impl Report for Document {
    fn lines(&self) -> Vec<String> {
        vec![self.text.clone()]
    }
}

#[derive(Serialize)]
struct Changes<'c> {
    breaking: Vec<Change<'c>>,
    safe: Vec<Change<'c>>,
}

struct Change<'c>(&'c SchemaChange);

impl Serialize for Change<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let SchemaChange {
            application,
            topic,
            what,
            details,
            ..
        } = self.0;
        json!({"application": application, "topic": topic, "what": what, "details": details})
            .serialize(serializer)
    }
}

impl Report for Changes<'_> {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, changes) in [("breaking", &self.breaking), ("safe", &self.safe)] {
            if !changes.is_empty() {
                lines.push(format!("{kind} changes:"));
                lines.extend(changes.iter().map(|change| change.0.to_string()));
            }
        }
        if lines.is_empty() {
            lines.push("nothing has changed".into());
        }
        lines
    }
}
