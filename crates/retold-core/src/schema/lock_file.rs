//! The file `events.lock`: a description of events as JSON, which is kept with the program.
//!
//! The file may have been edited or merged by hand: reading any bytes gives a description or an
//! error that says what is wrong, and where.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event_schemas::{EventSchemas, FollowerOutline, TopicSchemas, TopicsOfLog};
use crate::domain::ContentSchemas;
use crate::recording::limits::check_name;

/// The number of the format that this version writes, and the only one that it reads.
pub const LOCK_FILE_FORMAT: u32 = 1;

/// Maximum size of a lock file in bytes, so that no other file is read by mistake.
pub const LOCK_FILE_SIZE_MAX: usize = 64 * 1024 * 1024;

/// A file that is not a description of events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a lock file of events: {reason}")]
#[non_exhaustive]
pub struct LockFileError {
    /// What is wrong, and where.
    pub reason: String,
}

impl LockFileError {
    fn new(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { reason }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockFile {
    /// The number of the format.
    retold_events: u32,
    /// The topics of each application.
    applications: BTreeMap<String, BTreeMap<String, LockedTopic>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    followers: Vec<LockedFollower>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockedTopic {
    revision: u32,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    formerly: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    past: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    retired: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    shapes: BTreeMap<u32, LockedShape>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    ahead: BTreeMap<u32, LockedShape>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    earlier: BTreeMap<u32, Vec<Value>>,
}

/// A shape: `schema` if the same is written and read, and nothing if the type has no schema.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockedShape {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    written: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read: Option<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockedFollower {
    application: String,
    name: String,
    follows: BTreeSet<String>,
    topics: BTreeSet<String>,
}

fn is_schema(it: &Value) -> bool {
    it.is_object() || it.is_boolean()
}

fn is_false(it: &bool) -> bool {
    !it
}

impl EventSchemas {
    /// Reads a lock file.
    ///
    /// # Errors
    ///
    /// [`LockFileError`] if the bytes are not one.
    pub fn from_lock(bytes: &[u8]) -> Result<Self, LockFileError> {
        if bytes.len() > LOCK_FILE_SIZE_MAX {
            return Err(LockFileError::new(format!(
                "it has {} bytes, more than {LOCK_FILE_SIZE_MAX}",
                bytes.len()
            )));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| LockFileError::new(format!("it is not text: {error}")))?;
        if text.trim().is_empty() {
            return Err(LockFileError::new("it is empty"));
        }
        if let Some(line) = text.lines().position(|line| line.starts_with("<<<<<<<")) {
            return Err(LockFileError::new(format!(
                "line {}: a conflict of a merge is not resolved; take one side and write the file \
                 again",
                line + 1
            )));
        }
        let invalid = |error: serde_json::Error| LockFileError::new(error.to_string());
        let value: Value = serde_json::from_str(text).map_err(invalid)?;
        match value.get("retold_events").map(Value::as_u64) {
            None => return Err(LockFileError::new("it has no field `retold_events`")),
            Some(Some(format)) if format == u64::from(LOCK_FILE_FORMAT) => {}
            Some(Some(format)) => {
                return Err(LockFileError::new(format!(
                    "it has format {format}, and this version of Retold knows only \
                     {LOCK_FILE_FORMAT}; was it written by a newer version?"
                )));
            }
            Some(None) => return Err(LockFileError::new("`retold_events` is not a number")),
        }
        // Read again from the text, so that errors name the line.
        let file: LockFile = serde_json::from_str(text).map_err(invalid)?;
        file.into_schemas()
    }

    /// Returns the text of the lock file.
    pub fn to_lock(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(&LockFile::of(self)).expect("names and schemas are JSON");
        text.push('\n');
        text
    }
}

impl LockFile {
    fn of(schemas: &EventSchemas) -> Self {
        let topic =
            |(topic, shapes): (&String, &TopicSchemas)| (topic.clone(), LockedTopic::of(shapes));
        let application = |(name, topics): (&String, &TopicsOfLog)| {
            (name.clone(), topics.iter().map(topic).collect())
        };
        let follower = |it: &FollowerOutline| LockedFollower {
            application: it.application.clone(),
            name: it.name.clone(),
            follows: it.upstreams.clone(),
            topics: it.topics.clone(),
        };
        Self {
            retold_events: LOCK_FILE_FORMAT,
            applications: schemas.applications.iter().map(application).collect(),
            followers: schemas.followers.iter().map(follower).collect(),
        }
    }

    fn into_schemas(self) -> Result<EventSchemas, LockFileError> {
        let check = |what: &str, name: &str| {
            check_name(what, name).map_err(|error| LockFileError::new(error.to_string()))
        };
        let mut applications = BTreeMap::new();
        for (application, locked) in self.applications {
            check("application", &application)?;
            let mut topics = TopicsOfLog::new();
            for (topic, locked) in locked {
                check("topic", &topic)?;
                locked
                    .formerly
                    .iter()
                    .try_for_each(|name| check("topic", name))?;
                let shapes = locked.into_shapes(&application, &topic)?;
                topics.insert(topic, shapes);
            }
            applications.insert(application, topics);
        }
        let follower = |it: LockedFollower| FollowerOutline {
            application: it.application,
            name: it.name,
            upstreams: it.follows,
            topics: it.topics,
        };
        let mut followers: Vec<_> = self.followers.into_iter().map(follower).collect();
        followers.sort();
        Ok(EventSchemas {
            applications,
            followers,
            readings: Vec::new(),
        })
    }
}

impl LockedTopic {
    fn of(topic: &TopicSchemas) -> Self {
        let locked = |shapes: &BTreeMap<u32, Option<ContentSchemas>>| {
            let shapes = shapes.iter();
            shapes
                .map(|(revision, shape)| (*revision, LockedShape::of(shape.as_ref())))
                .collect()
        };
        Self {
            revision: topic.revision,
            formerly: topic.former_topics.clone(),
            past: topic.is_past,
            retired: topic.is_retired,
            shapes: locked(&topic.shapes),
            ahead: locked(&topic.ahead),
            earlier: topic.earlier.clone(),
        }
    }

    fn into_shapes(self, application: &str, topic: &str) -> Result<TopicSchemas, LockFileError> {
        let wrong = |what: &str| {
            LockFileError::new(format!("the topic {topic:?} of {application:?}: {what}"))
        };
        if self.revision == 0 && !self.retired {
            return Err(wrong("revisions start at 1"));
        }
        if self.shapes.contains_key(&0) || self.earlier.contains_key(&0) {
            return Err(wrong("a shape has revision 0; revisions start at 1"));
        }
        if self.revision > 0 && !self.shapes.contains_key(&self.revision) {
            return Err(wrong("the shape of its present revision is missing"));
        }
        if self.ahead.keys().any(|revision| *revision <= self.revision) {
            return Err(wrong(
                "a shape that is read ahead does not have a newer revision",
            ));
        }
        let shapes = |locked: BTreeMap<u32, LockedShape>| {
            let shape = |(revision, shape): (u32, LockedShape)| {
                let shape = shape.into_schemas();
                let shape = shape.map_err(|what| wrong(&format!("revision {revision}: {what}")))?;
                Ok((revision, shape))
            };
            locked
                .into_iter()
                .map(shape)
                .collect::<Result<BTreeMap<_, _>, LockFileError>>()
        };
        for (revision, earlier) in &self.earlier {
            if !earlier.iter().all(is_schema) || earlier.is_empty() {
                let what = "what was written earlier is a list of schemas";
                return Err(wrong(&format!("revision {revision}: {what}")));
            }
            if !self.shapes.contains_key(revision) {
                let what = "it has an earlier shape and no later one";
                return Err(wrong(&format!("revision {revision}: {what}")));
            }
        }
        Ok(TopicSchemas {
            revision: self.revision,
            former_topics: self.formerly,
            is_past: self.past,
            is_retired: self.retired,
            shapes: shapes(self.shapes)?,
            ahead: shapes(self.ahead)?,
            earlier: self.earlier,
        })
    }
}

impl LockedShape {
    fn of(shape: Option<&ContentSchemas>) -> Self {
        match shape {
            None => Self::default(),
            Some(shape) if shape.written == shape.read => Self {
                schema: Some(shape.written.clone()),
                ..Self::default()
            },
            Some(shape) => Self {
                schema: None,
                written: Some(shape.written.clone()),
                read: Some(shape.read.clone()),
            },
        }
    }

    fn into_schemas(self) -> Result<Option<ContentSchemas>, &'static str> {
        let shape = match (self.schema, self.written, self.read) {
            (None, None, None) => return Ok(None),
            (Some(schema), None, None) => ContentSchemas {
                written: schema.clone(),
                read: schema,
            },
            (None, Some(written), Some(read)) => ContentSchemas { written, read },
            _ => return Err("a shape has either `schema`, or `written` and `read`"),
        };
        match is_schema(&shape.written) && is_schema(&shape.read) {
            true => Ok(Some(shape)),
            false => Err("a schema is an object, `true` or `false`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r##"{
      "retold_events": 1,
      "applications": {"kennel": {
        "DogEvent.Born": {
          "revision": 2,
          "formerly": ["Born"],
          "shapes": {
            "1": {"schema": {"type": "object"}},
            "2": {"written": {"$ref": "#/$defs/A", "$defs": {"A": true}}, "read": true}
          },
          "ahead": {"3": {"schema": true}},
          "earlier": {"1": [{"type": "null"}]}
        },
        "DogEvent.Gone": {"revision": 0, "retired": true},
        "DogEvent.Moved": {"revision": 1, "past": true, "shapes": {"1": {}}}
      }, "post": {}},
      "followers": [
        {"application": "post", "name": "cards", "follows": ["kennel"], "topics": ["Born"]}
      ]
    }"##;

    #[test]
    fn a_file_is_read_and_written() {
        let schemas = EventSchemas::from_lock(FILE.as_bytes()).unwrap();
        let topic = |topic| schemas.topic("kennel", topic).unwrap();
        let born = topic("DogEvent.Born");
        assert_eq!((born.shapes.len(), born.ahead.len()), (2, 1));
        assert_eq!(born.earlier[&1].len(), 1);
        assert!(topic("DogEvent.Gone").is_retired);
        assert_eq!(topic("DogEvent.Moved").shapes[&1], None);
        assert!(schemas.applications()["post"].is_empty());
        let again = EventSchemas::from_lock(schemas.to_lock().as_bytes()).unwrap();
        assert_eq!(again, schemas);
    }

    #[test]
    fn a_bad_file_says_what_is_wrong() {
        let rows = [
            ("", "", "it is empty"),
            (FILE, "[]", "has no field `retold_events`"),
            ("\"retold_events\": 1", "\"retold_events\": 2", "format 2"),
            (
                "\"retold_events\": 1",
                "\"retold_events\": \"1\"",
                "not a number",
            ),
            (
                "\"revision\": 2",
                "\"revision\": 3",
                "DogEvent.Born\" of \"kennel\": the shape of its present",
            ),
            ("\"revision\": 2", "\"revision\": -1", "line 5"),
            ("\"formerly\"", "\"former\"", "unknown field `former`"),
            (
                "\"2\": {\"written\"",
                "\"2\": {\"wrote\"",
                "unknown field `wrote`",
            ),
            (
                "\"read\": true",
                "\"read\": 7",
                "revision 2: a schema is an object",
            ),
            (
                ", \"read\": true",
                "",
                "either `schema`, or `written` and `read`",
            ),
            (
                "\"retired\": true",
                "\"retired\": false",
                "DogEvent.Gone\" of \"kennel\": revisions start at 1",
            ),
            ("\"1\": {}", "\"0\": {}, \"1\": {}", "revision 0"),
            ("\"3\": {", "\"2\": {", "does not have a newer revision"),
            (
                "[{\"type\": \"null\"}]",
                "[7]",
                "revision 1: what was written earlier",
            ),
            ("\"earlier\": {\"1\"", "\"earlier\": {\"7\"", "no later one"),
            ("\"post\": {}", "\"\": {}", "application is empty"),
            ("DogEvent.Gone", "", "topic"),
            (
                "      \"applications\"",
                "<<<<<<< ours\n      \"applications\"",
                "line 3: a conflict",
            ),
            ("\n    }", "", "EOF"),
        ];
        for (before, after, expected) in rows {
            let text = match before {
                "" => String::new(),
                before => FILE.replacen(before, after, 1),
            };
            let error = EventSchemas::from_lock(text.as_bytes())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(expected),
                "{expected:?} is not in: {error}\n{text}"
            );
        }
        assert!(EventSchemas::from_lock(&[0xff, 0xfe]).is_err());
    }
}
