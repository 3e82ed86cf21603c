//! `postgres://…`.

use std::sync::Arc;

use retold_postgres::PostgresStore;

use crate::recording::{RecordError, Store};

pub(super) async fn open(url: &str) -> Result<Arc<dyn Store>, RecordError> {
    Ok(Arc::new(PostgresStore::open(url).await?))
}

pub(super) async fn open_read_only(url: &str) -> Result<Arc<dyn Store>, RecordError> {
    Ok(Arc::new(PostgresStore::open_read_only(url).await?))
}
