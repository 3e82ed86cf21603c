//! The pipeline of one follower. Reads the logs it follows, calls the policies, and records their
//! effects together with its progress.
//!
//! It has no runtime and never waits for time to pass: a runner drives it with
//! [`step`](Pipeline::step), can wait between steps and can drop a step at any moment. All its
//! knowledge is in the logs; its [state](PipelineState) says whether what is in memory matches
//! them, and after a conflict they are read again. Two pipelines of one follower, in one process or
//! in two, conflict with each other and record nothing twice, because each append contains the
//! range that it processed, and processed ranges are contiguous.

mod committing;
mod deciding;
mod failing;
mod holding;
mod reading;
mod reporting;
mod resuming;
mod starting;
mod state;
mod suspects;
mod turn_cell;
mod upstream;

use std::any::Any;
use std::sync::Arc;

use self::committing::{BatchSize, Contention};
use self::reporting::new_status;
use self::resuming::Retried;
use self::state::PipelineState;
use self::suspects::Suspects;
use self::upstream::Upstream;

use super::batch::Batch;
use super::follower::Follower;
use super::follower_record::{FollowerRecord, SystemNames};
use super::limits::UNFLUSHED_EVENTS_MAX;
use super::partition::Lane;
use super::status::StatusCell;
use crate::application::{Application, Error, Result};
use crate::recording::{Checkpoint, FollowerKey, Query, Recorder, StoredEvent};

/// Runs one follower.
pub struct Pipeline {
    application: Application,
    follower: Arc<Follower>,
    /// The events that the follower processes.
    query: Query,
    /// The follower's own stream.
    stream: Arc<str>,
    /// The system that it is part of; none for a pipeline that is driven directly.
    system: Option<SystemNames>,
    /// The partitions that it runs.
    lane: Lane,
    status: StatusCell,
    state: PipelineState,
    upstreams: Vec<Upstream>,
    /// Index of the log that the next step reads.
    next: usize,
    record: FollowerRecord,
    /// The partition that it runs at present; none if there is none for it.
    partition: Option<u32>,
    key: FollowerKey,
    key_of_ids: FollowerKey,
    suspects: Suspects,
    retried: Retried,
    size: BatchSize,
    contention: Contention,
    counts: Counts,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// There was work, and there may be more.
    Moved,
    /// There was no work, and all processed events are recorded.
    Idle,
    /// Everything before an event that this program does not know is processed and recorded.
    Holding,
    /// The follower is recorded as paused or retired, and nothing was done.
    Paused,
}

/// Counts of a pipeline's work since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Upstream events that the policies processed, recorded or not. An event that had to be
    /// decided again counts again.
    pub processed: u64,
    /// Appends that were recorded.
    pub appends: u64,
    /// Events that were recorded, including those about the follower itself.
    pub effects: u64,
    /// Appends that were not recorded, because the state they depended on had changed.
    pub conflicts: u64,
    /// Conflicts with an append that had already processed the same events: from another pipeline
    /// of the same follower, or from an attempt of this one whose outcome was unknown.
    pub overtaken: u64,
}

impl Pipeline {
    /// Creates the pipeline of this follower for its application. The logs of the applications that
    /// it follows are given in the order of the follower's declaration.
    pub fn new(
        application: Application,
        follower: Arc<Follower>,
        upstreams: Vec<Application>,
    ) -> Self {
        let record = FollowerRecord::new(follower.shared_name());
        Self {
            status: new_status(&application, &follower, &upstreams),
            upstreams: upstreams.iter().map(Upstream::new).collect(),
            next: 0,
            stream: record.stream(),
            system: None,
            lane: Lane::ONLY,
            state: PipelineState::Stale,
            partition: None,
            key: record.key(0),
            key_of_ids: record.key_of_ids(),
            record,
            suspects: Suspects::default(),
            retried: Retried::default(),
            size: BatchSize::of(follower.batch_max()),
            contention: Contention::none(),
            counts: Counts::default(),
            application,
            query: follower.query(),
            follower,
        }
    }

    /// Sets the system that it is part of.
    #[must_use]
    pub(crate) fn of_system(mut self, system: SystemNames) -> Self {
        self.system = Some(system);
        self
    }

