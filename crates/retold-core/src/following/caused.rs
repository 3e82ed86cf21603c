//! Metadata of effects, as a function of the event that caused them, so that a retelling computes
//! the same; and the span in which an event is processed, for tracing a conversation.

use bytes::Bytes;
use tracing::{Level, Span};

use crate::application::Result;
use crate::recording::{FollowerKey, Metadata, StoredEvent};

/// Returns the event's correlation id, which is the event's own id if it has none, and the event as
/// the cause.
pub(crate) fn caused_by(event: &StoredEvent) -> Result<Bytes> {
    let id = event.id().to_string();
    let known = event.metadata()?;
    let correlation = known.correlation_id().unwrap_or(&id);
    let metadata = Metadata::new()
        .with_correlation_id(correlation)
        .with_causation_id(id.as_str());
    Ok(metadata.to_bytes())
}

/// The span `retold.process`, at level debug, around the processing of an event by a follower. The
/// id of the event is the causation of its effects, and the correlation is that of the event.
pub(crate) fn process_span(
    application: &str,
    follower: &FollowerKey,
    upstream: &str,
    event: &StoredEvent,
) -> Span {
    let heard = tracing::enabled!(Level::DEBUG).then(|| event.metadata().ok());
    let known = heard.flatten();
    tracing::debug_span!(
        "retold.process",
        application,
        follower = %follower,
        upstream,
        position = event.position().get(),
        event = %event.id(),
        correlation = known.as_ref().and_then(|it| it.correlation_id()),
    )
}
