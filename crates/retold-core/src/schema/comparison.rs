//! The comparison of recorded schemas with those of a program: which changes are safe.
//!
//! A change is safe if the program can read everything that was recorded, and if older programs
//! that still run during a deployment can read everything that it records. Within one revision both
//! must hold. A new revision needs only the first: an older program stops before it and says so.

use std::collections::BTreeMap;
use std::fmt;

use super::event_schemas::{EventSchemas, TopicSchemas};
use super::readable::unreadable;
use super::shape::{bare, difference};

/// How the events of a program differ from those that were recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaComparison {
    /// Changes that make recorded events unreadable, or new events unreadable for older programs.
    pub breaking: Vec<SchemaChange>,
    /// Changes that only need to be recorded.
    pub safe: Vec<SchemaChange>,
}

/// A change of the events of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaChange {
    /// The topic; empty for a change that concerns no topic.
    pub topic: String,
    /// What has changed, and what to do.
    pub what: String,
    /// The reasons, one in each line, then the lines in which the schemas differ.
    pub details: Vec<String>,
}

impl SchemaComparison {
    /// Returns whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.breaking.is_empty() && self.safe.is_empty()
    }

    fn breaking(&mut self, topic: &str, what: String, details: Vec<String>) {
        let topic = topic.to_owned();
        self.breaking.push(SchemaChange {
            topic,
            what,
            details,
        });
    }

    fn safe(&mut self, topic: &str, what: &str, details: Vec<String>) {
        let (topic, what) = (topic.to_owned(), what.to_owned());
        self.safe.push(SchemaChange {
            topic,
            what,
            details,
        });
    }
}

impl EventSchemas {
    /// Compares these recorded schemas with those of a program.
    pub fn compare(&self, program: &Self) -> SchemaComparison {
        let mut found = SchemaComparison::default();
        for (topic, recorded) in &self.topics {
            match program.present(topic) {
                Some((name, shapes)) => {
                    compare_topic((topic, recorded), (name, shapes), &mut found)
                }
                None => found.breaking(
                    topic,
                    format!(
                        "no type has this topic any more. If it was renamed, list it: \
                         `formerly({topic:?})`. If its events are to be skipped, declare \
                         `.retired({topic:?})`. If they are read as others, declare \
                         `past(…)`"
                    ),
                    Vec::new(),
                ),
            }
        }
        for (topic, shapes) in &program.topics {
            let shape = |it: &TopicSchemas| it.shapes.get(&shapes.revision).cloned();
            // A file that was edited to say so accepts a type without a schema.
            let is_accepted = || self.topics.get(topic).and_then(shape) == Some(None);
            if !shapes.is_retired && shape(shapes) == Some(None) && !is_accepted() {
                let what = "its type has no schema, so changes cannot be noticed; derive \
                            `schemars::JsonSchema` for it, with the feature `schema`";
                found.breaking(topic, what.into(), Vec::new());
            }
            let names = std::iter::once(topic).chain(&shapes.former_topics);
            if names
                .into_iter()
                .all(|name| !self.topics.contains_key(name))
            {
                found.safe(topic, "is new", Vec::new());
            }
        }
        if (&self.applications, &self.followers) != (&program.applications, &program.followers) {
            found.safe(
                "",
                "the applications or who follows whom have changed",
                Vec::new(),
            );
        }
        found
    }

    /// Returns what to record after a comparison without breaking changes: the schemas of the
    /// program, and those of older revisions and retired topics that were recorded before. A topic
    /// that the program does not have stays.
    #[must_use]
    pub fn updated(&self, program: &Self) -> Self {
        let mut topics: BTreeMap<String, TopicSchemas> = BTreeMap::new();
        for (topic, shapes) in &program.topics {
            let mut shapes = shapes.clone();
            let present = shapes.revision;
            shapes.shapes.retain(|revision, _| *revision <= present);
            topics.insert(topic.clone(), shapes);
        }
        for (topic, recorded) in &self.topics {
            let Some((name, _)) = program.present(topic) else {
                topics.insert(topic.clone(), recorded.clone());
                continue;
            };
            let kept = topics.entry(name.to_owned()).or_default();
            // What was recorded under an older revision cannot change any more.
            for (revision, shape) in &recorded.shapes {
                if *revision != kept.revision {
                    kept.shapes.insert(*revision, shape.clone());
                }
            }
            if kept.is_retired {
                kept.revision = recorded.revision;
                kept.shapes.clone_from(&recorded.shapes);
                kept.former_topics
                    .extend(recorded.former_topics.iter().cloned());
            }
        }
        Self {
            topics,
            applications: program.applications.clone(),
            followers: program.followers.clone(),
        }
    }
}

