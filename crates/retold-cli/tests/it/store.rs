//! Stores for the tests.

use std::path::PathBuf;
use std::sync::Arc;

use retold::recording::{Append, Metadata, NewEvent, Recorder, Store};
use retold::uuid::Uuid;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A folder for a store, and a runtime to write to it.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    runtime: Runtime,
}

impl Place {
    /// Creates an empty folder.
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            runtime: Runtime::new().unwrap(),
        }
    }

    /// Creates a store with the log `dogs` of five events, and the empty log `cats`.
    pub(crate) fn with_dogs() -> Self {
        let place = Self::new();
        let store = place.open();
        place.log(&*store, "cats");
        let dogs = place.log(&*store, "dogs");
        let payload = r#"{ "name": "Fido",
  "weight": 12.50 }"#;
        let registered = event(1, "Dog.Registered", payload)
            .stream("dog/1")
            .tag("breed:setter")
            .tag("colour:red")
            .metadata(Metadata::new().with("user", "ann").to_bytes());
        place.append(&*dogs, [registered]);
        place.append(
            &*dogs,
            [
                event(2, "Dog.TrickAdded", r#"{"trick":"roll over"}"#).stream("dog/1"),
                event(3, "Dog.Registered", r#"{"name":"Rex"}"#)
                    .stream("dog/2")
                    .tag("breed:setter"),
            ],
        );
        place.append(&*dogs, [event(4, "Kennel.Opened", "{}")]);
        place.append(
            &*dogs,
            [event(5, "Dog.Chipped", "{}").stream("dog/2").erased()],
        );
        place
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("dogs.db")
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    pub(crate) fn open(&self) -> Arc<dyn Store> {
        self.runtime
            .block_on(retold::open_store(&self.url()))
            .unwrap()
    }

    pub(crate) fn log(&self, store: &dyn Store, name: &str) -> Arc<dyn Recorder> {
        let birth = Uuid::from_u128(name.bytes().map(u128::from).sum());
        self.runtime
            .block_on(store.open(name, birth.into()))
            .unwrap()
    }

    /// Waits for a future, and returns its success.
    #[track_caller]
    pub(crate) fn block_on<T, E: std::fmt::Debug>(
        &self,
        done: impl Future<Output = Result<T, E>>,
    ) -> T {
        self.runtime.block_on(done).unwrap()
    }

    pub(crate) fn append(&self, log: &dyn Recorder, events: impl IntoIterator<Item = NewEvent>) {
        self.runtime
            .block_on(log.append(Append::of(events)))
            .unwrap();
    }

    /// Returns the names of the files in the folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Returns an event decided in 2013.
pub(crate) fn event(number: u128, topic: &'static str, payload: &'static str) -> NewEvent {
    NewEvent::new(Uuid::from_u128(number).into(), topic, payload.as_bytes())
        .time("2013-01-01T05:17:00Z".parse().unwrap())
}
