//! A worker: the task that runs a unit's job while the unit's lease lasts.
//!
//! The task itself watches the time: even if renewals fail or hang, the job is dropped when the
//! lease ends, and the next holder of the lease decides again on everything that was not recorded.
//! This makes the placement take effect soon. Correctness does not depend on it: a suspended
//! process checks no clock.

use std::sync::Arc;
use std::time::Duration;

use retold_core::following::Phase;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::job::Job;
use crate::log_news::News;
use crate::options::MultiThreadOptions;

/// A job that runs under a lease.
pub(crate) struct Worker {
    stop: watch::Sender<bool>,
    leased_until: watch::Sender<Instant>,
    task: JoinHandle<Option<String>>,
    renewed_at: Instant,
    /// When it was asked to drain.
    draining_since: Option<Instant>,
    is_lost: bool,
}

impl Worker {
    /// Starts the job. `leased` is when the lease was requested; the lease lasts `time_to_live`
    /// from then. `ended` is notified when the job is over.
    pub(crate) fn start(
        job: Job,
        news: Vec<News>,
        options: MultiThreadOptions,
        leased: Instant,
        time_to_live: Duration,
        ended: Arc<Notify>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (leased_until, lease) = watch::channel(leased + time_to_live);
        let task = tokio::spawn(async move {
            let _ended = TellEnd(ended);
            let work = job.clone().run(news, stopped, options, Phase::Standby);
            let report = while_leased(lease, work).await;
            job.report_elsewhere().await;
            report
        });
        Self {
            stop,
            leased_until,
            task,
            renewed_at: leased,
            draining_since: None,
            is_lost: false,
        }
    }

    /// Returns whether its lease must be renewed: the last renewal is at least `interval` ago and
    /// the lease is not lost.
    pub(crate) fn is_due(&self, interval: Duration) -> bool {
        !self.is_lost && self.renewed_at.elapsed() >= interval
    }

    /// Records a renewal of the lease that was requested at this time.
    pub(crate) fn renewed(&mut self, at: Instant, time_to_live: Duration) {
        self.renewed_at = at;
        self.leased_until.send_replace(at + time_to_live);
    }

    /// Drops the job, because another process holds the lease or draining takes too long.
    pub(crate) fn lost(&mut self) {
        self.is_lost = true;
        self.leased_until.send_replace(Instant::now());
    }

    /// Asks the job to record the events that it has processed, and to end.
    pub(crate) fn drain(&mut self) {
        self.stop.send_replace(true);
        self.draining_since.get_or_insert_with(Instant::now);
    }

    /// Returns whether it has been draining for at least `drain_max`.
    pub(crate) fn is_late(&self, drain_max: Duration) -> bool {
        let since = self.draining_since;
        since.is_some_and(|since| since.elapsed() >= drain_max)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it is over. Returns the reason if something could not be recorded. Call it only
    /// once.
    pub(crate) async fn report(&mut self) -> Option<String> {
        match (&mut self.task).await {
            Ok(report) => report,
            Err(error) => Some(error.to_string()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Notifies that a job is over, however it ended.
struct TellEnd(Arc<Notify>);

impl Drop for TellEnd {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Runs the work until it is done or the lease ends.
async fn while_leased(
    mut lease: watch::Receiver<Instant>,
    work: impl Future<Output = Option<String>>,
) -> Option<String> {
    let mut work = Box::pin(work);
    loop {
        let until = *lease.borrow_and_update();
        if until <= Instant::now() {
            return Some("its lease ended before it finished".into());
        }
        tokio::select! {
            biased;
            () = sleep_until(until) => {}
            renewed = lease.changed() => renewed.ok()?,
            report = &mut work => return report,
        }
    }
}
