//! Handles an event whose policy fails: stops the follower, or sets the event aside; and retries
//! events that were set aside.

use std::sync::Arc;

use super::{Failure, Pipeline, Reaction};
use crate::application::{Error, Result};
use crate::following::batch::Batch;
use crate::following::context::Freshness;
use crate::following::follower::OnFailure;
use crate::following::follower_event::{FollowerEvent, Parked};
use crate::following::limits::{FAILURE_SIZE_MAX, PARKED_MAX};
use crate::following::status::Phase;
use crate::recording::{LogId, LogRead, Position, StoredEvent, prove_checkpoint};

/// The result of retrying parked events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resumed {
    /// How many were processed.
    pub answered: usize,
    /// Events whose policy failed again, with the reason. They and the later events of their
    /// streams stay parked.
    pub failed: Vec<(Parked, String)>,
}

/// The result of retrying one parked event.
enum Resumption {
    /// It is no longer parked.
    Answered,
    Failed(String),
    /// Another pipeline of the follower runs its partition.
    Elsewhere,
}

impl Pipeline {
    /// Handles an event whose policy failed, as the follower declares. If other events were
    /// processed in the same batch, they are recorded first, and the policy is called again;
    /// likewise if it may have failed because of an outdated state. Its reads are conditions of the
    /// record of the failure.
    pub(super) async fn fail(
        &mut self,
        index: usize,
        event: &StoredEvent,
        failure: Failure,
    ) -> Result<()> {
        let Failure { reason, reads } = failure;
        let place = (self.upstreams[index].log, event.checkpoint());
        let may_be_old = self.freshness == Freshness::Judged && reads.has_reads();
        if self.has_unflushed() || may_be_old {
            // The call of the policy consumed the batch; the next round stops before this event.
            self.alone = Some(place);
            self.look_again();
            return Ok(());
        }
        self.alone = None;
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
        self.look_again();
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

    fn has_unflushed(&self) -> bool {
        self.upstreams
            .iter()
            .any(|upstream| upstream.reached != upstream.checkpoint)
    }

    /// Sets an event aside because an earlier one of its stream is parked.
    pub(super) async fn hold_back(&mut self, index: usize, event: &StoredEvent) -> Result<()> {
        if !self.batch.is_empty() {
            self.flush().await?;
            if !self.is_prepared {
                return Ok(());
            }
        }
        if self.record.parked.len() >= PARKED_MAX {
            let reason = format!("{PARKED_MAX} events are already parked");
            return self.stop(index, event, &reason, Batch::default()).await;
        }
        self.park(index, event, None, Batch::default()).await
    }

    async fn park(
        &mut self,
        index: usize,
        event: &StoredEvent,
        failure: Option<String>,
        reads: Batch,
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
        self.batch = reads;
        for new in self.own_events(&[FollowerEvent::Parked(parked)])? {
            self.batch.push(new);
        }
        self.pass(index, event.checkpoint());
        self.is_prepared = true;
        self.flush().await?;
        if !std::mem::replace(&mut self.is_prepared, false) {
            return Ok(());
        }
        // The follower's stream has grown: read it before the next append.
        self.prepare().await?;
        // It may have been reset in the meantime, and then the next event is not the one after
        // this.
        self.is_prepared &= self.reached(index) == Some(event.position());
        Ok(())
    }

    /// Retries one parked event, or all in the order of their positions. Only events of partitions
    /// that this pipeline runs are retried. The effects of each event are recorded together with
    /// the fact that it is no longer parked. Retries nothing while the follower is paused.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step); events that were processed before the error stay processed.
    pub async fn resume(&mut self, which: Option<(LogId, Position)>) -> Result<Resumed> {
        let mut resumed = Resumed::default();
        self.flush().await?;
        self.prepare().await?;
        let parked: Vec<Parked> = self.record.parked.values().cloned().collect();
        self.held_back_at = None;
        let mut is_any_held_back = false;
        let is_meant = |it: &Parked| which.is_none_or(|which| which == (it.log, it.event.position));
        for parked in parked.into_iter().filter(is_meant) {
            if self.record.is_halted() {
                break;
            }
            if self.is_held_back(&parked) {
                is_any_held_back = true;
                continue;
            }
            match self.resume_one(&parked).await? {
                Resumption::Answered => resumed.answered += 1,
                Resumption::Failed(reason) => resumed.failed.push((parked, reason)),
                Resumption::Elsewhere => {}
            }
        }
        if is_any_held_back && self.record.partitions > 1 {
            self.held_back_at = Some(self.record.version);
        }
        Ok(resumed)
    }

    /// Returns whether an earlier event of the same stream is still parked.
    fn is_held_back(&self, parked: &Parked) -> bool {
        let Some(stream) = &parked.stream else {
            return false;
        };
        let first = self.record.holds_back(parked.log, stream);
        first.is_some_and(|first| first.event.position < parked.event.position)
    }

    /// Retries a parked event, if this pipeline runs its partition.
    async fn resume_one(&mut self, parked: &Parked) -> Result<Resumption> {
        let place = (parked.log, parked.event.position);
        let rule = self.follower.partition_rule();
        let known = rule.partition_of_stream(parked.stream.as_deref(), self.record.partitions);
        if known.is_some_and(|it| !self.lane.has(it)) {
            return Ok(Resumption::Elsewhere);
        }
        let Some(index) = self
            .upstreams
            .iter()
            .position(|upstream| upstream.log == parked.log)
        else {
            return Ok(Resumption::Failed(format!(
                "the follower no longer follows {:?}",
                parked.upstream
            )));
        };
        let recorder = Arc::clone(&self.upstreams[index].recorder);
        prove_checkpoint(&*recorder, parked.event).await?;
        let page = recorder.read_log(LogRead::at(parked.event.position));
        let found = page.await?.events.into_iter().next();
        let Some(event) = found.filter(|event| event.checkpoint() == parked.event) else {
            return Err(Error::diverged(&parked.upstream, parked.event, None));
        };
        // Decided again after every conflict, until it is no longer parked, here or in another
        // pipeline.
        loop {
            self.prepare().await?;
            if !self.record.parked.contains_key(&place) {
                return Ok(Resumption::Answered);
            }
            let halted = self.record.retired.as_ref().or(self.record.paused.as_ref());
            if let Some(halted) = halted {
                let reason = format!("the follower is paused: {halted}");
                return Ok(Resumption::Failed(reason));
            }
            // Computed each time, because the follower may be split in the meantime.
            let rule = self.follower.partition_rule();
            let partition = rule.partition_of(&event, self.record.partitions);
            if !self.lane.has(partition) {
                return Ok(Resumption::Elsewhere);
            }
            // A failure counts only on the newest state.
            self.freshness = Freshness::Newest;
            let own = FollowerEvent::Resumed {
                log: parked.log,
                event: parked.event,
                policy_version: self.follower.policy_version_number(),
                partition,
            };
            let own = self.own_events(&[own])?;
            let id = own.first().map(|event| event.id);
            own.into_iter().for_each(|event| self.batch.push(event));
            let follower = self.record.key(partition);
            match self.react(index, &event, follower, id).await? {
                Reaction::Answered => {
                    let flushed = self.flush().await;
                    self.is_prepared = false;
                    if let Err(Error::Invalid(invalid)) = &flushed {
                        return Ok(Resumption::Failed(cut(invalid.to_string())));
                    }
                    flushed?;
                }
                Reaction::Failed(failure) => {
                    return Ok(Resumption::Failed(cut(failure.reason)));
                }
                Reaction::Unknown(error) => {
                    return Ok(Resumption::Failed(cut(error.to_string())));
                }
            }
        }
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
