//! What a pipeline does about an event whose policy fails: stop, or put it aside; and how what was put
//! aside is answered after all.

use super::{Pipeline, Reaction};
use crate::application::{Error, Result};
use crate::recording::identity::{LogId, Position};
use crate::recording::recorder::LogRead;
use crate::recording::stored_event::StoredEvent;
use crate::system::batch::Batch;
use crate::system::follower::OnFailure;
use crate::system::follower_event::{FollowerEvent, Parked};
use crate::system::limits::{FAILURE_SIZE_MAX, PARKED_MAX};
use crate::system::status::Phase;

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

impl Pipeline {
    /// Does with an event whose policy failed what the follower says. If other events were answered
    /// in the same batch, they are recorded first, and the policy is asked again.
    pub(super) async fn fail(
        &mut self,
        index: usize,
        event: &StoredEvent,
        reason: String,
    ) -> Result<()> {
        let upstream = &self.upstreams[index];
        let place = (upstream.log, event.mark());
        if upstream.reached != upstream.checkpoint || self.has_unflushed() {
            // Asking the policy cost the batch; the next round stops before this event.
            self.alone = Some(place);
            return Ok(());
        }
        self.alone = None;
        let reason = cut(reason);
        self.status.failed(Phase::Running, &reason);
        let is_full = self.record.parked.len() >= PARKED_MAX;
        match self.follower.fails_by() {
            OnFailure::Park if !is_full => self.park(index, event, Some(reason)).await,
            OnFailure::Park | OnFailure::Stop => {
                let reason = match is_full {
                    true => format!("{PARKED_MAX} events are parked already; and: {reason}"),
                    false => reason,
                };
                tracing::error!(follower = %self.key, event = %event.mark(), %reason, "a follower stops");
                let paused = FollowerEvent::Paused {
                    reason: format!(
                        "the policy for the event at {} of {:?} failed: {reason}",
                        event.position(),
                        self.upstreams[index].name
                    ),
                    failed: Some(place),
                };
                // Read back by the next preparation, whoever recorded it.
                match self.record_own(&[paused]).await {
                    Ok(()) | Err(Error::Conflict(_)) => Ok(()),
                    Err(error) => Err(error),
                }
            }
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
        self.park(index, event, None).await
    }

    async fn park(
        &mut self,
        index: usize,
        event: &StoredEvent,
        failure: Option<String>,
    ) -> Result<()> {
        let upstream = &self.upstreams[index];
        let parked = Parked {
            upstream: upstream.name.to_string(),
            log: upstream.log,
            event: event.mark(),
            stream: event.stream().map(str::to_owned),
            failure,
        };
        tracing::warn!(follower = %self.key, event = %parked.event, reason = parked.failure, "an event is parked");
        self.batch = Batch::default();
        for new in self.own_events(&[FollowerEvent::Parked(parked)])? {
            self.batch.push(new);
        }
        self.pass(index, event.mark());
        self.is_prepared = true;
        self.flush().await?;
        // The follower's stream has grown: read it before the next append.
        self.is_prepared = false;
        self.prepare().await
    }

    /// Answers parked events after all, in the order of their positions: those of one log, or all. The
    /// effects of each are recorded together with the note that it was resumed.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step); those answered before stay answered.
    pub async fn resume(&mut self, which: Option<(LogId, Position)>) -> Result<Resumed> {
        let mut resumed = Resumed::default();
        self.flush().await?;
        self.prepare().await?;
        let parked: Vec<Parked> = self.record.parked.values().cloned().collect();
        let is_meant = |it: &Parked| which.is_none_or(|which| which == (it.log, it.event.position));
        for parked in parked.into_iter().filter(is_meant) {
            if self.is_held_back(&parked) {
                continue;
            }
            match self.resume_one(&parked).await? {
                None => resumed.answered += 1,
                Some(reason) => resumed.failed.push((parked, reason)),
            }
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

    /// Answers a parked event; or says why that failed again.
    async fn resume_one(&mut self, parked: &Parked) -> Result<Option<String>> {
        let place = (parked.log, parked.event.position);
        let Some(index) = self
            .upstreams
            .iter()
            .position(|upstream| upstream.log == parked.log)
        else {
            return Ok(Some(format!(
                "the follower follows {:?} no more",
                parked.upstream
            )));
        };
        let read = LogRead::new()
            .after(Position::new(parked.event.position.get() - 1))
            .until(parked.event.position)
            .limit(1);
        let event = self.upstreams[index]
            .recorder
            .read_log(read)
            .await?
            .events
            .pop();
        let Some(event) = event.filter(|event| event.mark() == parked.event) else {
            return Err(Error::diverged(&parked.upstream, parked.event, None));
        };
        // Decided again after every conflict, until it is parked no more, by this or by another.
        loop {
            self.prepare().await?;
            if !self.record.parked.contains_key(&place) {
                return Ok(None);
            }
            let own = FollowerEvent::Resumed {
                log: parked.log,
                event: parked.event,
                edition: self.follower.edition_number(),
            };
            let own = self.own_events(&[own])?;
            let id = own.first().map(|event| event.id);
            own.into_iter().for_each(|event| self.batch.push(event));
            match self.react(index, &event, id).await? {
                Reaction::Answered => {
                    self.flush().await?;
                    self.is_prepared = false;
                }
                Reaction::Failed(reason) => return Ok(Some(cut(reason))),
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
