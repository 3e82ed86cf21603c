//! A memory store with a bug: every call is forwarded to memory except where the bug changes it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use retold_conformance::Subject;
use retold_core::domain::Timestamp;
use retold_core::recording::limits::Limits;
use retold_core::recording::{
    Append, Appended, BoxFuture, Checkpoint, EventId, FollowerKey, Head, Lease, LogEntry, LogId,
    LogRead, MemoryStore, Page, RangeRead, RecordError, RecordedRange, Recorder, Store,
    StoredEvent, StoredSnapshot, StreamEntry, StreamRead, Version,
};

use crate::runtime::RUNTIME;

pub(super) type Result<T> = std::result::Result<T, RecordError>;

/// The bug of a recorder. `log` is a correct one; calls that a bug does not override are forwarded
/// to it. One value is shared by all handles of a store.
pub(super) trait Bug: Default + Send + Sync + 'static {
    fn append(&self, log: &Log, append: Append) -> impl Future<Output = Result<Appended>> + Send {
        log.append(append)
    }

    fn read_log(&self, log: &Log, read: LogRead) -> impl Future<Output = Result<Page>> + Send {
        log.read_log(read)
    }

    fn read_stream(
        &self,
        log: &Log,
        read: StreamRead,
    ) -> impl Future<Output = Result<Page>> + Send {
        log.read_stream(read)
    }

    fn head(&self, log: &Log) -> impl Future<Output = Result<Head>> + Send {
        log.head()
    }

    fn streams(
        &self,
        log: &Log,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<StreamEntry>>> + Send {
        async move { log.streams(prefix, after, limit).await }
    }

    fn topics(
        &self,
        log: &Log,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Arc<str>>>> + Send {
        async move { log.topics(after, limit).await }
    }

    fn processed_ranges(
        &self,
        log: &Log,
        read: RangeRead,
    ) -> impl Future<Output = Result<Vec<RecordedRange>>> + Send {
        log.processed_ranges(read)
    }

    fn snapshot(
        &self,
        log: &Log,
        stream: &str,
        until: Option<Version>,
    ) -> impl Future<Output = Result<Option<StoredSnapshot>>> + Send {
        async move { log.snapshot(stream, until).await }
    }

    /// The name under which a log is stored.
    fn log_name(&self, name: &str) -> String {
        name.to_owned()
    }

    fn open_read_only(
        &self,
        store: &MemoryStore,
        log: &str,
    ) -> impl Future<Output = Result<Arc<dyn Recorder>>> + Send {
        async move { store.open_read_only(log).await }
    }

    fn acquire_lease(
        &self,
        store: &MemoryStore,
        name: &str,
        holder: &str,
        time_to_live: Duration,
    ) -> impl Future<Output = Result<Lease>> + Send {
        async move { store.acquire_lease(name, holder, time_to_live).await }
    }

    fn now(&self, store: &MemoryStore) -> impl Future<Output = Result<Timestamp>> + Send {
        async move { store.now().await }
    }

    /// What a crash leaves of a store.
    fn crash_image(&self, store: &MemoryStore) -> impl Future<Output = MemoryStore> + Send {
        let image = store.fork();
        async { image }
    }
}

/// A log without a bug, and the store that contains it.
pub(super) struct Log {
    inner: Arc<dyn Recorder>,
    pub(super) store: MemoryStore,
}

impl Log {
    /// Opens the log that has the name now, for writing.
    pub(super) async fn now(&self) -> Arc<dyn Recorder> {
        let birth = LogId::new(uuid::Uuid::nil());
        self.store.open(self.log_name(), birth).await.unwrap()
    }
}

impl std::ops::Deref for Log {
    type Target = dyn Recorder;

    fn deref(&self) -> &Self::Target {
        &*self.inner
    }
}

/// A store with a bug.
pub(super) struct Broken<B> {
    store: MemoryStore,
    bug: Arc<B>,
}

impl<B: Bug> Subject for Broken<B> {
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        RUNTIME.block_on(future)
    }

    async fn create() -> Self {
        let (store, bug) = Default::default();
        Self { store, bug }
    }

    async fn open(&self) -> Arc<dyn Store> {
        let (store, bug) = (self.store.clone(), self.bug.clone());
        Arc::new(Self { store, bug })
    }

    async fn replace(&self, logs: &[(&str, LogId)]) {
        let copy = MemoryStore::new();
        for (name, id) in logs {
            copy.open(name, *id).await.unwrap();
        }
        self.store.restore(&copy);
    }

    async fn crash_image(&self) -> Arc<dyn Store> {
        Arc::new(self.bug.crash_image(&self.store).await)
    }
}

