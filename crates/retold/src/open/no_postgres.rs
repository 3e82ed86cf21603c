//! `postgres://…` in programs that are built without it: an error that states the remedy.

use std::sync::Arc;

use crate::recording::{RecordError, Store};

pub(super) async fn open(_: &str) -> Result<Arc<dyn Store>, RecordError> {
    Err(missing())
}

pub(super) async fn open_read_only(_: &str) -> Result<Arc<dyn Store>, RecordError> {
    Err(missing())
}

fn missing() -> RecordError {
    RecordError::invalid(
        "a store at postgres:// needs the feature `postgres` of the crate retold, which this \
         program was built without",
    )
}
