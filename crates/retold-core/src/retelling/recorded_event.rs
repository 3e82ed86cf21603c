//! A recorded event that is recorded again, in a retold log.

use std::sync::Arc;

use crate::recording::{NewEvent, StoredEvent};

/// Converts a recorded event to a new one.
pub(crate) fn as_new(stored: &StoredEvent) -> NewEvent {
    let mut new = NewEvent::new(
        stored.id(),
        stored.topic().to_owned(),
        stored.payload_bytes().unwrap_or_default(),
    )
    .revision(stored.revision())
    .time(stored.time())
    .metadata(stored.metadata_bytes().to_vec());
    new.stream = stored.stream().map(Arc::from);
    new.tags = stored.tags().map(Arc::from).collect();
    if let Ok(origin) = stored.origin() {
        new.origin = origin;
    }
    if let Ok(encoding) = stored.encoding() {
        new.encoding = encoding;
    }
    if stored.is_erased() {
        new.payload = None;
    }
    new
}
