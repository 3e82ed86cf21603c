//! Listens for hints from other processes that a log has grown, and wakes waiting readers. A lost
//! connection is reopened; in the meantime the readers poll more often.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use retold_core::recording::RecordError;
use tokio::sync::watch;
use tokio_postgres::{AsyncMessage, Client};

use super::notifier::CHANNEL;
use crate::error::{Refusal, of_statement};
use crate::limits::{
    ANSWER_WAIT_MAX, LISTEN_CHECK_INTERVAL, POLL_INTERVAL, POLL_INTERVAL_WITHOUT_HINTS,
    RECONNECT_PAUSE,
};
use crate::log::Logs;
use crate::server::place::ServerPlace;
use crate::server::reach::reach;
use crate::server::runtime::{LazyTask, StoreRuntime};

/// Listens from the first wait on.
pub(crate) struct Listener {
    place: ServerPlace,
    logs: Arc<Logs>,
    runtime: Arc<StoreRuntime>,
    hears: watch::Sender<bool>,
    task: LazyTask,
}

impl Listener {
    pub(crate) fn new(place: ServerPlace, logs: Arc<Logs>, runtime: Arc<StoreRuntime>) -> Self {
        Self {
            place,
            logs,
            runtime,
            hears: watch::Sender::new(false),
            task: LazyTask::default(),
        }
    }

    /// Starts listening, if it has not started yet.
    pub(crate) fn start(&self) {
        self.task.start(&self.runtime, || {
            let (place, logs) = (self.place.clone(), self.logs.clone());
            let hears = self.hears.clone();
            async move { listen(&place, &logs, &hears).await }
        });
    }

    /// Returns how long to wait for a hint before polling.
    pub(crate) fn poll_interval(&self) -> Duration {
        if *self.hears.borrow() {
            POLL_INTERVAL
        } else {
            POLL_INTERVAL_WITHOUT_HINTS
        }
    }
}

async fn listen(place: &ServerPlace, logs: &Logs, hears: &watch::Sender<bool>) {
    let mut last = String::new();
    loop {
        if let Err(error) = listen_once(place, logs, hears).await {
            // A standby refuses it each time; this is reported once.
            let error = error.to_string();
            if *hears.borrow() || error != last {
                tracing::warn!("the connection that listens for hints was lost: {error}");
                last = error;
            }
        }
        hears.send_replace(false);
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// Listens until the connection ends, or does not respond when it is checked.
async fn listen_once(
    place: &ServerPlace,
    logs: &Logs,
    hears: &watch::Sender<bool>,
) -> Result<(), RecordError> {
    const WHAT: &str = "listening for hints";
    let (client, mut link) = reach(place).await?;
    let hear = async {
        loop {
            match poll_fn(|context| link.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(hint))) => {
                    logs.nudge(log_of(hint.payload(), place));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(of_statement(WHAT, error)),
                None => return Ok(()),
            }
        }
    };
    let ask = async {
        announce(&client, &format!("LISTEN {CHANNEL}")).await?;
        hears.send_replace(true);
        // There are no hints about earlier changes.
        logs.nudge(None);
        loop {
            tokio::time::sleep(LISTEN_CHECK_INTERVAL).await;
            announce(&client, "").await?;
        }
    };
    tokio::select! {
        ended = hear => ended,
        refused = ask => refused,
    }
}

/// Sends a statement to the server and waits for the response.
async fn announce(client: &Client, sql: &str) -> Result<(), RecordError> {
    const WHAT: &str = "checking the connection that listens";
    match tokio::time::timeout(ANSWER_WAIT_MAX, client.batch_execute(sql)).await {
        Ok(answer) => answer.map_err(|error| of_statement(WHAT, error)),
        Err(_) => Err(RecordError::unavailable(WHAT, Refusal::Silent)),
    }
}

/// Returns the key of the log that a hint names; for a log of another schema 0, which is not a key
/// of any log.
fn log_of(hint: &str, place: &ServerPlace) -> Option<i32> {
    let (key, schema) = hint.split_once(' ')?;
    if schema != place.schema {
        return Some(0);
    }
    key.parse().ok()
}
