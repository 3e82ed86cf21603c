//! Where the store's connections live: the multi-threaded runtime that opened it, else one of our own.
//!
//! Whoever polls a call of the store need not be in that runtime, nor in any: the call enters it for
//! each step. A runtime of one thread is not used, for a thread that waits for the store (as the
//! blocking face does) would stop what it waits for.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::OnceLock;

use retold_core::recording::error::RecordError;
use retold_core::recording::recorder::BoxFuture;
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

/// Threads of our own runtime: they only move bytes, one does.
const OWN_THREADS: usize = 1;

/// The runtime for a store that is opened here.
///
/// # Errors
///
/// `Unavailable` if the system gives no thread.
pub(crate) fn choose() -> Result<Handle, RecordError> {
    static OWN: OnceLock<Runtime> = OnceLock::new();
    if let Ok(runtime) = Handle::try_current()
        && runtime.runtime_flavor() == RuntimeFlavor::MultiThread
    {
        return Ok(runtime);
    }
    if let Some(runtime) = OWN.get() {
        return Ok(runtime.handle().clone());
    }
    let made = Builder::new_multi_thread()
        .worker_threads(OWN_THREADS)
        .thread_name("retold-postgres")
        .enable_all()
        .build()
        .map_err(|error| RecordError::unavailable("starting a thread", error))?;
    // Of two that were made at once one is kept; the other, which nobody uses, may not be dropped
    // within a runtime but in the background.
    if let Err(surplus) = OWN.set(made) {
        surplus.shutdown_background();
    }
    let own = OWN.get().expect("it was set just now");
    Ok(own.handle().clone())
}

/// The future, each step of it within the runtime.
pub(crate) fn within<'a, T>(
    runtime: &'a Handle,
    future: impl Future<Output = T> + Send + 'a,
) -> BoxFuture<'a, T> {
    Box::pin(async move {
        let mut future = pin!(future);
        poll_fn(|context| {
            let _entered = runtime.enter();
            future.as_mut().poll(context)
        })
        .await
    })
}
