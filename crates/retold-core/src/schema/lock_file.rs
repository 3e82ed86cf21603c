//! The file `events.lock`: a description of events as JSON, which is kept with the program.
//!
//! The file may have been edited or merged by hand: reading any bytes gives a description or an
//! error that says what is wrong, and where.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event_schemas::{EventSchemas, FollowerOutline, TopicSchemas};
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
    topics: BTreeMap<String, LockedTopic>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    applications: BTreeMap<String, BTreeSet<String>>,
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
        let topic = |(topic, shapes): (&String, &TopicSchemas)| {
            let locked = LockedTopic {
                revision: shapes.revision,
                formerly: shapes.former_topics.clone(),
                past: shapes.is_past,
                retired: shapes.is_retired,
                shapes: shapes
                    .shapes
                    .iter()
                    .map(|(revision, shape)| (*revision, LockedShape::of(shape.as_ref())))
                    .collect(),
            };
            (topic.clone(), locked)
        };
        let follower = |it: &FollowerOutline| LockedFollower {
            application: it.application.clone(),
            name: it.name.clone(),
            follows: it.upstreams.clone(),
            topics: it.topics.clone(),
        };
        Self {
            retold_events: LOCK_FILE_FORMAT,
            topics: schemas.topics.iter().map(topic).collect(),
            applications: schemas.applications.clone(),
            followers: schemas.followers.iter().map(follower).collect(),
        }
    }

    fn into_schemas(self) -> Result<EventSchemas, LockFileError> {
        let mut topics = BTreeMap::new();
        for (topic, locked) in self.topics {
            let names = std::iter::once(&topic).chain(&locked.formerly);
            for name in names {
                check_name("topic", name).map_err(|error| LockFileError::new(error.to_string()))?;
            }
            let shapes = locked.into_shapes(&topic)?;
            topics.insert(topic, shapes);
        }
        let follower = |it: LockedFollower| FollowerOutline {
            application: it.application,
            name: it.name,
            upstreams: it.follows,
            topics: it.topics,
        };
        Ok(EventSchemas {
            topics,
            applications: self.applications,
            followers: self.followers.into_iter().map(follower).collect(),
        })
    }
}

impl LockedTopic {
    fn into_shapes(self, topic: &str) -> Result<TopicSchemas, LockFileError> {
        let wrong = |what: &str| LockFileError::new(format!("the topic {topic:?}: {what}"));
        if self.revision == 0 && !self.retired {
            return Err(wrong("revisions start at 1"));
        }
        if self.shapes.contains_key(&0) {
            return Err(wrong("a shape has revision 0; revisions start at 1"));
        }
        if self.revision > 0 && !self.shapes.contains_key(&self.revision) {
            return Err(wrong("the shape of its present revision is missing"));
        }
        let mut shapes = BTreeMap::new();
        for (revision, shape) in self.shapes {
            let shape = shape
                .into_schemas()
                .map_err(|what| wrong(&format!("revision {revision}: {what}")))?;
            shapes.insert(revision, shape);
        }
        Ok(TopicSchemas {
            revision: self.revision,
            former_topics: self.formerly,
            is_past: self.past,
            is_retired: self.retired,
            shapes,
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
        let is_schema = |it: &Value| it.is_object() || it.is_boolean();
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
      "topics": {
        "DogEvent.Born": {
          "revision": 2,
          "formerly": ["Born"],
          "shapes": {
            "1": {"schema": {"type": "object"}},
            "2": {"written": {"$ref": "#/$defs/A", "$defs": {"A": true}}, "read": true}
          }
        },
        "DogEvent.Gone": {"revision": 0, "retired": true},
        "DogEvent.Moved": {"revision": 1, "past": true, "shapes": {"1": {}}}
      },
      "applications": {"kennel": ["DogEvent.Born"]},
      "followers": [
        {"application": "post", "name": "cards", "follows": ["kennel"], "topics": ["Born"]}
      ]
    }"##;

    #[test]
    fn a_file_is_read_and_written() {
        let schemas = EventSchemas::from_lock(FILE.as_bytes()).unwrap();
        let born = &schemas.topics()["DogEvent.Born"];
        assert_eq!(born.shapes.len(), 2);
        assert_eq!(schemas.present("Born").unwrap().0, "DogEvent.Born");
        assert!(schemas.topics()["DogEvent.Gone"].is_retired);
        assert_eq!(schemas.topics()["DogEvent.Moved"].shapes[&1], None);
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
                "DogEvent.Born\": the shape of its present",
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
                "DogEvent.Gone\": revisions start at 1",
            ),
            ("\"1\": {}", "\"0\": {}, \"1\": {}", "revision 0"),
            ("DogEvent.Gone", "", "topic"),
            (
                "      \"topics\"",
                "<<<<<<< ours\n      \"topics\"",
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
