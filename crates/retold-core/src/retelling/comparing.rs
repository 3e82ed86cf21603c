//! Compares a decided event with a recorded one.
//!
//! The comparison includes the id, stream, topic (a former name equals the present one), tags,
//! time, origin, metadata and decoded value. It does not include the index in the append, the time
//! of recording and the encoding.

use crate::mapping::{Arrays, TopicRegistry, json_difference};
use crate::recording::{NewEvent, StoredEvent};

/// Returns the first thing in which the two differ; none if they are equal.
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
    // An erased payload equals any decided one.
    let payload = recorded.payload()?;
    let is_equal = is_one_value(retold.payload.as_deref().unwrap_or_default(), payload);
    (!is_equal).then_some("the values differ")
}

fn is_one_topic(registry: &TopicRegistry, retold: &str, recorded: &str) -> bool {
    retold == recorded || registry.present_topic(recorded) == Some(retold)
}

/// Returns whether both are the same bytes, or the same JSON.
fn is_one_value(one: &[u8], other: &[u8]) -> bool {
    json_difference(one, other, Arrays::Ordered).is_none()
}
