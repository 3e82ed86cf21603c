//! The bare driver: loops over a database's own driver that write and read the rows that a store
//! writes, to compare it with.
//!
//! The loops are as fast as a person would write them who needs these rows and nothing else: the
//! tables and indexes are the store's, its settings too, and statements are prepared once. Nothing is
//! judged: no condition, no id, no limit. The store's triggers, which refuse to change what is
//! recorded, are dropped first.

mod postgres;
mod sqlite;

use std::time::{Duration, Instant};

use retold::recording::append::Append;
use retold::store_url::StoreUrl;

use self::postgres::BarePostgres;
use self::sqlite::BareSqlite;
use crate::asked::{Found, Read};
use crate::contender::Result;
use crate::dataset::Dataset;
use crate::subject::open_log;

/// A log's tables, written and read without Retold.
pub(crate) enum BareLog {
    /// By `rusqlite`.
    Sqlite(BareSqlite),
    /// By `tokio-postgres`.
    Postgres(BarePostgres),
}

impl BareLog {
    /// The empty tables of a store at `url`, to write.
    ///
    /// # Errors
    ///
    /// If they cannot be made or written.
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

    /// The tables of the log of this name in the store at `url`, to read.
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
    /// What the database reports.
    pub(crate) fn append_group(&mut self, appends: &[Append]) -> Result<()> {
        match self {
            Self::Sqlite(log) => log.append_group(appends),
            Self::Postgres(log) => log.append_group(appends),
        }
    }

    /// Writes the log of orders, a batch a transaction, and tells `observe` how long each took.
    ///
    /// # Errors
    ///
    /// What the database reports.
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

    /// Reads, and looks at every payload.
    ///
    /// # Errors
    ///
    /// What the database reports.
    pub(crate) fn read(&mut self, read: &Read) -> Result<Found> {
        match self {
            Self::Sqlite(log) => log.read(read),
            Self::Postgres(log) => log.read(read),
        }
    }
}
