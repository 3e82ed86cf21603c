//! The progress of a projection, for everything except its driver: its status, and waiting for a
//! position.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::ProjectionError;
use super::handling::Handling;
use super::outline::ProjectionOutline;
use super::rate::Rate;
use super::view_store::{SkippedEvent, ViewStore, VisibleView};
use crate::domain::{Clock, Timestamp};
use crate::health::Running;
use crate::health::{Finding, FindingKind, Trouble};
use crate::recording::{
    Checkpoint, LogRead, Position, RecordError, Recorder, StoredEvent, prove_checkpoint,
};

/// The state of a projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProjectionState {
    /// It has not made a step in this process yet, or another process runs it.
    NotStarted,
    /// It is processing events and has not reached the end of the log.
    CatchingUp,
    /// It has reached the end of the log, and waits for new events.
    CaughtUp,
    /// It waits before an event of a topic that the program does not know; see the last error.
    Holding,
    /// The last step failed and will be retried.
    Retrying,
    /// It has stopped, and an operator must act: see the last error.
    Stopped,
}

/// The progress that the pipeline reports to its handles.
#[derive(Clone, Debug)]
pub(crate) struct PipelineProgress {
    pub(crate) state: ProjectionState,
    /// Everything up to here was applied to the view or is not selected.
    pub(crate) read_to: Option<Checkpoint>,
    /// The part of that which the view store has recorded.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Whether readers see this version.
    pub(crate) is_seen: bool,
    /// The number of events that were skipped as poison.
    pub(crate) skipped: u64,
    pub(crate) rate: Rate,
    pub(crate) last_error: Option<ProjectionError>,
    /// When that was, by the clock of this process.
    pub(crate) failed_at: Option<Timestamp>,
}

impl PipelineProgress {
    pub(crate) fn new() -> Self {
        Self {
            state: ProjectionState::NotStarted,
            read_to: None,
            checkpoint: None,
            is_seen: false,
            skipped: 0,
            rate: Rate::new(Instant::now()),
            last_error: None,
            failed_at: None,
        }
    }

    /// Returns whether readers see the effect of the event at the position.
    fn has_reached(&self, position: Position) -> bool {
        self.is_seen && self.read_to.map(|checkpoint| checkpoint.position) >= Some(position)
    }
}

/// Reports the progress of a projection, and waits for it. Clones refer to the same projection.
#[derive(Clone)]
pub struct ProjectionHandle {
    recorder: Arc<dyn Recorder>,
    view_store: Arc<dyn ViewStore>,
    clock: Arc<dyn Clock>,
    receiver: watch::Receiver<PipelineProgress>,
}

/// The status of a projection at one time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProjectionStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: u32,
    /// Name of the log whose events it processes.
    pub upstream: Arc<str>,
    /// Its state.
    pub state: ProjectionState,
    /// The last event that was applied to the view or is not selected; none before the first.
    pub read_to: Option<Checkpoint>,
    /// The checkpoint that is recorded with the view, where the projection resumes after a restart.
    /// It may be behind `read_to`, because events that are not selected do not always move it.
    pub checkpoint: Option<Checkpoint>,
    /// The log's last event; none if it is empty.
    pub head: Option<Checkpoint>,
    /// The number of events of the log that it has not read.
    pub lag_events: u64,
    /// How long ago the next selected event was recorded; zero if there is none. This is the
    /// difference between the store's clock at the recording and the clock of this process now.
    pub lag: Duration,
    /// The number of selected events per second, over the last few seconds.
    pub events_per_second: f64,
    /// The number of events that it skipped as poison.
    pub skipped: u64,
    /// Whether readers see this version; if not, they see an older one.
    pub is_seen: bool,
    /// The handler that is processing an event now.
    pub running: Option<Running>,
    /// The last failure, even if the projection has recovered since.
    pub last_error: Option<ProjectionError>,
}

impl ProjectionStatus {
    /// Returns whether it has read the whole log, and readers see that.
    pub fn is_caught_up(&self) -> bool {
        self.is_seen && self.lag_events == 0
    }
}

impl ProjectionHandle {
    pub(crate) fn new(
        recorder: Arc<dyn Recorder>,
        view_store: Arc<dyn ViewStore>,
        clock: Arc<dyn Clock>,
        receiver: watch::Receiver<PipelineProgress>,
    ) -> Self {
        Self {
            recorder,
            view_store,
            clock,
            receiver,
        }
    }

    /// Returns the projection without its handlers.
    pub fn outline(&self) -> &ProjectionOutline {
        self.view_store.outline()
    }

