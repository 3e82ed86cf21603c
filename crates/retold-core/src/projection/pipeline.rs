//! The pipeline: takes pages from a log to the keeper of a view, one step after the other.
//!
//! Whoever drives it decides when: a runner in a task of its own, a test by hand. What it knows is
//! only what the keeper has recorded, or less: a step may be dropped at any time, and the next one looks
//! again.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::error::{PoisonedEvent, ProjectionError};
use super::keeper::{Applied, Seen, SkippedEvent, Supersede, Switched, ViewKeeper, ViewPage};
use super::outline::{OnPoison, ProjectionOutline, StartFrom};
use super::progress::{Progress, ProjectionHandle, ProjectionState};
use crate::application::{Application, TopicWatch, is_unknown, unknown_topic, yield_once};
use crate::domain::{Clock, SystemClock};
use crate::mapping::TopicRegistry;
use crate::recording::limits::PAGE_EVENTS_MAX;
use crate::recording::{
    Failure, Invalid, LogId, LogRead, Mark, Page, PageEnd, Position, Query, RecordError, Recorder,
    StoredEvent,
};

/// Events of a page, and so of a transaction on the view, unless told otherwise. Long enough that a
/// commit costs little beside the events, short enough that others who write there hardly wait.
pub const PROJECTION_PAGE_EVENTS_DEFAULT: usize = 100;
/// Events of the log that are not for the projection may be passed before the checkpoint is moved for
/// them. After a restart so many are looked at again, which costs less than a transaction for each.
pub const UNRECORDED_EVENTS_MAX: u64 = 1_000;

/// Drives one projection: reads its log, and has the pages applied by the keeper of its view.
///
/// It goes on where the keeper's checkpoint is. Before its first step, and after every error, it
/// checks that the log is the one that was read before: its id, and that it has the event of the
/// checkpoint.
pub struct ProjectionPipeline {
    recorder: Arc<dyn Recorder>,
    keeper: Arc<dyn ViewKeeper>,
    clock: Arc<dyn Clock>,
    query: Query,
    /// The types of the log's application, if they are known; and what is known of its topics.
    registry: Option<Arc<TopicRegistry>>,
    topics: TopicWatch,
    page_events: usize,
    /// The checkpoint as the keeper last said.
    checkpoint: Option<Mark>,
    /// Up to here nothing is left for the view; at or after the checkpoint.
    read_to: Option<Mark>,
    seen: Seen,
    /// How far the older version was, which readers see, when it was last found ahead.
    older: Option<Mark>,
    /// The log and the checkpoint are known to belong together.
    is_checked: bool,
    /// How many appends were known before the last wait. It begins with 0, so that the first wait
    /// returns at once and what came while the first pages were read is never waited for.
    append_count: u64,
    attempts: Option<Attempts>,
    poison: Option<PoisonedEvent>,
    stopped: Option<ProjectionError>,
    progress: watch::Sender<Progress>,
}

/// How often the handlers failed at one event.
#[derive(Clone, Copy, Debug)]
struct Attempts {
    at: Mark,
    count: u32,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// How many events it took into the view.
    pub events: usize,
    /// How far the projection is.
    pub read_to: Option<Mark>,
    /// Whether that is the end of the log as the step saw it, and readers of the view see it.
    pub is_caught_up: bool,
}

impl ProjectionPipeline {
    /// A pipeline from the log of `recorder`, which bears the name of the projection's upstream, to
    /// `keeper`. Nothing is read before the first step.
    pub fn new(recorder: Arc<dyn Recorder>, keeper: Arc<dyn ViewKeeper>) -> Self {
        Self {
            query: keeper.outline().query(),
            recorder,
            registry: None,
            topics: TopicWatch::default(),
            keeper,
            clock: Arc::new(SystemClock),
            page_events: PROJECTION_PAGE_EVENTS_DEFAULT,
            checkpoint: None,
            read_to: None,
            seen: Seen::Older,
            older: None,
            is_checked: false,
            append_count: 0,
            attempts: None,
            poison: None,
            stopped: None,
            progress: watch::Sender::new(Progress::new()),
        }
    }

    /// Takes so many events in a step, and in a transaction on the view:
    /// [`PROJECTION_PAGE_EVENTS_DEFAULT`] unless said; at most [`PAGE_EVENTS_MAX`], and 0 counts as 1.
    #[must_use]
    pub fn page_size(mut self, events: usize) -> Self {
        self.page_events = events.clamp(1, PAGE_EVENTS_MAX);
        self
    }

