//! The task that fires the timers of one application when they are due by the application's clock.
//!
//! Every process that runs the application has such a task. A timer is still recorded as fired only
//! once, because the append has the condition that the timer has not changed since.

use std::time::Duration;

use metrics::counter;
use retold_core::application::{Application, Result};
use retold_core::following::Timers;
use retold_core::health::Trouble;
use retold_core::system::TimersCell;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument;

use crate::back_off::BackOff;
use crate::limits::TIMERS_READ_INTERVAL;
use crate::log_news::{News, next_news};
use crate::options::MultiThreadOptions;
use crate::panics::caught;
use crate::polling::next_look;
use crate::telemetry::TIMERS_FIRED;

/// The timers of one application and their task's state.
pub(crate) struct TimersTask {
    application: Application,
    timers: Timers,
    news: News,
    stop: watch::Receiver<bool>,
    options: MultiThreadOptions,
    cell: TimersCell,
    back_off: BackOff,
}

impl TimersTask {
    pub(crate) fn new(
        application: &Application,
        news: News,
        stop: watch::Receiver<bool>,
        options: MultiThreadOptions,
        cell: TimersCell,
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

    /// Works until it is stopped.
    pub(crate) async fn run(mut self) -> Option<String> {
        while !*self.stop.borrow() {
            self.news.mark_unchanged();
            let read_next = Instant::now() + TIMERS_READ_INTERVAL;
            let span = tracing::debug_span!("retold.timers", application = self.application.name());
            let fired = caught(self.fire_due()).instrument(span).await;
            let wait = match fired {
                Ok(Ok(())) => None,
                Ok(Err(error)) => {
                    self.cell.report(&self.timers, &Err(error));
                    Some(self.back_off.next())
                }
                Err(panic) => {
                    self.timers = Timers::new(self.application.clone());
                    self.cell.report_failure(Trouble::Failed, panic);
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
            self.cell.count_fired();
            tokio::task::yield_now().await;
        }
        self.cell.report(&self.timers, &Ok(()));
        self.back_off.reset();
        Ok(())
    }

    /// Waits for the next timer to come due, or for the log to change. A clock that does not run
    /// with real time is checked now and then.
    async fn wait_for_next(&mut self, read_next: Instant) {
        let due = self.timers.next_due().map(|due| {
            let micros = due
                .as_micros()
                .saturating_sub(self.application.now().as_micros());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        });
        let poll = next_look(self.options.poll_interval);
        let wake = due.and_then(|due| Instant::now().checked_add(due));
        let news = async {
            next_news(&mut self.news).await;
            sleep_until(read_next).await;
        };
        tokio::select! {
            _ = self.stop.changed() => {}
            () = news => {}
            () = sleep_until(wake.map_or(poll, |wake| wake.min(poll))) => {}
        }
    }
}
