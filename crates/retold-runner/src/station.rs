//! A station: what the runner and the task of a follower know of each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use retold_core::following::{Follower, FollowerStatus, Pipeline, StatusCell};
use retold_core::recording::{Query, StoredEvent};
use tokio::sync::Notify;

use crate::turns::Turns;

/// The public side of one follower at work.
#[derive(Debug)]
pub(crate) struct Station {
    /// Name of its application.
    pub(crate) application: Arc<str>,
    /// Its name.
    pub(crate) follower: Arc<str>,
    /// Index of its application.
    pub(crate) application_index: usize,
    /// For each log that it follows, which application's it is.
    pub(crate) upstreams: Vec<usize>,
    /// Which of the follower's pipelines it is, from 0, and how many there are.
    pub(crate) lane: (u32, u32),
    /// The follower as it is defined: what it answers, and which of that is in which partition.
    pub(crate) definition: Follower,
    /// What it answers.
    pub(crate) query: Query,
    pub(crate) status: StatusCell,
    /// Those of its application, for followers that contend for the same.
    pub(crate) turns: Arc<Turns>,
    /// How many wait for it to record how far it is.
    waiters: AtomicUsize,
    hurried: Notify,
    /// Whether another process does the work.
    is_elsewhere: AtomicBool,
}

impl Station {
    pub(crate) fn new(
        pipeline: &Pipeline,
        application: usize,
        upstreams: Vec<usize>,
        turns: &Arc<Turns>,
    ) -> Self {
        let status = pipeline.status();
        let FollowerStatus {
            application: name,
            follower,
            ..
        } = status.read();
        Self {
            application: name,
            follower,
            application_index: application,
            upstreams,
            lane: pipeline.lane(),
            definition: pipeline.follower().clone(),
            query: pipeline.follower().query(),
            status,
            turns: Arc::clone(turns),
            waiters: AtomicUsize::new(0),
            hurried: Notify::new(),
            is_elsewhere: AtomicBool::new(false),
        }
    }

    /// Its name in messages.
    pub(crate) fn title(&self) -> String {
        let (application, follower) = (&self.application, &self.follower);
        match self.pipeline() {
            None => format!("{application}/{follower}"),
            Some(pipeline) => format!("{application}/{follower}/{pipeline}"),
        }
    }

    /// Its number among the follower's pipelines, if there are several.
    pub(crate) fn pipeline(&self) -> Option<u32> {
        let (pipeline, pipelines) = self.lane;
        (pipelines > 1).then_some(pipeline)
    }

    /// Whether it is known that this pipeline has one partition and each other has another.
    pub(crate) fn has_one_partition(&self) -> bool {
        self.status.read().partitions == self.lane.1
    }

    /// Which of so many partitions are its work.
    pub(crate) fn partitions_of(&self, partitions: u32) -> impl Iterator<Item = u32> + use<> {
        let (pipeline, pipelines) = self.lane;
        (pipeline..partitions).step_by(pipelines as usize)
    }

    /// Whether it answers an event that is in this partition of so many.
    pub(crate) fn is_of(&self, event: &StoredEvent, partition: u32, partitions: u32) -> bool {
        let rule = self.definition.partition_rule();
        rule.partition_of(event, partitions) == partition
    }

    /// Index of this application's log among those that it follows.
    pub(crate) fn upstream_of(&self, application: usize) -> Option<usize> {
        self.upstreams.iter().position(|it| *it == application)
    }

    /// Lets it record how far it is as soon as it has nothing left to read, as long as what is returned
    /// is kept.
    pub(crate) fn hurry(&self) -> Hurry<'_> {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        self.hurried.notify_one();
        Hurry(self)
    }

    pub(crate) fn is_hurried(&self) -> bool {
        self.waiters.load(Ordering::SeqCst) > 0
    }

    /// Waits until somebody begins to wait.
    pub(crate) async fn hurried(&self) {
        self.hurried.notified().await;
    }

    pub(crate) fn is_elsewhere(&self) -> bool {
        self.is_elsewhere.load(Ordering::Relaxed)
    }

    pub(crate) fn set_elsewhere(&self, is_elsewhere: bool) {
        self.is_elsewhere.store(is_elsewhere, Ordering::Relaxed);
    }
}

/// Somebody waits for a follower.
pub(crate) struct Hurry<'a>(&'a Station);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}
