//! The pipeline: passes pages from a log to a view store, one step at a time.
//!
//! Its driver decides when to step: a runner in a separate task, or a test by hand. A step may be
//! dropped at any time; the next one relies only on what the view store has recorded.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::error::{PoisonedEvent, ProjectionError, error_of_another_program};
use super::outline::{OnPoison, ProjectionOutline, StartFrom};
use super::progress::{PipelineProgress, ProjectionHandle, ProjectionState};
use super::view_store::{
    Applied, SkippedEvent, Supersede, Switched, ViewPage, ViewStore, VisibleView,
};
use crate::application::{Application, TopicWatch, is_unknown, unknown_topic, yield_once};
use crate::domain::{Clock, SystemClock};
use crate::mapping::TopicRegistry;
use crate::recording::limits::PAGE_EVENTS_MAX;
use crate::recording::{
    Checkpoint, Failure, Invalid, LogId, LogRead, Page, PageEnd, Position, Query, RecordError,
    Recorder, StoredEvent, prove_checkpoint,
};

/// Default number of events of a page, which is applied in one transaction on the view. Large
/// enough that a commit costs little compared with the events, small enough that other writers of
/// the database hardly wait.
pub const PROJECTION_PAGE_EVENTS_DEFAULT: usize = 100;
/// How far the log may grow by events that are not selected before the checkpoint is moved past
/// them. After a restart that part of the log is searched again, which costs less than a
/// transaction for each event.
pub const UNRECORDED_EVENTS_MAX: u64 = 1_000;

/// Drives one projection: reads its log, and has its view store apply the pages.
///
/// It resumes at the view store's checkpoint. In its first step, and after every error, it checks
/// that the log is the one that was read before: it must have the same id and the event of the
/// checkpoint.
pub struct ProjectionPipeline {
    recorder: Arc<dyn Recorder>,
    view_store: Arc<dyn ViewStore>,
    clock: Arc<dyn Clock>,
    query: Query,
    /// The types of the log's application, if known, and the known facts about its topics.
    registry: Option<Arc<TopicRegistry>>,
    topics: TopicWatch,
    page_events: usize,
    /// The checkpoint that the view store last reported.
    checkpoint: Option<Checkpoint>,
    /// Up to here nothing is left for the view; at or after the checkpoint.
    read_to: Option<Checkpoint>,
    seen: VisibleView,
    /// The checkpoint of the older version, which readers see, when it was last found ahead.
    older: Option<Checkpoint>,
    /// Whether the log and the checkpoint are known to belong together.
    is_checked: bool,
    /// The number of appends known before the last wait. It starts at 0, so that the first wait
    /// returns at once and an append during the first reads is not missed.
    append_count: u64,
    attempts: Option<Attempts>,
    poison: Option<PoisonedEvent>,
    stopped: Option<ProjectionError>,
    progress: watch::Sender<PipelineProgress>,
}

/// How often the handlers failed on one event.
#[derive(Clone, Copy, Debug)]
struct Attempts {
    at: Checkpoint,
    count: u32,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProjectionStep {
    /// The number of events that the step applied to the view.
    pub events: usize,
    /// The last event of the log that was applied to the view or is not selected; none before the
    /// first.
    pub read_to: Option<Checkpoint>,
    /// Whether this was the end of the log when the step read it, and readers of the view see this
    /// version.
    pub is_caught_up: bool,
}

impl ProjectionPipeline {
    /// Creates a pipeline from the log of `recorder` to `view_store`. The log must have the name of
    /// the projection's upstream. Nothing is read before the first step.
    pub fn new(recorder: Arc<dyn Recorder>, view_store: Arc<dyn ViewStore>) -> Self {
        Self {
            query: view_store.outline().query(),
            recorder,
            registry: None,
            topics: TopicWatch::default(),
            view_store,
            clock: Arc::new(SystemClock),
            page_events: PROJECTION_PAGE_EVENTS_DEFAULT,
            checkpoint: None,
            read_to: None,
            seen: VisibleView::Older,
            older: None,
            is_checked: false,
            append_count: 0,
            attempts: None,
            poison: None,
            stopped: None,
            progress: watch::Sender::new(PipelineProgress::new()),
        }
    }