    /// Holds before an event of a topic that this application, which is that of the log, does not know and
    /// the projection does not take. Runners of systems do that for every view; without it such events are
    /// passed over.
    #[must_use]
    pub fn knowing_types_of(mut self, application: &Application) -> Self {
        self.registry = Some(Arc::clone(application.shared_registry()));
        self
    }

    /// Takes the time of skipped events, and of the lag, from this clock; the machine's by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The projection, without its handlers.
    pub fn outline(&self) -> &ProjectionOutline {
        self.keeper.outline()
    }

    /// Tells others how far the projection is. Once the pipeline is dropped, who waits is told so.
    pub fn handle(&self) -> ProjectionHandle {
        ProjectionHandle::new(
            self.recorder.clone(),
            self.keeper.clone(),
            self.clock.clone(),
            self.progress.subscribe(),
        )
    }

    /// Makes one step: reads a page after the checkpoint and has it applied. At the end of the log it
    /// does nothing but say so.
    ///
    /// # Errors
    ///
    /// Those that [are retriable](ProjectionError::is_retriable): wait a little, then step again. All
    /// others stop the projection: every further step returns the same, until [`resume`](Self::resume).
    /// View and checkpoint are then as they were after the last event that was taken.
    pub async fn step(&mut self) -> Result<Step, ProjectionError> {
        if let Some(stopped) = &self.stopped {
            return Err(stopped.clone());
        }
        // True again only if the step comes to its end, also if it is dropped.
        let is_checked = std::mem::take(&mut self.is_checked);
        let stepped = match is_checked {
            true => self.try_step().await,
            false => self.check_and_step().await,
        };
        match stepped {
            Ok(step) => {
                self.poison = None;
                self.tell(step);
                Ok(step)
            }
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        }
    }

