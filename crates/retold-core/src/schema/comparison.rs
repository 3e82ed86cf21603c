//! The comparison of recorded schemas with those of a program: which changes are safe.
//!
//! A change is safe if the program can read everything that was recorded, and if older programs
//! that still run during a deployment can read everything that it records. Within one revision both
//! must hold. A new revision needs only the first: an older program stops before it and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::event_schemas::{EventSchemas, TopicSchemas, TopicsOfLog, present};
use super::mismatch::Mismatch;
use super::outline::{Outline, changes, outline, renamed};
use super::readable::mismatches;
use super::shape::bare;
use crate::domain::ContentSchemas;

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
    /// The application; empty for a change that concerns none.
    pub application: String,
    /// The topic; empty for a change that concerns no topic.
    pub topic: String,
    /// What has changed, and what to do.
    pub what: String,
    /// The reasons, one in each line, then the changes that the reasons do not say.
    pub details: Vec<String>,
}

impl SchemaComparison {
    /// Returns whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.breaking.is_empty() && self.safe.is_empty()
    }
}

impl EventSchemas {
    /// Compares these recorded schemas with those of a program.
    pub fn compare(&self, program: &Self) -> SchemaComparison {
        let mut found = SchemaComparison::default();
        let (none, empty) = (TopicsOfLog::new(), TopicsOfLog::new());
        let applications = self.applications.keys().chain(program.applications.keys());
        for application in applications.collect::<BTreeSet<_>>() {
            let recorded = self.applications.get(application);
            let present = program.applications.get(application);
            let mut log = ComparedLog {
                application,
                recorded: recorded.unwrap_or(&none),
                program: present.unwrap_or(&empty),
                found: &mut found,
            };
            match (recorded, present) {
                (Some(topics), None) if !topics.is_empty() => log.breaking(
                    "",
                    "the program has no such application any more. If its log is not needed, \
                     remove it from the file",
                    Vec::new(),
                ),
                _ => log.compare(),
            }
        }
        self.compare_readings(program, &mut found);
        let names = |it: &Self| -> Vec<_> { it.applications.keys().cloned().collect() };
        if names(self) != names(program) || self.followers != program.followers {
            found.safe.push(SchemaChange {
                application: String::new(),
                topic: String::new(),
                what: "the applications or who follows whom have changed".into(),
                details: Vec::new(),
            });
        }
        found
    }

    /// Checks that followers with types of their own read what was recorded, and what the
    /// applications that they follow record.
    fn compare_readings(&self, program: &Self, found: &mut SchemaComparison) {
        let none = TopicsOfLog::new();
        for reading in &program.readings {
            let recorded = self.applications.get(&reading.application).unwrap_or(&none);
            let declared = program.applications.get(&reading.application);
            let declared = declared.unwrap_or(&none);
            let is_meant = |topic: &str| {
                present(declared, topic).is_some_and(|(name, _)| *name == *reading.topic)
            };
            let recorded = recorded.iter().filter(|(topic, _)| is_meant(topic));
            let mut details = BTreeSet::new();
            for topic in recorded
                .map(|(_, it)| it)
                .chain(declared.get(&reading.topic))
            {
                for revision in topic.shapes.keys() {
                    match reading.shapes.reader_of(*revision) {
                        None => {
                            details.insert(format!("revision {revision} is not known to it"));
                        }
                        Some((_, Some(read))) => {
                            let written = topic.written_in(*revision);
                            let found = written.flat_map(|it| mismatches(it, &read.read));
                            details.extend(found.map(|it| it.to_text()));
                        }
                        Some((_, None)) => {}
                    }
                }
            }
            if !details.is_empty() {
                found.breaking.push(SchemaChange {
                    application: reading.application.clone(),
                    topic: reading.topic.clone(),
                    what: format!(
                        "the follower {:?} reads it as a type of its own, which cannot read all \
                         events",
                        reading.follower
                    ),
                    details: details.into_iter().collect(),
                });
            }
        }
    }

    /// Returns what to record after a comparison without breaking changes: the schemas of the
    /// program, and those of older revisions and retired topics that were recorded before. An
    /// application or topic that the program does not have stays.
    #[must_use]
    pub fn updated(&self, program: &Self) -> Self {
        let mut applications = program.applications.clone();
        for (application, recorded) in &self.applications {
            match applications.get_mut(application) {
                Some(topics) => keep_recorded(topics, recorded),
                None => {
                    applications.insert(application.clone(), recorded.clone());
                }
            }
        }
        Self {
            applications,
            followers: program.followers.clone(),
            readings: Vec::new(),
        }
    }
}

