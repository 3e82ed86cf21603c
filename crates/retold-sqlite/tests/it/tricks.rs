//! A view of dogs' tricks, used by the tests of projections.

use std::sync::Arc;

use retold_core::domain::{Event, EventType};
use retold_core::projection::{Projection, ProjectionPipeline};
use retold_core::recording::{Append, Appended, EventId, NewEvent, RecordError, Recorder};
use retold_core::serde::{Deserialize, Deserializer, Serialize, Serializer};
use retold_sqlite::{Sqlite, SqliteTables, SqliteViews};
use uuid::Uuid;

/// A dog has learned a trick.
pub(crate) struct TrickAdded(pub(crate) String);

impl Event for TrickAdded {
    const TYPES: &'static [EventType] = &[EventType::of::<Self>("TrickAdded")];

    fn type_index(&self) -> usize {
        0
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        _: usize,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// One row for each trick and one count of all. A trick that is processed twice is refused by the
/// table, and `bite` by the handler, after it has written.
pub(crate) fn tricks(version: u32) -> Projection<Sqlite> {
    Projection::<Sqlite>::new("tricks", version, "dogs").on::<TrickAdded>(|view, logged| {
        let TrickAdded(trick) = &logged.event;
        let position = logged.position().get().cast_signed();
        let insert = format!("INSERT INTO {} VALUES (?1, ?2)", view.table("trick"));
        view.prepare_cached(&insert)?.execute((position, trick))?;
        let count = format!("UPDATE {} SET count = count + 1", view.table("trick_count"));
        view.prepare_cached(&count)?.execute([])?;
        match trick.as_str() {
            "bite" => Err("this trick is not taught".into()),
            "commit" => Ok(view.execute_batch("COMMIT")?),
            "roll back" => Ok(view.execute_batch("ROLLBACK")?),
            "panic" => panic!("too exciting"),
            _ => Ok(()),
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

/// An append of these tricks.
pub(crate) fn added<'a>(tricks: impl IntoIterator<Item = &'a str>) -> Append {
    Append::of(tricks.into_iter().map(|trick| {
        let id = EventId::new(Uuid::now_v7());
        NewEvent::new(id, "TrickAdded", format!("{trick:?}"))
    }))
}

pub(crate) async fn teach(log: &dyn Recorder, trick: &str) -> Result<Appended, RecordError> {
    log.append(added([trick])).await
}

/// The names of the tricks, as a reader finds them, checked against the count in the other table.
pub(crate) fn read(views: &SqliteViews) -> Vec<String> {
    let conn = views.reader().unwrap();
    // One state of both tables.
    conn.execute_batch("BEGIN").unwrap();
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
