//! The pipeline of one follower. Reads the logs it follows, calls the policies, and records their
//! effects together with its progress.
//!
//! It has no runtime and never waits for time to pass: a runner drives it with
//! [`step`](Pipeline::step), can wait between steps and can drop a step at any moment. All its
//! knowledge is in the logs; the state in memory is read again after a conflict. Two pipelines of
//! one follower, in one process or in two, conflict with each other and record nothing twice,
//! because each append contains the processed range that it processed, and processed ranges are
//! contiguous.

mod failing;
mod holding;
mod reading;
mod starting;
mod time_limit;

pub use self::failing::Resumed;

use self::holding::Hold;
use self::time_limit::Refused;

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::Instrument;

use super::asking::{Asked, ask};
use super::batch::Batch;
use super::caused::answer_span;
use super::context::{Cause, Context, Freshness};
use super::follower::Follower;
use super::follower_record::{FollowerRecord, SystemNames};
use super::limits::UNFLUSHED_EVENTS_MAX;
use super::partition::Lane;
use super::status::{Phase, StatusCell, UpstreamStatus};
use crate::application::{Application, Error, Result, TopicWatch, contended, unknown_topic};
use crate::health::Began;
use crate::mapping::{MappingError, TopicRegistry};
use crate::recording::{
    Append, Checkpoint, Conflict, EventId, FollowerKey, LogId, Page, Position, ProcessedRange,
    Query, Recorder, StoredEvent, Version,
};

/// Runs one follower.
pub struct Pipeline {
    application: Application,
    follower: Arc<Follower>,
    /// The events that the follower processes.
    query: Query,
    upstreams: Vec<Upstream>,
    record: FollowerRecord,
    stream: Arc<str>,
    /// The system that it is part of; none for a pipeline that is driven directly.
    system: Option<SystemNames>,
    /// The partitions that it runs.
    lane: Lane,
    /// The partition that it runs at present; none if there is none for it.
    partition: Option<u32>,
    key: FollowerKey,
    key_of_ids: FollowerKey,
    batch: Batch,
    /// Most upstream events with effects in the next append. After conflicts it is less than the
    /// follower allows.
    batch_max: usize,
    /// The limit of `batch_max`.
    batch_limit: usize,
    counts: Counts,
    freshness: Freshness,
    /// The state that others in the application changed just before this follower could record.
    contended: Option<u64>,
    turn: TurnCell,
    /// An append that was sent and whose outcome is unknown.
    in_flight: Option<InFlight>,
    /// The event that is processed alone, on the newest state and with everything before it
    /// recorded, because its policy failed or its batch could not be recorded.
    alone: Option<(LogId, Checkpoint)>,
    /// The event that was processed last.
    last: Option<(LogId, Checkpoint)>,
    /// The event that counts as failed without calling its policy, because no recorder accepts its
    /// effects or the policy did not return.
    refused: Option<Refused>,
    /// The event whose policy runs, or ran when a step was dropped.
    running: Option<(LogId, Checkpoint)>,
    /// Whether the state in memory matches the logs; false at first, after conflicts, and if a call
    /// was dropped midway.
    is_prepared: bool,
    /// The generation, and how many times the follower had been resumed, when parked events were
    /// last retried; none before this pipeline did so.
    resumed_at: Option<(u64, u64)>,
    /// Version of the follower's stream when an event was left parked because the event that holds
    /// it back is in another partition.
    held_back_at: Option<Option<Version>>,
    /// Index of the log that the next step reads.
    next: usize,
    status: StatusCell,
}

/// A log that is followed.
struct Upstream {
    name: Arc<str>,
    recorder: Arc<dyn Recorder>,
    log: LogId,
    /// The end of the last recorded processed range, or where the generation started.
    checkpoint: Option<Checkpoint>,
    /// The end of the range that the batch covers.
    reached: Option<Checkpoint>,
    /// While a split is pending: no event after this checkpoint is processed before the split.
    limit: Option<Option<Checkpoint>>,
    /// The types of its application.
    registry: Arc<TopicRegistry>,
    /// Its known topics.
    topics: TopicWatch,
    /// The event that this program does not know, before which it holds.
    hold: Option<Hold>,
}

