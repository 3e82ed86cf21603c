//! The watcher: notices writes by other processes, and notifies callers that wait for news.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use retold_core::recording::LogId;
use rusqlite::Connection;

use super::writer::Writer;
use crate::file::connection::{FilePlace, data_version};
use crate::file::log::{Born, Log};
use crate::file::presence::FilePresence;

/// The logs that a store has opened, by name. The references are weak, so an unused log is soon
/// freed.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    logs: Mutex<HashMap<Arc<str>, Weak<Log>>>,
}

impl Logs {
    /// Returns the log of this name with its present key and id, shared by all its recorders.
    /// Recorders whose log was replaced by another one keep the old entry.
    pub(crate) fn share(&self, name: &str, birth: Option<Born>) -> Arc<Log> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let known = logs.get(name).and_then(Weak::upgrade);
        let is_same = |log: &Arc<Log>| log.born().is_none_or(|born| Some(born) == birth);
        if let Some(log) = known.filter(is_same) {
            birth.into_iter().for_each(|born| log.learn_birth(born));
            return log;
        }
        if logs.len() == logs.capacity() {
            logs.retain(|_, log| log.strong_count() > 0);
        }
        let log = Arc::new(Log::unborn(name));
        birth.into_iter().for_each(|born| log.learn_birth(born));
        logs.insert(log.name.clone(), Arc::downgrade(&log));
        log
    }

    /// The logs that were appended to, with their resulting append counts.
    pub(crate) fn append_counts(&self) -> Vec<(LogId, u64)> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let logs = logs.values().filter_map(Weak::upgrade);
        let counts = logs.filter_map(|log| Some((log.born()?.id, log.announced())));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// How many appends all logs are known to have; it changes when one grows.
    fn append_count(&self) -> u64 {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let logs = logs.values().filter_map(Weak::upgrade);
        logs.fold(0, |sum, log| sum.wrapping_add(log.announced()))
    }

    /// The logs that have waiting callers.
    fn awaited(&self) -> Vec<Arc<Log>> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let logs = logs.values().filter_map(Weak::upgrade);
        logs.filter(|log| log.is_awaited()).collect()
    }
}

/// Checks the file for writes by others.
pub(crate) struct Watcher {
    logs: Arc<Logs>,
    source: Source,
    data_version: Option<i64>,
    presence: Arc<FilePresence>,
}

/// The connection to use. SQLite's `data_version` counts the writes of *other* connections, so the
/// writer's own is the best: its commits, which need no polling, do not change it.
pub(crate) enum Source {
    Writer(Arc<Writer>),
    /// A store that only reads has a connection for it.
    Reader(FilePlace, Option<Connection>),
}

impl Watcher {
    pub(crate) fn new(logs: Arc<Logs>, source: Source, presence: Arc<FilePresence>) -> Self {
        Self {
            logs,
            source,
            data_version: None,
            presence,
        }
    }

    /// How many appends the logs are known to have together; it changes when one grows.
    pub(crate) fn append_count(&self) -> u64 {
        self.logs.append_count()
    }

    /// Checks whether the file has changed since the last check, and if so wakes the waiters, which
    /// then read it. A failure counts as a change, and so does a replaced file: the waiters' reads
    /// report it. Returns whether others have written.
    pub(crate) fn look(&mut self) -> bool {
        let found = match &mut self.source {
            _ if self.presence.check().is_err() => None,
            Source::Writer(writer) => writer.data_version().ok(),
            Source::Reader(place, conn) => read_by(place, conn),
        };
        let is_written = found.is_some() && found != self.data_version;
        if found.is_none() || is_written {
            for log in self.logs.awaited() {
                log.nudge();
            }
        }
        self.data_version = found;
        is_written
    }
}

fn read_by(place: &FilePlace, kept: &mut Option<Connection>) -> Option<i64> {
    if kept.is_none() {
        *kept = place.open_reader(Duration::ZERO).ok();
    }
    let read = data_version(kept.as_ref()?);
    if read.is_err() {
        *kept = None;
    }
    read.ok()
}

#[cfg(test)]
mod tests {
    use retold_core::recording::OwnProcess;

    use super::*;
    use crate::options::SqliteOptions;
    use crate::transaction::Transaction;
    use crate::writing::alarm::Alarm;
    use crate::writing::committer::Committer;

    /// Goal: a writer that never rests hides no writes of others. Method: every check falls into a
    /// group.
    #[tokio::test]
    async fn a_busy_writer_hides_no_news() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dogs.db");
        let place = FilePlace::writable(&path).unwrap();
        let conn = place.open_writer(&SqliteOptions::new()).unwrap();
        let presence = place.presence().clone();
        let writer = Writer::new(conn, presence, Arc::<Alarm>::default(), Duration::ZERO);
        let writer = Arc::new(writer);
        let process = Arc::new(OwnProcess::current());
        let _committer = Committer::start(process, writer.clone()).unwrap();
        let logs = Arc::new(Logs::default());
        let log = logs.share("dogs", None);
        let mut watcher = Watcher::new(
            logs,
            Source::Writer(writer.clone()),
            place.presence().clone(),
        );
        watcher.look();
        let mut news = log.subscribe();
        news.mark_unchanged();

        let other = Connection::open(&path).unwrap();
        other
            .execute_batch("CREATE TABLE other (it INTEGER)")
            .unwrap();
        let nothing = |_: &mut Transaction<'_>| Ok(Ok(()));
        writer.work(0, nothing).await.unwrap();
        let look = move |_: &mut Transaction<'_>| {
            watcher.look();
            Ok(Ok(()))
        };
        writer.work(0, look).await.unwrap();
        assert!(news.has_changed().unwrap());
    }
}
