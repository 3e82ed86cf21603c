//! A recorder whose calls wait for the scheduler when an actor makes them.

use std::sync::Arc;

use super::call::{Call, CallOutcome};
use super::parking::{LogIndex, Parking};
use crate::recording::limits::Limits;
use crate::recording::{
    Append, Appended, BoxFuture, Checkpoint, EventId, FollowerKey, Head, LogId, LogRead, Page,
    Position, RangeRead, RecordError, RecordedRange, Recorder, StoredEvent, StoredSnapshot,
    StreamEntry, StreamRead, Version,
};

/// One opening of a log of a simulated store.
pub(crate) struct SimulatedRecorder {
    pub(crate) parking: Arc<Parking>,
    pub(crate) log: LogIndex,
    pub(crate) inner: Arc<dyn Recorder>,
}

impl SimulatedRecorder {
    /// Makes a call of the inner recorder when its turn comes.
    fn call<T, F>(
        &self,
        call: Call,
        outcome: fn(&T) -> CallOutcome,
        deed: impl FnOnce(Arc<dyn Recorder>) -> F,
    ) -> BoxFuture<'static, Result<T, RecordError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RecordError>> + Send + 'static,
    {
        let deed = Box::pin(deed(Arc::clone(&self.inner)));
        self.parking.call(Some(self.log), call, deed, outcome)
    }
}

fn some<T>(found: &Option<T>) -> CallOutcome {
    CallOutcome::Answered(u64::from(found.is_some()))
}

fn page(page: &Page) -> CallOutcome {
    CallOutcome::Answered(page.events.len() as u64)
}

impl Recorder for SimulatedRecorder {
    fn log_name(&self) -> &str {
        self.inner.log_name()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn log_id(&self) -> BoxFuture<'_, Result<Option<LogId>, RecordError>> {
        self.call(Call::Other("log_id"), some, |inner| async move {
            inner.log_id().await
        })
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        let call = Call::append(&append);
        self.call(call, CallOutcome::appended, |inner| async move {
            inner.append(append).await
        })
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        let after = Position::number(read.after);
        self.call(Call::ReadLog { after }, page, |inner| async move {
            inner.read_log(read).await
        })
    }

    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        let call = Call::ReadStream {
            stream: Arc::clone(&read.stream),
            after: Version::number(read.after),
        };
        self.call(
            call,
            page,
            |inner| async move { inner.read_stream(read).await },
        )
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>> {
        self.call(Call::Other("event"), some, move |inner| async move {
            inner.event(id).await
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>> {
        let position = |head: &Head| CallOutcome::Answered(Position::number(head.position()));
        self.call(Call::Other("head"), position, |inner| async move {
            inner.head().await
        })
    }

    fn streams<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>, RecordError>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.call(
            Call::Other("streams"),
            |found| CallOutcome::counted(found),
            move |inner| async move { inner.streams(&prefix, after.as_deref(), limit).await },
        )
    }

    fn topics<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<str>>, RecordError>> {
        let after = after.map(str::to_owned);
        self.call(
            Call::Other("topics"),
            |found| CallOutcome::counted(found),
            move |inner| async move { inner.topics(after.as_deref(), limit).await },
        )
    }

    fn checkpoint<'a>(
        &'a self,
        follower: &'a FollowerKey,
        upstream: LogId,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, RecordError>> {
        let follower = follower.clone();
        let position = |checkpoint: &Option<Checkpoint>| {
            CallOutcome::Answered(Position::number(
                checkpoint.map(|checkpoint| checkpoint.position),
            ))
        };
        self.call(
            Call::Other("checkpoint"),
            position,
            move |inner| async move { inner.checkpoint(&follower, upstream).await },
        )
    }

    fn processed_ranges(
        &self,
        read: RangeRead,
    ) -> BoxFuture<'_, Result<Vec<RecordedRange>, RecordError>> {
        self.call(
            Call::Other("processed ranges"),
            |found| CallOutcome::counted(found),
            |inner| async move { inner.processed_ranges(read).await },
        )
    }

    /// The scheduler knows when there is something new; when the call's turn comes, it returns the
    /// number of appends at that time.
    fn changed_since(&self, append_count: u64) -> BoxFuture<'_, Result<u64, RecordError>> {
        Box::pin(async move {
            if self.parking.current().is_none() {
                return self.inner.changed_since(append_count).await;
            }
            let call = Call::ChangedSince { append_count };
            let number = |count: &u64| CallOutcome::Answered(*count);
            let looked = self.call(call, number, |inner| async move {
                Ok(inner.head().await?.append_count)
            });
            looked.await
        })
    }

    fn put_snapshot(&self, snapshot: StoredSnapshot) -> BoxFuture<'_, Result<(), RecordError>> {
        self.call(
            Call::Other("put_snapshot"),
            CallOutcome::done,
            |inner| async move { inner.put_snapshot(snapshot).await },
        )
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a str,
        until: Option<Version>,
    ) -> BoxFuture<'a, Result<Option<StoredSnapshot>, RecordError>> {
        let stream = stream.to_owned();
        self.call(Call::Other("snapshot"), some, move |inner| async move {
            inner.snapshot(&stream, until).await
        })
    }

    fn drop_snapshots<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<(), RecordError>> {
        let stream = stream.to_owned();
        self.call(
            Call::Other("drop_snapshots"),
            CallOutcome::done,
            |inner| async move { inner.drop_snapshots(&stream).await },
        )
    }
}
