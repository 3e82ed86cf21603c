//! An application's own log as it was: what a policy reads through its context.
//!
//! A policy sees its application's log at one position, followed by effects that are not recorded yet.
//! Its aggregates are read on from the states that the application has in its cache, so that reading one
//! costs what is new of it and not its whole history.

use std::sync::Arc;

use super::cache::{Cache, Folded};
use super::error::Result;
use crate::domain::Aggregate;
use crate::recording::{BoxFuture, RecordError, Recorder, Version};

/// An application's log as it was, perhaps with events after it that are not recorded.
pub(crate) trait Past: Recorder {
    /// Whether this version of a stream is shown and recorded.
    fn is_recorded<'a>(
        &'a self,
        stream: &'a str,
        version: Version,
    ) -> BoxFuture<'a, Result<bool, RecordError>>;

    /// The version of a stream after which it has events that are not recorded; none if it has no such
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

    /// The state that the application's cache has of a stream, if all that it has seen is shown.
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

    /// The version of a stream after which it has events that are not recorded; none if it has no such
    /// events.
    pub(super) fn pending_after(&self, stream: &str) -> Option<Option<Version>> {
        self.past.pending_after(stream)
    }

    /// Keeps a state that has seen recorded events only.
    pub(super) fn keep<A: Aggregate>(&self, stream: &Arc<str>, folded: &Folded<A>) {
        self.cache.put(stream, folded);
    }
}
