//! The recorder's contract, every rule of it, on databases of a private server.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use retold_conformance::Subject;
use retold_core::recording::{LogId, Store};
use retold_postgres::{PostgresOptions, PostgresStore, schema_sql};

use crate::database::{Database, block_on};

/// Tables of a store, in any order.
const TABLES: [&str; 8] = [
    "log",
    "event",
    "event_tag",
    "stream_record",
    "former_topic",
    "stretch",
    "snapshot",
    "lease",
];

/// A database with a store.
struct TemporaryPostgresStore {
    database: Database,
    images: AtomicU32,
}

impl Subject for TemporaryPostgresStore {
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        block_on(future)
    }

    async fn create() -> Self {
        Self {
            database: Database::create().await,
            images: AtomicU32::new(0),
        }
    }

    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.database.open().await)
    }

    async fn replace(&self, logs: &[(&str, LogId)]) {
        let client = self.database.client().await;
        let mut sql = format!(
            "DROP SCHEMA retold CASCADE; {}",
            schema_sql("retold").unwrap()
        );
        for (name, id) in logs {
            let bear = format!("; INSERT INTO retold.log (name, id) VALUES ('{name}', '{id}')");
            sql.push_str(&bear);
        }
        client.batch_execute(&sql).await.unwrap();
    }

    /// A transaction is visible to others only when it is durable, unless `synchronous_commit` is
    /// off; so a snapshot shows the state that a crash would leave.
    async fn crash_image(&self) -> Arc<dyn Store> {
        let number = self.images.fetch_add(1, Ordering::Relaxed);
        let image = format!("image_{number}");
        let mut client = self.database.client().await;
        client
            .batch_execute(&schema_sql(&image).unwrap())
            .await
            .unwrap();
        let transaction = client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .start()
            .await
            .unwrap();
        for table in TABLES {
            let copy = format!(
                "INSERT INTO {image}.{table} OVERRIDING SYSTEM VALUE SELECT * FROM retold.{table}"
            );
            transaction.batch_execute(&copy).await.unwrap();
        }
        let count_on = format!(
            "SELECT setval(pg_get_serial_sequence('{image}.log', 'key'), 1 + count(*)) FROM \
             {image}.log"
        );
        transaction.batch_execute(&count_on).await.unwrap();
        transaction.commit().await.unwrap();
        let options = PostgresOptions::new().schema(image);
        let store = PostgresStore::open_with(&self.database.url(), &options).await;
        Arc::new(store.unwrap())
    }
}

retold_conformance::conformance_suite!(TemporaryPostgresStore);

/// The contract also holds with an inline projection.
mod with_a_projection {
    use retold_postgres::PostgresInlineProjections;

    use super::*;
    use crate::tricks::{tables, tricks};

    struct WithProjection(TemporaryPostgresStore);

    impl Subject for WithProjection {
        fn block_on<T>(future: impl Future<Output = T>) -> T {
            block_on(future)
        }

        async fn create() -> Self {
            Self(TemporaryPostgresStore::create().await)
        }

        async fn open(&self) -> Arc<dyn Store> {
            let inline = PostgresInlineProjections::new().with(tricks(1), tables());
            let (url, options) = (self.0.database.url(), PostgresOptions::new());
            let store = PostgresStore::open_with_projections(&url, &options, inline).await;
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