    /// Sets the maximum number of events of a step, which are applied in one transaction:
    /// [`PROJECTION_PAGE_EVENTS_DEFAULT`] by default, at most [`PAGE_EVENTS_MAX`]; 0 counts as 1.
    #[must_use]
    pub fn page_size(mut self, events: usize) -> Self {
        self.page_events = events.clamp(1, PAGE_EVENTS_MAX);
        self
    }

    /// Makes the projection wait before an event whose topic it does not select and `application`,
    /// the application of the log, does not know. Runners of systems do this for every view. By
    /// default, events of unknown topics are ignored like all events that are not selected.
    #[must_use]
    pub fn knowing_types_of(mut self, application: &Application) -> Self {
        self.registry = Some(Arc::clone(application.shared_registry()));
        self
    }

    /// Sets the clock for the times of skipped events and for the lag; the machine's clock by
    /// default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the projection without its handlers.
    pub fn outline(&self) -> &ProjectionOutline {
        self.view_store.outline()
    }

    /// Returns a handle that reports the progress. Waiting on it fails once the pipeline is
    /// dropped.
    pub fn handle(&self) -> ProjectionHandle {
        ProjectionHandle::new(
            self.recorder.clone(),
            self.view_store.clone(),
            self.clock.clone(),
            self.progress.subscribe(),
        )
    }

    /// Makes one step: reads a page after the checkpoint and applies it. At the end of the log it
    /// only reports that the projection has caught up.
    ///
    /// # Errors
    ///
    /// After an error that [is retriable](ProjectionError::is_retriable), wait briefly, then step
    /// again. Every other error stops the projection: each further step returns the same error,
    /// until [`resume`](Self::resume) is called. View and checkpoint are then as they were after
    /// the last event that was applied.
    pub async fn step(&mut self) -> Result<ProjectionStep, ProjectionError> {
        if let Some(stopped) = &self.stopped {
            return Err(stopped.clone());
        }
        // Set to true again only if the step completes; a dropped step leaves it false.
        let is_checked = std::mem::take(&mut self.is_checked);
        let stepped = match is_checked {
            true => self.try_step().await,
            false => self.check_and_step().await,
        };
        match stepped {
            Ok(step) => {
                self.poison = None;
                self.announce(step);
                Ok(step)
            }
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        }
    }

    /// Steps until readers of the view see everything that the log had at the last step. Returns
    /// the checkpoint of the last event; none for an empty log.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub async fn catch_up(&mut self) -> Result<Option<Checkpoint>, ProjectionError> {
        loop {
            let step = self.step().await?;
            if step.is_caught_up {
                return Ok(step.read_to);
            }
            // A log and a view in memory never yield to other tasks of the thread.
            yield_once().await;
        }
    }

    /// Waits until there may be new events; returns at once the first time.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`. The next step checks whether the log is still the same.
    pub async fn changed(&mut self) -> Result<(), ProjectionError> {
        match self.recorder.changed_since(self.append_count).await {
            Ok(append_count) => {
                self.append_count = append_count;
                Ok(())
            }
            Err(error) => {
                self.is_checked = false;
                let error = self.error(error);
                self.fail(&error);
                Err(error)
            }
        }
    }

    /// Follows the log: catches up, waits for new events, and repeats until an error, which it
    /// returns. After an error that [is retriable](ProjectionError::is_retriable), wait briefly and
    /// call it again.
    pub async fn run(&mut self) -> ProjectionError {
        loop {
            let caught_up = match self.catch_up().await {
                Ok(_) => self.changed().await,
                Err(error) => Err(error),
            };
            if let Err(error) = caught_up {
                return error;
            }
        }
    }

    /// Resumes a projection that stopped: the next step checks everything again.
    pub fn resume(&mut self) {
        self.stopped = None;
        self.attempts = None;
        self.is_checked = false;
    }

    /// For runners: reports that this process stops driving the projection and another one may take
    /// over.
    pub fn stand_by(&mut self) {
        self.resume();
        self.progress
            .send_modify(|progress| progress.state = ProjectionState::NotStarted);
    }

    /// For runners: reports that a step panicked and will be retried.
    pub fn fail_by_panic(&mut self, panic: &str) {
        let failure = Failure::new("keeping a view", std::io::Error::other(panic.to_owned()));
        let projection = self.outline().label();
        self.fail(&ProjectionError::Unavailable {
            projection,
            failure,
        });
    }

