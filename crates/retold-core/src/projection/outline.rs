//! What is known of a projection without its handlers: name, version, upstream, query, choices.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::error::{ProjectionError, ProjectionLabel};
use crate::recording::limits::{QUERY_NAMES_MAX, check_name};
use crate::recording::{Invalid, LogId, Mark, Query, QueryItem};

/// What is done with an event that cannot be taken into the view: one that cannot be decoded, or whose
/// handler fails. A store that is unavailable poisons nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnPoison {
    /// The projection stops before it, and says so in its status, until somebody acts: a program that
    /// can take it, [`resume`](super::pipeline::ProjectionPipeline::resume), or
    /// [`pass_over`](super::pipeline::ProjectionPipeline::pass_over).
    #[default]
    Stop,
    /// It is passed over and recorded beside the checkpoint with its error; the projection goes on. At
    /// most [`SKIPPED_EVENTS_MAX`](super::keeper::SKIPPED_EVENTS_MAX) are, then it stops.
    Skip,
    /// It is tried so many times more, with the pauses of whoever drives the projection; then the
    /// projection stops. For handlers that depend on what may come later.
    Retry(NonZeroU32),
}

/// Where a projection begins that has no checkpoint yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third")]
pub enum StartFrom {
    /// With the first event of the log.
    #[default]
    FirstEvent,
    /// With what is recorded after its first step.
    Now,
}

/// What is known of a projection without its handlers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProjectionOutline {
    /// Its stable name: the checkpoint is found by it.
    pub name: Arc<str>,
    /// Its version, from 1; raised by its author when the view is to be built anew.
    pub version: u32,
    /// Name of the one log it folds.
    pub upstream: Arc<str>,
    /// Topics of the events it takes, the former ones too.
    pub topics: BTreeSet<Arc<str>>,
    /// Tags that all of them have.
    pub tags: BTreeSet<Arc<str>>,
    /// What is done with an event that cannot be taken.
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

    /// Name and version, as messages show them.
    pub fn label(&self) -> ProjectionLabel {
        ProjectionLabel {
            name: self.name.clone(),
            version: self.version,
        }
    }

    /// For whoever drives or keeps the view: the log no longer has what was read of it.
    pub fn diverged(&self, mark: Mark, found: Option<Mark>) -> ProjectionError {
        ProjectionError::Diverged {
            projection: self.label(),
            log: self.upstream.clone(),
            mark,
            found,
            ids: None,
        }
    }

    /// For those who drive or keep the view: its rows are of a log with another id. `ids` are that of the rows,
    /// then the one that the log has.
    pub fn of_another_log(
        &self,
        mark: Mark,
        found: Option<Mark>,
        ids: (LogId, LogId),
    ) -> ProjectionError {
        ProjectionError::Diverged {
            projection: self.label(),
            log: self.upstream.clone(),
            mark,
            found,
            ids: Some(Box::new(ids)),
        }
    }

    /// What the recorder is asked for: events of other topics are not even read.
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

    /// Checks what needs no look at a log. Every keeper calls this first.
    ///
    /// # Errors
    ///
    /// [`Invalid`]: a bad name, the version 0, no handlers, or more topics and tags than a query takes.
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
