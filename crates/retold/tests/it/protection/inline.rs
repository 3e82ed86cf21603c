//! Projections that take part in the appends of a protected log.

use std::path::Path;
use std::sync::Arc;

use retold::mapping::Mapper;
use retold::prelude::*;
use retold::projection::Projection;
use retold::protection::{Protection, SubjectKeys};
use retold::recording::MemoryStore;
use retold::sqlite::{Sqlite, SqliteInlineProjections, SqliteOptions, SqliteStore, SqliteTables};

use super::forgetting::{Customer, CustomerEvent, SECRET, registered};
use super::{keys, protection};

/// A file with a log and a view, and a log of keys in another store.
struct Shop {
    folder: tempfile::TempDir,
    key_store: Arc<MemoryStore>,
}

impl Shop {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            key_store: Arc::new(MemoryStore::new()),
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("shop.db")
    }

    /// The protection of another process.
    fn protection(&self) -> Protection {
        let subjects = SubjectKeys::new(self.key_store.clone(), "keys", keys());
        protection().subject_keys(Arc::new(subjects))
    }

    async fn plain(&self) -> Application {
        let store = SqliteStore::open(self.path()).unwrap();
        application(store, self.protection()).await.unwrap()
    }

    /// Opens the shop with a version of a view of names.
    async fn with_view(&self, version: u32) -> retold::Result<(SqliteStore, Application)> {
        let protection = self.protection();
        let store = with_view(&self.path(), version, Some(&protection));
        let application = application(store.clone(), protection).await?;
        Ok((store, application))
    }
}

async fn application(store: SqliteStore, protection: Protection) -> retold::Result<Application> {
    let builder = Application::builder("shop").store(Arc::new(store));
    builder.protection(protection).open().await
}

fn with_view(path: &Path, version: u32, protection: Option<&Protection>) -> SqliteStore {
    let mut names =
        Projection::<Sqlite>::new("names", version, "shop").on::<CustomerEvent>(|view, logged| {
            if let CustomerEvent::Registered { full_name, .. } = &logged.event {
                let name = full_name.as_deref().unwrap_or("unnamed");
                let sql = format!("INSERT INTO {} VALUES (?1)", view.table("name"));
                view.prepare_cached(&sql)?.execute([name])?;
            }
            Ok(())
        });
    if let Some(protection) = protection {
        names = names.mapper(Mapper::default().protection(protection.clone()));
    }
    let tables = SqliteTables::new(["name"], |view| {
        let sql = format!("CREATE TABLE {} (name TEXT) STRICT", view.table("name"));
        Ok(view.execute_batch(&sql)?)
    });
    let inline = SqliteInlineProjections::new().with(names, tables);
    SqliteStore::open_with_projections(path, &SqliteOptions::new(), inline).unwrap()
}

fn names(store: &SqliteStore) -> Vec<String> {
    let conn = store.views().reader().unwrap();
    let mut select = conn.prepare("SELECT name FROM name").unwrap();
    let names = select.query_map([], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

async fn register(shop: &Application, id: u32) {
    let customer = Id::<Customer>::from(id);
    let recorded = shop.execute_or_create(customer, |_| registered(id));
    recorded.await.unwrap();
}

#[tokio::test]
async fn a_view_has_what_its_append_has() {
    let shop = Shop::new();
    let (store, application) = shop.with_view(1).await.unwrap();
    for id in 0..3 {
        register(&application, id).await;
    }
    assert_eq!(names(&store), [SECRET; 3]);
}

/// The keys of events that were recorded by other programs are fetched.
#[tokio::test]
async fn a_view_catches_up_with_events_of_other_programs() {
    let shop = Shop::new();
    let other = shop.plain().await;
    for id in 0..3 {
        register(&other, id).await;
    }
    let (store, application) = shop.with_view(1).await.unwrap();
    assert_eq!(names(&store), [SECRET; 3]);
    // While this one runs.
    for id in 3..6 {
        register(&other, id).await;
    }
    register(&application, 6).await;
    assert_eq!(names(&store), [SECRET; 7]);
    drop((store, application));
    other.forget("customer:1", None).await.unwrap();
    let (store, _) = shop.with_view(2).await.unwrap();
    let mut expected = [SECRET; 7];
    expected[1] = "unnamed";
    assert_eq!(names(&store), expected);
}

#[tokio::test]
async fn a_view_without_protection_says_what_is_missing() {
    let shop = Shop::new();
    register(&shop.plain().await, 0).await;
    let store = with_view(&shop.path(), 1, None);
    let error = application(store, shop.protection()).await.unwrap_err();
    assert!(error.to_string().contains("key"), "{error}");
}
