//! The interface between a store and the conformance suite.

use std::future::Future;
use std::sync::Arc;

use retold_core::recording::LogId;
use retold_core::recording::Store;

/// A store under test, which can be opened more than once, as by several processes.
///
/// Its logs exist as long as this value; dropping the value may remove them.
pub trait Subject: Send + Sync + Sized + 'static {
    /// Whether acknowledged events survive the process. For a store in memory this is false, and
    /// rule 13 does not apply to it; no other rule may be left out.
    const IS_DURABLE: bool = true;

    /// Runs a future to completion, on the runtime that the store needs.
    ///
    /// It is called from several threads at once, with recorders that were opened in other calls,
    /// so a store on tokio needs one multi-threaded runtime for all calls.
    fn block_on<T>(future: impl Future<Output = T>) -> T;

    /// Creates an empty store that no other test uses.
    fn create() -> impl Future<Output = Self> + Send;

    /// Opens the store for reading and writing. Each call opens it as another process would,
    /// sharing only the stored data with earlier calls where that is possible.
    fn open(&self) -> impl Future<Output = Arc<dyn Store>> + Send;

    /// Replaces the store with an empty one, while handles to it are open, and creates these logs
    /// in it, in this order. This simulates restoring a copy of another store.
    fn replace(&self, logs: &[(&str, LogId)]) -> impl Future<Output = ()> + Send;

    /// Simulates a crash at one instant during this call: returns a separate store with exactly the
    /// state that is found when the store is opened after the crash. Writers may be active.
    fn crash_image(&self) -> impl Future<Output = Arc<dyn Store>> + Send;
}
