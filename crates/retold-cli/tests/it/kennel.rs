//! A system with a view in the file of its store.

use std::sync::Arc;

use retold::prelude::*;
use retold::projection::Projection;
use retold::runner::MultiThread;
use retold::sqlite::{Sqlite, SqliteStore, SqliteTables};
use retold::system::{Infrastructure, System};

use crate::store::Place;

#[derive(Event, Serialize, Deserialize)]
#[event(topic = "Kennel.Opened")]
struct Opened {}

/// Runs a system over the logs of [`Place::with_dogs`] in many threads.
pub(crate) fn run(place: &Place) -> MultiThread {
    let store = SqliteStore::open(place.path()).unwrap();
    let topics = Projection::<Sqlite>::new("topics", 1, "dogs").on::<Opened>(|view, logged| {
        let sql = format!("INSERT INTO {} VALUES (?1)", view.table("topics"));
        view.prepare_cached(&sql)?
            .execute([logged.stored.topic()])?;
        Ok(())
    });
    let tables = SqliteTables::new(["topics"], |view| {
        let sql = format!("CREATE TABLE {} (topic TEXT) STRICT", view.table("topics"));
        Ok(view.execute_batch(&sql)?)
    });
    let view_store = store.views().keep(topics, tables).unwrap();
    let system = System::new("kennel").application("dogs", |app| {
        let topics = ["Dog.Registered", "Dog.TrickAdded", "Dog.Chipped"];
        let app = app.event::<Opened>();
        topics
            .into_iter()
            .fold(app, |app, topic| app.retired(topic))
    });
    let infrastructure = Infrastructure::new(Arc::new(store)).view(view_store);
    let system = system.build().unwrap();
    place.block_on(MultiThread::start(&system, &infrastructure))
}
