//! `sqlite:PATH`.

use std::path::Path;
use std::sync::Arc;

use retold_sqlite::{SqliteOptions, SqliteStore};

use crate::recording::{RecordError, Store};
use crate::store_url::Durability;

pub(super) fn open(
    path: &Path,
    durability: Durability,
    file_mode: Option<u32>,
) -> Result<Arc<dyn Store>, RecordError> {
    let mut options = SqliteOptions::new().durability(match durability {
        Durability::Full => retold_sqlite::SqliteDurability::Full,
        Durability::Normal => retold_sqlite::SqliteDurability::Normal,
    });
    if let Some(mode) = file_mode {
        options = options.file_mode(mode);
    }
    Ok(Arc::new(SqliteStore::open_with(path, &options)?))
}

pub(super) fn open_read_only(path: &Path) -> Result<Arc<dyn Store>, RecordError> {
    Ok(Arc::new(SqliteStore::open_read_only(path)?))
}
