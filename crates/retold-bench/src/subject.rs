//! The subject of a measurement: a kind of store, and the place of its files.

use std::path::Path;
use std::sync::Arc;

use retold::domain::{IdSource, UuidV7Source};
use retold::recording::{LogId, MemoryStore, Recorder, Store};
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
    kind: SubjectKind,
}

enum SubjectKind {
    Memory,
    Sqlite {
        /// A folder that is removed with the subject.
        folder: TempDir,
        durability: Durability,
    },
    Postgres {
        /// URL of the database, in which each workload has its own schema.
        database: String,
        /// The server, if it was started for this subject.
        _server: Option<PostgresServer>,
    },
}

/// The URL that requests a private PostgreSQL server.
const PRIVATE_POSTGRES: &str = "postgres:";

/// Prefix of the schemas of workloads.
const SCHEMA_PREFIX: &str = "bench_";

impl Subject {
    /// Creates the subject of this URL. `postgres:` alone starts a private server in a temporary
    /// folder. In any other database, the workloads use their own schemas, which are not removed.
    /// The path of `sqlite:PATH` is a folder; the files are created in a new folder in it, which is
    /// removed at the end.
    ///
    /// # Errors
    ///
    /// If the kind of store is unknown, or the folder cannot be created.
    pub(crate) fn of_url(url: &str) -> Result<Self> {
        if url == PRIVATE_POSTGRES {
            let server = PostgresServer::start()?;
            return Ok(Self {
                label: "postgres",
                kind: SubjectKind::Postgres {
                    database: server.url("postgres"),
                    _server: Some(server),
                },
            });
        }
        match url.parse()? {
            StoreUrl::Memory { .. } => Ok(Self {
                label: "memory",
                kind: SubjectKind::Memory,
            }),
            StoreUrl::Sqlite {
                path, durability, ..
            } => Ok(Self {
                label: match durability {
                    Durability::Normal => "sqlite-normal",
                    _ => "sqlite",
                },
                kind: SubjectKind::Sqlite {
                    folder: TempDir::with_prefix_in("retold-bench-", path)?,
                    durability,
                },
            }),
            StoreUrl::Postgres { url } if url.as_str().contains("schema=") => {
                Err("each workload uses its own schema; remove the schema from the URL".into())
            }
            StoreUrl::Postgres { url } => Ok(Self {
                label: "postgres",
                kind: SubjectKind::Postgres {
                    database: url.as_str().to_owned(),
                    _server: None,
                },
            }),
            other => Err(format!("there are no workloads for {other}").into()),
        }
    }

    /// Returns the URL of a store of this kind for the workload of this name. The same name gives
    /// the same URL.
    pub(crate) fn url(&self, workload: &str) -> StoreUrl {
        match &self.kind {
            SubjectKind::Memory => StoreUrl::Memory {
                name: workload.into(),
            },
            SubjectKind::Sqlite { folder, durability } => StoreUrl::Sqlite {
                path: folder.path().join(format!("{workload}.db")),
                durability: *durability,
                file_mode: None,
            },
            SubjectKind::Postgres { database, .. } => {
                let separator = if database.contains('?') { '&' } else { '?' };
                let url = format!("{database}{separator}schema={SCHEMA_PREFIX}{workload}");
                url.parse()
                    .expect("a PostgreSQL URL with one more parameter is valid")
            }
        }
    }

    /// Returns the folder of its files, if it has files.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.kind {
            SubjectKind::Memory | SubjectKind::Postgres { .. } => None,
            SubjectKind::Sqlite { folder, .. } => Some(folder.path()),
        }
    }

    /// Returns whether its stores are durable, so that other processes find what this one recorded.
    pub(crate) fn is_on_disk(&self) -> bool {
        !matches!(self.kind, SubjectKind::Memory)
    }

    /// Returns whether its stores are on a server.
    pub(crate) fn has_server(&self) -> bool {
        matches!(self.kind, SubjectKind::Postgres { .. })
    }

    /// Returns the name in tables of the bare driver to compare with, if there is one.
    pub(crate) fn bare_label(&self) -> Option<&'static str> {
        bare_label(self.label)
    }
}

/// Returns the name in tables of the bare driver that the store of this name is compared with.
pub(crate) fn bare_label(store: &str) -> Option<&'static str> {
    match store {
        "sqlite" => Some("rusqlite"),
        "sqlite-normal" => Some("rusqlite-normal"),
        "postgres" => Some("tokio-postgres"),
        _ => None,
    }
}

/// The whole URL, including the parts that are hidden from people.
pub(crate) fn whole_text(url: &StoreUrl) -> String {
    match url {
        StoreUrl::Postgres { url } => url.as_str().to_owned(),
        other => other.to_string(),
    }
}

/// Opens a store. A memory store is new each time, so that its memory is freed after use.
///
/// # Errors
///
/// Errors of the store.
pub(crate) async fn open_store(url: &StoreUrl) -> Result<Arc<dyn Store>> {
    match url {
        StoreUrl::Memory { .. } => Ok(Arc::new(MemoryStore::new())),
        other => Ok(retold::open_store(&whole_text(other)).await?),
    }
}

/// Opens the log that workloads write, and creates it if it does not exist.
///
/// # Errors
///
/// Errors of the store.
pub(crate) async fn open_log(url: &StoreUrl) -> Result<Arc<dyn Recorder>> {
    let birth = LogId::new(UuidV7Source.next_id());
    Ok(open_store(url).await?.open(LOG, birth).await?)
}
