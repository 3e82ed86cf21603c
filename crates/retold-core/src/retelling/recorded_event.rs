//! A recorded event, to be recorded once more: where logs are told again.

use std::sync::Arc;

use crate::recording::{NewEvent, StoredEvent};

/// A recorded event as one that is to be recorded.
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
