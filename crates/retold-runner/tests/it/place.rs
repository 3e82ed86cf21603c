//! Places for stores, so that a test runs on each: memory, a file, a separate database. Also a view
//! of the orders in the same place.

use std::sync::Arc;

use retold::application::Logged;
use retold::postgres::{self, Postgres, PostgresTables, PostgresViews};
use retold::projection::{BoxError, Projection, ViewStore};
use retold::recording::MemoryStore;
use retold::sqlite::{Sqlite, SqliteTables, SqliteViews};
use retold::system::Infrastructure;

use crate::shop::Placed;

/// The place of a test's store; it is deleted when dropped.
pub(crate) enum Place {
    Memory(MemoryStore),
    File(tempfile::TempDir),
    Database(String),
}

impl Place {
    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryStore::new())
    }

    /// Without a sync for each commit, because the tests kill processes and not machines.
    pub(crate) fn sqlite() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    pub(crate) fn postgres() -> Self {
        Self::Database(xtask::postgres_server::database())
    }

    /// Returns the URL by which another process opens it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Memory(_) => panic!("no other process finds what is in memory"),
            Self::File(folder) => {
                let path = folder.path().join("shop.db");
                format!("sqlite:{}?synchronous=normal", path.display())
            }
            Self::Database(url) => url.clone(),
        }
    }

    /// Opens the store again, as another process would.
    pub(crate) async fn open(&self) -> Infrastructure {
        match self {
            Self::Memory(store) => Infrastructure::new(Arc::new(store.clone())),
            _ => open(&self.url()).await,
        }
    }

    /// Returns a view of the orders in the same place as the store.
    pub(crate) fn view(&self) -> PlacedView {
        match self {
            Self::Memory(_) => panic!("such a view is in memory too"),
            Self::File(folder) => {
                let path = folder.path().join("views.db");
                PlacedView::Sqlite(SqliteViews::open(path).unwrap())
            }
            Self::Database(url) => {
                PlacedView::Postgres(PostgresViews::open(url, "public").unwrap())
            }
        }
    }
}

/// Opens the store at a URL again.
pub(crate) async fn open(url: &str) -> Infrastructure {
    Infrastructure::new(retold::open_store(url).await.unwrap())
}

/// Tables with a row for each order that was placed, named `placed`.
pub(crate) enum PlacedView {
    Sqlite(SqliteViews),
    Postgres(PostgresViews),
}

async fn placed(
    view: &postgres::PostgresTransaction<'_>,
    placed: &Logged<Placed>,
) -> Result<(), BoxError> {
    let sql = format!("INSERT INTO {} VALUES ($1)", view.table("placed"));
    let insert = view.prepare_cached(&sql).await?;
    let position = i64::try_from(placed.position().get())?;
    view.execute(&insert, &[&position]).await?;
    Ok(())
}

impl PlacedView {
    pub(crate) fn view_store(&self) -> Arc<dyn ViewStore> {
        match self {
            Self::Sqlite(views) => {
                let projection = Projection::<Sqlite>::new("placed", 1, "orders").on::<Placed>(
                    |view, placed| {
                        let sql = format!("INSERT INTO {} VALUES (?1)", view.table("placed"));
                        view.execute(&sql, [i64::try_from(placed.position().get())?])?;
                        Ok(())
                    },
                );
                let tables = SqliteTables::new(["placed"], |view| {
                    let table = view.table("placed");
                    let sql = format!("CREATE TABLE {table} (position INTEGER PRIMARY KEY)");
                    Ok(view.execute_batch(&sql)?)
                });
                views.keep(projection, tables).unwrap()
            }
            Self::Postgres(views) => {
                let projection =
                    Projection::<Postgres>::new("placed", 1, "orders").on_async(placed);
                let tables = PostgresTables::new(["placed"], |names| {
                    let table = names.table("placed");
                    format!("CREATE TABLE {table} (position bigint PRIMARY KEY)")
                });
                views.keep(projection, tables).unwrap()
            }
        }
    }

    /// Returns how many rows readers see.
    pub(crate) async fn count(&self) -> i64 {
        const COUNT: &str = "SELECT count(*) FROM placed";
        match self {
            Self::Sqlite(views) => {
                let reader = views.reader().unwrap();
                reader.query_row(COUNT, [], |row| row.get(0)).unwrap()
            }
            Self::Postgres(views) => {
                let reader = views.reader().await.unwrap();
                reader.query_one(COUNT, &[]).await.unwrap().get(0)
            }
        }
    }
}

/// Runs each of these tests in each of these places.
macro_rules! in_places {
    ([$($place:ident),+], $tests:tt) => {
        $(in_places!(@ $place $tests);)+
    };
    (@ $place:ident ($($test:ident),+ $(,)?)) => {
        mod $place {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::place::Place::$place()).await;
            })+
        }
    };
}

pub(crate) use in_places;