/// Adds to the topics of a program what was recorded before.
fn keep_recorded(topics: &mut TopicsOfLog, recorded: &TopicsOfLog) {
    for (topic, recorded) in recorded {
        let Some(name) = present(topics, topic).map(|(name, _)| name.to_owned()) else {
            topics.insert(topic.clone(), recorded.clone());
            continue;
        };
        let kept = topics.entry(name).or_default();
        if kept.is_retired && kept.shapes.is_empty() {
            *kept = recorded.clone();
            kept.is_retired = true;
            continue;
        }
        for (revision, shape) in &recorded.shapes {
            kept.keep(*revision, shape.as_ref());
        }
        for (revision, earlier) in &recorded.earlier {
            earlier
                .iter()
                .for_each(|it| kept.keep_earlier(*revision, it));
        }
    }
}

/// The log of an application, compared.
struct ComparedLog<'a> {
    application: &'a str,
    recorded: &'a TopicsOfLog,
    program: &'a TopicsOfLog,
    found: &'a mut SchemaComparison,
}

impl ComparedLog<'_> {
    fn change(&self, topic: &str, what: impl Into<String>, details: Vec<String>) -> SchemaChange {
        SchemaChange {
            application: self.application.to_owned(),
            topic: topic.to_owned(),
            what: what.into(),
            details,
        }
    }

    fn breaking(&mut self, topic: &str, what: impl Into<String>, details: Vec<String>) {
        let change = self.change(topic, what, details);
        self.found.breaking.push(change);
    }

    fn safe(&mut self, topic: &str, what: impl Into<String>, details: Vec<String>) {
        let change = self.change(topic, what, details);
        self.found.safe.push(change);
    }

    fn compare(&mut self) {
        for (topic, recorded) in self.recorded {
            match present(self.program, topic) {
                Some((name, program)) => self.compare_topic((topic, recorded), (name, program)),
                None => self.breaking(
                    topic,
                    format!(
                        "no type of the application has this topic any more. If it was renamed, \
                         list it: `formerly({topic:?})`. If its events are to be skipped, declare \
                         `.retired({topic:?})`. If they are read as others, declare `past(…)`"
                    ),
                    Vec::new(),
                ),
            }
        }
        for (topic, shapes) in self.program {
            let shape = |it: &TopicSchemas| it.shapes.get(&shapes.revision).cloned();
            // A file that was edited to say so accepts a type without a schema.
            let is_accepted = || self.recorded.get(topic).and_then(shape) == Some(None);
            if !shapes.is_retired && shape(shapes) == Some(None) && !is_accepted() {
                let what = "its type has no schema, so changes cannot be noticed; derive \
                            `schemars::JsonSchema` for it, with the feature `schema`";
                self.breaking(topic, what, Vec::new());
            }
            let mut names = std::iter::once(topic).chain(&shapes.former_topics);
            if names.all(|name| !self.recorded.contains_key(name)) {
                self.safe(topic, "is new", Vec::new());
            }
        }
    }

    fn compare_topic(
        &mut self,
        (topic, recorded): (&str, &TopicSchemas),
        (name, program): (&str, &TopicSchemas),
    ) {
        if program.is_retired && program.shapes.is_empty() {
            if !recorded.is_retired {
                self.safe(topic, "is retired", Vec::new());
            }
            return;
        }
        if name != topic {
            self.safe(topic, format!("is now {name:?}"), Vec::new());
        }
        for former in &recorded.former_topics {
            if former != name && !program.former_topics.contains(former) {
                let what = format!(
                    "events are recorded under its former topic {former:?}, and the program does \
                     not know it any more: `#[event(formerly({former:?}))]`"
                );
                self.breaking(topic, what, Vec::new());
            }
        }
        if program.is_past != recorded.is_past || recorded.is_retired {
            let what = "is recorded or read as other events than before";
            self.safe(topic, what, Vec::new());
        }
        let mut is_readable = true;
        for revision in recorded.shapes.keys() {
            let fits = self.compare_history(topic, *revision, recorded, program);
            // The same change need not be reported twice.
            is_readable &= fits || *revision != program.revision;
        }
        if program.revision != recorded.revision && recorded.revision > 0 {
            self.safe(
                topic,
                format!("has revision {}", program.revision),
                Vec::new(),
            );
        }
        if is_readable {
            self.compare_present(topic, recorded, program);
        }
        self.compare_ahead(topic, recorded, program);
    }

    /// Checks that the program reads what was recorded in a revision, and returns whether it does.
    fn compare_history(
        &mut self,
        topic: &str,
        revision: u32,
        recorded: &TopicSchemas,
        program: &TopicSchemas,
    ) -> bool {
        let Some((reader, read)) = program.reader_of(revision) else {
            let what = format!(
                "events of revision {revision} are recorded, and the program reads only up to {}",
                program.revision
            );
            self.breaking(topic, what, Vec::new());
            return false;
        };
        let shape = recorded.shapes.get(&revision).and_then(Option::as_ref);
        let mut written = recorded.written_in(revision).peekable();
        if written.peek().is_none() {
            return true;
        }
        let Some(read) = read else {
            if reader != program.revision {
                let what = format!("the type of revision {reader} has no schema any more");
                self.breaking(topic, what, Vec::new());
            }
            return reader == program.revision;
        };
        let mut reasons = Reasons::default();
        for written in written {
            reasons.add(mismatches(written, &read.read));
        }
        if let Some(shape) = shape.filter(|_| revision == recorded.revision) {
            reasons.add_renamed(shape, read);
        }
        if reasons.is_empty() {
            return true;
        }
        let what = format!(
            "recorded events of revision {revision} cannot be read. Raise the revision, and keep \
             the old shape as a type of its own: `#[event(revision = {}, from({revision} = …))]`",
            program.revision.max(revision.saturating_add(1))
        );
        let details = reasons.into_details(shape, read);
        self.breaking(topic, what, details);
        false
    }

    /// Checks that older programs read what the program records in the same revision.
    fn compare_present(&mut self, topic: &str, recorded: &TopicSchemas, program: &TopicSchemas) {
        let revision = program.revision;
        let shape = |it: &TopicSchemas| it.shapes.get(&revision).cloned();
        let (Some(old), Some(new)) = (shape(recorded), shape(program)) else {
            return;
        };
        let (old, new) = match (old, new) {
            (Some(old), Some(new)) => (old, new),
            (None, Some(_)) => return self.safe(topic, "now has a schema", Vec::new()),
            (_, None) => return,
        };
        let mut reasons = Reasons::default();
        reasons.add(mismatches(&new.written, &old.read));
        if !reasons.is_empty() {
            let what = format!(
                "older programs that know revision {revision} cannot read what this one records. \
                 Raise the revision: `#[event(revision = {})]`",
                revision.saturating_add(1)
            );
            let details = reasons.into_details(Some(&old), &new);
            self.breaking(topic, what, details);
        } else if bare(&old.written) != bare(&new.written) || bare(&old.read) != bare(&new.read) {
            let lines = changes(&outline(&old), &outline(&new), |_| false);
            self.safe(topic, "has another shape, which is compatible", lines);
        }
    }

    /// Checks that older programs that know the present revision ahead read it.
    fn compare_ahead(&mut self, topic: &str, recorded: &TopicSchemas, program: &TopicSchemas) {
        let ahead = recorded
            .ahead
            .get(&program.revision)
            .and_then(Option::as_ref);
        let present = program
            .shapes
            .get(&program.revision)
            .and_then(Option::as_ref);
        if let (Some(ahead), Some(present)) = (ahead, present) {
            let mut reasons = Reasons::default();
            reasons.add(mismatches(&present.written, &ahead.read));
            if !reasons.is_empty() {
                let what = format!(
                    "older programs read revision {} as it was declared with `ahead`, and cannot \
                     read what this one records. Raise the revision: `#[event(revision = {})]`",
                    program.revision,
                    program.revision.saturating_add(1)
                );
                let details = reasons.into_details(Some(ahead), present);
                self.breaking(topic, what, details);
            }
        }
        let bare_ahead = |it: &TopicSchemas| -> BTreeMap<u32, _> {
            let shapes = it
                .ahead
                .iter()
                .filter(|(revision, _)| **revision != program.revision);
            let read = |it: &ContentSchemas| bare(&it.read);
            shapes
                .map(|(revision, shape)| (*revision, shape.as_ref().map(read)))
                .collect()
        };
        if bare_ahead(recorded) != bare_ahead(program) {
            let what = "newer revisions are read ahead in other shapes than before";
            self.safe(topic, what, Vec::new());
        }
    }
}

