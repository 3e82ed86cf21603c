//! An application's own log as it was, which a policy reads through its context.
//!
//! A policy sees its application's log at one position, followed by effects that are not recorded
//! yet. Its aggregates are read starting from the states in the application's cache, so reading one
//! costs only its new events and not its whole history.

use std::sync::Arc;

use super::cache::{Cache, Folded};
use super::error::Result;
use crate::domain::Aggregate;
use crate::recording::{BoxFuture, RecordError, Recorder, Version};

/// An application's log as it was, possibly followed by events that are not recorded.
pub(crate) trait Past: Recorder {
    /// Returns whether this version of a stream is both visible and recorded.
    fn is_recorded<'a>(
        &'a self,
        stream: &'a str,
        version: Version,
    ) -> BoxFuture<'a, Result<bool, RecordError>>;

    /// The version of a stream after which it has unrecorded events; `None` if it has no unrecorded
    /// events.
    fn pending_after(&self, stream: &str) -> Option<Option<Version>>;
}

/// The application whose log is shown as it was.
pub(super) struct Own {
    cache: Arc<Cache>,
    past: Arc<dyn Past>,
}

impl Own {
    pub(super) fn new(cache: Arc<Cache>, past: Arc<dyn Past>) -> Self {
        Self { cache, past }
    }

    /// Returns the cached state of a stream, if everything that it has seen is visible.
    pub(super) async fn cached<A: Aggregate>(&self, stream: &str) -> Result<Option<Folded<A>>> {
        let Some(folded) = self.cache.peek::<A>(stream) else {
            return Ok(None);
        };
        let Some(version) = folded.version else {
            return Ok(None);
        };
        let is_recorded = self.past.is_recorded(stream, version).await?;
        Ok(is_recorded.then_some(folded))
    }

    /// The version of a stream after which it has unrecorded events; `None` if it has no unrecorded
    /// events.
    pub(super) fn pending_after(&self, stream: &str) -> Option<Option<Version>> {
        self.past.pending_after(stream)
    }

    /// Caches a state that has seen only recorded events.
    pub(super) fn keep<A: Aggregate>(&self, stream: &Arc<str>, folded: &Folded<A>) {
        self.cache.put(stream, folded);
    }
}
