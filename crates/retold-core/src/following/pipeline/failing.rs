//! What a pipeline does about an event whose policy fails: stop, or put it aside; and how what was put
//! aside is answered after all.

use std::sync::Arc;

use super::{Failure, Pipeline, Reaction};
use crate::application::{Error, Result, check_mark};
use crate::following::batch::Batch;
use crate::following::context::Freshness;
use crate::following::follower::OnFailure;
use crate::following::follower_event::{FollowerEvent, Parked};
use crate::following::limits::{FAILURE_SIZE_MAX, PARKED_MAX};
use crate::following::status::Phase;
use crate::recording::{LogId, LogRead, Position, StoredEvent};

/// What became of parked events that were to be answered after all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resumed {
    /// How many were answered.
    pub answered: usize,
    /// Those whose policy failed again, with the reason; they and the later events of their streams
    /// stay parked.
    pub failed: Vec<(Parked, String)>,
}

/// What became of a parked event.
enum Resumption {
    /// It is parked no more.
    Answered,
    Failed(String),
    /// It is the work of another pipeline of the follower.
    Elsewhere,
}

impl Pipeline {
    /// Does with an event whose policy failed what the follower says. If other events were answered
    /// in the same batch, they are recorded first, and the policy is asked again; so it is if it may
    /// have failed for an old state. What it read is a condition of what is recorded about the failure.
    pub(super) async fn fail(
        &mut self,
        index: usize,
        event: &StoredEvent,
        failure: Failure,
    ) -> Result<()> {
        let Failure { reason, reads } = failure;
        let place = (self.upstreams[index].log, event.mark());
        let may_be_old = self.freshness == Freshness::Judged && reads.has_reads();
        if self.has_unflushed() || may_be_old {
            // Asking the policy cost the batch; the next round stops before this event.
            self.alone = Some(place);
            self.look_again();
            return Ok(());
        }
        self.alone = None;
        // As many as leave no room for more are taken for a fault by themselves.
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

    /// Records that the follower is paused, because of this event.
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
            failed: Some((upstream.log, event.mark())),
        };
        for new in self.own_events(&[paused])? {
            reads.push(new);
        }
        let append = reads.to_append(&self.stream, self.record.condition());
        // Read back by the next preparation, whoever recorded it.
        match self.application.settle(append).await {
            Ok(_) => {
                let application = self.application.name();
                tracing::error!(
                    application,
                    follower = %self.key,
                    event = %event.mark(),
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

    /// Puts an event aside because an earlier one of its stream is parked.
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
            event: event.mark(),
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
        self.pass(index, event.mark());
        self.is_prepared = true;
        self.flush().await?;
        if !std::mem::replace(&mut self.is_prepared, false) {
            return Ok(());
        }
        // The follower's stream has grown: read it before the next append.
        self.prepare().await?;
        // It may have been reset meanwhile, and then what comes next is not what follows this event.
        self.is_prepared &= self.reached(index) == Some(event.position());
        Ok(())
    }

    /// Answers parked events after all, in the order of their positions: one, or all; of those that are
    /// this pipeline's work, whichever of its partitions they are in. The
    /// effects of each are recorded together with the note that it was resumed. None while the follower
    /// is paused.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step); those answered before stay answered.
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

    /// Whether an earlier event of the same stream is still parked.
    fn is_held_back(&self, parked: &Parked) -> bool {
        let Some(stream) = &parked.stream else {
            return false;
        };
        let first = self.record.holds_back(parked.log, stream);
        first.is_some_and(|first| first.event.position < parked.event.position)
    }

    /// Answers a parked event, if that is this pipeline's work.
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
        check_mark(&*recorder, parked.event).await?;
        let page = recorder.read_log(LogRead::at(parked.event.position));
        let found = page.await?.events.into_iter().next();
        let Some(event) = found.filter(|event| event.mark() == parked.event) else {
            return Err(Error::diverged(&parked.upstream, parked.event, None));
        };
        // Decided again after every conflict, until it is parked no more, by this or by another.
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
            // Found out each time, for the follower may be split anew meanwhile.
            let rule = self.follower.partition_rule();
            let partition = rule.partition_of(&event, self.record.partitions);
            if !self.lane.has(partition) {
                return Ok(Resumption::Elsewhere);
            }
            // A failure counts on the newest state only.
            self.freshness = Freshness::Newest;
            let own = FollowerEvent::Resumed {
                log: parked.log,
                event: parked.event,
                edition: self.follower.edition_number(),
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

/// A text of at most [`FAILURE_SIZE_MAX`] bytes.
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
