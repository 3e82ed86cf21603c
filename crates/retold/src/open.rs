//! Opening stores and applications by URL: the one place that knows all kinds of stores.

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

/// Opens the store at this URL; see [`store_url`](crate::store_url) for what is understood.
///
/// A file that is missing is made, its folder is not; so is a schema, its database is not. Opening
/// `memory:NAME` again gives the same store. Opening a file takes the thread for a moment, longer while another process makes it.
///
/// A child process that is made by `fork` opens its stores by itself, after the fork: it has none of the threads
/// and locks of its parent, and a store in a file or on a server that it inherited is refused with a clear
/// error.
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
/// `Invalid` for a URL that is not understood, a kind of store whose feature this program was built
/// without, or a file or schema that is no store of this version; `Unavailable`, `Corrupt`.
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

/// Opens the store at this URL for reading: nothing is made, nothing is written.
///
/// A file that is missing is an error. A store in memory is that of this process. SQLite keeps two
/// files beside one that is read (`-wal` and `-shm`), by which readers and writers agree.
///
/// # Errors
///
/// As for [`open_store`]; `Unavailable` also for a file that is missing.
pub async fn open_store_read_only(url: &str) -> Result<Arc<dyn Store>, RecordError> {
    match url.parse()? {
        StoreUrl::Memory { name } => Ok(Arc::new(MemoryStore::named(&name))),
        StoreUrl::Sqlite { path, .. } => sqlite::open_read_only(&path),
        StoreUrl::Postgres { url } => postgres::open_read_only(url.as_str()).await,
    }
}

/// Gives [`Application`] an `open` that takes the URL of a store: the core knows no URL.
pub trait OpenApplication: Sized {
    /// Opens the application of this name with its log, which has the same name, in the store at
    /// this URL. The log is born if it does not exist. Everything else has its default; what is to
    /// be chosen is chosen with [`Application::builder`].
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
