//! The task that keeps one view up to date.
//!
//! Every process that runs the system with this view has such a task. The view store
//! compares the checkpoint in its transaction, so each event still changes the view only once.

use retold_core::projection::{ProjectionError, ProjectionPipeline};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::{sleep, timeout_at};

use crate::back_off::BackOff;
use crate::limits::VIEW_PAGE_PAUSE;
use crate::options::MultiThreadOptions;
use crate::panics::caught;
use crate::polling::next_look;

/// One view and its task's state.
pub(crate) struct ViewsTask {
    pipeline: OwnedMutexGuard<ProjectionPipeline>,
    stop: watch::Receiver<bool>,
    options: MultiThreadOptions,
    back_off: BackOff,
}

impl ViewsTask {
    pub(crate) fn new(
        pipeline: OwnedMutexGuard<ProjectionPipeline>,
        stop: watch::Receiver<bool>,
        options: MultiThreadOptions,
    ) -> Self {
        Self {
            pipeline,
            stop,
            back_off: BackOff::new(options.back_off),
            options,
        }
    }

    /// Works until it is stopped.
    pub(crate) async fn run(mut self) -> Option<String> {
        let mut stop = self.stop.clone();
        while !*stop.borrow() {
            // A step can be dropped at any point: the next one checks everything again.
            tokio::select! {
                _ = stop.changed() => {}
                () = self.follow() => {}
            }
        }
        None
    }

    /// Catches up and waits for news, or waits after a failure.
    async fn follow(&mut self) {
        let caught_up = caught(async {
            while !self.pipeline.step().await?.is_caught_up {
                sleep(VIEW_PAGE_PAUSE).await;
            }
            // Polling finds the events whose hint was lost.
            let look = next_look(self.options.poll_interval);
            match timeout_at(look, self.pipeline.changed()).await {
                Ok(changed) => changed,
                Err(_) => Ok(()),
            }
        });
        let wait = match caught_up.await {
            Ok(Ok(())) => {
                self.back_off.reset();
                return;
            }
            Ok(Err(error)) => self.failed(&error),
            Err(panic) => {
                self.pipeline.fail_by_panic(&panic);
                self.back_off.next()
            }
        };
        sleep(wait).await;
    }

    /// Returns how long to wait before the next attempt after a failure, which the pipeline has
    /// reported.
    fn failed(&mut self, error: &ProjectionError) -> std::time::Duration {
        if error.is_retriable() {
            return self.back_off.next();
        }
        // The cause may have been fixed in the meantime.
        self.pipeline.resume();
        self.options.failed_interval
    }
}
