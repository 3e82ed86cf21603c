//! The memory store implements the recorder's contract.

use std::future::Future;
use std::sync::Arc;

use retold_conformance as conformance;
use retold_conformance::Subject;
use retold_core::recording::limits::Limits;
use retold_core::recording::{LogId, MemoryStore, Store};

use crate::runtime::RUNTIME;

/// A memory store; another handle to it is a clone, and a crash leaves all its data.
struct Memory(MemoryStore);

impl Subject for Memory {
    const IS_DURABLE: bool = false;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        RUNTIME.block_on(future)
    }

    async fn create() -> Self {
        Self(MemoryStore::new())
    }

    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }

    async fn replace(&self, logs: &[(&str, LogId)]) {
        let copy = MemoryStore::new();
        for (name, id) in logs {
            copy.open(name, *id).await.unwrap();
        }
        self.0.restore(&copy);
    }

    async fn crash_image(&self) -> Arc<dyn Store> {
        Arc::new(self.0.fork())
    }
}

retold_conformance::conformance_suite!(Memory);

/// A memory store with the lowest permitted limits.
struct LeastMemory(MemoryStore);

impl Subject for LeastMemory {
    const IS_DURABLE: bool = false;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        RUNTIME.block_on(future)
    }

    async fn create() -> Self {
        Self(MemoryStore::new().with_limits(Limits::LEAST))
    }

    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }

    async fn replace(&self, logs: &[(&str, LogId)]) {
        let copy = MemoryStore::new();
        for (name, id) in logs {
            copy.open(name, *id).await.unwrap();
        }
        self.0.restore(&copy);
    }

    async fn crash_image(&self) -> Arc<dyn Store> {
        Arc::new(self.0.fork())
    }
}

#[test]
fn lower_limits_are_enforced() {
    LeastMemory::block_on(conformance::limits_are_enforced::<LeastMemory>());
}
