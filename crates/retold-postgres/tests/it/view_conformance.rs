//! The rules of a view store, every one of them, on views in the schema of a store and in another.

use std::future::Future;
use std::sync::Arc;

use retold_conformance::{TrickProjection, ViewSubject};
use retold_core::projection::ViewStore;
use retold_core::recording::Recorder;
use retold_postgres::PostgresViews;

use crate::database::{Database, block_on};
use crate::tricks::{handled, log, read, tables};

/// Views in the schema of a store, or in another schema.
struct Views<const IS_IN_STORE: bool>(Database);

impl<const IS_IN_STORE: bool> Views<IS_IN_STORE> {
    async fn views(&self) -> PostgresViews {
        match IS_IN_STORE {
            true => self.0.open().await.views(),
            false => PostgresViews::open(&self.0.url(), "public").unwrap(),
        }
    }
}

impl<const IS_IN_STORE: bool> ViewSubject for Views<IS_IN_STORE> {
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        block_on(future)
    }

    async fn create() -> Self {
        Self(Database::create().await)
    }

    async fn log(&self) -> Arc<dyn Recorder> {
        log(&self.0.open().await, "dogs").await
    }

    async fn keep(&self, projection: TrickProjection) -> Arc<dyn ViewStore> {
        let views = self.views().await;
        views.keep(handled(projection), tables()).unwrap()
    }

    async fn read(&self) -> Vec<String> {
        read(&self.views().await).await
    }

    /// Checks that only the version that readers see has tables.
    async fn verify(&self) {
        let client = self.0.client().await;
        let sql = "SELECT count(DISTINCT substr(tablename, strpos(tablename, '__v')))
            FROM pg_tables WHERE tablename LIKE 'trick%'";
        let versions: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(versions, 1);
    }
}

retold_conformance::view_conformance_suite!(Views<true>);

mod in_another_schema {
    use super::Views;

    retold_conformance::view_conformance_suite!(Views<false>);
}