/// A turn that the pipeline holds until something is recorded or the step ends, also if the step is
/// dropped.
#[derive(Clone, Default)]
struct TurnCell(Arc<Mutex<Option<Box<dyn Any + Send>>>>);

/// Releases a turn when it is dropped.
struct HeldTurn(TurnCell);

impl TurnCell {
    fn hold(&self, turn: Box<dyn Any + Send>) -> HeldTurn {
        *self.lock() = Some(turn);
        HeldTurn(self.clone())
    }

    fn give_back(&self) {
        let turn = self.lock().take();
        drop(turn);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        // No change under this lock can be left incomplete.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldTurn {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

struct InFlight {
    append: Append,
    batch: Batch,
    reached: Vec<Option<Checkpoint>>,
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
    pub answered: u64,
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

/// The result of calling the policies.
enum Reaction {
    Answered,
    Failed(Box<Failure>),
    /// Another program recorded something that this program does not know.
    Unknown(MappingError),
}

/// A failed policy.
struct Failure {
    reason: String,
    /// The reads of the policy, and the earlier reads of the batch.
    reads: Batch,
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
        let status = StatusCell::default();
        let name: Arc<str> = application.name().into();
        status.write(|status| {
            status.application = name;
            status.follower = follower.shared_name();
            status.upstreams = upstreams
                .iter()
                .map(|upstream| UpstreamStatus {
                    upstream: upstream.name().into(),
                    ..UpstreamStatus::default()
                })
                .collect();
        });
        let unknown = LogId::new(uuid::Uuid::nil());
        let upstreams = upstreams.into_iter().map(|upstream| Upstream {
            name: upstream.name().into(),
            recorder: Arc::clone(upstream.recorder()),
            registry: Arc::clone(upstream.shared_registry()),
            topics: TopicWatch::default(),
            hold: None,
            log: unknown,
            checkpoint: None,
            reached: None,
            limit: None,
        });
        Self {
            upstreams: upstreams.collect(),
            stream: record.stream(),
            system: None,
            lane: Lane::ONLY,
            partition: None,
            key: record.key(0),
            key_of_ids: record.key_of_ids(),
            record,
            batch: Batch::default(),
            batch_max: follower.batch_max(),
            batch_limit: follower.batch_max(),
            counts: Counts::default(),
            freshness: Freshness::Judged,
            contended: None,
            turn: TurnCell::default(),
            in_flight: None,
            alone: None,
            last: None,
            refused: None,
            running: None,
            is_prepared: false,
            resumed_at: None,
            held_back_at: None,
            next: 0,
            status,
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
        self.batch_limit = 1;
        self.batch_max = 1;
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

    /// Returns the last processed position of the log at this index, recorded or not yet.
    pub fn reached(&self, index: usize) -> Option<Position> {
        let reached = self.upstreams[index].reached;
        reached.map(|checkpoint| checkpoint.position)
    }

    pub(crate) fn reached_checkpoint(&self, index: usize) -> Option<Checkpoint> {
        self.upstreams[index].reached
    }

    /// Returns whether the state in memory matches the logs; if not, the next step begins by
    /// reading them.
    pub(crate) fn is_prepared(&self) -> bool {
        self.is_prepared
    }

    /// Does the next piece of work: reads the next page of each log in turn, until one has events,
    /// and processes them. Processed events are recorded when the batch is full, and at the latest
    /// by [`rest`](Self::rest), which the runner calls when it finds nothing left to read.
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
        let stepped = self.step_on().await;
        if stepped.as_ref().is_err_and(Error::is_diverged) {
            // The state in memory may depend on events that no longer exist; the logs show whether
            // the records do too.
            self.look_again();
        }
        self.announce(&stepped);
        stepped
    }

    /// Identifies the state that caused the last conflict: the follower had decided on it, and
    /// others in its application changed it first. The value is equal for all followers that
    /// contend for the same state; it is none once the follower has recorded something.
    ///
    /// A runner can avoid such conflicts by running the contenders one after the other. Without
    /// that, if many followers of one event decide on the same aggregate, each of them is overtaken
    /// by nearly all others.
    pub fn contended(&self) -> Option<u64> {
        self.contended
    }

    /// As [`step`](Self::step), but holds `turn` until something is recorded, and drops it at the
    /// end of the step at the latest.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub async fn step_in_turn(&mut self, turn: impl Any + Send) -> Result<Step> {
        let _held = self.turn.hold(Box::new(turn));
        self.step().await
    }

    async fn step_on(&mut self) -> Result<Step> {
        if self.is_holding() && !self.is_unflushed() {
            // Another program may have processed the event that this one holds before.
            self.look_again();
        }
        self.prepare().await?;
        if self.record.is_halted() {
            return Ok(Step::Paused);
        }
        if self.is_resume_due() {
            let occasion = self.occasion();
            self.resume(None).await?;
            // Set only now: events that an error or a drop left parked are still due.
            self.resumed_at = Some(occasion);
            return Ok(Step::Moved);
        }
        self.review_holds();
        let partitions = 0..self.record.partitions;
        let own = partitions.filter(|it| self.lane.has(*it)).count();
        // All partitions in one step: a runner that sees `Idle` waits for new events.
        for turn in 1..=own {
            if self.look().await? == Step::Moved {
                return Ok(Step::Moved);
            }
            if turn < own && self.turn().await? == Step::Moved {
                return Ok(Step::Moved);
            }
        }
        if !self.is_holding() {
            return Ok(Step::Idle);
        }
        // Another program may resume from here.
        self.flush().await?;
        match self.is_prepared {
            true => Ok(Step::Holding),
            false => Ok(Step::Moved),
        }
    }

    /// Reads the next page of each log in turn, until one has events for the present partition, and
    /// processes them.
    async fn look(&mut self) -> Result<Step> {
        for _ in 0..self.upstreams.len() {
            let index = self.next;
            self.next = (self.next + 1) % self.upstreams.len();
            let page = self.read(index).await?;
            let has_events = page.has_events();
            self.take(page).await?;
            if has_events || !self.is_prepared {
                return Ok(Step::Moved);
            }
        }
        Ok(Step::Idle)
    }

    /// Records everything of the present partition, and switches to the next one. Returns `Moved`
    /// if the follower has changed in the meantime.
    async fn turn(&mut self) -> Result<Step> {
        self.flush().await?;
        if !self.is_prepared {
            return Ok(Step::Moved);
        }
        let known = self.record.version;
        let next = self
            .partition
            .and_then(|it| self.lane.next_after(it, self.record.partitions));
        self.partition = next;
        self.is_prepared = false;
        self.prepare().await?;
        match self.record.version == known {
            true => Ok(Step::Idle),
            false => Ok(Step::Moved),
        }
    }

    /// Records the processed events, and reports the result in the status. A runner calls this when
    /// it finds nothing left to read.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub async fn rest(&mut self) -> Result<()> {
        let rested = self.flush().await;
        if let Err(error) = &rested {
            self.report_error(error);
        }
        rested
    }

    /// Returns whether parked events should be retried: when the pipeline begins, because the
    /// program may have been fixed, and whenever an operator resumes the follower.
    pub(crate) fn is_resume_due(&self) -> bool {
        if self.record.parked.is_empty() {
            return false;
        }
        let is_changed = |held_at| held_at != self.record.version;
        self.resumed_at != Some(self.occasion()) || self.held_back_at.is_some_and(is_changed)
    }

    /// Parked events are retried on each change of it, because a split may assign them to others.
    fn occasion(&self) -> (u64, u64) {
        (self.record.generation, self.record.continued)
    }

    /// Returns whether the follower has a policy for this event of the log at this index, and the
    /// event is in the present partition; or whether the follower holds before it.
    pub(crate) fn answers(&self, index: usize, event: &StoredEvent) -> bool {
        (self.follower.answers(event) && self.is_of_partition(event))
            || self.is_unknown(index, event)
    }

    /// Returns how many effects this pipeline has recorded.
    pub(crate) fn effects_recorded(&self) -> u64 {
        self.counts.effects
    }

    /// Returns the counts of its work since it began.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Makes the next step read the follower's state and position from the logs again, because
    /// another pipeline of it may be ahead. Events that were processed and not recorded are
    /// processed again. An append whose outcome is unknown is still sent again.
    pub fn look_again(&mut self) {
        self.batch = Batch::default();
        self.is_prepared = false;
    }

    /// Returns whether effects were decided that are not recorded yet: a batch that is not full.
    pub fn has_effects(&self) -> bool {
        self.in_flight.is_some() || self.batch.has_effects()
    }

    /// Returns whether processed events should be recorded soon: an event was decided without
    /// effect, or many were passed over.
    pub fn is_rest_due(&self) -> bool {
        let unflushed = (0..self.upstreams.len()).map(|index| self.unflushed(index));
        self.in_flight.is_some()
            || self.batch.causes() > 0
            || (self.record.partitioning.is_some() && !self.batch.is_empty())
            || unflushed.max().unwrap_or(0) >= UNFLUSHED_EVENTS_MAX
    }

    /// Returns whether events were processed that are not recorded yet.
    pub fn is_unflushed(&self) -> bool {
        self.in_flight.is_some() || !self.batch.is_empty()
    }

    /// Makes the state in memory match the logs. Does nothing if it already does.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub async fn prepare(&mut self) -> Result<()> {
        if self.in_flight.is_some() {
            self.settle().await?;
        }
        // If this is dropped or fails, some new events are applied, but their consequences are not.
        if std::mem::take(&mut self.is_prepared) {
            // An operator may have acted on the follower since.
            let record = &mut self.record;
            let mapper = self.application.mapper();
            let recorder = self.application.recorder();
            let is_changed = record.read_on(&**recorder, mapper).await?;
            // The follower's stream does not show whether all partitions have reached the position
            // of the split.
            let may_be_split = self.record.partitioning.is_some() && !self.is_unflushed();
            if !is_changed && !may_be_split {
                self.is_prepared = true;
                return Ok(());
            }
        }
        self.start().await
    }

