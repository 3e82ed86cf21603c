//! The handle of an opened application: one log, with what its commands and reads need.

use std::fmt;
use std::sync::Arc;

use super::error::{Error, Result};
use super::limits::SETTLE_ATTEMPTS_MAX;
use super::publish::{Bus, Commits};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::id_source::IdSource;
use crate::recording::append::{Append, Appended};
use crate::recording::error::RecordError;
use crate::recording::identity::{EventId, LogId};
use crate::recording::metadata::Metadata;
use crate::recording::recorder::{Head, Recorder};

/// A named log with its aggregates: executes commands and reads back what was recorded.
///
/// A clone is the same application and costs next to nothing; give every task its own. Many may be
/// open at once, of one store too: a handle that is not used holds a few hundred bytes.
#[derive(Clone)]
pub struct Application {
    pub(super) core: Arc<Core>,
    /// What is said about every event recorded through this handle.
    pub(super) metadata: Option<Arc<Metadata>>,
}

/// What all clones of a handle share.
pub(super) struct Core {
    pub(super) recorder: Arc<dyn Recorder>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) retries: u32,
    pub(super) cache_size: usize,
    pub(super) bus: Bus,
}

impl Application {
    /// Name of the application and of its log.
    pub fn name(&self) -> &str {
        self.core.recorder.log_name()
    }

    /// The recorder of the application's log, for what the application does not offer.
    pub fn recorder(&self) -> &Arc<dyn Recorder> {
        &self.core.recorder
    }

    /// Id of the log; none for one that is not born, which only a read-only application meets.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn log_id(&self) -> Result<Option<LogId>> {
        Ok(self.core.recorder.log_id().await?)
    }

    /// The log's end.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn head(&self) -> Result<Head> {
        Ok(self.core.recorder.head().await?)
    }

    /// A handle that records this metadata with every event, in place of what this handle records:
    /// who asks, in which conversation. Set it once for a request.
    #[must_use]
    pub fn with(&self, metadata: Metadata) -> Self {
        Self {
            core: self.core.clone(),
            metadata: (!metadata.is_empty()).then(|| Arc::new(metadata)),
        }
    }

    /// The present instant, by the application's clock.
    pub fn now(&self) -> Timestamp {
        self.core.clock.now()
    }

    /// A fresh id of an event.
    pub fn next_event_id(&self) -> EventId {
        EventId::new(self.core.ids.next_id())
    }

    /// Commits of this application (of this handle and its clones) from now on, in process.
    pub fn commits(&self) -> Commits {
        self.core.bus.subscribe()
    }

    /// Sends an append until its outcome is known: at once, and again as long as the recorder says
    /// that it is unknown, at most [`SETTLE_ATTEMPTS_MAX`] times. Subscribers in process are told.
    ///
    /// For an append of your own, and to settle one that [`Error::OutcomeUnknown`] gave back.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if it is still unknown; [`Error::Conflict`],
    /// [`Error::Unavailable`], [`Error::Invalid`], [`Error::Corrupt`]: it is not recorded and will
    /// not be.
    pub async fn settle(&self, append: Append) -> Result<Appended> {
        let mut unknown = None;
        for _ in 0..SETTLE_ATTEMPTS_MAX {
            match self.core.recorder.append(append.clone()).await {
                Ok(appended) => {
                    self.core.bus.publish(&append, appended.positions());
                    return Ok(appended);
                }
                Err(RecordError::OutcomeUnknown(failure)) => unknown = Some(failure),
                Err(RecordError::Conflict(conflict)) => return Err(conflict.into()),
                // What fails now says nothing of the attempts before.
                Err(error) if unknown.is_none() => return Err(error.into()),
                Err(_) => {}
            }
        }
        match unknown {
            Some(failure) => Err(Error::OutcomeUnknown {
                failure,
                append: Some(append),
            }),
            None => Err(Error::invalid("an append must be sent once at least")),
        }
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("name", &self.name())
            .field("metadata", &self.metadata)
            .field("cache_size", &self.core.cache_size)
            .field("retries", &self.core.retries)
            .finish_non_exhaustive()
    }
}
