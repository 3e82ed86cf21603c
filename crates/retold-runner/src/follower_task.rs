//! The task of one follower: drives its pipeline, waits between steps, retries after failures,
//! gives way to other processes, and records the remaining work when the runner stops.
//!
//! It does not prefetch pages. On SQLite, reading all pages of a backlog of 100 000 events took
//! 0.18 s of the 4.1 s in which a follower with batches of 100 processed them (example
//! `follower_speed`, two busy cores), so prefetching could save 4 % at best, and only with a core
//! to spare.
//!
//! The task keeps its pipeline through failures and panics, so that an append whose outcome is
//! unknown is resent before anything else is decided. It may be aborted at any moment: the next
//! task finds everything that was recorded.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use retold_core::application::{Error, Result};
use retold_core::following::{FollowerOperator, Phase, Pipeline, Step};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument;

use crate::back_off::BackOff;
use crate::follower_cell::FollowerCell;
use crate::limits::{FAILED_LOOK_INTERVAL, OWN_LOG_INTERVAL};
use crate::log_news::{News, any_news, mark_known, next_news};
use crate::options::MultiThreadOptions;
use crate::panics::caught;
use crate::policy_watch::{Over, policy_over};
use crate::polling::next_look;
use crate::standby::Standby;
use crate::telemetry::FollowerMetrics;

/// One follower and its task's state.
pub(crate) struct FollowerTask {
    pipeline: OwnedMutexGuard<Pipeline>,
    cell: Arc<FollowerCell>,
    /// News of the logs that it follows.
    upstreams: Vec<News>,
    /// News of its own log, if it does not follow that.
    own: Option<News>,
    stop: watch::Receiver<bool>,
    options: MultiThreadOptions,
    metrics: FollowerMetrics,
    back_off: BackOff,
    standby: Standby,
    /// Since when it has had processed events whose checkpoint is not recorded.
    unflushed_since: Option<Instant>,
    /// When it last checked its own log.
    looked_at: Instant,
}

/// The outcome of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Moved,
    Idle,
    Paused,
    /// Another process was faster.
    Overtaken,
    /// The store failed; a retry may succeed.
    Retry,
    /// It needs an operator's attention.
    Failed,
}

/// The outcome of a piece of work: a step, `None` if a store did not respond, an error, or a panic.
type Worked = Result<Result<Option<Step>>, String>;

impl FollowerTask {
    pub(crate) fn new(
        pipeline: OwnedMutexGuard<Pipeline>,
        cell: Arc<FollowerCell>,
        news: &[News],
        stop: watch::Receiver<bool>,
        options: MultiThreadOptions,
    ) -> Self {
        let upstreams = cell.upstreams.iter().map(|log| news[*log].clone());
        let own = cell.application_index;
        Self {
            upstreams: upstreams.collect(),
            own: (!cell.upstreams.contains(&own)).then(|| news[own].clone()),
            metrics: FollowerMetrics::new(&cell.application, &cell.follower, cell.pipeline()),
            back_off: BackOff::new(options.back_off),
            standby: Standby::new(options.standby),
            unflushed_since: None,
            looked_at: Instant::now(),
            pipeline,
            cell,
            stop,
            options,
        }
    }

    /// Works until it is stopped, and is then in the phase `after`. Returns the reason if something
    /// could not be recorded.
    pub(crate) async fn run(mut self, after: Phase) -> Option<String> {
        let mut last = Round::Idle;
        while !*self.stop.borrow() {
            last = self.round().await;
            self.rest_after(last).await;
        }
        let failure = self.finish(last).await;
        self.pipeline.report_phase(after);
        failure
    }

    async fn round(&mut self) -> Round {
        mark_known(&mut self.upstreams);
        mark_known(self.own.as_mut_slice());
        self.looked_at = Instant::now();
        let before = self.pipeline.counts();
        let span = tracing::debug_span!(
            "retold.follow",
            application = &*self.cell.application,
            follower = &*self.cell.follower
        );
        let worked = self.work_watched().instrument(span).await;
        let after = self.pipeline.counts();
        self.metrics.count(before, after);
        self.metrics.announce(&self.cell.status.read());
        let round = self.judge(worked);
        if after.overtaken > before.overtaken && round != Round::Retry {
            return Round::Overtaken;
        }
        if after.appends > before.appends {
            self.standby.won();
            self.cell.set_elsewhere(false);
        }
        round
    }

