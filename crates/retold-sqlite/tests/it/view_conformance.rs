//! The rules of a view store, every one of them, on views in their own file and in that of a store.

use std::future::Future;
use std::sync::Arc;

use retold_conformance::{TrickProjection, ViewSubject};
use retold_core::projection::ViewStore;
use retold_core::recording::{Recorder, Store};
use retold_sqlite::SqliteViews;

use crate::conformance::block_on;
use crate::place::{Place, log};
use crate::tricks::{handled, read, tables};

/// Views in the file of a store, or in their own file.
struct Views<const IS_IN_STORE: bool>(Place);

impl<const IS_IN_STORE: bool> Views<IS_IN_STORE> {
    fn views(&self) -> SqliteViews {
        match IS_IN_STORE {
            true => self.0.open().views(),
            false => SqliteViews::open(self.0.path().with_extension("views")).unwrap(),
        }
    }
}

impl<const IS_IN_STORE: bool> ViewSubject for Views<IS_IN_STORE> {
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        block_on(future)
    }

    async fn create() -> Self {
        Self(Place::new())
    }

    async fn log(&self) -> Arc<dyn Recorder> {
        log(&self.0.open(), "dogs").await
    }

    async fn keep(&self, projection: TrickProjection) -> Arc<dyn ViewStore> {
        self.views().keep(handled(projection), tables()).unwrap()
    }

    async fn read(&self) -> Vec<String> {
        read(&self.views())
    }

    /// Checks that only the version that readers see has tables.
    async fn verify(&self) {
        assert_eq!(self.0.open().verify().await.unwrap(), []);
        let sql = "SELECT count(DISTINCT substr(name, instr(name, '__v'))) FROM sqlite_schema
            WHERE type = 'table' AND name LIKE 'trick%' AND instr(name, '__v')";
        let reader = self.views().reader().unwrap();
        let versions: i64 = reader.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(versions, 1);
    }
}

retold_conformance::view_conformance_suite!(Views<true>);

mod in_their_own_file {
    use super::Views;

    retold_conformance::view_conformance_suite!(Views<false>);
}
