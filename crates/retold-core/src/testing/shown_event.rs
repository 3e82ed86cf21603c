//! An event as reports show and compare it: topic, tags and what is recorded of its content.

use serde_json::Value;

use crate::domain::event::Event;
use crate::mapping::any_event::AnyEvent;
use crate::mapping::codec::Codec;

/// What of an event is compared, and how it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ShownEvent {
    /// Where it goes, if that is not said by the case: the name of a stream.
    pub(super) stream: Option<String>,
    pub(super) topic: String,
    pub(super) tags: Vec<String>,
    pub(super) content: Value,
}

impl ShownEvent {
    /// `event` as its bytes tell it.
    ///
    /// # Panics
    ///
    /// If the event cannot be written, cannot be read back, or is another one then.
    #[track_caller]
    pub(super) fn of<E: Event>(event: &E) -> Self {
        let (shown, read_back) = recorded(event);
        let again = Self::written(&read_back);
        assert!(
            shown == again,
            "{} does not survive being recorded: it is written as\n{}\nand what is read back is\n{}",
            shown.topic,
            shown.lines().join("\n"),
            again.lines().join("\n"),
        );
        shown
    }

    #[track_caller]
    fn written<E: Event>(event: &E) -> Self {
        let topic = event.event_type().topic;
        match event.serialize_payload(serde_json::value::Serializer) {
            Ok(content) => Self {
                stream: None,
                topic: topic.into(),
                tags: event.tags().iter().map(ToString::to_string).collect(),
                content,
            },
            Err(error) => panic!("{topic} cannot be written as JSON: {error}"),
        }
    }

    /// `event`, which may be of any type, as its bytes tell it.
    ///
    /// # Panics
    ///
    /// If the event cannot be written.
    #[track_caller]
    pub(super) fn of_any(event: &AnyEvent) -> Self {
        let topic = event.event_type().topic;
        match event.encode(Codec::Json) {
            Ok(bytes) => Self {
                stream: event.stream().map(ToString::to_string),
                topic: topic.into(),
                tags: event.tags().iter().map(ToString::to_string).collect(),
                content: serde_json::from_slice(&bytes).expect("the codec writes JSON"),
            },
            Err(error) => panic!("{topic} cannot be written as JSON: {error}"),
        }
    }

    /// Topic and tags on the first line, the content as JSON below; no content, no lines.
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

/// `event` as it is shown, and as it comes back from its bytes.
#[track_caller]
pub(super) fn recorded<E: Event>(event: &E) -> (ShownEvent, E) {
    let shown = ShownEvent::written(event);
    let bytes = serde_json::to_vec(&shown.content).expect("a JSON value is JSON");
    let mut deserializer = serde_json::Deserializer::from_slice(&bytes);
    match E::deserialize_payload(event.type_index(), &mut deserializer) {
        Ok(read_back) => (shown, read_back),
        Err(error) => panic!(
            "{} does not survive being recorded: it is written as\n{}\nwhich cannot be read: {error}",
            shown.topic,
            shown.lines().join("\n"),
        ),
    }
}
