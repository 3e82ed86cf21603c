//! Metadata of what an event causes: a function of the event's, so that a retelling gives the same.

use bytes::Bytes;

use crate::application::Result;
use crate::recording::metadata::Metadata;
use crate::recording::stored_event::StoredEvent;

/// The conversation that the event belongs to, which is its own if it belongs to none, and the event
/// as the cause.
pub(super) fn caused_by(event: &StoredEvent) -> Result<Bytes> {
    let id = event.id().to_string();
    let known = event.metadata()?;
    let correlation = known.correlation_id().unwrap_or(&id);
    let metadata = Metadata::new()
        .with_correlation_id(correlation)
        .with_causation_id(id.as_str());
    Ok(metadata.to_bytes())
}
