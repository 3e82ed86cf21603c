//! Views in memory keep the rules of a view store, and the suite finds broken ones.

use std::future::Future;
use std::sync::Arc;

use retold_conformance::{TrickAdded, TrickProjection, ViewSubject};
use retold_core::projection::{MemoryView, Projection, ViewStore};
use retold_core::recording::{LogId, MemoryStore, Recorder, Store};
use uuid::Uuid;

use crate::runtime::RUNTIME;

/// The tricks, and their count.
type Taught = (Vec<String>, usize);

/// A view in memory of a log in memory. Its view stores share the view as in one process.
#[derive(Default)]
pub(crate) struct InMemory {
    store: MemoryStore,
    view: MemoryView<Taught>,
}

impl InMemory {
    pub(crate) fn view_store(&self, projection: TrickProjection) -> Arc<dyn ViewStore> {
        let projection: Projection<MemoryView<Taught>> = projection.projection();
        let projection = projection.on::<TrickAdded>(|view: &mut Taught, logged| {
            view.0.push(logged.event.0.clone());
            view.1 += 1;
            logged.event.end()
        });
        self.view.keep(projection).unwrap()
    }
}

impl ViewSubject for InMemory {
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        RUNTIME.block_on(future)
    }

    async fn create() -> Self {
        Self::default()
    }

    async fn log(&self) -> Arc<dyn Recorder> {
        let birth = LogId::new(Uuid::now_v7());
        self.store.open("dogs", birth).await.unwrap()
    }

    async fn keep(&self, projection: TrickProjection) -> Arc<dyn ViewStore> {
        self.view_store(projection)
    }

    async fn read(&self) -> Vec<String> {
        let (tricks, count) = self.view.guard().clone();
        assert_eq!(tricks.len(), count);
        tricks
    }
}

retold_conformance::view_conformance_suite!(InMemory);
