//! A follower cell: the state that the runner and a follower's task share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use retold_core::following::{Follower, FollowerStatus, Pipeline, StatusCell};
use retold_core::recording::{Query, StoredEvent};
use retold_core::system::FollowerPath;
use tokio::sync::Notify;

use crate::turns::Turns;

/// The public side of a running follower.
#[derive(Debug)]
pub(crate) struct FollowerCell {
    /// The name of its application.
    pub(crate) application: Arc<str>,
    /// Its name.
    pub(crate) follower: Arc<str>,
    /// Index of its application.
    pub(crate) application_index: usize,
    /// For each log that it follows, the index of the application that owns the log.
    pub(crate) upstreams: Vec<usize>,
    /// The index of this pipeline of the follower, from 0, and the number of its pipelines.
    pub(crate) lane: (u32, u32),
    /// The follower's definition: the events that it processes, and their partitions.
    pub(crate) definition: Follower,
    /// The events that it processes.
    pub(crate) query: Query,
    pub(crate) status: StatusCell,
    /// The turns of its application, for followers that contend for the same thing.
    pub(crate) turns: Arc<Turns>,
    /// The number of callers that wait for it to record its checkpoint.
    waiters: AtomicUsize,
    hurried: Notify,
    /// Whether another process does the work.
    is_elsewhere: AtomicBool,
}

impl FollowerCell {
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

    /// Returns its path.
    pub(crate) fn path(&self) -> FollowerPath {
        FollowerPath::new(Arc::clone(&self.application), Arc::clone(&self.follower))
    }

    /// Returns its name for messages.
    pub(crate) fn title(&self) -> String {
        let path = self.path();
        match self.pipeline() {
            None => path.to_string(),
            Some(pipeline) => format!("{path}/{pipeline}"),
        }
    }

    /// Returns its number among the follower's pipelines, if there are several.
    pub(crate) fn pipeline(&self) -> Option<u32> {
        let (pipeline, pipelines) = self.lane;
        (pipelines > 1).then_some(pipeline)
    }

    /// Returns whether it is known that this pipeline has exactly one partition, and so has each
    /// other pipeline.
    pub(crate) fn has_one_partition(&self) -> bool {
        self.status.read().partitions == self.lane.1
    }

    /// Returns the partitions that it owns, given the number of partitions.
    pub(crate) fn partitions_of(&self, partitions: u32) -> impl Iterator<Item = u32> + use<> {
        let (pipeline, pipelines) = self.lane;
        (pipeline..partitions).step_by(pipelines as usize)
    }

    /// Returns whether an event is in this partition, given the number of partitions.
    pub(crate) fn is_of(&self, event: &StoredEvent, partition: u32, partitions: u32) -> bool {
        let rule = self.definition.partition_rule();
        rule.partition_of(event, partitions) == partition
    }

    /// Returns the index of this application's log among the logs that it follows.
    pub(crate) fn upstream_of(&self, application: usize) -> Option<usize> {
        self.upstreams.iter().position(|it| *it == application)
    }

    /// Makes it record its checkpoint as soon as it has nothing left to read, until the returned
    /// guard is dropped.
    pub(crate) fn hurry(&self) -> Hurry<'_> {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        self.hurried.notify_one();
        Hurry(self)
    }

    pub(crate) fn is_hurried(&self) -> bool {
        self.waiters.load(Ordering::SeqCst) > 0
    }

    /// Waits until a caller starts to wait.
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

/// Marks that a caller waits for a follower.
pub(crate) struct Hurry<'a>(&'a FollowerCell);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}
