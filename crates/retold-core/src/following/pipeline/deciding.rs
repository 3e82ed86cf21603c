//! Processing one event: calling the policies for it, and taking their effects into the next
//! append.

use std::sync::Arc;

use tracing::Instrument;

use super::Pipeline;
use super::state::{EventAt, PipelineState};
use crate::application::{Result, unknown_topic};
use crate::following::asking::{Asked, ask};
use crate::following::batch::Batch;
use crate::following::caused::process_span;
use crate::following::context::{Cause, Context, Freshness};
use crate::health::Began;
use crate::mapping::MappingError;
use crate::recording::{Checkpoint, EventId, FollowerKey, ProcessedRange, StoredEvent};

/// The result of calling the policies.
pub(super) enum Reaction {
    /// Their effects are in the batch.
    Processed,
    /// A policy failed. The batch is dropped.
    Failed(Box<PolicyFailure>),
    /// Another program recorded something that this program does not know. The batch is dropped.
    Unknown(MappingError),
}

/// A failed policy.
pub(super) struct PolicyFailure {
    pub(super) reason: String,
    /// The reads of the policy, and the earlier reads of the batch.
    pub(super) reads: Batch,
}

impl Pipeline {
    /// Returns whether the follower has a policy for this event of the log at this index, and the
    /// event is in the present partition; or whether the follower holds before it.
    pub(crate) fn processes(&self, index: usize, event: &StoredEvent) -> bool {
        (self.follower.processes(event) && self.is_of_partition(event))
            || self.is_unknown(index, event)
    }

    /// Processes one event of the log at this index, and records it if the batch is then full. An
    /// event that was already processed is skipped; so is every event while what is in memory does
    /// not match the logs.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub(crate) async fn process(&mut self, index: usize, event: &StoredEvent) -> Result<()> {
        let processed = self.process_next(index, event).await;
        if let Err(error) = &processed {
            self.report_error(error);
        }
        processed
    }

    /// As [`process`](Self::process), without reporting an error.
    pub(super) async fn process_next(&mut self, index: usize, event: &StoredEvent) -> Result<()> {
        let upstream = &self.upstreams[index];
        let (position, at) = (event.position(), (upstream.log, event.checkpoint()));
        if upstream.has_reached(position) || upstream.is_beyond_limit(position) {
            return Ok(());
        }
        if self.is_unknown(index, event) {
            let reason = unknown_topic(&upstream.registry, event).to_string();
            self.hold(index, event, reason);
            return Ok(());
        }
        if !self.is_of_partition(event) {
            return Ok(());
        }
        if self.suspects.alone == Some(at) {
            if !self.flush().await? {
                return Ok(());
            }
            self.contention.freshness = Freshness::Newest;
        }
        if self.record.is_held_back(at.0, event.stream(), position) {
            return self.hold_back(index, event).await;
        }
        let Some(batch) = self.state.take_batch() else {
            return Ok(());
        };
        let cause = self.cause(index, event, self.key.clone(), None);
        match self.react(event, cause, batch).await? {
            Reaction::Processed => self.on_processed(index, event, at).await,
            Reaction::Failed(failure) => self.fail(index, event, *failure).await,
            Reaction::Unknown(error) => {
                // The next round stops before this event.
                self.hold(index, event, error.to_string());
                Ok(())
            }
        }
    }

    async fn on_processed(&mut self, index: usize, event: &StoredEvent, at: EventAt) -> Result<()> {
        self.suspects.last = Some(at);
        self.pass(index, event.checkpoint());
        self.counts.processed += 1;
        self.status.processed(1);
        let is_due = match self.state.batch_mut() {
            Some(batch) => {
                batch.count_cause();
                // After a conflict, events without effect are also recorded soon: the longer they
                // wait, the more of the state that they were decided on changes.
                let is_to_be_kept =
                    batch.has_effects() || self.contention.freshness == Freshness::Newest;
                batch.is_full() || (is_to_be_kept && batch.causes() >= self.size.now)
            }
            None => false,
        };
        if is_due {
            self.flush().await?;
        }
        Ok(())
    }

    /// Returns what a context says about this event of the log at this index. `resumed` is the
    /// event that resumes it, if it was parked.
    pub(super) fn cause(
        &self,
        index: usize,
        event: &StoredEvent,
        follower: FollowerKey,
        resumed: Option<EventId>,
    ) -> Cause {
        let upstream = &self.upstreams[index];
        Cause {
            event: event.clone(),
            upstream: Arc::clone(&upstream.name),
            log: upstream.log,
            follower,
            key_of_ids: self.key_of_ids.clone(),
            policy_version: self.follower.policy_version_number(),
            resumed,
        }
    }

    /// Calls the policies with a batch that was taken from the state, and puts it back if they
    /// accept the event.
    pub(super) async fn react(
        &mut self,
        event: &StoredEvent,
        cause: Cause,
        batch: Batch,
    ) -> Result<Reaction> {
        let (upstream, version) = (Arc::clone(&cause.upstream), self.record.version);
        let at = (cause.log, event.checkpoint());
        if let Some(reason) = self.suspects.take_refusal(at, version) {
            let reads = Batch::default();
            return Ok(Reaction::Failed(Box::new(PolicyFailure { reason, reads })));
        }
        // If this call is dropped or fails, the events of the batch are decided again.
        self.state = PipelineState::Asking(at);
        let span = process_span(self.application.name(), &self.key, &upstream, event);
        let freshness = self.contention.freshness;
        let context = Context::new(self.application.clone(), batch, cause, freshness);
        let context = context.watched(&self.status.running);
        let time_max = self.follower.policy_time();
        let began = Began::new("policy", upstream, event.clone(), version, time_max);
        let follower = Arc::clone(&self.follower);
        let asked = ask(&follower, event, context).instrument(span);
        let (mut batch, asked) = self.status.running.watch(began, asked).await;
        self.state = PipelineState::Stale;
        let reason = match asked? {
            Asked::Processed => {
                self.state = PipelineState::Ready(batch);
                return Ok(Reaction::Processed);
            }
            // Recording it as a failure would also stop the program that knows what to do.
            Asked::Unknown(error) => return Ok(Reaction::Unknown(error)),
            Asked::Erased(error) => error.to_string(),
            Asked::Failed(reason) => reason,
        };
        batch.drop_events(0);
        let reads = batch;
        Ok(Reaction::Failed(Box::new(PolicyFailure { reason, reads })))
    }

    /// Notes that the log at this index is processed up to and including this checkpoint, if what
    /// is in memory matches the logs.
    pub(crate) fn pass(&mut self, index: usize, to: Checkpoint) {
        let upstream = &mut self.upstreams[index];
        let is_passed = upstream.has_reached(to.position);
        if is_passed || upstream.is_beyond_limit(to.position) || self.partition.is_none() {
            return;
        }
        let Some(batch) = self.state.batch_mut() else {
            return;
        };
        let after = upstream.reached_position();
        upstream.reached = Some(to);
        let (log, key) = (upstream.log, &self.key);
        let policy_version = self.follower.policy_version_number();
        batch.extend_range(log, to, || {
            ProcessedRange::new(key.clone(), log, after, to).policy_version(policy_version)
        });
    }
}