    /// Processes one event of the log at this index, and records it if the batch is then full. An
    /// event that was already processed is skipped.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub async fn answer(&mut self, index: usize, event: &StoredEvent) -> Result<()> {
        let answered = self.answer_untold(index, event).await;
        if let Err(error) = &answered {
            self.report_error(error);
        }
        answered
    }

    async fn answer_untold(&mut self, index: usize, event: &StoredEvent) -> Result<()> {
        let upstream = &self.upstreams[index];
        let (log, reached) = (upstream.log, upstream.reached);
        let is_answered = Some(event.position()) <= reached.map(|checkpoint| checkpoint.position);
        let is_early = upstream.is_beyond_limit(event.position());
        if is_answered || is_early {
            return Ok(());
        }
        if self.is_unknown(index, event) {
            let reason = unknown_topic(&self.upstreams[index].registry, event).to_string();
            self.hold(index, event, reason);
            return Ok(());
        }
        if !self.is_of_partition(event) {
            return Ok(());
        }
        let place = (log, event.checkpoint());
        if self.alone == Some(place) {
            if !self.batch.is_empty() {
                self.flush().await?;
                if !self.is_prepared {
                    return Ok(());
                }
            }
            self.freshness = Freshness::Newest;
        }
        if let Some(stream) = event.stream()
            && !self.record.parked.is_empty()
            && self.record.holds_back(log, stream).is_some()
        {
            return self.hold_back(index, event).await;
        }
        match self.react(index, event, self.key.clone(), None).await? {
            Reaction::Answered => {
                self.last = Some(place);
                self.pass(index, event.checkpoint());
                self.batch.count_cause();
                self.counts.answered += 1;
                self.status.processed(1);
                if self.is_due() {
                    self.flush().await?;
                }
                Ok(())
            }
            Reaction::Failed(failure) => self.fail(index, event, *failure).await,
            Reaction::Unknown(error) => {
                // The call of the policy consumed the batch; the next round stops before this
                // event.
                self.look_again();
                self.hold(index, event, error.to_string());
                Ok(())
            }
        }
    }

    /// Returns whether the processed events should be recorded now.
    fn is_due(&self) -> bool {
        // After a conflict, events without effect are also recorded soon: the longer they wait, the
        // more of the state that they were decided on changes.
        let is_to_be_kept = self.batch.has_effects() || self.freshness == Freshness::Newest;
        self.batch.is_full() || (is_to_be_kept && self.batch.causes() >= self.batch_max)
    }

    /// Calls the policies.
    async fn react(
        &mut self,
        index: usize,
        event: &StoredEvent,
        follower: FollowerKey,
        resumed: Option<EventId>,
    ) -> Result<Reaction> {
        let (upstream, log) = (
            Arc::clone(&self.upstreams[index].name),
            self.upstreams[index].log,
        );
        let place = (log, event.checkpoint());
        if let Some(refused) = self.refused.take_if(|it| it.place == place)
            && refused.version == self.record.version
        {
            let (reason, reads) = (refused.reason, Batch::default());
            self.look_again();
            return Ok(Reaction::Failed(Box::new(Failure { reason, reads })));
        }
        let cause = Cause {
            event: event.clone(),
            upstream: Arc::clone(&upstream),
            log,
            follower,
            key_of_ids: self.key_of_ids.clone(),
            policy_version: self.follower.policy_version_number(),
            resumed,
        };
        let batch = std::mem::take(&mut self.batch);
        // If this call is dropped or fails, the events of the batch are decided again.
        self.is_prepared = false;
        let context = Context::new(self.application.clone(), batch, cause, self.freshness);
        let context = context.watched(&self.status.running);
        self.running = Some(place);
        let span = answer_span(self.application.name(), &self.key, &upstream, event);
        let began = Began::new(
            "policy",
            upstream,
            event.clone(),
            self.record.version,
            self.follower.policy_time(),
        );
        let follower = Arc::clone(&self.follower);
        let asked = ask(&follower, event, context).instrument(span);
        let (mut batch, asked) = self.status.running.watch(began, asked).await;
        self.running = None;
        let reason = match asked? {
            Asked::Processed => {
                self.batch = batch;
                self.is_prepared = true;
                return Ok(Reaction::Answered);
            }
            // Recording it as a failure would also stop the program that knows what to do.
            Asked::Unknown(error) => return Ok(Reaction::Unknown(error)),
            Asked::Erased(error) => error.to_string(),
            Asked::Failed(reason) => reason,
        };
        batch.drop_events(0);
        let reads = batch;
        Ok(Reaction::Failed(Box::new(Failure { reason, reads })))
    }

    /// Notes that the log at this index is processed up to and including this checkpoint.
    pub fn pass(&mut self, index: usize, to: Checkpoint) {
        let upstream = &mut self.upstreams[index];
        let is_passed = Some(to.position) <= upstream.reached.map(|checkpoint| checkpoint.position);
        if is_passed || upstream.is_beyond_limit(to.position) || self.partition.is_none() {
            return;
        }
        let after = upstream.reached.map(|checkpoint| checkpoint.position);
        upstream.reached = Some(to);
        let (log, key) = (upstream.log, &self.key);
        let policy_version = self.follower.policy_version_number();
        self.batch.extend_range(log, to, || {
            ProcessedRange::new(key.clone(), log, after, to).policy_version(policy_version)
        });
    }

    /// Returns how many events of the log at this index were passed since the last recorded one.
    fn unflushed(&self, index: usize) -> u64 {
        let upstream = &self.upstreams[index];
        let number = |checkpoint: Option<Checkpoint>| {
            Position::number(checkpoint.map(|checkpoint| checkpoint.position))
        };
        number(upstream.reached) - number(upstream.checkpoint)
    }

    /// Records the processed events, if there are any.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub async fn flush(&mut self) -> Result<()> {
        if self.in_flight.is_some() {
            self.settle().await?;
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        let append = self.batch.to_append(&self.stream, self.record.condition());
        self.send(append).await
    }

    async fn send(&mut self, append: Append) -> Result<()> {
        self.in_flight = Some(InFlight {
            append,
            batch: std::mem::take(&mut self.batch),
            reached: self.upstreams.iter().map(|it| it.reached).collect(),
        });
        self.settle().await
    }

    /// Sends the append in flight until its outcome is known.
    async fn settle(&mut self) -> Result<()> {
        let Some(in_flight) = &self.in_flight else {
            return Ok(());
        };
        let settled = self.application.settle(in_flight.append.clone()).await;
        match settled {
            Ok(appended) => {
                let Some(in_flight) = self.in_flight.take() else {
                    return Ok(());
                };
                let positions = appended.positions();
                let batch = &in_flight.batch;
                batch.keep_drafts(&self.application, positions).await;
                for (upstream, reached) in self.upstreams.iter_mut().zip(in_flight.reached) {
                    upstream.checkpoint = reached;
                }
                self.counts.appends += 1;
                self.counts.effects += in_flight.append.new_events().len() as u64;
                self.batch_max = (self.batch_max * 2).min(self.batch_limit);
                self.freshness = Freshness::Judged;
                self.contended = None;
                self.turn.give_back();
                self.report_places();
                Ok(())
            }
            Err(Error::Conflict(conflict)) => {
                self.give_way(&conflict);
                Ok(())
            }
            Err(Error::Invalid(invalid)) if in_flight.batch.causes() > 0 => {
                self.give_up(invalid.to_string());
                Ok(())
            }
            // It is sent again before anything else is done.
            Err(error @ (Error::Unavailable(_) | Error::OutcomeUnknown { .. })) => Err(error),
            Err(error) => {
                self.in_flight = None;
                self.is_prepared = false;
                Err(error)
            }
        }
    }

    /// Drops effects that a recorder does not accept, because they are too many or for another
    /// reason. They are decided again in smaller parts. If they are of a single upstream event, its
    /// policy counts as failed.
    fn give_up(&mut self, reason: String) {
        let causes = self.in_flight.take().map(|it| it.batch.causes());
        self.batch = Batch::default();
        self.is_prepared = false;
        self.batch_max = (self.batch_max / 2).max(1);
        self.alone = self.last;
        if causes == Some(1) {
            let version = self.record.version;
            self.refused = self.last.map(|place| Refused {
                place,
                version,
                reason,
            });
        }
    }

    /// Drops decisions that were made on an outdated state of the logs. The present state is read
    /// instead.
    fn give_way(&mut self, conflict: &Conflict) {
        let in_flight = self.in_flight.take();
        let is_own = matches!(conflict, Conflict::Stream { stream, .. } if *stream == self.stream);
        self.contended = match conflict {
            Conflict::Stream { .. } | Conflict::Query { .. } | Conflict::Topics { .. }
                if !is_own =>
            {
                in_flight.map(|it| contended(conflict, it.append.all_conditions()))
            }
            _ => None,
        };
        self.batch = Batch::default();
        self.is_prepared = false;
        self.freshness = Freshness::Newest;
        self.counts.conflicts += 1;
        match conflict {
            Conflict::Checkpoint { .. } => self.counts.overtaken += 1,
            _ => self.batch_max = (self.batch_max / 2).max(1),
        }
        tracing::debug!(
            follower = %self.key,
            log = self.application.name(),
            %conflict,
            "a follower decides again"
        );
    }
}

impl Pipeline {
    fn observe(&self, index: usize, page: &Page) {
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

    fn announce(&self, stepped: &Result<Step>) {
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
                self.report_places();
            }
            Err(error) => self.report_error(error),
        }
    }

    fn report_error(&self, error: &Error) {
        let phase = match error {
            Error::Unavailable(_) | Error::OutcomeUnknown { .. } => Phase::Retrying,
            _ => Phase::Failed,
        };
        self.status.failed(phase, error);
    }

    /// Reports a phase that the runner determined.
    pub fn report_phase(&self, phase: Phase) {
        self.status.write(|status| status.phase = phase);
    }

    /// Reports a failure of the runner, as if a step had failed.
    pub fn report_failure(&self, phase: Phase, failure: &dyn std::fmt::Display) {
        self.status.failed(phase, failure);
    }

    fn report_places(&self) {
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
