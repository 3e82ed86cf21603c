//! The bare driver, for comparison: loops that use a database's driver directly to write and read
//! the same rows as a store.
//!
//! The loops are as fast as a developer would write them who needs these rows and nothing else:
//! they use the store's tables, indexes and settings, and prepare statements once. They check no
//! conditions, ids or limits. The store's triggers, which refuse to change recorded events, are
//! dropped first.

mod postgres;
mod sqlite;

use std::time::{Duration, Instant};

use retold::recording::Append;
use retold::store_url::StoreUrl;

use self::postgres::BarePostgres;
use self::sqlite::BareSqlite;
use crate::asked::{Found, Read};
use crate::contender::Result;
use crate::dataset::Dataset;
use crate::subject::open_log;

/// A log's tables, accessed without Retold.
pub(crate) enum BareLog {
    /// With `rusqlite`.
    Sqlite(BareSqlite),
    /// With `tokio-postgres`.
    Postgres(BarePostgres),
}

impl BareLog {
    /// Creates the empty tables of a store at `url`, for writing.
    ///
    /// # Errors
    ///
    /// If they cannot be created or written.
    pub(crate) fn create(runtime: &tokio::runtime::Runtime, url: &StoreUrl) -> Result<Self> {
        drop(runtime.block_on(open_log(url))?);
        match url {
            StoreUrl::Sqlite {
                path, durability, ..
            } => Ok(Self::Sqlite(BareSqlite::create(path, *durability)?)),
            StoreUrl::Postgres { url } => Ok(Self::Postgres(BarePostgres::create(url.as_str())?)),
            url => Err(format!("there is no bare driver for {url}").into()),
        }
    }

    /// Opens the tables of the log of this name in the store at `url`, for reading.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub(crate) fn open(url: &StoreUrl, log: &str) -> Result<Self> {
        match url {
            StoreUrl::Sqlite { path, .. } => Ok(Self::Sqlite(BareSqlite::open(path, log)?)),
            StoreUrl::Postgres { url } => {
                Ok(Self::Postgres(BarePostgres::open(url.as_str(), log)?))
            }
            url => Err(format!("there is no bare driver for {url}").into()),
        }
    }

    /// Writes these appends in one transaction.
    ///
    /// # Errors
    ///
    /// Errors of the database.
    pub(crate) fn append_group(&mut self, appends: &[Append]) -> Result<()> {
        match self {
            Self::Sqlite(log) => log.append_group(appends),
            Self::Postgres(log) => log.append_group(appends),
        }
    }

    /// Writes the log of orders, one batch per transaction, and passes the duration of each to
    /// `observe`.
    ///
    /// # Errors
    ///
    /// Errors of the database.
    pub(crate) fn write_orders(
        &mut self,
        dataset: Dataset,
        mut observe: impl FnMut(Duration),
    ) -> Result<()> {
        for batch in dataset.batches() {
            let append = Append::of(batch.map(|number| dataset.event(number)));
            let start = Instant::now();
            self.append_group(&[append])?;
            observe(start.elapsed());
        }
        Ok(())
    }

    /// Reads, and accesses every payload.
    ///
    /// # Errors
    ///
    /// Errors of the database.
    pub(crate) fn read(&mut self, read: &Read) -> Result<Found> {
        match self {
            Self::Sqlite(log) => log.read(read),
            Self::Postgres(log) => log.read(read),
        }
    }
}