    /// Waits until readers of the view see the effect of the event at this position. To read your
    /// own writes, wait for the position that a command returned, then read the view. If the
    /// command recorded nothing, its position is none, and this returns at once.
    ///
    /// It waits without a limit, even while a step is retried; drop the future to stop waiting.
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// # use retold::projection::{MemoryView, Projection, ProjectionPipeline};
    /// # let dogs = MemoryView::<u64>::new();
    /// # let projection = Projection::new("dogs", 1, "school")
    /// #     .on::<DogEvent>(|events: &mut u64, _| { *events += 1; Ok(()) });
    /// let view_store = dogs.keep(projection)?;
    /// let mut pipeline = ProjectionPipeline::new(school.recorder().clone(), view_store);
    /// let handle = pipeline.handle();
    /// let running = tokio::spawn(async move { pipeline.run().await });
    ///
    /// let recorded = school
    ///     .execute(fido, |_| DogEvent::TrickAdded { trick: "fetch".into() })
    ///     .await?;
    /// handle.wait_for(recorded.position()).await?;
    /// assert_eq!(dogs.read(|events| *events), 2);
    /// # running.abort();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error at which the projection stopped before it reached the position: `Poison`,
    /// `Diverged`, `Superseded`, `Invalid` or `Corrupt`; `Ended` if the pipeline was dropped.
    pub async fn wait_for(
        &self,
        position: impl Into<Option<Position>>,
    ) -> Result<(), ProjectionError> {
        let Some(position) = position.into() else {
            return Ok(());
        };
        let mut receiver = self.receiver.clone();
        let is_settled = |progress: &PipelineProgress| {
            let is_stuck = matches!(
                progress.state,
                ProjectionState::Stopped | ProjectionState::Holding
            );
            progress.has_reached(position) || is_stuck
        };
        let settled = match receiver.wait_for(is_settled).await {
            Ok(progress) => progress.clone(),
            Err(_) => self.receiver.borrow().clone(),
        };
        if settled.has_reached(position) {
            return Ok(());
        }
        match (settled.state, settled.last_error) {
            (ProjectionState::Stopped | ProjectionState::Holding, Some(error)) => Err(error),
            _ => Err(ProjectionError::Ended {
                projection: self.outline().label(),
            }),
        }
    }

    /// Returns the last reported state of the projection.
    pub fn state(&self) -> ProjectionState {
        self.receiver.borrow().state
    }

    /// Returns the handler that is processing an event now in this process: for which event, and
    /// since when. Reads nothing, so it returns even while a handler has the view locked.
    pub fn running(&self) -> Option<Running> {
        self.view_store.handling().and_then(Handling::running)
    }

    /// For runners: notes that a handler is late, which is not yet a failure.
    pub fn report_late(&self, late: &Running) {
        if let Some(handling) = self.view_store.handling() {
            handling.report_late(late);
        }
    }

    /// Returns the last handler that was noted as late, and when, even if it has returned since.
    pub fn last_late(&self) -> Option<(Timestamp, String)> {
        self.view_store.handling().and_then(Handling::last_late)
    }

    /// Returns the last failure in this process and its time, even if the projection has recovered
    /// since.
    pub fn last_error(&self) -> Option<(Timestamp, ProjectionError)> {
        let progress = self.receiver.borrow();
        progress.failed_at.zip(progress.last_error.clone())
    }

    /// Returns the projection's problem, if it has one: its handler does not return, it has
    /// stopped, or it keeps retrying. If another process runs the projection, this checks in the
    /// store that the view was built from the present log.
    pub async fn finding(&self) -> Option<Finding> {
        let found = self.finding_here();
        let is_elsewhere = self.state() == ProjectionState::NotStarted
            && !self.is_of_this_process()
            && self.running().is_none();
        if found.is_some() || !is_elsewhere {
            return found;
        }
        let error = self.check_recorded().await.err()?;
        let trouble = match error.is_retriable() {
            true => Trouble::Retrying,
            false => Trouble::Failed,
        };
        Some(self.finding_of(trouble, error.to_string()))
    }

    /// Like [`finding`](Self::finding), but for this process only: none if another process runs the
    /// projection. Reads nothing.
    pub fn finding_here(&self) -> Option<Finding> {
        if let Some(late) = self.running().filter(Running::is_late) {
            return Some(self.finding_of(Trouble::Late, late.to_string()));
        }
        let progress = self.receiver.borrow().clone();
        let trouble = match progress.state {
            ProjectionState::Stopped => Trouble::Failed,
            ProjectionState::Holding => Trouble::Holding,
            ProjectionState::Retrying => Trouble::Retrying,
            _ => return None,
        };
        let error = progress.last_error.map(|error| error.to_string());
        let reason = error.unwrap_or_else(|| "the reason is unknown".into());
        Some(self.finding_of(trouble, reason))
    }

    fn finding_of(&self, trouble: Trouble, reason: String) -> Finding {
        let name = &*self.outline().name;
        Finding::new(FindingKind::View, name, trouble, reason)
    }

    /// Checks that the recorded state of the view is from the present log.
    async fn check_recorded(&self) -> Result<(), ProjectionError> {
        let outline = self.outline();
        let Some(kept) = self.view_store.kept().await? else {
            return Ok(());
        };
        let Some(checkpoint) = kept.checkpoint else {
            return Ok(());
        };
        let failed = |error| ProjectionError::of_record_error(outline.label(), error);
        let log = self.recorder.log_id().await.map_err(failed)?;
        match log {
            Some(log) if log != kept.upstream => {
                let page = self
                    .recorder
                    .read_log(LogRead::at(checkpoint.position))
                    .await;
                let page = page.map_err(failed)?;
                let found = page.events.first().map(StoredEvent::checkpoint);
                Err(outline.of_another_log(checkpoint, found, (kept.upstream, log)))
            }
            // The store proves it: a view that lags has not diverged.
            _ => prove_checkpoint(&*self.recorder, checkpoint)
                .await
                .map_err(failed),
        }
    }

