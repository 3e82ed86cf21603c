//! A place for a store, and what tests put into it.

use std::path::PathBuf;
use std::sync::Arc;

use retold_core::recording::identity::{EventId, LogId};
use retold_core::recording::new_event::NewEvent;
use retold_core::recording::recorder::Recorder;
use retold_core::recording::store::Store;
use retold_sqlite::SqliteStore;
use uuid::Uuid;

/// A folder with the path of a store in it, removed when it is dropped.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("dogs.db")
    }

    pub(crate) fn open(&self) -> SqliteStore {
        SqliteStore::open(self.path()).unwrap()
    }
}

/// Opens a log, whose id is born of the number.
pub(crate) async fn log(store: &SqliteStore, name: &str) -> Arc<dyn Recorder> {
    store.open(name, LogId::new(Uuid::now_v7())).await.unwrap()
}

/// An event with this number as its id.
pub(crate) fn event(id: u128) -> NewEvent {
    NewEvent::new(EventId::new(Uuid::from_u128(id)), "Dog.Registered", "{}")
}
