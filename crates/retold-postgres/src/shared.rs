//! What all handles and recorders of one opening share.

use std::sync::Arc;

use retold_core::recording::error::RecordError;
use retold_core::recording::identity::LogId;
use tokio::sync::Semaphore;
use tokio_postgres::Row;

use super::connection::Connection;
use super::error::of_statement;
use super::herald::Herald;
use super::inline::Inline;
use super::listener::Listener;
use super::log::{Born, Log, Logs, Met};
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
        if let Some(born) = log.born() {
            return Ok(Some(born));
        }
        let found = birth_now(&mut *self.pool.take().await?, &log.name).await?;
        Ok(found.map(|born| log.learn_birth(born)))
    }

    /// The log that has this name now, for whoever opens it.
    pub(crate) async fn open(&self, name: &str) -> Result<Arc<Log>, RecordError> {
        let found = birth_now(&mut *self.pool.take().await?, name).await?;
        Ok(self.logs.share(name, found))
    }
}

/// Key and id of the log that has this name now.
async fn birth_now(connection: &mut Connection, name: &str) -> Result<Option<Born>, RecordError> {
    const WHAT: &str = "looking for a log";
    let found = connection.row(WHAT, FIND_BIRTH, &[&name]).await?;
    let found = found.as_ref().map(born).transpose();
    found.map_err(|error| of_statement(WHAT, error))
}

/// What is told where the log that was met is not there: a statement about it found nothing by its key and
/// its id.
pub(crate) async fn replaced(connection: &mut Connection, log: Met<'_>) -> RecordError {
    match birth_now(connection, log.name).await {
        Ok(found) => RecordError::Replaced {
            log: Arc::clone(log.name),
            expected: log.born.id,
            found: found.map(|born| born.id),
        },
        Err(error) => error,
    }
}

/// Key and id, in the first two columns.
pub(crate) fn born(row: &Row) -> Result<Born, tokio_postgres::Error> {
    Ok(Born {
        key: row.try_get(0)?,
        id: LogId::new(row.try_get(1)?),
    })
}
