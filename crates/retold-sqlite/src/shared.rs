//! State that recorders share with their store: the file's writer, its readers, and the waiters.

use std::sync::Arc;

use retold_core::recording::{Corrupt, OwnProcess, RecordError};

use crate::birth::birth_of;
use crate::error::before_commit;
use crate::file::connection::FilePlace;
use crate::file::log::{Born, Log};
use crate::reading::readers::Readers;
use crate::writing::alarm::Alarm;
use crate::writing::committer::Committer;
use crate::writing::keeper::Keeper;
use crate::writing::watcher::Logs;
use crate::writing::writer::Writer;

/// State that recorders share with their store.
pub(crate) struct Shared {
    pub(crate) process: Arc<OwnProcess>,
    pub(crate) place: FilePlace,
    /// `None` for a store that was opened for reading only.
    pub(crate) writer: Option<Arc<Writer>>,
    pub(crate) readers: Readers,
    pub(crate) alarm: Arc<Alarm>,
    pub(crate) logs: Arc<Logs>,
    /// Problems of the files at the time of opening.
    pub(crate) found_at_opening: Vec<Corrupt>,
    /// Ends with the store, once the queued members are committed.
    pub(crate) _committer: Option<Committer>,
    /// Ends with the store, after the last commit.
    pub(crate) _keeper: Keeper,
}

impl Shared {
    /// Returns the writer.
    ///
    /// # Errors
    ///
    /// `Invalid` if the store was opened for reading only, or by another process.
    pub(crate) fn writer(&self) -> Result<&Arc<Writer>, RecordError> {
        self.process.check()?;
        self.writer.as_ref().ok_or_else(|| {
            RecordError::invalid(format!(
                "the store {} was opened for reading only",
                self.place.path().display()
            ))
        })
    }

    /// Returns the key and id of a log, looked up if they are not known yet, or `None` if it does
    /// not exist.
    pub(crate) fn find_birth(&self, log: &Log) -> Result<Option<Born>, RecordError> {
        if let Some(born) = log.born() {
            return Ok(Some(born));
        }
        let found = self.birth_now(&log.name)?;
        if let Some(born) = found {
            log.learn_birth(born);
        }
        Ok(found)
    }

    /// Returns the key and id of the log that has this name now.
    fn birth_now(&self, name: &str) -> Result<Option<Born>, RecordError> {
        self.readers.read(|reader| {
            birth_of(&reader.conn, name).map_err(|error| before_commit("looking for a log", error))
        })
    }

    /// Returns the log that has this name now, for an opening, and whether it exists.
    pub(crate) fn open(&self, name: &str) -> Result<(Arc<Log>, bool), RecordError> {
        let found = self.birth_now(name)?;
        Ok((self.logs.share(name, found), found.is_some()))
    }
}

impl Drop for Shared {
    /// A child that inherited the store leaves connections alone: closing them would affect locks
    /// and files of its parent.
    fn drop(&mut self) {
        if self.process.is_inherited() {
            std::mem::forget(self.writer.take());
            self.readers.forget();
        }
    }
}
