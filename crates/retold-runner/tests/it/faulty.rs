//! A store whose appends and reads fail as often as a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use retold::recording::append::{Append, Appended};
use retold::recording::error::RecordError;
use retold::recording::identity::LogId;
use retold::recording::layer::{RecorderLayer, StoreLayer};
use retold::recording::memory::MemoryStore;
use retold::recording::recorder::{BoxFuture, Recorder};
use retold::recording::store::Store;

/// What is to fail, of the calls to come. Only appends with a stretch fail: those of followers.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Appends that record nothing.
    pub(crate) unavailable: AtomicU32,
    /// Appends that record, and say that they do not know.
    pub(crate) unknown: AtomicU32,
    /// Appends that record nothing, and say that they do not know.
    pub(crate) unknown_lost: AtomicU32,
    /// Appends that panic.
    pub(crate) panics: AtomicU32,
    /// Appends that never answer.
    pub(crate) hang: AtomicU32,
}

impl Faults {
    /// How many are still to come.
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

fn take(count: &AtomicU32) -> bool {
    let less = |count: u32| count.checked_sub(1);
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

/// In memory.
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    pub(crate) faults: Arc<Faults>,
}

impl Default for FaultyStore {
    fn default() -> Self {
        Self {
            inner: Arc::new(MemoryStore::new()),
            faults: Arc::default(),
        }
    }
}

struct FaultyRecorder {
    inner: Arc<dyn Recorder>,
    faults: Arc<Faults>,
}

fn fault(kind: std::io::ErrorKind) -> std::io::Error {
    kind.into()
}

impl FaultyStore {
    fn wrap(&self, inner: Arc<dyn Recorder>) -> Arc<dyn Recorder> {
        Arc::new(FaultyRecorder {
            inner,
            faults: Arc::clone(&self.faults),
        })
    }
}

impl StoreLayer for FaultyStore {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move { Ok(self.wrap(self.inner.open(log, birth).await?)) })
    }

    fn open_read_only<'a>(
        &'a self,
        log: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move { Ok(self.wrap(self.inner.open_read_only(log).await?)) })
    }
}

impl RecorderLayer for FaultyRecorder {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.inner
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        if append.stretches().is_empty() {
            return self.inner.append(append);
        }
        let faults = &self.faults;
        let broken = std::io::ErrorKind::BrokenPipe;
        if take(&faults.panics) {
            panic!("the driver has a fault");
        }
        if take(&faults.hang) {
            return Box::pin(std::future::pending());
        }
        Box::pin(async move {
            if take(&faults.unavailable) {
                return Err(RecordError::unavailable("appending", fault(broken)));
            }
            let is_unknown = take(&faults.unknown);
            if is_unknown {
                drop(self.inner.append(append).await);
            } else if !take(&faults.unknown_lost) {
                return self.inner.append(append).await;
            }
            Err(RecordError::outcome_unknown("appending", fault(broken)))
        })
    }
}
