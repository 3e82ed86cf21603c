//! Recording what a pipeline has processed: one append with the effects, the reads that they depend
//! on, and the processed ranges.

use super::Pipeline;
use super::state::{PipelineState, UnsettledAppend};
use super::turn_cell::TurnCell;
use crate::application::{Error, Result, contended};
use crate::following::batch::Batch;
use crate::following::context::Freshness;
use crate::recording::{Append, Conflict, Positions};

/// How many upstream events with effects are in the next append, at most.
pub(super) struct BatchSize {
    /// After conflicts it is less than the follower allows.
    pub(super) now: usize,
    pub(super) max: usize,
}

impl BatchSize {
    pub(super) fn of(max: usize) -> Self {
        Self { now: max, max }
    }

    fn grow(&mut self) {
        self.now = (self.now * 2).min(self.max);
    }

    fn shrink(&mut self) {
        self.now = (self.now / 2).max(1);
    }
}

/// How others in the application contend with the follower.
pub(super) struct Contention {
    /// How new the states must be that the policies decide on.
    pub(super) freshness: Freshness,
    /// The state that others changed just before this follower could record.
    pub(super) contended: Option<u64>,
    pub(super) turn: TurnCell,
}

impl Contention {
    pub(super) fn none() -> Self {
        Self {
            freshness: Freshness::Judged,
            contended: None,
            turn: TurnCell::default(),
        }
    }

    fn won(&mut self) {
        self.freshness = Freshness::Judged;
        self.contended = None;
        self.turn.give_back();
    }

    fn lost(&mut self, contended: Option<u64>) {
        self.freshness = Freshness::Newest;
        self.contended = contended;
    }
}

impl Pipeline {
    /// Records the processed events, and reports the result in the status. A runner calls this when
    /// it finds nothing left to read.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub async fn flush_idle(&mut self) -> Result<()> {
        let flushed = self.flush().await;
        if let Err(error) = &flushed {
            self.report_error(error);
        }
        flushed.map(drop)
    }

    /// Records the processed events, if there are any. Returns whether what is in memory matches
    /// the logs then.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub(super) async fn flush(&mut self) -> Result<bool> {
        self.settle().await?;
        match self.state.take_batch() {
            None => {}
            Some(batch) if batch.is_empty() => self.state = PipelineState::Ready(batch),
            Some(batch) => self.send(batch).await?,
        }
        Ok(self.is_ready())
    }

    async fn send(&mut self, batch: Batch) -> Result<()> {
        let append = batch.to_append(&self.stream, self.record.condition());
        self.state = PipelineState::Unsettled(UnsettledAppend {
            append,
            batch,
            reached: self.upstreams.iter().map(|it| it.reached).collect(),
        });
        if self.settle().await? {
            self.state = PipelineState::Ready(Batch::default());
        }
        Ok(())
    }

    /// Sends the append whose outcome is unknown, if there is one, until its outcome is known. The
    /// state is stale then. Returns whether it is recorded.
    pub(super) async fn settle(&mut self) -> Result<bool> {
        let PipelineState::Unsettled(unsettled) = &self.state else {
            return Ok(false);
        };
        let settled = self.application.settle(unsettled.append.clone()).await;
        if let Err(error @ (Error::Unavailable(_) | Error::OutcomeUnknown { .. })) = settled {
            return Err(error);
        }
        let Some(unsettled) = self.state.take_unsettled() else {
            return Ok(false);
        };
        let causes = unsettled.batch.causes();
        match settled {
            Ok(appended) => {
                self.on_recorded(unsettled, appended.positions()).await;
                return Ok(true);
            }
            Err(Error::Conflict(conflict)) => self.on_conflict(&conflict, &unsettled.append),
            // They are decided again in smaller parts.
            Err(error @ (Error::Invalid(_) | Error::Deleted { .. })) if causes > 0 => {
                self.size.shrink();
                let (version, reason) = (self.record.version, error.to_string());
                self.suspects.on_invalid(causes, version, reason);
            }
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    async fn on_recorded(&mut self, unsettled: UnsettledAppend, positions: Positions) {
        let UnsettledAppend {
            append,
            batch,
            reached,
        } = unsettled;
        batch.keep_drafts(&self.application, positions).await;
        for (upstream, reached) in self.upstreams.iter_mut().zip(reached) {
            upstream.checkpoint = reached;
        }
        self.counts.appends += 1;
        self.counts.effects += append.new_events().len() as u64;
        self.size.grow();
        self.contention.won();
        self.report_progress();
    }

    /// Drops decisions that were made on an outdated state of the logs. The present state is read
    /// instead.
    fn on_conflict(&mut self, conflict: &Conflict, append: &Append) {
        let is_own = matches!(conflict, Conflict::Stream { stream, .. } if *stream == self.stream);
        let contended = match conflict {
            Conflict::Stream { .. } | Conflict::Query { .. } | Conflict::Topics { .. }
                if !is_own =>
            {
                Some(contended(conflict, append.all_conditions()))
            }
            _ => None,
        };
        self.contention.lost(contended);
        self.counts.conflicts += 1;
        match conflict {
            Conflict::Checkpoint { .. } => self.counts.overtaken += 1,
            _ => self.size.shrink(),
        }
        tracing::debug!(
            follower = %self.key,
            log = self.application.name(),
            %conflict,
            "a follower decides again"
        );
    }
}
