//! Waiting for followers, in whichever process they run.
//!
//! The follower's task in this process notifies waiters when it has recorded something; when
//! another process does the work, the log is polled.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use retold_core::application::Application;
use retold_core::following::{FollowerOperator, FollowerRecord, Phase};
use retold_core::recording::{Checkpoint, LogRead, PageEnd, Position};
use retold_core::system::{Behind, CausedSearch, OpenSystem, WaitError};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::follower_cell::FollowerCell;
use crate::lag::take_in;
use crate::limits::{LEFT_PAGE_EVENTS, WAIT_LOOK_INTERVAL, WAIT_LOOK_INTERVAL_HERE};

/// The target of a wait: a follower, one of its logs, and a position.
pub(crate) struct FollowerGoal<'a> {
    pub(crate) cell: &'a FollowerCell,
    /// Index among the logs that the follower follows.
    pub(crate) upstream: usize,
    pub(crate) position: Position,
    /// The follower's recorded checkpoint when the log was last read.
    recorded: Mutex<Option<Position>>,
}

impl<'a> FollowerGoal<'a> {
    pub(crate) fn new(cell: &'a FollowerCell, upstream: usize, position: Position) -> Self {
        Self {
            cell,
            upstream,
            position,
            recorded: Mutex::default(),
        }
    }

    fn checkpoint(&self) -> Option<Position> {
        let status = self.cell.status.read();
        let upstream = status.upstreams.get(self.upstream)?;
        upstream.checkpoint.map(|checkpoint| checkpoint.position)
    }

    fn is_reached(&self) -> bool {
        // With several partitions, the status describes only one of them.
        self.cell.has_one_partition() && self.checkpoint() >= Some(self.position)
    }

    fn behind(&self) -> Behind {
        let recorded = *self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let status = self.cell.status.read();
        Behind::Follower {
            follower: self.cell.path(),
            pipeline: self.cell.pipeline(),
            upstream: Arc::clone(&status.upstreams[self.upstream].upstream),
            position: self.position,
            checkpoint: self.checkpoint().max(recorded),
            phase: status.phase,
            holder: None,
        }
    }

    /// Returns how often the log is polled.
    fn look_interval(&self) -> Duration {
        match self.cell.is_elsewhere() || !self.cell.has_one_partition() {
            true => WAIT_LOOK_INTERVAL,
            false => WAIT_LOOK_INTERVAL_HERE,
        }
    }

