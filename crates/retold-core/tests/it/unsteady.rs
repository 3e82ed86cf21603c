//! A recorder that is slow, fails and gives foolish hints, as the contract allows: it pends at random,
//! is unavailable at random, cuts pages short and wakes whoever waits for nothing.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use retold_core::recording::append::{Append, Appended};
use retold_core::recording::error::RecordError;
use retold_core::recording::identity::{EventId, LogId, Mark, Version};
use retold_core::recording::limits::Limits;
use retold_core::recording::recorder::{
    BoxFuture, Head, LogRead, Page, Recorder, StreamEntry, StreamRead, StretchRead,
};
use retold_core::recording::snapshot::StoredSnapshot;
use retold_core::recording::stored_event::StoredEvent;
use retold_core::recording::stretch::{FollowerKey, RecordedStretch};

/// Wraps a recorder; see the module.
pub(crate) struct Unsteady {
    steady: Arc<dyn Recorder>,
    random: Mutex<fastrand::Rng>,
}

impl Unsteady {
    pub(crate) fn new(steady: Arc<dyn Recorder>, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            steady,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        })
    }

    fn below(&self, bound: usize) -> usize {
        self.random.lock().unwrap().usize(..bound)
    }

    /// Pends a few times, so that others come in between.
    async fn pause(&self) {
        let mut polls_left = self.below(4);
        poll_fn(|context| {
            if polls_left == 0 {
                return Poll::Ready(());
            }
            polls_left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Pends a few times, then is unavailable once in a while.
    async fn stumble(&self) -> Result<(), RecordError> {
        self.pause().await;
        if self.below(5) == 0 {
            let stumbled = std::io::Error::other("stumbled");
            return Err(RecordError::unavailable("walking", stumbled));
        }
        Ok(())
    }
}

impl Recorder for Unsteady {
    fn log_name(&self) -> &str {
        self.steady.log_name()
    }

    fn limits(&self) -> Limits {
        self.steady.limits()
    }

    fn log_id(&self) -> BoxFuture<'_, Result<Option<LogId>, RecordError>> {
        self.steady.log_id()
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        Box::pin(async move {
            self.pause().await;
            let appended = self.steady.append(append).await;
            self.pause().await;
            appended
        })
    }

    fn read_log(&self, mut read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            self.stumble().await?;
            read.limit = read.limit.min(1 + self.below(20));
            let page = self.steady.read_log(read).await;
            self.stumble().await?;
            page
        })
    }

    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            self.pause().await;
            let page = self.steady.read_stream(read).await;
            self.pause().await;
            page
        })
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>> {
        Box::pin(async move {
            self.pause().await;
            let event = self.steady.event(id).await;
            self.pause().await;
            event
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>> {
        self.steady.head()
    }

    fn streams<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>, RecordError>> {
        self.steady.streams(prefix, after, limit)
    }

    fn checkpoint<'a>(
        &'a self,
        follower: &'a FollowerKey,
        upstream: LogId,
    ) -> BoxFuture<'a, Result<Option<Mark>, RecordError>> {
        self.steady.checkpoint(follower, upstream)
    }

    fn stretches(
        &self,
        read: StretchRead,
    ) -> BoxFuture<'_, Result<Vec<RecordedStretch>, RecordError>> {
        self.steady.stretches(read)
    }

    fn changed_since(&self, append_count: u64) -> BoxFuture<'_, Result<u64, RecordError>> {
        Box::pin(async move {
            self.stumble().await?;
            if self.below(4) == 0 {
                return Ok(append_count);
            }
            self.steady.changed_since(append_count).await
        })
    }

    fn put_snapshot(&self, snapshot: StoredSnapshot) -> BoxFuture<'_, Result<(), RecordError>> {
        self.steady.put_snapshot(snapshot)
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a str,
        until: Option<Version>,
    ) -> BoxFuture<'a, Result<Option<StoredSnapshot>, RecordError>> {
        self.steady.snapshot(stream, until)
    }

    fn drop_snapshots<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<(), RecordError>> {
        self.steady.drop_snapshots(stream)
    }
}