    /// Steps until readers of the view see everything that the log had at the last step. Returns how
    /// far that is; none for an empty log.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub async fn catch_up(&mut self) -> Result<Option<Mark>, ProjectionError> {
        loop {
            let step = self.step().await?;
            if step.is_caught_up {
                return Ok(step.read_to);
            }
            // Neither a log nor a view in memory would let other tasks of the thread go on.
            yield_once().await;
        }
    }

    /// Waits until there may be something to read; returns at once the first time.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`. The next step looks whether the log is still the same.
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

    /// Follows the log: catches up, waits for more, and so on, until something fails. After an error
    /// that [is retriable](ProjectionError::is_retriable) wait a little, and run again.
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

    /// Lets a projection that stopped try again: the next step looks at everything anew.
    pub fn resume(&mut self) {
        self.stopped = None;
        self.attempts = None;
        self.is_checked = false;
    }

    /// For runners: tells that another process drives it from now on, if any does.
    pub fn stand_by(&mut self) {
        self.resume();
        self.progress
            .send_modify(|progress| progress.state = ProjectionState::NotStarted);
    }

    /// For runners: tells of a step that panicked, which is tried again.
    pub fn fail_by_panic(&mut self, panic: &str) {
        let failure = Failure::new("keeping a view", std::io::Error::other(panic.to_owned()));
        let projection = self.outline().label();
        self.fail(&ProjectionError::Unavailable {
            projection,
            failure,
        });
    }

    /// Passes over the event that the projection stopped at or tries again, records that like every
    /// skipped event, and goes on. Returns it; none if there is no such event.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step); also if more events are recorded as skipped than may be.
    pub async fn pass_over(&mut self) -> Result<Option<SkippedEvent>, ProjectionError> {
        let Some(poison) = self.poison.clone() else {
            return Ok(None);
        };
        let skipped = SkippedEvent::new(&poison, self.clock.now());
        self.is_checked = false;
        let applied = self.keeper.skip(self.checkpoint, skipped.clone()).await?;
        self.poison = None;
        self.resume();
        match applied {
            Applied::Whole => Ok(Some(skipped)),
            // Another is past it already.
            Applied::Until { .. } | Applied::Elsewhere(_) => Ok(None),
        }
    }

    /// Discards what is kept of this version and begins anew with the log as it is: after
    /// [`ProjectionError::Diverged`], when it is known why.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step). Catching up is left to the next steps.
    pub async fn rebuild(&mut self) -> Result<(), ProjectionError> {
        self.keeper.discard().await?;
        self.poison = None;
        self.resume();
        Ok(())
    }

    async fn check_and_step(&mut self) -> Result<Step, ProjectionError> {
        let outline = self.keeper.outline();
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
        let start = match self.keeper.kept().await? {
            Some(kept) if kept.checkpoint.is_some() || kept.upstream == log_id => kept.checkpoint,
            _ => self.start().await?,
        };
        let kept = self.keeper.begin(log_id, start).await?;
        if let Some(mark) = kept.checkpoint {
            self.check_upstream(kept.upstream, log_id, mark).await?;
        }
        self.go_on_after(kept.checkpoint);
        self.seen = kept.seen;
        self.progress
            .send_modify(|progress| progress.skipped = kept.skipped);
        self.try_step().await
    }

    /// A log that is not born has no events; one that had some is gone.
    async fn step_before_birth(&mut self) -> Result<Step, ProjectionError> {
        let kept = self.keeper.kept().await?;
        if let Some(mark) = kept.and_then(|kept| kept.checkpoint) {
            self.prove(mark).await?;
        }
        Ok(Step {
            events: 0,
            read_to: None,
            is_caught_up: true,
        })
    }

    /// Checks that the log has this mark.
    async fn prove(&self, mark: Mark) -> Result<(), ProjectionError> {
        let proof = LogRead::new().after_mark(mark).until(mark.position);
        let proven = self.recorder.read_log(proof.limit(1)).await;
        proven.map(drop).map_err(|error| self.error(error))
    }

    async fn start(&self) -> Result<Option<Mark>, ProjectionError> {
        match self.keeper.outline().start_from {
            StartFrom::FirstEvent => Ok(None),
            StartFrom::Now => {
                let head = self.recorder.head().await;
                Ok(head.map_err(|error| self.error(error))?.mark)
            }
        }
    }

    async fn check_upstream(
        &self,
        begun_with: LogId,
        log_id: LogId,
        mark: Mark,
    ) -> Result<(), ProjectionError> {
        if begun_with != log_id {
            let page = self.recorder.read_log(LogRead::at(mark.position)).await;
            let page = page.map_err(|error| self.error(error))?;
            let found = page.events.first().map(StoredEvent::mark);
            let outline = self.outline();
            return Err(outline.of_another_log(mark, found, (begun_with, log_id)));
        }
        self.prove(mark).await
    }

    async fn try_step(&mut self) -> Result<Step, ProjectionError> {
        let read = LogRead::of(self.query.clone())
            .after_mark(self.read_to)
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
        // The events are shared with the keeper, which costs a count each.
        let events = page.events.clone();
        let after = self.checkpoint;
        let applied = self.keeper.apply(ViewPage { after, events, to }).await?;
        match applied {
            Applied::Whole => {
                self.go_on_after(Some(to));
                self.finish(page.events.len(), page.end).await
            }
            Applied::Until { count, error } => {
                let taken = count.checked_sub(1).map(|last| page.events[last].mark());
                self.go_on_after(taken.or(after));
                let event = &page.events[count];
                let poison = PoisonedEvent {
                    mark: event.mark(),
                    topic: event.topic().into(),
                    error,
                };
                self.meet(poison, count).await
            }
            Applied::Elsewhere(checkpoint) => Ok(self.follow_another(checkpoint)),
        }
    }

    /// After a page: lets readers see a version that has caught up.
    async fn finish(&mut self, events: usize, end: PageEnd) -> Result<Step, ProjectionError> {
        let mut is_caught_up = end == PageEnd::Complete;
        if is_caught_up && self.seen == Seen::Older {
            let (after, to) = (self.checkpoint, self.read_to);
            match self.keeper.switch(after, to, self.supersede()).await? {
                Switched::Done => {
                    self.checkpoint = self.read_to;
                    self.seen = Seen::This;
                }
                Switched::Behind(older) => {
                    self.older = Some(older);
                    is_caught_up = false;
                }
                Switched::Elsewhere(checkpoint) => return Ok(self.follow_another(checkpoint)),
            }
        }
        self.is_checked = true;
        Ok(Step {
            events,
            read_to: self.read_to,
            is_caught_up,
        })
    }

    /// The older version was found ahead before the last page was read, and logs do not shrink: if the
    /// page still ends before that, the older one is of a log that was replaced or cut.
    fn supersede(&self) -> Supersede {
        let position = |mark: Option<Mark>| mark.map(|mark| mark.position);
        match position(self.read_to) < position(self.older) {
            true => Supersede::Diverged,
            false => Supersede::Reached,
        }
    }

    /// What an event that cannot be taken leads to.
    async fn meet(&mut self, poison: PoisonedEvent, count: usize) -> Result<Step, ProjectionError> {
        self.progress
            .send_modify(|progress| progress.rate.count(count as u64, Instant::now()));
        let attempts_left = match self.outline().on_poison {
            OnPoison::Skip => {
                let skipped = SkippedEvent::new(&poison, self.clock.now());
                tracing::warn!(projection = %self.outline().label(), %poison, "an event is passed over");
                let applied = self.keeper.skip(self.checkpoint, skipped).await?;
                if let Applied::Elsewhere(checkpoint) = applied {
                    return Ok(self.follow_another(checkpoint));
                }
                self.go_on_after(Some(poison.mark));
                self.progress.send_modify(|progress| progress.skipped += 1);
                self.is_checked = true;
                return Ok(Step {
                    events: count,
                    read_to: self.read_to,
                    is_caught_up: false,
                });
            }
            OnPoison::Stop => 0,
            OnPoison::Retry(attempts) => self.count_attempt(poison.mark, attempts.get()),
        };
        self.poison = Some(poison.clone());
        Err(ProjectionError::Poison {
            projection: self.outline().label(),
            event: poison,
            attempts_left,
        })
    }

    /// Counts a failed attempt, and returns how many are left of those that follow the first.
    fn count_attempt(&mut self, at: Mark, attempts: u32) -> u32 {
        let before = self.attempts.filter(|it| it.at == at);
        let count = before.map_or(0, |it| it.count);
        self.attempts = Some(Attempts {
            at,
            count: count.saturating_add(1),
        });
        attempts.saturating_sub(count)
    }

    /// Another pipeline has moved the checkpoint: the next step goes on from there, once it knows that
    /// it is of the same log.
    fn follow_another(&mut self, checkpoint: Option<Mark>) -> Step {
        self.go_on_after(checkpoint);
        Step {
            events: 0,
            read_to: self.read_to,
            is_caught_up: false,
        }
    }

    fn go_on_after(&mut self, checkpoint: Option<Mark>) {
        self.checkpoint = checkpoint;
        self.read_to = checkpoint;
    }

    fn checkpoint_number(&self) -> u64 {
        Position::number(self.checkpoint.map(|mark| mark.position))
    }

    /// Leaves of a page what is before the first event that the program does not know.
    ///
    /// # Errors
    ///
    /// `UnknownTopic` if that is nothing.
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
        page.read_to = Some(page.events[last].mark());
        page.events.truncate(known);
        page.end = PageEnd::Full;
        Ok(())
    }

    fn error(&self, error: RecordError) -> ProjectionError {
        ProjectionError::of_record_error(self.outline().label(), error)
    }

    fn tell(&self, step: Step) {
        self.progress.send_modify(|progress| {
            progress.state = match step.is_caught_up {
                true => ProjectionState::CaughtUp,
                false => ProjectionState::CatchingUp,
            };
            progress.read_to = self.read_to;
            progress.checkpoint = self.checkpoint;
            progress.is_seen = self.seen == Seen::This;
            progress.rate.count(step.events as u64, Instant::now());
        });
    }

    /// Tells of a failure once, however often the step is tried again: until it succeeds, or something
    /// else is wrong.
    fn tell_failure(&self, state: ProjectionState, error: &ProjectionError) {
        let progress = self.progress.borrow();
        let told = progress.last_error.as_ref().map(ToString::to_string);
        if progress.state == state && told.as_deref() == Some(&*error.to_string()) {
            return;
        }
        drop(progress);
        match state {
            ProjectionState::Stopped => tracing::error!(%error, "a view has stopped"),
            _ => tracing::warn!(%error, "a view is not up to date, and is tried again"),
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
        self.tell_failure(state, error);
        let now = self.clock.now();
        self.progress.send_modify(|progress| {
            progress.state = state;
            progress.last_error = Some(error.clone());
            progress.failed_at = Some(now);
            progress.read_to = self.read_to;
            progress.checkpoint = self.checkpoint;
            progress.is_seen = self.seen == Seen::This;
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
