//! The task that fires the timers of one application when they are due by the application's clock.
//!
//! Every process that runs the application has such a task. A timer is still recorded as fired only
//! once, because the append has the condition that the timer has not changed since.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::counter;
use retold_core::application::{Application, Error, Result};
use retold_core::domain::Timestamp;
use retold_core::following::Timers;
use retold_core::health::{Finding, FindingKind, Trouble};
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

/// The status of an application's timers.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TimersStatus {
    /// The name of the application.
    pub application: String,
    /// The number of timers known to be pending.
    pub pending: usize,
    /// When the next one is due, by the application's clock.
    pub next_due: Option<Timestamp>,
    /// The number of timers found due since the runner started; another process may have fired some
    /// of them.
    pub fired: u64,
    /// The number of timers that are due and cannot be fired; they are set aside so that the others
    /// fire.
    pub aside: usize,
    /// Why the last attempt failed, if it did, or why timers are set aside.
    pub failure: Option<String>,
    /// The kind of the failure, if there is one.
    pub trouble: Option<Trouble>,
    /// When the last failure happened, by the machine's clock, even if it has been overcome since.
    failed_at: Option<Timestamp>,
    last_failure: Option<String>,
}

impl TimersStatus {
    /// Returns a finding if the timers need attention.
    pub fn finding(&self) -> Option<Finding> {
        let reason = self.failure.clone()?;
        let name = self.application.as_str();
        Some(Finding::new(
            FindingKind::Timers,
            name,
            self.trouble?,
            reason,
        ))
    }

    /// Returns the last failure and when it happened, by the machine's clock, even if it has been
    /// overcome since.
    pub fn last_error(&self) -> Option<(Timestamp, &str)> {
        self.failed_at.zip(self.last_failure.as_deref())
    }

    fn fail(&mut self, trouble: Trouble, failure: String) {
        self.failed_at = Some(std::time::SystemTime::now().into());
        self.last_failure = Some(failure.clone());
        self.trouble = Some(trouble);
        self.failure = Some(failure);
    }
}

/// The cell to which a task writes its status.
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

/// The timers of one application and their task's state.
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

    /// Works until it is stopped.
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
                    self.report_failure(Trouble::Failed, panic);
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
            status.trouble = None;
        });
        self.report_aside();
        self.back_off.reset();
        Ok(())
    }

    /// Reports the failure. Returns how long to wait before the next attempt.
    fn failed(&mut self, error: &Error) -> Duration {
        let trouble = match error {
            Error::Unavailable(_) | Error::OutcomeUnknown { .. } | Error::Conflict(_) => {
                Trouble::Retrying
            }
            _ => Trouble::Failed,
        };
        match self.timers.aside() {
            // It was reported when it was set aside; the other timers must not wait for it.
            Some(_) if trouble == Trouble::Failed => self.report_aside(),
            _ => self.report_failure(trouble, error.to_string()),
        }
        self.back_off.next()
    }

    /// Reports timers that are set aside, if there are any.
    fn report_aside(&self) {
        let count = self.timers.aside().map_or(0, |(count, _)| count);
        let finding = self.timers.finding();
        self.cell.write(|status| {
            status.aside = count;
            match finding {
                Some(finding) if status.failure.as_ref() != Some(&finding.reason) => {
                    status.fail(finding.trouble, finding.reason);
                }
                _ => {}
            }
        });
    }

    /// Reports a failure; it is logged once until it is overcome.
    fn report_failure(&self, trouble: Trouble, failure: String) {
        let application = self.application.name();
        let reported = self.cell.read();
        if reported.failure.as_ref() != Some(&failure) {
            match trouble {
                Trouble::Failed => tracing::error!(application, failure, "timers have stopped"),
                _ => tracing::warn!(application, failure, "timers are retried"),
            }
        }
        self.cell.write(|status| status.fail(trouble, failure));
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
