//! An event as reports show and compare it: topic, tags and recorded content.

use serde_json::Value;
use uuid::Uuid;

use crate::domain::{Event, Timestamp};
use crate::mapping::{AnyEvent, Envelope, Mapper, MappingError};
use crate::recording::{EventId, NewEvent};

/// The parts of an event that are compared, and how they are shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ShownEvent {
    /// The name of its stream, unless the case determines it.
    pub(super) stream: Option<String>,
    pub(super) topic: String,
    pub(super) tags: Vec<String>,
    pub(super) content: Value,
}

impl ShownEvent {
    /// Returns `event` as decoded from its bytes.
    ///
    /// # Panics
    ///
    /// If no application would record the event.
    #[track_caller]
    pub(super) fn of<E: Event>(event: &E) -> Self {
        recorded(event).0
    }

    /// Returns `event`, which may be of any type, as decoded from its bytes.
    ///
    /// # Panics
    ///
    /// If no application would record the event.
    #[track_caller]
    pub(super) fn of_any(event: &AnyEvent) -> Self {
        shown(Mapper::default().encode_any(event, envelope())).0
    }

    /// Returns topic and tags on the first line and the content as JSON below; no lines for no
    /// content.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut title = self.topic.clone();
        if let Some(stream) = &self.stream {
            title.push_str(&format!(" -> {stream}"));
        }
        if !self.tags.is_empty() {
            title.push_str(&format!(" [{}]", self.tags.join(", ")));
        }
        let mut lines = vec![title];
        if !is_empty(&self.content) {
            let json = format!("{:#}", self.content);
            lines.extend(json.lines().map(str::to_owned));
        }
        lines
    }
}

fn is_empty(content: &Value) -> bool {
    match content {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Returns `event` as it is shown, and as it is read back from its bytes.
#[track_caller]
pub(super) fn recorded<E: Event>(event: &E) -> (ShownEvent, E) {
    shown(Mapper::default().encode(event, envelope()))
}

#[track_caller]
fn shown<E>(encoded: Result<(NewEvent, E), MappingError>) -> (ShownEvent, E) {
    let (new, read_back) = encoded.unwrap_or_else(|error| panic!("{error}"));
    let payload = new.payload.as_deref().unwrap_or_default();
    let shown = ShownEvent {
        stream: new.stream.as_ref().map(ToString::to_string),
        topic: new.topic.to_string(),
        tags: new.tags.iter().map(ToString::to_string).collect(),
        content: serde_json::from_slice(payload).expect("the codec writes JSON"),
    };
    (shown, read_back)
}

/// The metadata of an event, which is not shown.
fn envelope() -> Envelope {
    Envelope::new(EventId::new(Uuid::nil()), Timestamp::default())
}
