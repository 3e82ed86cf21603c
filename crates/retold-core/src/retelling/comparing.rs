//! Compares a decided event with a recorded one.
//!
//! The comparison includes the id, stream, topic (a former name equals the present one), tags,
//! time, origin, metadata and decoded value. It does not include the index in the append, the time
//! of recording and the encoding.
//!
//! An event that was recorded in another revision is read as the present type and then compared.
//! Its tags are not compared, because they are a function of the type.

use crate::application::Application;
use crate::mapping::{Arrays, json_difference};
use crate::recording::{NewEvent, StoredEvent};

/// Returns the first thing in which the two differ; none if they are equal.
pub(crate) fn difference(
    application: &Application,
    retold: &NewEvent,
    recorded: &StoredEvent,
) -> Option<&'static str> {
    if retold.id != recorded.id() {
        return Some("the ids differ");
    }
    if retold.stream.as_deref() != recorded.stream() {
        return Some("the streams differ");
    }
    let is_of_other_revision = retold.revision != recorded.revision();
    if is_of_other_revision && application.is_read_as(recorded, retold) {
        return envelope_difference(retold, recorded);
    }
    if !is_one_topic(application, &retold.topic, recorded.topic()) {
        return Some("the topics differ");
    }
    let is_without_tags = recorded.is_erased() && recorded.packed_tags().is_empty();
    let is_one_set = || retold.tags.iter().map(|tag| &**tag).eq(recorded.tags());
    if !is_of_other_revision && !is_without_tags && !is_one_set() {
        return Some("the tags differ");
    }
    if let Some(what) = envelope_difference(retold, recorded) {
        return Some(what);
    }
    // What was forgotten is a fact, like an erased payload, which equals any decided one.
    if recorded.has_forgotten_fields() {
        return None;
    }
    let payload = recorded.payload()?;
    let is_equal = is_one_value(retold.payload.as_deref().unwrap_or_default(), payload);
    (!is_equal).then_some("the values differ")
}

/// Returns the first difference in the times, origins and metadata.
fn envelope_difference(retold: &NewEvent, recorded: &StoredEvent) -> Option<&'static str> {
    if retold.time != recorded.time() {
        return Some("the times differ");
    }
    if retold.origin.to_text() != recorded.origin_text() {
        return Some("the origins differ");
    }
    // The tags and metadata of an erased event may be erased too.
    let is_without_metadata = recorded.is_erased() && recorded.metadata_bytes().is_empty();
    if !is_without_metadata && !is_one_value(&retold.metadata, recorded.metadata_bytes()) {
        return Some("the metadata differ");
    }
    None
}

fn is_one_topic(application: &Application, retold: &str, recorded: &str) -> bool {
    retold == recorded || application.registry().present_topic(recorded) == Some(retold)
}

/// Returns whether both are the same bytes, or the same JSON.
fn is_one_value(one: &[u8], other: &[u8]) -> bool {
    json_difference(one, other, Arrays::Ordered).is_none()
}