    /// Skips the event at which the projection has stopped or which it retries, and records it as
    /// skipped. Returns the event; none if there is no such event.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step); also if
    /// [`SKIPPED_EVENTS_MAX`](super::view_store::SKIPPED_EVENTS_MAX) would be exceeded.
    pub async fn pass_over(&mut self) -> Result<Option<SkippedEvent>, ProjectionError> {
        let Some(poison) = self.poison.clone() else {
            return Ok(None);
        };
        let skipped = SkippedEvent::new(&poison, self.clock.now());
        self.is_checked = false;
        let applied = self
            .view_store
            .skip(self.checkpoint, skipped.clone())
            .await?;
        self.poison = None;
        self.resume();
        match applied {
            Applied::Whole => Ok(Some(skipped)),
            // Another pipeline has already passed it.
            Applied::Until { .. } | Applied::Elsewhere(_) => Ok(None),
        }
    }

    /// Discards the stored state of this version and begins again with the current log. Call it
    /// after [`ProjectionError::Diverged`], once the reason is known.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub async fn rebuild(&mut self) -> Result<(), ProjectionError> {
        self.view_store.discard().await?;
        self.poison = None;
        self.resume();
        Ok(())
    }

    async fn check_and_step(&mut self) -> Result<ProjectionStep, ProjectionError> {
        let outline = self.view_store.outline();
        if *outline.upstream != *self.recorder.log_name() {
            let reason = format!(
                "it folds the log {:?} but was given {:?}",
                outline.upstream,
                self.recorder.log_name()
            );
            return Err(self.error(RecordError::from(Invalid::new(reason))));
        }
        let log_id = self.recorder.log_id().await;
        let Some(log_id) = log_id.map_err(|error| self.error(error))? else {
            return self.step_before_birth().await;
        };
        let start = match self.view_store.kept().await? {
            Some(kept) if kept.has_begun_over(log_id) => kept.checkpoint,
            _ => self.start().await?,
        };
        let kept = self.view_store.begin(log_id, start).await?;
        if let Some(checkpoint) = kept.checkpoint {
            self.check_upstream(kept.upstream, log_id, checkpoint)
                .await?;
        }
        self.continue_after(kept.checkpoint);
        self.seen = kept.seen;
        self.progress
            .send_modify(|progress| progress.skipped = kept.skipped);
        self.try_step().await
    }

    /// A log that is not created yet has no events; if it had some, they were lost.
    async fn step_before_birth(&mut self) -> Result<ProjectionStep, ProjectionError> {
        let kept = self.view_store.kept().await?;
        if let Some(checkpoint) = kept.and_then(|kept| kept.checkpoint) {
            self.prove(checkpoint).await?;
        }
        Ok(ProjectionStep {
            events: 0,
            read_to: None,
            is_caught_up: true,
        })
    }

    /// Checks that the log has this checkpoint.
    async fn prove(&self, checkpoint: Checkpoint) -> Result<(), ProjectionError> {
        let proven = prove_checkpoint(&*self.recorder, checkpoint).await;
        proven.map_err(|error| self.error(error))
    }

    async fn start(&self) -> Result<Option<Checkpoint>, ProjectionError> {
        match self.view_store.outline().start_from {
            StartFrom::FirstEvent => Ok(None),
            StartFrom::Now => {
                let head = self.recorder.head().await;
                Ok(head.map_err(|error| self.error(error))?.checkpoint)
            }
        }
    }

    async fn check_upstream(
        &self,
        begun_with: LogId,
        log_id: LogId,
        checkpoint: Checkpoint,
    ) -> Result<(), ProjectionError> {
        if begun_with != log_id {
            let page = self
                .recorder
                .read_log(LogRead::at(checkpoint.position))
                .await;
            let page = page.map_err(|error| self.error(error))?;
            let found = page.events.first().map(StoredEvent::checkpoint);
            let outline = self.outline();
            return Err(outline.of_another_log(checkpoint, found, (begun_with, log_id)));
        }
        self.prove(checkpoint).await
    }

    async fn try_step(&mut self) -> Result<ProjectionStep, ProjectionError> {
        let read = LogRead::of(self.query.clone())
            .after_checkpoint(self.read_to)
            .limit(self.page_events);
        let page = match &self.registry {
            None => self.recorder.read_log(read).await,
            Some(registry) => self.topics.read(&*self.recorder, registry, read).await,
        };
        let mut page = page.map_err(|error| self.error(error))?;
        self.cut_before_unknown(&mut page)?;
        let Some(to) = page.read_to else {
            return self.finish(0, PageEnd::Complete).await;
        };
        let unrecorded = to.position.get() - self.checkpoint_number();
        if page.events.is_empty() && unrecorded < UNRECORDED_EVENTS_MAX {
            self.read_to = Some(to);
            return self.finish(0, page.end).await;
        }
        // The events are shared with the view store; each costs a reference count.
        let events = page.events.clone();
        let after = self.checkpoint;
        let applied = self
            .view_store
            .apply(ViewPage { after, events, to })
            .await?;
        match applied {
            Applied::Whole => {
                self.continue_after(Some(to));
                self.finish(page.events.len(), page.end).await
            }
            Applied::Until { count, error } => {
                let taken = count
                    .checked_sub(1)
                    .map(|last| page.events[last].checkpoint());
                self.continue_after(taken.or(after));
                let event = &page.events[count];
                let poison = PoisonedEvent {
                    checkpoint: event.checkpoint(),
                    topic: event.topic().into(),
                    error,
                };
                self.meet(poison, count).await
            }
            Applied::Elsewhere(checkpoint) => Ok(self.follow_another(checkpoint)),
        }
    }

    /// After a page: switches readers to a version that has caught up.
    async fn finish(
        &mut self,
        events: usize,
        end: PageEnd,
    ) -> Result<ProjectionStep, ProjectionError> {
        let mut is_caught_up = end == PageEnd::Complete;
        if is_caught_up && self.seen == VisibleView::Older {
            let (after, to) = (self.checkpoint, self.read_to);
            match self.view_store.switch(after, to, self.supersede()).await? {
                Switched::Done => {
                    self.checkpoint = self.read_to;
                    self.seen = VisibleView::This;
                }
                Switched::Behind(older) => {
                    self.older = Some(older);
                    is_caught_up = false;
                }
                Switched::Elsewhere(checkpoint) => return Ok(self.follow_another(checkpoint)),
            }
        }
        self.is_checked = true;
        Ok(ProjectionStep {
            events,
            read_to: self.read_to,
            is_caught_up,
        })
    }

    /// The older version was found ahead before the last page was read, and logs do not shrink: if
    /// the page still ends before that checkpoint, the older version is from a log that was
    /// replaced or truncated.
    fn supersede(&self) -> Supersede {
        let position =
            |checkpoint: Option<Checkpoint>| checkpoint.map(|checkpoint| checkpoint.position);
        match position(self.read_to) < position(self.older) {
            true => Supersede::Diverged,
            false => Supersede::Reached,
        }
    }

    /// Handles an event that cannot be applied.
    async fn meet(
        &mut self,
        poison: PoisonedEvent,
        count: usize,
    ) -> Result<ProjectionStep, ProjectionError> {
        self.progress
            .send_modify(|progress| progress.rate.count(count as u64, Instant::now()));
        if let Some(error) = error_of_another_program(&*poison.error) {
            return Err(ProjectionError::UnknownTopic {
                projection: self.outline().label(),
                error: Box::new(error.clone()),
            });
        }
        let attempts_left = match self.outline().on_poison {
            OnPoison::Skip => {
                let skipped = SkippedEvent::new(&poison, self.clock.now());
                tracing::warn!(
                    projection = %self.outline().label(),
                    %poison,
                    "an event is skipped"
                );
                let applied = self.view_store.skip(self.checkpoint, skipped).await?;
                if let Applied::Elsewhere(checkpoint) = applied {
                    return Ok(self.follow_another(checkpoint));
                }
                self.continue_after(Some(poison.checkpoint));
                self.progress.send_modify(|progress| progress.skipped += 1);
                self.is_checked = true;
                return Ok(ProjectionStep {
                    events: count,
                    read_to: self.read_to,
                    is_caught_up: false,
                });
            }
            OnPoison::Stop => 0,
            OnPoison::Retry(attempts) => self.count_attempt(poison.checkpoint, attempts.get()),
        };
        self.poison = Some(poison.clone());
        Err(ProjectionError::Poison {
            projection: self.outline().label(),
            event: poison,
            attempts_left,
        })
    }

    /// Counts a failed attempt, and returns how many retries are left.
    fn count_attempt(&mut self, at: Checkpoint, attempts: u32) -> u32 {
        let before = self.attempts.filter(|it| it.at == at);
        let count = before.map_or(0, |it| it.count);
        self.attempts = Some(Attempts {
            at,
            count: count.saturating_add(1),
        });
        attempts.saturating_sub(count)
    }

    /// Another pipeline has moved the checkpoint: the next step resumes there, after it has checked
    /// that the checkpoint is from the same log.
    fn follow_another(&mut self, checkpoint: Option<Checkpoint>) -> ProjectionStep {
        self.continue_after(checkpoint);
        ProjectionStep {
            events: 0,
            read_to: self.read_to,
            is_caught_up: false,
        }
    }

    fn continue_after(&mut self, checkpoint: Option<Checkpoint>) {
        self.checkpoint = checkpoint;
        self.read_to = checkpoint;
    }

    fn checkpoint_number(&self) -> u64 {
        Position::number(self.checkpoint.map(|checkpoint| checkpoint.position))
    }

    /// Shortens a page to the events before the first one that the program does not know.
    ///
    /// # Errors
    ///
    /// `UnknownTopic` if there are none.
    fn cut_before_unknown(&self, page: &mut Page) -> Result<(), ProjectionError> {
        let Some(registry) = &self.registry else {
            return Ok(());
        };
        let topics = &self.outline().topics;
        let is_asked = |topic: &str| topics.contains(topic);
        let mut events = page.events.iter();
        let Some(known) = events.position(|it| is_unknown(registry, it.topic(), is_asked)) else {
            return Ok(());
        };
        let Some(last) = known.checked_sub(1) else {
            return Err(ProjectionError::UnknownTopic {
                projection: self.outline().label(),
                error: Box::new(unknown_topic(registry, &page.events[0])),
            });
        };
        page.read_to = Some(page.events[last].checkpoint());
        page.events.truncate(known);
        page.end = PageEnd::Full;
        Ok(())
    }

    fn error(&self, error: RecordError) -> ProjectionError {
        ProjectionError::of_record_error(self.outline().label(), error)
    }

    fn announce(&self, step: ProjectionStep) {
        self.progress.send_modify(|progress| {
            progress.state = match step.is_caught_up {
                true => ProjectionState::CaughtUp,
                false => ProjectionState::CatchingUp,
            };
            progress.read_to = self.read_to;
            progress.checkpoint = self.checkpoint;
            progress.is_seen = self.seen == VisibleView::This;
            progress.rate.count(step.events as u64, Instant::now());
        });
    }

    /// Reports a failure once, however often the step is retried, until it succeeds or fails in
    /// another way.
    fn report_failure(&self, state: ProjectionState, error: &ProjectionError) {
        let progress = self.progress.borrow();
        let reported = progress.last_error.as_ref().map(ToString::to_string);
        if progress.state == state && reported.as_deref() == Some(&*error.to_string()) {
            return;
        }
        drop(progress);
        match state {
            ProjectionState::Stopped => tracing::error!(%error, "a view has stopped"),
            _ => tracing::warn!(%error, "a view is not up to date; retrying"),
        }
    }

    fn fail(&mut self, error: &ProjectionError) {
        let state = match error {
            ProjectionError::UnknownTopic { .. } => ProjectionState::Holding,
            _ if error.is_retriable() => ProjectionState::Retrying,
            _ => ProjectionState::Stopped,
        };
        if state == ProjectionState::Stopped {
            self.stopped = Some(error.clone());
        }
        self.report_failure(state, error);
        let now = self.clock.now();
        self.progress.send_modify(|progress| {
            progress.state = state;
            progress.last_error = Some(error.clone());
            progress.failed_at = Some(now);
            progress.read_to = self.read_to;
            progress.checkpoint = self.checkpoint;
            progress.is_seen = self.seen == VisibleView::This;
        });
    }
}

impl fmt::Debug for ProjectionPipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionPipeline")
            .field("projection", self.outline())
            .field("checkpoint", &self.checkpoint)
            .field("read_to", &self.read_to)
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}
