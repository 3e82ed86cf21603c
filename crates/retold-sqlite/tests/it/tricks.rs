//! A view of dogs' tricks, used by the tests of projections.

use std::sync::Arc;

pub(crate) use retold_conformance::TrickAdded;
use retold_conformance::TrickProjection;
use retold_core::projection::{Projection, ProjectionPipeline};
use retold_core::recording::{Appended, RecordError, Recorder};
use retold_sqlite::{Sqlite, SqliteTables, SqliteTransaction, SqliteViews};

pub(crate) fn tricks(version: u32) -> Projection<Sqlite> {
    handled(TrickProjection::version(version))
}

/// One row for each trick and one count of all. A trick that is processed twice is refused by the
/// table, and `bite` by the handler, after it has written.
pub(crate) fn handled(projection: TrickProjection) -> Projection<Sqlite> {
    projection
        .projection()
        .on::<TrickAdded>(|view: &mut SqliteTransaction<'_>, logged| {
            let TrickAdded(trick) = &logged.event;
            let position = logged.position().get().cast_signed();
            let insert = format!("INSERT INTO {} VALUES (?1, ?2)", view.table("trick"));
            view.prepare_cached(&insert)?.execute((position, trick))?;
            let count = format!("UPDATE {} SET count = count + 1", view.table("trick_count"));
            view.prepare_cached(&count)?.execute([])?;
            match trick.as_str() {
                "commit" => Ok(view.execute_batch("COMMIT")?),
                "roll back" => Ok(view.execute_batch("ROLLBACK")?),
                _ => logged.event.end(),
            }
        })
}

pub(crate) fn tables() -> SqliteTables {
    SqliteTables::new(["trick", "trick_count"], |view| {
        view.execute_batch(&format!(
            "CREATE TABLE {trick} (position INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
             CREATE INDEX {by_name} ON {trick} (name);
             CREATE TABLE {count} (count INTEGER NOT NULL) STRICT;
             INSERT INTO {count} VALUES (0);",
            trick = view.table("trick"),
            by_name = view.table("trick_by_name"),
            count = view.table("trick_count"),
        ))?;
        Ok(())
    })
}

pub(crate) fn pipeline(
    log: &Arc<dyn Recorder>,
    views: &SqliteViews,
    projection: Projection<Sqlite>,
) -> ProjectionPipeline {
    let view_store = views.keep(projection, tables()).unwrap();
    ProjectionPipeline::new(log.clone(), view_store)
}

pub(crate) async fn teach(log: &dyn Recorder, trick: &str) -> Result<Appended, RecordError> {
    log.append(TrickAdded::append([trick])).await
}

/// The names of the tricks, as a reader finds them, none if no version is seen; checked against the
/// count in the other table.
pub(crate) fn read(views: &SqliteViews) -> Vec<String> {
    let conn = views.reader().unwrap();
    // One state of both tables.
    conn.execute_batch("BEGIN").unwrap();
    let is_seen = "SELECT count(*) FROM sqlite_schema WHERE name = 'trick'";
    if conn.query_row(is_seen, [], |row| row.get(0)) == Ok(0) {
        return Vec::new();
    }
    let mut select = conn
        .prepare("SELECT name FROM trick ORDER BY position")
        .unwrap();
    let names = select.query_map([], |row| row.get(0)).unwrap();
    let names: Vec<String> = names.collect::<Result<_, _>>().unwrap();
    let count: i64 = conn
        .query_row("SELECT count FROM trick_count", [], |row| row.get(0))
        .unwrap();
    assert_eq!(names.len() as i64, count, "both tables change together");
    names
}

/// The position of the checkpoint and the number of rows of a version, in one state.
pub(crate) fn checkpoint_and_rows(views: &SqliteViews, version: u32) -> (i64, i64) {
    let sql = format!(
        "SELECT coalesce(position, 0), (SELECT count(*) FROM trick__v{version})
         FROM retold_projection WHERE name = 'tricks' AND version = {version}"
    );
    let conn = views.reader().unwrap();
    conn.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
}
