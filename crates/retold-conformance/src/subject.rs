//! What a store gives the conformance suite, so that it can be put to the test.

use std::future::Future;
use std::sync::Arc;

use retold_core::recording::LogId;
use retold_core::recording::Store;

/// A store under test: a place that can be opened more than once, as several processes would.
///
/// The logs in it stay as long as this value; dropping it may remove them.
pub trait Subject: Send + Sync + Sized + 'static {
    /// Whether acknowledged events survive the process. A store in memory says no, and rule 13 is
    /// not asked of it; nothing else may be left out.
    const IS_DURABLE: bool = true;

    /// Runs a future to its end, on whatever runtime the store needs.
    ///
    /// Is called from several threads at once, with recorders that were opened in other calls: a
    /// store on tokio keeps one multi-threaded runtime for all calls.
    fn block_on<T>(future: impl Future<Output = T>) -> T;

    /// Makes an empty store, shared with no other test.
    fn create() -> impl Future<Output = Self> + Send;

    /// Opens the store for reading and writing: every call as another process would, sharing nothing
    /// with earlier calls but what is stored, where that can be.
    fn open(&self) -> impl Future<Output = Arc<dyn Store>> + Send;

    /// Puts an empty store in place of what there is, under all that is open, and has these logs born in
    /// it, in this order: what restoring a copy of another store comes to.
    fn replace(&self, logs: &[(&str, LogId)]) -> impl Future<Output = ()> + Send;

    /// A store of its own that holds just what a crash at one instant during this call would leave,
    /// as the store finds it when it is opened after the crash. Writers may be at work.
    fn crash_image(&self) -> impl Future<Output = Arc<dyn Store>> + Send;
}
