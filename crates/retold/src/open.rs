//! Opens stores and applications by URL: the only module that knows all kinds of stores.

#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(not(feature = "sqlite"))]
#[path = "open/no_sqlite.rs"]
mod sqlite;

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(not(feature = "postgres"))]
#[path = "open/no_postgres.rs"]
mod postgres;

use std::sync::Arc;

use crate::application::Application;
use crate::recording::{BoxFuture, MemoryStore, RecordError, Store};
use crate::store_url::StoreUrl;

/// Opens the store at this URL; see [`store_url`](crate::store_url) for the accepted forms.
///
/// A missing file is created, but not its folder; a missing schema is created, but not its
/// database. Opening `memory:NAME` again returns the same store. Opening a file blocks the thread
/// for a moment, longer while another process creates the file.
///
/// A child process created by `fork` must open its own stores after the fork, because it has none
/// of the threads and locks of its parent. Calls on an inherited store in a file or on a server
/// fail with an error that says so.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), retold::recording::RecordError> {
/// let store = retold::open_store("memory:dogs").await?;
/// assert!(store.logs(None, 10).await?.is_empty());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// `Invalid` for a URL that is not accepted, a kind of store whose feature is not enabled, or a
/// file or schema that is not a store of this version; `Unavailable`, `Corrupt`.
pub async fn open_store(url: &str) -> Result<Arc<dyn Store>, RecordError> {
    match url.parse()? {
        StoreUrl::Memory { name } => Ok(Arc::new(MemoryStore::named(&name))),
        StoreUrl::Sqlite {
            path,
            durability,
            file_mode,
        } => sqlite::open(&path, durability, file_mode),
        StoreUrl::Postgres { url } => postgres::open(url.as_str()).await,
    }
}

/// Opens the store at this URL for reading: no store is created, and no data is written.
///
/// A missing file is an error. `memory:NAME` opens the same store as [`open_store`] in this
/// process, and it is writable. While a SQLite file is open, SQLite keeps two more files next to it
/// (`-wal` and `-shm`), through which readers and writers coordinate.
///
/// # Errors
///
/// As for [`open_store`]; `Unavailable` also for a missing file.
pub async fn open_store_read_only(url: &str) -> Result<Arc<dyn Store>, RecordError> {
    match url.parse()? {
        StoreUrl::Memory { name } => Ok(Arc::new(MemoryStore::named(&name))),
        StoreUrl::Sqlite { path, .. } => sqlite::open_read_only(&path),
        StoreUrl::Postgres { url } => postgres::open_read_only(url.as_str()).await,
    }
}

/// Adds `open` to [`Application`], which takes the URL of a store. It is a separate trait because
/// the core crate knows no URLs.
pub trait OpenApplication: Sized {
    /// Opens the application of this name with its log, which has the same name, in the store at
    /// this URL. The log is created if it does not exist. All options have their defaults; use
    /// [`Application::builder`] to choose others.
    ///
    /// ```
    /// use retold::prelude::*;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> retold::Result<()> {
    /// let school = Application::open("school", "memory:school").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`open_store`], and `Invalid` for a name that no log can have.
    fn open<'a>(name: &'a str, url: &'a str) -> BoxFuture<'a, crate::Result<Self>>;
}

impl OpenApplication for Application {
    fn open<'a>(name: &'a str, url: &'a str) -> BoxFuture<'a, crate::Result<Self>> {
        Box::pin(async move {
            let store = open_store(url).await?;
            Self::builder(name).store(store).open().await
        })
    }
}