    /// Returns the recorded checkpoint, as last seen by this process.
    pub fn checkpoint(&self) -> Option<Position> {
        let checkpoint = self.receiver.borrow().checkpoint;
        checkpoint.map(|checkpoint| checkpoint.position)
    }

    /// Returns the recorded checkpoint of this version, regardless of which process runs the
    /// projection; none if readers do not see this version.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn recorded_checkpoint(&self) -> Result<Option<Position>, ProjectionError> {
        if self.running().is_some() {
            // A handler in this process has the view locked, and may be occupying the caller's
            // thread.
            let progress = self.receiver.borrow();
            let checkpoint = progress.checkpoint.filter(|_| progress.is_seen);
            return Ok(checkpoint.map(|checkpoint| checkpoint.position));
        }
        let kept = self.view_store.kept().await?;
        let kept = kept.filter(|kept| kept.seen == VisibleView::This);
        Ok(kept
            .and_then(|kept| kept.checkpoint)
            .map(|checkpoint| checkpoint.position))
    }

    /// See [`ViewStore::is_of_this_process`].
    pub fn is_of_this_process(&self) -> bool {
        self.view_store.is_of_this_process()
    }

    /// Returns whether readers of the view see the effect of the event at this position, regardless
    /// of which process runs the projection. If the recorded checkpoint is before the position,
    /// this reads the log, because events that are not selected do not always move the checkpoint.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn has_recorded(&self, position: Position) -> Result<bool, ProjectionError> {
        if self.running().is_some() {
            return Ok(self.receiver.borrow().has_reached(position));
        }
        let Some(kept) = self.view_store.kept().await? else {
            return Ok(false);
        };
        let checkpoint = kept.checkpoint.map(|checkpoint| checkpoint.position);
        if kept.seen != VisibleView::This || checkpoint >= Some(position) {
            return Ok(kept.seen == VisibleView::This);
        }
        let left = LogRead::of(self.outline().query())
            .after_checkpoint(kept.checkpoint)
            .until(position)
            .limit(1);
        let page = self.recorder.read_log(left).await;
        let failed = |error| ProjectionError::of_record_error(self.outline().label(), error);
        let page = page.map_err(failed)?;
        Ok(page.events.is_empty() && page.read_to_position() >= Some(position))
    }

    /// Returns the status of the projection. Reads the end of the log, and the next event if there
    /// is one.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn status(&self) -> Result<ProjectionStatus, ProjectionError> {
        let mut progress = self.receiver.borrow().clone();
        let outline = self.outline();
        let running = self.running();
        // While a handler has the view locked, the last report of the pipeline is shown.
        let kept = match running {
            Some(_) => None,
            None => self.view_store.kept().await?,
        };
        if let (ProjectionState::NotStarted, Some(kept)) = (progress.state, kept) {
            progress.checkpoint = kept.checkpoint;
            progress.read_to = kept.checkpoint;
            progress.is_seen = kept.seen == VisibleView::This;
        }
        let failed = |error: RecordError| ProjectionError::of_record_error(outline.label(), error);
        let head = self.recorder.head().await.map_err(failed)?.checkpoint;
        let number = |checkpoint: Option<Checkpoint>| {
            Position::number(checkpoint.map(|checkpoint| checkpoint.position))
        };
        let lag_events = number(head).saturating_sub(number(progress.read_to));
        let mut lag = Duration::ZERO;
        if lag_events > 0 {
            let next = LogRead::of(outline.query())
                .after_checkpoint(progress.read_to)
                .limit(1);
            let page = self.recorder.read_log(next).await.map_err(failed)?;
            if let Some(next) = page.events.first() {
                let micros = self.clock.now().as_micros() - next.recorded_at().as_micros();
                lag = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
            }
        }
        Ok(ProjectionStatus {
            name: outline.name.clone(),
            version: outline.version,
            upstream: outline.upstream.clone(),
            state: progress.state,
            read_to: progress.read_to,
            checkpoint: progress.checkpoint,
            head,
            lag_events,
            lag,
            events_per_second: progress.rate.per_second(Instant::now()),
            skipped: kept.map_or(progress.skipped, |kept| kept.skipped),
            is_seen: progress.is_seen,
            running,
            last_error: progress.last_error,
        })
    }

    /// Returns the events that the projection skipped as poison, with the reasons, after the
    /// position `after`; see [`ViewStore::skipped`].
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit of 0; `Unavailable`, `Corrupt`.
    pub async fn skipped(
        &self,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<SkippedEvent>, ProjectionError> {
        self.view_store.skipped(after, limit).await
    }
}

impl fmt::Debug for ProjectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionHandle")
            .field("projection", self.outline())
            .field("progress", &self.receiver.borrow())
            .finish_non_exhaustive()
    }
}
