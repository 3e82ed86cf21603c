//! Layers: recorders and stores that wrap another one, override some methods and forward the rest.
//!
//! Use a layer to measure or limit a store, or to inject failures. It defines only the methods that
//! it overrides.

use std::sync::Arc;
use std::time::Duration;

use super::append::{Append, Appended};
use super::error::RecordError;
use super::fault::Corrupt;
use super::identity::{Checkpoint, EventId, LogId, Version};
use super::limits::Limits;
use super::processed_range::{FollowerKey, RecordedRange};
use super::recorder::{
    BoxFuture, Head, LogRead, Page, RangeRead, Recorder, StreamEntry, StreamRead,
};
use super::snapshot::StoredSnapshot;
use super::store::{Lease, LogEntry, Purged, Store, ViewEntry};
use super::stored_event::StoredEvent;
use crate::domain::Timestamp;

/// Defines a layer trait whose methods forward each call by default, and implements the wrapped
/// trait for every layer.
macro_rules! layer {
    (
        $(#[$doc:meta])*
        $layer:ident around $whole:ident {
            $(
                #[doc = $what:literal]
                fn $method:ident $(<$life:lifetime>)? (
                    & $($own:lifetime)? self $(, $name:ident: $type:ty)*
                ) -> $output:ty;
            )*
        }
    ) => {
        $(#[$doc])*
        pub trait $layer: Send + Sync {
            /// The wrapped recorder or store.
            fn inner(&self) -> &Arc<dyn $whole>;

            $(
                #[doc = $what]
                fn $method $(<$life>)? (& $($own)? self $(, $name: $type)*) -> $output {
                    self.inner().$method($($name),*)
                }
            )*
        }

        impl<L: $layer> $whole for L {
            $(
                fn $method $(<$life>)? (& $($own)? self $(, $name: $type)*) -> $output {
                    $layer::$method(self $(, $name)*)
                }
            )*
        }
    };
}

layer! {
    /// A recorder that wraps another: a [`Recorder`] whose methods forward to
    /// [`inner`](Self::inner), except those that the layer overrides.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use retold::recording::{Append, Appended, BoxFuture, RecordError, Recorder, RecorderLayer};
    ///
    /// /// Counts appends.
    /// struct Counting {
    ///     inner: Arc<dyn Recorder>,
    ///     appends: AtomicU64,
    /// }
    ///
    /// impl RecorderLayer for Counting {
    ///     fn inner(&self) -> &Arc<dyn Recorder> {
    ///         &self.inner
    ///     }
    ///
    ///     fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
    ///         self.appends.fetch_add(1, Ordering::Relaxed);
    ///         self.inner.append(append)
    ///     }
    /// }
    ///
    /// fn counted(inner: Arc<dyn Recorder>) -> Arc<dyn Recorder> {
    ///     Arc::new(Counting { inner, appends: AtomicU64::new(0) })
    /// }
    /// ```
    RecorderLayer around Recorder {
        /// See [`Recorder::log_name`].
        fn log_name(&self) -> &str;
        /// See [`Recorder::limits`].
        fn limits(&self) -> Limits;
        /// See [`Recorder::log_id`].
        fn log_id(&self) -> BoxFuture<'_, Result<Option<LogId>, RecordError>>;
        /// See [`Recorder::append`].
        fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>>;
        /// See [`Recorder::read_log`].
        fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>>;
        /// See [`Recorder::read_stream`].
        fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>>;
        /// See [`Recorder::event`].
        fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>>;
        /// See [`Recorder::head`].
        fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>>;
        /// See [`Recorder::streams`].
        fn streams<'a>(
            &'a self, prefix: &'a str, after: Option<&'a str>, limit: usize
        ) -> BoxFuture<'a, Result<Vec<StreamEntry>, RecordError>>;
        /// See [`Recorder::topics`].
        fn topics<'a>(
            &'a self, after: Option<&'a str>, limit: usize
        ) -> BoxFuture<'a, Result<Vec<Arc<str>>, RecordError>>;
        /// See [`Recorder::checkpoint`].
        fn checkpoint<'a>(
            &'a self, follower: &'a FollowerKey, upstream: LogId
        ) -> BoxFuture<'a, Result<Option<Checkpoint>, RecordError>>;
        /// See [`Recorder::processed_ranges`].
        fn processed_ranges(
            &self, read: RangeRead
        ) -> BoxFuture<'_, Result<Vec<RecordedRange>, RecordError>>;
        /// See [`Recorder::changed_since`].
        fn changed_since(&self, append_count: u64) -> BoxFuture<'_, Result<u64, RecordError>>;
        /// See [`Recorder::put_snapshot`].
        fn put_snapshot(&self, snapshot: StoredSnapshot) -> BoxFuture<'_, Result<(), RecordError>>;
        /// See [`Recorder::snapshot`].
        fn snapshot<'a>(
            &'a self, stream: &'a str, until: Option<Version>
        ) -> BoxFuture<'a, Result<Option<StoredSnapshot>, RecordError>>;
        /// See [`Recorder::drop_snapshots`].
        fn drop_snapshots<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<(), RecordError>>;
    }
}

layer! {
    /// A store that wraps another: a [`Store`] whose methods forward to [`inner`](Self::inner),
    /// except those that the layer overrides. [`Store::views`] is not forwarded: a layer has no
    /// views.
    StoreLayer around Store {
        /// See [`Store::open`].
        fn open<'a>(
            &'a self, log: &'a str, birth: LogId
        ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>>;
        /// See [`Store::open_read_only`].
        fn open_read_only<'a>(
            &'a self, log: &'a str
        ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>>;
        /// See [`Store::logs`].
        fn logs<'a>(
            &'a self, after: Option<&'a str>, limit: usize
        ) -> BoxFuture<'a, Result<Vec<LogEntry>, RecordError>>;
        /// See [`Store::acquire_lease`].
        fn acquire_lease<'a>(
            &'a self, name: &'a str, holder: &'a str, time_to_live: Duration
        ) -> BoxFuture<'a, Result<Lease, RecordError>>;
        /// See [`Store::release_lease`].
        fn release_lease<'a>(
            &'a self, name: &'a str, holder: &'a str
        ) -> BoxFuture<'a, Result<(), RecordError>>;
        /// See [`Store::leases`].
        fn leases<'a>(
            &'a self, prefix: &'a str, after: Option<&'a str>, limit: usize
        ) -> BoxFuture<'a, Result<Vec<Lease>, RecordError>>;
        /// See [`Store::now`].
        fn now(&self) -> BoxFuture<'_, Result<Timestamp, RecordError>>;
        /// See [`Store::views`].
        fn views(&self) -> BoxFuture<'_, Result<Vec<ViewEntry>, RecordError>>;
        /// See [`Store::purge`].
        fn purge(&self) -> BoxFuture<'_, Result<Purged, RecordError>>;
        /// See [`Store::verify`].
        fn verify(&self) -> BoxFuture<'_, Result<Vec<Corrupt>, RecordError>>;
    }
}
