//! A store that wraps another and whose calls end as a test's behaviour decides; and the behaviour
//! of most tests: appends that fail a set number of times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retold::recording::{
    Append, Appended, BoxFuture, Head, Lease, LogId, LogRead, MemoryStore, Page, RecordError,
    Recorder, RecorderLayer, Store, StoreLayer, StreamRead,
};
use retold::system::Infrastructure;

/// A call of a store or of one of its logs, as its behaviour sees it.
pub(crate) enum Call<'a> {
    Open,
    Lease,
    Leases,
    Append(&'a Append),
    ReadLog,
    ReadStream(&'a StreamRead),
    Head,
}

/// The fate of a call.
pub(crate) enum Fate {
    Sound,
    /// It does not reach the store.
    Fail(RecordError),
    /// It reaches the store, and the response is lost.
    FailAfter(RecordError),
}

/// Decides the fate of calls. It may panic or never return for a call that should do so.
pub(crate) trait Behaviour: Send + Sync + 'static {
    /// Returns the fate of this call.
    fn meet<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Fate>;

    /// A page was read.
    fn has_read(&self, _: &LogRead, _: &Page) {}
}

pub(crate) struct FaultyStore<B> {
    inner: Arc<dyn Store>,
    pub(crate) behaviour: Arc<B>,
}

struct FaultyRecorder<B> {
    inner: Arc<dyn Recorder>,
    behaviour: Arc<B>,
}

impl<B> FaultyStore<B> {
    pub(crate) fn over(inner: impl Store + 'static, behaviour: B) -> Self {
        Self {
            inner: Arc::new(inner),
            behaviour: Arc::new(behaviour),
        }
    }
}

impl<B: Default> Default for FaultyStore<B> {
    fn default() -> Self {
        Self::over(MemoryStore::new(), B::default())
    }
}

impl<B: Behaviour> FaultyStore<B> {
    /// Returns a store in memory with this behaviour, as an infrastructure.
    pub(crate) fn in_memory(behaviour: B) -> (Infrastructure, Arc<B>) {
        let store = Self::over(MemoryStore::new(), behaviour);
        let behaviour = Arc::clone(&store.behaviour);
        (Infrastructure::new(Arc::new(store)), behaviour)
    }

    fn wrap(&self, inner: Arc<dyn Recorder>) -> Arc<dyn Recorder> {
        let behaviour = Arc::clone(&self.behaviour);
        Arc::new(FaultyRecorder { inner, behaviour })
    }
}

/// Makes a call with this fate.
async fn make<T>(
    fate: Fate,
    sound: BoxFuture<'_, Result<T, RecordError>>,
) -> Result<T, RecordError> {
    match fate {
        Fate::Sound => sound.await,
        Fate::Fail(error) => Err(error),
        Fate::FailAfter(error) => {
            drop(sound.await);
            Err(error)
        }
    }
}

impl<B: Behaviour> StoreLayer for FaultyStore<B> {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move {
            let fate = self.behaviour.meet(Call::Open).await;
            Ok(self.wrap(make(fate, self.inner.open(log, birth)).await?))
        })
    }

    fn open_read_only<'a>(
        &'a self,
        log: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move { Ok(self.wrap(self.inner.open_read_only(log).await?)) })
    }

    fn acquire_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time_to_live: Duration,
    ) -> BoxFuture<'a, Result<Lease, RecordError>> {
        Box::pin(async move {
            let fate = self.behaviour.meet(Call::Lease).await;
            make(fate, self.inner.acquire_lease(name, holder, time_to_live)).await
        })
    }

    fn leases<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>, RecordError>> {
        Box::pin(async move {
            let fate = self.behaviour.meet(Call::Leases).await;
            make(fate, self.inner.leases(prefix, after, limit)).await
        })
    }
}

impl<B: Behaviour> RecorderLayer for FaultyRecorder<B> {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.inner
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        Box::pin(async move {
            let fate = self.behaviour.meet(Call::Append(&append)).await;
            make(fate, self.inner.append(append)).await
        })
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            let fate = self.behaviour.meet(Call::ReadLog).await;
            let page = make(fate, self.inner.read_log(read.clone())).await?;
            self.behaviour.has_read(&read, &page);
            Ok(page)
        })
    }

    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            let fate = self.behaviour.meet(Call::ReadStream(&read)).await;
            make(fate, self.inner.read_stream(read)).await
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>> {
        Box::pin(async move {
            let fate = self.behaviour.meet(Call::Head).await;
            make(fate, self.inner.head()).await
        })
    }
}

/// The failures of the calls to come. Only appends with a processed range fail: those of followers
/// and outboxes.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Appends that record nothing.
    pub(crate) unavailable: AtomicU32,
    /// Appends that record, and report an unknown outcome.
    pub(crate) unknown: AtomicU32,
    /// Appends that record nothing, and report an unknown outcome.
    pub(crate) unknown_lost: AtomicU32,
    /// Appends that panic.
    pub(crate) panics: AtomicU32,
    /// Appends that never return.
    pub(crate) hang: AtomicU32,
}

impl Faults {
    /// Returns how many are still to come.
    pub(crate) fn left(&self) -> u32 {
        let all = [
            &self.unavailable,
            &self.unknown,
            &self.unknown_lost,
            &self.panics,
        ];
        all.iter().map(|it| it.load(Ordering::SeqCst)).sum()
    }
}

/// Takes one of the remaining ones; returns false if none is left.
pub(crate) fn take(count: &AtomicU32) -> bool {
    let less = |count: u32| count.checked_sub(1);
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

impl Behaviour for Faults {
    fn meet<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Fate> {
        Box::pin(async move {
            match call {
                Call::Append(append) if !append.processed_ranges().is_empty() => {}
                _ => return Fate::Sound,
            }
            let broken = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
            assert!(!take(&self.panics), "the driver has a fault");
            if take(&self.hang) {
                std::future::pending::<()>().await;
            }
            if take(&self.unavailable) {
                return Fate::Fail(RecordError::unavailable("appending", broken()));
            }
            let unknown = RecordError::outcome_unknown("appending", broken());
            if take(&self.unknown) {
                return Fate::FailAfter(unknown);
            }
            match take(&self.unknown_lost) {
                true => Fate::Fail(unknown),
                false => Fate::Sound,
            }
        })
    }
}
