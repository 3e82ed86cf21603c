//! A place for a store, and data that tests record in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use retold_core::recording::{ERASED_TOPIC, EventId, LogId, NewEvent, Recorder, Store};
use retold_sqlite::{SqliteOptions, SqliteStore};
use rusqlite::Connection;
use rusqlite::backup::Backup;
use uuid::Uuid;

/// The path of a store; a new one is in a folder that is removed when it is dropped.
pub(crate) struct Place {
    path: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            path: folder.path().join("dogs.db"),
            _folder: Some(folder),
        }
    }

    /// Returns the same place for a user that does not outlive it.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self {
            path,
            _folder: None,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    pub(crate) fn open(&self) -> SqliteStore {
        SqliteStore::open_with(self.path(), &patient()).unwrap()
    }
}

/// Options of a store that waits for others as long as a test may last: on a busy machine a sync
/// can take seconds, and each writer waits for all earlier ones.
pub(crate) fn patient() -> SqliteOptions {
    SqliteOptions::new().busy_wait_max(Duration::from_secs(600))
}

/// Copies a store into the file of another with SQLite's backup interface, under all open
/// connections.
pub(crate) fn restore(copy: &Path, into: &Path) {
    let copy = Connection::open(copy).unwrap();
    let mut into = Connection::open(into).unwrap();
    into.busy_timeout(Duration::from_secs(60)).unwrap();
    let backup = Backup::new(&copy, &mut into).unwrap();
    backup
        .run_to_completion(1_000, Duration::from_millis(1), None)
        .unwrap();
}

/// Opens a log, whose id is derived from the number.
pub(crate) async fn log(store: &SqliteStore, name: &str) -> Arc<dyn Recorder> {
    store.open(name, LogId::new(Uuid::now_v7())).await.unwrap()
}

/// An event with this number as its id.
pub(crate) fn event(id: u128) -> NewEvent {
    NewEvent::new(EventId::new(Uuid::from_u128(id)), "Dog.Registered", "{}")
}

/// An event with this number as its id that records an erasure in a stream.
pub(crate) fn record(id: u128, stream: &str) -> NewEvent {
    let id = EventId::new(Uuid::from_u128(id));
    NewEvent::new(id, ERASED_TOPIC, "{}").stream(stream)
}
