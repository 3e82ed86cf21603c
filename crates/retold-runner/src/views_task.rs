//! The task that keeps one view up to date.
//!
//! Every process of a system that is given the view has one; the keeper of the view compares the
//! checkpoint in its transaction, so each event changes the view once all the same.

use retold_core::projection::{ProjectionError, ProjectionPipeline};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::{sleep, timeout_at};

use crate::back_off::BackOff;
use crate::limits::VIEW_PAGE_PAUSE;
use crate::options::MultiThreadOptions;
use crate::panics::caught;
use crate::polling::next_look;

/// One view in its task.
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

    /// Works until it is told to stop.
    pub(crate) async fn run(mut self) -> Option<String> {
        let mut stop = self.stop.clone();
        while !*stop.borrow() {
            // A step may be dropped anywhere: the next one looks at everything anew.
            tokio::select! {
                _ = stop.changed() => {}
                () = self.follow() => {}
            }
        }
        None
    }

    /// Catches up and waits for more; or waits after a failure.
    async fn follow(&mut self) {
        let caught_up = caught(async {
            while !self.pipeline.step().await?.is_caught_up {
                sleep(VIEW_PAGE_PAUSE).await;
            }
            // What was missed by a lost hint is found by looking.
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

    /// Says how long to wait after a failure, which the pipeline has told, before the next attempt.
    fn failed(&mut self, error: &ProjectionError) -> std::time::Duration {
        if error.is_retriable() {
            return self.back_off.next();
        }
        // Somebody may have mended it meanwhile.
        self.pipeline.resume();
        self.options.failed_interval
    }
}
