//! The reader of a log: where reading and subscribing begin.

use std::fmt;
use std::sync::Arc;

use super::error::Error;
use super::handle::Application;
use super::selection::Selection;
use crate::recording::identity::EventId;
use crate::recording::recorder::Recorder;
use crate::recording::stored_event::StoredEvent;

impl Application {
    /// A reader of the application's log.
    pub fn log(&self) -> LogReader {
        LogReader::new(self.recorder().clone())
    }
}

/// Reads a log, once or for as long as it grows: `StoredEvent`s, or events of a type.
///
/// Reads what is recorded and nothing else, so it works on every recorder, also one that was opened
/// for reading only. A clone costs next to nothing.
#[derive(Clone)]
pub struct LogReader {
    recorder: Arc<dyn Recorder>,
}

impl LogReader {
    /// A reader of this recorder's log.
    pub fn new(recorder: Arc<dyn Recorder>) -> Self {
        Self { recorder }
    }

    /// The events as they are stored, of whatever topic.
    pub fn stored(&self) -> Selection<StoredEvent> {
        let decode = |event: &StoredEvent| Ok(Some(event.clone()));
        Selection::new(self.recorder.clone(), None, Arc::new(decode))
    }

    /// The event with this id as it is stored, or none.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn stored_event(&self, id: EventId) -> Result<Option<StoredEvent>, Error> {
        Ok(self.recorder.event(id).await?)
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader")
            .field("log", &self.recorder.log_name())
            .finish_non_exhaustive()
    }
}
