//! The task that fires the timers of one application when they are due by the application's clock.
//!
//! Every process that runs the application has one; a firing is recorded once all the same, for it is
//! an append on condition that nothing happened to the timer since.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::counter;
use retold_core::application::{Application, Error, Result};
use retold_core::domain::clock::Timestamp;
use retold_core::system::Timers;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument;

use crate::back_off::BackOff;
use crate::limits::TIMERS_READ_INTERVAL;
use crate::log_news::{News, next_news};
use crate::options::MultiThreadOptions;
use crate::panics::caught;
use crate::telemetry::TIMERS_FIRED;

/// How the timers of an application are getting on.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TimersStatus {
    /// Name of the application.
    pub application: String,
    /// How many are known to be pending.
    pub pending: usize,
    /// When the next one is due, by the application's clock.
    pub next_due: Option<Timestamp>,
    /// How many were found due since the runner began; another process may have fired some of them.
    pub fired: u64,
    /// Why the last attempt failed, if it did.
    pub failure: Option<String>,
}

/// Where a task tells its status.
#[derive(Debug, Default)]
pub(crate) struct TimersCell(Mutex<TimersStatus>);

impl TimersCell {
    pub(crate) fn read(&self) -> TimersStatus {
        let status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }

    pub(crate) fn write(&self, change: impl FnOnce(&mut TimersStatus)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The timers of one application in their task.
pub(crate) struct TimersTask {
    application: Application,
    timers: Timers,
    news: News,
    stop: watch::Receiver<bool>,
    options: MultiThreadOptions,
    cell: Arc<TimersCell>,
    back_off: BackOff,
}

impl TimersTask {
    pub(crate) fn new(
        application: &Application,
        news: News,
        stop: watch::Receiver<bool>,
        options: MultiThreadOptions,
        cell: Arc<TimersCell>,
    ) -> Self {
        Self {
            timers: Timers::new(application.clone()),
            application: application.clone(),
            back_off: BackOff::new(options.back_off),
            news,
            stop,
            options,
            cell,
        }
    }

    /// Works until it is told to stop.
    pub(crate) async fn run(mut self) -> Option<String> {
        while !*self.stop.borrow() {
            self.news.mark_unchanged();
            let read_next = Instant::now() + TIMERS_READ_INTERVAL;
            let span = tracing::debug_span!("retold.timers", application = self.application.name());
            let fired = caught(self.fire_due()).instrument(span).await;
            let wait = match fired {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(self.failed(&error)),
                Err(panic) => {
                    self.timers = Timers::new(self.application.clone());
                    self.cell.write(|status| status.failure = Some(panic));
                    Some(self.back_off.next())
                }
            };
            match wait {
                None => self.wait_for_next(read_next).await,
                Some(wait) => tokio::select! {
                    _ = self.stop.changed() => {}
                    () = sleep(wait) => {}
                },
            }
        }
        None
    }

    async fn fire_due(&mut self) -> Result<()> {
        self.timers.read_on().await?;
        while !*self.stop.borrow() && self.timers.fire_next(self.application.now()).await? {
            counter!(TIMERS_FIRED, "application" => self.application.name().to_owned())
                .increment(1);
            self.cell.write(|status| status.fired += 1);
            tokio::task::yield_now().await;
        }
        let (pending, next_due) = (self.timers.pending_count(), self.timers.next_due());
        self.cell.write(|status| {
            status.pending = pending;
            status.next_due = next_due;
            status.failure = None;
        });
        self.back_off.reset();
        Ok(())
    }

    /// Tells of the failure. Says how long to wait before the next attempt.
    fn failed(&mut self, error: &Error) -> Duration {
        let application = self.application.name();
        tracing::warn!(application, %error, "timers could not be fired");
        self.cell
            .write(|status| status.failure = Some(error.to_string()));
        // A timer that cannot be fired is left aside; the others are not to wait for it.
        self.back_off.next()
    }

    /// Waits for the next one to come due, or for the log to change. A clock that does not go with time
    /// is looked at now and then.
    async fn wait_for_next(&mut self, read_next: Instant) {
        let due = self.timers.next_due().map(|due| {
            let micros = due
                .as_micros()
                .saturating_sub(self.application.now().as_micros());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        });
        let poll = self.options.poll_interval;
        let news = async {
            next_news(&mut self.news).await;
            sleep_until(read_next).await;
        };
        tokio::select! {
            _ = self.stop.changed() => {}
            () = news => {}
            () = sleep(due.map_or(poll, |due| due.min(poll))) => {}
        }
    }
}
