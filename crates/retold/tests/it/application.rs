//! Whole applications as programs use them, on every store: what holds in memory also holds on
//! disk.

mod bank;
mod codecs;

mod commands;
mod evolving;
mod races;
mod read_back;
mod reading;
#[cfg(feature = "schema")]
mod schema;
#[cfg(feature = "schema")]
mod schema_changes;

use std::path::Path;

use retold::prelude::*;

/// The store of a test; deleted with it.
pub(crate) struct Place {
    url: String,
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn memory() -> Self {
        Self {
            url: format!("memory:{}", Uuid::now_v7()),
            _folder: None,
        }
    }

    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file: &Path = &folder.path().join("bank.db");
        Self {
            url: format!("sqlite:{}", file.display()),
            _folder: Some(folder),
        }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn postgres() -> Self {
        Self {
            url: xtask::postgres_server::database(),
            _folder: None,
        }
    }

    /// Opens the store again, as another process would, and the application in it.
    pub(crate) async fn open(&self) -> Application {
        Application::open("bank", &self.url).await.unwrap()
    }
}

/// Runs each of these tests on every store.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::application::Place::memory()).await;
            })+
        }

        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::application::Place::sqlite()).await;
            })+
        }

        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::application::Place::postgres()).await;
            })+
        }
    };
}

use on_every_store;
