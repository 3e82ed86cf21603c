//! Notifies other processes that a log has grown, by NOTIFY on a connection of its own.
//!
//! The NOTIFY is not part of the append's transaction: a transaction that notifies holds a lock of
//! the whole server while it commits, so that logs would wait for each other's sync. Here a hint is
//! a transaction that writes nothing durable, and hints for one log within [`HINT_PAUSE`] become
//! one: at most a few hundred statements a second are sent, for any number of appends, and the
//! sender need not know the listeners.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use retold_core::recording::RecordError;
use tokio::sync::Notify;

use crate::limits::{HINT_PAUSE, RECONNECT_PAUSE};
use crate::log::Born;
use crate::server::connection::{Connection, connect};
use crate::server::place::ServerPlace;
use crate::server::runtime::{LazyTask, StoreRuntime};

/// The channel of all hints; the payload names the schema and the log.
pub(crate) const CHANNEL: &str = "retold";

const NOTIFY: &str = "SELECT pg_notify($1, $2)";

/// Takes hints; a task sends them.
pub(crate) struct Notifier {
    news: Arc<News>,
    place: ServerPlace,
    runtime: Arc<StoreRuntime>,
    task: LazyTask,
}

#[derive(Default)]
struct News {
    keys: Mutex<HashSet<i32>>,
    more: Notify,
}

impl Notifier {
    pub(crate) fn new(place: ServerPlace, runtime: Arc<StoreRuntime>) -> Self {
        Self {
            news: Arc::default(),
            place,
            runtime,
            task: LazyTask::default(),
        }
    }

    /// Leaves a hint for readers that wait for changes of a log.
    pub(crate) fn announce(&self, born: Option<Born>) {
        let Some(born) = born else { return };
        let mut keys = self
            .news
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        keys.insert(born.key);
        drop(keys);
        self.news.more.notify_one();
        self.task.start(&self.runtime, || {
            let (news, place) = (self.news.clone(), self.place.clone());
            let runtime = self.runtime.clone();
            async move { send_all(&news, &place, &runtime).await }
        });
    }
}

impl News {
    async fn next(&self) -> HashSet<i32> {
        loop {
            let keys = {
                let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *keys)
            };
            if !keys.is_empty() {
                return keys;
            }
            self.more.notified().await;
        }
    }
}

/// Sends hints forever. A hint that cannot be sent is lost, as hints may be.
async fn send_all(news: &News, place: &ServerPlace, runtime: &Arc<StoreRuntime>) {
    let mut kept = None;
    loop {
        let keys = news.next().await;
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => match open(place, runtime).await {
                Some(connection) => connection,
                None => {
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                    continue;
                }
            },
        };
        match send(&mut connection, place, &keys).await {
            Ok(()) => {
                kept = Some(connection);
                // Hints that arrive in the meantime are sent together.
                tokio::time::sleep(HINT_PAUSE).await;
            }
            Err(error) => tracing::warn!("the connection that sends hints was lost: {error}"),
        }
    }
}

async fn open(place: &ServerPlace, runtime: &Arc<StoreRuntime>) -> Option<Connection> {
    let connection = connect(place, runtime).await.ok()?;
    let set = connection
        .client
        .batch_execute("SET synchronous_commit = off");
    set.await.ok().map(|()| connection)
}

async fn send(
    connection: &mut Connection,
    place: &ServerPlace,
    keys: &HashSet<i32>,
) -> Result<(), RecordError> {
    for key in keys {
        let text = format!("{key} {}", place.schema);
        connection
            .rows("sending hints", NOTIFY, &[&CHANNEL, &text])
            .await?;
    }
    Ok(())
}
