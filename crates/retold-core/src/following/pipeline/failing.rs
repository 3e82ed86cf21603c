//! Handles an event whose policy fails: stops the follower, or sets the event aside.

use super::Pipeline;
use super::deciding::PolicyFailure;
use super::state::PipelineState;
use crate::application::{Error, Result};
use crate::following::batch::Batch;
use crate::following::context::Freshness;
use crate::following::follower::OnFailure;
use crate::following::follower_event::{FollowerEvent, Parked};
use crate::following::limits::{FAILURE_SIZE_MAX, PARKED_MAX};
use crate::following::status::Phase;
use crate::recording::StoredEvent;

impl Pipeline {
    /// Handles an event whose policy failed, as the follower declares. If other events were
    /// processed in the same batch, they are recorded first, and the policy is called again;
    /// likewise if it may have failed because of an outdated state. Its reads are conditions of the
    /// record of the failure.
    pub(super) async fn fail(
        &mut self,
        index: usize,
        event: &StoredEvent,
        failure: PolicyFailure,
    ) -> Result<()> {
        let PolicyFailure { reason, reads } = failure;
        let may_be_old = self.contention.freshness == Freshness::Judged && reads.has_reads();
        let has_unflushed = self.upstreams.iter().any(|it| it.unflushed() > 0);
        if has_unflushed || may_be_old {
            // The next round stops before this event.
            self.suspects.alone = Some((self.upstreams[index].log, event.checkpoint()));
            return Ok(());
        }
        self.suspects.alone = None;
        // Reads that fill an append on their own are a fault in themselves, so they are dropped.
        let reads = match reads.is_full() {
            true => Batch::default(),
            false => reads,
        };
        let reason = cut(reason);
        self.status.failed(Phase::Running, &reason);
        let is_full = self.record.parked.len() >= PARKED_MAX;
        match self.follower.fails_by() {
            OnFailure::Park if !is_full => self.park(index, event, Some(reason), reads).await,
            OnFailure::Park => {
                let reason = format!("{PARKED_MAX} events are already parked; and: {reason}");
                self.stop(index, event, &reason, reads).await
            }
            OnFailure::Stop => self.stop(index, event, &reason, reads).await,
        }
    }

    /// Records that the follower is paused because of this event.
    async fn stop(
        &mut self,
        index: usize,
        event: &StoredEvent,
        reason: &str,
        mut reads: Batch,
    ) -> Result<()> {
        self.invalidate();
        let upstream = &self.upstreams[index];
        let paused = FollowerEvent::Paused {
            reason: format!(
                "the policy for the event at {} of {:?} failed: {reason}",
                event.position(),
                upstream.name
            ),
            failed: Some((upstream.log, event.checkpoint())),
        };
        for new in self.own_events(&[paused])? {
            reads.push(new);
        }
        let append = reads.to_append(&self.stream, self.record.condition());
        // The next preparation reads it back, including one that another pipeline recorded.
        match self.application.settle(append).await {
            Ok(_) => {
                let application = self.application.name();
                tracing::error!(
                    application,
                    follower = %self.key,
                    event = %event.checkpoint(),
                    %reason,
                    "a follower has stopped"
                );
                Ok(())
            }
            Err(Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets an event aside because an earlier one of its stream is parked.
    pub(super) async fn hold_back(&mut self, index: usize, event: &StoredEvent) -> Result<()> {
        if !self.flush().await? {
            return Ok(());
        }
        if self.record.parked.len() >= PARKED_MAX {
            let reason = format!("{PARKED_MAX} events are already parked");
            return self.stop(index, event, &reason, Batch::default()).await;
        }
        self.park(index, event, None, Batch::default()).await
    }

    /// Records that an event is set aside, on the condition of the reads in `batch`.
    async fn park(
        &mut self,
        index: usize,
        event: &StoredEvent,
        failure: Option<String>,
        mut batch: Batch,
    ) -> Result<()> {
        let upstream = &self.upstreams[index];
        let parked = Parked {
            upstream: upstream.name.to_string(),
            log: upstream.log,
            event: event.checkpoint(),
            stream: event.stream().map(str::to_owned),
            failure,
            partition: self.partition.unwrap_or(0),
        };
        tracing::warn!(
            follower = %self.key,
            event = %parked.event,
            reason = parked.failure,
            "an event is parked"
        );
        for new in self.own_events(&[FollowerEvent::Parked(parked)])? {
            batch.push(new);
        }
        // Nothing else is to be recorded, so what is in memory still matches the logs.
        self.state = PipelineState::Ready(batch);
        self.pass(index, event.checkpoint());
        if !self.flush().await? {
            return Ok(());
        }
        // The follower's stream has grown: read it before the next append.
        self.invalidate();
        self.prepare().await?;
        // It may have been reset in the meantime, and then the next event is not the one after
        // this.
        if self.reached(index) != Some(event.checkpoint()) {
            self.invalidate();
        }
        Ok(())
    }
}

/// Cuts a text to at most [`FAILURE_SIZE_MAX`] bytes.
fn cut(mut text: String) -> String {
    if text.len() > FAILURE_SIZE_MAX {
        let mut end = FAILURE_SIZE_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}
