//! A bounded pool of connections, opened on demand and reused.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use retold_core::recording::RecordError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::{Connection, connect};
use super::place::ServerPlace;
use super::runtime::StoreRuntime;
use crate::error::Refusal;
use crate::limits::CONNECTION_WAIT_MAX;

/// The connections of an open store.
pub(crate) struct Pool {
    pub(crate) place: ServerPlace,
    runtime: Arc<StoreRuntime>,
    /// Idle connections; the one used last is taken first, so that the others stay idle.
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(
        place: ServerPlace,
        runtime: Arc<StoreRuntime>,
        connections_max: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            place,
            runtime,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(connections_max)),
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection, which is given back when it is dropped.
    pub(crate) async fn take(self: &Arc<Self>) -> Result<Pooled, RecordError> {
        self.runtime.check()?;
        let permit = self.permits.clone().acquire_owned();
        let permit = tokio::time::timeout(CONNECTION_WAIT_MAX, permit).await;
        let Ok(Ok(permit)) = permit else {
            let what = "waiting for a connection";
            return Err(RecordError::unavailable(what, Refusal::NoConnection));
        };
        let kept = self.take_idle();
        let connection = match kept {
            Some(connection) => connection,
            None => connect(&self.place, &self.runtime).await?,
        };
        Ok(Pooled {
            connection: Some(connection),
            pool: self.clone(),
            _permit: permit,
        })
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(|connection| !connection.client.is_closed());
        idle.pop()
    }
}

/// A connection of a pool, given back when this is dropped. It can be given back before its last
/// response was read to the end: the driver reads the rest before the next response.
pub(crate) struct Pooled {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Pooled {
    /// Closes a connection that failed, and the idle ones, which probably failed in the same way:
    /// otherwise each would cost a caller the wait to find out.
    pub(crate) fn close(mut self) {
        if let Some(connection) = self.connection.take() {
            connection.cut();
        }
        self.pool.idle().clear();
    }

    /// Closes a connection whose remaining data is not wanted.
    pub(crate) fn abandon(mut self) {
        if let Some(connection) = self.connection.take() {
            connection.cut();
        }
    }
}

impl Deref for Pooled {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("present until dropped")
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("present until dropped")
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if connection.is_silent {
            connection.cut();
            self.pool.idle().clear();
        } else if connection.is_changed {
            connection.cut();
        } else if !connection.client.is_closed() {
            self.pool.idle().push(connection);
        }
    }
}