struct BrokenRecorder<B> {
    name: String,
    log: Log,
    bug: Arc<B>,
}

impl<B: Bug> Broken<B> {
    fn recorder(&self, name: &str, inner: Arc<dyn Recorder>) -> Arc<dyn Recorder> {
        let (store, bug) = (self.store.clone(), self.bug.clone());
        let (name, log) = (name.to_owned(), Log { inner, store });
        Arc::new(BrokenRecorder { name, log, bug })
    }
}

impl<B: Bug> Store for Broken<B> {
    fn open<'a>(&'a self, log: &'a str, birth: LogId) -> BoxFuture<'a, Result<Arc<dyn Recorder>>> {
        Box::pin(async move {
            let kept = self.bug.log_name(log);
            let inner = self.store.open(&kept, birth).await?;
            Ok(self.recorder(log, inner))
        })
    }

    fn open_read_only<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Arc<dyn Recorder>>> {
        Box::pin(async move {
            let kept = self.bug.log_name(log);
            let inner = self.bug.open_read_only(&self.store, &kept).await?;
            Ok(self.recorder(log, inner))
        })
    }

    fn logs<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>>> {
        self.store.logs(after, limit)
    }

    fn acquire_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time_to_live: Duration,
    ) -> BoxFuture<'a, Result<Lease>> {
        let lease = self
            .bug
            .acquire_lease(&self.store, name, holder, time_to_live);
        Box::pin(lease)
    }

    fn release_lease<'a>(&'a self, name: &'a str, holder: &'a str) -> BoxFuture<'a, Result<()>> {
        self.store.release_lease(name, holder)
    }

    fn leases<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>>> {
        self.store.leases(prefix, after, limit)
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp>> {
        Box::pin(self.bug.now(&self.store))
    }
}

impl<B: Bug> Recorder for BrokenRecorder<B> {
    fn log_name(&self) -> &str {
        &self.name
    }

    fn limits(&self) -> Limits {
        self.log.limits()
    }

    fn log_id(&self) -> BoxFuture<'_, Result<Option<LogId>>> {
        self.log.log_id()
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended>> {
        Box::pin(self.bug.append(&self.log, append))
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page>> {
        Box::pin(self.bug.read_log(&self.log, read))
    }

    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page>> {
        Box::pin(self.bug.read_stream(&self.log, read))
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>>> {
        self.log.event(id)
    }

    fn head(&self) -> BoxFuture<'_, Result<Head>> {
        Box::pin(self.bug.head(&self.log))
    }

    fn streams<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>>> {
        Box::pin(self.bug.streams(&self.log, prefix, after, limit))
    }

    fn topics<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<str>>>> {
        Box::pin(self.bug.topics(&self.log, after, limit))
    }

    fn checkpoint<'a>(
        &'a self,
        follower: &'a FollowerKey,
        upstream: LogId,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>>> {
        self.log.checkpoint(follower, upstream)
    }

    fn processed_ranges(&self, read: RangeRead) -> BoxFuture<'_, Result<Vec<RecordedRange>>> {
        Box::pin(self.bug.processed_ranges(&self.log, read))
    }

    fn changed_since(&self, append_count: u64) -> BoxFuture<'_, Result<u64>> {
        self.log.changed_since(append_count)
    }

    fn put_snapshot(&self, snapshot: StoredSnapshot) -> BoxFuture<'_, Result<()>> {
        self.log.put_snapshot(snapshot)
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a str,
        until: Option<Version>,
    ) -> BoxFuture<'a, Result<Option<StoredSnapshot>>> {
        Box::pin(self.bug.snapshot(&self.log, stream, until))
    }

    fn drop_snapshots<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<()>> {
        self.log.drop_snapshots(stream)
    }
}
