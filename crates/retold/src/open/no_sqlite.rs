//! `sqlite:PATH` in programs that are built without it: an error that states the remedy.

use std::path::Path;
use std::sync::Arc;

use crate::recording::{RecordError, Store};
use crate::store_url::Durability;

pub(super) fn open(
    path: &Path,
    _: Durability,
    _: Option<u32>,
) -> Result<Arc<dyn Store>, RecordError> {
    Err(missing(path))
}

pub(super) fn open_read_only(path: &Path) -> Result<Arc<dyn Store>, RecordError> {
    Err(missing(path))
}

fn missing(path: &Path) -> RecordError {
    RecordError::invalid(format!(
        "sqlite:{} needs the feature `sqlite` of the crate retold, which this program was \
         built without",
        path.display()
    ))
}