    /// Makes it one of several pipelines, each for some of the follower's partitions.
    #[must_use]
    pub(crate) fn in_lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self.status.write(|status| {
            status.pipeline = lane.index;
            status.pipelines = lane.count;
        });
        self
    }

    /// Returns its number among the follower's pipelines in this program, from 0, and the number of
    /// these pipelines.
    pub fn lane(&self) -> (u32, u32) {
        (self.lane.index, self.lane.count)
    }

    /// Returns whether the follower has as many partitions as the program has pipelines for it, and
    /// no split is pending: then each pipeline has one partition.
    pub(crate) fn has_one_partition(&self) -> bool {
        self.record.partitioning.is_none() && self.record.partitions == self.lane.count
    }

    /// Returns whether an event is in the present partition.
    fn is_of_partition(&self, event: &StoredEvent) -> bool {
        let rule = self.follower.partition_rule();
        Some(rule.partition_of(event, self.record.partitions)) == self.partition
    }

    /// Records one append for each upstream event, even if the follower allows more.
    #[must_use]
    pub(crate) fn one_by_one(mut self) -> Self {
        self.size = BatchSize::of(1);
        self
    }

    /// Returns the follower.
    pub fn follower(&self) -> &Follower {
        &self.follower
    }

    /// Returns the follower's application.
    pub fn application(&self) -> &Application {
        &self.application
    }

    /// Returns the record of the follower itself, as it was last read.
    pub fn record(&self) -> &FollowerRecord {
        &self.record
    }

    /// Returns its status, which can be read from anywhere.
    pub fn status(&self) -> StatusCell {
        self.status.clone()
    }

    /// Returns how many logs it follows.
    pub fn upstream_count(&self) -> usize {
        self.upstreams.len()
    }

    /// Returns the recorder of the log at this index, counted from 0 in the order of declaration.
    pub fn upstream(&self, index: usize) -> &Arc<dyn Recorder> {
        &self.upstreams[index].recorder
    }

    /// Returns the last processed event of the log at this index, recorded or not yet.
    pub(crate) fn reached(&self, index: usize) -> Option<Checkpoint> {
        self.upstreams[index].reached
    }

    /// Returns the counts of its work since it began.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns whether what is in memory matches the logs; if not, the next step begins by reading
    /// them.
    pub fn is_ready(&self) -> bool {
        self.state.is_ready()
    }

    /// Returns whether events were processed that are not recorded yet.
    pub fn is_unflushed(&self) -> bool {
        self.state.is_unflushed()
    }

    /// Returns whether effects were decided that are not recorded yet: a batch that is not full.
    pub fn has_effects(&self) -> bool {
        let is_batched = self.state.batch().is_some_and(Batch::has_effects);
        is_batched || self.state.is_unsettled()
    }

    /// Returns whether processed events should be recorded soon: an event was decided without
    /// effect, or many were passed over.
    pub fn is_flush_due(&self) -> bool {
        let is_draining = self.record.partitioning.is_some();
        let is_batched = |batch: &Batch| batch.causes() > 0 || (is_draining && !batch.is_empty());
        let unflushed = self.upstreams.iter().map(Upstream::unflushed);
        self.state.is_unsettled()
            || self.state.batch().is_some_and(is_batched)
            || unflushed.max().unwrap_or(0) >= UNFLUSHED_EVENTS_MAX
    }

    /// Identifies the state that caused the last conflict: the follower had decided on it, and
    /// others in its application changed it first. The value is equal for all followers that
    /// contend for the same state; it is none once the follower has recorded something.
    ///
    /// A runner can avoid such conflicts by running the contenders one after the other. Without
    /// that, if many followers of one event decide on the same aggregate, each of them is overtaken
    /// by nearly all others.
    pub fn contended(&self) -> Option<u64> {
        self.contention.contended
    }

    /// Makes the next step read the follower's state and position from the logs again, because
    /// another pipeline of it may be ahead. Events that were processed and not recorded are
    /// processed again. An append whose outcome is unknown is still sent again.
    pub fn invalidate(&mut self) {
        self.state.invalidate();
    }

    /// Does the next piece of work: reads the next page of each log in turn, until one has events,
    /// and processes them. Processed events are recorded when the batch is full, and at the latest
    /// by [`flush_idle`](Self::flush_idle), which the runner calls when it finds nothing left to
    /// read.
    ///
    /// After an error, the next call resumes from the recorded position. The future can be dropped
    /// at any moment: the next call finds everything that was recorded by then.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] and [`Error::OutcomeUnknown`]: call it again, after a while.
    /// [`Error::Diverged`], [`Error::Replaced`], [`Error::Corrupt`]: an operator must look at it. A
    /// failure of a policy is not an error here: it is reported in the status, and recorded in the
    /// follower's stream as its [`OnFailure`](super::follower::OnFailure) says.
    pub async fn step(&mut self) -> Result<Step> {
        let stepped = self.work().await;
        if stepped.as_ref().is_err_and(Error::is_diverged) {
            // The state in memory may depend on events that no longer exist; the logs show whether
            // the records do too.
            self.invalidate();
        }
        self.report(&stepped);
        stepped
    }

    /// As [`step`](Self::step), but holds `turn` until something is recorded, and drops it at the
    /// end of the step at the latest.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub async fn step_in_turn(&mut self, turn: impl Any + Send) -> Result<Step> {
        let _held = self.contention.turn.hold(Box::new(turn));
        self.step().await
    }

    async fn work(&mut self) -> Result<Step> {
        if self.is_holding() && !self.is_unflushed() {
            // Another program may have processed the event that this one holds before.
            self.invalidate();
        }
        self.prepare().await?;
        if self.record.is_halted() {
            return Ok(Step::Paused);
        }
        if self.is_resume_due() {
            self.resume().await?;
            return Ok(Step::Moved);
        }
        self.review_holds();
        let partitions = 0..self.record.partitions;
        let own = partitions.filter(|it| self.lane.has(*it)).count();
        // All partitions in one step: a runner that sees `Idle` waits for new events.
        for turn in 1..=own {
            if self.read_on().await? == Step::Moved {
                return Ok(Step::Moved);
            }
            if turn < own && self.switch_partition().await? == Step::Moved {
                return Ok(Step::Moved);
            }
        }
        if !self.is_holding() {
            return Ok(Step::Idle);
        }
        // Another program may resume from here.
        match self.flush().await? {
            true => Ok(Step::Holding),
            false => Ok(Step::Moved),
        }
    }

    /// Makes what is in memory match the logs. Does nothing if it already does.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub async fn prepare(&mut self) -> Result<()> {
        self.settle().await?;
        // If this is dropped or fails, some new events are applied, but their consequences are not.
        if let Some(batch) = self.state.take_batch() {
            // An operator may have acted on the follower since.
            let mapper = self.application.mapper();
            let recorder = self.application.recorder();
            let is_changed = self.record.read_on(&**recorder, mapper).await?;
            // The follower's stream does not show whether all partitions have reached the position
            // of the split.
            let may_be_split = self.record.partitioning.is_some() && batch.is_empty();
            if !is_changed && !may_be_split {
                self.state = PipelineState::Ready(batch);
                return Ok(());
            }
        }
        self.start().await
    }

    /// Reads the next page of each log in turn, until one has events for the present partition, and
    /// processes them.
    async fn read_on(&mut self) -> Result<Step> {
        for _ in 0..self.upstreams.len() {
            let index = self.next;
            self.next = (self.next + 1) % self.upstreams.len();
            let page = self.read(index).await?;
            let has_events = page.has_events();
            self.take(page).await?;
            if has_events || !self.is_ready() {
                return Ok(Step::Moved);
            }
        }
        Ok(Step::Idle)
    }

    /// Records everything of the present partition, and switches to the next one. Returns `Moved`
    /// if the follower has changed in the meantime.
    async fn switch_partition(&mut self) -> Result<Step> {
        if !self.flush().await? {
            return Ok(Step::Moved);
        }
        let known = self.record.version;
        let next_after = |it| self.lane.next_after(it, self.record.partitions);
        self.partition = self.partition.and_then(next_after);
        self.invalidate();
        self.prepare().await?;
        match self.record.version == known {
            true => Ok(Step::Idle),
            false => Ok(Step::Moved),
        }
    }
}
