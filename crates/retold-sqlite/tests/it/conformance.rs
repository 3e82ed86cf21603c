//! The recorder's contract, every rule of it, on temporary SQLite files.

use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use retold_conformance::Subject;
use retold_core::recording::{LogId, Store};
use retold_sqlite::{SqliteInlineProjections, SqliteStore};
use rusqlite::{Connection, OpenFlags};
use tokio::runtime::Runtime;

use crate::place::{Place, patient, restore};

/// Runs a future to completion, on the runtime of all conformance tests.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.block_on(future)
}

/// A SQLite file, removed when it is dropped.
struct TemporarySqliteStore {
    place: Place,
    images: AtomicU32,
}

impl Subject for TemporarySqliteStore {
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        block_on(future)
    }

    async fn create() -> Self {
        Self {
            place: Place::new(),
            images: AtomicU32::new(0),
        }
    }

    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.place.open())
    }

    async fn replace(&self, logs: &[(&str, LogId)]) {
        let number = self.images.fetch_add(1, Ordering::Relaxed);
        let copy = self.place.path().with_extension(format!("{number}.db"));
        let store = SqliteStore::open_with(&copy, &patient()).unwrap();
        for (name, id) in logs {
            store.open(name, *id).await.unwrap();
        }
        restore(&copy, &self.place.path());
    }

    async fn crash_image(&self) -> Arc<dyn Store> {
        let number = self.images.fetch_add(1, Ordering::Relaxed);
        let image = self.place.path().with_extension(format!("{number}.db"));
        copy_as_after_a_crash(&self.place.path(), &image);
        Arc::new(SqliteStore::open_with(image, &patient()).unwrap())
    }
}

/// Copies the file, then its write-ahead log. An open read prevents the log from restarting: frames
/// that are copied into the file in the meantime stay in the log, which is longer at the end than
/// at any time before.
fn copy_as_after_a_crash(path: &PathBuf, image: &PathBuf) {
    let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM log")
        .unwrap();
    fs::copy(path, image).unwrap();
    let wal = |path: &PathBuf| PathBuf::from(format!("{}-wal", path.display()));
    fs::copy(wal(path), wal(image)).unwrap();
}

retold_conformance::conformance_suite!(TemporarySqliteStore);

/// The contract also holds if a projection takes part in every append.
mod with_a_projection {
    use super::*;
    use crate::tricks::{tables, tricks};

    struct WithProjection(TemporarySqliteStore);

    impl Subject for WithProjection {
        fn block_on<T>(future: impl Future<Output = T>) -> T {
            TemporarySqliteStore::block_on(future)
        }

        async fn create() -> Self {
            Self(TemporarySqliteStore::create().await)
        }

        async fn open(&self) -> Arc<dyn Store> {
            let inline = SqliteInlineProjections::new().with(tricks(1), tables());
            let path = self.0.place.path();
            let store = SqliteStore::open_with_projections(path, &patient(), inline);
            Arc::new(store.unwrap())
        }

        async fn replace(&self, logs: &[(&str, LogId)]) {
            self.0.replace(logs).await;
        }

        async fn crash_image(&self) -> Arc<dyn Store> {
            self.0.crash_image().await
        }
    }

    retold_conformance::conformance_suite!(WithProjection);
}