fn compare_topic(
    (topic, recorded): (&str, &TopicSchemas),
    (name, program): (&str, &TopicSchemas),
    found: &mut SchemaComparison,
) {
    if program.is_retired && program.shapes.is_empty() {
        if !recorded.is_retired {
            found.safe(topic, "is retired", Vec::new());
        }
        return;
    }
    if name != topic {
        found.safe(topic, &format!("is now {name:?}"), Vec::new());
    }
    for former in &recorded.former_topics {
        if former != name && !program.former_topics.contains(former) {
            let what = format!(
                "events are recorded under its former topic {former:?}, and the program does not \
                 know it any more: `#[event(formerly({former:?}))]`"
            );
            found.breaking(topic, what, Vec::new());
        }
    }
    if program.is_past != recorded.is_past || recorded.is_retired {
        found.safe(
            topic,
            "is recorded or read as other events than before",
            Vec::new(),
        );
    }
    if program.reader_of(recorded.revision).is_none() && recorded.revision > 0 {
        let what = format!(
            "events of revision {} are recorded, and the program reads only up to {}",
            recorded.revision, program.revision
        );
        found.breaking(topic, what, Vec::new());
        return;
    }
    for revision in recorded.shapes.keys() {
        compare_history(topic, *revision, recorded, program, found);
    }
    if program.revision > recorded.revision {
        found.safe(
            topic,
            &format!("has revision {}", program.revision),
            Vec::new(),
        );
    } else if program.revision == recorded.revision {
        compare_present(topic, recorded, program, found);
    }
}

/// Checks that the program reads what was recorded in a revision.
fn compare_history(
    topic: &str,
    revision: u32,
    recorded: &TopicSchemas,
    program: &TopicSchemas,
    found: &mut SchemaComparison,
) {
    let (Some(Some(written)), Some((reader, read))) =
        (recorded.shapes.get(&revision), program.reader_of(revision))
    else {
        return;
    };
    let Some(read) = read else {
        if reader != program.revision {
            let what = format!("the type of revision {reader} has no schema any more");
            found.breaking(topic, what, Vec::new());
        }
        return;
    };
    let mut reasons = unreadable(&written.written, &read.read);
    if reasons.is_empty() {
        return;
    }
    reasons.extend(difference(&written.written, &read.read));
    let what = format!(
        "recorded events of revision {revision} cannot be read. Raise the revision, and keep the \
         old shape as a type of its own: `#[event(revision = {}, from({revision} = …))]`",
        program.revision.max(revision + 1)
    );
    found.breaking(topic, what, reasons);
}

/// Checks that older programs read what the program records in the same revision.
fn compare_present(
    topic: &str,
    recorded: &TopicSchemas,
    program: &TopicSchemas,
    found: &mut SchemaComparison,
) {
    let revision = recorded.revision;
    let shape = |it: &TopicSchemas| it.shapes.get(&revision).cloned().flatten();
    match (shape(recorded), shape(program)) {
        (Some(old), Some(new)) => {
            let mut reasons = unreadable(&new.written, &old.read);
            let lines = difference(&old.written, &new.written);
            if !reasons.is_empty() {
                reasons.extend(lines);
                let what = format!(
                    "older programs that know revision {revision} cannot read what this one \
                     records. Raise the revision: `#[event(revision = {})]`",
                    revision + 1
                );
                found.breaking(topic, what, reasons);
            } else if bare(&old.written) != bare(&new.written) || bare(&old.read) != bare(&new.read)
            {
                let lines = match lines.is_empty() {
                    true => difference(&old.read, &new.read),
                    false => lines,
                };
                found.safe(topic, "has another shape, which is compatible", lines);
            }
        }
        (None, Some(_)) => found.safe(topic, "now has a schema", Vec::new()),
        _ => {}
    }
}

impl fmt::Display for SchemaComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("breaking", &self.breaking), ("safe", &self.safe)];
        for (kind, changes) in parts.into_iter().filter(|(_, changes)| !changes.is_empty()) {
            writeln!(f, "{kind} changes:")?;
            for change in changes {
                writeln!(f, "{change}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.topic.as_str() {
            "" => write!(f, "  {}", self.what)?,
            topic => write!(f, "  {topic}: {}", self.what)?,
        }
        for line in &self.details {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}
