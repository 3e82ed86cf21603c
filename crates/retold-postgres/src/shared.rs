//! What all handles and recorders of one opening share.

use std::sync::Arc;

use retold_core::recording::error::RecordError;
use retold_core::recording::identity::LogId;
use tokio::sync::Semaphore;
use tokio_postgres::Row;

use super::error::of_statement;
use super::herald::Herald;
use super::inline::Inline;
use super::listener::Listener;
use super::log::{Born, Log, Logs};
use super::pool::Pool;
use super::runtime::StoreRuntime;

const FIND_BIRTH: &str = "SELECT key, id FROM \"retold\".log WHERE name = $1";

/// One opening of a store.
pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
    pub(crate) runtime: Arc<StoreRuntime>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) herald: Herald,
    pub(crate) listener: Listener,
    /// Those who may append at the same time.
    pub(crate) writers: Semaphore,
    /// The projections that take part in appends, if there are any.
    pub(crate) inline: Option<Inline>,
}

impl Shared {
    /// The projections that take part in the appends of a log; none if no projection does.
    pub(crate) fn inline_of(&self, log: &str) -> Option<&Inline> {
        self.inline.as_ref().filter(|it| it.has_any_of(log))
    }

    /// Key and id of a log, if it is born.
    pub(crate) async fn find_birth(&self, log: &Log) -> Result<Option<Born>, RecordError> {
        const WHAT: &str = "looking for a log";
        if let Some(born) = log.born() {
            return Ok(Some(born));
        }
        let mut connection = self.pool.take().await?;
        let found = connection.row(WHAT, FIND_BIRTH, &[&&*log.name]).await?;
        let Some(row) = found else { return Ok(None) };
        let born = born(&row).map_err(|error| of_statement(WHAT, error))?;
        Ok(Some(log.learn_birth(born)))
    }
}

/// Key and id, in the first two columns.
pub(crate) fn born(row: &Row) -> Result<Born, tokio_postgres::Error> {
    Ok(Born {
        key: row.try_get(0)?,
        id: LogId::new(row.try_get(1)?),
    })
}
