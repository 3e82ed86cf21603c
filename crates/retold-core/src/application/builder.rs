//! Opening an application: its log, and what it is opened with.

use std::fmt;
use std::sync::Arc;

use super::error::{Error, Result};
use super::handle::{Application, Core};
use super::limits::{CACHE_SIZE_DEFAULT, RETRIES_DEFAULT};
use super::publish::Bus;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::id_source::{IdSource, UuidV7Source};
use crate::recording::identity::LogId;
use crate::recording::recorder::Recorder;
use crate::recording::store::Store;

/// Opens an [`Application`]. Needs a [`store`](Self::store) or a [`recorder`](Self::recorder);
/// everything else has a default.
#[must_use = "an application is opened by `open`"]
pub struct ApplicationBuilder {
    name: String,
    log: Option<Log>,
    access: Access,
    birth: Option<LogId>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    cache_size: usize,
    retries: u32,
}

enum Log {
    In(Arc<dyn Store>),
    Opened(Arc<dyn Recorder>),
}

enum Access {
    Write,
    ReadOnly,
}

impl Application {
    /// Begins to open the application of this name, which is the name of its log.
    pub fn builder(name: impl Into<String>) -> ApplicationBuilder {
        ApplicationBuilder {
            name: name.into(),
            log: None,
            access: Access::Write,
            birth: None,
            clock: Arc::new(SystemClock),
            ids: Arc::new(UuidV7Source),
            cache_size: CACHE_SIZE_DEFAULT,
            retries: RETRIES_DEFAULT,
        }
    }
}

impl ApplicationBuilder {
    /// Opens the log in this store.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.log = Some(Log::In(store));
        self
    }

    /// Uses this log, opened already, in place of one of a store.
    pub fn recorder(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.log = Some(Log::Opened(recorder));
        self
    }

    /// Opens the log for reading: one that does not exist is not made, and commands are refused as
    /// invalid.
    pub fn read_only(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }

    /// Gives the log this id, if it is born by this opening; a fresh one by default.
    pub fn log_id(mut self, id: LogId) -> Self {
        self.birth = Some(id);
        self
    }

    /// Takes the time of events from this clock; the machine's by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes fresh ids from this source; uuids of version 7 by default.
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// Keeps the states of about this many aggregates in memory, those that are used most; 0 for
    /// none, [`CACHE_SIZE_DEFAULT`] by default. No memory is taken before they are used.
    pub fn cache_size(mut self, aggregates: usize) -> Self {
        self.cache_size = aggregates;
        self
    }

    /// Decides a command again at most this often because others were faster; [`RETRIES_DEFAULT`] by
    /// default.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Opens the log; it is born by this if it does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a bad name, or without a store; [`Error::Unavailable`],
    /// [`Error::Corrupt`].
    pub async fn open(self) -> Result<Application> {
        let recorder = match (self.log, self.access) {
            (Some(Log::Opened(recorder)), _) => recorder,
            (Some(Log::In(store)), Access::ReadOnly) => store.open_read_only(&self.name).await?,
            (Some(Log::In(store)), Access::Write) => {
                let birth = self.birth.unwrap_or_else(|| self.ids.next_id().into());
                store.open(&self.name, birth).await?
            }
            (None, _) => {
                return Err(Error::invalid(format!(
                    "the application {:?} has no store; give one with `store`",
                    self.name
                )));
            }
        };
        Ok(Application {
            core: Arc::new(Core {
                recorder,
                clock: self.clock,
                ids: self.ids,
                retries: self.retries,
                cache_size: self.cache_size,
                bus: Bus::default(),
            }),
            metadata: None,
        })
    }
}

impl fmt::Debug for ApplicationBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationBuilder")
            .field("name", &self.name)
            .field("cache_size", &self.cache_size)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}
