//! A thread of a store, which ends with it.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use retold_core::recording::OwnProcess;

/// A thread of a store.
#[derive(Debug)]
pub(crate) struct StoreThread {
    process: Arc<OwnProcess>,
    thread: Option<JoinHandle<()>>,
}

impl StoreThread {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The operating system's error if no thread can be started.
    pub(crate) fn start(
        process: Arc<OwnProcess>,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let thread = thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(Self {
            process,
            thread: Some(thread),
        })
    }

    /// Calls `stop`, which must make the thread end, and waits for it. Does nothing in a process
    /// that inherited the store: the thread is the parent's, and may hold the lock that `stop`
    /// needs.
    pub(crate) fn end(&mut self, stop: impl FnOnce()) {
        if self.process.is_inherited() {
            std::mem::forget(self.thread.take());
            return;
        }
        stop();
        // A wake of this thread may drop the last handle to the store; the thread then ends by
        // itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let name = thread.thread().name().map(ToOwned::to_owned);
            if thread.join().is_err() {
                tracing::error!(?name, "a thread of a SQLite store panicked");
            }
        }
    }
}
