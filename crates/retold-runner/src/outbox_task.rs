//! The task that drains one outbox.
//!
//! When stopped, it finishes and records the delivery in progress, so that the next process does
//! not send it again.

use retold_core::following::Phase;
use retold_core::system::{OutboxPipeline, OutboxStep};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::{sleep, sleep_until};
use tracing::Instrument;

use crate::back_off::BackOff;
use crate::limits::POLICY_LOOK_INTERVAL;
use crate::log_news::{News, next_news};
use crate::options::MultiThreadOptions;
use crate::panics::caught;
use crate::polling::next_look;

/// One outbox and its task's state.
pub(crate) struct OutboxTask {
    pipeline: OwnedMutexGuard<OutboxPipeline>,
    news: News,
    stop: watch::Receiver<bool>,
    options: MultiThreadOptions,
    back_off: BackOff,
}

impl OutboxTask {
    pub(crate) fn new(
        pipeline: OwnedMutexGuard<OutboxPipeline>,
        news: News,
        stop: watch::Receiver<bool>,
        options: MultiThreadOptions,
    ) -> Self {
        Self {
            pipeline,
            news,
            stop,
            back_off: BackOff::new(options.back_off),
            options,
        }
    }

    /// Works until it is stopped, and is then in the phase `after`.
    pub(crate) async fn run(mut self, after: Phase) -> Option<String> {
        while !*self.stop.borrow() {
            self.news.mark_unchanged();
            let delivery = self.pipeline.delivery();
            let span = tracing::debug_span!(
                "retold.deliver",
                application = delivery.application(),
                outbox = delivery.outbox()
            );
            match self.step().instrument(span).await {
                Some(OutboxStep::Delivered) => {
                    self.back_off.reset();
                    tokio::task::yield_now().await;
                }
                Some(OutboxStep::Idle) => {
                    self.back_off.reset();
                    let look = next_look(self.options.poll_interval);
                    tokio::select! {
                        _ = self.stop.changed() => {}
                        () = next_news(&mut self.news) => {}
                        () = sleep_until(look) => {}
                    }
                }
                _ => {
                    let wait = self.back_off.next();
                    tokio::select! {
                        _ = self.stop.changed() => {}
                        () = sleep(wait) => {}
                    }
                }
            }
        }
        self.pipeline.report_phase(after);
        None
    }

    /// Runs a step; returns `None` if it failed, after reporting the failure.
    async fn step(&mut self) -> Option<OutboxStep> {
        let status = self.pipeline.status();
        let late = async {
            loop {
                sleep(POLICY_LOOK_INTERVAL).await;
                let running = status.running();
                if let Some(late) = running.filter(|it| it.elapsed >= it.time_max) {
                    return late;
                }
            }
        };
        let stepped = tokio::select! {
            biased;
            stepped = caught(self.pipeline.step()) => stepped,
            late = late => {
                let reason = format!("{late}, and was given up");
                self.pipeline.report_failure(&reason);
                return None;
            }
        };
        match stepped {
            Ok(stepped) => stepped.ok(),
            Err(panic) => {
                self.pipeline.invalidate();
                self.pipeline.report_failure(&panic);
                None
            }
        }
    }
}