/// Why a shape does not fit.
#[derive(Default)]
struct Reasons {
    lines: Vec<String>,
    /// The places that they name.
    places: BTreeSet<String>,
}

impl Reasons {
    fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn add(&mut self, mismatches: Vec<Mismatch>) {
        for mismatch in mismatches {
            let line = mismatch.to_text();
            if !self.lines.contains(&line) {
                self.lines.push(line);
            }
            self.places.insert(mismatch.within);
        }
    }

    /// Adds fields that probably have another name now: what is recorded would be read without
    /// them.
    fn add_renamed(&mut self, old: &ContentSchemas, new: &ContentSchemas) {
        for (from, to) in renamed(&outline(old), &outline(new)) {
            let line = format!(
                "{from} is gone and {to} is new: if it has another name now, what is recorded \
                 would be lost; if not, remove the one and add the other in two steps, and write \
                 the file after each"
            );
            self.lines.push(line);
            self.places
                .extend([from, to].map(|it| it.trim_matches('`').to_owned()));
        }
    }

    /// Returns the reasons, then the changes at other places.
    fn into_details(self, old: Option<&ContentSchemas>, new: &ContentSchemas) -> Vec<String> {
        let Self { mut lines, places } = self;
        let old = old.map_or_else(Outline::new, outline);
        if !old.is_empty() {
            lines.extend(changes(&old, &outline(new), |place| places.contains(place)));
        }
        lines
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
        match (self.application.as_str(), self.topic.as_str()) {
            ("", _) => write!(f, "  {}", self.what)?,
            (application, "") => write!(f, "  {application}: {}", self.what)?,
            (application, topic) => write!(f, "  {application}, {topic}: {}", self.what)?,
        }
        for line in &self.details {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}
