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
use xtask::postgres_server::PostgresServer;

use crate::contender::Result;

/// Name of the log that workloads write.
pub(crate) const LOG: &str = "orders";

/// A kind of store under measurement.
pub(crate) struct Subject {
    /// Its name in tables: the scheme of its URLs.
    pub(crate) label: &'static str,
    kind: Kind,
}

enum Kind {
    Memory,
    Sqlite {
        /// Removed with the subject.
        folder: TempDir,
        durability: Durability,
    },
    Postgres {
        /// URL of the database; each workload has a schema of its own in it.
        database: String,
        /// The server, where it was started for this.
        _server: Option<PostgresServer>,
    },
}

/// The URL that asks for a private PostgreSQL server.
const PRIVATE_POSTGRES: &str = "postgres:";

/// What the schemas of workloads begin with.
const SCHEMA_PREFIX: &str = "bench_";

impl Subject {
    /// The stores of this URL. `postgres:` alone starts a private server, in a temporary folder. In any
    /// other database the workloads have schemas of their own, which stay. The path of `sqlite:PATH` is taken as a folder; the files are made in
    /// a new folder in it, which is removed in the end.
    ///
    /// # Errors
    ///
    /// If the store is of a kind that is not known here, or the folder cannot be made.
    pub(crate) fn of_url(url: &str) -> Result<Self> {
        if url == PRIVATE_POSTGRES {
            let server = PostgresServer::start()?;
            return Ok(Self {
                label: "postgres",
                kind: Kind::Postgres {
                    database: server.url("postgres"),
                    _server: Some(server),
                },
            });
        }
        match url.parse()? {
            StoreUrl::Memory { .. } => Ok(Self {
                label: "memory",
                kind: Kind::Memory,
            }),
            StoreUrl::Sqlite {
                path, durability, ..
            } => Ok(Self {
                label: match durability {
                    Durability::Normal => "sqlite-normal",
                    _ => "sqlite",
                },
                kind: Kind::Sqlite {
                    folder: TempDir::with_prefix_in("retold-bench-", path)?,
                    durability,
                },
            }),
            StoreUrl::Postgres { url } if url.as_str().contains("schema=") => {
                Err("each workload has a schema of its own; leave it out of the URL".into())
            }
            StoreUrl::Postgres { url } => Ok(Self {
                label: "postgres",
                kind: Kind::Postgres {
                    database: url.as_str().to_owned(),
                    _server: None,
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
                file_mode: None,
            },
            Kind::Postgres { database, .. } => {
                let separator = if database.contains('?') { '&' } else { '?' };
                let url = format!("{database}{separator}schema={SCHEMA_PREFIX}{workload}");
                url.parse()
                    .expect("it is a URL of PostgreSQL with one more parameter")
            }
        }
    }

    /// The folder of its files, if it has files.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Memory | Kind::Postgres { .. } => None,
            Kind::Sqlite { folder, .. } => Some(folder.path()),
        }
    }

    /// Whether its stores are on a disk, so that other processes find what this one recorded.
    pub(crate) fn is_on_disk(&self) -> bool {
        !matches!(self.kind, Kind::Memory)
    }

    /// Whether its stores are behind a server.
    pub(crate) fn has_server(&self) -> bool {
        matches!(self.kind, Kind::Postgres { .. })
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
        "postgres" => Some("tokio-postgres"),
        _ => None,
    }
}

/// The whole URL, with what is not shown to people.
pub(crate) fn whole_text(url: &StoreUrl) -> String {
    match url {
        StoreUrl::Postgres { url } => url.as_str().to_owned(),
        other => other.to_string(),
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
        other => Ok(retold::open_store(&whole_text(other)).await?),
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
