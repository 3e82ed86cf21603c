//! The runtime of the stores' connections, shared by all open stores of the process.
//!
//! A runtime of the program may end before the store does, or be blocked by a thread that waits for
//! the store (as the blocking API does); so none is used. A call of the store can be polled in any
//! runtime, or in none: each step of it enters the store's own runtime.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use retold_core::recording::{BoxFuture, OwnProcess, RecordError};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Threads of the runtime: they only move bytes, so one is enough.
const THREADS: usize = 1;

/// The runtime of the stores. It ends with the last store and connection.
#[derive(Debug)]
pub(crate) struct StoreRuntime {
    /// `None` only during the drop.
    runtime: Option<Runtime>,
    handle: Handle,
    process: OwnProcess,
}

impl StoreRuntime {
    /// Returns the runtime that the open stores share, or a new one.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the system cannot start a thread.
    pub(crate) fn share() -> Result<Arc<Self>, RecordError> {
        static SHARED: Mutex<Weak<StoreRuntime>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = shared.upgrade() {
            match there.process.is_inherited() {
                false => return Ok(there),
                // Its threads belong to the parent.
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

    /// Checks that its threads belong to this process.
    ///
    /// # Errors
    ///
    /// `Invalid` in a child process that inherited the store.
    pub(crate) fn check(&self) -> Result<(), RecordError> {
        self.process.check()
    }

    /// Starts a task that does not keep the runtime alive.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.handle.spawn(task)
    }

    /// Starts a task in a thread of its own, which it may block: another thread moves the bytes of
    /// connections.
    pub(crate) fn spawn_apart(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.handle.clone();
        self.handle.spawn_blocking(move || handle.block_on(task));
    }
}

impl Drop for StoreRuntime {
    /// Does not wait for the end: this may run within a runtime, or on one of the runtime's own
    /// threads.
    fn drop(&mut self) {
        if self.process.is_inherited() {
            // Its threads belong to the parent: there is nothing to end.
            std::mem::forget(self.runtime.take());
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A task that starts when it is first needed, and is aborted when this is dropped.
#[derive(Default)]
pub(crate) struct LazyTask(Mutex<Option<JoinHandle<()>>>);

impl LazyTask {
    /// Starts the task, unless it has been started.
    pub(crate) fn start<T>(&self, runtime: &StoreRuntime, task: impl FnOnce() -> T)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        let mut started = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        started.get_or_insert_with(|| runtime.spawn(task()));
    }
}

impl Drop for LazyTask {
    fn drop(&mut self) {
        let started = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = started {
            task.abort();
        }
    }
}

/// Runs each step of the future within the runtime.
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
