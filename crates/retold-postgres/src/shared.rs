//! The state that all handles and recorders of one open store share.

use std::sync::Arc;

use retold_core::recording::RecordError;
use tokio::sync::Semaphore;

use crate::birth::birth_now;
use crate::log::{Born, Log, Logs};
use crate::news::listener::Listener;
use crate::news::notifier::Notifier;
use crate::projection::inline::Inline;
use crate::server::pool::Pool;
use crate::server::runtime::StoreRuntime;

/// One open store.
pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
    pub(crate) runtime: Arc<StoreRuntime>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) notifier: Notifier,
    pub(crate) listener: Listener,
    /// Limits the connections that append at the same time.
    pub(crate) writers: Semaphore,
    /// The projections that take part in appends, if there are any.
    pub(crate) inline: Option<Inline>,
}

impl Shared {
    /// Returns the projections that take part in the appends of a log, if there are any.
    pub(crate) fn inline_of(&self, log: &str) -> Option<&Inline> {
        self.inline.as_ref().filter(|it| it.has_any_of(log))
    }

    /// Returns the key and the id of a log, if it exists.
    pub(crate) async fn find_birth(&self, log: &Log) -> Result<Option<Born>, RecordError> {
        if let Some(born) = log.born() {
            return Ok(Some(born));
        }
        let found = birth_now(&mut *self.pool.take().await?, &log.name).await?;
        Ok(found.map(|born| log.learn_birth(born)))
    }

    /// Returns the log that has this name now, for a new recorder.
    pub(crate) async fn open(&self, name: &str) -> Result<Arc<Log>, RecordError> {
        let found = birth_now(&mut *self.pool.take().await?, name).await?;
        Ok(self.logs.share(name, found))
    }
}