    /// Waits until the goal is reached; returns false if the deadline came first, even during a
    /// call to the store.
    async fn wait(&self, open: &OpenSystem, deadline: Instant) -> Result<bool, WaitError> {
        match timeout_at(deadline, self.reached(open)).await {
            Ok(reached) => reached.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    async fn reached(&self, open: &OpenSystem) -> Result<(), WaitError> {
        let cell = self.cell;
        let _hurry = cell.hurry();
        let mut changes = cell.status.changes();
        let mut look = match cell.is_elsewhere() {
            // This process knows only an old state.
            true => Instant::now(),
            false => Instant::now() + self.look_interval(),
        };
        loop {
            if self.is_reached() {
                return Ok(());
            }
            let phase = cell.status.read().phase;
            let is_halted = matches!(
                phase,
                Phase::Paused | Phase::Retired | Phase::Failed | Phase::Stopped
            );
            if is_halted || look <= Instant::now() {
                if self.is_recorded(open, is_halted.then_some(phase)).await? {
                    return Ok(());
                }
                look = Instant::now() + self.look_interval();
            }
            tokio::select! {
                () = changes.next() => {}
                () = sleep_until(look) => {}
            }
        }
    }

    /// Returns whether no events for a partition remain, given this number of partitions. Another
    /// process cannot be hurried, and it records late that it passed over such events.
    async fn is_passed(
        &self,
        upstream: &Application,
        checkpoint: Option<Checkpoint>,
        (partition, partitions): (u32, u32),
    ) -> Result<bool, WaitError> {
        let mut after = checkpoint;
        loop {
            let left = LogRead::of(self.cell.query.clone())
                .after_checkpoint(after)
                .until(self.position)
                .limit(LEFT_PAGE_EVENTS);
            let page = upstream.recorder().read_log(left).await?;
            let mut events = page.events.iter();
            if events.any(|event| self.cell.is_of(event, partition, partitions)) {
                return Ok(false);
            }
            after = page.read_to;
            let is_there = page.read_to_position() >= Some(self.position);
            if page.end == PageEnd::Complete || is_there {
                return Ok(is_there);
            }
            // A store that responds immediately would keep the deadline from being checked.
            yield_now().await;
        }
    }

    /// Returns whether each partition that this pipeline owns is recorded at the position.
    async fn are_partitions_there(
        &self,
        operator: &FollowerOperator,
        record: &FollowerRecord,
        upstream: &Application,
    ) -> Result<bool, WaitError> {
        let Some(log) = upstream.log_id().await? else {
            return Ok(false);
        };
        for partition in self.cell.partitions_of(record.partitions) {
            let checkpoint = operator.checkpoint_of(record, partition, log).await?;
            let recorded = checkpoint.map(|checkpoint| checkpoint.position);
            if recorded >= Some(self.position) {
                continue;
            }
            *self.recorded.lock().unwrap_or_else(PoisonError::into_inner) = recorded;
            let of = (partition, record.partitions);
            let is_there =
                self.cell.is_elsewhere() && self.is_passed(upstream, checkpoint, of).await?;
            if !is_there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads from the log whether the goal is reached.
    async fn is_recorded(
        &self,
        open: &OpenSystem,
        halted: Option<Phase>,
    ) -> Result<bool, WaitError> {
        let cell = self.cell;
        let application = &open.applications()[cell.application_index];
        let upstream = &open.applications()[cell.upstreams[self.upstream]];
        let operator = FollowerOperator::new(application, Arc::clone(&cell.follower));
        let record = operator.record().await?;
        let has_started = record.version.is_some();
        if has_started
            && self
                .are_partitions_there(&operator, &record, upstream)
                .await?
        {
            return Ok(true);
        }
        // The record is newer than the status: an act may not have been noticed yet.
        let mut status = cell.status.read();
        take_in(&mut status, &record);
        if record.retired.is_none() && record.paused.is_none() {
            match halted {
                // It may not have noticed that it was resumed.
                None | Some(Phase::Paused | Phase::Retired) => return Ok(false),
                Some(phase) => status.phase = phase,
            }
        }
        WaitError::halted(&status).map_or(Ok(false), Err)
    }
}

/// Waits until all goals are reached.
pub(crate) async fn wait_for_goals(
    open: &OpenSystem,
    goals: &[FollowerGoal<'_>],
    deadline: Instant,
) -> Result<(), WaitError> {
    let reached = try_join_all(goals.iter().map(|goal| goal.wait(open, deadline))).await?;
    let late = goals.iter().zip(reached).filter(|(_, reached)| !reached);
    let behind: Vec<_> = late.map(|(goal, _)| goal.behind()).collect();
    match behind.is_empty() {
        true => Ok(()),
        false => Err(WaitError::Timeout {
            behind,
            searching: None,
        }),
    }
}

/// Waits until everything is processed that the log of the application at this index caused, up to
/// and including this position.
pub(crate) async fn wait_for_caused(
    open: &OpenSystem,
    cells: &[Arc<FollowerCell>],
    (application, position): (usize, Position),
    deadline: Instant,
) -> Result<(), WaitError> {
    let mut search = CausedSearch::new(open, application, position);
    let waiting = async {
        while let Some((log, position)) = search.next().await? {
            wait_for_goals(open, &goals(cells, log, position), deadline).await?;
        }
        Ok(())
    };
    match timeout_at(deadline, waiting).await {
        Ok(waited) => waited,
        Err(_) => Err(WaitError::Timeout {
            behind: Vec::new(),
            searching: Some(search.searching().clone()),
        }),
    }
}

/// Returns a goal for every follower of a log: to process it up to a position.
pub(crate) fn goals(
    cells: &[Arc<FollowerCell>],
    log: usize,
    position: Position,
) -> Vec<FollowerGoal<'_>> {
    let goals = cells.iter().filter_map(|cell| {
        let upstream = cell.upstream_of(log)?;
        Some(FollowerGoal::new(cell, upstream, position))
    });
    goals.collect()
}
