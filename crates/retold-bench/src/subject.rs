//! What is measured: a kind of store, and where its files go.

use std::path::Path;
use std::sync::Arc;

use retold::domain::id_source::{IdSource, UuidV7Source};
use retold::recording::identity::LogId;
use retold::recording::memory::MemoryStore;
use retold::recording::recorder::Recorder;
use retold::recording::store::Store;
use retold::store_url::{Durability, StoreUrl};
use tempfile::TempDir;

use crate::contender::Result;

/// Name of the log that workloads write.
pub(crate) const LOG: &str = "orders";

/// A kind of store under measurement.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Its name in tables: the scheme of its URLs.
    pub(crate) label: &'static str,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Memory,
    Sqlite {
        /// Removed with the subject.
        folder: TempDir,
        durability: Durability,
    },
}

impl Subject {
    /// The stores of this URL. The path of `sqlite:PATH` is taken as a folder; the files are made in
    /// a new folder in it, which is removed in the end.
    ///
    /// # Errors
    ///
    /// If the store is of a kind that is not known here, or the folder cannot be made.
    pub(crate) fn of_url(url: &str) -> Result<Self> {
        match url.parse()? {
            StoreUrl::Memory { .. } => Ok(Self {
                label: "memory",
                kind: Kind::Memory,
            }),
            StoreUrl::Sqlite { path, durability } => Ok(Self {
                label: match durability {
                    Durability::Normal => "sqlite-normal",
                    _ => "sqlite",
                },
                kind: Kind::Sqlite {
                    folder: TempDir::with_prefix_in("retold-bench-", path)?,
                    durability,
                },
            }),
            other => Err(format!("there are no workloads for {other}").into()),
        }
    }

    /// URL of a store of this kind for the workload of this name; the same name gives the same URL.
    pub(crate) fn url(&self, workload: &str) -> StoreUrl {
        match &self.kind {
            Kind::Memory => StoreUrl::Memory {
                name: workload.into(),
            },
            Kind::Sqlite { folder, durability } => StoreUrl::Sqlite {
                path: folder.path().join(format!("{workload}.db")),
                durability: *durability,
            },
        }
    }

    /// The folder of its files, if it has files.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Memory => None,
            Kind::Sqlite { folder, .. } => Some(folder.path()),
        }
    }

    /// Whether its stores are on a disk, so that other processes find what this one recorded.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.folder().is_some()
    }

    /// Name in tables of the bare driver to compare with, if there is one.
    pub(crate) fn bare_label(&self) -> Option<&'static str> {
        bare_label(self.label)
    }
}

/// Name in tables of the bare driver that the store of this name is compared with.
pub(crate) fn bare_label(store: &str) -> Option<&'static str> {
    match store {
        "sqlite" => Some("rusqlite"),
        "sqlite-normal" => Some("rusqlite-normal"),
        _ => None,
    }
}

/// Opens a store; one in memory anew each time, so that it is freed when it is no longer used.
///
/// # Errors
///
/// What the store reports.
pub(crate) async fn open_store(url: &StoreUrl) -> Result<Arc<dyn Store>> {
    match url {
        StoreUrl::Memory { .. } => Ok(Arc::new(MemoryStore::new())),
        other => Ok(retold::open_store(&other.to_string()).await?),
    }
}

/// Opens the log of a store that workloads write; it is born if it is not there.
///
/// # Errors
///
/// What the store reports.
pub(crate) async fn open_log(url: &StoreUrl) -> Result<Arc<dyn Recorder>> {
    let birth = LogId::new(UuidV7Source.next_id());
    Ok(open_store(url).await?.open(LOG, birth).await?)
}