    /// Works, but drops a policy that takes too long or whose follower an operator has changed.
    async fn work_watched(&mut self) -> Worked {
        let status = self.cell.status.clone();
        let name: Arc<str> = Arc::clone(&self.cell.follower);
        let operator = FollowerOperator::new(self.pipeline.application(), name);
        let over = tokio::select! {
            biased;
            worked = caught(self.work()) => return worked.map(|worked| worked.map(Some)),
            over = policy_over(&status, &operator) => over,
        };
        match over {
            Over::Changed => {
                self.pipeline.invalidate();
                Ok(Ok(Some(Step::Moved)))
            }
            Over::Late(late) => {
                let reason = format!(
                    "the policy did not return within its limit of {:?}",
                    late.time_max
                );
                self.pipeline.give_up_policy(reason);
                Ok(Ok(Some(Step::Moved)))
            }
            Over::StoreSilent(late, silent) => {
                self.pipeline.invalidate();
                let reason = format!("{late}, and its store has not responded for {silent:?}");
                self.pipeline.report_failure(Phase::Retrying, &reason);
                Ok(Ok(None))
            }
        }
    }

    fn judge(&mut self, worked: Worked) -> Round {
        let error = match worked {
            Ok(Ok(None)) => {
                self.metrics.count_retry();
                return Round::Retry;
            }
            Ok(Ok(Some(step))) => {
                self.back_off.reset();
                return match step {
                    // Another process may process the event that it holds before, which brings
                    // news.
                    Step::Idle | Step::Holding => Round::Idle,
                    Step::Paused => Round::Paused,
                    _ => Round::Moved,
                };
            }
            Ok(Err(error)) => error,
            Err(panic) => {
                self.pipeline.invalidate();
                if self.cell.status.read().failures == 0 {
                    let follower = self.cell.title();
                    tracing::error!(follower, panic, "a follower panicked and is retried");
                }
                self.pipeline.report_failure(Phase::Retrying, &panic);
                return Round::Retry;
            }
        };
        let follower = self.cell.title();
        match error {
            Error::Unavailable(_) | Error::OutcomeUnknown { .. } | Error::Conflict(_) => {
                self.metrics.count_retry();
                self.pipeline.report_phase(Phase::Retrying);
                tracing::warn!(follower, %error, "a follower retries");
                Round::Retry
            }
            // The pipeline has reported it.
            _ => Round::Failed,
        }
    }

    /// Runs a step. If nothing is left to read and the flush delay has passed, records the
    /// checkpoint of the processed events.
    async fn work(&mut self) -> Result<Step> {
        let turn = match self.pipeline.contended() {
            Some(contended) => self.turn(contended).await,
            None => None,
        };
        let step = match turn {
            Some(turn) => self.pipeline.step_in_turn(turn).await?,
            None => self.pipeline.step().await?,
        };
        if !self.pipeline.is_unflushed() {
            self.unflushed_since = None;
            return Ok(step);
        }
        let since = *self.unflushed_since.get_or_insert_with(Instant::now);
        if step != Step::Idle || Instant::now() < since + self.flush_delay() {
            return Ok(step);
        }
        self.unflushed_since = None;
        self.pipeline.flush_idle().await?;
        Ok(Step::Moved)
    }

