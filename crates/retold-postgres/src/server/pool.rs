//! A bounded set of connections, opened when they are needed and kept.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use retold_core::recording::RecordError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::{Connection, connect};
use super::place::Place;
use super::runtime::StoreRuntime;
use crate::error::Refusal;
use crate::options::CONNECTION_WAIT_MAX;

/// Connections of an opening.
pub(crate) struct Pool {
    pub(crate) place: Place,
    runtime: Arc<StoreRuntime>,
    /// Those not in use; the one used last is taken first, so that the others may idle.
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(
        place: Place,
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

    /// A connection to use and give back.
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

/// A connection of a pool, given back when this is dropped. One whose last answer was not read to its
/// end may be given back: the driver reads it to its end before the next.
pub(crate) struct Pooled {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Pooled {
    /// Closes a connection that failed. Those that idle took the same way and are closed with it: each
    /// would cost somebody the wait to find out.
    pub(crate) fn close(mut self) {
        if let Some(connection) = self.connection.take() {
            connection.cut();
        }
        self.pool.idle().clear();
    }

    /// Closes a connection because what it still brings is not wanted.
    pub(crate) fn abandon(mut self) {
        if let Some(connection) = self.connection.take() {
            connection.cut();
        }
    }
}

impl Deref for Pooled {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
            .as_ref()
            .expect("it is there until it is dropped")
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection
            .as_mut()
            .expect("it is there until it is dropped")
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
        } else if !connection.client.is_closed() {
            self.pool.idle().push(connection);
        }
    }
}
