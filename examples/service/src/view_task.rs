//! The task that drives the view: follows its log, and tries again after failures.
//!
//! The pipeline may be dropped between any two of its awaits; the view is then as it was after the last
//! page.

use std::time::Duration;

use retold::system::projection::ProjectionPipeline;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::limits::{VIEW_RETRY_MAX, VIEW_RETRY_MIN, VIEW_STOPPED_INTERVAL};

/// The running task of a view.
#[derive(Debug)]
pub(crate) struct ViewTask {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl ViewTask {
    /// Starts it.
    pub(crate) fn start(pipeline: ProjectionPipeline) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = stopped.wait_for(|is_stopped| *is_stopped) => {}
                () = drive(pipeline) => {}
            }
        });
        Self { stop, task }
    }

    /// Stops it. Whoever waits for the view then is told that nobody drives it.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the view's task failed");
        }
    }
}

async fn drive(mut pipeline: ProjectionPipeline) {
    let mut wait = VIEW_RETRY_MIN;
    loop {
        let before = pipeline.handle().state();
        let error = pipeline.run().await;
        if error.is_retriable() {
            tracing::warn!(%error, ?before, "the view tries again");
            sleep(wait).await;
            wait = doubled(wait);
            continue;
        }
        tracing::error!(%error, "the view cannot go on");
        sleep(VIEW_STOPPED_INTERVAL).await;
        pipeline.resume();
        wait = VIEW_RETRY_MIN;
    }
}

fn doubled(wait: Duration) -> Duration {
    wait.saturating_mul(2).min(VIEW_RETRY_MAX)
}