    /// Waits for its turn to decide on state that others changed; returns `None` if that takes too
    /// long or the runner stops.
    async fn turn(&mut self, contended: u64) -> Option<OwnedMutexGuard<()>> {
        // A separate receiver, so that the task itself still sees the change.
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            _ = stop.changed() => None,
            turn = self.cell.turns.take(contended) => turn,
        }
    }

    fn flush_delay(&self) -> Duration {
        let is_waited_for = self.cell.is_hurried() && !self.standby.is_on();
        if self.pipeline.has_effects() || is_waited_for {
            return Duration::ZERO;
        }
        match self.pipeline.is_flush_due() {
            true => self.options.flush_delay,
            false => self.options.passed_flush_delay,
        }
    }

    /// Waits until there may be work.
    async fn rest_after(&mut self, round: Round) {
        match round {
            Round::Moved => tokio::task::yield_now().await,
            Round::Idle => self.wait_for_news().await,
            Round::Paused => self.wait_for_operator().await,
            Round::Overtaken => {
                let wait = self.standby.lost(Instant::now());
                self.stand_by(wait).await;
            }
            Round::Retry => {
                let wait = self.back_off.next();
                self.pause(wait).await;
            }
            Round::Failed => self.wait_for_mending().await,
        }
    }

    async fn wait_for_news(&mut self) {
        if self.standby.is_on() {
            self.pipeline.report_phase(Phase::Standby);
        }
        let flush_delay = self.flush_delay();
        let flush = self.unflushed_since.map(|since| since + flush_delay);
        let poll = next_look(self.options.poll_interval);
        let wake = flush.map_or(poll, |flush| flush.min(poll));
        let own_look = self.looked_at + OWN_LOG_INTERVAL;
        let is_unflushed = self.unflushed_since.is_some() && !self.standby.is_on();
        tokio::select! {
            biased;
            _ = self.stop.changed() => return,
            () = any_news(&mut self.upstreams) => {}
            () = own_news(self.own.as_mut(), own_look) => {}
            () = self.cell.hurried(), if is_unflushed => {}
            () = sleep_until(wake) => {}
        }
        if self.standby.is_on() {
            let wait = self.standby.wait();
            self.stand_by(wait).await;
        }
    }

    /// Waits while another process does the work; then continues from the state which that process
    /// recorded.
    async fn stand_by(&mut self, wait: Duration) {
        self.cell.set_elsewhere(true);
        self.pipeline.report_phase(Phase::Standby);
        self.pause(wait).await;
        self.pipeline.invalidate();
    }

    async fn wait_for_operator(&mut self) {
        let poll = next_look(self.options.poll_interval);
        let look = self.looked_at + OWN_LOG_INTERVAL;
        let upstreams = &mut self.upstreams;
        tokio::select! {
            biased;
            _ = self.stop.changed() => {}
            () = own_news(self.own.as_mut(), look) => {}
            // In this case its own log is among the upstreams.
            () = any_news(upstreams), if self.own.is_none() => {}
            () = sleep_until(poll) => {}
        }
    }

    /// Waits until it is time to retry after a failure, or until an operator has acted.
    async fn wait_for_mending(&mut self) {
        let until = Instant::now() + self.options.failed_interval;
        let name: Arc<str> = Arc::clone(&self.cell.follower);
        let operator = FollowerOperator::new(self.pipeline.application(), name);
        let known = self.pipeline.record().version;
        while Instant::now() < until && !*self.stop.borrow() {
            let look = FAILED_LOOK_INTERVAL.min(until - Instant::now());
            self.pause(look).await;
            let record = caught(operator.record()).await;
            if let Ok(Ok(record)) = record
                && record.version != known
            {
                return;
            }
        }
    }

    /// Waits for this long, or until it is stopped.
    async fn pause(&mut self, wait: Duration) {
        tokio::select! {
            biased;
            _ = self.stop.changed() => {}
            () = sleep(wait) => {}
        }
    }

    /// Records the checkpoint of events that were processed and not recorded yet. Returns the
    /// reason if that failed.
    async fn finish(&mut self, last: Round) -> Option<String> {
        let finished = match last {
            Round::Paused | Round::Failed => return None,
            // Only the appends already sent are reliable; other state in memory is not.
            Round::Retry | Round::Overtaken => match self.pipeline.is_ready() {
                true => caught(self.pipeline.prepare()).await,
                // To send an append again needs no upstream, which may be what failed.
                false => caught(self.pipeline.flush_idle()).await,
            },
            Round::Moved | Round::Idle => {
                match self.standby.is_on() && !self.pipeline.has_effects() {
                    true => return None,
                    false => caught(self.pipeline.flush_idle()).await,
                }
            }
        };
        match finished {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(panic),
        }
    }
}

/// Waits for news of a follower's own log, but not before `look`; forever if there is no such log.
async fn own_news(own: Option<&mut News>, look: Instant) {
    match own {
        Some(own) => {
            next_news(own).await;
            sleep_until(look).await;
        }
        None => pending().await,
    }
}
