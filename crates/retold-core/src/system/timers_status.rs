//! The status of an application's timers, for people and for health checks.

use std::sync::{Arc, Mutex, PoisonError};

use crate::application::{Error, Result};
use crate::domain::Timestamp;
use crate::following::Timers;
use crate::health::{Finding, FindingKind, Trouble};

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

/// Shares the status of an application's timers. A clone shares the same status.
#[derive(Clone, Debug, Default)]
pub struct TimersCell(Arc<Mutex<TimersStatus>>);

impl TimersCell {
    /// Returns the cell for the timers of the application of this name.
    pub fn new(application: &str) -> Self {
        let cell = Self::default();
        cell.write(|status| status.application = application.to_owned());
        cell
    }

    /// Returns the current status.
    pub fn read(&self) -> TimersStatus {
        let status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }

    fn write(&self, change: impl FnOnce(&mut TimersStatus)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// For runners: counts a timer that was fired.
    pub fn count_fired(&self) {
        self.write(|status| status.fired += 1);
    }

    /// For runners: records the state of the timers after an attempt to read and fire them.
    pub fn report(&self, timers: &Timers, attempt: &Result<()>) {
        match attempt {
            Ok(()) => {
                let (pending, next_due) = (timers.pending_count(), timers.next_due());
                self.write(|status| {
                    status.pending = pending;
                    status.next_due = next_due;
                    status.failure = None;
                    status.trouble = None;
                });
                self.report_aside(timers);
            }
            Err(error) => {
                let trouble = trouble_of(error);
                match timers.aside() {
                    // It was reported when it was set aside; the other timers must not wait for it.
                    Some(_) if trouble == Trouble::Failed => self.report_aside(timers),
                    _ => self.report_failure(trouble, error.to_string()),
                }
            }
        }
    }

    /// For runners: records that the timers run in another process, if in any.
    pub fn report_elsewhere(&self) {
        self.write(|status| {
            status.pending = 0;
            status.next_due = None;
            status.failure = None;
            status.trouble = None;
            status.aside = 0;
        });
    }

    /// For runners: records a failure, for example a panic. It is logged once until it is overcome.
    pub fn report_failure(&self, trouble: Trouble, failure: String) {
        let reported = self.read();
        let application = reported.application;
        if reported.failure.as_ref() != Some(&failure) {
            match trouble {
                Trouble::Failed => tracing::error!(application, failure, "timers have stopped"),
                _ => tracing::warn!(application, failure, "timers are retried"),
            }
        }
        self.write(|status| status.fail(trouble, failure));
    }

    /// Records timers that are set aside, if there are any.
    fn report_aside(&self, timers: &Timers) {
        let count = timers.aside().map_or(0, |(count, _)| count);
        let finding = timers.finding();
        self.write(|status| {
            status.aside = count;
            match finding {
                Some(finding) if status.failure.as_ref() != Some(&finding.reason) => {
                    status.fail(finding.trouble, finding.reason);
                }
                _ => {}
            }
        });
    }
}

fn trouble_of(error: &Error) -> Trouble {
    match error {
        Error::Unavailable(_) | Error::OutcomeUnknown { .. } | Error::Conflict(_) => {
            Trouble::Retrying
        }
        _ => Trouble::Failed,
    }
}
