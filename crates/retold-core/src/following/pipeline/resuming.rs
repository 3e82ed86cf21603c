//! Retrying events that were set aside: when the pipeline begins, and when an operator resumes the
//! follower.

use std::sync::Arc;

use super::Pipeline;
use super::deciding::Reaction;
use crate::application::{Error, Result};
use crate::following::context::Freshness;
use crate::following::follower_event::{FollowerEvent, Parked};
use crate::recording::{LogRead, StoredEvent, Version, prove_checkpoint};

/// When parked events were last retried by this pipeline.
#[derive(Clone, Copy, Default)]
pub(super) struct Retried {
    /// The generation, and how many times the follower had been resumed.
    occasion: Option<(u64, u64)>,
    /// The version of the follower's stream, if an event was left parked because the event that
    /// holds it back is in another partition.
    held_back_at: Option<Option<Version>>,
}

impl Pipeline {
    /// Returns whether parked events should be retried: when the pipeline begins, because the
    /// program may have been fixed, and whenever an operator resumes the follower.
    pub(crate) fn is_resume_due(&self) -> bool {
        if self.record.parked.is_empty() {
            return false;
        }
        let is_changed = |held_at| held_at != self.record.version;
        let Retried {
            occasion,
            held_back_at,
        } = self.retried;
        occasion != Some(self.occasion()) || held_back_at.is_some_and(is_changed)
    }

    /// Parked events are retried on each change of it, because a split may assign them to others.
    fn occasion(&self) -> (u64, u64) {
        (self.record.generation, self.record.continued)
    }

    /// Retries the parked events of the partitions that this pipeline runs, in the order of their
    /// positions. The effects of each event are recorded together with the fact that it is no
    /// longer parked. Stops when the follower is paused.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step); events that were processed before the error stay processed.
    pub(super) async fn resume(&mut self) -> Result<()> {
        let occasion = Some(self.occasion());
        self.flush().await?;
        self.prepare().await?;
        let parked: Vec<Parked> = self.record.parked.values().cloned().collect();
        let mut is_any_held_back = false;
        for parked in &parked {
            if self.record.is_halted() {
                break;
            }
            let (stream, position) = (parked.stream.as_deref(), parked.event.position);
            match self.record.is_held_back(parked.log, stream, position) {
                true => is_any_held_back = true,
                false => self.resume_one(parked).await?,
            }
        }
        let is_elsewhere = is_any_held_back && self.record.partitions > 1;
        // Set only now: events that an error or a drop left parked are still due.
        self.retried = Retried {
            occasion,
            held_back_at: is_elsewhere.then_some(self.record.version),
        };
        Ok(())
    }

    /// Retries a parked event, if this pipeline runs its partition. It stays parked if its policy
    /// fails again.
    async fn resume_one(&mut self, parked: &Parked) -> Result<()> {
        let rule = self.follower.partition_rule();
        let known = rule.partition_of_stream(parked.stream.as_deref(), self.record.partitions);
        if known.is_some_and(|it| !self.lane.has(it)) {
            return Ok(());
        }
        let mut logs = self.upstreams.iter().map(|upstream| upstream.log);
        let Some(index) = logs.position(|log| log == parked.log) else {
            return Ok(());
        };
        let event = self.parked_event(index, parked).await?;
        // Decided again after every conflict, until it is no longer parked, here or in another
        // pipeline.
        loop {
            self.prepare().await?;
            let at = (parked.log, parked.event.position);
            let is_parked = self.record.parked.contains_key(&at) && !self.record.is_halted();
            // Computed each time, because the follower may be split in the meantime.
            let rule = self.follower.partition_rule();
            let partition = rule.partition_of(&event, self.record.partitions);
            if !is_parked || !self.lane.has(partition) {
                return Ok(());
            }
            let reaction = self.react_to_parked(index, parked, &event, partition);
            match reaction.await? {
                Reaction::Processed => {
                    let flushed = self.flush().await;
                    // The follower's stream has grown.
                    self.invalidate();
                    if let Err(Error::Invalid(_) | Error::Deleted { .. }) = flushed {
                        return Ok(());
                    }
                    flushed?;
                }
                Reaction::Failed(_) | Reaction::Unknown(_) => return Ok(()),
            }
        }
    }

    /// Reads a parked event from the log at this index.
    async fn parked_event(&self, index: usize, parked: &Parked) -> Result<StoredEvent> {
        let recorder = Arc::clone(&self.upstreams[index].recorder);
        prove_checkpoint(&*recorder, parked.event).await?;
        let page = recorder.read_log(LogRead::at(parked.event.position));
        let found = page.await?.events.into_iter().next();
        let found = found.filter(|event| event.checkpoint() == parked.event);
        found.ok_or_else(|| Error::diverged(&parked.upstream, parked.event, None))
    }

    /// Calls the policies for a parked event. Its effects are in the batch after the fact that it
    /// is no longer parked.
    async fn react_to_parked(
        &mut self,
        index: usize,
        parked: &Parked,
        event: &StoredEvent,
        partition: u32,
    ) -> Result<Reaction> {
        // A failure counts only on the newest state.
        self.contention.freshness = Freshness::Newest;
        let own = self.own_events(&[FollowerEvent::Resumed {
            log: parked.log,
            event: parked.event,
            policy_version: self.follower.policy_version_number(),
            partition,
        }])?;
        let id = own.first().map(|event| event.id);
        let mut batch = self.state.take_batch().unwrap_or_default();
        own.into_iter().for_each(|event| batch.push(event));
        let follower = self.record.key(partition);
        let cause = self.cause(index, event, follower, id);
        self.react(event, cause, batch).await
    }
}
