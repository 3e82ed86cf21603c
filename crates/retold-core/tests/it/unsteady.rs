//! A recorder that is slow, fails and gives useless hints, as the contract allows: it pends at
//! random, is unavailable at random, cuts pages short and wakes waiters without a reason.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use retold_core::recording::{
    Append, Appended, BoxFuture, EventId, LogRead, Page, RecordError, Recorder, RecorderLayer,
    StoredEvent, StreamRead,
};

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

    /// Pends a few times, then is sometimes unavailable.
    async fn stumble(&self) -> Result<(), RecordError> {
        self.pause().await;
        if self.below(5) == 0 {
            let stumbled = std::io::Error::other("stumbled");
            return Err(RecordError::unavailable("walking", stumbled));
        }
        Ok(())
    }
}

impl RecorderLayer for Unsteady {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.steady
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

    fn changed_since(&self, append_count: u64) -> BoxFuture<'_, Result<u64, RecordError>> {
        Box::pin(async move {
            self.stumble().await?;
            if self.below(4) == 0 {
                return Ok(append_count);
            }
            self.steady.changed_since(append_count).await
        })
    }
}
