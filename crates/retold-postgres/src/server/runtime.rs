//! Where the store's connections live: a runtime of its own, shared by all stores of the process that are
//! open.
//!
//! A runtime of the program's may end before the store does, or be held up by a thread that waits for the
//! store (as the blocking face does); so none is used. Who polls a call of the store may be in any runtime,
//! or in none: the call enters the store's own for each step.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use retold_core::recording::{BoxFuture, OwnProcess, RecordError};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Threads of the runtime: they only move bytes, one does.
const THREADS: usize = 1;

/// The runtime of the stores. It ends with the last of its stores and connections.
#[derive(Debug)]
pub(crate) struct StoreRuntime {
    /// None only while this is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
    process: OwnProcess,
}

impl StoreRuntime {
    /// The runtime that the open stores share, or a new one.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the system gives no thread.
    pub(crate) fn share() -> Result<Arc<Self>, RecordError> {
        static SHARED: Mutex<Weak<StoreRuntime>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = shared.upgrade() {
            match there.process.is_inherited() {
                false => return Ok(there),
                // Its threads are the parent's.
                true => std::mem::forget(there),
            }
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("retold-postgres")
            .enable_all()
            .build()
            .map_err(|error| RecordError::unavailable("starting a thread", error))?;
        let made = Arc::new(Self {
            handle: runtime.handle().clone(),
            process: OwnProcess::current(),
            runtime: Some(runtime),
        });
        *shared = Arc::downgrade(&made);
        Ok(made)
    }

    /// Checks that its threads are of this process.
    ///
    /// # Errors
    ///
    /// `Invalid` in a child that inherited the store.
    pub(crate) fn check(&self) -> Result<(), RecordError> {
        self.process.check()
    }

    /// Starts a task, which does not keep the runtime from its end.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.handle.spawn(task)
    }

    /// Starts a task in a thread of its own, which it may block: what connections bring is moved by another.
    pub(crate) fn spawn_apart(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.handle.clone();
        self.handle.spawn_blocking(move || handle.block_on(task));
    }
}

impl Drop for StoreRuntime {
    /// Its end is not waited for: this may be within a runtime, or in one of the runtime's own threads.
    fn drop(&mut self) {
        if self.process.is_inherited() {
            // Its threads are the parent's: there is nothing to end.
            std::mem::forget(self.runtime.take());
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The future, each step of it within the runtime.
pub(crate) fn within<'a, T>(
    runtime: &'a StoreRuntime,
    future: impl Future<Output = T> + Send + 'a,
) -> BoxFuture<'a, T> {
    Box::pin(async move {
        let mut future = pin!(future);
        poll_fn(|context| {
            let _entered = runtime.handle.enter();
            future.as_mut().poll(context)
        })
        .await
    })
}
