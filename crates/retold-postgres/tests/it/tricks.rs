//! A view of dogs' tricks, which the tests of projections share.

use std::sync::Arc;

pub(crate) use retold_conformance::TrickAdded;
use retold_conformance::TrickProjection;
use retold_core::application::Logged;
use retold_core::projection::{BoxError, Projection, ProjectionPipeline};
use retold_core::recording::{Appended, LogId, RecordError, Recorder, Store};
use retold_postgres::tokio_postgres::error::SqlState;
use retold_postgres::tokio_postgres::{Client, IsolationLevel, Transaction};
use retold_postgres::{
    Postgres, PostgresStore, PostgresTables, PostgresTransaction, PostgresViews,
};
use uuid::Uuid;

/// One row for each trick and one count of all. The table refuses a trick that is added twice, the
/// handler refuses one after it has written; others do things that no handler should do.
async fn trick(
    view: &PostgresTransaction<'_>,
    logged: &Logged<TrickAdded>,
) -> Result<(), BoxError> {
    let TrickAdded(trick) = &logged.event;
    let position = logged.position().get().cast_signed();
    let insert = format!("INSERT INTO {} VALUES ($1, $2)", view.table("trick"));
    let insert = view.prepare_cached(&insert).await?;
    view.execute(&insert, &[&position, trick]).await?;
    let count = format!("UPDATE {} SET count = count + 1", view.table("trick_count"));
    let count = view.prepare_cached(&count).await?;
    view.execute(&count, &[]).await?;
    match trick.as_str() {
        "commit" => Ok(view.batch_execute("COMMIT").await?),
        "roll back" => Ok(view.batch_execute("ROLLBACK").await?),
        "swallow" => {
            drop(view.batch_execute("SELECT 1 / 0").await);
            Ok(())
        }
        "promise" => {
            let sql = format!("UPDATE {} SET promised = 1000", view.table("trick_count"));
            view.execute(&sql, &[]).await?;
            Ok(())
        }
        _ => logged.event.end(),
    }
}

pub(crate) fn tricks(version: u32) -> Projection<Postgres> {
    handled(TrickProjection::version(version))
}

pub(crate) fn handled(projection: TrickProjection) -> Projection<Postgres> {
    projection.projection().on_async(trick)
}

pub(crate) fn tables() -> PostgresTables {
    PostgresTables::new(["trick", "trick_count"], |names| {
        format!(
            "CREATE TABLE {trick} (position bigint PRIMARY KEY, name text NOT NULL);
             CREATE INDEX {by_name} ON {trick} (name);
             CREATE TABLE {count} (
                 count bigint NOT NULL,
                 promised bigint REFERENCES {trick} DEFERRABLE INITIALLY DEFERRED
             );
             INSERT INTO {count} VALUES (0);",
            trick = names.table("trick"),
            by_name = names.table("trick_by_name"),
            count = names.table("trick_count"),
        )
    })
}

pub(crate) async fn log(store: &PostgresStore, name: &str) -> Arc<dyn Recorder> {
    store.open(name, LogId::new(Uuid::now_v7())).await.unwrap()
}

pub(crate) fn pipeline(
    log: &Arc<dyn Recorder>,
    views: &PostgresViews,
    projection: Projection<Postgres>,
) -> ProjectionPipeline {
    let view_store = views.keep(projection, tables()).unwrap();
    ProjectionPipeline::new(log.clone(), view_store)
}

pub(crate) async fn teach(log: &dyn Recorder, trick: &str) -> Result<Appended, RecordError> {
    log.append(TrickAdded::append([trick])).await
}

/// Begins one snapshot of all tables.
async fn snapshot(client: &mut Client) -> Transaction<'_> {
    let builder = client.build_transaction().read_only(true);
    let builder = builder.isolation_level(IsolationLevel::RepeatableRead);
    builder.start().await.unwrap()
}

/// Returns the names of the tricks as a reader finds them, none if no version is seen; checked
/// against the count of the other table.
pub(crate) async fn read(views: &PostgresViews) -> Vec<String> {
    let mut client = views.reader().await.unwrap();
    let state = snapshot(&mut client).await;
    // Before the snapshot: if another version were shown after it, its rows would not be in it.
    let lock = "LOCK TABLE trick, trick_count IN ACCESS SHARE MODE";
    if let Err(error) = state.batch_execute(lock).await {
        assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE), "{error}");
        return Vec::new();
    }
    let select = "SELECT name FROM trick ORDER BY position";
    let names = state.query(select, &[]).await.unwrap();
    let count = state.query_one("SELECT count FROM trick_count", &[]).await;
    let count: i64 = count.unwrap().get(0);
    assert_eq!(names.len() as i64, count, "both tables change together");
    names.iter().map(|row| row.get(0)).collect()
}

/// Returns the position of the checkpoint and the number of rows of a version, in one snapshot.
pub(crate) async fn checkpoint_and_rows(views: &PostgresViews, version: u32) -> (i64, i64) {
    let sql = format!(
        "SELECT coalesce(position, 0), (SELECT count(*) FROM trick__v{version})
         FROM retold_projection WHERE name = 'tricks' AND version = {version}"
    );
    let row = views.reader().await.unwrap().query_one(&sql, &[]).await;
    let row = row.unwrap();
    (row.get(0), row.get(1))
}
