//! When an event that was decided now equals one that is recorded.
//!
//! Compared are id, stream, topic (a former name counts as the present one), tags, time, origin,
//! metadata and the decoded value. Place in the append, time of recording and encoding are not.

use crate::mapping::{Arrays, TopicRegistry, json_difference};
use crate::recording::{NewEvent, StoredEvent};

/// The first thing in which the two differ; none if they are equal.
pub(crate) fn difference(
    registry: &TopicRegistry,
    retold: &NewEvent,
    recorded: &StoredEvent,
) -> Option<&'static str> {
    if retold.id != recorded.id() {
        return Some("the ids differ");
    }
    if retold.stream.as_deref() != recorded.stream() {
        return Some("the streams differ");
    }
    if !is_one_topic(registry, &retold.topic, recorded.topic()) {
        return Some("the topics differ");
    }
    if !retold.tags.iter().map(|tag| &**tag).eq(recorded.tags()) {
        return Some("the tags differ");
    }
    if retold.time != recorded.time() {
        return Some("the times differ");
    }
    if retold.origin.to_text() != recorded.origin_text() {
        return Some("the origins differ");
    }
    if !is_one_value(&retold.metadata, recorded.metadata_bytes()) {
        return Some("the metadata differ");
    }
    // What is erased is equal to whatever was decided.
    let payload = recorded.payload()?;
    let is_equal = is_one_value(retold.payload.as_deref().unwrap_or_default(), payload);
    (!is_equal).then_some("the values differ")
}

fn is_one_topic(registry: &TopicRegistry, retold: &str, recorded: &str) -> bool {
    retold == recorded || registry.present_topic(recorded) == Some(retold)
}

/// Whether both are the same bytes, or the same JSON.
fn is_one_value(one: &[u8], other: &[u8]) -> bool {
    json_difference(one, other, Arrays::Ordered).is_none()
}
