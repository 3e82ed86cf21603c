//! A view in memory with a bug: every call is forwarded to a correct view store except where the
//! bug changes it.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use retold_conformance::{TrickProjection, ViewSubject};
use retold_core::projection::{
    Applied, ProjectionError, ProjectionOutline, SkippedEvent, StoredView, Supersede, Switched,
    ViewPage, ViewStore,
};
use retold_core::recording::{BoxFuture, Checkpoint, LogId, Position, Recorder};

use crate::memory_views::InMemory;

pub(super) type Result<T> = std::result::Result<T, ProjectionError>;

/// The bug of a view store. `inner` is a correct one; calls that a bug does not override are
/// forwarded to it.
pub(super) trait Bug: Send + Sync + 'static {
    fn begin(
        inner: &dyn ViewStore,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> impl Future<Output = Result<StoredView>> + Send {
        inner.begin(upstream, start)
    }

    fn apply(
        inner: &dyn ViewStore,
        page: ViewPage,
    ) -> impl Future<Output = Result<Applied>> + Send {
        inner.apply(page)
    }

    fn skip(
        inner: &dyn ViewStore,
        after: Option<Checkpoint>,
        skipped: SkippedEvent,
    ) -> impl Future<Output = Result<Applied>> + Send {
        inner.skip(after, skipped)
    }

    fn switch(
        inner: &dyn ViewStore,
        after: Option<Checkpoint>,
        to: Option<Checkpoint>,
        supersede: Supersede,
    ) -> impl Future<Output = Result<Switched>> + Send {
        inner.switch(after, to, supersede)
    }

    fn skipped(
        inner: &dyn ViewStore,
        after: Option<Position>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<SkippedEvent>>> + Send {
        inner.skipped(after, limit)
    }

    fn discard(inner: &dyn ViewStore) -> impl Future<Output = Result<()>> + Send {
        inner.discard()
    }
}

/// A place for views with a bug.
pub(super) struct Broken<B> {
    memory: InMemory,
    bug: PhantomData<B>,
}

impl<B: Bug> ViewSubject for Broken<B> {
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        InMemory::block_on(future)
    }

    async fn create() -> Self {
        Self {
            memory: InMemory::default(),
            bug: PhantomData,
        }
    }

    async fn log(&self) -> Arc<dyn Recorder> {
        self.memory.log().await
    }

    async fn keep(&self, projection: TrickProjection) -> Arc<dyn ViewStore> {
        Arc::new(BrokenViewStore::<B> {
            inner: self.memory.view_store(projection),
            bug: PhantomData,
        })
    }

    async fn read(&self) -> Vec<String> {
        self.memory.read().await
    }
}

struct BrokenViewStore<B> {
    inner: Arc<dyn ViewStore>,
    bug: PhantomData<B>,
}

impl<B: Bug> ViewStore for BrokenViewStore<B> {
    fn outline(&self) -> &ProjectionOutline {
        self.inner.outline()
    }

    fn kept(&self) -> BoxFuture<'_, Result<Option<StoredView>>> {
        self.inner.kept()
    }

    fn begin(
        &self,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> BoxFuture<'_, Result<StoredView>> {
        Box::pin(B::begin(&*self.inner, upstream, start))
    }

    fn apply(&self, page: ViewPage) -> BoxFuture<'_, Result<Applied>> {
        Box::pin(B::apply(&*self.inner, page))
    }

    fn skip(
        &self,
        after: Option<Checkpoint>,
        skipped: SkippedEvent,
    ) -> BoxFuture<'_, Result<Applied>> {
        Box::pin(B::skip(&*self.inner, after, skipped))
    }

    fn switch(
        &self,
        after: Option<Checkpoint>,
        to: Option<Checkpoint>,
        supersede: Supersede,
    ) -> BoxFuture<'_, Result<Switched>> {
        Box::pin(B::switch(&*self.inner, after, to, supersede))
    }

    fn skipped(
        &self,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SkippedEvent>>> {
        Box::pin(B::skipped(&*self.inner, after, limit))
    }

    fn discard(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(B::discard(&*self.inner))
    }
}
