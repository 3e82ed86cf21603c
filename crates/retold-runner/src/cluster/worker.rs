//! A worker: the task that does a unit's job as long as the unit's lease lasts.
//!
//! The task itself watches the time: whatever becomes of those who renew the lease, the job is dropped
//! when it ends, and what was not recorded then is decided again by whoever has the lease next. That
//! is so placement comes true soon. It makes nothing correct: a process that sleeps looks at no clock.

use std::sync::Arc;
use std::time::Duration;

use retold_core::following::Phase;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::job::Job;
use crate::log_news::News;
use crate::options::MultiThreadOptions;

/// A job that is being done under a lease.
pub(crate) struct Worker {
    stop: watch::Sender<bool>,
    leased_until: watch::Sender<Instant>,
    task: JoinHandle<Option<String>>,
    renewed_at: Instant,
    /// When it was told to drain.
    draining_since: Option<Instant>,
    is_lost: bool,
}

impl Worker {
    /// Begins. `leased` is when the lease was asked for, from which on it lasts `time_to_live`; `ended`
    /// is told when the job is over.
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
            job.tell_elsewhere().await;
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

    /// Whether its lease was renewed so long ago, and is to be kept.
    pub(crate) fn is_due(&self, interval: Duration) -> bool {
        !self.is_lost && self.renewed_at.elapsed() >= interval
    }

    /// The lease was renewed; it was asked for at this time.
    pub(crate) fn renewed(&mut self, at: Instant, time_to_live: Duration) {
        self.renewed_at = at;
        self.leased_until.send_replace(at + time_to_live);
    }

    /// Somebody else has the lease, or it takes too long: the job is dropped.
    pub(crate) fn lost(&mut self) {
        self.is_lost = true;
        self.leased_until.send_replace(Instant::now());
    }

    /// Lets it record what was answered, and end.
    pub(crate) fn drain(&mut self) {
        self.stop.send_replace(true);
        self.draining_since.get_or_insert_with(Instant::now);
    }

    /// Whether it has been draining for so long.
    pub(crate) fn is_late(&self, drain_max: Duration) -> bool {
        let since = self.draining_since;
        since.is_some_and(|since| since.elapsed() >= drain_max)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it is over. Says why something could not be recorded. To be called once.
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

/// Tells that a job is over, however it ended.
struct TellEnd(Arc<Notify>);

impl Drop for TellEnd {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Does the work until it is done, or the lease ends.
async fn while_leased(
    mut lease: watch::Receiver<Instant>,
    work: impl Future<Output = Option<String>>,
) -> Option<String> {
    let mut work = Box::pin(work);
    loop {
        let until = *lease.borrow_and_update();
        if until <= Instant::now() {
            return Some("its lease ended before that".into());
        }
        tokio::select! {
            biased;
            () = sleep_until(until) => {}
            renewed = lease.changed() => renewed.ok()?,
            report = &mut work => return report,
        }
    }
}
