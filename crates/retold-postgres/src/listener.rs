//! Hears from other processes that a log has grown, and makes those who wait look. A connection that is
//! lost is opened again; meanwhile those who wait look by themselves more often.

use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Error, NoTls};

use super::herald::CHANNEL;
use super::log::Logs;
use super::options::{POLL_INTERVAL, POLL_INTERVAL_WITHOUT_HINTS, RECONNECT_PAUSE};
use super::place::Place;

/// Listens from the first time that somebody waits.
pub(crate) struct Listener {
    place: Place,
    logs: Arc<Logs>,
    runtime: Handle,
    hears: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Listener {
    pub(crate) fn new(place: Place, logs: Arc<Logs>, runtime: Handle) -> Self {
        Self {
            place,
            logs,
            runtime,
            hears: watch::Sender::new(false),
            task: Mutex::default(),
        }
    }

    /// Sees to it that hints are heard.
    pub(crate) fn start(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.get_or_insert_with(|| {
            let (place, logs) = (self.place.clone(), self.logs.clone());
            let hears = self.hears.clone();
            self.runtime
                .spawn(async move { listen(&place, &logs, &hears).await })
        });
    }

    /// How long to wait for a hint before looking without one.
    pub(crate) fn poll_interval(&self) -> Duration {
        if *self.hears.borrow() {
            POLL_INTERVAL
        } else {
            POLL_INTERVAL_WITHOUT_HINTS
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            task.abort();
        }
    }
}

async fn listen(place: &Place, logs: &Logs, hears: &watch::Sender<bool>) {
    loop {
        if let Err(error) = listen_once(place, logs, hears).await {
            tracing::warn!("the connection that listens for news was lost: {error}");
        }
        hears.send_replace(false);
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// Listens until the connection ends.
async fn listen_once(place: &Place, logs: &Logs, hears: &watch::Sender<bool>) -> Result<(), Error> {
    let (client, mut connection) = place.config.connect(NoTls).await?;
    let hear = async {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(hint))) => {
                    logs.nudge(log_of(hint.payload(), place));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    };
    let ask = async {
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        hears.send_replace(true);
        // What happened before is not told by hints.
        logs.nudge(None);
        pending::<Result<(), Error>>().await
    };
    tokio::select! {
        ended = hear => ended,
        refused = ask => refused,
    }
}

/// The key of the log that a hint names; 0, which is no log's, for a log of another schema.
fn log_of(hint: &str, place: &Place) -> Option<i32> {
    let (key, schema) = hint.split_once(' ')?;
    if schema != place.schema {
        return Some(0);
    }
    key.parse().ok()
}
