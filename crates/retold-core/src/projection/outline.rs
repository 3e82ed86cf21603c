//! The description of a projection without its handlers: name, version, upstream, query and
//! options.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::error::{ProjectionError, ProjectionLabel};
use crate::recording::limits::{QUERY_NAMES_MAX, check_name};
use crate::recording::{Checkpoint, Invalid, LogId, Query, QueryItem};

/// How an event that cannot be applied to the view is treated: one that cannot be decoded, or whose
/// handler fails. An event never becomes poison because a store is unavailable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnPoison {
    /// The projection stops before the event and reports it in its status. To continue, run a
    /// program that can process the event, or call
    /// [`resume`](super::pipeline::ProjectionPipeline::resume) to retry it or
    /// [`pass_over`](super::pipeline::ProjectionPipeline::pass_over) to skip it.
    #[default]
    Stop,
    /// The event is skipped and recorded with its error next to the checkpoint; the projection
    /// continues. After [`SKIPPED_EVENTS_MAX`](super::view_store::SKIPPED_EVENTS_MAX) skipped
    /// events it stops.
    Skip,
    /// The event is retried this many times, with a pause by the projection's driver before each
    /// retry; then the projection stops. For failures that may be temporary.
    Retry(NonZeroU32),
}

/// Where a projection without a checkpoint begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third")]
pub enum StartFrom {
    /// With the first event of the log.
    #[default]
    FirstEvent,
    /// At the end of the log as of the first step.
    Now,
}

/// The description of a projection without its handlers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProjectionOutline {
    /// Its stable name, under which the checkpoint is stored.
    pub name: Arc<str>,
    /// Its version, starting at 1; its author raises it to rebuild the view.
    pub version: u32,
    /// Name of the log whose events it processes.
    pub upstream: Arc<str>,
    /// Topics of the selected events, including former ones.
    pub topics: BTreeSet<Arc<str>>,
    /// Tags that all selected events have.
    pub tags: BTreeSet<Arc<str>>,
    /// How an event that cannot be applied is treated.
    pub on_poison: OnPoison,
    /// Where it begins.
    pub start_from: StartFrom,
}

impl ProjectionOutline {
    pub(crate) fn new(name: Arc<str>, version: u32, upstream: Arc<str>) -> Self {
        Self {
            name,
            version,
            upstream,
            topics: BTreeSet::new(),
            tags: BTreeSet::new(),
            on_poison: OnPoison::default(),
            start_from: StartFrom::default(),
        }
    }

    /// Returns the name and version, as displayed in messages.
    pub fn label(&self) -> ProjectionLabel {
        ProjectionLabel {
            name: self.name.clone(),
            version: self.version,
        }
    }

    /// Creates the error that the log no longer has the events that were read.
    pub(crate) fn diverged(
        &self,
        checkpoint: Checkpoint,
        found: Option<Checkpoint>,
    ) -> ProjectionError {
        ProjectionError::Diverged {
            projection: self.label(),
            log: self.upstream.clone(),
            checkpoint,
            found,
            ids: None,
        }
    }

    /// Creates the error that the view was built from a log with another id. `ids` are the id
    /// stored with the view, then the id of the log.
    pub(crate) fn of_another_log(
        &self,
        checkpoint: Checkpoint,
        found: Option<Checkpoint>,
        ids: (LogId, LogId),
    ) -> ProjectionError {
        ProjectionError::Diverged {
            projection: self.label(),
            log: self.upstream.clone(),
            checkpoint,
            found,
            ids: Some(Box::new(ids)),
        }
    }

    /// Returns the query for the recorder: events of other topics are not even read.
    pub fn query(&self) -> Query {
        let room = QUERY_NAMES_MAX.saturating_sub(self.tags.len()).max(1);
        let topics: Vec<_> = self.topics.iter().cloned().collect();
        let item = |topics: &[Arc<str>]| {
            let mut item = QueryItem::new();
            item.topics = topics.iter().cloned().collect();
            item.tags = self.tags.clone();
            item
        };
        Query::Items(topics.chunks(room).map(item).collect())
    }

    /// Checks everything that can be checked without the log. Every view store calls this first.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for a bad name, the version 0, no handlers, or more topics and tags than a query
    /// accepts.
    pub fn check(&self) -> Result<(), Invalid> {
        check_name("projection name", &self.name)?;
        check_name("log name", &self.upstream)?;
        if self.version == 0 {
            return Err(Invalid::new(format!(
                "the projection {:?} has the version 0; versions count from 1",
                self.name
            )));
        }
        if self.topics.is_empty() {
            return Err(Invalid::new(format!(
                "the projection {:?} has no handlers; give it one with `on`",
                self.name
            )));
        }
        self.query().check()
    }
}
