//! The lease of an outbox drained by a runner in one process: of all processes that run the system
//! on one store, one drains the outbox.
//!
//! Nodes of a cluster take the same lease for the outbox, so programs of both kinds exclude each
//! other. The holder renews it. The others check it now and then, and when it ends: a process that
//! was killed is replaced after one time to live; a process that stops releases the lease.

use std::sync::Arc;
use std::time::Duration;

use retold_core::following::Phase;
use retold_core::recording::{Lease, RecordError, Store};
use retold_core::system::OutboxPipeline;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::back_off::BackOff;
use crate::cluster::{Worker, in_time};
use crate::job::Job;
use crate::limits::OUTBOX_LOOK_MIN;
use crate::log_news::News;
use crate::options::MultiThreadOptions;
use crate::panics::caught;

/// An outbox whose lease this process holds or waits for.
pub(crate) struct OutboxLease {
    pub(crate) store: Arc<dyn Store>,
    /// The name of the lease.
    pub(crate) name: Arc<str>,
    /// The name of this process as a holder.
    pub(crate) holder: Arc<str>,
    pub(crate) job: Job,
    pub(crate) pipeline: Arc<Mutex<OutboxPipeline>>,
    pub(crate) news: Vec<News>,
    pub(crate) options: MultiThreadOptions,
}

impl OutboxLease {
    /// Drains the outbox while this process holds its lease, until it is stopped. Returns the
    /// reason if something could not be recorded.
    pub(crate) async fn keep(self, mut stop: watch::Receiver<bool>) -> Option<String> {
        let ended = Arc::new(Notify::new());
        let mut worker: Option<Worker> = None;
        let mut back_off = BackOff::new(self.options.back_off);
        self.report_phase(Phase::Standby).await;
        while !*stop.borrow() {
            if let Some(mut over) = worker.take_if(|it| it.is_over())
                && let Some(reason) = over.report().await
            {
                let outbox = self.job.title();
                tracing::warn!(
                    outbox,
                    reason,
                    "an outbox was given up with work unrecorded"
                );
            }
            let wait = match self.look(&mut worker, &ended).await {
                Ok(wait) => {
                    back_off.reset();
                    wait
                }
                Err(failure) => {
                    // While this process drains the outbox, the worker watches for the end of the
                    // lease.
                    if worker.is_none() {
                        let pipeline = self.pipeline.lock().await;
                        pipeline.report_failure(&format!("its lease cannot be taken: {failure}"));
                    }
                    back_off.next()
                }
            };
            tokio::select! {
                _ = stop.changed() => {}
                () = ended.notified() => {}
                () = sleep(wait) => {}
            }
        }
        let report = self.hand_over(worker).await;
        self.report_phase(Phase::Stopped).await;
        report
    }

    /// Takes or renews the lease, and starts or ends the work. Returns how long to wait before the
    /// next look.
    async fn look(
        &self,
        worker: &mut Option<Worker>,
        ended: &Arc<Notify>,
    ) -> Result<Duration, String> {
        let asked_at = Instant::now();
        let lease = caught(self.acquire()).await?;
        let lease = lease.map_err(|error| error.to_string())?;
        let time_to_live = self.options.outbox_time_to_live;
        if lease.holder != self.holder {
            if let Some(worker) = worker {
                worker.lost();
            }
            let now = caught(in_time(
                "reading the clock",
                self.call_max(),
                self.store.now(),
            ));
            let now = now.await?.map_err(|error| error.to_string())?;
            let left = lease.ends_at.as_micros().saturating_sub(now.as_micros());
            let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
            // A lease that was released is free; another process asked at the same time and got it.
            return Ok(left.min(self.call_max()).max(OUTBOX_LOOK_MIN));
        }
        match worker {
            Some(worker) => worker.renewed(asked_at, time_to_live),
            None => {
                let (outbox, term) = (self.job.title(), lease.term);
                tracing::info!(outbox, term, "this process drains an outbox");
                *worker = Some(Worker::start(
                    self.job.clone(),
                    self.news.clone(),
                    self.options.clone(),
                    asked_at,
                    time_to_live,
                    Arc::clone(ended),
                ));
            }
        }
        Ok(self.call_max())
    }

    /// Waits until the delivery in progress ends and is recorded, renews the lease meanwhile, and
    /// then releases it.
    async fn hand_over(&self, worker: Option<Worker>) -> Option<String> {
        let mut worker = worker?;
        worker.drain();
        let report = loop {
            if worker.is_due(self.call_max()) {
                let asked_at = Instant::now();
                match caught(self.acquire()).await {
                    Ok(Ok(lease)) if lease.holder == self.holder => {
                        worker.renewed(asked_at, self.options.outbox_time_to_live);
                    }
                    Ok(Ok(_)) => worker.lost(),
                    Ok(Err(_)) | Err(_) => {}
                }
            }
            if let Ok(report) = timeout(self.call_max(), worker.report()).await {
                break report;
            }
        };
        let release = self.store.release_lease(&self.name, &self.holder);
        let release = in_time("releasing a lease", self.call_max(), release);
        if let Ok(Err(error)) = caught(release).await {
            let lease = &*self.name;
            tracing::warn!(lease, %error, "a lease was not released; it ends by itself");
        }
        report
    }

    async fn acquire(&self) -> Result<Lease, RecordError> {
        let time_to_live = self.options.outbox_time_to_live;
        let call = (self.store).acquire_lease(&self.name, &self.holder, time_to_live);
        in_time("taking a lease", self.call_max(), call).await
    }

    /// How long after a renewal the lease is renewed again, and how long one call may take. Two
    /// attempts can fail before the lease ends.
    fn call_max(&self) -> Duration {
        self.options.outbox_time_to_live / 3
    }

    async fn report_phase(&self, phase: Phase) {
        self.pipeline.lock().await.report_phase(phase);
    }
}
