//! What a pipeline reports in its status.

use super::{Pipeline, Step};
use crate::application::{Application, Error, Result};
use crate::following::follower::Follower;
use crate::following::status::{Phase, StatusCell, UpstreamStatus};
use crate::recording::{Checkpoint, Page, StoredEvent};

/// Returns the status of a pipeline that has done nothing yet.
pub(super) fn new_status(
    application: &Application,
    follower: &Follower,
    upstreams: &[Application],
) -> StatusCell {
    let status = StatusCell::default();
    let upstreams = upstreams.iter().map(|upstream| UpstreamStatus {
        upstream: upstream.name().into(),
        ..UpstreamStatus::default()
    });
    status.write(|status| {
        status.application = application.name().into();
        status.follower = follower.shared_name();
        status.upstreams = upstreams.collect();
    });
    status
}

impl Pipeline {
    /// Reports a phase that the runner determined.
    pub fn report_phase(&self, phase: Phase) {
        self.status.write(|status| status.phase = phase);
    }

    /// Reports a failure of the runner, as if a step had failed.
    pub fn report_failure(&self, phase: Phase, failure: &dyn std::fmt::Display) {
        self.status.failed(phase, failure);
    }

    /// Reports the result of a step.
    pub(super) fn report(&self, stepped: &Result<Step>) {
        match stepped {
            Ok(step) => {
                let phase = match step {
                    Step::Moved => Phase::Running,
                    Step::Idle if self.record.partitioning.is_some() => Phase::Draining,
                    Step::Idle => Phase::CaughtUp,
                    Step::Holding => Phase::Holding,
                    Step::Paused if self.record.retired.is_some() => Phase::Retired,
                    Step::Paused => Phase::Paused,
                };
                self.status.stepped(phase);
                self.report_progress();
            }
            Err(error) => self.report_error(error),
        }
    }

    pub(super) fn report_error(&self, error: &Error) {
        let phase = match error {
            Error::Unavailable(_) | Error::OutcomeUnknown { .. } => Phase::Retrying,
            _ => Phase::Failed,
        };
        self.status.failed(phase, error);
    }

    /// Reports what a page of the log at this index shows about its end.
    pub(super) fn report_page(&self, index: usize, page: &Page) {
        let waiting_since = page.events.first().map(StoredEvent::recorded_at);
        let head = page.read_to;
        self.status.write(|status| {
            if let Some(upstream) = status.upstreams.get_mut(index) {
                upstream.waiting_since = waiting_since;
                let farther =
                    |it: Checkpoint| upstream.head.is_none_or(|old| old.position < it.position);
                if let Some(head) = head.filter(|it| farther(*it)) {
                    upstream.head = Some(head);
                }
            }
        });
    }

    /// Reports the follower's record, and how far it has processed each log.
    pub(super) fn report_progress(&self) {
        let (parked, overtaken) = (self.record.parked.len(), self.counts.overtaken);
        let record = &self.record;
        self.status.write(|status| {
            status.partitions = record.partitions;
            status.paused.clone_from(&record.paused);
            status.retired.clone_from(&record.retired);
            status.parked = parked;
            status.first_parked = record.first_failed().cloned();
            status.overtaken = overtaken;
            for (reported, upstream) in status.upstreams.iter_mut().zip(&self.upstreams) {
                reported.checkpoint = upstream.checkpoint;
                reported.reached = upstream.reached;
                reported.held = upstream.hold.as_ref().map(|hold| hold.held.clone());
            }
        });
    }
}
